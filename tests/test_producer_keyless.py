"""Records without a partition key: where they go, and that every reader takes them there."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from shards_in_lists import Shards

from shardpack import DeliveryError, FlushTimeoutError, InvalidPartitionKeyError, Producer, deaggregate
from shardpack.consume.stream.reader import StreamReader
from shardpack.transport import Failed


def found(transport):
    """What the KCL hands to its application, by shard; nothing is left out."""
    records = {}
    for shard in transport.shard_map:
        entries = [
            {"Data": entry.data, "PartitionKey": entry.partition_key, "ExplicitHashKey": entry.explicit_hash_key}
            for entry in transport.stored[shard.shard_id]
        ]
        taken = deaggregate(entries, hash_range=(shard.starting_hash_key, shard.ending_hash_key))
        assert taken.left_out == 0
        records[shard.shard_id] = [record.data for record in taken]
    return records


def test_they_fill_one_aggregate_after_the_other_and_are_spread():
    transport = Shards(16)
    with Producer(transport=transport, linger_ms=60_000, max_aggregate_bytes=10_000, receipts=False) as producer:
        producer.put_many([None] * 100_000, [b"%100d" % i for i in range(100_000)])
    records = found(transport)
    assert sorted(int(data) for each in records.values() for data in each) == list(range(100_000))
    assert min(len(each) for each in records.values()) > 100_000 / 16 / 2
    sizes = sorted(len(entry.data) for entries in transport.stored.values() for entry in entries)
    assert sizes[len(sizes) // 20] > 9_800  # all but the last ones are full


def test_ten_thousand_shards_aggregate_as_one_does():
    count = {}
    for shards in (1, 10_000):
        transport = Shards(shards)
        with Producer(transport=transport, linger_ms=60_000, receipts=False) as producer:
            producer.put_many([None] * 50_000, [b"%100d" % i for i in range(50_000)])
        count[shards] = sum(map(len, transport.stored.values()))
        assert sum(map(len, found(transport).values())) == 50_000
    assert count[10_000] <= count[1] + 1


def test_few_at_a_time_share_an_aggregate_and_then_go_to_another_shard():
    transport = Shards(8)
    with Producer(transport=transport, linger_ms=1) as producer:
        for i in range(40):
            producer.put(None, b"%d" % (2 * i))
            producer.put(None, b"%d" % (2 * i + 1))
            producer.flush()
    counts = Counter({shard_id: len(records) for shard_id, records in found(transport).items()})
    assert sum(counts.values()) == 80
    assert max(counts.values()) <= 40


def test_a_shard_that_is_throttled_gets_few():
    transport = Shards(4)
    busy = transport.shard_map[1].shard_id

    def fail(entries):
        return [
            Failed("ProvisionedThroughputExceededException", "")
            if transport.shard_of(entry).shard_id == busy
            else transport.store(entry)
            for entry in entries
        ]

    transport.fail = fail
    with Producer(transport=transport, linger_ms=1, record_ttl_ms=2_000, max_aggregate_records=20) as producer:
        producer.put_many([None] * 400, [b"x"] * 400)
        with pytest.raises(FlushTimeoutError):
            producer.flush(timeout=0.2)
        receipts = producer.put_many([None] * 1000, [b"x"] * 1000)
    assert sum(map(failed, receipts)) <= 40  # an even spread would have put 250 there


def failed(receipt):
    try:
        receipt.result()
    except DeliveryError:
        return True
    return False


def test_beside_records_with_keys_and_after_a_resharding():
    transport = Shards(3)
    with Producer(transport=transport, linger_ms=1, max_aggregate_records=50) as producer:
        for part in range(4):
            for i in range(1000):
                producer.put(None if i % 2 else f"device-{i % 50}", b"%d" % (part * 1000 + i))
            transport.gate.clear()
            producer.put_many([None] * 100, [b"%d" % (4000 + 100 * part + i) for i in range(100)])
            transport.reshard(part + 4)
            transport.gate.set()
    stored = [
        record for entries in transport.stored.values() for entry in entries for record in deaggregate(entry.data)
    ]
    assert {int(record.data) for record in stored} == set(range(4400))


def test_without_aggregation_each_has_a_place_of_its_own():
    transport = Shards(64)
    with Producer(transport=transport, linger_ms=1, max_aggregate_records=1) as producer:
        producer.put_many([None] * 640, [b"x"] * 640)
    counts = Counter({shard_id: len(entries) for shard_id, entries in transport.stored.items()})
    assert sum(counts.values()) == 640
    assert len(counts) == 64
    assert max(counts.values()) < 40


def test_with_an_explicit_hash_key_a_partition_key_is_needed():
    with Producer(transport=Shards()) as producer, pytest.raises(InvalidPartitionKeyError):
        producer.put(None, b"x", explicit_hash_key=1)


def test_into_the_local_kinesis(local_kinesis):
    local_kinesis.create_stream("keyless", 4)
    client = local_kinesis.client()
    with Producer("keyless", client=client, linger_ms=20, max_aggregate_bytes=5_000) as producer:
        producer.put_many([None] * 3_000, [b"%d" % i for i in range(3_000)])
        producer.put("a key", b"3000")
    values = defaultdict(list)
    for read in StreamReader("keyless", client=client, until="latest", range_rule=False):
        shard = read.shard
        taken = deaggregate(read.kinesis_records(), hash_range=(shard.starting_hash_key, shard.ending_hash_key))
        assert taken.left_out == 0
        for record in taken:
            values[record.partition_key].append(int(record.data))
    assert values["a key"] == [3000]
    assert sorted(values["-"]) == list(range(3_000))
