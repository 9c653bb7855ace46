"""Zstandard by whichever library is there: ``zstandard`` (extra ``codec``), or ``compression.zstd`` of Python 3.14.

Many at a time, because both give the GIL up for each call: beside a thread that computes in Python every call of its
own may cost 5 ms.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    Unpack = Callable[[Sequence[bytes], Sequence[int]], list[bytes | str]]

    class Library(Protocol):
        """What is needed of a library."""

        def compress_many(self, contents: Sequence[bytes | bytearray | memoryview], level: int) -> list[bytes]:
            """Return a frame for each, with its content's size in its header and a checksum behind it."""
            ...

        def decompress_many(self, frames: Sequence[bytes], sizes: Sequence[int]) -> list[bytes | str]:
            """Return what each unpacks to, or what is wrong with it, as text.

            The sizes are those that stand in the frames' own headers; somebody has looked at them before.
            """
            ...

    class DictionaryLibrary(Protocol):
        """What is needed of a library where there are dictionaries."""

        def compressor(self, dictionary: bytes, level: int) -> Callable[[Sequence[bytes]], list[bytes]]:
            """Return what makes a frame of each content, with id and size in its header, without a checksum."""
            ...

        def decompressor(self, dictionary: bytes | None) -> Unpack:
            """Return what unpacks frames of so many bytes each, or says what is wrong with one, as text.

            The sizes are those of the frames' headers.
            """
            ...

        def train(self, samples: list[bytes], size: int) -> bytes:
            """Return a dictionary of at most so many bytes. Raises ``ValueError`` for samples that make none."""
            ...

        def load(self, dictionary: bytes) -> None:
            """Raise ``ValueError`` for a dictionary that is damaged."""
            ...


MISSING = (
    "zstd needs a library: pip install 'shardpack[codec]', which brings zstandard, or Python 3.14 or later, which has "
    "compression.zstd"
)


def library() -> Library:
    """Return the library that is there, the faster one first. Raises ``ImportError`` with what to install."""
    found: Library = _first("zstd_zstandard", "zstd_python")
    return found


def dictionary_library() -> DictionaryLibrary:
    """The same, of what is done with dictionaries."""
    found: DictionaryLibrary = _first("zstd_dictionary_zstandard", "zstd_dictionary_python")
    return found


def _first(*modules: str) -> Any:
    for module in modules:
        try:
            return import_module(f".{module}", __package__)
        except ImportError:
            continue
    raise ImportError(MISSING)
