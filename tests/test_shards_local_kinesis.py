"""The shard map and a Kinesis agree on where records go, before and after the stream is resharded."""

from __future__ import annotations

import random

import pytest

from shardpack import Aggregator, Boto3Transport, ShardMap, deaggregate
from shardpack.testing.local_kinesis import wait_until_active

END = 2**128


@pytest.fixture(scope="module")
def client(local_kinesis):
    return local_kinesis.client()


def put(client, stream, keys, explicit_hash_keys):
    """Put records with plain boto3; the ShardId of each."""
    shard_ids = []
    for start in range(0, len(keys), 500):
        entries = []
        for key, explicit in zip(keys[start : start + 500], explicit_hash_keys[start : start + 500], strict=True):
            entry = {"Data": b"x", "PartitionKey": key}
            if explicit is not None:
                entry["ExplicitHashKey"] = str(explicit)
            entries.append(entry)
        response = client.put_records(StreamName=stream, Records=entries)
        assert response["FailedRecordCount"] == 0
        shard_ids += [record["ShardId"] for record in response["Records"]]
    return shard_ids


def some_keys(shard_map):
    rng = random.Random(len(shard_map))
    keys = [f"key-{i}" for i in range(300)] + ["clé", "日本", "\U0001d518" * 256, " ", "x" * 256, "\0"] * 5
    explicit = [None] * len(keys)
    edges = {shard.starting_hash_key for shard in shard_map} | {shard.ending_hash_key for shard in shard_map}
    for hash_key in [*edges, 0, END - 1, *(rng.randrange(END) for _ in range(200))]:
        keys.append("key")
        explicit.append(hash_key)
    return keys, explicit


def agree(client, stream, shard_map):
    keys, explicit = some_keys(shard_map)
    shard_ids = put(client, stream, keys, explicit)
    assert [shard_map[index].shard_id for index in shard_map.assign(keys, explicit)] == shard_ids


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16])
def test_a_new_stream(local_kinesis, client, count):
    stream = f"uniform-{count}"
    local_kinesis.create_stream(stream, count)
    shard_map = Boto3Transport(client, stream).list_shards()
    if 2**128 % count < 2:  # where there is no rounding to disagree on
        assert shard_map == ShardMap.uniform(count)
    agree(client, stream, shard_map)


def test_split_and_merge(local_kinesis, client):
    stream = "resharded"
    local_kinesis.create_stream(stream, 3)
    transport = Boto3Transport(client, stream)
    before = transport.list_shards()
    agree(client, stream, before)

    split = before[1]
    at = split.starting_hash_key + (split.ending_hash_key - split.starting_hash_key) // 3
    client.split_shard(StreamName=stream, ShardToSplit=split.shard_id, NewStartingHashKey=str(at))
    wait_until_active(client, stream)
    after_split = transport.list_shards()
    assert [shard.starting_hash_key for shard in after_split] == sorted(
        [shard.starting_hash_key for shard in before] + [at]
    )
    assert split not in list(after_split)
    agree(client, stream, after_split)

    client.merge_shards(
        StreamName=stream, ShardToMerge=after_split[2].shard_id, AdjacentShardToMerge=after_split[3].shard_id
    )
    wait_until_active(client, stream)
    after_merge = transport.list_shards()
    assert len(after_merge) == 3
    assert [shard.starting_hash_key for shard in after_merge] == [0, before[1].starting_hash_key, at]
    agree(client, stream, after_merge)
    # the closed parents are still listed without the filter, and do not disturb
    everything = client.list_shards(StreamName=stream)["Shards"]
    assert len(everything) > 3
    assert ShardMap.from_shards(everything) == after_merge


def test_aggregated_records_land_where_they_were_made_for(local_kinesis, client):
    stream = "aggregated"
    local_kinesis.create_stream(stream, 5)
    transport = Boto3Transport(client, stream)
    shard_map = transport.list_shards()
    aggregator = Aggregator(shard_map, max_bytes=3000)
    keys, explicit = some_keys(shard_map)
    datas = [b"%d" % i for i in range(len(keys))]
    aggregator.add_many(keys, datas, explicit)
    records = aggregator.flush()
    for record, outcome in zip(records, transport.put_records(records), strict=True):
        assert outcome.shard_id == shard_map[record.shard_index].shard_id
    found = []
    for shard in shard_map:
        iterator = client.get_shard_iterator(
            StreamName=stream, ShardId=shard.shard_id, ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        response = client.get_records(ShardIterator=iterator)
        hash_range = (shard.starting_hash_key, shard.ending_hash_key)
        user_records = deaggregate(response, hash_range=hash_range)
        assert user_records.left_out == 0
        numbers = [int(record.data) for record in user_records]
        assert numbers == sorted(numbers)
        found += numbers
    assert sorted(found) == list(range(len(keys)))
