"""A stream on a made-up clock: shards that split and merge, records that expire, and answers that fail at random.

It follows the API reference of Kinesis: a closed shard stays listed until its records have expired, and its iterators
end; an answer may be empty before the tip. Keys are positions, 0 to 15, in place of hashes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import formatdate
from random import Random
from typing import Any

from botocore.exceptions import ClientError, ConnectTimeoutError

from shardpack import Aggregator, ShardMap

KEYS = 16
BEGAN = 1.7e9
ONE_SHARD = ShardMap.uniform(1)


@dataclass(slots=True)
class Put:
    """A user record."""

    key: int
    number: int
    """Of its key, from 0."""
    arrived: float
    shard_id: str
    expired: bool = False


@dataclass(slots=True)
class Stored:
    number: int
    arrived: float
    partition_key: str
    data: bytes
    puts: list[Put]


@dataclass(slots=True)
class SimulatedShard:
    shard_id: str
    keys: range
    parents: tuple[str, ...] = ()
    closed_at: float | None = None
    opened_at: float = BEGAN
    records: list[Stored] = field(default_factory=list)


class SimulatedStream:
    """It is the clock, too: ``advance`` lets time pass, and records come and shards change meanwhile."""

    def __init__(self, random: Random, *, shards: int, retention_s: float | None = None) -> None:
        self.random = random
        self.now = BEGAN
        self.retention_s = retention_s
        self.shards: dict[str, SimulatedShard] = {}
        self.puts: list[Put] = []
        self.quiet = False  # nothing comes any more
        self.lists_late_s = 0.0  # for so long, a new shard may be listed or not, each by itself, after its parents
        self._counts = [0] * KEYS
        self._last_number = 10**20
        self._next_event = self.now
        width = KEYS // shards
        for first in range(0, KEYS, width):
            self._open(range(first, first + width))

    def monotonic(self) -> float:
        return self.now - BEGAN

    def time(self) -> float:
        return self.now

    # --- what happens ---

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while not self.quiet and self._next_event <= until:
            self.now = self._next_event
            self._next_event += self.random.expovariate(4)
            if self.random.random() < 0.06:
                self.reshard()
            else:
                self.put(self.random.randrange(KEYS), self.random.choice((1, 1, 3)))
        self.now = until
        self._expire()

    def put(self, key: int, count: int) -> None:
        """Put an aggregated record of so many user records."""
        shard = next(shard for shard in self.open_shards() if key in shard.keys)
        puts = [Put(key, self._counts[key] + i, self.now, shard.shard_id) for i in range(count)]
        self._counts[key] += count
        aggregator = Aggregator(ONE_SHARD)
        aggregator.add_many([str(key)] * count, [str(put.number).encode() for put in puts])
        [sealed] = aggregator.flush()
        self._last_number += self.random.randint(1, 10**9)
        shard.records.append(Stored(self._last_number, self.now, sealed.partition_key, bytes(sealed.data), puts))
        self.puts += puts

    def reshard(self) -> None:
        """Split a shard or merge two; or do several of these at once, as UpdateShardCount does."""
        for _ in range(self.random.choice((1, 1, 4))):
            shards = self.open_shards()
            at = self.random.randrange(len(shards))
            shard = shards[at]
            if self.random.random() < 0.5 and len(shard.keys) > 1:
                middle = self.random.randrange(shard.keys.start + 1, shard.keys.stop)
                self._open(range(shard.keys.start, middle), shard)
                self._open(range(middle, shard.keys.stop), shard)
            elif at + 1 < len(shards):
                self._open(range(shard.keys.start, shards[at + 1].keys.stop), shard, shards[at + 1])

    def open_shards(self) -> list[SimulatedShard]:
        return sorted((s for s in self.shards.values() if s.closed_at is None), key=lambda shard: shard.keys.start)

    def _open(self, keys: range, *parents: SimulatedShard) -> None:
        shard_id = f"shardId-{len(self.shards):012}"
        self.shards[shard_id] = SimulatedShard(
            shard_id, keys, tuple(parent.shard_id for parent in parents), opened_at=self.now
        )
        for parent in parents:
            parent.closed_at = self.now

    def _expire(self) -> None:
        if self.retention_s is None:
            return
        for shard in self.shards.values():
            while shard.records and shard.records[0].arrived < self.now - self.retention_s:
                for put in shard.records.pop(0).puts:
                    put.expired = True

    def _is_listed(self, shard: SimulatedShard) -> bool:
        return self.retention_s is None or shard.closed_at is None or shard.closed_at >= self.now - self.retention_s

    # --- what is answered ---

    def metadata(self) -> dict[str, Any]:
        return {"HTTPHeaders": {"date": formatdate(self.now, usegmt=True)}}

    def list_shards(self) -> list[dict[str, Any]]:
        listed = []
        hidden: set[str] = set()
        for shard in filter(self._is_listed, self.shards.values()):
            new = shard.parents and self.now - shard.opened_at < self.lists_late_s
            if not hidden.isdisjoint(shard.parents) or (new and self.random.random() < 0.5):
                hidden.add(shard.shard_id)
                continue
            entry = {
                "ShardId": shard.shard_id,
                "HashKeyRange": {"StartingHashKey": str(shard.keys.start), "EndingHashKey": str(shard.keys.stop - 1)},
                "SequenceNumberRange": {"StartingSequenceNumber": "1"},
            }
            entry.update(zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False))
            if shard.closed_at is not None:
                entry["SequenceNumberRange"]["EndingSequenceNumber"] = "9"
            listed.append(entry)
        return listed

    def get_shard_iterator(self, shard_id: str, parameters: dict[str, Any]) -> dict[str, Any]:
        shard = self.shards[shard_id]
        if not self._is_listed(shard):
            raise client_error("ResourceNotFoundException", 400)
        kind = parameters["ShardIteratorType"]
        first = self._last_number + 1  # LATEST
        if kind == "TRIM_HORIZON":
            first = 0
        elif kind == "AT_TIMESTAMP":
            asked: datetime = parameters["Timestamp"]
            later = (record.number for record in shard.records if record.arrived >= asked.timestamp())
            first = next(later, first)
        elif kind != "LATEST":
            first = int(parameters["StartingSequenceNumber"]) + (kind == "AFTER_SEQUENCE_NUMBER")
        return {"ShardIterator": str(first), "ResponseMetadata": self.metadata()}

    def get_records(self, shard_id: str, iterator: str, limit: int = 10_000) -> dict[str, Any]:
        shard = self.shards[shard_id]
        left = [record for record in shard.records if record.number >= int(iterator)]
        found = left[: min(limit, self.random.choice((0, 1, 3, 1000)))]
        more = left[len(found) :]
        following = found[-1].number + 1 if found else int(iterator)
        ends = not more and shard.closed_at is not None and (not found or self.random.random() < 0.5)
        return {
            "Records": [
                {
                    "Data": record.data,
                    "PartitionKey": record.partition_key,
                    "SequenceNumber": str(record.number),
                    "ApproximateArrivalTimestamp": datetime.fromtimestamp(record.arrived, timezone.utc),
                }
                for record in found
            ],
            "NextShardIterator": None if ends else str(following),
            "MillisBehindLatest": max(1, int((self.now - more[0].arrived) * 1000)) if more else 0,
            "ResponseMetadata": self.metadata(),
        }


def client_error(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetRecords")


def passing_error(random: Random) -> Exception:
    """Return an error that passes by itself."""
    return random.choice(
        (
            client_error("ProvisionedThroughputExceededException", 400),
            client_error("InternalFailure", 500),
            client_error("ExpiredIteratorException", 400),
            ConnectTimeoutError(endpoint_url="http://127.0.0.1"),
        )
    )
