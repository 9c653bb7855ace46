"""What a producer's pump finds of what application threads put: numbered, bucketed, sealed, routed anew."""

from __future__ import annotations

import threading
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardpack import Aggregator, InvalidPartitionKeyError, Limits, RecordTooLargeError, ShardMap, deaggregate, hash_key
from shardpack._native.inbox import Inbox

pytestmark = pytest.mark.native

EVERYTHING = 2**64 - 1


def inbox_for(shard_map, max_bytes=1 << 20, max_records=None):
    return Inbox(shard_map._table, max_record_bytes=1 << 20, max_bytes=max_bytes, max_records=max_records)


def records_of(n, keys=100):
    """Some with explicit hash keys, some long, one empty."""
    for i in range(n):
        explicit = (i * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128 if i % 5 == 0 else None
        yield f"device-{i * 7 % keys}", b"%d" % i * (300 if i % 11 == 0 else 1), explicit


def contents(buckets):
    return [record for bucket in buckets for record in bucket.user_records()]


def test_what_is_sealed_is_what_an_aggregator_makes():
    shard_map = ShardMap.uniform(5)
    inbox, aggregator = inbox_for(shard_map, 20_000), Aggregator(shard_map, max_bytes=20_000)
    for key, data, explicit in records_of(3000):
        inbox.put(key, data, explicit)
        aggregator.add(key, data, explicit)
    inbox.gather()
    buckets = inbox.take(EVERYTHING)
    sealed = inbox.seal(buckets)
    assert sealed == aggregator.flush()
    assert [bucket.request_size for bucket in buckets] == [record.request_size for record in sealed]
    assert [len(bucket) for bucket in buckets] == [record.user_record_count for record in sealed]
    assert inbox.seal(buckets) == sealed
    assert sorted(token for bucket in buckets for token in bucket.tokens()) == list(range(3000))


def test_a_bucket_has_its_user_records_and_their_numbers():
    inbox = inbox_for(ShardMap.uniform(3))
    put = list(records_of(500))
    assert all(inbox.put(*record) is True for record in put)
    assert inbox.buffered == sum(len(key) + len(data) + 64 for key, data, _ in put)
    inbox.gather()
    found = {}
    for bucket in inbox.take(EVERYTHING):
        assert bucket.first_token == bucket.tokens()[0]
        inbox.settled(bucket.user_size + inbox.around * len(bucket))
        found |= dict(zip(bucket.tokens(), bucket.user_records(), strict=True))
    assert [found[i] for i in range(500)] == put
    assert inbox.buffered == 0


def test_one_alone_goes_raw():
    inbox = inbox_for(ShardMap.uniform(2))
    inbox.put("key", b"data")
    inbox.gather()
    (bucket,) = inbox.take(EVERYTHING)
    assert not bucket.aggregated
    (record,) = inbox.seal([bucket])
    assert (record.data, record.explicit_hash_key, bucket.request_size) == (b"data", None, 7)


def test_only_what_is_full_or_older_is_taken():
    inbox = inbox_for(ShardMap.uniform(4), max_records=10)
    for i in range(25):
        inbox.put("same", b"%d" % i)
    inbox.gather()
    assert [len(bucket) for bucket in inbox.take()] == [10, 10]
    assert inbox.take(20) == []
    (bucket,) = inbox.take(21)
    assert bucket.first_token == 20
    assert inbox.next_token == 25


def test_put_many_is_all_or_nothing():
    inbox = inbox_for(ShardMap.uniform(2))
    with pytest.raises(InvalidPartitionKeyError, match=r"^record 2: "):
        inbox.put_many(["a", "b", ""], [b"1", b"2", b"3"])
    assert inbox.put_many(["a", "b"], [b"1", b"22"]) == (0, 2, None)
    assert inbox.put_many(["c", "d"], [b"3", bytearray(b"4")], [None, "7"]) == (2, 2, None)
    assert inbox.put_many(["e"], [b"5"]) == (4, 1, None)
    assert inbox.put_many([], []) == (5, 0, None)
    inbox.gather()
    assert sorted(contents(inbox.take(EVERYTHING))) == [
        ("a", b"1", None),
        ("b", b"22", None),
        ("c", b"3", None),
        ("d", b"4", 7),
        ("e", b"5", None),
    ]


def test_lie_in_is_the_range_of_all_hash_keys():
    shard_map = ShardMap.uniform(7)
    inbox = inbox_for(shard_map)
    for record in records_of(4000):
        inbox.put(*record)
    inbox.gather()
    for bucket in inbox.take(EVERYTHING):
        places = [hash_key(key, explicit) for key, _, explicit in bucket.user_records()]
        low, high = min(places), max(places)
        assert inbox.lie_in(bucket, low, high)
        assert not inbox.lie_in(bucket, low + 1, high)
        assert not inbox.lie_in(bucket, low, high - 1)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 400), st.integers(0, 400), st.integers(0, 400))
def test_rerouting_keeps_each_keys_order(before, after, handed_out, in_buckets, put):
    """What was handed out already comes first, then what is in buckets, then what was put meanwhile."""
    old, new = ShardMap.uniform(before), ShardMap.uniform(after)
    inbox = inbox_for(old, max_records=50)
    records = iter(records_of(handed_out + in_buckets + put, keys=30))
    for _ in range(handed_out):
        inbox.put(*next(records))
    inbox.gather()
    lanes = inbox.take(EVERYTHING)
    for _ in range(in_buckets):
        inbox.put(*next(records))
    inbox.gather()
    for record in records:
        inbox.put(*record)
    inbox.reroute(lanes, new._table)
    inbox.gather()
    buckets = inbox.take(EVERYTHING)
    order = defaultdict(list)
    for bucket in buckets:
        assert list(bucket.tokens()) == sorted(bucket.tokens())
        for record, token in zip(bucket.user_records(), bucket.tokens(), strict=True):
            key, _, explicit = record
            assert new.index_of(hash_key(key, explicit)) == bucket.shard_index
            if explicit is None:
                order[key].append(token)
    assert all(tokens == sorted(tokens) for tokens in order.values())
    expected = list(records_of(handed_out + in_buckets + put, keys=30))
    assert sorted(contents(buckets), key=repr) == sorted(expected, key=repr)
    for record in inbox.seal(buckets):
        assert len(deaggregate({"Data": record.data, "PartitionKey": record.partition_key})) == record.user_record_count


def test_rerouted_without_aggregation():
    """As AUTO distribution wants it."""
    shard_map = ShardMap.uniform(2)
    inbox = inbox_for(shard_map)
    inbox.put_many(["a", "a", "b"], [b"1", b"2", b"3"])
    inbox.gather()
    lanes = inbox.take(EVERYTHING)
    inbox.put("a", b"4")
    inbox.reroute(lanes, shard_map._table, max_records=1)
    inbox.gather()
    buckets = inbox.take(EVERYTHING)
    assert all(len(bucket) == 1 and not bucket.aggregated for bucket in buckets)
    assert [data for key, data, _ in contents(buckets) if key == "a"] == [b"1", b"2", b"4"]


def test_threads_put_while_the_pump_takes():
    inbox, limits = inbox_for(ShardMap.uniform(4), 5000), Limits()
    rounds, threads = 3000, 4
    assert limits.max_record_bytes == inbox.max_record_bytes

    def put(name):
        for i in range(0, rounds, 3):
            inbox.put(f"{name}", b"%d" % i)
            inbox.put_many([f"{name}"] * 2, [b"%d" % (i + 1), b"%d" % (i + 2)])

    workers = [threading.Thread(target=put, args=(name,)) for name in range(threads)]
    for worker in workers:
        worker.start()
    found = []
    while any(worker.is_alive() for worker in workers):
        inbox.gather()
        found += inbox.take()
    inbox.gather()
    found += inbox.take(EVERYTHING)
    seen = defaultdict(list)
    for key, data, _ in contents(found):
        seen[key].append(int(data))
    assert seen == {f"{name}": list(range(rounds)) for name in range(threads)}
    assert sorted(token for bucket in found for token in bucket.tokens()) == list(range(rounds * threads))


def test_nothing_is_taken_from_the_bound_on():
    roused = []
    inbox = Inbox(
        ShardMap.uniform(2)._table,
        max_record_bytes=1000,
        max_bytes=1000,
        max_buffered=150,
        wake=lambda: roused.append(1),
    )
    inbox.asleep = True
    assert (inbox.put("a", b"1"), inbox.put("a", bytearray(b"2")), inbox.put("a", b"3", 5)) == (True, True, True)
    assert (inbox.put("a", b"4"), inbox.put("a", bytearray(b"5")), inbox.put_many(["a"], [b"6"])) == (None, None, None)
    assert (inbox.buffered, inbox.waiting, inbox.next_token, roused) == (3 * 66, 3, 3, [1])
    inbox.settled(66)
    assert inbox.put_many(["a", "a"], [b"7", b"8"]) == (3, 2, None)


def test_keyless_records_fill_one_bucket_after_the_other():
    shard_map = ShardMap.uniform(4)
    inbox = inbox_for(shard_map, max_bytes=2000)
    places = [shard_map[shard].starting_hash_key + 7 for shard in (1, 3, 0)]
    inbox.place(places)
    datas = [b"%d" % i * 60 for i in range(100)]
    assert all(inbox.put(None, data) is True for data in datas[:50])
    inbox.put_many([None] * 49 + ["key"], datas[50:])
    assert inbox.keyless == 99
    inbox.gather()
    assert inbox.keyless == 0
    buckets = inbox.take(EVERYTHING)
    keyless = sorted((b for b in buckets if b.user_records()[0][0] == "-"), key=lambda bucket: bucket.first_token)
    assert [bucket.shard_index for bucket in keyless] == [(1, 3, 0)[i % 3] for i in range(len(keyless))]
    assert [data for bucket in keyless for _, data, _ in bucket.user_records()] == datas[:99]
    assert min(bucket.request_size for bucket in keyless[:-1]) > 2000 - 130  # full, to the last one that fits
    assert sum(bucket.user_size + inbox.around * len(bucket) for bucket in buckets) == inbox.buffered
    for bucket, record in zip(buckets, inbox.seal(buckets), strict=True):
        shard = shard_map[bucket.shard_index]
        found = deaggregate(record.data, hash_range=(shard.starting_hash_key, shard.ending_hash_key))
        assert (found.left_out, len(found)) == (0, len(bucket))
        assert bucket.shard_index == shard_map.index_of(int(record.explicit_hash_key or hash_key("key")))


def test_keyless_records_move_on_when_their_bucket_is_taken():
    shard_map = ShardMap.uniform(8)
    inbox = inbox_for(shard_map)
    assert inbox.wants_places
    inbox.place([shard.starting_hash_key for shard in shard_map])
    assert not inbox.wants_places
    for i in range(8):
        inbox.put(None, b"x")
        inbox.gather()
        assert [bucket.shard_index for bucket in inbox.take(EVERYTHING)] == [i]
    assert inbox.wants_places


def test_the_place_of_keyless_records_stays_when_others_are_said():
    shard_map = ShardMap.uniform(4)
    inbox = inbox_for(shard_map)
    for i in range(3):
        inbox.place([shard_map[i + 1].starting_hash_key])
        inbox.put(None, b"x")
        inbox.gather()
    (bucket,) = inbox.take(EVERYTHING)
    assert (bucket.shard_index, len(bucket)) == (1, 3)


def test_keyless_records_beside_each_others_keys_and_one_to_a_bucket():
    shard_map = ShardMap.uniform(2)
    inbox = inbox_for(shard_map, max_records=1)
    inbox.place([shard_map[0].ending_hash_key, shard_map[1].ending_hash_key])
    inbox.put_many([None, "key", None], [b"1", b"2", b"3"])
    inbox.gather()
    buckets = sorted(inbox.take(EVERYTHING), key=lambda bucket: bucket.first_token)
    assert buckets[1].shard_index == shard_map.index_of(hash_key("key"))
    assert {buckets[0].shard_index, buckets[2].shard_index} == {0, 1}
    assert [len(bucket) for bucket in buckets] == [1, 1, 1]


def test_a_keyless_record_has_no_explicit_hash_key_and_exact_limits():
    inbox = inbox_for(ShardMap.uniform(2))
    with pytest.raises(InvalidPartitionKeyError, match="record 1: an explicit hash key needs a partition key"):
        inbox.put_many(["key", None], [b"", b""], [1, 1])
    with pytest.raises(InvalidPartitionKeyError, match="an explicit hash key needs a partition key"):
        inbox.put(None, b"", 1)
    assert inbox.put(None, bytes((1 << 20) - 1)) is True
    with pytest.raises(RecordTooLargeError, match="1,048,577"):
        inbox.put(None, bytes(1 << 20))
    magic = b"\xf3\x89\x9a\xc2"
    with pytest.raises(RecordTooLargeError, match="wrapped"):
        inbox.put(None, magic + bytes((1 << 20) - 4 - 76))
    inbox.place([10**38])  # of the most digits
    assert inbox.put(None, magic + bytes((1 << 20) - 4 - 77)) is True
    with pytest.raises(TypeError):
        Aggregator(ShardMap.uniform(2)).add(None, b"")
    inbox.gather()
    assert [record.size for record in inbox.seal(inbox.take(EVERYTHING))] == [1 << 20, 1 << 20]
    assert (inbox.keyless, inbox.waiting) == (0, 0)
