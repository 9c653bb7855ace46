"""The compressed aggregate: a Kinesis record that holds the message of an aggregated record as a zstd frame.

::

    F5 53 50 5A | version, 1 byte: 01 | size of the message, 4 bytes, little-endian | zstd frame | padding

The frame (RFC 8878) has the message's size in its header and a checksum behind it. The message is what stands between
magic and MD5 of an aggregated record. ``F5`` begins no UTF-8, so no text is taken for one. Padding is one skippable
frame (RFC 8878), which readers of zstd pass over: it is there where the message would be more than 64 times as large as
the record, so that what a reader needs of memory stays in proportion to what it was given.
"""

from __future__ import annotations

from .zstd import library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC = b"\xf5SPZ"
VERSION = 1
HEADER_BYTES = 9
"""Magic, version and size."""

MAX_RATIO = 64
"""A message is at most so many times as large as its record; a reader takes no other."""

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""And it has so many bytes at most."""

SKIPPABLE_MAGIC = b"\x50\x2a\x4d\x18"
SKIPPABLE_HEADER_BYTES = 8


def compressed(messages: Sequence[bytes | bytearray | memoryview], level: int = 3) -> list[bytes]:
    """Return the data of a Kinesis record for each message, in their order; each has as many bytes as it takes.

    ``level`` is zstd's, from -7 to 22. The GIL is given up about once for 512 KiB of messages, however many they are.
    Raises ``ValueError`` for a message of no bytes or of more than 64 MiB, and ``ImportError`` with what to install
    where no library has zstd. Thread-safe.
    """
    for message in messages:
        if not 0 < len(message) <= MAX_MESSAGE_BYTES:
            raise ValueError(
                f"a message of {len(message):,} bytes; a compressed aggregate holds 1 to {MAX_MESSAGE_BYTES:,}"
            )
    frames = library().compress_many(messages, level)
    return [_record(len(message), frame) for message, frame in zip(messages, frames, strict=True)]


def unpacked_size(data: bytes | memoryview) -> int:
    """Return how many bytes the data of a Kinesis record is at most, once it was read: its own, or its message's."""
    header = bytes(data[:HEADER_BYTES])
    if not header.startswith(MAGIC):
        return len(data)
    return max(len(data), min(int.from_bytes(header[5:], "little"), MAX_RATIO * len(data), MAX_MESSAGE_BYTES))


def _record(size: int, frame: bytes) -> bytes:
    parts = [MAGIC, bytes((VERSION,)), size.to_bytes(4, "little"), frame]
    missing = -(-size // MAX_RATIO) - HEADER_BYTES - len(frame)
    if missing > 0:
        filling = max(0, missing - SKIPPABLE_HEADER_BYTES)
        parts += [SKIPPABLE_MAGIC, filling.to_bytes(4, "little"), bytes(filling)]
    return b"".join(parts)
