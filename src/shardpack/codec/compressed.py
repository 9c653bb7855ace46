"""The compressed aggregate: a Kinesis record that holds the message of an aggregated record as a zstd frame.

::

    F5 53 50 5A | version, 1 byte: 01 | size of the message, 4 bytes, little-endian | zstd frame | padding

The frame (RFC 8878) has the message's size in its header and a checksum behind it. The message is what stands between
magic and MD5 of an aggregated record. ``F5`` begins no UTF-8, so no text is taken for one. Padding is one skippable
frame (RFC 8878), which readers of zstd pass over: it is there where the message would be more than 64 times as large as
the record, so that what a reader needs of memory stays in proportion to what it was given.
"""

from __future__ import annotations

MAGIC = b"\xf5SPZ"
VERSION = 1
HEADER_BYTES = 9
"""Magic, version and size."""

MAX_RATIO = 64
"""A message is at most so many times as large as its record; a reader takes no other."""

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""And it has so many bytes at most."""
