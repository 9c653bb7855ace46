"""The header of the AWS Glue Schema Registry, byte by byte as its library for Java has it."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardpack.codec import glue
from shardpack.errors import PayloadError, PayloadTooLargeError

VERSION = UUID("b7b4a7f0-9c96-4e4a-a687-fb5de9ef0c63")


def as_java_writes(number: UUID, data: bytes, compression: int) -> bytes:
    """ByteBuffer.put(3).put(compression).putLong(most significant).putLong(least significant).put(data)."""
    most, least = number.int >> 64, number.int & (1 << 64) - 1
    return struct.pack(">BBQQ", 3, compression, most, least) + (zlib.compress(data) if compression else data)


def test_it_is_written_as_java_writes_it():
    assert glue.framed(VERSION, b"data") == as_java_writes(VERSION, b"data", 0)
    assert glue.framed(str(VERSION), b"data" * 99, compression="zlib") == as_java_writes(VERSION, b"data" * 99, 5)
    assert glue.framed(VERSION, b"")[:2] == b"\3\0"


@given(st.uuids(), st.binary(max_size=200), st.sampled_from([0, 5]))
def test_what_java_writes_is_read(number, data, compression):
    framed = as_java_writes(number, data, compression)
    assert glue.is_framed(framed)
    assert glue.unframed(framed) == (number, data)


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"\3\5" + bytes(16) + rest))
def test_hostile_data_are_refused_or_read(data):
    try:
        _, found = glue.unframed(data, max_bytes=1_000)
    except PayloadError:
        return
    assert len(found) <= 1_000


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "begin with nothing have no Glue header"),
        (b"\3\0" + bytes(15), "data of 17 bytes that begin with 03 00 have no Glue header"),
        (b"\2\0" + bytes(16), "begin with 02 00"),
        (b"\3\1" + bytes(16), "begin with 03 01"),
        (b"\3\5" + bytes(16) + b"no", "behind a Glue header are damaged"),
        (b"\3\5" + bytes(16), "are cut off"),
        (as_java_writes(VERSION, b"data", 5)[:-1], "are cut off"),
    ],
)
def test_what_has_no_header_is_refused(data, said):
    with pytest.raises(PayloadError, match=said):
        glue.unframed(data)


def test_a_bomb_takes_no_memory():
    bomb = as_java_writes(VERSION, bytes(50_000_000), 5)
    tracemalloc.start()
    try:
        with pytest.raises(PayloadTooLargeError, match="unpack to more than the 1,000,000 that they may"):
            glue.unframed(bomb, max_bytes=1_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000
    assert glue.unframed(bomb)[1] == bytes(50_000_000)
    with pytest.raises(PayloadTooLargeError):
        glue.unframed(as_java_writes(VERSION, bytes(100), 0), max_bytes=99)


def test_ids_and_compressions_that_are_none():
    with pytest.raises(ValueError, match="badly formed"):
        glue.framed("version 7", b"")
    with pytest.raises(ValueError, match="compression is 'zlib' or None, not 'gzip'"):
        glue.framed(VERSION, b"", compression="gzip")
