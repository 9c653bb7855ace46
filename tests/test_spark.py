"""Kinesis records in Spark DataFrames, on a local Spark: what comes out is what ``deaggregate`` finds.

Needs a Java runtime of version 17 or newer; pyspark brings the rest. Without Java these tests are skipped, but in CI
they fail: `.ci/setup` installs Debian's.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from datetime import datetime, timezone
from pathlib import Path

import documents
import pyarrow as pa
import pytest
import wire

from shardpack import MalformedRecordError, deaggregate
from shardpack.consume import spark as ours

# of pyspark itself, which pandas it would rather have
pytestmark = pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning")

VECTORS = list(map(json.loads, Path(__file__).with_name("data").joinpath("kpl.jsonl").read_bytes().splitlines()))
BLOBS = [bytes.fromhex(vector["blob"]) for vector in VECTORS]
ARRIVED = datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=timezone.utc)
# https://docs.databricks.com/structured-streaming/kinesis.html
DATABRICKS = (
    "partitionKey string, data binary, stream string, shardId string, sequenceNumber string, "
    "approximateArrivalTimestamp timestamp"
)
# https://github.com/awslabs/spark-sql-kinesis-connector, KinesisClientFactory.scala
AWSLABS = (
    "data binary, streamName string, partitionKey string, sequenceNumber string, approximateArrivalTimestamp timestamp"
)


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        if os.environ.get("CI"):
            pytest.fail("no Java, which .ci/setup installs")
        pytest.skip("no Java: apt-get install default-jre-headless")
    from pyspark.sql import SparkSession  # noqa: PLC0415 (where there is Java)

    patch = pytest.MonkeyPatch()
    patch.setenv("PYSPARK_PYTHON", sys.executable)
    patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
        "spark.sql.execution.arrow.maxRecordsPerBatch": "100",
        # its Snappy takes the library of musl where that is installed, whatever Java runs on
        "spark.sql.parquet.compression.codec": "uncompressed",
        "spark.log.level": "ERROR",
    }
    builder = SparkSession.builder.master("local[1]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()
    patch.undo()


def databricks_rows(blobs):
    return [(f"outer-{i}", blob, "telemetry", f"shardId-{i % 2:012}", str(i), ARRIVED) for i, blob in enumerate(blobs)]


def expected(rows):
    """The rows of user records, of rows as the Databricks source has them."""
    found = []
    for key, blob, stream, shard_id, number, _ in rows:
        for record in deaggregate({"Data": blob, "PartitionKey": key}):
            text = record.partition_key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            error = None if record.error is None else str(record.error)
            mine = (record.explicit_hash_key, record.sub_sequence_number, error)
            found.append((text, record.data, stream, shard_id, number, *mine))
    return found


def collected(df):
    return [
        (
            row.partitionKey,
            bytes(row.data),
            row.stream,
            row.shardId,
            row.sequenceNumber,
            row.explicitHashKey,
            row.subSequenceNumber,
            row.error,
        )
        for row in df.collect()
    ]


def test_rows_of_the_databricks_source(spark):
    rows = databricks_rows([*BLOBS, b"raw"])
    df = ours.deaggregate(spark.createDataFrame(rows, DATABRICKS))
    assert df.columns == [
        "partitionKey", "data", "stream", "shardId", "sequenceNumber", "approximateArrivalTimestamp",
        "explicitHashKey", "subSequenceNumber", "error",
    ]  # fmt: skip
    assert collected(df) == expected(rows)
    times = df.select("approximateArrivalTimestamp").distinct().collect()
    assert [time.approximateArrivalTimestamp.astimezone(timezone.utc) for time in times] == [ARRIVED]


def test_rows_of_the_awslabs_connector_with_nulls_and_other_names(spark):
    blob = wire.aggregate([("a", b"1", 5), ("b", b"2", None)])
    rows = [(blob, "s", "outer", "1", ARRIVED), (None, "s", None, "2", None), (b"raw", None, None, "3", None)]
    df = ours.deaggregate(
        spark.createDataFrame(rows, AWSLABS),
        partition_key="key",
        explicit_hash_key="hash",
        sub_sequence_number="n",
        error="why",
    )
    assert [tuple(row[name] for name in ("data", "key", "partitionKey", "sequenceNumber", "hash", "n", "why"))
            for row in df.collect()] == [
        (b"1", "a", "outer", "1", "5", 0, None),
        (b"2", "b", "outer", "1", None, 1, None),
        (None, None, None, "2", None, 0, None),
        (b"raw", None, None, "3", None, 0, None),
    ]  # fmt: skip


def test_what_was_taken_apart_stays_as_it_is(spark):
    df = spark.createDataFrame(databricks_rows([b"one", b"two"]), DATABRICKS)
    assert ours.deaggregate(df).select(df.columns).collect() == df.collect()


def test_types_of_64_bits(spark):
    spark.conf.set("spark.sql.execution.arrow.useLargeVarTypes", "true")
    try:
        rows = databricks_rows(BLOBS[:20])
        assert collected(ours.deaggregate(spark.createDataFrame(rows, DATABRICKS))) == expected(rows)
    finally:
        spark.conf.unset("spark.sql.execution.arrow.useLargeVarTypes")


def test_a_stream(spark, tmp_path):
    rows = databricks_rows(BLOBS)
    spark.createDataFrame(rows, DATABRICKS).write.parquet(str(tmp_path / "in"))
    source = spark.readStream.schema(DATABRICKS).parquet(str(tmp_path / "in"))
    query = (
        ours.deaggregate(source)
        .writeStream.format("memory")
        .queryName("user_records")
        .trigger(availableNow=True)
        .start()
    )
    assert query.awaitTermination(60)
    assert collected(spark.table("user_records")) == expected(rows)


def test_strict(spark):
    malformed = next(BLOBS[i] for i, vector in enumerate(VECTORS) if vector["expect"]["kind"] == "malformed")
    df = spark.createDataFrame(databricks_rows([malformed]), DATABRICKS)
    with pytest.raises(Exception, match="MalformedRecordError: malformed aggregated record"):
        ours.deaggregate(df, strict=True).collect()


def test_columns_that_cannot_be(spark):
    df = spark.createDataFrame([(b"", "text")], "data binary, error string")
    with pytest.raises(ValueError, match="'error' is there already"):
        ours.deaggregate(df)
    with pytest.raises(ValueError, match="no column 'blob' among data, error"):
        ours.deaggregate(df, data="blob")
    with pytest.raises(TypeError, match="'error' is binary, not string"):
        ours.deaggregate(df, data="error", error="why")
    with pytest.raises(ValueError, match="different names"):
        ours.deaggregate(df, error="data")
    for columns, error, what in (
        ("data binary, Error string", ValueError, "'Error' is there already"),
        ("data binary, PartitionKey string", ValueError, "say partition_key='PartitionKey'"),
        ("data binary, partitionKey binary", TypeError, "'partitionKey' is string, not binary"),
    ):
        with pytest.raises(error, match=what):
            ours.deaggregate(spark.createDataFrame([], columns))
    assert ours.deaggregate(
        spark.createDataFrame([], "data binary, PartitionKey string"), partition_key="PartitionKey"
    ).columns == ["data", "PartitionKey", "explicitHashKey", "subSequenceNumber", "error"]


# --- without Spark: the batches that executors hand over ---

NAMES = ours.Names("data", "partitionKey", "explicitHashKey", "subSequenceNumber", "error")


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()], ids=str)
@pytest.mark.parametrize("limit", [1, 500, 1 << 20])
def test_batches_are_cut_by_the_size_of_their_data(monkeypatch, kind, limit):
    monkeypatch.setattr(ours, "MAX_INPUT_BYTES", limit)
    keys = [f"outer-{i}" for i in range(len(BLOBS))]
    whole = pa.record_batch({"data": pa.array(BLOBS, kind), "partitionKey": pa.array(keys), "row": range(len(BLOBS))})
    for batch, first in ((whole, 0), (whole.slice(7, 30), 7)):
        parts = list(ours.deaggregate_batch(batch, NAMES, strict=False))
        assert all(part.validate(full=True) is None for part in parts)
        table = pa.Table.from_batches(parts)
        want = [
            (first + i, record.data, record.sub_sequence_number)
            for i, blob in enumerate(batch.column("data").to_pylist())
            for record in deaggregate(blob)
        ]
        got = [table.column(name).to_pylist() for name in ("row", "data", "subSequenceNumber")]
        assert list(zip(*got, strict=True)) == want
        assert table.schema.field("data").type == kind
        assert (len(parts) == 1) == (limit > batch.nbytes)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()], ids=str)
@pytest.mark.parametrize("keys", [["a", None, "c"], None])
def test_batches_of_raw_records_pass_untouched(kind, keys):
    text = pa.large_string() if pa.types.is_large_binary(kind) else pa.string()
    given = {"row": [1, 2, 3], "data": pa.array([b"one", None, wire.MAGIC[:3]], kind)}
    if keys is not None:
        given["partitionKey"] = pa.array(keys, text)
    [part] = ours.deaggregate_batch(pa.record_batch(given), NAMES, strict=True)
    part.validate(full=True)
    assert part.to_pydict() == {
        "row": [1, 2, 3],
        "data": [b"one", None, wire.MAGIC[:3]],
        "partitionKey": keys or [None] * 3,
        "explicitHashKey": [None] * 3,
        "subSequenceNumber": [0] * 3,
        "error": [None] * 3,
    }
    aggregated = pa.record_batch({**given, "data": pa.array([wire.aggregate([("a", b"", None)])] * 3, kind)})
    [other] = ours.deaggregate_batch(aggregated, NAMES, strict=True)
    assert other.schema == part.schema


@pytest.mark.parametrize("blobs", [[], [None, None]])
def test_batches_without_data(blobs):
    [part] = ours.deaggregate_batch(pa.record_batch({"data": pa.array(blobs, pa.binary())}), NAMES, strict=True)
    assert part.schema.names == list(NAMES)
    assert part.column("data").to_pylist() == blobs


def test_strict_batches():
    with pytest.raises(MalformedRecordError):
        list(ours.deaggregate_batch(pa.record_batch({"data": pa.array(BLOBS)}), NAMES, strict=True))


def test_what_its_document_shows(spark):
    df = spark.createDataFrame(databricks_rows(BLOBS), DATABRICKS)
    left = documents.run("docs/consume/spark.md", documents.TOP, df=df)
    assert len(left["user_records"].collect()) == len(deaggregate(BLOBS))
