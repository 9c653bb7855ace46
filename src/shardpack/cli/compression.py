"""Compressed bytes, told by how they begin, unpacked as they come and a bounded piece at a time."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class CompressionError(ValueError):
    """Compressed data that are damaged, cut off, or none; or nothing is installed that unpacks them."""


class Decompressor(Protocol):
    """One compressed stream, as ``bz2`` and ``lzma`` of the standard library have it."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What came behind its end."""
        ...

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return what ``data`` unpacks to, about ``max_length`` bytes at most; the rest comes with the next calls."""
        ...


class GzipDecompressor:
    """``zlib``'s, which gives back the input that is left for later."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail + data, max_length)


class ZstandardDecompressor:
    """The ``zstandard`` package's, which unpacks all that it is given at once: it gets little at a time."""

    SLICE_BYTES = 1024  # 32 MiB at the very most, when unpacked

    def __init__(self) -> None:
        try:
            import zstandard  # noqa: PLC0415 (of an extra)
        except ModuleNotFoundError:
            raise CompressionError(
                "Zstandard data need the package zstandard: pip install 'shardpack[codec]'"
            ) from None
        self._stream: Any = zstandard.ZstdDecompressor().decompressobj()
        self._error: type[Exception] = zstandard.ZstdError
        self._held = memoryview(b"")

    @property
    def eof(self) -> bool:
        return bool(self._stream.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._stream.unused_data) + bytes(self._held)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if data:
            self._held = memoryview(bytes(self._held) + data)
        unpacked: list[bytes] = []
        size = 0
        while self._held and size < max_length and not self.eof:
            try:
                unpacked.append(self._stream.decompress(self._held[: self.SLICE_BYTES]))
            except self._error as error:
                raise ValueError(str(error)) from None
            size += len(unpacked[-1])
            self._held = self._held[self.SLICE_BYTES :]
        return b"".join(unpacked)


@dataclass(frozen=True, slots=True)
class Format:
    """A way to compress: the suffix of a file's name, how its data begin, and what unpacks them."""

    name: str
    suffix: str
    magics: tuple[bytes, ...]
    new_decompressor: Callable[[], Decompressor]


FORMATS = (
    Format("gzip", ".gz", (b"\x1f\x8b",), GzipDecompressor),
    Format("bzip2", ".bz2", (b"BZh",), bz2.BZ2Decompressor),
    Format("xz", ".xz", (b"\xfd7zXZ\x00",), lzma.LZMADecompressor),
    Format(
        "Zstandard",
        ".zst",
        # a frame, or one to be skipped, which some writers begin with. RFC 8878, sections 3.1.1 and 3.1.2
        (b"\x28\xb5\x2f\xfd", *(bytes([first, 0x2A, 0x4D, 0x18]) for first in range(0x50, 0x60))),
        ZstandardDecompressor,
    ),
)


class Unpacker:
    """Unpacks what a file or a pipe holds: compressed streams one after another, or bytes that pass as they are.

    ``feed`` it what was read, then ``read`` until that gives nothing; ``finish`` it at the end. Errors are
    ``CompressionError``.
    """

    def __init__(self, file: str) -> None:
        suffix = Path(file).suffix.lower()
        self._expected = next((form for form in FORMATS if form.suffix == suffix), None)
        self._format: Format | None = None
        self._stream: Decompressor | None = None
        self.plain = False
        """Whether what is fed is known not to be compressed."""
        self._held = b""
        self.empty = True
        """Whether ``read`` has nothing without more input."""

    def feed(self, data: bytes) -> None:
        self._held += data
        self.empty = False

    def read(self, max_length: int) -> bytes:
        """Return the next bytes, about ``max_length`` at most when they were compressed; nothing until more is fed."""
        unpacked = b""
        while not unpacked:
            if self._stream is None and not self.plain:
                self._begin(at_end=False)
            if self.plain:
                unpacked, self._held = self._held, b""
            if self._stream is None:
                break
            unpacked = self._decompress(self._stream, max_length)
            if self._stream is not None:
                break
        self.empty = not unpacked
        return unpacked

    def finish(self) -> bytes:
        """Return what was held to see how it goes on. Raises when the last compressed stream is not at its end."""
        if self._stream is not None:
            raise CompressionError(f"the {self._what} data are cut off")
        if not self.plain:
            self._begin(at_end=True)
        rest, self._held = self._held, b""
        return rest

    @property
    def _what(self) -> str:
        return "" if self._format is None else self._format.name

    def _begin(self, *, at_end: bool) -> None:
        """Begin to unpack a stream, once enough is there to tell what it is."""
        if self._format is not None:
            self._held = self._held.lstrip(b"\0")  # padding, as of tapes
            if not self._held:
                return
        for form in FORMATS:
            if self._held.startswith(form.magics):
                self._format, self._stream = form, form.new_decompressor()
                return
        if not at_end and any(magic.startswith(self._held) for form in FORMATS for magic in form.magics):
            return
        if self._format is not None:
            raise CompressionError(f"what follows the {self._what} data is not compressed")
        if self._expected is not None:
            raise CompressionError(f"not {self._expected.name} data, though its name ends in {self._expected.suffix}")
        self.plain = True

    def _decompress(self, stream: Decompressor, max_length: int) -> bytes:
        data, self._held = self._held, b""
        try:
            unpacked = stream.decompress(data, max_length)
        except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
            raise CompressionError(f"the {self._what} data are damaged: {error}") from None
        if stream.eof:
            self._held, self._stream = stream.unused_data, None
        return unpacked
