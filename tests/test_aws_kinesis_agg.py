"""AWS's own Python library reads what we write, and we read what it writes.

Left out are its known defects: where an explicit hash key stands in the table, it gives the first one to user records
that have none; and it loses a user record within 20 bytes of its size limit.
"""

from __future__ import annotations

import base64
import sys
from importlib import import_module

import pytest
import wire

from shardpack import Aggregator, ShardMap, deaggregate

PLAIN = [(f"key-{i % 23}", b"data %d" % i * (i % 9), None) for i in range(500)]
EXPLICIT = [(f"key-{i % 23}", b"data %d" % i, (i % 50) << 122) for i in range(500)]
ODD = [
    ("clé", b"", None),
    ("日本", b"\x00\xff" * 50, None),
    ("\U0001d518" * 256, wire.MAGIC, None),
    ("x", b"y" * 20_000, None),
]


@pytest.fixture(scope="module")
def aws():
    """The library's writer and reader; it changes sys.path when it is imported."""
    path = list(sys.path)
    writer, reader = import_module("aws_kinesis_agg.aggregator"), import_module("aws_kinesis_agg.deaggregator")
    sys.path[:] = path
    return writer, reader


def lambda_record(record):
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": record.partition_key,
            "sequenceNumber": "49",
            "approximateArrivalTimestamp": 1.5,
            "data": base64.b64encode(record.data),
        }
    }


@pytest.mark.parametrize("user_records", [PLAIN, EXPLICIT, ODD], ids=["plain", "explicit hash keys", "odd"])
@pytest.mark.parametrize("max_bytes", [2**20, 3000])
def test_it_reads_what_we_write(aws, user_records, max_bytes):
    aggregator = Aggregator(ShardMap.uniform(1), max_bytes=max_bytes)
    for user_record in user_records:
        aggregator.add(*user_record)
    found = []
    for record in aws[1].deaggregate_records([lambda_record(record) for record in aggregator.flush()]):
        kinesis = record["kinesis"]
        explicit = kinesis.get("explicitHashKey")
        found.append((kinesis["partitionKey"], base64.b64decode(kinesis["data"]), explicit and int(explicit)))
    assert found == user_records


@pytest.mark.parametrize("user_records", [PLAIN, EXPLICIT, ODD], ids=["plain", "explicit hash keys", "odd"])
@pytest.mark.parametrize("max_bytes", [2**20, 30_000])
def test_we_read_what_it_writes(aws, user_records, max_bytes):
    writer = aws[0].RecordAggregator(max_bytes)
    full = []
    for key, data, explicit in user_records:
        full.append(writer.add_user_record(key.encode(), data, None if explicit is None else b"%d" % explicit))
    full.append(writer.clear_and_get())
    blobs = [record.get_contents()[2] for record in full if record is not None]
    found = deaggregate(blobs, strict=True)
    assert [
        (record.partition_key, record.data, record.explicit_hash_key and int(record.explicit_hash_key))
        for record in found
    ] == user_records
    assert all(record.aggregated for record in found)


@pytest.mark.parametrize("user_records", [PLAIN, EXPLICIT], ids=["plain", "explicit hash keys"])
def test_byte_for_byte_the_same(aws, user_records):
    writer = aws[0].RecordAggregator()
    aggregator = Aggregator(ShardMap.uniform(1))
    for key, data, explicit in user_records:
        assert writer.add_user_record(key.encode(), data, None if explicit is None else b"%d" % explicit) is None
        aggregator.add(key, data, explicit)
    [record] = aggregator.flush()
    assert record.data == writer.clear_and_get().get_contents()[2]
