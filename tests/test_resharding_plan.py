"""Plans for resharding: legal steps from any map to any other, and the fewest of them that balance a load."""

from __future__ import annotations

import random
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardpack import Shard, ShardMap
from shardpack.plan import Load, ReshardError, Step, reshard_steps
from shardpack.plan import resharding_target as target
from shardpack.plan.resharding_steps import MOST_SHARDS, in_order, scaling
from shardpack.shards import HASH_KEYS


def map_of(borders):
    edges = (0, *borders, HASH_KEYS)
    return ShardMap(Shard(f"shardId-{i:012d}", low, high - 1) for i, (low, high) in enumerate(pairwise(edges)))


def spaced(keys):
    """Borders as a stream can have them: each shard holds two hash keys at least."""
    found = []
    for key in sorted(keys):
        if key - (found[-1] if found else 0) >= 2 and key <= HASH_KEYS - 2:
            found.append(key)
    return tuple(found)


near = st.integers(2, 60)
anywhere = st.integers(2, HASH_KEYS - 2)
some_borders = st.one_of(st.sets(near, max_size=9), st.sets(anywhere, max_size=30)).map(spaced)
loads = st.lists(
    st.tuples(st.one_of(near, st.integers(0, HASH_KEYS - 1)), st.sampled_from([0, 1, 2, 7, 100])), max_size=25
)


def service(borders, step):
    """What the service makes of a call, or refuses: written from its reference, not from the planner."""
    edges = [0, *borders, HASH_KEYS]
    if step.operation == "SplitShard":
        (low, high) = next((low, high - 1) for low, high in pairwise(edges) if low <= step.hash_key < high)
        assert low + 1 < step.hash_key < high
        return tuple(sorted([*borders, step.hash_key]))
    if step.operation == "MergeShards":
        assert step.hash_key in borders
        return tuple(border for border in borders if border != step.hash_key)
    assert (len(edges) - 1) / 2 <= step.shard_count <= 2 * (len(edges) - 1)
    return tuple(shard.starting_hash_key for shard in ShardMap.uniform(step.shard_count))[1:]


def carried_out(plan):
    borders = tuple(shard.starting_hash_key for shard in plan.before)[1:]
    for step in plan.steps:
        after = service(borders, step)
        assert step.applied(borders) == after
        assert len(after) + 1 == step.shard_count == len(map_of(after))  # every hash key has its shard
        borders = after
    return borders


@given(some_borders, st.integers(1, 40), st.booleans())
def test_to_a_number_of_shards_from_any_map(borders, count, by_count):
    plan = reshard_steps(map_of(borders), to=count, update_shard_count=by_count)
    reached = carried_out(plan)
    assert reached == plan.borders
    assert len(reached) + 1 == count
    width = HASH_KEYS // count
    for border, even in zip(
        reached, (shard.starting_hash_key for shard in [*ShardMap.uniform(count)][1:]), strict=True
    ):
        assert abs(border - even) <= 0.01 * width
    assert not reshard_steps(map_of(reached), to=count).steps
    assert by_count or all(step.operation != "UpdateShardCount" for step in plan.steps)


@given(some_borders, some_borders, loads, st.sampled_from([None, 0, 1, 5]))
def test_to_any_borders_by_one_call_for_each_that_differs(old, new, points, room):
    if any(0 < abs(one - other) < 2 for one in old for other in new):
        return  # no shard is so narrow: some orders of such calls are refused
    plan = reshard_steps(map_of(old), borders=new, load=Load(points), room=room)
    assert carried_out(plan) == new == plan.borders
    assert len(plan.steps) == len(set(old) ^ set(new))
    most = max(len(old), len(new)) + 1
    counts = [step.shard_count for step in plan.steps]
    assert max(counts, default=0) <= most + (room != 0)
    again = plan
    for step in plan.steps:  # begun anew after each call, it goes on with the next
        assert again.steps[0] == step
        left = None if room is None else max(0, room - (step.shard_count - len(old) - 1))
        borders = step.applied(tuple(shard.starting_hash_key for shard in again.before)[1:])
        again = reshard_steps(map_of(borders), borders=new, load=Load(points), room=left)
    assert not again.steps


@given(some_borders, loads, st.one_of(st.none(), st.integers(1, 12)))
def test_balances_any_load_of_any_map(borders, points, max_shards):
    load, before = Load(points), map_of(borders)
    plan = reshard_steps(before, balance=True, load=load, max_shards=max_shards)
    assert carried_out(plan) == plan.borders
    after = plan.after
    assert len(after) <= (len(before) if max_shards is None else max_shards)
    if max_shards is None or max_shards >= len(before):
        assert plan.ratio_after <= plan.ratio_before * (1 + 1e-9)
    heavy = max((weight for _, weight in load), default=0)
    assert bool(plan.too_heavy) == (heavy > 1.3 * load.total / len(after))
    assert {shard.shard_id for shard in after} - {""} <= {shard.shard_id for shard in before}


@pytest.mark.parametrize("seed", range(100))
def test_balance_takes_no_more_steps_than_the_best_of_all_ways(seed):
    """Against every set of borders out of those that there are and the middles between two keys."""
    rng = random.Random(seed)
    keys = sorted(rng.sample(range(100, 10_000, 10), 8))
    load = Load((key, rng.choice([1, 1, 2, 3, 5, 9])) for key in keys)
    old = tuple(sorted(rng.sample(range(105, 10_000, 10), rng.randrange(1, 5))))
    before, most = map_of(old), len(old) + 1 + rng.randrange(3)
    plan = reshard_steps(before, balance=True, load=load, max_shards=most)
    if plan.ratio_before <= 1.3:
        assert not plan.steps
        return
    places = sorted({*old, *((low + high + 1) // 2 for low, high in pairwise(keys))})
    found = {}
    for count in range(len(old) + 1, most + 1):
        for borders in combinations(places, count - 1):
            if spaced(borders) == borders:
                mean, steps = load.total / count, len(set(old) ^ set(borders))
                shards = [
                    [w for key, w in load if low <= key < high] for low, high in pairwise([0, *borders, HASH_KEYS])
                ]
                for bound in ((1.15, 1.15), (1.15, 1.3), (1.3, 1.3)):  # of shards, and of keys with one to themselves
                    if all(sum(shard) <= bound[len(shard) == 1] * mean for shard in shards):
                        found[bound] = min(found.get(bound, 99), steps)
    if not found:
        assert plan.ratio_after > 1.3
        return
    bound = min(found)
    assert plan.ratio_after <= max(bound) * (1 + 1e-9)
    assert len(plan.steps) == found[bound]


def zipf(keys, exponent):
    return Load.of_keys({f"N{i}": 1 / (i + 1) ** exponent for i in range(keys)})


@pytest.mark.parametrize(("keys", "exponent", "shards"), [(4000, 0.8, 8), (4000, 1.0, 8), (20_000, 0.75, 40)])
def test_skewed_keys_are_balanced(keys, exponent, shards):
    plan = reshard_steps(ShardMap.uniform(shards), balance=True, load=zipf(keys, exponent))
    assert plan.ratio_before > 1.3
    assert plan.ratio_after <= 1.15
    assert not plan.too_heavy
    assert len(plan.after) == shards


def test_a_key_that_is_too_heavy_is_named_and_gets_a_shard_of_its_own():
    load = Load([(1000, 50), *((at << 110, 1) for at in range(1, 100))])
    plan = reshard_steps(ShardMap.uniform(6), balance=True, load=load)
    assert plan.too_heavy == (1000,)
    heaviest, *others = sorted(load.by_shard(plan.after), reverse=True)
    assert heaviest == 50
    assert max(others) <= 1.15 * load.total / 6


def test_fewer_shards_than_there_are():
    plan = reshard_steps(ShardMap.uniform(10), balance=True, load=zipf(3000, 0.7), max_shards=4)
    assert len(plan.after) == 4
    assert plan.ratio_after <= 1.15
    assert [step.operation for step in plan.steps].count("MergeShards") >= 6


def test_what_is_even_is_left_alone():
    even = Load((at << 120, 1) for at in range(256))
    assert not reshard_steps(ShardMap.uniform(8), balance=True, load=even, max_shards=100).steps
    assert not reshard_steps(ShardMap.uniform(8), balance=True, load=Load([])).steps


def test_many_shards_of_which_most_change(monkeypatch):
    """Beyond so many trials borders are set anew: as even, perhaps with more steps."""
    plan = reshard_steps(ShardMap.uniform(60), balance=True, load=zipf(9000, 0.6))
    monkeypatch.setattr(target, "MOST_TRIALS", 100)
    quick = reshard_steps(ShardMap.uniform(60), balance=True, load=zipf(9000, 0.6))
    assert carried_out(quick) == quick.borders
    assert max(plan.ratio_after, quick.ratio_after) <= 1.3
    assert len(quick.steps) >= len(plan.steps)


@pytest.mark.parametrize(
    ("count", "to", "path"),
    [(2, 16, [4, 8, 16]), (3, 10, [6, 10]), (16, 3, [8, 4, 3]), (7, 4, [4]), (7, 3, [4, 3]), (5, 5, []), (1, 2, [2])],
)
def test_scaling_doubles_and_halves_at_most(count, to, path):
    assert scaling(count, to) == path


def test_the_fewest_calls_of_both_kinds():
    assert [step.operation for step in reshard_steps(ShardMap.uniform(1), to=2).steps] == ["SplitShard"]
    assert [step.operation for step in reshard_steps(ShardMap.uniform(4), to=8).steps] == ["UpdateShardCount"]
    assert len(reshard_steps(ShardMap.uniform(1), to=MOST_SHARDS).steps) == 14
    assert len(reshard_steps(ShardMap.uniform(40), to=3, update_shard_count=False).steps) == 37 + 2 * 2


def test_thousands_of_steps_are_put_in_order():
    old, new = target.even_borders((), 3000), target.even_borders((), 2000)
    assert len(in_order(old, new)) == len(set(old) ^ set(new))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"to": 2, "balance": True},
        {"to": 0},
        {"to": MOST_SHARDS + 1},
        {"balance": True},
        {"balance": True, "load": Load([(1, 1), (2, 1)]), "max_shards": 0},
        {"borders": (5, 5)},
        {"borders": (9, 5)},
        {"borders": (1,)},
        {"borders": (HASH_KEYS - 1,)},
    ],
)
def test_wrong_wishes(wrong):
    with pytest.raises(ValueError, match=r"give one|shards|borders|load"):
        reshard_steps(ShardMap.uniform(2), **wrong)


@pytest.mark.parametrize(
    "step",
    [
        Step("SplitShard", 3, 1),
        Step("SplitShard", 3, HASH_KEYS - 1),
        Step("SplitShard", 3, 1 << 127),
        Step("SplitShard", 3, (1 << 127) + 1),
        Step("MergeShards", 1, 7),
        Step("UpdateShardCount", 5),
    ],
)
def test_steps_that_the_service_refuses(step):
    with pytest.raises(ReshardError):
        step.applied((1 << 127,))
