"""Zstandard by ``compression.zstd`` of Python 3.14."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # pyright: ignore[reportMissingImports]

zstd_module: Any = zstd


def compress_many(contents: Sequence[bytes | bytearray | memoryview], level: int) -> list[bytes]:
    """Return a frame for each, with its content's size in its header and a checksum behind it."""
    parameter = zstd_module.CompressionParameter
    options = {parameter.compression_level: level, parameter.checksum_flag: 1, parameter.content_size_flag: 1}
    try:
        return [zstd_module.compress(content, options=options) for content in contents]
    except zstd_module.ZstdError as error:  # whose text says so: nothing else goes wrong
        raise MemoryError(str(error)) from None


def decompress_many(frames: Sequence[bytes], sizes: Sequence[int]) -> list[bytes | str]:
    """Return what each unpacks to, or what is wrong with it, as text. The headers of the frames have these sizes."""
    return [_decompressed(frame, size) for frame, size in zip(frames, sizes, strict=True)]


def _decompressed(frame: bytes, size: int) -> bytes | str:
    decompressor = zstd_module.ZstdDecompressor()
    try:
        content: bytes = decompressor.decompress(frame, max_length=size)
        if not decompressor.eof and len(content) == size:  # what ends the frame may have been left
            content += decompressor.decompress(b"", max_length=1)
    except zstd_module.ZstdError as error:
        return str(error)
    return content if decompressor.eof and len(content) == size else "the frame is cut off"
