"""Aggregated records written by hand, byte by byte: what no protobuf library would write, and sizes to count on.

``aggregate`` is the plain-Python reading of the format; test_protobuf.py holds it against google protobuf.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

MAGIC = b"\xf3\x89\x9a\xc2"
COMPRESSED_MAGIC = b"\xf5SPZ"
VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)


def varint(value: int, padding: int = 0) -> bytes:
    """Encode ``value``; ``padding`` adds as many bytes that mean nothing."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    if padding:
        out[-1] |= 0x80
        out += b"\x80" * (padding - 1) + b"\x00"
    return bytes(out)


def number(field: int, value: int) -> bytes:
    return varint(field << 3 | VARINT) + varint(value)


def content(field: int, value: bytes) -> bytes:
    return varint(field << 3 | BYTES) + varint(len(value)) + value


def group(field: int, value: bytes = b"") -> bytes:
    return varint(field << 3 | GROUP) + value + varint(field << 3 | END_GROUP)


def tag(key: str, value: str | None = None) -> bytes:
    return content(4, content(1, key.encode()) + (b"" if value is None else content(2, value.encode())))


def record(
    partition_key_index: int, data: bytes, explicit_hash_key_index: int | None = None, rest: bytes = b""
) -> bytes:
    hash_key = b"" if explicit_hash_key_index is None else number(2, explicit_hash_key_index)
    return content(3, number(1, partition_key_index) + hash_key + content(3, data) + rest)


def frame(message: bytes) -> bytes:
    """Put magic and MD5 around a message."""
    return MAGIC + message + hashlib.md5(message).digest()


def as_bytes(key: str | bytes) -> bytes:
    return key.encode() if isinstance(key, str) else bytes(key)


def hash_key(partition_key: str | bytes, explicit_hash_key: int | str | None = None) -> int:
    """What Kinesis places a record by."""
    if explicit_hash_key is not None:
        return int(explicit_hash_key)
    return int.from_bytes(hashlib.md5(as_bytes(partition_key)).digest(), "big")


def aggregate(user_records: Iterable[tuple[str | bytes, bytes, int | str | None]]) -> bytes:
    """The aggregated record of (partition key, data, explicit hash key), as the KPL writes it."""
    keys: dict[bytes, int] = {}
    hash_keys: dict[int, int] = {}
    records = []
    for key, data, explicit_hash_key in user_records:
        key_index = keys.setdefault(as_bytes(key), len(keys))
        hash_index = None if explicit_hash_key is None else hash_keys.setdefault(int(explicit_hash_key), len(hash_keys))
        records.append(record(key_index, bytes(data), hash_index))
    tables = [content(1, key) for key in keys] + [content(2, str(value).encode()) for value in hash_keys]
    return frame(b"".join(tables + records))
