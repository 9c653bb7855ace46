"""The compressed aggregate, as a record: what the zstd library itself says of it."""

from __future__ import annotations

import random

import pytest
import zstandard

from shardpack.codec.compressed import HEADER_BYTES, MAX_MESSAGE_BYTES, compressed


def contents_of(record: bytes) -> bytes:
    """Unpack what is behind the header, as any reader of zstd does: padding is passed over."""
    frames = zstandard.ZstdDecompressor().stream_reader(record[HEADER_BYTES:], read_across_frames=True)
    return frames.read()


def letters(size: int, seed: int = 1) -> bytes:
    return bytes(random.Random(seed).choices(b"abcdefgh", k=size))


SIZES = [1, 2, 63, 300, 5_000, 300_000, 2_000_000]


@pytest.mark.parametrize("level", [-7, 1, 3, 19])
def test_a_record_has_header_and_a_frame_that_zstd_reads(level: int) -> None:
    messages = [letters(size, size) for size in SIZES * 3]
    records = compressed(messages, level)
    for message, record in zip(messages, records, strict=True):
        assert record[:5] == b"\xf5SPZ\x01"
        assert int.from_bytes(record[5:9], "little") == len(message)
        header = zstandard.get_frame_parameters(record[HEADER_BYTES:])
        assert (header.content_size, header.has_checksum, header.dict_id) == (len(message), True, 0)
        assert contents_of(record) == message


def test_a_level_is_taken() -> None:
    message = letters(100_000)
    assert len(compressed([message], 19)[0]) < len(compressed([message], -5)[0])


@pytest.mark.parametrize("size", [1, 64 * 20, 64 * 30, 64 * 34, 64 * 40, 1_000_000, MAX_MESSAGE_BYTES])
def test_padding_keeps_a_message_within_64_times_its_record(size: int) -> None:
    [record] = compressed([bytes(size)], 3)
    frame = zstandard.ZstdDecompressor().decompressobj()
    assert frame.decompress(record[HEADER_BYTES:]) == bytes(size)
    padding = frame.unused_data
    assert len(record) * 64 >= size
    if padding:
        assert padding[:4] == b"\x50\x2a\x4d\x18"
        assert int.from_bytes(padding[4:8], "little") == len(padding) - 8
        assert (len(record) - len(padding)) * 64 < size
        assert len(record) == max(-(-size // 64), len(record) - len(padding) + 8)
    assert contents_of(record) == bytes(size)


def test_any_bytes_like_message_is_taken() -> None:
    records = compressed([b"abc", bytearray(b"abc"), memoryview(b"abc")], 3)
    assert len(set(records)) == 1


@pytest.mark.parametrize("size", [0, MAX_MESSAGE_BYTES + 1])
def test_a_message_outside_the_limits_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"a message of {size:,} bytes; .* holds 1 to 67,108,864"):
        compressed([b"whole", bytes(size)])


def test_no_messages_are_no_records() -> None:
    assert compressed([]) == []
