"""User records into Kinesis records: ours beside aws_kinesis_agg, which knows no shards and makes one stream of them."""

from __future__ import annotations

import pytest
from aws_kinesis_agg.aggregator import RecordAggregator

from shardpack import Aggregator, ShardMap, deaggregate

SHARDS = ShardMap.uniform(8)


def add_many(corpus):
    aggregator = Aggregator(SHARDS)
    aggregator.add_many(corpus.keys, corpus.datas)
    return [record.data for record in aggregator.flush()]


def add(corpus):
    aggregator = Aggregator(SHARDS)
    take_one = aggregator.add
    for key, data in zip(corpus.keys, corpus.datas, strict=True):
        take_one(key, data)
    return [record.data for record in aggregator.flush()]


def aws_kinesis_agg(corpus):
    aggregator, sealed = RecordAggregator(), []
    for key, data in zip(corpus.keys, corpus.datas, strict=True):
        if full := aggregator.add_user_record(key, data):
            sealed.append(full.get_contents()[2])
    sealed.append(aggregator.clear_and_get().get_contents()[2])
    return sealed


@pytest.mark.parametrize("way", [add_many, add, aws_kinesis_agg], ids=lambda way: way.__name__)
def bench_aggregate(benchmark, corpus, way):
    stored = sorted((record.partition_key, record.data) for record in deaggregate(way(corpus)))
    assert stored == sorted(zip(corpus.keys, corpus.datas, strict=True))
    benchmark.group = f"aggregate, {corpus.name}"
    benchmark.extra_info.update(records=len(corpus.keys), size=corpus.size)
    benchmark.pedantic(way, (corpus,), rounds=5, warmup_rounds=1)
