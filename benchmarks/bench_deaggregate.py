"""Kinesis records into user records: ours beside the peers, each in the shapes it takes."""

from __future__ import annotations

from functools import partial

import pytest
from conftest import RECORD_SIZES

from shardpack import deaggregate, deaggregate_columns
from shardpack.bench import ways

BY_SIZE = "deaggregate by record size"
FLIGHTS = "deaggregate flights"
BY_KERNEL = "deaggregate by MD5 kernel"


# what it is called: the shape it takes, how to bind it to records, and what it found as pairs (None: as another way)
WAYS = {
    "deaggregate": (ways.get_records, lambda records: partial(deaggregate, records), ways.pairs),
    "deaggregate + read": (ways.get_records, lambda records: partial(ways.read, records), None),
    "deaggregate_columns": (ways.get_records, lambda records: partial(deaggregate_columns, records), ways.column_pairs),
    "deaggregate, Lambda": (ways.lambda_records, lambda records: partial(deaggregate, records), ways.pairs),
    "aws_kinesis_agg": (
        ways.get_records,
        lambda records: partial(ways.aws_deaggregate("Boto3"), records),
        ways.aws_pairs,
    ),
    "aws_kinesis_agg + read": (ways.get_records, lambda records: partial(ways.aws_read("Boto3"), records), None),
    "aws_kinesis_agg, Lambda": (
        ways.lambda_records,
        lambda records: partial(ways.aws_deaggregate(None), records),
        ways.aws_pairs,
    ),
    "aiokpl": (ways.get_records, lambda records: partial(ways.aiokpl_deaggregate(), records), ways.pairs),
}


def take(measure, corpus, name, group, at):
    shape, bind, found_pairs = WAYS[name]
    try:
        run = bind(shape(ways.kinesis_records(corpus)))
    except ways.NotInstalledError as how:
        pytest.skip(str(how))
    if found_pairs is not None:
        assert found_pairs(run()) == corpus.pairs()
    measure(run, group=group, way=name, at=at, amount=len(corpus))


@pytest.mark.parametrize("record_size", RECORD_SIZES)
@pytest.mark.parametrize("way", WAYS)
def bench_by_record_size(measure, sized, way, record_size):
    take(measure, sized(record_size), way, BY_SIZE, record_size)


@pytest.mark.parametrize("way", WAYS)
def bench_flights(measure, flight_events, way):
    take(measure, flight_events, way, FLIGHTS, "flights")


@pytest.mark.parametrize("record_size", [100, 10_000])
def bench_by_kernel(measure, sized, kernel, record_size):
    corpus = sized(record_size)
    records = ways.get_records(ways.kinesis_records(corpus))
    assert ways.pairs(deaggregate(records)) == corpus.pairs()
    measure(partial(deaggregate, records), group=BY_KERNEL, way=kernel, at=record_size, amount=len(corpus))
