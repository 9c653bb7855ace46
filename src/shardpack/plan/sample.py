"""User records to plan by: which keys they have, how large they are, and pieces of them to aggregate and compress."""

from __future__ import annotations

import random
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from .._native.md5 import hash_key, hash_keys
from ..limits import KIB, put_payload_units
from ..shards import HASH_KEYS
from .load import CELLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Name: TypeAlias = str | tuple[str, int]
    """A partition key, or one and the explicit hash key that decides in its place."""

MAX_KEYS = 32_768
"""Partition keys that a sample keeps by name. At twice as many the lighter ones are taken together by hash key, as a
``Load`` does; no weight is lost. With short keys about 20 MB, with the longest 150."""

BLOCK_BYTES = 1024 * KIB
BLOCKS = 64
"""So many stretches of so many bytes of user records are kept, drawn evenly from all: what is aggregated to measure."""


@dataclass(slots=True)
class KeySeen:
    """One partition key of a sample: what came with it. Bytes count data and partition keys."""

    partition_key: str
    explicit_hash_key: int | None
    hash_key: int
    key_size: int
    bytes: int = 0
    records: int = 0
    missed_bytes: int = 0
    """What may have come before it was told apart, at most."""


@dataclass(slots=True)
class Block:
    """A stretch of user records, in the order they came."""

    keys: list[str | None] = field(default_factory=list)
    datas: list[bytes] = field(default_factory=list)
    explicit_hash_keys: list[int | None] = field(default_factory=list)
    bytes: int = 0


class Sample:
    """What was seen of a stream. Takes any number of user records in bounded memory; not to be shared by threads.

    Without ``keep_records`` it serves as other keys of the same user records, beside the sample of those.
    """

    def __init__(self, *, keep_records: bool = True) -> None:
        self._keep_records = keep_records
        self.user_records = 0
        self.user_bytes = 0
        """Data and partition keys."""
        self.raw_payload_units = 0
        """Of each user record as a Kinesis record of its own."""
        self.raw_billed_bytes = 0
        """And what an on-demand stream bills then: each rounded up to 1 KiB."""
        self._keys: dict[Name, KeySeen] = {}
        self._taken_together: dict[int, list[int]] = {}  # by the middle of its cell: bytes, records
        self._heaviest_missed = 0
        self._keyless_bytes = self._keyless_records = 0
        self._random = random.Random(20_230)
        self._blocks: list[tuple[int, Block]] = []
        self._blocks_seen = 0
        self._block = Block()

    def add_many(
        self,
        partition_keys: Sequence[str | None],
        datas: Sequence[bytes],
        explicit_hash_keys: Sequence[int | str | None] | None = None,
    ) -> None:
        """Take n user records. A partition key is ``None`` where the producer may choose the shard.

        Raises ``InvalidPartitionKeyError`` and ``InvalidHashKeyError``, and ``ValueError`` where lengths differ; what
        came before the record at fault was taken.
        """
        explicit = explicit_hash_keys if explicit_hash_keys is not None else [None] * len(datas)
        for key, data, given in zip(partition_keys, datas, explicit, strict=True):
            if key is None:
                self._count(None, None, data, len(data) + 1)
                continue
            at = None if given is None else hash_key(key, given)
            name: Name = key if at is None else (key, at)
            seen = self._keys.get(name)
            if seen is None:
                seen = self._keys[name] = self._new(key, at)
            size = len(data) + seen.key_size
            seen.bytes += size
            seen.records += 1
            self._count(key, at, data, size)
            if len(self._keys) >= 2 * MAX_KEYS:
                self._take_together()

    def by_weight(self) -> list[KeySeen]:
        """Return the keys that are told apart, those with the most bytes first."""
        return sorted(self._keys.values(), key=attrgetter("bytes"), reverse=True)

    def points(self, *, without: Container[str] = ()) -> Iterator[tuple[int, float, float]]:
        """Yield hash keys, each with the bytes and user records for it; but for the partition keys ``without``."""
        for seen in self._keys.values():
            if seen.explicit_hash_key is not None or seen.partition_key not in without:
                yield seen.hash_key, seen.bytes, seen.records
        for at, (size, records) in self._taken_together.items():
            yield at, size, records
        yield from even_points(self._keyless_bytes, self._keyless_records)

    def blocks(self) -> Iterator[Block]:
        """Yield what was kept of the user records themselves, in their order."""
        for _, block in sorted(self._blocks, key=lambda numbered: numbered[0]):
            yield block
        if self._block.datas:
            yield self._block

    @property
    def keys_told_apart(self) -> bool:
        """Whether every key is kept by name."""
        return not self._taken_together

    def _new(self, key: str, explicit_hash_key: int | None) -> KeySeen:
        at = hash_keys([key])[0] if explicit_hash_key is None else explicit_hash_key
        return KeySeen(key, explicit_hash_key, at, len(key.encode()), missed_bytes=self._heaviest_missed)

    def _count(self, key: str | None, explicit_hash_key: int | None, data: bytes, size: int) -> None:
        self.user_records += 1
        self.user_bytes += size
        self.raw_payload_units += put_payload_units(size)
        self.raw_billed_bytes += -(-size // KIB) * KIB
        if key is None:
            self._keyless_bytes += size
            self._keyless_records += 1
        if not self._keep_records:
            return
        block = self._block
        block.keys.append(key)
        block.datas.append(data)
        block.explicit_hash_keys.append(explicit_hash_key)
        block.bytes += size
        if block.bytes >= BLOCK_BYTES:
            self._end_block()

    def _end_block(self) -> None:
        """Keep the block, or one of those before it, each with the same chance."""
        number, self._blocks_seen = self._blocks_seen, self._blocks_seen + 1
        if number < BLOCKS:
            self._blocks.append((number, self._block))
        elif (place := self._random.randrange(number + 1)) < BLOCKS:
            self._blocks[place] = (number, self._block)
        self._block = Block()

    def _take_together(self) -> None:
        kept = self.by_weight()
        light = kept[MAX_KEYS:]
        self._heaviest_missed = max(self._heaviest_missed, *(seen.bytes + seen.missed_bytes for seen in light))
        width = HASH_KEYS // CELLS
        for seen in light:
            weights = self._taken_together.setdefault(seen.hash_key // width * width + width // 2, [0, 0])
            weights[0] += seen.bytes
            weights[1] += seen.records
            del self._keys[
                seen.partition_key if seen.explicit_hash_key is None else (seen.partition_key, seen.hash_key)
            ]


def even_points(size: float, records: float) -> Iterator[tuple[int, float, float]]:
    """Yield points that spread so many bytes and user records evenly, one in each of ``CELLS``."""
    if records:
        width = HASH_KEYS // CELLS
        for i in range(CELLS):
            yield i * width + width // 2, size / CELLS, records / CELLS


def sample_of(user_records: Iterable[object]) -> Sample:
    """Take a sample of user records: pairs of partition key and data, or what ``deaggregate`` returns."""
    sample = Sample()
    for record in user_records:
        if isinstance(record, tuple):
            key, data = record
            sample.add_many([key], [data])
        else:
            sample.add_many([record.partition_key], [record.data], [record.explicit_hash_key])  # type: ignore[attr-defined]
    return sample
