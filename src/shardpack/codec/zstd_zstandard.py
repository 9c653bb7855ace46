"""Zstandard by the ``zstandard`` package: contexts are kept by thread, many frames are one turn without the GIL."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import zstandard

_kept = threading.local()


def compress_many(contents: Sequence[bytes], level: int) -> list[bytes]:
    """Return a frame for each, with its content's size in its header and a checksum behind it."""
    compressors: dict[int, zstandard.ZstdCompressor] = _kept.__dict__.setdefault("compressors", {})
    compressor = compressors.get(level)
    if compressor is None:
        compressor = compressors[level] = zstandard.ZstdCompressor(level=level, write_checksum=True)
    return [compressor.compress(content) for content in contents]


def decompress_many(frames: Sequence[bytes], sizes: Sequence[int]) -> list[bytes | str]:
    """Return what each unpacks to, which is so many bytes; or what is wrong with it, as text."""
    decompressor = _kept.__dict__.setdefault("decompressor", None) or zstandard.ZstdDecompressor()
    _kept.decompressor = decompressor
    return [_decompressed(decompressor, frame, size) for frame, size in zip(frames, sizes, strict=True)]


def _decompressed(decompressor: zstandard.ZstdDecompressor, frame: bytes, size: int) -> bytes | str:
    try:
        header = zstandard.get_frame_parameters(frame)
        if header.content_size != size or not header.has_checksum:
            return "the frame has no checksum, or another size than the record says"
        return decompressor.decompress(frame, max_output_size=size)
    except zstandard.ZstdError as error:
        return str(error)
