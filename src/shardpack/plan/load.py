"""What comes for which hash key: shards' loads, and where to cut the range of a hot one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from heapq import nlargest
from itertools import accumulate
from math import isfinite

from .._native.md5 import hash_keys
from ..errors import abridged
from ..limits import whole_number
from ..shards import HASH_KEYS, ShardMap

MAX_POINTS = 65_536
"""Hash keys that a load tells apart. Of more, the lighter ones are taken together by ``CELLS``: about 10 MB in all."""

CELLS = 16_384
"""Equal parts of the hash range. What is taken together counts as in the middle of its cell: no weight is lost, and a
sum over hash keys is wrong by no more than the lighter keys of the two cells at its ends."""


class Load:
    """How much comes for which hash key: bytes a second, or records, or whatever is counted. Immutable, thread-safe.

    Made of pairs of a hash key and its weight; those of one hash key are summed. Raises ``ValueError`` for a hash key
    that is none, and for a weight that is negative or not finite.
    """

    __slots__ = ("_hash_keys", "_sums", "_weights", "heaviest", "total")

    total: float
    """Of all weights."""
    heaviest: float
    """The most that comes for one hash key."""

    def __init__(self, points: Iterable[tuple[int, float]]) -> None:
        found: dict[int, float] = {}
        for hash_key, weight in points:
            at = whole_number("a hash key", hash_key)
            if not 0 <= at < HASH_KEYS:
                raise ValueError(f"{abridged(at)} is no hash key: they are from 0 to 2**128 - 1")
            if not (weight >= 0 and isfinite(weight)):
                raise ValueError(f"the weight of hash key {at} is {weight!r}, which no load is")
            found[at] = found.get(at, 0) + weight
            if len(found) > 2 * MAX_POINTS:
                found = _folded(found)
        if len(found) > MAX_POINTS:
            found = _folded(found)
        self._hash_keys = sorted(found)
        self._weights = [found[hash_key] for hash_key in self._hash_keys]
        self._sums = list(accumulate(self._weights, initial=0.0))
        self.total, self.heaviest = self._sums[-1], max(self._weights, default=0.0)

    @classmethod
    def of_keys(cls, weights: Mapping[str, float]) -> Load:
        """Make the load of partition keys, each with its weight. Raises ``InvalidPartitionKeyError`` as well."""
        found = hash_keys(list(weights))
        return cls((found[i], weight) for i, weight in enumerate(weights.values()))

    def between(self, first: int, last: int) -> float:
        """Return what comes for the hash keys from ``first`` to ``last``, both included."""
        return self.below(last + 1) - self.below(first)

    def below(self, hash_key: int) -> float:
        """Return what comes for the hash keys less than this one."""
        return self._sums[bisect_left(self._hash_keys, hash_key)]

    def by_shard(self, shard_map: ShardMap) -> list[float]:
        """Return what comes for each shard of the map."""
        sums = [self.below(shard.starting_hash_key) for shard in shard_map]
        return [after - before for before, after in zip(sums, [*sums[1:], self.total], strict=True)]

    def split_point(self, first: int = 0, last: int = HASH_KEYS - 1) -> int | None:
        """Return the hash key at which to split a shard, so that the heavier part of the two is as light as can be.

        This is the weighted median of what comes between ``first`` and ``last``, the shard's first and last hash keys:
        the ``NewStartingHashKey`` of SplitShard, in the middle of the gap between the two keys that it parts. ``None``
        where all that comes is for one hash key, or nothing comes: then no split helps.
        """
        begin, end = bisect_left(self._hash_keys, first), bisect_left(self._hash_keys, last + 1)
        while begin < end and not self._weights[begin]:
            begin += 1
        while begin < end and not self._weights[end - 1]:
            end -= 1
        if end - begin < 2:
            return None
        lower, upper = self._sums[begin], self._sums[end]
        # the first cut with half of it or more below, or the one before
        cut = min(max(bisect_left(self._sums, (lower + upper) / 2, begin + 1, end), begin + 1), end - 1)
        if cut - 1 > begin and upper - self._sums[cut - 1] <= self._sums[cut] - lower:
            cut -= 1
        below, above = self._hash_keys[cut - 1], self._hash_keys[cut]
        return below + (above - below + 1) // 2

    def __iter__(self) -> Iterator[tuple[int, float]]:
        """Give hash keys in order, each with its weight."""
        return zip(self._hash_keys, self._weights, strict=True)

    def __len__(self) -> int:
        """Return how many hash keys are told apart."""
        return len(self._hash_keys)

    def __repr__(self) -> str:
        return f"<Load of {self.total:g} over {len(self):,} hash keys>"


def most_to_mean(loads: Iterable[float]) -> float:
    """Return how much the heaviest shard has of what each would have if they were even; 1 where nothing comes."""
    each = list(loads)
    return max(each) * len(each) / sum(each) if any(each) else 1.0


def _folded(points: dict[int, float]) -> dict[int, float]:
    """Keep the heavier half of what may be told apart; take the others together by cells."""
    heavy = dict(nlargest(MAX_POINTS // 2, points.items(), key=lambda point: point[1]))
    kept = heavy.copy()
    width = HASH_KEYS // CELLS
    for hash_key, weight in points.items():
        if hash_key not in heavy:
            middle = hash_key // width * width + width // 2
            kept[middle] = kept.get(middle, 0) + weight
    return kept
