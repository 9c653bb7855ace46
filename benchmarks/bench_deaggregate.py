"""Kinesis records into user records: ours beside the peers, each in the shapes it takes."""

from __future__ import annotations

from functools import partial

import pytest
from conftest import RECORD_SIZES

from shardpack import deaggregate, deaggregate_columns
from shardpack.bench import ours, pairs, peers, received

BY_SIZE = "deaggregate by record size"
FLIGHTS = "deaggregate flights"
BY_KERNEL = "deaggregate by MD5 kernel"


# what it is called: the shape it takes, how to bind it to records, and what it found as pairs (None: as another)
CONTENDERS = {
    "deaggregate, all read": (received.get_records, lambda records: partial(ours.read, records), None),
    "deaggregate, no field read": (
        received.get_records,
        lambda records: partial(deaggregate, records),
        pairs.of_user_records,
    ),
    "deaggregate_columns": (
        received.get_records,
        lambda records: partial(deaggregate_columns, records),
        pairs.of_columns,
    ),
    "deaggregate, Lambda, no field read": (
        received.lambda_records,
        lambda records: partial(deaggregate, records),
        pairs.of_user_records,
    ),
    "aws_kinesis_agg, all read": (
        received.get_records,
        lambda records: partial(peers.aws_read("Boto3"), records),
        None,
    ),
    "aws_kinesis_agg": (
        received.get_records,
        lambda records: partial(peers.aws_deaggregate("Boto3"), records),
        pairs.of_dictionaries,
    ),
    "aws_kinesis_agg, Lambda": (
        received.lambda_records,
        lambda records: partial(peers.aws_deaggregate(None), records),
        pairs.of_dictionaries,
    ),
    "aiokpl": (
        received.get_records,
        lambda records: partial(peers.aiokpl_deaggregate(), records),
        pairs.of_user_records,
    ),
}


def measure_reader(measure, corpus, name, group, at):
    shape, bind, pairs_of = CONTENDERS[name]
    try:
        run = bind(shape(received.kinesis_records(corpus)))
    except peers.NotInstalledError as how:
        pytest.skip(str(how))
    if pairs_of is not None:
        assert pairs_of(run()) == corpus.pairs()
    measure(run, group=group, contender=name, at=at, amount=len(corpus))


@pytest.mark.parametrize("record_size", RECORD_SIZES)
@pytest.mark.parametrize("contender", CONTENDERS)
def bench_by_record_size(measure, sized, contender, record_size):
    measure_reader(measure, sized(record_size), contender, BY_SIZE, record_size)


@pytest.mark.parametrize("contender", CONTENDERS)
def bench_flights(measure, flight_events, contender):
    measure_reader(measure, flight_events, contender, FLIGHTS, "flights")


@pytest.mark.parametrize("record_size", [100, 10_000])
def bench_by_kernel(measure, sized, kernel, record_size):
    corpus = sized(record_size)
    records = received.get_records(received.kinesis_records(corpus))
    assert pairs.of_user_records(deaggregate(records)) == corpus.pairs()
    measure(partial(deaggregate, records), group=BY_KERNEL, contender=kernel, at=record_size, amount=len(corpus))
