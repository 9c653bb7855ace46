"""Kinesis records into requests: ours beside filling requests in the order of arrival, which knows no fairness."""

from __future__ import annotations

from functools import partial

import pytest
from conftest import SHARD_COUNTS

from shardpack import Aggregator, Limits, ShardMap, pack
from shardpack.bench.corpus import synthetic
from shardpack.bench.peers import pack_in_order

GROUP = "pack by shard count"
LIMITS = Limits()


CONTENDERS = {
    "pack": pack,
    "pack, one entry per shard": partial(pack, max_entries_per_shard=1),
    "in order of arrival": partial(pack_in_order, limits=LIMITS),
}


@pytest.mark.parametrize("shards", SHARD_COUNTS)
@pytest.mark.parametrize("contender", CONTENDERS)
def bench_pack(measure, count, shards, contender):
    corpus = synthetic(count(20_000), 100, 100_000)
    aggregator = Aggregator(ShardMap.uniform(shards), max_bytes=5_000)
    aggregator.add_many(corpus.keys, corpus.datas)
    records = aggregator.flush()
    requests = CONTENDERS[contender](records)
    assert sorted(map(id, records)) == sorted(id(record) for request in requests for record in request)
    assert all(len(request) <= LIMITS.max_request_records for request in requests)
    assert all(sum(record.size for record in request) <= LIMITS.max_request_bytes for request in requests)
    measure(
        partial(CONTENDERS[contender], records),
        group=GROUP,
        contender=contender,
        at=shards,
        amount=len(records),
        unit="Kinesis records",
    )
