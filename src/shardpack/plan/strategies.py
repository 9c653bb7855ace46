"""What each key strategy would give: how even the shards are then, and how many are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from math import ceil

from .._native.md5 import hash_keys
from ..keys import sub_keys
from ..limits import MIB, SHARD_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND
from ..shards import HASH_KEYS, ShardMap
from .load import Load, most_to_mean
from .sample import KeySeen, Sample, even_points

SPARE = 1.25
"""A strategy passes with so many times the shards that even load would need, or fewer, or with those that are there."""

MOST_TIMES = 4
"""More than so many times as many shards are not looked at."""

SALTS = (2, 4, 8, 16, 32, 64, 128, 256)
MOST_SALTED = 1_024
"""The heaviest keys are salted one by one; lighter ones count where they are, which changes little."""

HOT_BYTES_PER_SECOND = MIB / 2
MOST_HOT_SUB_KEYS = 64
"""The defaults of ``HotKeys``."""

HOT_PARTS = (1.0, 0.5, 0.25, 0.125)
"""When a key is hot: at so much of what half a shard takes, the first that passes."""

ABOUT = 0.1
TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Wire:
    """How user bytes and user records become those of Kinesis records, as parts of them."""

    bytes: float
    records: float

    def utilisation(self, user_bytes: float, user_records: float) -> float:
        """Return how full a shard is that gets so many a second, the larger part of both limits; 1 is full."""
        return max(
            user_bytes * self.bytes / SHARD_BYTES_PER_SECOND, user_records * self.records / SHARD_RECORDS_PER_SECOND
        )


@dataclass(frozen=True, slots=True)
class Demand:
    """What comes for which hash key a second: user bytes and user records."""

    bytes: Load
    records: Load

    @classmethod
    def of(cls, points: Iterable[tuple[int, float, float]], scale: float) -> Demand:
        """Make it of hash keys with bytes and records, and what these are multiplied with to be those of a second."""
        each = list(points)
        return cls(Load((at, size * scale) for at, size, _ in each), Load((at, count * scale) for at, _, count in each))

    def utilisation(self, wire: Wire, first: int, last: int) -> float:
        """Return how full a shard of this range is."""
        return wire.utilisation(self.bytes.between(first, last), self.records.between(first, last))

    def utilisations(self, wire: Wire, shard_map: ShardMap) -> list[float]:
        """Return that of every shard."""
        return [self.utilisation(wire, shard.starting_hash_key, shard.ending_hash_key) for shard in shard_map]

    def shards_if_even(self, wire: Wire, max_utilisation: float) -> int:
        """Return how many shards it would need if it were even."""
        return max(1, ceil(self.utilisation(wire, 0, HASH_KEYS - 1) / max_utilisation - TINY))

    def shards_needed(self, wire: Wire, max_utilisation: float) -> int | None:
        """Return with how many shards of equal ranges none is fuller than that.

        ``None`` where one hash key alone is too much, and where ``MOST_TIMES`` what even load needs do not do. Beyond
        128 shards not every number is looked at, but one in 64.
        """
        if wire.utilisation(self.bytes.heaviest, self.records.heaviest) > max_utilisation:
            return None
        count = least = self.shards_if_even(wire, max_utilisation)
        while count <= MOST_TIMES * max(least, 4):
            width = HASH_KEYS // count
            ends = (*range(width - 1, width * (count - 1), width), HASH_KEYS - 1)
            if all(self.utilisation(wire, i * width, end) <= max_utilisation + TINY for i, end in enumerate(ends)):
                return count
            count += max(1, count // 64)
        return None


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way to choose keys, and what shards get then."""

    name: str
    """As it is written: of ``shardpack.keys``, or the fields that are the key."""
    order: str
    """What remains in order."""
    most_to_mean: float
    """How much more than the mean the heaviest of the plan's shards gets, of user bytes; 1 is even."""
    utilisation: float
    """How full the fullest of the plan's shards is, in the plan's way."""
    shards_needed: Mapping[str, int | None]
    """By way: shards of equal ranges; ``None`` where no number does."""
    passes: bool
    """Whether it needs no more than the plan's shards, or ``SPARE`` times what even load needs."""
    demand: Demand
    """User bytes and records a second, by hash key."""


def strategies(
    sample: Sample,
    other_keys: Mapping[str, Sample],
    *,
    scale: float,
    wires: Mapping[str, Wire],
    way: str,
    shard_map: ShardMap,
    max_utilisation: float,
) -> tuple[Strategy, ...]:
    """Work out what each strategy gives, the least harm to order first; the keys as they are come before all."""
    wire = wires[way]

    def strategy(name: str, order: str, demand: Demand) -> Strategy:
        needed = {each: demand.shards_needed(wires[each], max_utilisation) for each in wires}
        fullest = max(demand.utilisations(wire, shard_map))
        enough = max(len(shard_map), ceil(SPARE * demand.shards_if_even(wire, max_utilisation)))
        count = needed[way]
        return Strategy(
            name,
            order,
            most_to_mean(demand.bytes.by_shard(shard_map)),
            fullest,
            needed,
            fullest <= max_utilisation + TINY or (count is not None and count <= enough),
            demand,
        )

    found = [strategy("as it is", "per key", as_it_is(sample, scale))]
    for name, other in other_keys.items():
        found.append(strategy(f"key {name}", f"per {name}", as_it_is(other, scale)))
    hot = hot_bytes_per_second(wire, found[0].demand)
    for part in HOT_PARTS:
        demand = hot_keys(sample, scale, hot * part)
        if demand is None:
            continue
        usual = abs(hot * part / HOT_BYTES_PER_SECOND - 1) < ABOUT
        name = "HotKeys()" if usual else f"HotKeys(hot_bytes_per_second={two_digits(hot * part):_})"
        tried = strategy(name, "per key or sub-key", demand)
        if tried.passes or part == HOT_PARTS[-1]:
            found.append(tried)
            break
    if _salted_keys(sample):
        for count in SALTS:
            tried = strategy(f"Salted({count})", "per sub-key", salted(sample, scale, count))
            if tried.passes or count == SALTS[-1]:
                found.append(tried)
                break
    found.append(strategy("Spread()", "none", spread(sample, scale)))
    return tuple(found)


def as_it_is(sample: Sample, scale: float) -> Demand:
    """Return what comes with the keys that there are; ``scale`` is 1 by the sample's seconds."""
    return Demand.of(sample.points(), scale)


def salted(sample: Sample, scale: float, count: int) -> Demand:
    """Return what comes once every key has so many sub-keys."""
    return _salted(sample, scale, {seen.partition_key: count for seen in _salted_keys(sample)})


def hot_bytes_per_second(wire: Wire, demand: Demand) -> float:
    """Return of how many user bytes a second a key is half of what a shard takes."""
    full = wire.utilisation(demand.bytes.total, demand.records.total)
    return demand.bytes.total / full / 2


def two_digits(number: float) -> int:
    """Return a number rounded to its first two digits."""
    return int(float(f"{number:.1e}"))


def hot_keys(sample: Sample, scale: float, hot: float) -> Demand | None:
    """Return what comes once each key of so many bytes a second has sub-keys of half of that; ``None`` without any."""
    counts = {}
    for seen in _salted_keys(sample):
        rate = seen.bytes * scale
        if rate >= hot:
            counts[seen.partition_key] = min(MOST_HOT_SUB_KEYS, 1 << (ceil(2 * rate / hot) - 1).bit_length())
    return _salted(sample, scale, counts) if counts else None


def spread(sample: Sample, scale: float) -> Demand:
    """Return what comes once the producer chooses the shard of every record without an explicit hash key."""
    explicit = [seen for seen in sample.by_weight() if seen.explicit_hash_key is not None]
    points = [(seen.hash_key, float(seen.bytes), float(seen.records)) for seen in explicit]
    size = sample.user_bytes - sum(seen.bytes for seen in explicit)
    records = sample.user_records - sum(seen.records for seen in explicit)
    return Demand.of(chain(points, even_points(size, records)), scale)


def _salted_keys(sample: Sample) -> list[KeySeen]:
    return [seen for seen in sample.by_weight() if seen.explicit_hash_key is None][:MOST_SALTED]


def _salted(sample: Sample, scale: float, counts: Mapping[str, int]) -> Demand:
    def points() -> Iterator[tuple[int, float, float]]:
        yield from sample.points(without=counts)
        for seen in _salted_keys(sample):
            if count := counts.get(seen.partition_key):
                found = hash_keys(sub_keys(seen.partition_key, count))
                for i in range(count):
                    yield found[i], seen.bytes / count, seen.records / count

    return Demand.of(points(), scale)
