"""Every aggregated record is byte for byte what google protobuf writes."""

from __future__ import annotations

from collections import defaultdict

import protobuf_oracle
import pytest
import wire
from aggregate_model import shard_of
from hypothesis import given, settings
from hypothesis import strategies as st

from shardpack import Aggregator, ShardMap

keys = st.one_of(st.sampled_from("abcdef"), st.text(st.characters(codec="utf-8"), min_size=1, max_size=256))
hash_keys = st.one_of(st.none(), st.integers(0, 9), st.integers(0, 2**128 - 1))
datas = st.one_of(st.binary(max_size=50), st.sampled_from([122, 127, 128, 16383, 16384]).map(bytes))
user_record_lists = st.lists(st.tuples(keys, datas, hash_keys), max_size=40)


def check(user_records, shard_count, **options):
    """Aggregate, and rebuild every aggregated record with protobuf from the user records that were put in."""
    aggregator = Aggregator(ShardMap.uniform(shard_count), **options)
    for user_record in user_records:
        aggregator.add(*user_record)
    waiting = defaultdict(list)
    for user_record in user_records:
        waiting[shard_of(user_record, shard_count)].append(user_record)
    for record in aggregator.flush():
        of_shard = waiting[record.shard_index]
        inside, of_shard[:] = of_shard[: record.user_record_count], of_shard[record.user_record_count :]
        if record.user_record_count == 1 and not inside[0][1].startswith((wire.MAGIC, wire.COMPRESSED_MAGIC)):
            assert record.data == inside[0][1]
        else:
            assert record.data == protobuf_oracle.serialize(inside)
    assert not any(waiting.values())


@settings(max_examples=200, deadline=None)
@given(user_record_lists, st.integers(1, 4), st.sampled_from([200, 20_000, 2**20]))
def test_any_user_records(user_records, shard_count, max_bytes):
    check(user_records, shard_count, max_bytes=max_bytes)


@pytest.mark.parametrize("count", [2, 127, 128, 129, 16383, 16384, 16385, 20_000])
def test_indices_of_every_width(count):
    check([(f"{i:x}", b"", i) for i in range(count)], 1)


def test_thousands_of_user_records_on_many_shards():
    user_records = [(f"key-{i % 999}", b"%d" % i * (i % 30), i << 105 if i % 7 == 0 else None) for i in range(20_000)]
    check(user_records, 16, max_bytes=25_000)


@settings(max_examples=200, deadline=None)
@given(user_record_lists.filter(len))
def test_the_format_as_the_other_tests_write_it(user_records):
    assert wire.aggregate(user_records) == protobuf_oracle.serialize(user_records)
