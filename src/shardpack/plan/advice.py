"""What a producer's figures advise: ``advise``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ..limits import PUT_PAYLOAD_UNIT_BYTES, SHARD_BYTES_PER_SECOND
from ..shards import ShardMap
from .load import Load
from .prices import ON_DEMAND, PROVISIONED, Prices, costs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..producer.hot_shards import HotShard
    from ..producer.stats import ShardStats, Stats

SPLIT_FROM = 0.8
"""A shard so full is to be split, and one that has throttled."""

KEY_FROM = 0.5
"""Where one key brings so much of such a shard, or of what a shard takes, keys are to be changed: no split helps."""

MERGE_BELOW = 0.4
"""Two neighbours that would be no fuller together are to be merged."""

CHEAPER_BY = 0.2
"""The other capacity mode is advised where it costs so much less."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to do, and the figures that say so."""

    action: Literal["split", "merge", "change keys", "change mode"]
    reason: str
    """In a sentence."""
    shard_ids: tuple[str, ...]
    figures: Mapping[str, float]
    """By name, with the unit in it."""
    partition_keys: tuple[str, ...] = ()
    """Of ``change keys``: those that are too heavy."""
    hash_key: int | None = None
    """Of ``split``: the weighted median of the hot keys that are known, else the middle of the shard."""


def advise(
    stats: Stats,
    hot_shards: Iterable[HotShard] = (),
    *,
    shard_map: ShardMap | None = None,
    before: Stats | None = None,
    seconds: float | None = None,
    mode: Literal["provisioned", "on-demand"] = "provisioned",
    auto_distribution: bool = False,
    prices: Prices | None = None,
) -> list[Advice]:
    """Say what to do about a stream, from what its producer counts; the most pressing first.

    ``stats`` are ``producer.stats()`` and ``hot_shards`` ``producer.hot_shards()``, with which keys are known. Of
    another snapshot ``before``, ``seconds`` ago, only throttles since then count, and the mode is judged by what was
    stored meanwhile; without it, by what shards took just now. ``shard_map`` tells where shards lie: without it there
    is no advice to merge. An on-demand stream scales itself: its shards are neither split nor merged, but one key can
    have no more than a shard there too. With AUTO distribution keys do not count at all.

    A producer sees what it sends alone: with several, ask each, or plan by the stream. Raises ``ValueError`` for a
    ``before`` without ``seconds``. Thread-safe.
    """
    if before is not None and not (seconds is not None and seconds > 0):
        raise ValueError("a snapshot before needs the seconds since then")
    throttled = _throttled(stats, before)
    found: list[Advice] = []
    if not auto_distribution:
        keys = {hot.stats.shard_id: hot for hot in hot_shards}
        full = [shard for shard in stats.shards if shard.utilisation >= SPLIT_FROM or throttled.get(shard.shard_id)]
        for shard in sorted(full, key=lambda shard: shard.utilisation, reverse=True):
            advice = _of_hot_shard(shard, keys.get(shard.shard_id), throttled, shard_map, mode)
            if advice is not None:
                found.append(advice)
        if mode == PROVISIONED and shard_map is not None:
            found += _merges(stats.shards, shard_map, {shard.shard_id for shard in full})
    change = _mode(stats, before=before, seconds=seconds, shard_map=shard_map, mode=mode, prices=prices or Prices())
    return found if change is None else [*found, change]


def _throttled(stats: Stats, before: Stats | None) -> dict[str, int]:
    """Return how many Kinesis records each shard refused since then."""
    known = {} if before is None else {shard.shard_id: shard.throttles for shard in before.shards}
    return {shard.shard_id: max(0, shard.throttles - known.get(shard.shard_id, 0)) for shard in stats.shards}


def _of_hot_shard(
    shard: ShardStats, hot: HotShard | None, throttled: Mapping[str, int], shard_map: ShardMap | None, mode: str
) -> Advice | None:
    shard_id = shard.shard_id
    figures = {"utilisation": shard.utilisation, "throttles": float(throttled[shard_id])}
    known = [] if hot is None else list(hot.keys)
    total = max(sum(key.bytes_per_second for key in known), shard.bytes_per_second)
    heavy = [
        key
        for key in known
        if key.bytes_per_second >= KEY_FROM * min(total, SHARD_BYTES_PER_SECOND) and key.bytes_per_second
    ]
    if heavy:
        share = heavy[0].bytes_per_second / total
        reason = (
            f"{shard_id} is at {shard.utilisation:.0%}, and one key brings {share:.0%} of what it gets: "
            "no split helps that, other keys do"
        )
        names = tuple(key.partition_key for key in heavy)
        figures |= {"key_bytes_per_second": heavy[0].bytes_per_second, "key_share": share}
        return Advice("change keys", reason, (shard_id,), figures, names)
    if mode != PROVISIONED:
        return None
    at = None
    if shard_map is not None and (place := _place(shard_map, shard_id)) is not None:
        first, last = shard_map[place].starting_hash_key, shard_map[place].ending_hash_key
        at = Load.of_keys({key.partition_key: key.bytes_per_second for key in known}).split_point(first, last)
        at = (first + last) // 2 + 1 if at is None and last > first else at
    return Advice("split", f"{shard_id} is at {shard.utilisation:.0%}", (shard_id,), figures, (), at)


def _place(shard_map: ShardMap, shard_id: str) -> int | None:
    return next((i for i, shard in enumerate(shard_map) if shard.shard_id == shard_id), None)


def _merges(shards: Iterable[ShardStats], shard_map: ShardMap, full: set[str]) -> list[Advice]:
    """Pair neighbours from the beginning of the hash range on; a shard that nothing was sent to is at 0."""
    used = {shard.shard_id: shard.utilisation for shard in shards}
    ids, found, i = [shard.shard_id for shard in shard_map], [], 0
    while i + 1 < len(ids):
        together = used.get(ids[i], 0.0) + used.get(ids[i + 1], 0.0)
        if together <= MERGE_BELOW and not full & {ids[i], ids[i + 1]}:
            reason = f"{ids[i]} and {ids[i + 1]} would be at {together:.0%} together"
            found.append(Advice("merge", reason, (ids[i], ids[i + 1]), {"utilisation": together}))
            i += 1
        i += 1
    return found


def _mode(
    stats: Stats, *, before: Stats | None, seconds: float | None, shard_map: ShardMap | None, mode: str, prices: Prices
) -> Advice | None:
    if before is not None and seconds is not None:
        size = (stats.bytes_stored - before.bytes_stored) / seconds
        records = (stats.kinesis_records_stored - before.kinesis_records_stored) / seconds
    else:
        size = sum(shard.bytes_per_second for shard in stats.shards)
        records = sum(shard.records_per_second for shard in stats.shards)
    if not records:
        return None
    shards = len(stats.shards) if shard_map is None else len(shard_map)
    each = {
        cost.mode: cost.a_month
        for cost in costs(
            shards=shards,
            payload_units_per_second=max(records, size / PUT_PAYLOAD_UNIT_BYTES),
            bytes_per_second=size,
            billed_bytes_per_second=size + 512 * records,
            consumers=1,
            prices=prices,
        )
    }
    other = ON_DEMAND if mode == PROVISIONED else PROVISIONED
    if each[other] > (1 - CHEAPER_BY) * each[mode]:
        return None
    figures = {
        "now_a_month": each[mode],
        "then_a_month": each[other],
        "bytes_per_second": size,
        "shards": float(shards),
    }
    reason = f"{other} would cost {each[other]:,.0f} a month, {mode} costs {each[mode]:,.0f} with {shards} shards"
    return Advice("change mode", reason, (), figures)
