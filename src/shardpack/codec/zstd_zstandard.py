"""Zstandard by the ``zstandard`` package: contexts are kept by thread, many frames are one turn without the GIL."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator, Sequence

import zstandard

_kept = threading.local()

MANY_AT_ONCE = {"multi_compress_to_buffer", "multi_decompress_to_buffer"} <= zstandard.backend_features
"""Only its backend in C has them."""

COMPRESSED_IN_A_TURN = 512 * 1024
UNPACKED_IN_A_TURN = 2 * 1024 * 1024
"""Bytes of contents that go through zstd in one turn without the GIL: one or two milliseconds. One of a quarter is a
turn of its own, for then nothing is copied."""


def compress_many(contents: Sequence[bytes | bytearray | memoryview], level: int) -> list[bytes]:
    """Return a frame for each, with its content's size in its header and a checksum behind it."""
    try:
        return _compressed(contents, level)
    except zstandard.ZstdError as error:  # whose text says so: nothing else goes wrong
        raise MemoryError(str(error)) from None


def _compressed(contents: Sequence[bytes | bytearray | memoryview], level: int) -> list[bytes]:
    compressors: dict[int, zstandard.ZstdCompressor] = _kept.__dict__.setdefault("compressors", {})
    compressor = compressors.get(level)
    if compressor is None:
        compressor = compressors[level] = zstandard.ZstdCompressor(level=level, write_checksum=True)
    frames: list[bytes] = []
    for start, stop in _turns([len(content) for content in contents], COMPRESSED_IN_A_TURN):
        turn = list(contents[start:stop])
        if len(turn) == 1 or not MANY_AT_ONCE:
            frames += map(compressor.compress, turn)
        else:  # zstandard 0.25 aborts here if malloc fails; in place of a turn each, which a busy thread makes 5 ms
            frames += _all_of(compressor.multi_compress_to_buffer(turn))
    return frames


def decompress_many(frames: Sequence[bytes], sizes: Sequence[int]) -> list[bytes | str]:
    """Return what each unpacks to, which is so many bytes; or what is wrong with it, as text.

    The headers of the frames were read before, and have these sizes.
    """
    decompressor = _kept.__dict__.get("decompressor")
    if decompressor is None:
        decompressor = _kept.decompressor = zstandard.ZstdDecompressor()
    contents: list[bytes | str] = []
    for start, stop in _turns(sizes, UNPACKED_IN_A_TURN):
        contents += _unpacked(decompressor, list(frames[start:stop]), sizes[start:stop])
    return contents


def _turns(sizes: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Yield from where to where contents of such sizes go together."""
    start = total = 0
    for place, size in enumerate(sizes):
        if place > start and (4 * size >= most or total + size > most):
            yield start, place
            start, total = place, 0
        total += size
        if 4 * size >= most:
            yield start, place + 1
            start, total = place + 1, 0
    if start < len(sizes):
        yield start, len(sizes)


def _unpacked(decompressor: zstandard.ZstdDecompressor, frames: list[bytes], sizes: Sequence[int]) -> list[bytes | str]:
    """Unpack these in one turn; where one of them is bad, either half by itself."""
    if len(frames) == 1:
        return [_unpacked_alone(decompressor, frames[0])]
    if not MANY_AT_ONCE:
        return [_unpacked_alone(decompressor, frame) for frame in frames]
    lengths = struct.pack(f"={len(sizes)}Q", *sizes)
    try:
        contents = decompressor.multi_decompress_to_buffer([*frames], decompressed_sizes=lengths)
    except zstandard.ZstdError:
        half = len(frames) // 2
        return _unpacked(decompressor, frames[:half], sizes[:half]) + _unpacked(
            decompressor, frames[half:], sizes[half:]
        )
    return [*_all_of(contents)]


def _unpacked_alone(decompressor: zstandard.ZstdDecompressor, frame: bytes) -> bytes | str:
    try:
        return decompressor.decompress(frame)
    except zstandard.ZstdError as error:
        return str(error)


def _all_of(segments: zstandard.BufferWithSegmentsCollection) -> list[bytes]:
    return [segments[place].tobytes() for place in range(len(segments))]
