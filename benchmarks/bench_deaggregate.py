"""Kinesis records into user records: ours beside aws_kinesis_agg, each in the shape it is used with."""

from __future__ import annotations

import base64

import aws_kinesis_agg.deaggregator
import pytest

from shardpack import Aggregator, ShardMap, deaggregate


def get_records(corpus):
    aggregator = Aggregator(ShardMap.uniform(8))
    aggregator.add_many(corpus.keys, corpus.datas)
    return [
        {"SequenceNumber": str(i), "PartitionKey": record.partition_key, "Data": record.data, "ApproximateArrivalTimestamp": 0}
        for i, record in enumerate(aggregator.flush())
    ]


def shardpack(records):
    return deaggregate(records)


def aws_kinesis_agg_boto3(records):
    return list(aws_kinesis_agg.deaggregator.iter_deaggregate_records(records, data_format="Boto3"))


@pytest.mark.parametrize("way", [shardpack, aws_kinesis_agg_boto3], ids=lambda way: way.__name__)
def bench_deaggregate(benchmark, corpus, way):
    records = get_records(corpus)
    found = [
        (record.partition_key, record.data)
        if way is shardpack
        else (record["kinesis"]["partitionKey"], base64.b64decode(record["kinesis"]["data"]))
        for record in way(records)
    ]
    assert sorted(found) == sorted(zip(corpus.keys, corpus.datas, strict=True))
    benchmark.group = f"deaggregate, {corpus.name}"
    benchmark.extra_info.update(records=len(corpus.keys), size=corpus.size)
    benchmark.pedantic(way, (records,), rounds=5, warmup_rounds=1)
