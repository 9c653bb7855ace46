"""Partition keys to shards: ours beside hashlib and bisect."""

from __future__ import annotations

import random
from bisect import bisect_right
from functools import partial

import pytest
from conftest import SHARD_COUNTS

from shardpack import ShardMap
from shardpack.bench.ways import hashlib_hash_keys

ASSIGN = "shard of a key by shard count"
INDEX_OF = "shard of a hash key by shard count"


def bisect_keys(starts: list[int], keys: list[str]) -> list[int]:
    return [bisect_right(starts, hash_key) - 1 for hash_key in hashlib_hash_keys(keys)]


@pytest.mark.parametrize("shards", SHARD_COUNTS)
@pytest.mark.parametrize("way", ["assign", "hashlib + bisect"])
def bench_assign(measure, count, shards, way):
    keys = [f"device-{i}" for i in range(count(100_000))]
    shard_map = ShardMap.uniform(shards)
    starts = [shard.starting_hash_key for shard in shard_map]
    assert list(shard_map.assign(keys)) == bisect_keys(starts, keys)
    run = partial(shard_map.assign, keys) if way == "assign" else partial(bisect_keys, starts, keys)
    measure(run, group=ASSIGN, way=way, at=shards, amount=len(keys), unit="keys")


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

    measure(find_all, group=INDEX_OF, way="index_of", at=shards, amount=len(hash_keys), unit="keys")
