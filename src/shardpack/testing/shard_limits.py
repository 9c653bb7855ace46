"""What each shard takes in a second, for the fault proxy: token buckets, and which entries they let through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ShardMapError, ShardpackError
from ..shards import ShardMap
from .faults import Request, ShardLimits
from .http_exchange import Message, Upstream

MOST_STREAMS = 64
MOST_BUCKETS = 20_000
"""Shards whose buckets are kept; beyond it all begin anew, full."""


@dataclass(slots=True)
class _Bucket:
    records: float
    data: float  # in bytes
    filled_at: float


class ShardBuckets:
    """The token buckets of every shard that was put to."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: dict[tuple[ShardLimits, str, str], _Bucket] = {}

    def takes(self, limits: ShardLimits, stream: str, shard_id: str, size: int) -> bool:
        """Whether the shard takes a record of ``size`` bytes now; what it takes is taken off."""
        now = self._clock()
        most_records = max(1.0, limits.records_per_s * limits.burst_s)
        most_bytes = limits.bytes_per_s * limits.burst_s
        bucket = self._buckets.get((limits, stream, shard_id))
        if bucket is None:
            if len(self._buckets) >= MOST_BUCKETS:
                self._buckets.clear()
            bucket = self._buckets[limits, stream, shard_id] = _Bucket(most_records, most_bytes, now)
        passed = max(0.0, now - bucket.filled_at)
        bucket.records = min(most_records, bucket.records + passed * limits.records_per_s)
        bucket.data = min(most_bytes, bucket.data + passed * limits.bytes_per_s)
        bucket.filled_at = now
        if bucket.records < 1 or bucket.data < min(size, most_bytes):
            return False
        bucket.records -= 1
        bucket.data -= size
        return True


class KnownShards:
    """The open shards of the streams that are put to, as answers confirm them."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._maps: dict[str, ShardMap] = {}

    async def of(self, message: Message, request: Request) -> list[str] | None:
        """Return the id of the shard that each entry lands in; ``None`` where that cannot be told."""
        shard_map = self._maps.get(request.stream)
        if shard_map is None:
            shard_map = await self._listed(message, request)
            if shard_map is None:
                return None
            if len(self._maps) >= MOST_STREAMS:
                self._maps.clear()
            self._maps[request.stream] = shard_map
        return _assigned(shard_map, request.entries)

    def compare(self, request: Request, entries: list[dict[str, Any]], told: dict[str, Any]) -> None:
        """Forget a stream's shards when the answer to these entries names another than they tell: it was resharded."""
        shard_map = self._maps.get(request.stream)
        expected = None if shard_map is None else _assigned(shard_map, entries)
        for shard_id, result in zip(expected or (), told.get("Records", [told]), strict=False):
            if "ShardId" in result and result["ShardId"] != shard_id:
                del self._maps[request.stream]
                return

    async def _listed(self, message: Message, request: Request) -> ShardMap | None:
        """Ask the server for the open shards, past all faults."""
        target = (message.header("x-amz-target") or "").rpartition(".")[0] + ".ListShards"
        headers = [(name, target if name.lower() == "x-amz-target" else value) for name, value in message.headers]
        asked: dict[str, Any] = {
            name: request.json[name] for name in ("StreamName", "StreamARN") if name in request.json
        }
        shards: list[dict[str, Any]] = []
        while True:
            answer = await self._upstream.exchange(Message(message.start, headers, b"").saying(asked))
            if answer.start[1] != "200":
                return None
            page = answer.json()
            shards += page.get("Shards", ())
            if not page.get("NextToken"):
                break
            asked = {"NextToken": page["NextToken"]}
        try:
            return ShardMap.from_shards(shards)
        except ShardMapError:  # being resharded
            return None


def _assigned(shard_map: ShardMap, entries: list[dict[str, Any]]) -> list[str] | None:
    """Return the id of each entry's shard; ``None`` where the service would refuse a key of theirs."""
    try:
        indexes = shard_map.assign(
            [entry["PartitionKey"] for entry in entries], [entry.get("ExplicitHashKey") for entry in entries]
        )
    except (ShardpackError, KeyError, TypeError):
        return None
    return [shard_map[index].shard_id for index in indexes]


def size_of(entry: Mapping[str, Any]) -> int:
    """Return what a shard's limit counts of an entry, in bytes: data, which is in base64 here, and partition key."""
    data = str(entry.get("Data") or "")
    key = str(entry.get("PartitionKey") or "")
    return len(data) * 3 // 4 - (len(data) - len(data.rstrip("="))) + len(key.encode("utf-8", "surrogatepass"))
