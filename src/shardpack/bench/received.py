"""What a consumer receives: Kinesis records of a corpus, as GetRecords and Lambda hand them over."""

from __future__ import annotations

import base64
from datetime import datetime, timezone
from typing import Any

from .. import Aggregator, KinesisRecord, Limits, ShardMap
from .corpus import Corpus
from .ours import add_many

MIB = 1 << 20

LARGEST = Limits(max_record_bytes=10 * MIB, max_request_bytes=10 * MIB)
"""Of a stream whose record limit is raised as far as it can be."""

KPL_AGGREGATE = 51_200
"""Bytes of an aggregated record as the KPL makes them unless it is told otherwise: its ``AggregationMaxSize``."""

ARRIVED = datetime(2025, 1, 1, tzinfo=timezone.utc)
"""When all of them did."""


def kinesis_records(corpus: Corpus, max_bytes: int = MIB) -> list[KinesisRecord]:
    """Aggregate a corpus into Kinesis records of that size, for one shard."""
    return add_many(Aggregator(ShardMap.uniform(1), limits=LARGEST, max_bytes=max_bytes), corpus)


def get_records(sealed: list[KinesisRecord]) -> list[dict[str, Any]]:
    """Return what boto3's GetRecords would."""
    return [
        {
            "SequenceNumber": str(i),
            "PartitionKey": record.partition_key,
            "Data": record.data,
            "ApproximateArrivalTimestamp": ARRIVED,
        }
        for i, record in enumerate(sealed)
    ]


def lambda_records(sealed: list[KinesisRecord]) -> list[dict[str, Any]]:
    """Return the ``Records`` of the event that Lambda would hand to a function."""
    return [
        {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": record.partition_key,
                "sequenceNumber": str(i),
                "data": base64.b64encode(record.data).decode(),
                "approximateArrivalTimestamp": ARRIVED.timestamp(),
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"shardId-000000000000:{i}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::123456789012:role/consumer",
            "awsRegion": "us-east-1",
            "eventSourceARN": "arn:aws:kinesis:us-east-1:123456789012:stream/telemetry",
        }
        for i, record in enumerate(sealed)
    ]
