"""Many in slices, so that what is made of one on the way is bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

SLICE_BYTES = 1024 * 1024
"""About 1 ms of work or more, and of memory beside what is made."""


def slices(many: Sequence[bytes], sizes: Sequence[int]) -> Iterator[list[Any]]:
    """Yield all in their order, in lists that end where their sizes come to 1 MiB."""
    some: list[bytes] = []
    together = 0
    for one, size in zip(many, sizes, strict=True):
        some.append(one)
        together += size
        if together >= SLICE_BYTES:
            yield some
            some, together = [], 0
    if some:
        yield some
