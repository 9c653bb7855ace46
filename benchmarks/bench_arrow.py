"""Kinesis records into Arrow: ours beside what it is made of, and beside the peer with and without pyarrow."""

from __future__ import annotations

from functools import partial

import pyarrow as pa
import pytest
from conftest import RECORD_SIZES

from shardpack import Aggregator, ShardMap, deaggregate_arrow, deaggregate_columns
from shardpack.bench import ways

COPIES = "deaggregate_arrow by record size, payloads copied and viewed where they came"
GROUP = "deaggregate to Arrow by size of the aggregated records, user records of 100 B"
AGGREGATE_SIZES = {"1 MiB": 1 << 20, "50 KiB, the KPL's default": 50 << 10}


WAYS = {
    "deaggregate_arrow, read by pyarrow": (ways.arrow_to_pyarrow, ways.batch_pairs),
    "deaggregate_columns": (lambda: deaggregate_columns, ways.column_pairs),
    "aws_kinesis_agg": (partial(ways.aws_deaggregate, "Boto3"), ways.aws_pairs),
    "aws_kinesis_agg, to pyarrow": (partial(ways.aws_to_pyarrow, "Boto3"), ways.batch_pairs),
}


@pytest.mark.parametrize("aggregates", AGGREGATE_SIZES)
@pytest.mark.parametrize("way", WAYS)
def bench_by_aggregate_size(measure, sized, way, aggregates):
    corpus = sized(100)
    aggregator = Aggregator(ShardMap.uniform(1), max_bytes=AGGREGATE_SIZES[aggregates])
    records = ways.get_records(ways.add_many(aggregator, corpus))
    make, found_pairs = WAYS[way]
    try:
        run = make()
    except ways.NotInstalledError as how:
        pytest.skip(str(how))
    assert found_pairs(run(records)) == corpus.pairs()
    measure(partial(run, records), group=GROUP, way=way, at=aggregates, amount=len(corpus))


@pytest.mark.parametrize("record_size", RECORD_SIZES)
@pytest.mark.parametrize("zero_copy", [False, True], ids=["copied", "viewed"])
def bench_copies_by_record_size(measure, sized, zero_copy, record_size):
    corpus = sized(record_size)
    records = ways.get_records(ways.kinesis_records(corpus, ways.KPL_AGGREGATE))
    run = partial(deaggregate_arrow, records, zero_copy=zero_copy)
    assert ways.batch_pairs(pa.record_batch(run())) == corpus.pairs()
    measure(run, group=COPIES, way="zero_copy" if zero_copy else "copied", at=record_size, amount=len(corpus))
