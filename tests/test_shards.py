"""The shard map, against plain integers."""

from __future__ import annotations

import pickle
import random
from array import array
from bisect import bisect_right

import pytest
import wire
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_view import as_array

from shardpack import InvalidHashKeyError, InvalidPartitionKeyError, Shard, ShardMap, ShardMapError, hash_keys

native = pytest.mark.native

END = 2**128


def described(start, end, shard_id="shardId-0", **more):
    """A shard as ListShards describes it."""
    return {
        "ShardId": shard_id,
        "HashKeyRange": {"StartingHashKey": str(start), "EndingHashKey": str(end)},
        "SequenceNumberRange": {"StartingSequenceNumber": "1"},
        **more,
    }


def closed(start, end, shard_id):
    range_ = {"StartingSequenceNumber": "1", "EndingSequenceNumber": "2"}
    return described(start, end, shard_id, SequenceNumberRange=range_)


def map_of(starts):
    """A map of the ranges between ``starts``, which are ascending and begin with 0."""
    ends = [*(start - 1 for start in starts[1:]), END - 1]
    return ShardMap(Shard(f"shard-{i}", start, end) for i, (start, end) in enumerate(zip(starts, ends, strict=True)))


def check(shard_map, starts, hash_keys_):
    for hash_key in hash_keys_:
        index = shard_map.index_of(hash_key)
        assert index == bisect_right(starts, hash_key) - 1
        assert hash_key in shard_map[index]
    assert list(shard_map.assign(["any"] * len(hash_keys_), hash_keys_)) == [
        bisect_right(starts, hash_key) - 1 for hash_key in hash_keys_
    ]


def edges(starts):
    return sorted({h for start in starts for h in (start - 1, start, start + 1) if 0 <= h < END} | {END - 1, END - 2})


# --- the map ---


@native
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 10, 16, 100, 127, 1000, 10_000])
def test_a_new_stream_is_split_as_the_service_splits_it(count):
    shard_map = ShardMap.uniform(count)
    starts = [i * (2**128 // count) for i in range(count)]
    assert len(shard_map) == count
    assert [shard.starting_hash_key for shard in shard_map] == starts
    assert [shard.ending_hash_key for shard in shard_map] == [*(start - 1 for start in starts[1:]), END - 1]
    assert [shard.shard_id for shard in shard_map] == [f"shardId-{i:012d}" for i in range(count)]
    check(shard_map, starts, edges(starts))


@native
@pytest.mark.parametrize("count", [1, 2, 3, 17, 1000, 10_000])
def test_random_ranges_and_hash_keys(count):
    rng = random.Random(count)
    starts = sorted({0} | {rng.randrange(END) >> rng.choice((0, 0, 1, 60, 64, 100, 127)) for _ in range(count - 1)})
    check(map_of(starts), starts, edges(starts) + [rng.randrange(END) for _ in range(5000)])


@native
def test_ranges_as_narrow_as_one_hash_key():
    starts = [0, *range(1, 50), 2**64 - 1, 2**64, 2**64 + 1, *range(2**127, 2**127 + 50), END - 2, END - 1]
    check(map_of(starts), starts, edges(starts))


@native
@pytest.mark.parametrize("power", range(1, 128))
def test_a_split_at_any_bit(power):
    starts = [0, 2**power]
    check(map_of(starts), starts, edges(starts))


@native
@settings(max_examples=200, deadline=None)
@given(st.sets(st.integers(1, END - 1), max_size=60), st.lists(st.integers(0, END - 1), max_size=60))
def test_any_ranges(cuts, hash_keys_):
    starts = [0, *sorted(cuts)]
    check(map_of(starts), starts, edges(starts) + hash_keys_)


@native
def test_many_shards_in_a_narrow_part():
    starts = [0, *range(2**100, 2**100 + 10_000)]
    check(map_of(starts), starts, edges(starts[::100]))


@native
def test_shards_come_in_any_order_and_closed_ones_are_left_out():
    half = 2**127
    shards = [
        described(half, END - 1, "b"),
        closed(0, END - 1, "parent"),
        described(0, half - 1, "a"),
        closed(half, END - 1, "another parent"),
    ]
    shard_map = ShardMap.from_shards(shards)
    assert list(shard_map) == [Shard("a", 0, half - 1), Shard("b", half, END - 1)]
    assert shard_map[-1].shard_id == "b"
    assert ShardMap.from_shards(iter(shards)) == shard_map


@native
def test_shards_without_a_sequence_number_range_are_open():
    shard = described(0, END - 1)
    del shard["SequenceNumberRange"]
    assert len(ShardMap.from_shards([shard])) == 1


@native
@pytest.mark.parametrize(
    ("shards", "says"),
    [
        ([], "no open shard"),
        ([closed(0, END - 1, "a")], "no open shard"),
        ([described(1, END - 1, "a")], r"gap between the first hash key and a: 0 to 0\b"),
        ([described(0, END - 2, "a")], rf"gap after a: {END - 1} to {END - 1}"),
        ([described(0, 9, "a"), described(11, END - 1, "b")], r"gap between a and b: 10 to 10\b"),
        ([described(0, 10, "a"), described(10, END - 1, "b")], r"a and b overlap: both hold 10\b"),
        ([described(0, END - 1, "a"), described(0, END - 1, "b")], "overlap"),
        ([described(0, END - 1, "a"), described(5, 6, "b")], "a and b overlap"),
        ([described(0, 5, "a"), described(6, END, "b")], "b has no hash range"),
        ([described(-1, END - 1, "a")], "a has no hash range"),
        ([described(0, 9, "a"), described(10, 9, "b"), described(10, END - 1, "c")], "b has no hash range"),
    ],
)
def test_maps_that_do_not_cover_every_hash_key_once(shards, says):
    with pytest.raises(ShardMapError, match=says):
        ShardMap.from_shards(shards)


@native
@pytest.mark.parametrize("count", [0, -1])
def test_a_stream_has_a_shard(count):
    with pytest.raises(ShardMapError, match=str(count)):
        ShardMap.uniform(count)


@native
def test_maps_compare_hash_and_travel():
    one, other = ShardMap.uniform(5), ShardMap.uniform(5)
    assert one == other
    assert hash(one) == hash(other)
    assert one != ShardMap.uniform(6)
    assert one != "a map"
    again = pickle.loads(pickle.dumps(one))  # noqa: S301 - our own
    assert again == one
    assert list(again.assign(["a"])) == list(one.assign(["a"]))
    assert "5 shards" in repr(one)


@native
@pytest.mark.parametrize("bad", [-1, END, "x", "007", ""])
def test_index_of_a_bad_hash_key(bad):
    with pytest.raises(InvalidHashKeyError):
        ShardMap.uniform(3).index_of(bad)


# --- assign ---


@native
@pytest.mark.parametrize("count", [0, 1, 2, 1023, 1024, 1025, 4000])
@pytest.mark.parametrize("form", [list, tuple, iter])
def test_assign_by_partition_key(count, form):
    keys = [f"kéy-{i}" if i % 2 else b"key-%d" % i for i in range(count)]
    found = ShardMap.uniform(7).assign(form(keys))
    assert isinstance(found, array)
    assert (found.typecode, found.itemsize) == ("i", 4)
    assert list(found) == [min(wire.hash_key(key) // (END // 7), 6) for key in keys]


@native
def test_assign_by_explicit_hash_key_where_there_is_one():
    keys = [f"key-{i}" for i in range(3000)]
    explicit = [None if i % 3 == 0 else (i << 116 if i % 3 == 1 else str(i << 116)) for i in range(3000)]
    found = ShardMap.uniform(9).assign(iter(keys), iter(explicit))
    expected = [min(wire.hash_key(*pair) // (END // 9), 8) for pair in zip(keys, explicit, strict=True)]
    assert list(found) == expected


@native
@pytest.mark.parametrize("position", [0, 5, 1500])
def test_assign_names_the_record_at_fault(position):
    shard_map = ShardMap.uniform(3)
    keys, explicit = ["key"] * 2000, [None] * 2000
    for key, error in (("", InvalidPartitionKeyError), ("\ud800", InvalidPartitionKeyError), (5, TypeError)):
        with pytest.raises(error, match=f"^record {position}: "):
            shard_map.assign([*keys[:position], key, *keys[position:]])
    for value, error in ((-1, InvalidHashKeyError), ("01", InvalidHashKeyError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match=f"^record {position}: "):
            shard_map.assign(keys, [*explicit[:position], value, *explicit[position + 1 :]])


@native
@pytest.mark.parametrize("explicit", [[], [1], [1, 2, 3]])
def test_lengths_that_differ(explicit):
    with pytest.raises(ValueError, match="one for one"):
        ShardMap.uniform(3).assign(["a", "b"], explicit)


@native
def test_no_keys_and_an_explicit_hash_key():
    with pytest.raises(ValueError, match="one for one"):
        ShardMap.uniform(3).assign([], [1])


@native
@pytest.mark.parametrize("arguments", [(5,), (None,), (["a"], 5)])
def test_what_is_no_iterable(arguments):
    with pytest.raises(TypeError, match="iterable"):
        ShardMap.uniform(3).assign(*arguments)


def test_numpy_takes_the_assignment_without_a_copy():
    found = ShardMap.uniform(3).assign(["a", "b", "c"])
    view, address = as_array(found)
    assert (view.dtype.name, view.shape) == ("int32", (3,))
    assert address == found.buffer_info()[0]


@native
def test_hash_keys_and_assign_agree():
    keys = [f"key-{i}" for i in range(5000)]
    shard_map = ShardMap.uniform(13)
    assert list(shard_map.assign(keys)) == [shard_map.index_of(hash_key) for hash_key in hash_keys(keys)]
