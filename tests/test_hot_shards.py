"""``Producer.hot_shards()``: which shards are named, with which keys."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from test_heavy_hitters import new_inbox, take
from test_producer import Shards

from shardpack import ShardMap, hash_key
from shardpack.producer.hot_shards import hot_shards
from shardpack.producer.producer import Producer
from shardpack.producer.scheduler import Scheduler
from shardpack.transport import Failed

THROTTLED = "ProvisionedThroughputExceededException"
MIB = 1024 * 1024


def shard_of(shard_map, key):
    return shard_map[shard_map.index_of(hash_key(key))].shard_id


def test_nothing_is_hot_that_does_nothing():
    with Producer(transport=Shards()) as producer:
        assert producer.hot_shards() == []
        producer.put("device-7", b"1")
        producer.flush()
        assert producer.hot_shards() == []


def test_a_hot_shard_has_the_keys_that_most_was_put_with():
    transport = Shards(8)
    keys = ["loud-1"] * 300 + ["loud-2"] * 200 + [f"device-{i}" for i in range(2000)]
    random.Random(3).shuffle(keys)
    with Producer(transport=transport, linger_ms=1) as producer:
        producer.put_many(keys, [bytes(4000)] * len(keys))
        producer.flush()
        hot = producer.hot_shards(min_utilisation=0.0, max_keys=3)
    stored = {shard_id: sum(len(e.data) for e in entries) for shard_id, entries in transport.stored.items()}
    assert {each.stats.shard_id for each in hot} == set(stored)
    assert [each.stats.utilisation for each in hot] == sorted((each.stats.utilisation for each in hot), reverse=True)
    for each in hot:
        assert len(each.keys) == 3
        assert all(shard_of(transport.shard_map, key.partition_key) == each.stats.shard_id for key in each.keys)
    first = {each.stats.shard_id: each.keys[0].partition_key for each in hot}
    assert first[shard_of(transport.shard_map, "loud-1")] == "loud-1"


def test_a_shard_that_has_throttled_is_hot():
    refused = Counter()

    def fail(entries):
        answers = []
        for entry in entries:
            shard = shard_of(transport.shard_map, entry.partition_key)
            refused[shard] += 1
            if shard == hot and refused[shard] < 3:
                answers.append(Failed(THROTTLED, "slow"))
            else:
                answers.append(transport.store(entry))
        return answers

    transport = Shards(4, fail=fail)
    hot = shard_of(transport.shard_map, "loud")
    with Producer(transport=transport, linger_ms=1, max_aggregate_records=1) as producer:
        producer.put_many(["loud"] * 20 + [f"device-{i}" for i in range(20)], [bytes(3000)] * 40)
        producer.flush()
        (only,) = producer.hot_shards()
    assert (only.stats.shard_id, only.stats.throttles) == (hot, 2)
    assert only.keys[0].partition_key == "loud"
    assert 0 < only.keys[0].bytes_per_second <= only.keys[0].most_bytes_per_second


# --- without a thread ---


@pytest.fixture
def inbox():
    inbox = new_inbox()
    take(inbox, ["a", "b", "c", "d"] * 50, [bytes(100_000)] * 200)
    return inbox


def test_a_shard_is_hot_as_far_as_asked_for(inbox):
    scheduler = Scheduler(ShardMap.uniform(4))
    for index, shard in enumerate(scheduler.shard_map):
        scheduler._lanes[shard.shard_id].on_stored(MIB * index // 4, now=100.0)
    ids = [shard.shard_id for shard in scheduler.shard_map]
    for min_utilisation, expected in [(0.8, []), (0.75, ids[3:]), (0.5, ids[:1:-1]), (0.2, ids[:0:-1])]:
        hot = hot_shards(scheduler, inbox.heavy_hitters, 100.5, min_utilisation=min_utilisation, max_keys=10)
        assert [each.stats.shard_id for each in hot] == expected


def test_keys_are_looked_for_in_the_shards_as_they_are_now(inbox):
    """The sketch knows hash keys, not shards."""
    for count in (1, 4, 64):
        scheduler = Scheduler(ShardMap.uniform(count))
        for shard in scheduler.shard_map:
            scheduler._lanes[shard.shard_id].on_stored(MIB, now=100.0)
        hot = hot_shards(scheduler, inbox.heavy_hitters, 100.5, min_utilisation=0.8, max_keys=10)
        placed = {key.partition_key: each.stats.shard_id for each in hot for key in each.keys}
        assert placed == {key: shard_of(scheduler.shard_map, key) for key in "abcd"}


def test_no_key_decides_where_records_of_an_auto_stream_go(inbox):
    scheduler = Scheduler(ShardMap.uniform(1))
    scheduler._lanes["shardId-000000000000"].on_stored(MIB, now=100.0)
    scheduler.auto_distribution = True
    (hot,) = hot_shards(scheduler, inbox.heavy_hitters, 100.5, min_utilisation=0.8, max_keys=10)
    assert hot.keys == ()
