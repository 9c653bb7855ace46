"""Partition keys to shards: ours beside hashlib and bisect."""

from __future__ import annotations

import random
from functools import partial

import pytest
from conftest import SHARD_COUNTS

from shardpack import ShardMap
from shardpack.bench.peers import bisect_shards

ASSIGN = "shard of a key by shard count"
INDEX_OF = "shard of a hash key by shard count"


@pytest.mark.parametrize("shards", SHARD_COUNTS)
@pytest.mark.parametrize("contender", ["assign", "hashlib + bisect"])
def bench_assign(measure, count, shards, contender):
    keys = [f"device-{i}" for i in range(count(100_000))]
    shard_map = ShardMap.uniform(shards)
    starts = [shard.starting_hash_key for shard in shard_map]
    assert list(shard_map.assign(keys)) == bisect_shards(starts, keys)
    run = partial(shard_map.assign, keys) if contender == "assign" else partial(bisect_shards, starts, keys)
    measure(run, group=ASSIGN, contender=contender, at=shards, amount=len(keys), unit="keys")


@pytest.mark.parametrize("shards", SHARD_COUNTS)
def bench_index_of(measure, count, shards):
    rng = random.Random(shards)
    hash_keys = [rng.getrandbits(128) for _ in range(count(20_000))]
    shard_map = ShardMap.uniform(shards)
    index_of = shard_map.index_of
    assert all(hash_key in shard_map[index_of(hash_key)] for hash_key in hash_keys)

    def find_all():
        for hash_key in hash_keys:
            index_of(hash_key)

    measure(find_all, group=INDEX_OF, contender="index_of", at=shards, amount=len(hash_keys), unit="keys")
