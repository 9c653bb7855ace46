"""pyarrow, polars and DuckDB read what ``deaggregate`` finds, and group by it rightly."""

from __future__ import annotations

import gc
import json
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import wire

from shardpack import deaggregate, deaggregate_arrow

VECTORS = list(map(json.loads, Path(__file__).with_name("data").joinpath("kpl.jsonl").read_bytes().splitlines()))
BLOBS = [bytes.fromhex(vector["blob"]) for vector in VECTORS]
ARRIVED = datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=timezone.utc)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

TEXT = pa.dictionary(pa.int32(), pa.large_string())
SCHEMA = pa.schema(
    [
        ("partition_key", TEXT),
        ("explicit_hash_key", TEXT),
        pa.field("data", pa.large_binary(), nullable=False),
        ("sequence_number", TEXT),
        pa.field("sub_sequence_number", pa.int32(), nullable=False),
        ("approximate_arrival_timestamp", pa.timestamp("us", "UTC")),
        ("shard_id", TEXT),
        pa.field("aggregated", pa.bool_(), nullable=False),
        ("error", TEXT),
    ]
)


def records(blobs, first=0):
    return [
        {
            "Data": blob,
            "PartitionKey": f"outer-{i}",
            "SequenceNumber": str(i),
            "ApproximateArrivalTimestamp": ARRIVED.replace(microsecond=i),
        }
        for i, blob in enumerate(blobs, first)
    ]


def rows(given):
    """The rows that the user records of ``deaggregate`` are."""
    return [
        (
            None
            if record.partition_key is None
            else record.partition_key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"),
            *(getattr(record, name) for name in SCHEMA.names[1:-1]),
            None if record.error is None else str(record.error),
        )
        for record in deaggregate(given)
    ]


MIXED = [
    *records(BLOBS),
    b"no key",
    *records(BLOBS[::-1], 5),
    wire.aggregate([("a", b"1", 7), ("outer-0", b"2", None)]),
]
CASES = {
    "all": records(BLOBS),
    "bytes": BLOBS,
    "mixed": MIXED,
    "raw": records([b"one", b"two"]),
    "without a key": [b"one", b"two"],
    "one": records(BLOBS[:1]),
    "nothing": [],
}
cases = pytest.mark.parametrize("given", CASES.values(), ids=CASES.keys())
zero_copy = pytest.mark.parametrize("zero_copy", [False, True], ids=["copied", "viewed"])


def tuples(table):
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


@cases
@zero_copy
def test_pyarrow(given, zero_copy):
    batch = deaggregate_arrow(given, zero_copy=zero_copy)
    schema = SCHEMA.set(2, pa.field("data", pa.binary_view(), nullable=False)) if zero_copy else SCHEMA
    assert pa.schema(batch) == schema
    for read in (pa.record_batch(batch), pa.table(batch), pa.RecordBatchReader.from_stream(batch).read_all()):
        assert read.schema == schema
        read.validate(full=True)
        assert tuples(read) == rows(given)
    for column in pa.record_batch(batch).columns:
        if pa.types.is_dictionary(column.type):
            assert column.dictionary_decode().to_pylist() == column.to_pylist()
            assert pc.count_distinct(column.dictionary, mode="all").as_py() == len(column.dictionary)


@cases
@zero_copy
def test_polars(given, zero_copy):
    batch = deaggregate_arrow(given, zero_copy=zero_copy)
    for frame in (pl.DataFrame(batch), pl.from_arrow(pa.record_batch(batch))):
        assert frame.columns == SCHEMA.names
        assert frame.rows() == rows(given)


@cases
@zero_copy
def test_duckdb(given, zero_copy):
    batch = deaggregate_arrow(given, zero_copy=zero_copy)
    read = pa.table(batch)
    assert len(read) == len(batch)
    for source in ("batch", "read"):
        relation = duckdb.sql(f"FROM {source}")
        assert relation.columns == SCHEMA.names
        assert [str(kind) for kind in relation.types[4:6]] == ["INTEGER", "TIMESTAMP WITH TIME ZONE"]
        # which duckdb hands to Python with the help of another package only
        timeless = relation.select(
            "* REPLACE (epoch_us(approximate_arrival_timestamp) AS approximate_arrival_timestamp)"
        )
        assert timeless.fetchall() == [
            (*row[:5], None if row[5] is None else (row[5] - EPOCH) // timedelta(microseconds=1), *row[6:])
            for row in rows(given)
        ]


@pytest.mark.parametrize("key", ["partition_key", "explicit_hash_key", "sequence_number", "aggregated", "error"])
def test_they_group_alike(key):
    at = SCHEMA.names.index(key)
    want = Counter(row[at] for row in rows(MIXED))
    batch = deaggregate_arrow(MIXED)
    grouped = pa.table(batch).group_by(key).aggregate([([], "count_all")])
    assert dict(zip(grouped[key].to_pylist(), grouped["count_all"].to_pylist(), strict=True)) == want
    assert dict(pl.DataFrame(batch).group_by(key).len().rows()) == want
    assert dict(duckdb.sql(f"SELECT {key}, count(*) FROM batch GROUP BY 1").fetchall()) == want  # noqa: S608


def test_filters_and_joins_on_dictionaries():
    batch = deaggregate_arrow(MIXED)
    keys = sorted({row[0] for row in rows(MIXED) if row[0] is not None})[:20]
    want = sorted(row[2] for row in rows(MIXED) if row[0] in keys)
    table = pa.table(batch)
    assert sorted(table.filter(pc.is_in(table["partition_key"], pa.array(keys)))["data"].to_pylist()) == want
    assert sorted(pl.DataFrame(batch).filter(pl.col("partition_key").cast(pl.String).is_in(keys))["data"]) == want
    wanted = pa.table({"key": keys})
    assert len(wanted) == len(keys)
    joined = duckdb.sql("SELECT data FROM batch JOIN wanted ON partition_key = key").fetchall()
    assert sorted(data for (data,) in joined) == want


def test_what_is_not_copied():
    """Data and its offsets, and sub-sequence numbers, stay where ``Columns`` has them."""
    user_records = [(f"key-{i}", b"%d" % i, None) for i in range(100)]
    batch = deaggregate_arrow(records([wire.aggregate(user_records)]))
    found = pa.record_batch(batch)
    columns = batch.columns
    for name, at, buffer in (
        ("data", 2, columns.data),
        ("data", 1, columns.offsets),
        ("sub_sequence_number", 1, columns.sub_sequence_numbers),
    ):
        assert found.column(name).buffers()[at].address == pa.py_buffer(buffer).address


@zero_copy
def test_tables_outlive_everything_else(zero_copy):
    given = records([bytes(bytearray(blob)) for blob in BLOBS])  # bytes that nobody else has
    want = rows(given)
    kept = pa.table(deaggregate_arrow(given, zero_copy=zero_copy)).slice(3).combine_chunks()
    one = pa.record_batch(deaggregate_arrow(given, zero_copy=zero_copy)).column("partition_key").dictionary
    frame = pl.DataFrame(deaggregate_arrow(given, zero_copy=zero_copy)).tail(5)
    del given
    gc.collect()
    assert tuples(kept) == want[3:]
    assert set(one.to_pylist()) >= {row[0] for row in want}
    assert frame.rows() == want[-5:]


@zero_copy
def test_parquet_and_back(tmp_path, zero_copy):
    pq.write_table(pa.table(deaggregate_arrow(MIXED, zero_copy=zero_copy)), tmp_path / "user-records.parquet")
    assert tuples(pq.read_table(tmp_path / "user-records.parquet")) == rows(MIXED)
