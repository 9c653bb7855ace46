"""What an Aggregator is made of: a real ShardMap, real limits, once; and what its bounds are by default."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
import wire
from aggregate_model import by_shard, expected
from isolated import run

from shardpack import Aggregator, Limits, ShardMap

native = pytest.mark.native

MIB = 2**20


class DuckMap:
    """It does what a ShardMap does, without being one."""

    def __init__(self, table=None):
        self._table = table
        self._shards = ()

    def __len__(self):
        return 1


@native
@pytest.mark.parametrize(
    "shard_map",
    [DuckMap(), DuckMap(ShardMap.uniform(1)._table), None, [], "shards", {"Shards": []}, object(), ShardMap],
    ids=lambda value: type(value).__name__,
)
def test_a_shard_map_is_a_shard_map(shard_map):
    with pytest.raises(TypeError, match=r"an Aggregator is made for a ShardMap(, not \w+)?: .*from_shards"):
        Aggregator(shard_map)


@native
def test_a_shard_map_without_its_table():
    class Hollow(ShardMap):
        def __init__(self):
            self._table = None

    with pytest.raises(TypeError, match="ShardTable"):
        Aggregator(Hollow())
    with pytest.raises((TypeError, AttributeError)):
        Aggregator(ShardMap.__new__(ShardMap))


@native
@pytest.mark.parametrize(
    "largest", [2**40, 2**62, 2**63, 10**5000, 0, -1, MIB, 1.5, "5"], ids=lambda value: type(value).__name__
)
def test_limits_are_limits(largest):
    duck = SimpleNamespace(max_record_bytes=largest, max_request_bytes=largest, max_request_records=500)
    with pytest.raises(TypeError, match="limits are a Limits, not SimpleNamespace"):
        Aggregator(ShardMap.uniform(1), limits=duck)


class Changing(Limits):
    """It says one thing when it is looked at, and another thing from then on."""

    __slots__ = ("_said",)

    def __init__(self, *says):
        object.__setattr__(self, "_said", iter(says))

    @property
    def max_record_bytes(self):
        return next(self._said)


class Agreeable(int):
    def true(self, *_arguments):
        return True

    __lt__ = __le__ = __gt__ = __ge__ = true

    def __format__(self, spec):
        return "9" * 1_000_000


@native
def test_limits_that_change_their_mind_are_read_once():
    aggregator = Aggregator(ShardMap.uniform(1), limits=Changing(5000, 2**40, 2**62))
    assert aggregator.max_bytes == 5000
    with pytest.raises(ValueError, match=r"5,001 bytes .*exceeds the stream's 5,000"):
        aggregator.add("k", bytes(5000))


@native
@pytest.mark.parametrize(
    "largest", [2**40, 2**62, 2**80, 10**5000, 0, -1, Agreeable(2**40)], ids=lambda value: type(value).__name__
)
def test_limits_of_no_service(largest):
    with pytest.raises(ValueError, match=r"max_record_bytes of .* is not between 1 and 10,485,760") as raised:
        Aggregator(ShardMap.uniform(1), limits=Changing(largest, largest))
    assert len(str(raised.value)) < 200


@native
@pytest.mark.parametrize("name", ["max_bytes", "max_records"])
def test_bounds_are_whole_numbers(name):
    for wrong in (1.5, "5", b"5", [5]):
        with pytest.raises(TypeError, match=f"{name} is a whole number, not ") as raised:
            Aggregator(ShardMap.uniform(1), **{name: wrong})
        assert len(str(raised.value)) < 200
    for wrong in (0, -1, 2**40, 2**63, -(2**80), 10**5000, Agreeable(2**40), Agreeable(0)):
        with pytest.raises(ValueError, match=f"{name} of .* is not between 1 and ") as raised:
            Aggregator(ShardMap.uniform(1), **{name: wrong})
        assert len(str(raised.value)) < 200
    aggregator = Aggregator(ShardMap.uniform(1), **{name: Agreeable(500)})
    assert type(getattr(aggregator, name)) is int


# --- 1 MiB, whatever the stream takes ---

RAISED = Limits.for_stream({"MaxRecordSizeInKiB": 10 * 1024})


@native
def test_aggregated_records_of_a_raised_stream_stay_within_a_mebibyte():
    """Lambda takes no event of 10 MiB, nor do many consumers; who wants larger ones says so."""
    assert RAISED.max_record_bytes == 10 * MIB
    user_records = [(f"key-{i % 9}", b"x" * 9000, None) for i in range(700)]
    for options, largest in (({}, MIB), ({"max_bytes": 3 * MIB}, 3 * MIB), ({"max_bytes": 10 * MIB}, 10 * MIB)):
        aggregator = Aggregator(ShardMap.uniform(1), limits=RAISED, **options)
        assert aggregator.max_bytes == largest
        aggregator.add_many([key for key, _, _ in user_records], [data for _, data, _ in user_records])
        found = aggregator.flush()
        assert by_shard(found) == expected(user_records, max_bytes=largest)
        assert max(record.size for record in found) <= largest
    assert Aggregator(ShardMap.uniform(1), limits=Limits(max_record_bytes=700)).max_bytes == 700
    assert Aggregator(ShardMap.uniform(1)).max_bytes == MIB


@native
def test_a_user_record_above_the_default_still_fits_a_raised_stream():
    large = b"L" * (5 * MIB)
    aggregator = Aggregator(ShardMap.uniform(1), limits=RAISED)
    aggregator.add_many(["a", "b", "c", "d"], [b"1", b"2", large, b"3"])
    found = aggregator.flush()
    assert [record.user_record_count for record in found] == [2, 1, 1]
    assert (found[1].data, found[1].partition_key) == (large, "c")


# --- only once ---


@native
def test_a_second_init_changes_nothing():
    user_records = [(f"key-{i}", b"%d" % i, None) for i in range(40_000)]
    keys, datas = [key for key, _, _ in user_records], [data for _, data, _ in user_records]
    shard_map, other = ShardMap.uniform(3), ShardMap.uniform(500)
    aggregator = Aggregator(shard_map, max_bytes=5000)
    aggregator.add_many(keys[:39_000], datas[:39_000])
    for arguments, options in (((other,), {"max_bytes": 9}), ((), {}), ((None,), {}), ((other, 5), {"nothing": 1})):
        with contextlib.suppress(TypeError):
            aggregator.__init__(*arguments, **options)
    aggregator.add_many(keys[39_000:], datas[39_000:])
    assert (aggregator.shard_map, aggregator.max_bytes) == (shard_map, 5000)
    assert by_shard(aggregator.flush()) == expected(user_records, 3, max_bytes=5000)


@native
def test_a_shard_map_made_again_leaves_its_aggregators_alone():
    user_records = [(f"key-{i}", b"%d" % i, None) for i in range(2000)]
    shard_map = ShardMap.uniform(3)
    aggregator = Aggregator(shard_map)
    aggregator.add_many([key for key, _, _ in user_records[:1000]], [data for _, data, _ in user_records[:1000]])
    shard_map.__init__(ShardMap.uniform(500))
    assert list(shard_map.assign(["key-0"])) == [wire.hash_key("key-0") // (2**128 // 500)]
    aggregator.add_many([key for key, _, _ in user_records[1000:]], [data for _, data, _ in user_records[1000:]])
    assert by_shard(aggregator.flush()) == expected(user_records, 3)


MADE_AGAIN = """
import sys, threading
from shardpack import Aggregator, ShardMap

sys.setswitchinterval(1e-6)
shard_map, maps = ShardMap.uniform(4), [ShardMap.uniform(count) for count in (1, 4, 300)]
aggregator = Aggregator(shard_map, max_bytes=1000)
keys, datas = [f"key-{i}" for i in range(40_000)], [b"data"] * 40_000
done = False

def again():
    while not done:
        for other in maps:
            shard_map.__init__(other)
            for arguments in ((other,), (shard_map,), ()):
                try:
                    aggregator.__init__(*arguments)
                except TypeError:
                    pass

thread = threading.Thread(target=again)
thread.start()
try:
    for _ in range(15):
        aggregator.add_many(keys, datas)
        assert sum(record.user_record_count for record in aggregator.flush()) == len(keys)
        assert max(shard_map.assign(keys)) < 300
finally:
    done = True
    thread.join()
"""


def test_a_second_init_from_another_thread():
    run(MADE_AGAIN)


INTERNALS = """
import shardpack._native.{module} as module

for made in {made}:
    thing = getattr(module, made[0])(*made[1:])
    for arguments in ((), (None,), ([],), ([0, 5],), ([0] * 9, 1), (2**40,)):
        try:
            thing.__init__(*arguments)
        except TypeError:
            pass
    repr(thing)
    {use}
"""


@pytest.mark.parametrize(
    ("module", "made", "use"),
    [
        ("shard_table", [("ShardTable", [0, 5, 2**127])], "assert list(thing.assign(['k'], [2**128 - 1])) == [2]"),
        ("intake", [("Intake", 1000)], "del thing"),
        ("outputs", [("Outputs",)], "del thing"),
        ("keys", [("KeyBytes",)], "del thing"),
    ],
)
def test_a_second_init_of_what_is_inside(module, made, use):
    run(INTERNALS.format(module=module, made=made, use=use))


def test_how_many_user_records_it_holds():
    aggregator = Aggregator(ShardMap.uniform(4), max_records=3)
    assert len(aggregator) == 0
    aggregator.add("a", b"1")
    with pytest.raises(TypeError):
        aggregator.add_many(["b", "c"], [b"2", "3"])
    assert len(aggregator) == 1
    aggregator.add_many([f"key-{i}" for i in range(100)], [b"x"] * 100)
    taken = sum(record.user_record_count for record in aggregator.take())
    assert 0 < taken < 101
    assert len(aggregator) == 101 - taken
    assert repr(aggregator).endswith(f"with {101 - taken} user records>")
    assert sum(record.user_record_count for record in aggregator.flush()) == 101 - taken
    assert len(aggregator) == 0
