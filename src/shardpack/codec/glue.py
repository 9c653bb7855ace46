"""Data with the header of the AWS Glue Schema Registry, as its serialisers for Java write it and expect it.

::

    03 | compression, 1 byte: 00 none, 05 zlib | id of the schema's version, a UUID, 16 bytes, big-endian | data

What the data are, Avro, JSON or Protobuf, the schema tells, which your library for it reads.
"""

from __future__ import annotations

import zlib
from typing import Literal
from uuid import UUID

from ..errors import PayloadError, PayloadTooLargeError
from .payload import MAX_BYTES

__all__ = ["framed", "is_framed", "unframed"]

HEADER_BYTES = 18
HEADER_VERSION = 3
_NONE, _ZLIB = 0, 5


def framed(schema_version_id: UUID | str, data: bytes, *, compression: Literal["zlib"] | None = None) -> bytes:
    """Return the data behind a header. Raises ``ValueError`` for an id that is no UUID, or another compression."""
    if compression not in (None, "zlib"):
        raise ValueError(f"compression is 'zlib' or None, not {compression!r}")
    number = schema_version_id if isinstance(schema_version_id, UUID) else UUID(schema_version_id)
    header = bytes([HEADER_VERSION, _NONE if compression is None else _ZLIB]) + number.bytes
    return header + (bytes(data) if compression is None else zlib.compress(data))


def is_framed(data: bytes) -> bool:
    """Return whether data begin as such a header does, and are long enough for one: JSON and text never do."""
    return len(data) >= HEADER_BYTES and data[0] == HEADER_VERSION and data[1] in (_NONE, _ZLIB)


def unframed(data: bytes, *, max_bytes: int = MAX_BYTES) -> tuple[UUID, bytes]:
    """Return the id of the schema's version, and the data behind the header, unpacked.

    Raises ``PayloadError`` where there is no such header, or what it has behind it is damaged, and
    ``PayloadTooLargeError`` for what unpacks to more than ``max_bytes`` (64 MiB). No more than that is taken of memory.
    """
    if not is_framed(data):
        raise PayloadError(
            f"data of {len(data):,} bytes that begin with {data[:2].hex(' ') or 'nothing'} have no Glue header: "
            f"03, then 00 or 05, {HEADER_BYTES} bytes in all"
        )
    number, content = UUID(bytes=bytes(data[2:HEADER_BYTES])), bytes(data[HEADER_BYTES:])
    if data[1] == _ZLIB:
        stream = zlib.decompressobj()
        try:
            content = stream.decompress(content, max_bytes + 1)
        except zlib.error as error:
            raise PayloadError(f"data of {len(data):,} bytes behind a Glue header are damaged: {error}") from None
        if len(content) <= max_bytes and not stream.eof:
            raise PayloadError(f"data of {len(data):,} bytes behind a Glue header are cut off")
    if len(content) > max_bytes:
        raise PayloadTooLargeError(f"data of {len(data):,} bytes unpack to more than the {max_bytes:,} that they may")
    return number, content
