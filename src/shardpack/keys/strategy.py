"""What a key strategy is, and what the strategies here share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Key = str | bytes | None
HashKey = int | str | None

Many = tuple[Sequence[Key], Sequence[HashKey] | None]


class KeyStrategy(Protocol):
    """What a producer asks for the key of each user record: any function of partition key and data, as they were put.

    It runs in the thread that puts, which may be any. A `BatchStrategy` is asked once for a batch; any other is called
    for each of its user records.
    """

    def __call__(self, key: Any, data: Any, /) -> Key | tuple[Key, HashKey]:
        """Return the key to put a user record with, or that and an explicit hash key."""
        ...


class BatchStrategy(KeyStrategy, Protocol):
    """A key strategy that takes a batch at once, as all of ``shardpack.keys`` do."""

    def many(self, keys: Sequence[Any], datas: Sequence[Any]) -> Many:
        """Return as many keys as there are user records, and an explicit hash key for each, or ``None`` for none."""
        ...


def size_of(data: Any) -> int:
    """Return how many bytes data has, as far as it tells."""
    try:
        return len(data)
    except TypeError:
        return 0


def sizes_of(datas: Sequence[Any]) -> list[int]:
    """The same of many."""
    try:
        return list(map(len, datas))
    except TypeError:
        return list(map(size_of, datas))
