"""Kinesis records into requests: ours beside filling requests in the order of arrival, which knows no fairness."""

from __future__ import annotations

from functools import partial

import pytest
from conftest import SHARD_COUNTS

from shardpack import Aggregator, Limits, ShardMap, pack
from shardpack.bench.corpus import synthetic

GROUP = "pack by shard count"
LIMITS = Limits()


def in_order(records):
    requests, request, room = [], [], LIMITS.max_request_bytes
    for record in records:
        if len(request) == LIMITS.max_request_records or record.size > room:
            requests.append(request)
            request, room = [], LIMITS.max_request_bytes
        request.append(record)
        room -= record.size
    return [*requests, request]


WAYS = {
    "pack": pack,
    "pack, one entry a shard": partial(pack, max_entries_per_shard=1),
    "in order of arrival": in_order,
}


@pytest.mark.parametrize("shards", SHARD_COUNTS)
@pytest.mark.parametrize("way", WAYS)
def bench_pack(measure, count, shards, way):
    corpus = synthetic(count(20_000), 100, 100_000)
    aggregator = Aggregator(ShardMap.uniform(shards), max_bytes=5_000)
    aggregator.add_many(corpus.keys, corpus.datas)
    records = aggregator.flush()
    requests = WAYS[way](records)
    assert sorted(map(id, records)) == sorted(id(record) for request in requests for record in request)
    assert all(len(request) <= LIMITS.max_request_records for request in requests)
    assert all(sum(record.size for record in request) <= LIMITS.max_request_bytes for request in requests)
    measure(partial(WAYS[way], records), group=GROUP, way=way, at=shards, amount=len(records), unit="Kinesis records")
