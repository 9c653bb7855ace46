"""Shards that get about as much as they take, and the partition keys that it comes with."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from .._native.heavy_hitters import HeavyHitters
from .scheduler import Scheduler
from .stats import ShardStats, shard_stats

RECENT_SECONDS = 10.0
"""What has throttled within so long is at its limit."""


@dataclass(frozen=True, slots=True)
class HotKey:
    """One partition key of a hot shard: bytes of keys and data that were put with it, over the last seconds.

    Both are estimates from a sample of the bytes. A key that has more than 1 MiB a second is too much for any shard:
    splitting does not help it.
    """

    partition_key: str
    bytes_per_second: float
    """But for the error of the sample it has at least so many."""
    most_bytes_per_second: float
    """And at most so many: more than the above only where there are more keys than are told apart."""


@dataclass(frozen=True, slots=True)
class HotShard:
    """A shard near its limit, and its heaviest partition keys, heaviest first."""

    stats: ShardStats
    keys: tuple[HotKey, ...]


def hot_shards(
    scheduler: Scheduler, heavy_hitters: HeavyHitters, now: float, *, min_utilisation: float, max_keys: int
) -> list[HotShard]:
    """Return the shards that are used so far at least, or have throttled just now; the most used one first."""
    hot = [
        shard_stats(lane, now)
        for lane in scheduler.lanes()
        if lane.allowance.has_throttled_since(now - RECENT_SECONDS)
        or shard_stats(lane, now).utilisation >= min_utilisation
    ]
    keys = _keys_by_shard(scheduler, heavy_hitters, now, {stats.shard_id for stats in hot}) if hot else {}
    hot.sort(key=lambda stats: stats.utilisation, reverse=True)
    return [HotShard(stats, tuple(_heaviest(keys.get(stats.shard_id, []), max_keys))) for stats in hot]


def _keys_by_shard(
    scheduler: Scheduler, heavy_hitters: HeavyHitters, now: float, shard_ids: set[str]
) -> dict[str, list[HotKey]]:
    keys: dict[str, list[HotKey]] = defaultdict(list)
    if scheduler.auto_distribution:  # the service says where records go
        return keys
    shard_map = scheduler.shard_map
    for partition_key, hash_key, least, most in heavy_hitters.keys(now):
        shard_id = shard_map[shard_map.index_of(hash_key)].shard_id
        if shard_id in shard_ids:
            keys[shard_id].append(HotKey(partition_key, least, most))
    return keys


def _heaviest(keys: list[HotKey], count: int) -> list[HotKey]:
    return sorted(keys, key=lambda key: key.bytes_per_second, reverse=True)[:count]
