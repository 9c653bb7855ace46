"""Zstandard with dictionaries by ``compression.zstd`` of Python 3.14."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # pyright: ignore[reportMissingImports]

zstd_module: Any = zstd


def compressor(dictionary: bytes, level: int) -> Callable[[Sequence[bytes]], list[bytes]]:
    """Return what makes a frame of each content, with id and size in its header, without a checksum. Any thread may."""
    loaded = zstd_module.ZstdDict(dictionary)
    parameter = zstd_module.CompressionParameter
    options = {parameter.compression_level: level, parameter.content_size_flag: 1, parameter.dict_id_flag: 1}

    kept = threading.local()

    def compress_many(contents: Sequence[bytes]) -> list[bytes]:
        context = kept.__dict__.pop("context", None)  # not there while it is used: an error leaves none behind
        if context is None:
            context = zstd_module.ZstdCompressor(options=options, zstd_dict=loaded.as_digested_dict)
        frames = []
        for content in contents:
            context.set_pledged_input_size(len(content))
            frames.append(context.compress(content, context.FLUSH_FRAME))
        kept.context = context
        return frames

    return compress_many


def decompressor(dictionary: bytes | None) -> Callable[[Sequence[bytes], Sequence[int]], list[bytes | str]]:
    """Return what unpacks frames of so many bytes each, or says what is wrong with one, as text. Any thread may."""
    loaded = None if dictionary is None else zstd_module.ZstdDict(dictionary)

    def decompressed(frame: bytes, size: int) -> bytes | str:
        context = zstd_module.ZstdDecompressor(zstd_dict=loaded)
        try:
            content: bytes = context.decompress(frame, max_length=size)
            if not context.eof and len(content) == size:  # what ends the frame may have been left
                content += context.decompress(b"", max_length=1)
        except zstd_module.ZstdError as error:
            return str(error)
        return content if context.eof and len(content) == size else "the frame is cut off"

    return lambda frames, sizes: [decompressed(frame, size) for frame, size in zip(frames, sizes, strict=True)]


def train(samples: list[bytes], size: int) -> bytes:
    """Return a dictionary of at most so many bytes. Raises ``ValueError`` for samples that make none."""
    try:
        content: bytes = zstd_module.train_dict(samples, size).dict_content
    except zstd_module.ZstdError as error:
        raise ValueError(str(error)) from None
    return content


def load(dictionary: bytes) -> None:
    """Raise ``ValueError`` for a dictionary that is damaged."""
    try:
        zstd_module.compress(b"", zstd_dict=zstd_module.ZstdDict(dictionary))
    except zstd_module.ZstdError as error:
        raise ValueError(f"the dictionary is damaged: {error}") from None
