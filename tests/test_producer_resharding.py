"""The producer while its stream is split and merged, read as the KCL reads: nothing missing, and few copies."""

from __future__ import annotations

import uuid
from collections import Counter

import pytest
from shards_in_lists import Shards

from shardpack import Boto3Transport, Producer, ShardMap, deaggregate
from shardpack.errors import DeliveryError
from shardpack.testing import history
from shardpack.testing.local_kinesis import wait_until_active
from shardpack.transport import Failed, Stored

LONG = 3_600_000
THROTTLED = Failed("ProvisionedThroughputExceededException", "slow down")
DENIED = Failed("AccessDeniedException", "not yours")


@pytest.fixture
def stream(local_kinesis):
    local_kinesis.create_stream(name := f"resharding-{uuid.uuid4()}", 4)
    return name


def split(client, stream, shard_map, index):
    shard = shard_map[index]
    middle = (shard.starting_hash_key + shard.ending_hash_key) // 2
    client.split_shard(StreamName=stream, ShardToSplit=shard.shard_id, NewStartingHashKey=str(middle))
    wait_until_active(client, stream)


def merge(client, stream, shard_map, index):
    first, second = shard_map[index].shard_id, shard_map[index + 1].shard_id
    client.merge_shards(StreamName=stream, ShardToMerge=first, AdjacentShardToMerge=second)
    wait_until_active(client, stream)


def make_events(keys, each):
    return [(f"key-{k}", f"{k}:{i}:".encode().ljust(20, b".")) for i in range(each) for k in range(keys)]


def put_all(producer, events):
    return producer.put_many([key for key, _ in events], [data for _, data in events])


def told(events, receipts):
    outcomes = [receipt.result(0) for receipt in receipts]
    return [
        history.Put(key, data, history.Position(outcome.shard_id, outcome.sequence_number, outcome.sub_sequence_number))
        for (key, data), outcome in zip(events, outcomes, strict=True)
    ]


def copies_in(shards):
    return Counter(record.data for shard in shards for record in shard.records)


@pytest.mark.parametrize("max_bytes", [400, 3000, 2**20])
def test_everything_arrives_once_in_the_order_of_its_keys(client, stream, max_bytes):
    events = make_events(40, 30)
    with Producer(stream, client=client, linger_ms=LONG, max_aggregate_bytes=max_bytes) as producer:
        receipts = put_all(producer, events)
        producer.flush(60)
        stats = producer.stats()
    shards = history.read_all(client, stream, kcl_rule=True)
    report = history.check(told(events, receipts), shards)
    assert report.holds, report
    assert (report.found, report.left_out, report.duplicates) == (len(events), 0, 0)
    kinesis_records = {(shard.shard_id, record.sequence_number) for shard in shards for record in shard.records}
    assert (stats.user_records_stored, stats.kinesis_records_stored) == (len(events), len(kinesis_records))
    assert stats.retries == 0


@pytest.mark.parametrize(
    "reshard",
    [
        pytest.param([(split, 0)], id="split"),
        pytest.param([(merge, 1)], id="merge"),
        pytest.param([(split, 3), (merge, 0)], id="both"),
    ],
)
@pytest.mark.parametrize("max_bytes", [500, 2**20])
def test_resharding_between_aggregation_and_sending_loses_nothing(client, stream, reshard, max_bytes):
    events = make_events(40, 40)
    half = len(events) // 2
    before = Boto3Transport(client, stream).list_shards()
    with Producer(stream, client=client, linger_ms=LONG, max_aggregate_bytes=max_bytes) as producer:
        receipts = [*put_all(producer, events[:half])]
        producer.flush(60)
        receipts += put_all(producer, events[half:])
        for change, index in reshard:
            change(client, stream, before, index)
        producer.flush(60)
    shards = history.read_all(client, stream, kcl_rule=True)
    report = history.check(told(events, receipts), shards)
    assert report.holds, report
    assert (report.found, report.duplicates) == (len(events), 0)  # as the KCL reads

    # twice in the stream: only what was in aggregates that a split tore in two
    copies = copies_in(history.read_all(client, stream))
    twice = {data for data, count in copies.items() if count > 1}
    torn = {index for change, index in reshard if change is split}
    assert max(copies.values()) <= 2
    assert report.left_out == len(twice)
    if max_bytes == 2**20:
        assert bool(twice) == bool(torn)
    places = dict(zip([data for _, data in events], before.assign([key for key, _ in events]), strict=True))
    assert {places[data] for data in twice} <= torn


def test_what_comes_after_a_resharding_was_seen_goes_where_it_belongs(client, stream):
    events = make_events(30, 10)
    with Producer(stream, client=client, linger_ms=LONG) as producer:
        receipts = [*put_all(producer, events[:100])]
        producer.flush(60)
        split(client, stream, Boto3Transport(client, stream).list_shards(), 2)
        receipts += put_all(producer, events[100:200])
        producer.flush(60)
        before = producer.stats().kinesis_records_sent
        receipts += put_all(producer, events[200:])
        producer.flush(60)
        assert producer.stats().kinesis_records_sent == before + 5  # one a shard
    report = history.check(told(events, receipts), history.read_all(client, stream, kcl_rule=True))
    assert report.holds, report


def test_explicit_hash_keys_and_lone_records_survive_resharding(client, stream):
    magic = b"\xf3\x89\x9a\xc2 not an aggregate"
    keys, datas, hash_keys = [], [], []
    for i in range(9):
        keys += [f"key-{i}", f"key-{i}"]
        datas += [b"%d" % i, magic + b"%d" % i]
        hash_keys += [i * (2**126 // 10)] * 2  # all in the first shard, which is split
    keys, datas, hash_keys = [*keys, "alone"], [*datas, magic], [*hash_keys, 5]
    with Producer(stream, client=client, linger_ms=LONG, max_aggregate_records=2) as producer:
        producer.put("first", b"so that it knows the shards")
        producer.flush(60)
        receipts = producer.put_many(keys, datas, hash_keys)
        split(client, stream, Boto3Transport(client, stream).list_shards(), 0)
        producer.flush(60)
    puts = told(zip(keys, datas, strict=True), receipts)
    for put, hash_key in zip(puts, hash_keys, strict=True):
        put.explicit_hash_key = hash_key
    shards = history.read_all(client, stream, kcl_rule=True)
    for shard in shards:
        shard.records = [record for record in shard.records if record.partition_key != "first"]
    report = history.check(puts, shards)
    assert report.holds, report
    assert report.found == len(keys)
    expected = dict(zip(datas, map(str, hash_keys), strict=True))
    aggregated = [record for shard in shards for record in shard.records if record.aggregated]
    assert len(aggregated) >= 18
    assert all(record.explicit_hash_key == expected[record.data] for record in aggregated)


# --- against a transport that fails as told ---


def test_nothing_to_send_asks_for_nothing():
    transport = Shards()
    transport.list_shards = transport.describe = transport.put_records = None
    with Producer(transport=transport) as producer:
        producer.flush(1)


class Broken(Exception):  # noqa: N818
    pass


def test_an_exception_that_nobody_knows_loses_nothing():
    left = [Broken(), Broken()]

    def fail(_entries):
        if left:
            raise left.pop()

    transport = Shards(2, fail=fail)
    with Producer(transport=transport, linger_ms=1) as producer:
        receipts = put_all(producer, make_events(10, 5))
        producer.flush(30)
        attempts = [attempt.error_code for attempt in receipts[0].result(0).attempts]
    assert set(attempts) == {"Broken"}
    assert len(transport.user_records()) == 50


@pytest.mark.parametrize("shard", [0, 1, 2])
def test_an_entry_refused_for_good_leaves_the_others_stored(shard):
    def fail(entries):
        return [DENIED if entry.shard_index == shard else transport.store(entry) for entry in entries]

    transport = Shards(3, fail=fail)
    events = make_events(40, 5)
    with Producer(transport=transport, linger_ms=LONG) as producer:
        receipts = put_all(producer, events)
        producer.flush(30)
        stats = producer.stats()
    refused = ShardMap.uniform(3).assign([key for key, _ in events])
    for receipt, index in zip(receipts, refused, strict=True):
        if index == shard:
            with pytest.raises(DeliveryError, match="not yours") as raised:
                receipt.result(0)
            assert (raised.value.error_code, raised.value.maybe_stored) == ("AccessDeniedException", False)
        else:
            assert receipt.result(0).attempts == ()
    assert (stats.user_records_stored, stats.user_records_failed) == (
        len(transport.user_records()),
        [*refused].count(shard),
    )
    assert (stats.requests, stats.kinesis_records_stored) == (1, 2)


def kept_by_the_kcl(transport):
    found = {}
    for shard in transport.shard_map:
        for entry in transport.stored[shard.shard_id]:
            data = {"Data": entry.data, "PartitionKey": entry.partition_key}
            for record in deaggregate(data, hash_range=(shard.starting_hash_key, shard.ending_hash_key)):
                found.setdefault(record.partition_key, []).append(record.data)
    return found


def test_throttled_while_resharded_keeps_order():
    """A shard is throttled when the other turns out to be split; what waits goes to the shards as they are."""
    events = make_events(40, 20)

    def fail(entries):
        if transport.generation:
            return None
        transport.reshard(4)
        return [THROTTLED if entry.shard_index == 0 else transport.store(entry) for entry in entries]

    transport = Shards(2, fail=fail)
    with Producer(transport=transport, linger_ms=LONG, max_aggregate_bytes=600) as producer:
        put_all(producer, events)
        producer.flush(60)
    expected = {}
    for key, data in events:
        expected.setdefault(key, []).append(data)
    assert kept_by_the_kcl(transport) == expected


def test_what_landed_elsewhere_beside_an_entry_refused_for_good_is_stored():
    def fail(entries):
        transport.reshard(1)
        return [DENIED if entry.shard_index == 0 else transport.store(entry) for entry in entries]

    transport = Shards(2, fail=fail)
    events = make_events(40, 5)
    with Producer(transport=transport, linger_ms=LONG) as producer:
        receipts = put_all(producer, events)
        producer.flush(60)
        stats = producer.stats()
    refused = [*ShardMap.uniform(2).assign([key for key, _ in events])].count(0)
    assert (stats.user_records_stored, stats.user_records_failed) == (len(events) - refused, refused)
    assert {receipt.result(0).shard_id for receipt in receipts if stored(receipt)} == {"shardId-1-0"}
    assert len(transport.requests) == 1


def stored(receipt):
    try:
        return bool(receipt.result(0))
    except DeliveryError:
        return False


def test_raw_records_are_right_in_any_shard():
    """Nobody takes them apart, so nobody drops them."""

    def fail(entries):
        return [Stored("shardId-of-tomorrow", f"{id(entry)}") for entry in entries]

    transport = Shards(2, fail=fail)
    with Producer(transport=transport, linger_ms=LONG, max_aggregate_records=1) as producer:
        receipts = put_all(producer, make_events(10, 3))
        producer.flush(30)
        assert producer.stats().retries == 0
    assert {receipt.result(0).shard_id for receipt in receipts} == {"shardId-of-tomorrow"}
