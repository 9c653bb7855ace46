"""Kinesis records into Arrow: ours beside what it is made of, and beside the peer with and without pyarrow."""

from __future__ import annotations

import base64
from functools import partial

import pyarrow as pa
import pytest

from shardpack import Aggregator, ShardMap, deaggregate_arrow, deaggregate_columns
from shardpack.cli.bench import ways

GROUP = "deaggregate to Arrow by size of the aggregated records, user records of 100 B"
AGGREGATE_SIZES = {"1 MiB": 1 << 20, "50 KiB, the KPL's default": 50 << 10}


def to_pyarrow(records):
    return pa.record_batch(deaggregate_arrow(records))


def aws(records):
    return ways.aws_deaggregate("Boto3")(records)


def aws_to_pyarrow(records):
    """Make the columns that a consumer of the peer's would: decoded data, and what it says of each user record."""
    found = [record["kinesis"] for record in aws(records)]
    return pa.record_batch(
        {
            "partition_key": [record["partitionKey"] for record in found],
            "data": [base64.b64decode(record["data"]) for record in found],
            "sequence_number": [record["sequenceNumber"] for record in found],
            "sub_sequence_number": [record["subSequenceNumber"] for record in found],
            "approximate_arrival_timestamp": [record["approximateArrivalTimestamp"] for record in found],
        }
    )


def batch_pairs(batch):
    return list(zip(batch["partition_key"].to_pylist(), batch["data"].to_pylist(), strict=True))


WAYS = {
    "deaggregate_arrow, read by pyarrow": (to_pyarrow, batch_pairs),
    "deaggregate_columns": (deaggregate_columns, ways.column_pairs),
    "aws_kinesis_agg": (aws, ways.aws_pairs),
    "aws_kinesis_agg, to pyarrow": (aws_to_pyarrow, batch_pairs),
}


@pytest.mark.parametrize("aggregates", AGGREGATE_SIZES)
@pytest.mark.parametrize("way", WAYS)
def bench_by_aggregate_size(measure, sized, way, aggregates):
    corpus = sized(100)
    aggregator = Aggregator(ShardMap.uniform(1), max_bytes=AGGREGATE_SIZES[aggregates])
    records = ways.get_records(ways.add_many(aggregator, corpus))
    run, found_pairs = WAYS[way]
    try:
        found = run(records)
    except ways.NotInstalledError as how:
        pytest.skip(str(how))
    assert found_pairs(found) == corpus.pairs()
    if isinstance(found, pa.RecordBatch):
        found.validate(full=True)
    measure(partial(run, records), group=GROUP, way=way, at=aggregates, amount=len(corpus))
