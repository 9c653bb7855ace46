"""What to do, in which order, so that a stream's shards have other borders: one call after the other."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

from ..errors import ShardpackError
from ..limits import whole_number
from ..shards import HASH_KEYS, Shard, ShardMap
from .load import Load, most_to_mean
from .resharding_target import MOST, Borders, balanced_borders, borders_of, can_split, even_borders

Operation: TypeAlias = Literal["SplitShard", "MergeShards", "UpdateShardCount"]

MOST_SHARDS = 10_000
"""That UpdateShardCount scales to, and this here."""

CALLS_A_DAY = 10
"""Of UpdateShardCount, for each stream. Source: API reference of UpdateShardCount."""


MOST_COMPARED = 100
"""Splits, or merges, of which the next is chosen by load: for thousands that would take longer than it is worth."""


class ReshardError(ShardpackError):
    """A stream cannot be resharded, or was not to the end; what was done stands, and every hash key has its shard."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call, and how many shards are open after it."""

    operation: Operation
    shard_count: int
    hash_key: int | None = None
    """The border between two shards that SplitShard makes, its NewStartingHashKey, or that MergeShards takes away."""

    def applied(self, borders: Borders) -> Borders:
        """Return the borders after it. Raises ``ReshardError`` for one that the service would refuse."""
        match self.operation:
            case "UpdateShardCount":
                shards = len(borders) + 1
                if not -(-shards // 2) <= self.shard_count <= 2 * shards:
                    raise ReshardError(f"UpdateShardCount from {shards} to {self.shard_count}: it halves and doubles")
                return even_borders((), self.shard_count)
            case "SplitShard":
                assert self.hash_key is not None
                edges = [0, *borders, HASH_KEYS]
                place = bisect_right(edges, self.hash_key)
                if not can_split(edges[place - 1], self.hash_key, edges[place]):
                    raise ReshardError(f"no shard can be split at {self.hash_key}")
                return (*edges[1:place], self.hash_key, *edges[place:-1])
            case _:
                if self.hash_key not in borders:
                    raise ReshardError(f"no two shards meet at {self.hash_key}")
                return tuple(border for border in borders if border != self.hash_key)


@dataclass(frozen=True, slots=True)
class ReshardPlan:
    """Where a stream's shards end, where they should, and what leads there. Without ``steps`` nothing is to be done."""

    before: ShardMap
    borders: Borders
    """The first hash key of each shard but the first, in the end."""
    steps: tuple[Step, ...]
    load: Load | None = None

    @property
    def after(self) -> ShardMap:
        """The shards in the end. Those that are new have no id yet."""
        ids = {(shard.starting_hash_key, shard.ending_hash_key): shard.shard_id for shard in self.before}
        ends = [border - 1 for border in (*self.borders, HASH_KEYS)]
        ranges = zip((0, *self.borders), ends, strict=True)
        return ShardMap(Shard(ids.get(each, ""), *each) for each in ranges)

    @property
    def ratio_before(self) -> float | None:
        """The heaviest shard's load in means; ``None`` without a load."""
        return None if self.load is None else most_to_mean(self.load.by_shard(self.before))

    @property
    def ratio_after(self) -> float | None:
        """The same in the end."""
        return None if self.load is None else most_to_mean(self.load.by_shard(self.after))

    @property
    def too_heavy(self) -> tuple[int, ...]:
        """Hash keys that alone have more than 1.3 means, heaviest first: only other partition keys help these."""
        if self.load is None:
            return ()
        most = MOST * self.load.total / (len(self.borders) + 1)
        heavy = [(weight, hash_key) for hash_key, weight in self.load if weight > most]
        return tuple(hash_key for _, hash_key in sorted(heavy, reverse=True))


def reshard_steps(
    shard_map: ShardMap,
    *,
    to: int | None = None,
    balance: bool = False,
    borders: Iterable[int] | None = None,
    load: Load | None = None,
    max_shards: int | None = None,
    room: int | None = None,
    update_shard_count: bool = True,
) -> ReshardPlan:
    """Plan how a stream comes to ``to`` shards of even ranges, to a balanced ``load``, or to ``borders``. Pure.

    ``to``: UpdateShardCount, several times where it is more than twice or less than half as many; by splits and merges
    where these are no more calls, where there are as many shards already and their ranges differ, or where
    ``update_shard_count`` is false.
    ``balance``: no shard has more than 1.3 times the mean of ``load``; where one has, the fewest splits, at the hash
    key that parts its load, and merges that lead below 1.15, or as near as can be. As many shards as there are, or up
    to ``max_shards`` where that takes fewer steps; a plan for fewer where ``max_shards`` is less.
    ``room``: how many more shards the account may have, for steps split first and merge later where they may.

    Each step is one that the service takes, and after each every hash key has its shard. Raises ``ValueError`` unless
    it is one of the three, and for a number of shards that is not from 1 to 10,000.
    """
    if sum((to is not None, balance, borders is not None)) != 1:
        raise ValueError("give one of to, balance and borders")
    old = borders_of(shard_map)
    if to is not None:
        target = even_borders(old, _shard_count("to", to))
        if len(target) != len(old) and update_shard_count:
            steps = [Step("UpdateShardCount", count) for count in scaling(len(shard_map), to)]
            if len(steps) < len(set(old) ^ set(target)):
                return ReshardPlan(shard_map, even_borders((), to), tuple(steps), load)
    elif borders is not None:
        target = tuple(borders)
        _check(target)
    else:
        if load is None:
            raise ValueError("to balance shards takes their load")
        target = _balanced(old, load, max_shards)
    return ReshardPlan(shard_map, target, tuple(in_order(old, target, load, room)), load)


def scaling(count: int, to: int) -> list[int]:
    """Return the numbers of shards by which UpdateShardCount, which doubles or halves at most, comes to ``to``."""
    found = []
    while count != to:
        count = min(to, 2 * count) if to > count else max(to, -(-count // 2))
        found.append(count)
    return found


def in_order(old: Borders, new: Borders, load: Load | None = None, room: int | None = None) -> list[Step]:
    """Return the splits and merges that lead from ``old`` to ``new`` borders.

    The shard that is heaviest then is split first, or without a load the widest, and those are merged first that are
    lightest together. On the way there is one shard more than in the end, if there were not more before, and none where
    the account has no ``room``. Begun anew in the middle, it goes on in the same way.
    """
    edges = [0, *old, HASH_KEYS]
    splits, merges = sorted(set(new) - set(old)), sorted(set(old) - set(new))
    count, target = len(old) + 1, len(new) + 1
    most = target if room is not None and count + room <= target else target + 1

    def weight(low: int, high: int) -> float:
        return high - low if load is None else load.between(low, high - 1)

    def split_weight(at: int) -> float:
        place = bisect_right(edges, at)
        return weight(edges[place - 1], edges[place])

    def merged_weight(at: int) -> float:
        place = bisect_left(edges, at)
        return weight(edges[place - 1], edges[place + 1])

    steps = []
    while splits or merges:
        if splits and (count < most or not merges):
            at = max(splits[:MOST_COMPARED], key=split_weight)
            splits.remove(at)
            insort(edges, at)
            count += 1
            steps.append(Step("SplitShard", count, at))
        else:
            at = min(merges[:MOST_COMPARED], key=merged_weight)
            merges.remove(at)
            edges.remove(at)
            count -= 1
            steps.append(Step("MergeShards", count, at))
    return steps


def _balanced(old: Borders, load: Load, max_shards: int | None) -> Borders:
    count = len(old) + 1
    most = count if max_shards is None else _shard_count("max_shards", max_shards)
    if count <= most and most_to_mean(load.by_shard(_map_of(old))) <= MOST:
        return old
    return balanced_borders(old, load, min(count, most), most)


def _map_of(borders: Borders) -> ShardMap:
    edges = (0, *borders, HASH_KEYS)
    return ShardMap(Shard("", low, high - 1) for low, high in pairwise(edges))


def _shard_count(name: str, count: int) -> int:
    if not 1 <= whole_number(name, count) <= MOST_SHARDS:
        raise ValueError(f"{name} is {count}: from 1 to {MOST_SHARDS:,} shards")
    return count


def _check(borders: Borders) -> None:
    edges = (0, *borders, HASH_KEYS)
    if any(high - low < 2 for low, high in pairwise(edges)):
        raise ValueError("borders are hash keys in rising order, at least 2 apart")
