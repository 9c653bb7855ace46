"""What Aggregator takes, refuses and holds: all of a call or nothing of it, and no reference too many."""

from __future__ import annotations

import array
import gc
import hashlib
import sys
import sysconfig

import pytest
import wire
from aggregate_model import by_shard, expected, sealed_size
from isolated import run

from shardpack import (
    Aggregator,
    InvalidHashKeyError,
    InvalidPartitionKeyError,
    InvalidRecordError,
    Limits,
    RecordTooLargeError,
    ShardMap,
    ShardpackError,
)

native = pytest.mark.native


@pytest.fixture
def aggregator():
    return Aggregator(ShardMap.uniform(3))


GOOD = [(f"key-{i % 5}", b"good %d" % i, i << 100 if i % 3 == 0 else None) for i in range(10)]


def untouched(aggregator, before=()):
    """Whether an aggregator gives just what it was given ``before``, as one would that never saw another call."""
    return by_shard(aggregator.flush()) == expected(before, 3)


# --- what is refused ---

BAD_KEYS = [
    ("", InvalidPartitionKeyError, "empty"),
    (b"", InvalidPartitionKeyError, "empty"),
    ("x" * 257, InvalidPartitionKeyError, "257 characters.* exceeds 256"),
    ("é" * 257, InvalidPartitionKeyError, "257 characters.* exceeds 256"),
    ("\U0001d518" * 257, InvalidPartitionKeyError, "257 characters.* exceeds 256"),
    (b"x" * 257, InvalidPartitionKeyError, "257 characters.* exceeds 256"),
    ("\ud800", InvalidPartitionKeyError, "surrogate"),
    ("key\udfff", InvalidPartitionKeyError, "surrogate"),
    (b"\xff", InvalidPartitionKeyError, "not UTF-8"),
    (b"key\xc3", InvalidPartitionKeyError, "not UTF-8"),
    (b"\xed\xa0\x80", InvalidPartitionKeyError, "not UTF-8"),
    (None, TypeError, "partition key"),
    (7, TypeError, "partition key"),
    (bytearray(b"key"), TypeError, "partition key"),
    (["key"], TypeError, "partition key"),
]
BAD_HASH_KEYS = [
    *(
        (text, InvalidHashKeyError)
        for text in ("abc", "-1", "007", "00", "", "\uff11", "1.0", "+5", " 5", "5\n", "5_0")
    ),
    *((text, InvalidHashKeyError) for text in ("5\0", "0x5", "\ud800", "٣", str(2**128), "9" * 100, "9" * 5000)),
    *((number, InvalidHashKeyError) for number in (2**128, -1, 2**200, -(2**128))),
    *((value, TypeError) for value in (True, False, 1.5, b"5", [5])),
]
BAD_DATA = ["text", 7, None, ["bytes"], object()]


@native
@pytest.mark.parametrize(("key", "error", "says"), BAD_KEYS, ids=repr)
def test_bad_partition_keys(aggregator, key, error, says):
    with pytest.raises(error, match=says):
        aggregator.add(key, b"data")
    with pytest.raises(error, match=rf"^record 2: .*{says}"):
        aggregator.add_many(["a", "b", key, "c"], [b"1", b"2", b"3", b"4"])
    assert untouched(aggregator)


@native
@pytest.mark.parametrize(("value", "error"), BAD_HASH_KEYS, ids=lambda value: repr(value)[:30])
def test_bad_explicit_hash_keys(aggregator, value, error):
    with pytest.raises(error, match="hash key"):
        aggregator.add("key", b"data", value)
    with pytest.raises(error, match=r"^record 1: .*hash key"):
        aggregator.add_many(["a", "b", "c"], [b"1", b"2", b"3"], [None, value, 5])
    assert untouched(aggregator)


@native
@pytest.mark.parametrize("data", BAD_DATA, ids=lambda data: type(data).__name__)
def test_bad_data(aggregator, data):
    with pytest.raises(TypeError, match="data is bytes"):
        aggregator.add("key", data)
    with pytest.raises(TypeError, match=r"^record 1: data is bytes"):
        aggregator.add_many(["a", "b"], [b"1", data])
    assert untouched(aggregator)


@native
def test_errors_have_one_base_and_are_value_errors():
    for error in (InvalidPartitionKeyError, InvalidHashKeyError, RecordTooLargeError):
        assert issubclass(error, InvalidRecordError)
        assert issubclass(error, ShardpackError)
        assert issubclass(error, ValueError)


@native
@pytest.mark.parametrize("limit", [100, 2**20])
@pytest.mark.parametrize("key", ["k", "é" * 20])
def test_a_user_record_fits_the_stream_to_the_byte(limit, key):
    limits = Limits(max_record_bytes=limit)
    fits = bytes(limit - len(key.encode()))
    aggregator = Aggregator(ShardMap.uniform(3), limits=limits)
    aggregator.add(key, fits)
    with pytest.raises(RecordTooLargeError, match=f"{limit + 1:,}.*{key}.*{limit:,}"):
        aggregator.add(key, fits + b"+")
    with pytest.raises(RecordTooLargeError, match=f"^record 1: .*{limit + 1:,}"):
        aggregator.add_many([key, key], [b"", fits + b"+"])
    [raw] = aggregator.flush()
    assert (raw.data, raw.size) == (fits, limit)


@native
@pytest.mark.parametrize("explicit_hash_key", [None, 0, 2**128 - 1])
def test_data_with_the_magic_fits_wrapped_to_the_byte(explicit_hash_key):
    limit = 5000
    aggregator = Aggregator(ShardMap.uniform(3), limits=Limits(max_record_bytes=limit))
    overhead = sealed_size([("key", wire.MAGIC + bytes(4800), explicit_hash_key)]) - 4804
    fits = wire.MAGIC + bytes(limit - overhead - 4)
    assert sealed_size([("key", fits, explicit_hash_key)]) == limit
    with pytest.raises(RecordTooLargeError, match=r"5,001.*magic"):
        aggregator.add("key", fits + b"+", explicit_hash_key)
    with pytest.raises(RecordTooLargeError, match=r"^record 0: .*5,001.*magic"):
        aggregator.add_many(["key"], [fits + b"+"], [explicit_hash_key])
    aggregator.add("key", fits, explicit_hash_key)
    [sealed] = aggregator.flush()
    assert sealed.data == wire.aggregate([("key", fits, explicit_hash_key)])
    assert sealed.size == limit


@native
@pytest.mark.parametrize("position", [0, 1, 1023, 2047, 2048, 2049, 2999])
@pytest.mark.parametrize("fault", ["key", "data", "hash key", "size"])
def test_a_failed_add_many_changes_nothing(position, fault):
    keys, datas, hash_keys = [f"k{i % 40}" for i in range(3000)], [b"x" * 20] * 3000, [None, 5, "6"] * 1000
    if fault == "key":
        keys[position] = ""
    elif fault == "data":
        datas[position] = None
    elif fault == "hash key":
        hash_keys[position] = "-1"
    else:
        datas[position] = bytes(2**20)
    aggregator = Aggregator(ShardMap.uniform(3))
    for user_record in GOOD[:6]:
        aggregator.add(*user_record)
    with pytest.raises((InvalidRecordError, TypeError), match=f"^record {position}: "):
        aggregator.add_many(keys, datas, hash_keys)
    for user_record in GOOD[6:]:
        aggregator.add(*user_record)
    assert untouched(aggregator, GOOD)


@native
@pytest.mark.parametrize(
    ("keys", "datas", "hash_keys"),
    [
        (["a", "b"], [b"1"], None),
        (["a"], [b"1", b"2"], None),
        ([], [b"1"], None),
        (["a", "b"], [b"1", b"2"], [1]),
        (["a"], [b"1"], [1, 2]),
        (["a"], [b"1"], []),
    ],
)
def test_lengths_that_differ_are_refused(aggregator, keys, datas, hash_keys):
    with pytest.raises(ValueError, match=r"\d and \d .*one for one"):
        aggregator.add_many(keys, datas, hash_keys)
    assert untouched(aggregator)


@native
@pytest.mark.parametrize("arguments", [(5, []), ([], 5), (None, None), (["a"], [b"1"], 5)])
def test_what_is_no_iterable_is_refused(aggregator, arguments):
    with pytest.raises(TypeError, match="iterable"):
        aggregator.add_many(*arguments)
    assert untouched(aggregator)


@native
def test_an_iterator_that_fails_leaves_nothing_behind(aggregator):
    def failing():
        yield "a"
        raise LookupError("the source is gone")

    with pytest.raises(LookupError, match="the source is gone"):
        aggregator.add_many(failing(), [b"1", b"2"])
    assert untouched(aggregator)


# --- what is taken ---


@native
@pytest.mark.parametrize("form", [list, tuple, iter, lambda items: (item for item in items)])
def test_lists_tuples_and_iterators(aggregator, form):
    keys, datas, hash_keys = zip(*GOOD, strict=True)
    aggregator.add_many(form(keys), form(datas), form(hash_keys))
    assert untouched(aggregator, GOOD)


@native
@pytest.mark.parametrize(
    "make",
    [bytearray, lambda data: memoryview(bytearray(data)), lambda data: array.array("B", data)],
    ids=["bytearray", "memoryview", "array"],
)
def test_what_can_change_is_copied(aggregator, make):
    datas = [make(b"before") for _ in range(4)]
    aggregator.add("key", datas[0])
    aggregator.add_many(["key"] * 3, datas[1:])
    for data in datas:
        data[:6] = make(b"after!")
    assert untouched(aggregator, [("key", b"before", None)] * 4)


@native
def test_a_bytearray_is_not_kept_from_growing(aggregator):
    data = bytearray(b"before")
    aggregator.add("key", data)
    data += b" and after"
    aggregator.add_many(["key"], [data])
    data.clear()
    assert untouched(aggregator, [("key", b"before", None), ("key", b"before and after", None)])


@native
def test_views_of_wider_items_give_their_bytes(aggregator):
    numbers = array.array("d", [1.5, 2.5])
    aggregator.add("key", numbers)
    assert untouched(aggregator, [("key", numbers.tobytes(), None)])


class Text(str):
    __slots__ = ()

    def __str__(self):
        return "something else"

    def __hash__(self):
        return 1

    def __eq__(self, other):
        return True


class Blob(bytes):
    def __bytes__(self):
        return b"something else"


class Number(int):
    def __str__(self):
        return "12"

    __repr__ = __index__ = __str__


@native
def test_subclasses_are_read_for_what_they_hold(aggregator):
    aggregator.add(Text("clé"), Blob(b"data"), Number(5))
    aggregator.add_many([Blob(b"key"), Text("k" * 256)], [Blob(b"1"), Blob(b"")], [Text("77"), None])
    assert untouched(aggregator, [("clé", b"data", 5), ("key", b"1", 77), ("k" * 256, b"", None)])


@native
@pytest.mark.skipif(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="without a GIL, a list is copied first")
def test_a_list_that_changes_while_it_is_read(aggregator):
    keys, datas = ["a", "b", "c"], [b"1", b"2", b"3"]

    def emptying():
        keys.clear()
        yield from [b"1", b"2", b"3"]

    with pytest.raises(ValueError, match="0 and 3"):
        aggregator.add_many(keys, emptying())

    def growing():
        yield None
        datas.append(b"4")
        yield from [None, None]

    with pytest.raises((ValueError, RuntimeError)):
        aggregator.add_many(["a", "b", "c"], datas, growing())
    assert untouched(aggregator)


# --- references and memory ---


def make_user_records(count=3000):
    """User records whose every object is its own: no interned string, no shared bytes."""
    keys = [f"kéy-{i % 400}" for i in range(count)]
    keys[::3] = [key.encode() for key in keys[::3]]
    return keys, [b"data %d" % i for i in range(count)], [None if i % 4 else str(i) for i in range(count)]


def reference_counts(*lists):
    return [[sys.getrefcount(item) for item in items] for items in lists]


@native
@pytest.mark.parametrize("ending", ["flush", "take and flush", "drop", "fail", "add"])
def test_references_return_to_where_they_were(ending):
    keys, datas, hash_keys = make_user_records()
    before = reference_counts(keys, datas)
    aggregator = Aggregator(ShardMap.uniform(3), max_bytes=5000)
    if ending == "fail":
        with pytest.raises(TypeError):
            aggregator.add_many([*keys, None], [*datas, b""])
    elif ending == "add":
        for i, hash_key in enumerate(hash_keys):
            aggregator.add(keys[i], datas[i], hash_key)
    else:
        aggregator.add_many(keys, datas, hash_keys)
        aggregator.add_many(keys[:100], datas[:100])
    if ending.startswith("take"):
        assert aggregator.take()
    if "flush" in ending:
        aggregator.flush()
        assert reference_counts(keys, datas) == before
    del aggregator
    assert reference_counts(keys, datas) == before


def test_the_cycle_collector_may_take_an_aggregator_apart():
    """As it does with one that an exception's traceback holds."""
    run("""
import gc
from shardpack import Aggregator, ShardMap

class Holder:
    pass

for _ in range(50):
    aggregator = Aggregator(ShardMap.uniform(3), max_bytes=5000)
    aggregator.add_many([f"key-{i}" for i in range(3000)], [b"data"] * 3000)
    holder = Holder()
    holder.itself, holder.aggregator = holder, aggregator
    del aggregator, holder
    gc.collect()
""")


@native
def test_sealed_data_never_changes_while_anyone_holds_it():
    """Large outputs may be filled again, but only once they are out of every hand."""
    aggregator = Aggregator(ShardMap.uniform(3), max_bytes=300_000)
    held = []
    for round_number in range(60):
        keys = [f"key-{i % 50}" for i in range(300)]
        aggregator.add_many(keys, [bytes([round_number]) * (2000 + 10 * round_number)] * 300)
        sealed = aggregator.flush()
        digests = [hashlib.md5(record.data).digest() for record in sealed]
        forms = (sealed[0].data, memoryview(sealed[-1].data), {sealed[1].data: None}, iter(sealed[2].data))
        held.append((forms, digests))
        del sealed
    for (data, view, as_key, characters), digests in held:
        found = (data, view, *as_key, bytes(characters))
        expected_digests = [digests[0], digests[-1], digests[1], digests[2]]
        assert [hashlib.md5(item).digest() for item in found] == expected_digests
        assert set(as_key) == {bytes(bytearray(*as_key))}  # equal bytes have an equal hash


@native
def test_data_filled_again_has_its_own_hash():
    aggregator = Aggregator(ShardMap.uniform(1), max_bytes=300_000)
    for i in range(200):
        datas = [bytes([i]) * 70_000, b"%d" % i * (i % 7)]
        aggregator.add_many(["a", "b"], datas)
        [sealed] = aggregator.flush()
        again = wire.aggregate([("a", datas[0], None), ("b", datas[1], None)])
        assert sealed.data == again
        assert hash(sealed.data) == hash(again)
        assert len(sealed.data) == len(again)


@native
def test_a_long_life_does_not_grow():
    keys, datas, hash_keys = make_user_records(1500)
    aggregator = Aggregator(ShardMap.uniform(3), max_bytes=5000)

    def live(rounds):
        for _ in range(rounds):
            aggregator.add_many(keys, datas, hash_keys)
            with pytest.raises(InvalidPartitionKeyError):
                aggregator.add("", b"")
            aggregator.flush()
        gc.collect()
        return sys.getallocatedblocks()

    live(5)
    after_few = live(1)
    assert live(40) < after_few + 200


@pytest.mark.parametrize("before", [0, 1, 2047, 5000])
@pytest.mark.parametrize("count", [1, 2048, 2049, 30_000])
def test_a_failed_add_many_of_any_size_leaves_every_bucket_as_it_was(before, count):
    """Also when thousands of its records were bucketed, and buckets filled, before the bad one was met."""
    shard_map = ShardMap.uniform(7)
    untouched, tried = (Aggregator(shard_map, max_bytes=2000) for _ in range(2))
    for aggregator in (untouched, tried):
        aggregator.add_many(
            [f"key-{i % 300}" for i in range(before)],
            [b"%d" % i for i in range(before)],
            [i << 100 if i % 5 == 0 else None for i in range(before)],
        )
    with pytest.raises(InvalidPartitionKeyError, match=f"record {count}: "):
        tried.add_many(
            [*(f"other-{i % 500}" for i in range(count)), ""],
            [b"x" * (i % 40) for i in range(count + 1)],
            [i << 90 if i % 3 == 0 else None for i in range(count + 1)],
        )
    for aggregator in (untouched, tried):
        aggregator.add_many([f"key-{i % 301}" for i in range(700)], [b"after"] * 700, list(range(700)))
    assert tried.flush() == untouched.flush()
