"""How many shards a stream needs, and what would need fewer: ``plan``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite

from ..limits import SHARD_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND, Limits, whole_number
from ..shards import Shard, ShardMap
from .prices import Cost, Prices, costs
from .sample import KeySeen, Sample, sample_of
from .strategies import Demand, Strategy, Wire, as_it_is, strategies
from .ways import AGGREGATED, Measurement, measure

MAX_UTILISATION = 0.8
"""How full a shard is planned to be."""

MOST_KEYS = 10
"""Heaviest partition keys that a plan names, of the stream and of each shard."""


@dataclass(frozen=True, slots=True)
class KeyLoad:
    """One partition key: what comes with it a second, in data and keys of user records."""

    partition_key: str
    explicit_hash_key: int | None
    bytes_per_second: float
    """At least so many; ``most_bytes_per_second`` is more only where there are more keys than are told apart."""
    most_bytes_per_second: float
    records_per_second: float
    share: float
    """Of the stream's user bytes."""


@dataclass(frozen=True, slots=True)
class ShardLoad:
    """One shard: what it gets a second in the plan's way, and where it would be split."""

    shard: Shard
    bytes_per_second: float
    """Of Kinesis records, data and partition keys."""
    records_per_second: float
    """Kinesis records."""
    utilisation: float
    """Of 1 MiB or 1,000 records a second; the larger part of both."""
    keys: tuple[KeyLoad, ...]
    """The heaviest."""
    split_point: int | None
    """The weighted median of its hash keys: a SplitShard's ``NewStartingHashKey``. ``None`` where all is one key's."""


@dataclass(frozen=True, slots=True)
class Way:
    """User records on the wire in one way: each by itself, aggregated, or aggregated and compressed."""

    name: str
    """``raw``, ``aggregated`` or ``compressed``."""
    bytes_per_second: float
    """Of Kinesis records, data and partition keys."""
    kinesis_records_per_second: float
    payload_units_per_second: float
    """PUT payload units: each Kinesis record in steps of 25 KiB."""
    utilisation: float
    """How full the fullest of the plan's shards is."""
    shards_needed: int | None
    """Shards of equal ranges, with the keys as they are; ``None`` where one key is too much for any shard, and where
    four times what even load needs do not do."""
    shards_if_even: int
    costs: tuple[Cost, ...]
    """What each capacity mode costs: provisioned with the shards needed, or if even where no number does."""
    wire: Wire


@dataclass(frozen=True, slots=True)
class Plan:
    """What a stream needs; all figures are plain. Made by ``plan``."""

    user_records_per_second: float
    user_bytes_per_second: float
    """Data and partition keys."""
    user_records: int
    """That were looked at."""
    max_utilisation: float
    way: str
    """That the shards and the strategies are of."""
    ways: tuple[Way, ...]
    keys: tuple[KeyLoad, ...]
    """The heaviest of the stream."""
    shard_map: ShardMap
    shards: tuple[ShardLoad, ...]
    """As they are with the keys that there are."""
    most_to_mean: float
    """How much more than the mean the heaviest shard gets; 1 is even."""
    strategies: tuple[Strategy, ...]
    """The least harm to order first; the first is the keys as they are."""
    recommended: Strategy | None
    """The first that passes."""
    after: tuple[ShardLoad, ...]
    """The shards with what is recommended, as many as it needs; none without a recommendation."""

    @property
    def hot_shards(self) -> tuple[ShardLoad, ...]:
        """Those that are fuller than planned, the fullest first."""
        hot = [shard for shard in self.shards if shard.utilisation > self.max_utilisation + 1e-9]
        return tuple(sorted(hot, key=lambda shard: shard.utilisation, reverse=True))

    def of(self, way: str) -> Way:
        """Return one of the ways. Raises ``KeyError`` for one that was not measured."""
        for found in self.ways:
            if found.name == way:
                return found
        raise KeyError(way)


def plan(
    sample: Sample | Iterable[object],
    *,
    rate: float,
    mean_rate: float | None = None,
    shards: ShardMap | int | None = None,
    way: str = AGGREGATED,
    other_keys: Mapping[str, Sample] | None = None,
    linger_ms: float = 100,
    max_utilisation: float = MAX_UTILISATION,
    consumers: int = 1,
    limits: Limits | None = None,
    prices: Prices | None = None,
) -> Plan:
    """Work out what a stream needs that gets ``rate`` user records a second like those of the sample.

    ``sample`` is a ``Sample``, or user records: pairs of partition key and data, or what ``deaggregate`` returns.
    ``mean_rate`` is what capacity modes are compared by, where that is less than the ``rate`` that shards are for.
    ``shards`` are those that there are; without them, as many as even load would need. ``way`` is the one that shards
    and strategies are worked out for: ``raw``, ``aggregated`` or ``compressed``; all are measured, by aggregating and
    compressing up to 64 MiB of the sample as a producer with ``linger_ms`` does. ``other_keys`` are samples of the same
    user records under other partition keys, by name, to compare. ``consumers`` is how often on-demand streams are read.

    Raises ``ValueError`` for an empty sample and for figures that are none. Reads its arguments only; it takes about a
    second of CPU.
    """
    seen = sample if isinstance(sample, Sample) else sample_of(sample)
    if not seen.user_records:
        raise ValueError("the sample has no user record to plan by")
    for name, value in (("rate", rate), ("mean_rate", rate if mean_rate is None else mean_rate)):
        if not (value > 0 and isfinite(value)):
            raise ValueError(f"{name} of {value!r} is no number of user records a second")
    if not 0 < max_utilisation <= 1:
        raise ValueError(f"max_utilisation of {max_utilisation!r} is not between 0 and 1")
    limits, prices = limits or Limits(), prices or Prices()
    scale = rate / seen.user_records
    records_at_once = round(rate * linger_ms / 1000)
    demand = as_it_is(seen, scale)
    if isinstance(shards, ShardMap):
        shard_map = shards
    else:
        count = None if shards is None else whole_number("shards", shards)
        even = demand.shards_if_even(Wire(1.0, 0.0), max_utilisation) if count is None else count
        shard_map = ShardMap.uniform(even)
    measurement = measure(seen, shard_map, records_at_once, limits)
    if way not in measurement.ways:
        raise ValueError(f"way of {way!r} is none of {', '.join(measurement.ways)}")
    if shards is None:
        shard_map = ShardMap.uniform(demand.shards_if_even(_wire(measurement, way), max_utilisation))
        measurement = measure(seen, shard_map, records_at_once, limits)
    wires = {name: _wire(measurement, name) for name in measurement.ways}
    mean = 1 if mean_rate is None else mean_rate / rate
    ways = []
    for name, measured in measurement.ways.items():
        part = seen.user_bytes * scale / measurement.user_bytes  # from what was kept to a second
        needed, even = (
            demand.shards_needed(wires[name], max_utilisation),
            demand.shards_if_even(wires[name], max_utilisation),
        )
        ways.append(
            Way(
                name=name,
                bytes_per_second=sum(measured.bytes) * part,
                kinesis_records_per_second=rate * wires[name].records,
                payload_units_per_second=measured.payload_units * part,
                utilisation=max(demand.utilisations(wires[name], shard_map)),
                shards_needed=needed,
                shards_if_even=even,
                costs=costs(
                    shards=even if needed is None else needed,
                    payload_units_per_second=measured.payload_units * part * mean,
                    bytes_per_second=sum(measured.bytes) * part * mean,
                    billed_bytes_per_second=measured.billed_bytes * part * mean,
                    consumers=consumers,
                    prices=prices,
                ),
                wire=wires[name],
            )
        )
    found = strategies(
        seen,
        other_keys or {},
        scale=scale,
        wires=wires,
        way=way,
        shard_map=shard_map,
        max_utilisation=max_utilisation,
    )
    recommended = next((strategy for strategy in found if strategy.passes), None)
    keys = [(key.hash_key, _key_load(key, scale, seen.user_bytes)) for key in seen.by_weight()]
    after: tuple[ShardLoad, ...] = ()
    if recommended is not None:
        enough = recommended.utilisation <= max_utilisation
        then = shard_map if enough else ShardMap.uniform(recommended.shards_needed[way] or 1)
        after = _shard_loads(recommended.demand, wires[way], then)
    return Plan(
        user_records_per_second=rate,
        user_bytes_per_second=seen.user_bytes * scale,
        user_records=seen.user_records,
        max_utilisation=max_utilisation,
        way=way,
        ways=tuple(ways),
        keys=tuple(key for _, key in keys[:MOST_KEYS]),
        shard_map=shard_map,
        shards=_shard_loads(demand, wires[way], shard_map, keys),
        most_to_mean=found[0].most_to_mean,
        strategies=found,
        recommended=recommended,
        after=after,
    )


def _wire(measurement: Measurement, way: str) -> Wire:
    measured = measurement.ways[way]
    return Wire(sum(measured.bytes) / measurement.user_bytes, sum(measured.records) / measurement.user_records)


def _key_load(seen: KeySeen, scale: float, user_bytes: int) -> KeyLoad:
    return KeyLoad(
        seen.partition_key,
        seen.explicit_hash_key,
        seen.bytes * scale,
        (seen.bytes + seen.missed_bytes) * scale,
        seen.records * scale,
        seen.bytes / user_bytes,
    )


def _shard_loads(
    demand: Demand, wire: Wire, shard_map: ShardMap, keys: Iterable[tuple[int, KeyLoad]] = ()
) -> tuple[ShardLoad, ...]:
    """Return what each shard gets, with the heaviest of the keys, which come heaviest first."""
    by_shard: list[list[KeyLoad]] = [[] for _ in shard_map]
    for at, key in keys:
        of_shard = by_shard[shard_map.index_of(at)]
        if len(of_shard) < MOST_KEYS:
            of_shard.append(key)
    found = []
    for shard, of_shard in zip(shard_map, by_shard, strict=True):
        first, last = shard.starting_hash_key, shard.ending_hash_key
        size, records = (
            demand.bytes.between(first, last) * wire.bytes,
            demand.records.between(first, last) * wire.records,
        )
        by = demand.bytes if size / SHARD_BYTES_PER_SECOND >= records / SHARD_RECORDS_PER_SECOND else demand.records
        found.append(
            ShardLoad(
                shard,
                size,
                records,
                demand.utilisation(wire, first, last),
                tuple(of_shard),
                by.split_point(first, last),
            )
        )
    return tuple(found)
