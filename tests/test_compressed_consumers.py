"""Compressed aggregates through what consumers run: a local Kinesis, installed clients, handlers, batches of Spark."""

from __future__ import annotations

import base64
import logging

import pyarrow as pa
import pytest
import wire
from lambda_events import event_of
from test_compressed_reading import compressed, header
from test_firehose import event_of as firehose_event

from shardpack import deaggregate, install, read_records
from shardpack.consume import spark
from shardpack.consume.aws_lambda import each_user_record
from shardpack.consume.firehose import transform_each_user_record

PUT = [("a", b"one", None), ("b", b"two", None), ("a", b"", 7)]
PLAIN = wire.aggregate(PUT)
PACKED = compressed(PLAIN[4:-16])
BAD = PACKED[:-1]


@pytest.fixture(scope="session")
def stream(local_kinesis):
    """A stream of one shard: a compressed aggregate, a plain one, a raw record, one that is cut off."""
    client = local_kinesis.client()
    local_kinesis.create_stream("compressed", 1)
    for data in (PACKED, PLAIN, b"raw", BAD):
        client.put_record(StreamName="compressed", Data=data, PartitionKey="outer")
    return "compressed"


def iterator(client, stream):
    shard = "shardId-000000000000"
    return client.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")[
        "ShardIterator"
    ]


def test_read_records_and_get_records(local_kinesis, stream):
    client = local_kinesis.client()
    found = read_records(client, ShardIterator=iterator(client, stream))
    response = client.get_records(ShardIterator=iterator(client, stream))
    assert found.user_records() == deaggregate(response)
    datas = [record.data for record in found.user_records()]
    assert datas == [b"one", b"two", b"", b"one", b"two", b"", b"raw", BAD]
    assert [record.error is None for record in found.user_records()] == [True] * 7 + [False]
    assert found.kinesis_records() == response["Records"]
    columns = found.columns()
    assert bytes(columns.data) == b"".join(datas)
    assert pa.record_batch(found.arrow(zero_copy=True))["data"].to_pylist() == datas


def test_an_installed_client(local_kinesis, stream):
    client = local_kinesis.client()
    install(client)
    records = client.get_records(ShardIterator=iterator(client, stream))["Records"]
    own = {"SequenceNumber", "ApproximateArrivalTimestamp", "EncryptionType"}
    first, second = (
        [{k: v for k, v in r.items() if k not in own} for r in some] for some in (records[:3], records[3:6])
    )
    assert first == second
    assert [(r["PartitionKey"], r["Data"], r["Aggregated"]) for r in first] == [
        (key, data, True) for key, data, _ in PUT
    ]
    assert records[7]["Data"] == BAD
    assert "its zstd frame is cut off" in records[7]["Error"]


def test_a_lambda_handler_is_given_the_user_records():
    given = []
    handler = each_user_record(lambda record, _: given.append(record))
    assert handler(event_of(PACKED, BAD, b"raw"), None) == {"batchItemFailures": []}
    assert [record.data for record in given] == [b"one", b"two", b"", BAD, b"raw"]
    assert [record.explicit_hash_key for record in given] == [None, None, "7", None, None]
    assert "cut off" in str(given[3].error)


def test_records_of_a_queue():
    queue = [{"ReceiptHandle": "handle", "RecordId": f"id-{i}", "Data": data} for i, data in enumerate((PACKED, PLAIN))]
    first, second = ([r for r in deaggregate({"QueueRecords": queue}) if r.record_id == f"id-{i}"] for i in range(2))
    assert [(r.partition_key, r.data, r.sub_sequence_number) for r in first] == [
        (r.partition_key, r.data, r.sub_sequence_number) for r in second
    ]
    assert len(first) == 3


def test_a_transformation_of_firehose(caplog):
    handler = transform_each_user_record(lambda record, _: record.data)
    with caplog.at_level(logging.WARNING):
        answers = handler(firehose_event(PACKED, BAD), None)["records"]
    assert base64.b64decode(answers[0]["data"]) == b"one\ntwo\n\n"
    assert [answer["result"] for answer in answers] == ["Ok", "ProcessingFailed"]
    assert "cut off" in caplog.text


NAMES = spark.Names("data", "partitionKey", "explicitHashKey", "subSequenceNumber", "error")


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()], ids=str)
def test_batches_of_spark_are_cut_by_what_their_records_unpack_to(kind, monkeypatch):
    large = compressed(wire.aggregate([("k", bytes(100_000), None)])[4:-16])
    lie = header(60 * len(large)) + large[9:]
    monkeypatch.setattr(spark, "MAX_INPUT_BYTES", 250_000)
    blobs = [large] * 5 + [PACKED, b"raw", lie]
    batch = pa.record_batch({"data": pa.array(blobs, kind), "row": range(len(blobs))})
    parts = list(spark.deaggregate_batch(batch, NAMES, strict=False))
    assert len(parts) == 3
    table = pa.Table.from_batches(parts)
    assert table["data"].to_pylist() == [bytes(100_000)] * 5 + [b"one", b"two", b"", b"raw", lie]
    assert [error is None for error in table["error"].to_pylist()] == [True] * 9 + [False]
    assert table["row"].to_pylist() == [0, 1, 2, 3, 4, 5, 5, 5, 6, 7]
