"""Zstandard with dictionaries by the ``zstandard`` package: many frames are one turn without the GIL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import zstandard

from .slices import slices

TOGETHER = 8 if "multi_compress_to_buffer" in zstandard.backend_features else float("inf")
"""From so many on contents are compressed together. That makes a context; one by one, each gives up the GIL."""


def compressor(dictionary: bytes, level: int) -> Callable[[Sequence[bytes]], list[bytes]]:
    """Return what makes a frame of each content, with id and size in its header, without a checksum. Any thread may."""
    loaded = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_FULLDICT)
    loaded.precompute_compress(level=level)
    kept = threading.local()

    def compress_many(contents: Sequence[bytes]) -> list[bytes]:
        context: zstandard.ZstdCompressor | None = getattr(kept, "context", None)
        if context is None:
            context = kept.context = zstandard.ZstdCompressor(level=level, dict_data=loaded)
        if len(contents) < TOGETHER:
            return [context.compress(content) for content in contents]
        frames: list[bytes] = []
        for some in slices(contents, [len(content) for content in contents]):
            if all(some) and len(some) > 1:  # an empty one is refused there
                frames += _segments(context.multi_compress_to_buffer(some))
            else:
                frames += [context.compress(content) for content in some]
        return frames

    return compress_many


def decompressor(dictionary: bytes | None) -> Callable[[Sequence[bytes], Sequence[int]], list[bytes | str]]:
    """Return what unpacks frames of so many bytes each, or says what is wrong with one, as text. Any thread may."""
    loaded = None if dictionary is None else zstandard.ZstdCompressionDict(dictionary)
    kept = threading.local()

    def decompress_many(frames: Sequence[bytes], sizes: Sequence[int]) -> list[bytes | str]:
        context: zstandard.ZstdDecompressor | None = getattr(kept, "context", None)
        if context is None:
            context = kept.context = zstandard.ZstdDecompressor(dict_data=loaded)
        if len(frames) < TOGETHER or not all(sizes):
            return [_decompressed(context, frame, size) for frame, size in zip(frames, sizes, strict=True)]
        contents: list[bytes | str] = []
        for some in slices(frames, sizes):
            try:
                contents += _segments(context.multi_decompress_to_buffer(some))
            except (zstandard.ZstdError, ValueError):  # one of them is bad: which?
                some_sizes = sizes[len(contents) : len(contents) + len(some)]
                contents += [_decompressed(context, frame, size) for frame, size in zip(some, some_sizes, strict=True)]
        return contents

    return decompress_many


def train(samples: list[Any], size: int) -> bytes:
    """Return a dictionary of at most so many bytes. Raises ``ValueError`` for samples that make none."""
    try:
        return zstandard.train_dictionary(size, samples).as_bytes()
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None


def load(dictionary: bytes) -> None:
    """Raise ``ValueError`` for a dictionary that is damaged."""
    try:
        zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_FULLDICT).precompute_compress(level=1)
    except zstandard.ZstdError as error:
        raise ValueError(f"the dictionary is damaged: {error}") from None


def _segments(collection: Any) -> list[bytes]:
    return [collection[i].tobytes() for i in range(len(collection))]


def _decompressed(context: zstandard.ZstdDecompressor, frame: bytes, size: int) -> bytes | str:
    try:
        return context.decompress(frame, max_output_size=size)
    except (zstandard.ZstdError, ValueError) as error:
        return str(error)
