"""User records into Kinesis records: ours beside the peers and the floor.

Aggregators are long-lived, as a producer's are, and what they return is dropped; one way makes a fresh one each time.
"""

from __future__ import annotations

from functools import partial

import pytest
from conftest import KEY_CARDINALITIES, RECORD_SIZES, SHARD_COUNTS

from shardpack import Aggregator, ShardMap
from shardpack.bench import ways
from shardpack.bench.corpus import synthetic

BY_SIZE = "aggregate by record size"
FLIGHTS = "aggregate flights"
BY_KEYS = "aggregate by key cardinality"
BY_SHARDS = "aggregate by shard count"
BY_BATCH = "aggregate by batch size"
BY_KERNEL = "aggregate by MD5 kernel"

SHARDS = ShardMap.uniform(8)


def fresh_aggregator(corpus):
    return ways.add_many(Aggregator(SHARDS), corpus)


WAYS = {
    "add_many": lambda: partial(ways.add_many, Aggregator(SHARDS)),
    "add": lambda: partial(ways.add, Aggregator(SHARDS)),
    "add_many, fresh Aggregator": lambda: fresh_aggregator,
    "aws_kinesis_agg": ways.aws_aggregate,
    "aiokpl": ways.aiokpl_aggregate,
}


@pytest.fixture(params=WAYS)
def way(request):
    """A way's name and the way; skips peers that are not installed."""
    try:
        return request.param, WAYS[request.param]()
    except ways.NotInstalledError as how:
        pytest.skip(str(how))


@pytest.mark.parametrize("record_size", RECORD_SIZES)
def bench_by_record_size(measure, sized, way, record_size):
    name, run = way
    corpus = sized(record_size)
    assert ways.stored_pairs(run(corpus)) == sorted(corpus.pairs())
    measure(partial(run, corpus), group=BY_SIZE, way=name, at=record_size, amount=len(corpus))


@pytest.mark.parametrize("record_size", RECORD_SIZES)
def bench_floor(measure, sized, record_size):
    corpus = sized(record_size)
    run = ways.floor(corpus.datas)
    measure(run, group=BY_SIZE, way="memcpy + MD5", at=record_size, amount=len(corpus))


def bench_flights(measure, flight_events, way):
    name, run = way
    assert ways.stored_pairs(run(flight_events)) == sorted(flight_events.pairs())
    measure(partial(run, flight_events), group=FLIGHTS, way=name, at="flights", amount=len(flight_events))


@pytest.mark.parametrize("cardinality", KEY_CARDINALITIES)
def bench_by_key_cardinality(measure, count, cardinality):
    corpus = synthetic(count(1_000_000), 100, cardinality)
    aggregator = Aggregator(SHARDS)
    some = corpus.first(50_000)
    assert ways.stored_pairs(ways.add_many(aggregator, some)) == sorted(some.pairs())
    run = partial(ways.add_many_in_batches, aggregator, ways.batches(corpus))
    measure(run, group=BY_KEYS, way="add_many", at=cardinality, amount=len(corpus))


@pytest.mark.parametrize("shards", SHARD_COUNTS)
def bench_by_shard_count(measure, count, shards):
    corpus = synthetic(count(1_000_000), 100, 100_000)
    aggregator = Aggregator(ShardMap.uniform(shards))
    some = corpus.first(50_000)
    assert ways.stored_pairs(ways.add_many(aggregator, some)) == sorted(some.pairs())
    run = partial(ways.add_many_in_batches, aggregator, ways.batches(corpus))
    measure(run, group=BY_SHARDS, way="add_many", at=shards, amount=len(corpus))


@pytest.mark.parametrize("batch_size", [1, 10, 100, 1_000, 100_000])
def bench_by_batch_size(measure, count, batch_size):
    corpus = synthetic(count(100_000), 100)
    batches = ways.batches(corpus, batch_size)
    aggregator = Aggregator(SHARDS)
    for keys, datas in batches:
        aggregator.add_many(keys, datas)
    assert ways.stored_pairs(aggregator.flush()) == sorted(corpus.pairs())
    run = partial(ways.add_many_in_batches, aggregator, batches)
    measure(run, group=BY_BATCH, way="add_many", at=batch_size, amount=len(corpus))


@pytest.mark.parametrize("record_size", [100, 10_000])
def bench_by_kernel(measure, sized, kernel, record_size):
    corpus = sized(record_size)
    run = partial(ways.add_many, Aggregator(SHARDS), corpus)
    assert ways.stored_pairs(run()) == sorted(corpus.pairs())
    measure(run, group=BY_KERNEL, way=kernel, at=record_size, amount=len(corpus))
