"""Rows of pyarrow, polars, DuckDB and nanoarrow, beside the same rows from lists: byte for byte the same records."""

from __future__ import annotations

import threading

import duckdb
import nanoarrow
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardpack import Aggregator, ShardMap
from shardpack.errors import InvalidRecordError

SHARDS = ShardMap.uniform(4)
TEXTS = [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()]
INDICES = [pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()]
HASH_KEYS = [
    pa.int32(),
    pa.uint64(),
    pa.decimal128(38),
    pa.string(),
    pa.string_view(),
    pa.dictionary(pa.int8(), pa.string()),
]

keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
datas = st.binary(max_size=40)
rows = st.lists(st.tuples(keys, datas, st.none() | st.integers(0, 2**31 - 1)), min_size=1, max_size=60)
text_types = st.sampled_from(TEXTS) | st.builds(
    pa.dictionary, st.sampled_from(INDICES), st.sampled_from(TEXTS[:2] + TEXTS[3:5])
)
binary_types = st.sampled_from(TEXTS[3:]) | st.builds(
    pa.dictionary, st.sampled_from(INDICES), st.sampled_from(TEXTS[3:5])
)


def from_lists(keys, datas, explicit=None):
    made = Aggregator(SHARDS, max_bytes=2000)
    made.add_many(keys, datas, explicit)
    return made.flush()


def from_arrow(source, **columns):
    made = Aggregator(SHARDS, max_bytes=2000)
    made.add_arrow(source, **columns)
    return made.flush()


def column(values, kind):
    if pa.types.is_dictionary(kind):
        return column(values, kind.value_type).dictionary_encode().cast(kind)
    if kind in (pa.string(), pa.large_string(), pa.string_view()):
        return pa.array([None if each is None else str(each) for each in values], kind)
    return pa.array([each.encode() if isinstance(each, str) else each for each in values], kind)


@settings(max_examples=150, deadline=None)
@given(rows, text_types, binary_types, st.sampled_from(HASH_KEYS), st.data())
def test_pyarrow(rows, key_type, data_type, hash_key_type, data):
    """Columns of all types, cut into chunks, which are slices with nulls around them."""
    chunks, at, before, behind = [], 0, data.draw(st.integers(0, 9)), data.draw(st.integers(0, 9))
    names = ["other", "k", "d", "e"]
    while at < len(rows):
        these = rows[at : at + data.draw(st.integers(1, 20))]
        at += len(these)
        around = [(None, None, None)]
        padded = around * before + these + around * behind
        columns = [
            column([key for key, _, _ in padded], key_type),
            column([each for _, each, _ in padded], data_type),
            column([each for _, _, each in padded], hash_key_type),
        ]
        chunk = pa.record_batch([pa.array(range(len(padded))), *columns], names).slice(before, len(these))
        chunks.append(chunk)
    expected = from_lists(*map(list, zip(*rows, strict=True)))
    columns = {"key": "k", "data": "d", "explicit_hash_key": "e"}
    table = pa.table(
        {name: pa.chunked_array([chunk[name] for chunk in chunks]) for name in names}
        if not pa.types.is_dictionary(key_type)
        else {name: pa.chunked_array([chunk[name] for chunk in chunks]).combine_chunks() for name in names}
    )
    assert from_arrow(table, **columns) == expected
    if len(chunks) == 1:
        assert from_arrow(chunks[0], **columns) == expected
        assert from_arrow(chunks[0].to_struct_array(), **columns) == expected
    reader = pa.RecordBatchReader.from_batches(chunks[0].schema, chunks)
    assert from_arrow(reader, **columns) == expected


@settings(max_examples=80, deadline=None)
@given(rows, st.sampled_from([pl.String, pl.Categorical]), st.integers(1, 20), st.integers(0, 30))
def test_polars(rows, key_type, size, start):
    keys, datas, explicit = map(list, zip(*rows, strict=True))
    frame = pl.DataFrame(
        {"e": explicit, "d": datas, "k": keys}, schema={"e": pl.UInt64, "d": pl.Binary, "k": pl.String}
    ).with_columns(pl.col("k").cast(key_type))
    columns = {"key": "k", "data": 1, "explicit_hash_key": "e"}
    assert from_arrow(frame, **columns) == from_lists(keys, datas, explicit)
    assert from_arrow(frame[start:], **columns) == from_lists(keys[start:], datas[start:], explicit[start:])
    parts = pl.concat([frame[i : i + size] for i in range(0, len(frame), size)], rechunk=False)
    assert from_arrow(parts, **columns) == from_lists(keys, datas, explicit)
    some = [each for each in rows if len(each[1]) > 10]
    if some:
        filtered = frame.filter(pl.col("d").bin.size() > 10)
        assert from_arrow(filtered, **columns) == from_lists(*map(list, zip(*some, strict=True)))


def test_duckdb():
    query = """
        select 'device-' || (i % 100) as k, encode('data ' || i) as d, i::hugeint * 1000000 as h, i::varchar as e
        from range(10000) t(i)
    """
    keys, datas = [f"device-{i % 100}" for i in range(10_000)], [b"data %d" % i for i in range(10_000)]
    explicit = list(range(10_000))
    with duckdb.connect() as connection:
        assert from_arrow(connection.sql(query), key="k", data="d") == from_lists(keys, datas)
        found = from_arrow(connection.sql(query), key="k", data="d", explicit_hash_key="e")
        assert found == from_lists(keys, datas, explicit)
        frame = pa.table({"k": keys, "d": datas})  # read by DuckDB's threads, which need the GIL for it
        assert frame is not None
        assert from_arrow(connection.sql("select * from frame"), key="k", data="d") == from_lists(keys, datas)
        connection.execute("set arrow_large_buffer_size = true; set produce_arrow_string_view = true")
        for setting in ("arrow_large_buffer_size", "produce_arrow_string_view"):
            connection.execute(f"set {setting} = true")
            assert from_arrow(connection.sql(query), key="k", data="d") == from_lists(keys, datas)
            connection.execute(f"set {setting} = false")


def test_nanoarrow():
    keys, datas = ["a", "clé", "b"], [b"1", b"", b"three"]
    fields = {"k": nanoarrow.string(), "d": nanoarrow.binary()}
    arrays = [nanoarrow.c_array(keys, fields["k"]), nanoarrow.c_array(datas, fields["d"])]
    one = nanoarrow.c_array_from_buffers(nanoarrow.struct(fields), 3, [None], children=arrays)
    assert from_arrow(one, key="k", data="d") == from_lists(keys, datas)
    many = nanoarrow.Array.from_chunks([one, one])
    assert from_arrow(many, key="k", data="d") == from_lists(keys * 2, datas * 2)
    assert from_arrow(nanoarrow.ArrayStream(many), key="k", data="d") == from_lists(keys * 2, datas * 2)


def test_a_reader_whose_generator_fails():
    schema = pa.schema({"k": pa.string(), "d": pa.binary()})

    def batches():
        yield pa.record_batch([["a"], [b"1"]], schema=schema)
        raise RuntimeError("the source is gone")

    with pytest.raises(OSError, match=r"(?s)the Arrow stream failed after 1 rows: .*the source is gone"):
        from_arrow(pa.RecordBatchReader.from_batches(schema, batches()), key="k", data="d")


def test_a_reader_whose_generator_uses_the_aggregator():
    """The rows are read before the aggregator is at work."""
    made = Aggregator(SHARDS, max_bytes=2000)

    def batches():
        made.add("b", b"0")
        yield pa.record_batch({"k": ["a"], "d": [b"1"]})

    schema = pa.schema({"k": pa.string(), "d": pa.binary()})
    made.add_arrow(pa.RecordBatchReader.from_batches(schema, batches()), key="k", data="d")
    assert made.flush() == from_lists(["b", "a"], [b"0", b"1"])


def test_memory_returns():
    before = pa.total_allocated_bytes()
    made = Aggregator(SHARDS)
    for i in range(20):
        table = pa.table(
            {"k": pa.array(["key"] * 1000).dictionary_encode(), "d": [b"x" * 500] * 1000, "o": range(1000)}
        )
        made.add_arrow(table, key="k", data="d")
        if i % 2:
            bad = pa.table({"k": ["key", None, "key"], "d": [b"x", b"y", None]})
            with pytest.raises(InvalidRecordError, match="row 2, column 'd': data is null"):
                made.add_arrow(bad, key="k", data="d")
            del bad
    del table
    assert pa.total_allocated_bytes() - before >= 20 * 500 * 1000 - (10 << 20)
    assert sum(record.user_record_count for record in made.flush()) == 20_000
    assert pa.total_allocated_bytes() == before


def test_many_threads_read_one_table():
    table = pa.table({"k": [f"key-{i}" for i in range(3000)], "d": [b"%d" % i for i in range(3000)]})
    expected = from_lists(table["k"].to_pylist(), table["d"].to_pylist())
    found = []

    def read():
        found.extend(from_arrow(table, key="k", data="d") == expected for _ in range(20))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 80
