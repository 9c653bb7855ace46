"""The data of one Kinesis record taken apart for people: what it is, and if no aggregated record, why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .._native.dissect import dissect
from ..codec.compressed import MAGIC as COMPRESSED_MAGIC
from ..errors import MalformedRecordError
from . import deaggregate

MAGIC = b"\xf3\x89\x9a\xc2"
MAGICS = (MAGIC, COMPRESSED_MAGIC)
DIGEST_BYTES = 16
SMALLEST_AGGREGATE = len(MAGIC) + 1 + DIGEST_BYTES


@dataclass(frozen=True, slots=True)
class DissectedRecord:
    """A user record as it stands in the message; a key whose index is outside its table is ``None``."""

    partition_key_index: int
    partition_key: str | None
    explicit_hash_key_index: int | None
    explicit_hash_key: str | None
    data: bytes
    tags: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Dissection:
    """``reason`` says why the blob is no well-formed aggregated record; ``None`` when it is one.

    Of a compressed one there are no digests, and no ``message_size`` where it does not unpack.
    """

    size: int
    start: bytes
    reason: str | None
    error_offset: int | None = None
    message_size: int | None = None
    stored_digest: bytes | None = None
    computed_digest: bytes | None = None
    compressed: bool = False
    partition_keys: list[str] = field(default_factory=list)
    explicit_hash_keys: list[str] = field(default_factory=list)
    records: list[DissectedRecord] = field(default_factory=list)

    @property
    def has_magic(self) -> bool:
        return self.start in MAGICS

    @property
    def overhead_size(self) -> int:
        """Bytes that are none of them; of a compressed one, in its message."""
        whole = (self.message_size or 0) if self.compressed else self.size
        return whole - self.payload_size

    @property
    def payload_size(self) -> int:
        """Bytes of the user records' data."""
        return sum(len(record.data) for record in self.records)


def dissect_blob(blob: bytes) -> Dissection:
    """Take the data of a Kinesis record apart as a consumer would, and keep what a consumer throws away."""
    found: dict[str, Any] | None = dissect(blob)
    start = blob[: len(MAGIC)]
    if found is None:
        return Dissection(len(blob), start, _why_not_framed(blob))
    compressed = start == COMPRESSED_MAGIC
    error: MalformedRecordError | None = found["error"]
    if "message_size" not in found:
        return Dissection(len(blob), start, str(error), error.offset if error else None, compressed=compressed)
    partition_keys, explicit_hash_keys = found["partition_keys"], found["explicit_hash_keys"]
    reason = None
    if found.get("stored_digest") != found.get("computed_digest"):
        reason = "no aggregated record: the digest differs; consumers take it for one user record"
    elif error is not None and deaggregate(blob)[0].error is None:
        reason = f"no aggregated record: it does not parse; consumers take it for one user record: {_what(error)}"
    elif error is not None:
        reason = str(error)
    return Dissection(
        size=len(blob),
        start=start,
        reason=reason,
        error_offset=None if error is None else error.offset,
        message_size=found["message_size"],
        stored_digest=found.get("stored_digest"),
        computed_digest=found.get("computed_digest"),
        compressed=compressed,
        partition_keys=partition_keys,
        explicit_hash_keys=explicit_hash_keys,
        records=[
            DissectedRecord(
                key, _entry(partition_keys, key), hash_key, _entry(explicit_hash_keys, hash_key), data, tags
            )
            for key, hash_key, data, tags in found["records"]
        ],
    )


def _why_not_framed(blob: bytes) -> str:
    if not blob.startswith(MAGIC):
        return "no aggregated record: it does not start with the magic; consumers take it for one user record"
    return (
        f"no aggregated record: too short; {len(blob)} bytes where magic, message and digest take "
        f"{SMALLEST_AGGREGATE} at least; consumers take it for one user record"
    )


def _what(error: MalformedRecordError) -> str:
    return str(error).removeprefix("malformed aggregated record: ")


def _entry(table: list[str], index: int | None) -> str | None:
    return table[index] if index is not None and index < len(table) else None
