"""Kinesis records into requests: full to the byte, in order, spread over shards."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardpack import KinesisRecord, Limits, RecordTooLargeError, pack


def make(shard_index, size, number=0, explicit_hash_key=None):
    """A Kinesis record that the service counts as ``size`` bytes; its data does not matter to packing."""
    return KinesisRecord(f"{number}", explicit_hash_key, b"", shard_index, 1, size)


def counted(record):
    return record.size + len(record.explicit_hash_key or "")


def room(limits):
    """What a request of several records may hold: all but a 64th."""
    return limits.max_request_bytes - limits.max_request_bytes // 64


def check(records, requests, limits, per_shard=None):
    """Whatever the packing: limits hold, nothing is lost, every shard keeps its order."""
    for request in requests:
        assert 1 <= len(request) <= limits.max_request_records
        assert sum(map(counted, request)) <= room(limits) or len(request) == 1
        if per_shard is not None:
            assert max(Counter(record.shard_index for record in request).values()) <= per_shard
    before, after = defaultdict(list), defaultdict(list)
    for record in records:
        before[record.shard_index].append(id(record))
    for request in requests:
        for record in request:
            after[record.shard_index].append(id(record))
    assert before == after


def lower_bound(records, limits, per_shard=None):
    """No packing takes fewer requests than this."""
    of_shard = Counter(record.shard_index for record in records)
    return max(
        math.ceil(len(records) / limits.max_request_records),
        math.ceil(sum(map(counted, records)) / room(limits)),
        math.ceil(max(of_shard.values(), default=0) / per_shard) if per_shard else 0,
    )


def test_nothing_takes_no_request():
    assert pack([]) == []
    assert pack(iter(())) == []


@pytest.mark.parametrize(("count", "requests"), [(1, 1), (499, 1), (500, 1), (501, 2), (1000, 2), (1001, 3)])
def test_at_most_500_entries(count, requests):
    records = [make(i % 10, 100, i) for i in range(count)]
    packed = pack(records)
    assert len(packed) == requests
    check(records, packed, Limits())


@pytest.mark.parametrize("limit", [5 * 2**20, 10 * 2**20])
def test_bytes_to_the_last_one(limit):
    limits = Limits(max_request_bytes=limit)
    count = limit // 2**20
    largest = 2**20 - 2**20 // 64
    assert limits.packed_request_bytes == count * largest
    fits = [make(i, largest, i) for i in range(count)]
    assert len(pack(fits, limits)) == 1
    one_more = [*fits[1:], make(0, largest - 1), make(99, 2)]
    packed = pack(one_more, limits)
    assert len(packed) == 2
    check(one_more, packed, limits)


def test_explicit_hash_keys_count_in_a_request():
    """Two producers were refused requests whose data and partition keys they had counted as exactly the limit."""
    limits = Limits(max_record_bytes=1000, max_request_bytes=6400)  # 6,300 of them filled
    digits = str(2**128 - 1)
    records = [make(i, 700 - len(digits), i, digits) for i in range(9)]
    assert len(pack(records, limits)) == 1
    for one_byte_more in (make(8, 701 - len(digits), 8, digits), make(8, 700 - len(digits), 8, "1" + digits)):
        packed = pack([*records[:8], one_byte_more], limits)
        assert len(packed) == 2
        check([*records[:8], one_byte_more], packed, limits)


def test_the_default_leaves_room_in_a_request():
    records = [make(i, 10_485, i) for i in range(500)]  # 500 bytes less than 5 MiB
    packed = pack(records)
    assert [sum(record.size for record in request) for request in packed] == [492 * 10_485, 8 * 10_485]
    assert 5 * 2**20 - 492 * 10_485 >= 80 * 1024


@pytest.mark.parametrize("largest", [2**20, 10 * 2**20])
def test_a_record_at_its_limit_goes_alone_where_it_has_to(largest):
    """And its explicit hash key, which the record's limit does not count, does not keep it from going."""
    limits = Limits(max_record_bytes=largest, max_request_bytes=largest)
    records = [make(0, largest, 0, "7"), make(0, 1), make(1, largest, 1, str(2**127)), make(1, largest // 2)]
    packed = pack(records, limits)
    check(records, packed, limits)
    assert sorted(len(request) for request in packed) == [1, 1, 2]


@pytest.mark.parametrize("limits", [Limits(), Limits(max_record_bytes=1000)])
def test_a_record_too_large_is_refused(limits):
    largest = limits.max_record_bytes
    records = [make(0, 5), make(1, largest, 7)]
    check(records, pack(records, limits), limits)
    with pytest.raises(RecordTooLargeError, match=f"{largest + 1:,}.*'8'.*{largest:,}"):
        pack([*records, make(2, largest + 1, 8)], limits)


def test_every_shard_comes_before_any_comes_again():
    records = [make(shard, 10, number) for shard in range(10) for number in range(60)]
    [first, second] = pack(records)
    assert len(first) == 500
    assert Counter(record.shard_index for record in first) == dict.fromkeys(range(10), 50)
    for start in range(0, 500, 10):
        assert {record.shard_index for record in first[start : start + 10]} == set(range(10))
    assert Counter(record.shard_index for record in second) == dict.fromkeys(range(10), 10)


def test_the_records_themselves_come_back():
    record = make(3, 10)
    assert pack([record])[0][0] is record


def test_any_iterable():
    records = [make(i % 3, 10, i) for i in range(10)]
    for form in (tuple(records), iter(records), (record for record in records)):
        check(records, pack(form), Limits())


@pytest.mark.parametrize("per_shard", [1, 2, 7])
def test_a_cap_per_shard(per_shard):
    records = [make(i % 4, 10, i) for i in range(100)]
    packed = pack(records, max_entries_per_shard=per_shard)
    check(records, packed, Limits(), per_shard)
    assert len(packed) == math.ceil(25 / per_shard)


@pytest.mark.parametrize("per_shard", [0, -1])
def test_a_cap_of_nothing_is_refused(per_shard):
    with pytest.raises(ValueError, match="max_entries_per_shard"):
        pack([make(0, 1)], max_entries_per_shard=per_shard)


@pytest.mark.parametrize("per_shard", [2.0, "2", [1]])
def test_a_cap_is_a_whole_number(per_shard):
    with pytest.raises(TypeError, match="max_entries_per_shard is a whole number, not "):
        pack([make(0, 1)], max_entries_per_shard=per_shard)


def test_numpys_numbers_are_numbers():
    records = [make(0, 10, i) for i in range(5)]
    assert [len(request) for request in pack(records, max_entries_per_shard=np.int64(2))] == [2, 2, 1]
    limits = Limits(max_request_records=np.int32(3), max_record_bytes=np.uint64(2**20))
    assert limits == Limits(max_request_records=3)
    assert type(limits.max_record_bytes) is int
    assert [len(request) for request in pack(records, limits)] == [3, 2]


def test_limits_are_limits():
    """Others may hold what the service does not take."""
    looks_like_them = SimpleNamespace(max_record_bytes=2**40, max_request_bytes=2**40, max_request_records=10**6)
    for limits in (looks_like_them, 5 * 2**20, {"max_record_bytes": 2**20}):
        with pytest.raises(TypeError, match="limits are Limits, not "):
            pack([make(0, 10)], limits)


@pytest.mark.parametrize("record", [{"Data": b"x" * 10**6, "PartitionKey": "a"}, b"x" * 10**6, None, ("a", b"x")])
def test_what_is_no_kinesis_record(record):
    with pytest.raises(
        TypeError, match=r"pack takes KinesisRecords, as Aggregator.flush\(\) returns them, not "
    ) as raised:
        pack([make(0, 10), record])
    assert len(str(raised.value)) < 250


def test_errors_cut_keys():
    with pytest.raises(RecordTooLargeError) as raised:
        pack([KinesisRecord("k" * 10**6, None, b"", 0, 1, 2**21)])
    assert len(str(raised.value)) < 250


@pytest.mark.parametrize("per_shard", [1, 3])
@pytest.mark.parametrize(
    "queues",
    [
        [1000] + [1] * 999,
        [300] * 600,
        [40, 30, 20, 10] * 100,
        [500] * 2 + [1] * 3000,
        list(range(1, 700)),
        [7] * 501,
        [2] * 1000 + [100],
    ],
    ids=["one hot", "even", "skewed", "two hot", "staircase", "one shard too many", "hot at the end"],
)
def test_skewed_queues_take_as_few_requests_as_can_be(queues, per_shard):
    """Longest queues first: hot shards must not become a tail of nearly empty requests."""
    records = [make(shard, 10, number) for shard, count in enumerate(queues) for number in range(count)]
    packed = pack(records, max_entries_per_shard=per_shard)
    check(records, packed, Limits(), per_shard)
    assert len(packed) == lower_bound(records, Limits(), per_shard)


def test_large_and_small_records_share_requests():
    """A request that cannot take the next large record still takes small ones of other shards."""
    limits = Limits(max_record_bytes=2**20, max_request_bytes=5 * 2**20)
    records = [make(i % 20, 2**20 - 17_000, i) for i in range(40)] + [make(20 + i % 30, 100, i) for i in range(300)]
    packed = pack(records, limits)
    check(records, packed, limits)
    assert len(packed) == lower_bound(records, limits)


sizes = st.one_of(st.integers(1, 60), st.integers(400, 500))


@settings(max_examples=300, deadline=None)
@given(
    records=st.lists(
        st.builds(make, st.integers(0, 8), sizes, st.integers(0, 99), st.sampled_from([None, "7", str(2**127)])),
        max_size=120,
    ),
    max_request_bytes=st.integers(500, 3000),
    max_request_records=st.integers(1, 40),
    per_shard=st.none() | st.integers(1, 5),
)
def test_any_records(records, max_request_bytes, max_request_records, per_shard):
    limits = Limits(max_record_bytes=500, max_request_bytes=max_request_bytes, max_request_records=max_request_records)
    packed = pack(records, limits, max_entries_per_shard=per_shard)
    check(records, packed, limits, per_shard)


@settings(max_examples=200, deadline=None)
@given(
    queues=st.lists(st.integers(0, 40), max_size=30),
    max_request_records=st.integers(1, 30),
    per_shard=st.integers(1, 4),
)
def test_capped_records_of_one_size_take_the_fewest_requests(queues, max_request_records, per_shard):
    """Always taking of the longest queue is optimal then: the requests are as few as the lower bound."""
    limits = Limits(max_request_records=max_request_records)
    records = [make(shard, 10, number) for shard, count in enumerate(queues) for number in range(count)]
    packed = pack(records, limits, max_entries_per_shard=per_shard)
    check(records, packed, limits, per_shard)
    assert len(packed) == lower_bound(records, limits, per_shard)


@pytest.mark.parametrize("given", [5, b"abc", "abc", None])
def test_what_is_no_list_of_kinesis_records(given):
    with pytest.raises(TypeError, match=r"pack takes KinesisRecords, as Aggregator\.flush\(\) returns them"):
        pack(given)
