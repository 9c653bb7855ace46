"""What Aggregator seals, against a plain reading of the format (wire.py) and of the rules (aggregate_model.py)."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import pytest
import wire
from aggregate_model import by_shard, expected, seal, sealed_size
from hypothesis import given, settings
from hypothesis import strategies as st

from shardpack import Aggregator, KinesisRecord, Limits, ShardMap

pytestmark = pytest.mark.native

COLLISION = (
    "TEXTCOLLBYfGiJUETHQ4hAcKSMd5zYpgqf1YRDhkmxHkhPWptrkoyz28wnI9V0aHeAuaKnak",
    "TEXTCOLLBYfGiJUETHQ4hEcKSMd5zYpgqf1YRDhkmxHkhPWptrkoyz28wnI9V0aHeAuaKnak",
)
"""Two texts with one MD5, published by Marc Stevens in 2024."""


def add_one_by_one(aggregator, user_records):
    for key, data, explicit_hash_key in user_records:
        aggregator.add(key, data, explicit_hash_key)


def add_all(aggregator, user_records):
    keys, datas, explicit_hash_keys = zip(*user_records, strict=True) if user_records else ((), (), ())
    aggregator.add_many(keys, datas, explicit_hash_keys)


def aggregate(user_records, shard_count=1, **options):
    aggregator = Aggregator(ShardMap.uniform(shard_count), **options)
    add_all(aggregator, user_records)
    return aggregator.flush()


USER_RECORDS = [(f"device-{i % 7}", b"reading %d" % i, None) for i in range(60)]


# --- the bytes ---


def test_an_aggregated_record_is_magic_message_and_md5():
    [sealed] = aggregate(USER_RECORDS)
    assert sealed.data == wire.aggregate(USER_RECORDS)
    assert sealed.data[:4] == bytes.fromhex("f3899ac2")
    assert sealed.data[-16:] == hashlib.md5(sealed.data[4:-16]).digest()


def test_outer_key_and_hash_key_are_those_of_the_first_user_record():
    [sealed] = aggregate(USER_RECORDS)
    assert sealed.partition_key == "device-0"
    assert sealed.explicit_hash_key == str(int(hashlib.md5(b"device-0").hexdigest(), 16))
    [sealed] = aggregate([("a", b"1", 2**127 + 5), ("b", b"2", None)])
    assert (sealed.partition_key, sealed.explicit_hash_key) == ("a", str(2**127 + 5))


def test_fields_of_a_kinesis_record():
    records = aggregate([("é", b"x" * 10, None), ("é", b"y" * 10, None)], 3)
    [sealed] = records
    assert isinstance(sealed, KinesisRecord)
    assert sealed.user_record_count == 2
    assert sealed.size == len(sealed.data) + len("é".encode())
    assert sealed.shard_index == wire.hash_key("é") // (2**128 // 3)
    assert sealed.to_boto3() == {
        "Data": sealed.data,
        "PartitionKey": "é",
        "ExplicitHashKey": str(wire.hash_key("é")),
    }


def test_tables_hold_each_key_once_in_the_order_first_seen():
    user_records = [
        ("b", b"0", 9),
        ("a", b"1", 7),
        ("b", b"2", "9"),
        ("c", b"3", None),
        ("a", b"4", "7"),
        ("d", b"", 9),
    ]
    [sealed] = aggregate(user_records)
    tables = b"".join(wire.content(1, key) for key in (b"b", b"a", b"c", b"d"))
    tables += wire.content(2, b"9") + wire.content(2, b"7")
    indices = [(0, 0), (1, 1), (0, 0), (2, None), (1, 1), (3, 0)]
    records = b"".join(
        wire.record(key, data, hash_key) for (key, hash_key), (_, data, _) in zip(indices, user_records, strict=True)
    )
    assert sealed.data == wire.frame(tables + records)


def test_two_keys_with_one_md5_stay_two():
    assert hashlib.md5(COLLISION[0].encode()).digest() == hashlib.md5(COLLISION[1].encode()).digest()
    assert COLLISION[0] != COLLISION[1]
    user_records = [(COLLISION[i % 2], b"%d" % i, None) for i in range(6)]
    [sealed] = aggregate(user_records, 4)
    assert sealed.data == wire.aggregate(user_records)


def test_str_and_bytes_of_a_key_are_one_key():
    user_records = [("clé", b"1", None), ("clé".encode(), b"2", None), ("clé", b"3", None)]
    [sealed] = aggregate(user_records)
    assert sealed.data == wire.aggregate(user_records)
    [sealed] = aggregate(user_records[1:])
    assert sealed.partition_key == "clé"


@pytest.mark.parametrize("value", [0, 1, 10, 2**64 - 1, 2**64, 2**127, 10**38, 2**128 - 1])
@pytest.mark.parametrize("kind", [int, str])
def test_explicit_hash_keys_come_as_int_or_str(value, kind):
    user_records = [("a", b"1", kind(value)), ("b", b"2", kind(value))]
    [sealed] = aggregate(user_records, 5)
    assert sealed.data == wire.aggregate(user_records)
    assert sealed.explicit_hash_key == str(value)
    assert sealed.shard_index == min(value // (2**128 // 5), 4)


def test_thousands_of_explicit_hash_keys_are_told_apart():
    hash_keys = [i << shift for i in range(1, 600) for shift in (0, 8, 63, 64, 100)]
    user_records = [("key", b"", value) for value in hash_keys + hash_keys[::-1]]
    [sealed] = aggregate(user_records)
    assert sealed.data == wire.aggregate(user_records)


def test_empty_data_is_a_user_record_like_any():
    [raw] = aggregate([("a", b"", None)])
    assert (raw.data, raw.user_record_count, raw.size) == (b"", 1, 1)
    user_records = [("a", b"", None), ("b", b"", None), ("a", b"x", None)]
    [sealed] = aggregate(user_records)
    assert sealed.data == wire.aggregate(user_records)


def test_the_longest_keys_of_the_widest_characters():
    user_records = [
        ("\U0001d518" * 256, b"1", None),
        ("\U0001d519" * 256, b"2", None),
        ("é" * 256, b"3", None),
        ("x" * 256, b"4", None),
    ]
    [sealed] = aggregate(user_records)
    assert sealed.data == wire.aggregate(user_records)
    assert sealed.size == len(sealed.data) + 1024
    [raw] = aggregate(user_records[:1])
    assert (raw.partition_key, raw.size) == ("\U0001d518" * 256, 1025)


# --- alone in a bucket ---


def test_a_user_record_alone_goes_raw_with_its_own_key():
    [raw] = aggregate([("device", b"data", None)], 2)
    assert raw == KinesisRecord("device", None, b"data", wire.hash_key("device") >> 127, 1, 10)
    assert raw.to_boto3() == {"Data": b"data", "PartitionKey": "device"}


@pytest.mark.parametrize("explicit_hash_key", [2**127, str(2**127)])
def test_a_user_record_alone_keeps_its_explicit_hash_key(explicit_hash_key):
    [raw] = aggregate([("device", b"data", explicit_hash_key)], 2)
    assert raw == KinesisRecord("device", str(2**127), b"data", 1, 1, 10)


@pytest.mark.parametrize("explicit_hash_key", [None, 77])
@pytest.mark.parametrize(
    "data",
    [wire.MAGIC, wire.MAGIC + b"x", wire.COMPRESSED_MAGIC, wire.COMPRESSED_MAGIC + b"x", wire.aggregate(USER_RECORDS)],
)
def test_data_that_starts_with_the_magic_is_wrapped(data, explicit_hash_key):
    user_record = ("device", data, explicit_hash_key)
    [sealed] = aggregate([user_record])
    assert sealed.data == wire.aggregate([user_record])
    assert sealed.explicit_hash_key == str(wire.hash_key("device", explicit_hash_key))
    assert sealed.user_record_count == 1
    assert sealed.size == len(sealed.data) + len("device")


@pytest.mark.parametrize("data", [b"", b"\xf3", b"\xf3\x89\x9a", b"\xf3\x89\x9a\xc3...", b"x" + wire.MAGIC, b"\xf5SPz"])
def test_data_that_only_resembles_the_magic_goes_raw(data):
    [raw] = aggregate([("device", data, None)])
    assert raw.data == data


# --- order and batches ---


@pytest.mark.parametrize("add", [add_one_by_one, add_all])
@pytest.mark.parametrize("shard_count", [1, 2, 7, 100])
@pytest.mark.parametrize("max_bytes", [300, 5000, 2**20])
def test_every_shard_gets_its_user_records_in_order(add, shard_count, max_bytes):
    user_records = [(f"key-{i % 311}", b"%d" % i * (i % 13), i << 116 if i % 5 == 0 else None) for i in range(4000)]
    aggregator = Aggregator(ShardMap.uniform(shard_count), max_bytes=max_bytes)
    add(aggregator, user_records)
    found = by_shard(aggregator.flush())
    assert found == expected(user_records, shard_count, max_bytes=max_bytes)


@pytest.mark.parametrize("max_records", [1, 2, 3, 59, 60, 61])
def test_max_records(max_records):
    found = by_shard(aggregate(USER_RECORDS, max_records=max_records))
    assert found == expected(USER_RECORDS, max_records=max_records)
    assert max(record.user_record_count for record in found[0]) == min(max_records, 60)


def test_take_gives_what_is_sealed_and_flush_the_rest():
    user_records = [(f"key-{i % 50}", b"d" * 40, None) for i in range(5000)]
    aggregator = Aggregator(ShardMap.uniform(4), max_bytes=2000)
    add_all(aggregator, user_records)
    whole = expected(user_records, 4, max_bytes=2000)
    taken = by_shard(aggregator.take())
    assert taken == {shard: records[:-1] for shard, records in whole.items()}
    assert aggregator.take() == []
    assert by_shard(aggregator.flush()) == {shard: records[-1:] for shard, records in whole.items()}
    assert aggregator.flush() == []


def test_take_seals_nothing_that_has_room():
    aggregator = Aggregator(ShardMap.uniform(1))
    aggregator.add("a", b"1")
    assert aggregator.take() == []
    aggregator.add("a", b"2")
    assert aggregator.take() == []
    [sealed] = aggregator.flush()
    assert sealed.data == wire.aggregate([("a", b"1", None), ("a", b"2", None)])


def test_buckets_used_again_remember_nothing():
    aggregator = Aggregator(ShardMap.uniform(3), max_bytes=4000)
    for round_number in range(5):
        user_records = [
            (f"key-{(i * 31 + round_number) % 97}", b"x" * (i % 60), i << 117 if (i + round_number) % 3 == 0 else None)
            for i in range(1500)
        ]
        add_all(aggregator, user_records)
        assert by_shard(aggregator.flush()) == expected(user_records, 3, max_bytes=4000)


def test_a_user_record_too_large_to_share_goes_raw_in_its_place():
    user_records = [("a", b"1", None), ("b", b"2", None), ("c", b"L" * 500, None), ("d", b"3", None), ("e", b"4", None)]
    found = aggregate(user_records, max_bytes=200)
    assert [record.user_record_count for record in found] == [2, 1, 2]
    assert (found[1].partition_key, found[1].data, found[1].explicit_hash_key) == ("c", b"L" * 500, None)
    assert by_shard(found) == expected(user_records, max_bytes=200)


def test_large_neighbours_stay_in_order():
    user_records = [(f"k{i % 3}", bytes([i]) * (90 if i % 4 else 700), None) for i in range(100)]
    found = aggregate(user_records, max_bytes=400)
    assert by_shard(found) == expected(user_records, max_bytes=400)


def test_empty_batches():
    aggregator = Aggregator(ShardMap.uniform(2))
    aggregator.add_many([], [])
    aggregator.add_many((), iter(()), [])
    assert aggregator.flush() == []


keys = st.one_of(
    st.sampled_from(["a", "b", "c", "dé", "日本"]), st.text(st.characters(codec="utf-8"), min_size=1, max_size=9)
)
hash_keys = st.one_of(st.none(), st.none(), st.sampled_from([0, "0", 2**127, 2**128 - 1]), st.integers(0, 2**128 - 1))
datas = st.one_of(
    st.binary(max_size=40),
    st.integers(100, 300).map(bytes),
    st.binary(max_size=10).map(lambda tail: wire.MAGIC + tail),
    st.binary(max_size=10).map(lambda tail: wire.COMPRESSED_MAGIC + tail),
)


@settings(max_examples=150, deadline=None)
@given(
    user_records=st.lists(st.tuples(keys, datas, hash_keys), max_size=40),
    shard_count=st.integers(1, 6),
    max_bytes=st.integers(1, 700),
    max_records=st.integers(1, 50),
    taken_after=st.sets(st.integers(0, 40)),
)
def test_any_user_records_come_out_as_the_rules_say(user_records, shard_count, max_bytes, max_records, taken_after):
    aggregator = Aggregator(ShardMap.uniform(shard_count), max_bytes=max_bytes, max_records=max_records)
    found = []
    marks = sorted({0, len(user_records)} | {mark for mark in taken_after if mark <= len(user_records)})
    for start, end in pairwise(marks):
        add_all(aggregator, user_records[start:end])
        found += aggregator.take()
    found += aggregator.flush()
    assert by_shard(found) == expected(user_records, shard_count, max_bytes=max_bytes, max_records=max_records)


# --- sizes, to the byte ---


def distinct(count, explicit=None):
    return [(f"{i:05d}", b"", None if explicit is None else explicit + i) for i in range(count)]


SIZED = {
    "two": [("a", b"1", None), ("a", b"2", None)],
    "new key": [("a", b"1", None), ("b", b"2", None)],
    "new explicit hash key": [("a", b"1", None), ("a", b"2", 2**128 - 1)],
    "explicit hash key again": [("a", b"1", 5), ("a", b"2", "5")],
    "outer key of 1024 bytes": [("\U0001d518" * 256, b"1", None), ("a", b"2", None)],
    **{f"key of {n} bytes": [("a", b"1", None), ("k" * n, b"2", None)] for n in (127, 128, 256)},
    **{f"first data of {n}": [("a", b"d" * n, None), ("a", b"2", None)] for n in (127, 128, 16383, 16384)},
    **{
        f"data of {n}": [("a", b"1", None), ("a", b"d" * n, None)]
        for n in (0, 121, 122, 123, 124, 125, 127, 128, 129, 16376, 16377, 16378, 16379, 16383, 16384)
    },
    **{f"{n} keys": distinct(n) for n in (127, 128, 129, 130, 16384, 16385, 16386)},
    **{f"{n} explicit hash keys": distinct(n, 2**100) for n in (127, 128, 129, 130, 16384, 16385)},
    "an old key at a wide index": [*distinct(129), ("00128", b"x", None)],
    "magic first": [("a", wire.MAGIC, None), ("a", b"2", None)],
}


@pytest.mark.parametrize("user_records", SIZED.values(), ids=SIZED.keys())
def test_the_last_user_record_shares_the_bucket_if_it_fits_to_the_byte(user_records):
    exact = sealed_size(user_records)
    found = aggregate(user_records, max_bytes=exact)
    assert [(record.size, record.data) for record in found] == [(exact, wire.aggregate(user_records))]
    found = aggregate(user_records, max_bytes=exact - 1)
    assert found[-1].user_record_count < len(user_records)
    assert by_shard(found) == {0: [seal(user_records[:-1]), seal(user_records[-1:])]}


@pytest.mark.parametrize("limit", [200, 2**20, 10 * 2**20])
def test_an_aggregated_record_grows_to_the_streams_limit_and_no_further(limit):
    limits = Limits(max_record_bytes=limit, max_request_bytes=10 * 2**20)
    first = ("key", b"x" * 50, None)
    room = limit - sealed_size([first, ("key", bytes(limit - 100), None)])
    second = ("key", bytes(limit - 100 + room), None)
    assert sealed_size([first, second]) == limit
    [sealed] = aggregate([first, second], limits=limits, max_bytes=limit)
    assert sealed.size == limit
    larger = ("key", second[1] + b"+", None)
    assert [record.user_record_count for record in aggregate([first, larger], limits=limits)] == [1, 1]


def test_what_is_given_is_kept():
    shard_map, limits = ShardMap.uniform(2), Limits(max_record_bytes=5000)
    aggregator = Aggregator(shard_map, limits=limits, max_bytes=4000, max_records=9)
    assert (aggregator.shard_map, aggregator.limits) == (shard_map, limits)
    assert (aggregator.max_bytes, aggregator.max_records) == (4000, 9)
    assert Aggregator(shard_map).max_bytes == 2**20
    assert Aggregator(shard_map, limits=limits).max_bytes == 5000


@pytest.mark.parametrize(
    "options",
    [{"max_bytes": 0}, {"max_bytes": 2**20 + 1}, {"max_records": 0}, {"max_records": 2**32}, {"max_bytes": -1}],
)
def test_limits_that_cannot_hold_are_refused(options):
    [name] = options
    with pytest.raises(ValueError, match=name):
        Aggregator(ShardMap.uniform(1), **options)
