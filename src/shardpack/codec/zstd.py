"""Zstandard by whichever library is there: ``zstandard`` (extra ``codec``), or ``compression.zstd`` of Python 3.14.

Many at a time, because both give the GIL up for each call: beside a thread that computes in Python every call of its
own may cost 5 ms.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

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


MISSING = (
    "zstd needs a library: pip install 'shardpack[codec]', which brings zstandard, or Python 3.14 or later, which has "
    "compression.zstd"
)


def library() -> Library:
    """Return the library that is there, the faster one first. Raises ``ImportError`` with what to install."""
    for module in (".zstd_zstandard", ".zstd_python"):
        try:
            found: Library = import_module(module, __package__)
        except ImportError:
            continue
        return found
    raise ImportError(MISSING)
