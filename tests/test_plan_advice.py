"""What is advised on figures of a producer."""

from __future__ import annotations

import hashlib

import pytest

from shardpack import HotKey, HotShard, ShardMap, ShardStats, Stats
from shardpack.plan import advise

MIB = 2**20
SHARDS = ShardMap.uniform(4)


def stats(*utilisations, throttles=(0, 0, 0, 0)):
    return Stats(
        shards=tuple(
            ShardStats(SHARDS[i].shard_id, used * MIB, 10, throttles[i], used) for i, used in enumerate(utilisations)
        )
    )


def keys_in(shard, count):
    found = []
    for i in range(10_000):
        if int.from_bytes(hashlib.md5(b"k%d" % i).digest(), "big") in shard and len(found) < count:
            found.append(f"k{i}")
    return found


def hot(used, index, weights):
    names = keys_in(SHARDS[index], len(weights))
    keys = [HotKey(name, weight, weight) for name, weight in zip(names, weights, strict=True)]
    return HotShard(used.shards[index], tuple(sorted(keys, key=lambda key: -key.bytes_per_second)))


def test_a_hot_shard_of_many_keys_is_split_by_weight():
    used = stats(0.3, 0.95, 0.5, 0.5)
    weights = [0.01 * MIB * (i + 1) for i in range(12)]
    (advice,) = advise(used, [hot(used, 1, weights)], shard_map=SHARDS)
    assert (advice.action, advice.shard_ids) == ("split", (SHARDS[1].shard_id,))
    below = sum(
        weight
        for name, weight in zip(keys_in(SHARDS[1], 12), weights, strict=True)
        if int.from_bytes(hashlib.md5(name.encode()).digest(), "big") < advice.hash_key
    )
    assert abs(2 * below - sum(weights)) <= max(weights)


def test_one_heavy_key_is_not_helped_by_a_split():
    used = stats(0.3, 0.95, 0.5, 0.5)
    for mode in ("provisioned", "on-demand"):
        advice = advise(used, [hot(used, 1, [0.8 * MIB, 0.1 * MIB])], shard_map=SHARDS, mode=mode)[0]
        assert advice.action == "change keys"
        assert advice.partition_keys == (
            max(hot(used, 1, [0.8, 0.1]).keys, key=lambda key: key.bytes_per_second).partition_key,
        )
        assert advice.figures["utilisation"] == 0.95


def test_idle_neighbours_are_merged_where_streams_are_provisioned():
    used = stats(0.1, 0.2, 0.3, 0.3)
    assert [(each.action, each.shard_ids) for each in advise(used, shard_map=SHARDS)] == [
        ("merge", (SHARDS[0].shard_id, SHARDS[1].shard_id))
    ]
    assert not [each for each in advise(used) if each.action == "merge"]
    assert not [each for each in advise(used, shard_map=SHARDS, mode="on-demand") if each.action == "merge"]


def test_on_demand_and_auto_streams_are_not_split():
    used = stats(0.9, 0.9, 0.9, 0.9)
    assert {each.action for each in advise(used, shard_map=SHARDS)} == {"split"}
    assert not {each.action for each in advise(used, shard_map=SHARDS, mode="on-demand")} - {"change mode"}
    assert not {each.action for each in advise(used, shard_map=SHARDS, mode="on-demand", auto_distribution=True)} - {
        "change mode"
    }


def test_only_new_throttles_count():
    earlier, now = stats(0.5, 0.5, 0.5, 0.5, throttles=(9, 0, 0, 0)), stats(0.5, 0.5, 0.5, 0.5, throttles=(9, 2, 0, 0))
    found = [each for each in advise(now, before=earlier, seconds=60, shard_map=SHARDS) if each.action == "split"]
    assert [(each.shard_ids, each.figures["throttles"]) for each in found] == [((SHARDS[1].shard_id,), 2)]
    with pytest.raises(ValueError, match="seconds"):
        advise(now, before=earlier)


def test_the_mode_that_is_cheaper_by_a_fifth():
    idle = Stats(shards=(ShardStats("a", 10.0, 1, 0, 0.0),))
    shards = ShardMap.uniform(20)
    change = next(each for each in advise(idle, shard_map=shards) if each.action == "change mode")
    assert change.figures["now_a_month"] == pytest.approx(20 * 730 * 0.015 + 730 * 3600 / 1e6 * 0.014)
    assert change.figures["then_a_month"] < change.figures["now_a_month"] * 0.8
    busy = stats(0.5, 0.5, 0.5, 0.5)
    assert not [each for each in advise(busy, shard_map=SHARDS) if each.action == "change mode"]
    assert [each.action for each in advise(busy, shard_map=SHARDS, mode="on-demand")] == ["change mode"]
