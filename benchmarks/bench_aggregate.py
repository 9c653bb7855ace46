"""User records into Kinesis records: ours beside the peers and the floor.

Aggregators are long-lived, as a producer's are, and what they return is dropped; one contender makes a fresh one each
time.
"""

from __future__ import annotations

from functools import partial

import pytest
from conftest import KEY_CARDINALITIES, RECORD_SIZES, SHARD_COUNTS

from shardpack import Aggregator, ShardMap
from shardpack.bench import ours, pairs, peers
from shardpack.bench.corpus import synthetic

BY_SIZE = "aggregate by record size"
FLIGHTS = "aggregate flights"
BY_KEYS = "aggregate by key cardinality"
BY_SHARDS = "aggregate by shard count"
BY_BATCH = "aggregate by batch size"
BY_KERNEL = "aggregate by MD5 kernel"

SHARDS = ShardMap.uniform(8)


def fresh_aggregator(corpus):
    return ours.add_many(Aggregator(SHARDS), corpus)


CONTENDERS = {
    "add_many": lambda: partial(ours.add_many, Aggregator(SHARDS)),
    "add": lambda: partial(ours.add, Aggregator(SHARDS)),
    "add_many, fresh Aggregator": lambda: fresh_aggregator,
    "aws_kinesis_agg": peers.aws_aggregate,
    "aiokpl": peers.aiokpl_aggregate,
}


@pytest.fixture(params=CONTENDERS)
def contender(request):
    """A contender's name and the contender; skips peers that are not installed."""
    try:
        return request.param, CONTENDERS[request.param]()
    except peers.NotInstalledError as how:
        pytest.skip(str(how))


@pytest.mark.parametrize("record_size", RECORD_SIZES)
def bench_by_record_size(measure, sized, contender, record_size):
    name, run = contender
    corpus = sized(record_size)
    assert pairs.in_kinesis_records(run(corpus)) == sorted(corpus.pairs())
    measure(partial(run, corpus), group=BY_SIZE, contender=name, at=record_size, amount=len(corpus))


@pytest.mark.parametrize("record_size", RECORD_SIZES)
def bench_floor(measure, sized, record_size):
    corpus = sized(record_size)
    run = peers.floor(corpus.datas)
    measure(run, group=BY_SIZE, contender="memcpy + MD5", at=record_size, amount=len(corpus))


def bench_flights(measure, flight_events, contender):
    name, run = contender
    assert pairs.in_kinesis_records(run(flight_events)) == sorted(flight_events.pairs())
    measure(partial(run, flight_events), group=FLIGHTS, contender=name, at="flights", amount=len(flight_events))


@pytest.mark.parametrize("cardinality", KEY_CARDINALITIES)
def bench_by_key_cardinality(measure, count, cardinality):
    corpus = synthetic(count(1_000_000), 100, cardinality)
    aggregator = Aggregator(SHARDS)
    some = corpus.first(50_000)
    assert pairs.in_kinesis_records(ours.add_many(aggregator, some)) == sorted(some.pairs())
    run = partial(ours.add_many_in_batches, aggregator, ours.batches(corpus))
    measure(run, group=BY_KEYS, contender="add_many", at=cardinality, amount=len(corpus))


@pytest.mark.parametrize("shards", SHARD_COUNTS)
def bench_by_shard_count(measure, count, shards):
    corpus = synthetic(count(1_000_000), 100, 100_000)
    aggregator = Aggregator(ShardMap.uniform(shards))
    some = corpus.first(50_000)
    assert pairs.in_kinesis_records(ours.add_many(aggregator, some)) == sorted(some.pairs())
    run = partial(ours.add_many_in_batches, aggregator, ours.batches(corpus))
    measure(run, group=BY_SHARDS, contender="add_many", at=shards, amount=len(corpus))


@pytest.mark.parametrize("batch_size", [1, 10, 100, 1_000, 100_000])
def bench_by_batch_size(measure, count, batch_size):
    corpus = synthetic(count(100_000), 100)
    batches = ours.batches(corpus, batch_size)
    aggregator = Aggregator(SHARDS)
    for keys, datas in batches:
        aggregator.add_many(keys, datas)
    assert pairs.in_kinesis_records(aggregator.flush()) == sorted(corpus.pairs())
    run = partial(ours.add_many_in_batches, aggregator, batches)
    measure(run, group=BY_BATCH, contender="add_many", at=batch_size, amount=len(corpus))


@pytest.mark.parametrize("record_size", [100, 10_000])
def bench_by_kernel(measure, sized, kernel, record_size):
    corpus = sized(record_size)
    run = partial(ours.add_many, Aggregator(SHARDS), corpus)
    assert pairs.in_kinesis_records(run()) == sorted(corpus.pairs())
    measure(run, group=BY_KERNEL, contender=kernel, at=record_size, amount=len(corpus))
