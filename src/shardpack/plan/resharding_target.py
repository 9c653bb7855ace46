"""The borders that shards should have: even ranges, or even loads with as few splits and merges as that takes.

A border is the first hash key of a shard, but for that of the first one: n shards have n - 1. A split adds one, a merge
removes one, so what lies between two maps is the borders that only one of them has.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

from ..shards import HASH_KEYS, ShardMap
from .load import Load

Borders = tuple[int, ...]

EVEN_WITHIN = 0.01
"""Of a shard's width: a border that is so near to where it should be stays there."""

AIM = 1.15
MOST = 1.3
"""Heaviest shard to mean: above ``MOST`` shards are balanced; to ``AIM`` where that can be, so that it lasts."""

MOST_TRIALS = 4_000_000
"""Ways to keep old borders that are compared, in a few seconds. Where there are more, hundreds of shards of which most
have to change, borders are set anew, and old ones kept only where they lie as well."""


def borders_of(shard_map: ShardMap) -> Borders:
    """Return where the shards of a map begin, without the first."""
    return tuple(shard.starting_hash_key for shard in shard_map)[1:]


def even_borders(borders: Borders, count: int) -> Borders:
    """Return the borders of ``count`` shards of equal ranges; of those given, the ones that are near enough."""
    width = HASH_KEYS // count
    found = []
    for at in range(width, width * count, width):
        near = borders[max(0, bisect_left(borders, at) - 1) :][:2]
        best = min(near, key=lambda border: abs(border - at), default=at)
        found.append(best if abs(best - at) <= EVEN_WITHIN * width else at)
    return tuple(found)


def can_split(before: int, at: int, after: int) -> bool:
    """Tell whether SplitShard takes the hash key ``at`` for a shard from ``before`` until ``after``.

    It is to be greater than the shard's first hash key plus one, and less than its last. Source: what the service says
    when it is not.
    """
    return before + 1 < at < after - 1


def balanced_borders(borders: Borders, load: Load, least: int, most: int) -> Borders:
    """Return borders by which no shard has more than ``AIM`` times the mean, or ``MOST``, or as little more as can be.

    Of ``least`` to ``most`` shards; with the fewest splits and merges, then with the fewest shards. Where hash keys
    alone have more than that, each gets a shard of its own, as far as there are enough, of ``least``.
    """
    points = _Points(load)
    if not points.total:
        return borders if least > len(borders) else even_borders(borders, least)
    nodes = [0, *(bisect_left(points.hash_keys, border) for border in borders), len(points.hash_keys)]
    counts = range(least, most + 1)
    for ratio, alone in ((AIM, AIM), (AIM, MOST), (MOST, MOST), (AIM, 0.0), (MOST, 0.0)):
        tries = [
            keeping
            for count in (counts if alone else counts[:1])
            if not alone or points.heaviest * count <= alone * points.total
            if (keeping := _Keeping(points, nodes, count, ratio * points.total / count)).is_possible
        ]
        if tries:
            break
    else:
        tries = [_Keeping(points, nodes, least, points.least_cap(least))]
    keeping, kept = _fewest_steps(tries, len(borders) + 1)
    return _cut(keeping, borders, kept)


class _Points:
    """Hash keys with a load, in order, and the sums of their weights."""

    def __init__(self, load: Load) -> None:
        points = [(hash_key, weight) for hash_key, weight in load if weight]
        self.hash_keys = [hash_key for hash_key, _ in points]
        self.sums = list(accumulate((weight for _, weight in points), initial=0.0))
        self.total = self.sums[-1]
        self.heaviest = max((weight for _, weight in points), default=0.0)

    def parts(self, begin: int, end: int, cap: float) -> Iterator[int]:
        """Yield where each part ends, for the fewest that have no more than ``cap``, or one point that has more."""
        slack = cap * (1 + 1e-9)
        while begin < end:
            full = bisect_right(self.sums, self.sums[begin] + slack, begin, end + 1) - 1
            begin = max(full, begin + 1)
            yield begin

    def part_count(self, begin: int, end: int, cap: float) -> int:
        """Return how many those are, and one where nothing comes."""
        return max(1, sum(1 for _ in self.parts(begin, end, cap)))

    def least_cap(self, count: int, begin: int = 0, end: int | None = None) -> float:
        """Return about the smallest cap with which there are no more than ``count`` parts."""
        end = len(self.hash_keys) if end is None else end
        low, high = 0.0, self.sums[end] - self.sums[begin]
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (low, middle) if self.part_count(begin, end, middle) <= count else (middle, high)
        return high


class _Keeping:
    """Which old borders ``count`` shards of no more than ``cap`` keep: with each one given up, how few shards it takes.

    ``fewest[d][j]`` is how many shards cover what lies below the j-th border, when that is kept and d below it are not.
    """

    def __init__(self, points: _Points, nodes: Sequence[int], count: int, cap: float) -> None:
        self.count, self.cap = count, cap
        self.points, self.nodes = points, nodes
        self._fewest: list[list[float]] = []
        self._spans: list[list[int]] = []  # by how many borders lie within
        self.trials = 0

    @property
    def is_possible(self) -> bool:
        return self.points.part_count(0, len(self.points.hash_keys), self.cap) <= self.count

    def enough(self, given_up: int) -> bool:
        """Tell whether it is enough to give up so many borders. Asked for each number in turn."""
        while len(self._fewest) <= given_up:
            self._extend()
        return self._fewest[given_up][-1] <= self.count

    def _extend(self) -> None:
        points, nodes, level = self.points, self.nodes, len(self._fewest)
        ends = range(len(nodes))
        self._spans.append(
            [0 if j <= level else points.part_count(nodes[j - level - 1], nodes[j], self.cap) for j in ends]
        )
        row = [float("inf")] * len(nodes)
        row[0] = 0.0 if level == 0 else float("inf")
        self._fewest.append(row)
        for j in ends[1:]:
            row[j] = min(
                (self._fewest[level - e][j - e - 1] + self._spans[e][j] for e in range(min(level, j - 1) + 1)),
                default=float("inf"),
            )
        self.trials += len(nodes) * (level + 1)

    def kept(self, given_up: int) -> list[int]:
        """Return the numbers of the nodes that are kept, both ends among them."""
        j, found = len(self.nodes) - 1, [len(self.nodes) - 1]
        while j:
            e = min(
                range(min(given_up, j - 1) + 1), key=lambda e: self._fewest[given_up - e][j - e - 1] + self._spans[e][j]
            )
            given_up, j = given_up - e, j - e - 1
            found.append(j)
        return found[::-1]


def _fewest_steps(tries: Sequence[_Keeping], shards: int) -> tuple[_Keeping, list[int]]:
    """Return the way with the fewest steps, and the nodes that it keeps: to give up d borders takes d merges, and d
    splits, and one more of these for each shard more."""
    for steps in range(2 * shards + max(keeping.count for keeping in tries)):
        for keeping in tries:
            given_up, odd = divmod(steps - (keeping.count - shards), 2)
            if odd or not 0 <= given_up < shards:
                continue
            if keeping.enough(given_up):
                return keeping, keeping.kept(given_up)
            if sum(each.trials for each in tries) > MOST_TRIALS:
                return keeping, [0, shards]
    return tries[0], [0, shards]


def _cut(keeping: _Keeping, borders: Borders, kept: Sequence[int]) -> Borders:
    """Return the borders that are kept and those to be made between them, for as many shards as it was about."""
    points, nodes = keeping.points, keeping.nodes
    edges = [0, *borders, HASH_KEYS]
    found = [edges[node] for node in kept]
    for first, last in pairwise(kept):
        begin, end = nodes[first], nodes[last]
        parts = points.part_count(begin, end, keeping.cap)
        for at in [*points.parts(begin, end, points.least_cap(parts, begin, end))][:-1]:
            _add(found, borders, points.hash_keys[at - 1], points.hash_keys[at])
    while len(found) <= keeping.count and _split_one(points, borders, found):
        pass
    return tuple(found[1:-1])


def _split_one(points: _Points, borders: Borders, found: list[int]) -> bool:
    """Cut the heaviest shard that has two hash keys with a load, else the widest. Returns whether there is one."""
    keys, sums = points.hash_keys, points.sums
    shards = []
    for low, high in pairwise(found):
        begin, end = bisect_left(keys, low), bisect_left(keys, high)
        shards.append((sums[end] - sums[begin] if end - begin > 1 else 0.0, high - low, low, high, begin, end))
    for weight, _, low, high, begin, end in sorted(shards, reverse=True):
        if weight:
            middle = min(range(begin + 1, end), key=lambda at: max(sums[at] - sums[begin], sums[end] - sums[at]))
            if _add(found, borders, keys[middle - 1], keys[middle]):
                return True
        elif _add(found, borders, low, high - 1):
            return True
    return False


def _add(found: list[int], borders: Borders, below: int, above: int) -> bool:
    """Put a border between two hash keys: an old one, else in the middle of the gap. Returns whether that can be."""
    middle = below + (above - below + 1) // 2
    old = borders[bisect_right(borders, below) : bisect_right(borders, above)]
    at = min(old, key=lambda border: abs(border - middle), default=middle)
    place = bisect_left(found, at)
    near = [0, *borders, HASH_KEYS]
    old_place = bisect_left(near, at)
    if found[place] == at or not (old or can_split(near[old_place - 1], at, near[old_place])):
        return False
    if not can_split(found[place - 1], at, found[place]):
        return False
    found.insert(place, at)
    return True
