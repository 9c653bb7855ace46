"""Loads over the hash range, against sums over plain integers and hashlib."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardpack import InvalidPartitionKeyError, Shard, ShardMap
from shardpack.plan.load import CELLS, MAX_POINTS, Load, most_to_mean

END = 2**128
SMALL = st.integers(0, 40)
ANYWHERE = st.integers(0, END - 1)
WEIGHTS = st.integers(0, 1_000)


def md5(key):
    return int.from_bytes(hashlib.md5(key.encode()).digest(), "big")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(SMALL, WEIGHTS), max_size=30), SMALL, SMALL)
def test_sums_are_those_of_brute_force(points, first, last):
    load = Load(points)
    assert load.total == sum(weight for _, weight in points)
    assert load.between(first, last) == sum(weight for at, weight in points if first <= at <= last) or first > last
    assert list(load) == [
        (at, sum(weight for other, weight in points if other == at)) for at in sorted({at for at, _ in points})
    ]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(SMALL, WEIGHTS), max_size=30), SMALL, SMALL)
def test_no_other_cut_makes_the_heavier_half_lighter(points, one, other):
    first, last = min(one, other), max(one, other)

    def heavier_half(cut):
        inside = [(at, weight) for at, weight in points if first <= at <= last]
        below = sum(weight for at, weight in inside if at < cut)
        return max(below, sum(weight for _, weight in inside) - below)

    at = Load(points).split_point(first, last)
    best = min((heavier_half(cut) for cut in range(first + 1, last + 1)), default=None)
    whole = heavier_half(first)
    if at is None:
        assert best is None or best == whole
    else:
        assert first < at <= last  # what SplitShard takes
        assert heavier_half(at) == best < whole


def test_a_cut_is_in_the_middle_of_the_gap_between_two_keys():
    assert Load([(10, 1), (20, 1)]).split_point() == 15
    assert Load([(10, 1), (11, 1)]).split_point() == 11
    assert Load([(0, 3), (2**127, 1), (END - 1, 1)]).split_point() == 2**126


@pytest.mark.parametrize("points", [[], [(7, 5)], [(7, 5), (7, 5)], [(7, 5), (9, 0), (1, 0)], [(5, 0)]])
def test_one_hash_key_cannot_be_split(points):
    assert Load(points).split_point() is None


def test_the_median_is_of_weight_and_not_the_middle_of_the_range():
    rng = random.Random(1)
    crowded = [(rng.randrange(END // 16), 1) for _ in range(999)]
    load = Load([*crowded, (END - 1, 1)])
    shard_map = ShardMap.uniform(1)
    assert load.by_shard(shard_map) == [1_000]
    cut = load.split_point()
    halves = ShardMap([Shard("a", 0, cut - 1), Shard("b", cut, END - 1)])
    assert load.by_shard(halves) == [500, 500]
    assert load.by_shard(ShardMap.uniform(2)) == [999, 1]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(ANYWHERE, WEIGHTS), max_size=50), st.integers(1, 40))
def test_loads_of_shards_are_those_of_the_map(points, count):
    shard_map = ShardMap.uniform(count)
    expected = [0] * count
    for at, weight in points:
        expected[next(i for i, shard in enumerate(shard_map) if at in shard)] += weight
    assert Load(points).by_shard(shard_map) == expected


def test_partition_keys_are_where_their_md5_is():
    weights = {f"device-{i}": i + 1 for i in range(300)}
    assert dict(Load.of_keys(weights)) == {md5(key): weight for key, weight in weights.items()}


def test_many_hash_keys_are_taken_together_and_nothing_is_lost():
    rng = random.Random(2)
    heavy = {rng.randrange(END): 1_000 + i for i in range(1_000)}
    light = [rng.randrange(END) for _ in range(5 * MAX_POINTS)]
    load = Load([*heavy.items(), *((at, 1) for at in light)])
    assert len(load) <= MAX_POINTS
    assert load.total == sum(heavy.values()) + len(light)
    found = dict(load)
    assert all(found[at] == weight for at, weight in heavy.items())
    shard_map = ShardMap.uniform(7)
    width = END // CELLS
    for shard, weight in zip(shard_map, load.by_shard(shard_map), strict=True):
        exact = sum(w for at, w in heavy.items() if at in shard) + sum(at in shard for at in light)
        at_the_ends = sum(
            abs(at - edge) <= width for at in light for edge in (shard.starting_hash_key, shard.ending_hash_key)
        )
        assert abs(weight - exact) <= at_the_ends


def test_what_is_no_load_is_refused():
    for points in ([(-1, 1)], [(END, 1)], [(1, -1)], [(1, float("nan"))], [(1, float("inf"))]):
        with pytest.raises(ValueError, match="hash key"):
            Load(points)
    with pytest.raises(TypeError, match="whole number"):
        Load([("a", 1)])
    with pytest.raises(InvalidPartitionKeyError):
        Load.of_keys({"": 1})


def test_most_to_mean():
    assert most_to_mean([1, 1, 4]) == 2
    assert most_to_mean([0, 0]) == 1
    assert most_to_mean([]) == 1
