"""Kinesis records into Arrow: ours beside what it is made of, and beside the peer with and without pyarrow.

And Arrow into Kinesis records: beside the same user records in lists.
"""

from __future__ import annotations

import random
from functools import partial

import pyarrow as pa
import pytest
from conftest import RECORD_SIZES

from shardpack import Aggregator, ShardMap, deaggregate_arrow, deaggregate_columns
from shardpack.bench import ours, pairs, peers, received
from shardpack.bench.corpus import Corpus

COPIES = "deaggregate_arrow by record size, payloads copied and viewed where they came"
GROUP = "deaggregate to Arrow by size of the aggregated records, user records of 100 B"
FROM_ARROW = "aggregate from Arrow by record size"
AGGREGATE_SIZES = {"1 MiB": 1 << 20, "50 KiB, the KPL's default": 50 << 10}


CONTENDERS = {
    "deaggregate_arrow, read by pyarrow": (ours.arrow_to_pyarrow, pairs.of_batch),
    "deaggregate_columns": (lambda: deaggregate_columns, pairs.of_columns),
    "aws_kinesis_agg": (partial(peers.aws_deaggregate, "Boto3"), pairs.of_dictionaries),
    "aws_kinesis_agg, to pyarrow": (partial(peers.aws_to_pyarrow, "Boto3"), pairs.of_batch),
}


@pytest.mark.parametrize("aggregates", AGGREGATE_SIZES)
@pytest.mark.parametrize("contender", CONTENDERS)
def bench_by_aggregate_size(measure, sized, contender, aggregates):
    corpus = sized(100)
    aggregator = Aggregator(ShardMap.uniform(1), max_bytes=AGGREGATE_SIZES[aggregates])
    records = received.get_records(ours.add_many(aggregator, corpus))
    make, pairs_of = CONTENDERS[contender]
    try:
        run = make()
    except peers.NotInstalledError as how:
        pytest.skip(str(how))
    assert pairs_of(run(records)) == corpus.pairs()
    measure(partial(run, records), group=GROUP, contender=contender, at=aggregates, amount=len(corpus))


@pytest.mark.parametrize("record_size", RECORD_SIZES)
@pytest.mark.parametrize("zero_copy", [False, True], ids=["copied", "viewed"])
def bench_copies_by_record_size(measure, sized, zero_copy, record_size):
    corpus = sized(record_size)
    records = received.get_records(received.kinesis_records(corpus, received.KPL_AGGREGATE))
    run = partial(deaggregate_arrow, records, zero_copy=zero_copy)
    assert pairs.of_batch(pa.record_batch(run())) == corpus.pairs()
    measure(run, group=COPIES, contender="zero_copy" if zero_copy else "copied", at=record_size, amount=len(corpus))


def scattered(corpus):
    """The same, but no two items of a list lie side by side, as in programs that have run for a while."""
    order = list(range(len(corpus)))
    random.Random(7).shuffle(order)
    return Corpus([corpus.keys[i] for i in order], [corpus.datas[i] for i in order])


def dictionary_batch(corpus):
    return pa.record_batch({"key": pa.array(corpus.keys).dictionary_encode(), "data": pa.array(corpus.datas)})


def view_batch(corpus):
    return pa.record_batch(
        {"key": pa.array(corpus.keys, pa.string_view()), "data": pa.array(corpus.datas, pa.binary_view())}
    )


AGGREGATED = {
    "add_arrow": (ours.record_batch, ours.add_arrow),
    "add_arrow, dictionary of keys": (dictionary_batch, ours.add_arrow),
    "add_arrow, views": (view_batch, ours.add_arrow),
    "add_many": (lambda corpus: corpus, ours.add_many),
    "add_many, lists scattered over the heap": (scattered, ours.add_many),
    "to_pylist, add_many": (ours.record_batch, ours.add_pylists),
}


@pytest.mark.parametrize("record_size", RECORD_SIZES)
@pytest.mark.parametrize("contender", AGGREGATED)
def bench_from_arrow_by_record_size(measure, sized, contender, record_size):
    corpus = sized(record_size)
    make, call = AGGREGATED[contender]
    run = partial(call, Aggregator(ShardMap.uniform(8)), make(corpus))
    assert pairs.in_kinesis_records(run()) == sorted(corpus.pairs())
    measure(run, group=FROM_ARROW, contender=contender, at=record_size, amount=len(corpus))
