"""The load that a producer sees, without reading a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .._native.md5 import hash_key
from ..shards import ShardMap
from .load import Load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..producer.hot_shards import HotShard

PARTS = 256
"""Of a shard's range: so many points have the load of keys that are not told apart."""


def producer_load(shard_map: ShardMap, hot_shards: Iterable[HotShard]) -> Load:
    """Make a load of what ``producer.hot_shards(min_utilisation=0, max_keys=4096)`` returns: bytes a second.

    Of each shard what it took lately, with its heaviest partition keys where they are and the others spread evenly. It
    is this producer's load alone; of several, one's is like all of them only where they put the same keys. Shards that
    the map does not have are left out.
    """
    return Load(_points(shard_map, hot_shards))


def _points(shard_map: ShardMap, hot_shards: Iterable[HotShard]) -> Iterator[tuple[int, float]]:
    ranges = {shard.shard_id: (shard.starting_hash_key, shard.ending_hash_key + 1) for shard in shard_map}
    for hot in hot_shards:
        if hot.stats.shard_id not in ranges:
            continue
        low, high = ranges[hot.stats.shard_id]
        known = sum(key.bytes_per_second for key in hot.keys)
        # keys count as they were put, shards as they were sent: aggregated, perhaps compressed
        scale = min(1.0, hot.stats.bytes_per_second / known) if known else 0.0
        for key in hot.keys:
            yield hash_key(key.partition_key), key.bytes_per_second * scale
        rest = max(0.0, hot.stats.bytes_per_second - known * scale)
        for part in range(PARTS):
            yield low + (high - low) * (2 * part + 1) // (2 * PARTS), rest / PARTS
