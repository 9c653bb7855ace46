"""A transport whose shards are lists, and fails as told."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict

from shardpack import Limits, ShardMap, deaggregate, hash_key
from shardpack.transport import Stored, StreamDescription


class Shards:
    """A transport into lists: the Kinesis records of each shard in their order. ``fail`` has its say first."""

    def __init__(self, count=4, fail=None, auto=False):
        self.shard_map, self.fail, self.auto = ShardMap.uniform(count), fail, auto
        self.stored = defaultdict(list)
        self.hash_ranges = {}
        self.limits = Limits()
        self.generation = 0
        self.requests = []
        self.gate = threading.Event()
        self.gate.set()

    def put_records(self, entries):
        self.gate.wait(30)
        self.requests.append(list(entries))
        if self.fail is not None:
            answer = self.fail(entries)
            if answer is not None:
                return answer
        return [self.store(entry) for entry in entries]

    def shard_of(self, entry):
        return self.shard_map[self.shard_map.index_of(hash_key(entry.partition_key, entry.explicit_hash_key))]

    def store(self, entry):
        shard = self.shard_of(entry)
        self.stored[shard.shard_id].append(entry)
        self.hash_ranges[shard.shard_id] = shard.starting_hash_key, shard.ending_hash_key
        return Stored(shard.shard_id, str(len(self.stored[shard.shard_id])))

    def list_shards(self):
        return self.shard_map

    def describe(self):
        return StreamDescription("s", "arn", "ACTIVE", len(self.shard_map), self.limits, self.auto)

    def reshard(self, count):
        """Be a stream of so many shards, none of which was there before."""
        self.generation += 1
        self.shard_map = ShardMap.from_shards(
            {
                "ShardId": f"shardId-{self.generation}-{i}",
                "HashKeyRange": {
                    "StartingHashKey": str(shard.starting_hash_key),
                    "EndingHashKey": str(shard.ending_hash_key),
                },
            }
            for i, shard in enumerate(ShardMap.uniform(count))
        )

    def user_records(self):
        return [
            record
            for entries in self.stored.values()
            for entry in entries
            for record in deaggregate({"Data": entry.data, "PartitionKey": entry.partition_key})
        ]

    def read_as_the_kcl_does(self):
        """The user records that a consumer with the range rule gets: one that was sent again, once."""
        return [
            record
            for shard_id, entries in self.stored.items()
            for entry in entries
            for record in deaggregate(
                {"Data": entry.data, "PartitionKey": entry.partition_key}, hash_range=self.hash_ranges[shard_id]
            )
        ]


class ShardsOfLoop(Shards):
    """The same of an event loop; ``loops`` are those that calls were made in."""

    def __init__(self, count=4, fail=None, auto=False):
        super().__init__(count, fail, auto)
        self.loops = set()
        self.under_way = self.most_under_way = 0

    async def put_records(self, entries):
        self.loops.add(asyncio.get_running_loop())
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(0)
            await until(self.gate.is_set)
            return super().put_records(entries)
        finally:
            self.under_way -= 1

    async def list_shards(self):
        return super().list_shards()

    async def describe(self):
        return super().describe()


async def until(holds):
    """Return when it does, whoever sees to that: another thread too."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def in_order(transport, n):
    values = defaultdict(list)
    for record in transport.user_records():
        values[record.partition_key].append(int(record.data))
    assert sorted(value for each in values.values() for value in each) == list(range(n))
    assert all(each == sorted(each) for each in values.values())
