"""Aggregators that compress: exact sizes, order and contents, whatever the data; and never over a limit."""

from __future__ import annotations

import random
import sys

import compressed_reader
import pytest
from compressed_reader import is_compressed
from hypothesis import given, settings
from hypothesis import strategies as st
from isolated import run

from shardpack import Aggregator, KinesisRecord, Limits, RecordTooLargeError, ShardMap, hash_key
from shardpack._native.inbox import Inbox
from shardpack.bench.corpus import flights
from shardpack.codec.sealing import AT_ONCE, LEVELS, CompressedSealer

MIB = 2**20
KEYS = [f"device-{i}" for i in range(40)]


def random_datas(rng, n, size):
    return [rng.randbytes(rng.randrange(2 * size)) for _ in range(n)]


def text_datas(rng, n, size):
    words = [rng.randbytes(4).hex() for _ in range(200)]
    return [" ".join(rng.choices(words, k=rng.randrange(1, size // 4))).encode() for _ in range(n)]


def alike_datas(_rng, n, size):
    return [b"x" * size] * n


def mixed_datas(rng, n, size):
    kinds = [random_datas(rng, n, size), text_datas(rng, n, size), alike_datas(rng, n, size)]
    runs = rng.choices(kinds, k=n // 50 + 1)  # each is followed by others that compress another way
    return [runs[i // 50][i] for i in range(n)]


KINDS = {"random": random_datas, "text": text_datas, "alike": alike_datas, "mixed": mixed_datas}


def looks_aggregated(data):
    return data[:4] in (compressed_reader.MAGIC, compressed_reader.PLAIN_MAGIC)


def aggregated(keys, datas, explicit=None, shards=1, batch=10**9, **options):
    """Seal with and without compression, and check what holds of either."""
    options.setdefault("max_bytes", 20_000)
    shard_map = ShardMap.uniform(shards)
    aggregator = Aggregator(shard_map, compression="zstd", **options)
    sealed = []
    for i in range(0, len(keys), batch):
        aggregator.add_many(
            keys[i : i + batch], datas[i : i + batch], None if explicit is None else explicit[i : i + batch]
        )
        sealed += aggregator.take()
    sealed += aggregator.flush()
    assert len(aggregator) == 0
    check(aggregator, sealed, keys, datas, explicit)
    return sealed


def check(aggregator, sealed, keys, datas, explicit=None):
    shard_map = aggregator.shard_map
    explicit = [None] * len(keys) if explicit is None else explicit
    given = list(zip(keys, datas, explicit, strict=True))
    for record in sealed:
        assert record.size == len(record.data) + len(record.partition_key.encode())
        assert record.size <= aggregator.max_bytes or record.user_record_count == 1
        assert record.user_record_count <= aggregator.max_records
        inside = compressed_reader.user_records([record])
        assert record.user_record_count == len(inside)
        for key, _, hash_of in inside:
            assert shard_map.index_of(hash_key(key, hash_of)) == record.shard_index
        key, data, hash_of = inside[0]
        assert record.partition_key == key
        if is_compressed(record):
            assert record.explicit_hash_key == str(hash_key(key, hash_of))
        if record.user_record_count == 1 and not is_compressed(record) and not looks_aggregated(data):
            assert record.data == data
    for shard in range(len(shard_map)):
        found = compressed_reader.user_records(record for record in sealed if record.shard_index == shard)
        assert found == [each for each in given if shard_map.index_of(hash_key(each[0], each[2])) == shard]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shards", [1, 5])
@pytest.mark.parametrize("size", [20, 400, 9_000])
def test_whatever_the_data_nothing_is_lost_or_too_large(kind, shards, size):
    rng = random.Random(size)
    n = min(4000, 2_000_000 // size)
    datas = KINDS[kind](rng, n, size)
    aggregated(rng.choices(KEYS, k=n), datas, shards=shards, batch=n // 7)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "é", "k" * 256]),
            st.one_of(
                st.binary(max_size=300),
                st.builds(lambda b, n: b * n, st.binary(min_size=1, max_size=4), st.integers(0, 3000)),
                st.builds(lambda seed, n: random.Random(seed).randbytes(n), st.integers(), st.integers(0, 3000)),
            ),
            st.one_of(st.none(), st.integers(0, 2**128 - 1)),
        ),
        min_size=1,
        max_size=60,
    ),
    st.integers(300, 6000),
    st.integers(1, 40),
    st.integers(1, 3),
)
def test_any_user_records_under_any_bounds(records, max_bytes, max_records, shards):
    keys, datas, explicit = map(list, zip(*records, strict=True))
    aggregated(keys, datas, explicit, shards=shards, max_bytes=max_bytes, max_records=max_records)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_never_more_than_without(kind):
    rng = random.Random(3)
    for size in (10, 300, 3_000):
        datas = KINDS[kind](rng, 600, size)
        keys = rng.choices(KEYS, k=600)
        for shards in (1, 200):  # with 200 most are alone, or nearly
            sealed = aggregated(keys, datas, shards=shards)
            without = Aggregator(ShardMap.uniform(shards), max_bytes=20_000)
            without.add_many(keys, datas)
            plain = without.flush()
            # the first message is filled in hope, and may be split into one more than it would have been: that has
            # 20 bytes, an outer key and hash key, and a table of its own
            assert sum(r.request_size for r in sealed) <= sum(r.request_size for r in plain) + 70 + 12 * len(KEYS)


def test_random_data_goes_as_it_would():
    """In as many records of no more bytes, once it is known that nothing is to be gained."""
    rng = random.Random(5)
    keys, datas = rng.choices(KEYS, k=3000), [rng.randbytes(500) for _ in range(3000)]
    aggregator = Aggregator(ShardMap.uniform(1), max_bytes=20_000, compression="zstd")
    aggregator.add_many(keys, datas)
    aggregator.flush()
    without = Aggregator(ShardMap.uniform(1), max_bytes=20_000)
    for each in (aggregator, without):
        each.add_many(keys, datas)
    sealed, plain = aggregator.flush(), without.flush()
    assert len(sealed) == len(plain)
    assert sum(record.size for record in sealed) <= sum(record.size for record in plain)


def test_the_bound_holds_to_the_byte():
    """A message that is as large as may be is one record; if it may be one byte smaller, it is split."""
    corpus = flights(1000)
    [whole] = aggregated(corpus.keys, corpus.datas, max_bytes=MIB)
    inbox = Inbox(ShardMap.uniform(1)._table, max_record_bytes=MIB, max_bytes=MIB)
    inbox.put_many(corpus.keys, corpus.datas)
    inbox.gather()
    buckets = inbox.take(2**63)
    [(bucket, record)] = CompressedSealer(whole.size, 1).seal(buckets)
    assert bucket is buckets[0]
    assert record == whole
    parts = CompressedSealer(whole.size - 1, 1).seal(buckets)
    assert len(parts) > 1
    assert all(record.size < whole.size for _, record in parts)
    found = compressed_reader.user_records(record for _, record in parts)
    assert [(key, data) for key, data, _ in found] == corpus.pairs()
    assert [token for bucket, _ in parts for token in bucket.tokens()] == list(range(1000))
    assert {bucket.shard_index for bucket, _ in parts} == {0}


def test_a_large_part_of_what_fits_is_used():
    corpus = flights(60_000)
    sealed = aggregated(corpus.keys, corpus.datas, batch=5000, max_bytes=100_000)
    sizes = [record.size for record in sealed]
    assert sum(sizes[10:-1]) / len(sizes[10:-1]) > 90_000
    assert len(sealed) < 40


@pytest.mark.parametrize("times", [1, 50, 5000])
def test_data_that_is_all_alike_is_padded_to_the_64th_part(times):
    """The bound of the format, which `compressed_reader` checks."""
    n = 400 * times if times < 5000 else 300
    sealed = aggregated(["k"] * n, [b"x" * times] * n, max_bytes=4000)
    assert sum(len(record.data) for record in sealed) * 64 >= n * times


def test_lone_user_records_are_compressed_where_that_is_smaller():
    limits = Limits(max_record_bytes=10 * MIB, max_request_bytes=10 * MIB)
    rng = random.Random(2)
    text, noise = b'{"value": 17}' * 700_000, rng.randbytes(9 * MIB)
    sealed = aggregated(["a", "b", "a"], [text, noise, b"tiny"], max_bytes=200_000, limits=limits)
    assert [is_compressed(record) for record in sealed] == [True, False, False]
    assert sealed[0].size < 200_000
    assert sealed[1].data is noise
    one_by_one = aggregated(["a"] * 3, [b"x", text, noise[:100]], max_records=1, limits=limits)
    assert [record.user_record_count for record in one_by_one] == [1, 1, 1]
    assert [is_compressed(record) for record in one_by_one] == [False, True, False]
    assert one_by_one[0].explicit_hash_key is None


def test_data_that_looks_aggregated_comes_back_as_it_was():
    inner = aggregated(["a"] * 50, [b"reading %d" % i for i in range(50)])
    for data in (inner[0].data, compressed_reader.PLAIN_MAGIC + b"x"):
        [record] = aggregated(["a"], [data])
        assert compressed_reader.user_records([record]) == [("a", data, None)]


def test_too_large_is_what_was_too_large():
    aggregator = Aggregator(ShardMap.uniform(1), compression="zstd")
    with pytest.raises(RecordTooLargeError):
        aggregator.add("a", b"x" * MIB)  # and would compress well
    assert aggregator.flush() == []


def test_arrow_rows_are_taken_as_they_are():
    pyarrow = pytest.importorskip("pyarrow")
    corpus = flights(5000)
    batch = pyarrow.record_batch({"key": corpus.keys, "data": pyarrow.array(corpus.datas, pyarrow.binary())})
    aggregator = Aggregator(ShardMap.uniform(3), max_bytes=30_000, compression="zstd")
    aggregator.add_arrow(batch, key="key", data="data")
    sealed = aggregator.flush()
    check(aggregator, sealed, corpus.keys, corpus.datas)
    aggregator.add_arrow(batch, key=None, data="data")
    keyless = aggregator.flush()
    assert sorted(data for _, data, _ in compressed_reader.user_records(keyless)) == sorted(corpus.datas)
    assert all(is_compressed(record) and record.size <= 30_000 for record in keyless)


def test_every_level_is_read_alike():
    corpus = flights(2000)
    sizes = [
        sum(record.size for record in aggregated(corpus.keys, corpus.datas, max_bytes=100_000, compression_level=level))
        for level in (LEVELS[0], 9, LEVELS[-1])
    ]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"compression": "gzip"}, ValueError, "compression is \"zstd\" or None, not 'gzip'"),
        ({"compression": True}, ValueError, 'compression is "zstd" or None, not True'),
        ({"compression": "zstd", "compression_level": 0}, ValueError, "compression_level of 0 is not between 1 and 19"),
        ({"compression": "zstd", "compression_level": 20}, ValueError, "compression_level of 20 is not between"),
        ({"compression": "zstd", "compression_level": "1"}, TypeError, "compression_level is a whole number, not '1'"),
    ],
)
def test_other_compressions_are_refused(options, error, said):
    with pytest.raises(error, match=said):
        Aggregator(ShardMap.uniform(1), **options)


WITHOUT = """
import sys
sys.modules["zstandard"] = sys.modules["compression"] = sys.modules["compression.zstd"] = None
import shardpack
from shardpack._native.inbox import Inbox
from shardpack import Aggregator, ShardMap
Aggregator(ShardMap.uniform(1))
try:
    Aggregator(ShardMap.uniform(1), compression="zstd")
except ImportError as error:
    print(error)
"""


def test_without_a_library_of_zstd_the_error_says_what_to_install():
    assert "pip install 'shardpack[codec]'" in run(WITHOUT)


def test_nothing_is_lost_where_memory_runs_out_while_it_is_compressed(monkeypatch):
    corpus = flights(20_000)
    aggregator = Aggregator(ShardMap.uniform(2), max_bytes=50_000, compression="zstd")
    whole, times = CompressedSealer._seal, iter(range(10**6))

    def seal(self, buckets):
        if next(times) % 3 == 0:
            raise MemoryError
        return whole(self, buckets)

    monkeypatch.setattr(CompressedSealer, "_seal", seal)
    for i in range(0, len(corpus), 1000):
        aggregator.add_many(corpus.keys[i : i + 1000], corpus.datas[i : i + 1000])
    sealed = []
    while len(aggregator):
        try:
            sealed += aggregator.flush()
        except MemoryError:
            assert len(aggregator)
    check(aggregator, sealed, corpus.keys, corpus.datas)


def test_references_are_given_back():
    data = [b"%0300d" % i for i in range(3000)]
    before = [sys.getrefcount(each) for each in data]
    aggregator = Aggregator(ShardMap.uniform(3), max_bytes=3000, compression="zstd")
    aggregator.add_many(["a"] * 1500 + ["b"] * 1500, data)
    sealed = aggregator.flush()
    assert isinstance(sealed[0], KinesisRecord)
    assert [sys.getrefcount(each) for each in data] == before


BOUNDED = """
from process_memory import memory
from shardpack._native.inbox import Inbox
from shardpack import Aggregator, ShardMap
aggregator = Aggregator(ShardMap.uniform(4), compression="zstd")
keys = ["device-%d" % (i % 50) for i in range(10_000)]

def batch(number):
    return [b"%099d" % (number * 10_000 + i) for i in range(10_000)]

def go(start, stop):
    for number in range(start, stop):
        aggregator.add_many(keys, batch(number))
        aggregator.take()

go(0, 60)
aggregator.flush()
before = memory("VmHWM")
go(60, 400)
print(memory("VmHWM") - before)
"""


def test_memory_does_not_grow_with_what_was_compressed():
    """400 MB go through, in buckets of up to 16 MiB: they compress that well."""
    assert int(run(BOUNDED)) < 48 * MIB
    assert AT_ONCE < 8 * MIB
