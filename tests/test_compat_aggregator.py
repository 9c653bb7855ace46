"""The drop-in's aggregator beside the original's: the same records but for its defects.

The defects are listed in docs/migrate/from-aws-kinesis-agg.md.
"""

from __future__ import annotations

import copy
import inspect
import pickle
import threading

import aws_original
import protobuf_oracle
import pytest
import wire
from hypothesis import given
from hypothesis import strategies as st
from in_threads import in_threads

from shardpack import deaggregate
from shardpack.compat import aws_kinesis_agg as package
from shardpack.compat.aws_kinesis_agg import aggregator as ours
from shardpack.errors import RecordTooLargeError

original = aws_original.aggregator

pytestmark = pytest.mark.native

LIMIT = 1024 * 1024
FRAME_SIZE = 20


def state(aggregator):
    return aggregator.get_num_user_records(), aggregator.get_size_bytes()


def contents(record):
    return None if record is None else (record.get_contents(), record.get_partition_key(), *state(record))


def add_all(aggregator, user_records):
    """Everything that an aggregator says and gives while it takes these."""
    said = []
    for user_record in user_records:
        full = aggregator.add_user_record(*user_record)
        said.append((contents(full), state(aggregator), aggregator.current_record.get_explicit_hash_key()))
    said.append(contents(aggregator.clear_and_get()))
    return said


class Bytes(bytes):
    """As numpy has a class of its own for."""


@pytest.mark.parametrize("data", [Bytes(b"data"), b"data"])
@pytest.mark.parametrize("key", [Bytes(b"key"), "key"])
def test_subclasses_of_bytes_are_bytes(data, key):
    for module in (original, ours):
        record = module.AggRecord()
        assert record.add_user_record(key, data, Bytes(b"7"))
        [found] = deaggregate(record.get_contents()[2])
        assert (found.data, found.partition_key, found.explicit_hash_key) == (b"data", "key", "7")


def test_the_size_may_be_a_fraction_and_change():
    for module in (original, ours):
        record = module.AggRecord(100.5)
        assert record.add_user_record(b"key", bytes(40))
        assert not record.add_user_record(b"key", bytes(40))
        record.max_size = 150
        assert record.add_user_record(b"key", bytes(40))
        assert module.RecordAggregator(0.9 * 1024 * 1024).add_user_record(b"key", b"data") is None


keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
hash_keys = st.one_of(st.none(), st.integers(0, 2**128 - 1).map(str))
user_records = st.lists(st.tuples(keys, st.binary(max_size=100) | st.text(max_size=20), hash_keys), max_size=60)


def as_bytes(user_records):
    return [(key.encode(), data, hash_key and hash_key.encode()) for key, data, hash_key in user_records]


@given(user_records, st.sampled_from([240, 241, 300, 500, 2_000, LIMIT]))
def test_the_same_of_bytes(user_records, max_size):
    user_records = as_bytes(user_records)
    mine, theirs = (add_all(module.RecordAggregator(max_size), user_records) for module in (ours, original))
    assert mine == theirs


@given(user_records)
def test_the_same_record_of_text(user_records):
    mine, theirs = ours.AggRecord(), original.AggRecord()
    for user_record in user_records:
        assert mine.add_user_record(*user_record) is theirs.add_user_record(*user_record) is True
    assert mine.get_contents() == theirs.get_contents()
    assert [mine.get_partition_key(), mine.get_explicit_hash_key()] == [
        theirs.get_partition_key(),
        theirs.get_explicit_hash_key(),
    ]


@given(user_records.filter(bool))
def test_protobuf_and_shardpack_read_it(user_records):
    record = ours.AggRecord()
    for user_record in user_records:
        record.add_user_record(*user_record)
    blob = record.get_contents()[2]
    expected = [
        (key, data.encode() if isinstance(data, str) else data, hash_key) for key, data, hash_key in user_records
    ]
    assert blob == protobuf_oracle.serialize(expected)
    found = deaggregate(blob, strict=True)
    assert [(r.partition_key, r.data, r.explicit_hash_key) for r in found] == expected
    assert all(r.aggregated for r in found)


@given(user_records, st.sampled_from([240, 300, 2_000]))
def test_sizes_are_exact_and_limits_are_kept(user_records, max_size):
    aggregator = ours.RecordAggregator(max_size)
    taken = 0
    for user_record in user_records:
        if full := aggregator.add_user_record(*user_record):
            assert full.get_size_bytes() == len(full.get_contents()[2]) <= max_size
            taken += full.get_num_user_records()
        current = aggregator.current_record
        assert current.get_size_bytes() == len(current.get_contents()[2]) == aggregator.get_size_bytes() <= max_size
    assert taken + aggregator.get_num_user_records() == len(user_records)


def test_an_empty_record():
    mine, theirs = ours.AggRecord(), original.AggRecord()
    assert mine.get_contents() == theirs.get_contents()
    assert mine.get_partition_key() is mine.get_explicit_hash_key() is theirs.get_explicit_hash_key() is None
    assert state(mine) == state(theirs) == (0, FRAME_SIZE)
    assert ours.RecordAggregator().clear_and_get() is None


def test_key_sets():
    for module in (original, ours):
        keys = module.KeySet()
        assert [keys.add_key(key) for key in "abab"] == [(True, 0), (True, 1), (False, 0), (False, 1)]
        assert [keys.get_potential_index(key) for key in "abc"] == [0, 1, 2]
        assert [keys.contains(key) for key in ("a", "c", None)] == [True, False, False]
        assert (keys.keys, keys.lookup) == (["a", "b"], {"a": 0, "b": 1})
        keys.clear()
        assert (keys.keys, keys.lookup) == ([], {})


def test_constants():
    for name in ("MAGIC", "DIGEST_SIZE", "MAX_BYTES_PER_RECORD"):
        assert getattr(package, name) == getattr(aws_original.package, name)


@pytest.mark.parametrize("name", ["RecordAggregator", "AggRecord", "KeySet"])
def test_the_methods_of_the_original(name):
    mine, theirs = getattr(ours, name), getattr(original, name)
    for method, function in inspect.getmembers(theirs, inspect.isfunction):
        if method == "__init__" or not method.startswith("_"):
            parameters = inspect.signature(function).parameters.values()
            found = inspect.signature(getattr(mine, method)).parameters.values()
            assert [(p.name, p.default) for p in found] == [(p.name, p.default) for p in parameters]
    for attribute in vars(theirs()):
        assert attribute.startswith("_") or attribute == "agg_record" or hasattr(mine(), attribute)


def test_max_size_is_at_most_that_of_a_record():
    for module in (original, ours):
        with pytest.raises(ValueError):
            module.RecordAggregator(LIMIT + 1)
        assert module.RecordAggregator(LIMIT).max_size == LIMIT


def pickled(record):
    return pickle.loads(pickle.dumps(record))  # noqa: S301


@pytest.mark.parametrize(("module", "copied"), [(original, copy.deepcopy), (ours, copy.deepcopy), (ours, pickled)])
def test_records_can_be_copied(module, copied):
    record = module.AggRecord()
    record.add_user_record("a", b"1", "5")
    made = copied(record)
    assert contents(made) == contents(record)
    made.add_user_record("a", b"2")
    assert (made.get_num_user_records(), record.get_num_user_records()) == (2, 1)
    assert record.get_size_bytes() == len(record.get_contents()[2])


def test_many_threads_have_one_each():
    added = [(f"key-{i % 90}", bytes(i % 50), str(i) if i % 5 == 0 else None) for i in range(3_000)]
    expected = add_all(ours.RecordAggregator(20_000), added)
    assert sum(len(deaggregate(full[0][2])) for full, *_ in expected[:-1] if full) == 3_000 - expected[-1][2]
    assert in_threads(4, lambda: add_all(ours.RecordAggregator(20_000), added)) == 4 * [expected]


# --- callbacks ---

FILLING = [("a", b"x" * 100), ("b", b"y" * 100), ("c", b"z" * 100)]


@pytest.mark.parametrize("module", [original, ours])
def test_callbacks_on_threads_of_their_own(module):
    aggregator = module.RecordAggregator(200)
    called = []
    done = threading.Barrier(3)

    def callback(name):
        def call(record):
            called.append((name, contents(record), threading.get_ident() == main))
            done.wait(10)

        return call

    main = threading.get_ident()
    aggregator.on_record_complete(callback("first"))
    aggregator.on_record_complete(callback("second"), execute_on_new_thread=True)
    assert aggregator.add_user_record(*FILLING[0]) is None
    full = aggregator.add_user_record(*FILLING[1])
    done.wait(10)
    assert sorted(called) == [("first", contents(full), False), ("second", contents(full), False)]
    aggregator.clear_callbacks()
    assert aggregator.callbacks == []


@pytest.mark.parametrize("module", [original, ours])
def test_callbacks_on_the_callers_thread_come_before_the_next_record(module):
    aggregator = module.RecordAggregator(200)
    called = []
    aggregator.on_record_complete(
        lambda record: called.append((record, threading.get_ident(), aggregator.get_num_user_records())), False
    )
    full = [aggregator.add_user_record(*user_record) for user_record in FILLING]
    assert full[0] is None
    assert called == [(record, threading.get_ident(), 1) for record in full[1:]]
    assert aggregator.get_num_user_records() == 1
    assert full[1] is not aggregator.current_record


@pytest.mark.parametrize("module", [original, ours])
def test_when_a_callback_raises_the_user_record_was_not_taken(module):
    aggregator = module.RecordAggregator(200)
    given = []

    def fails(record):
        given.append(record)
        record.add_user_record("of the callback", b"")
        raise OSError

    aggregator.on_record_complete(fails, False)
    aggregator.add_user_record(*FILLING[0])
    before = contents(aggregator.current_record)
    with pytest.raises(OSError):
        aggregator.add_user_record(*FILLING[1])
    assert contents(aggregator.current_record) == before
    assert given[0] is not aggregator.current_record
    aggregator.clear_callbacks()
    assert contents(aggregator.add_user_record(*FILLING[1])) == before


# --- defects of the original, and what happens here ---


@pytest.mark.parametrize("beyond", range(1, FRAME_SIZE + 1))
def test_a_record_close_to_the_limit_is_refused_and_not_lost(beyond):
    data = b"x" * 100
    alone = len(wire.aggregate([("key", data, None)]))
    theirs = original.RecordAggregator(alone - beyond)
    assert theirs.add_user_record("key", data).get_num_user_records() == theirs.get_num_user_records() == 0
    aggregator = ours.RecordAggregator(alone - beyond)
    with pytest.raises(RecordTooLargeError, match=f"makes an aggregated record of {alone} bytes") as error:
        aggregator.add_user_record("key", data)
    assert isinstance(error.value, ValueError)  # which the original raises from 20 bytes further on
    aggregator.add_user_record("k", b"")
    before = contents(aggregator.current_record)
    with pytest.raises(ValueError):
        aggregator.add_user_record("key", data)
    assert contents(aggregator.current_record) == before
    assert ours.RecordAggregator(alone).add_user_record("key", data) is None


def test_keys_of_text_count_once():
    records = {module: module.AggRecord() for module in (original, ours)}
    for record in records.values():
        for i in range(100):
            record.add_user_record("a key of 21 character", b"%3d" % i, "1234567890")
    real = len(records[ours].get_contents()[2])
    assert records[original].get_contents() == records[ours].get_contents()
    assert records[original].get_size_bytes() > 3 * real
    assert records[ours].get_size_bytes() == real


def test_a_key_is_one_key_as_text_and_as_bytes():
    mine, theirs = ours.AggRecord(), original.AggRecord()
    for record in (mine, theirs):
        record.add_user_record("key", b"1", "5")
        record.add_user_record(b"key", b"2", b"5")
    assert mine.get_contents()[2] == wire.aggregate([("key", b"1", 5), ("key", b"2", 5)])
    assert [*map(values, deaggregate(mine.get_contents()[2]))] == [*map(values, deaggregate(theirs.get_contents()[2]))]


def values(user_record):
    return user_record.partition_key, user_record.data, user_record.explicit_hash_key


@pytest.mark.parametrize("key", ["k" * 256, "\U0001d518" * 256])
def test_a_full_record_and_its_key_are_what_kinesis_accepts(key):
    aggregator = ours.RecordAggregator()
    while (full := aggregator.add_user_record(key, b"x" * 1000)) is None:
        pass
    room = LIMIT - full.get_size_bytes() - len(key.encode())
    assert 0 <= room < 1000 + 10
    sealed = copy.deepcopy(full)
    while not full.add_user_record(key, b"x" * room):
        room -= 1
    _, _, blob = full.get_contents()
    assert len(blob) + len(key.encode()) == LIMIT
    assert not sealed.add_user_record(key, b"x" * (room + 1))


def test_the_original_counts_no_outer_key():
    user_record = b"k" * 250, b"x" * (LIMIT - 300)
    theirs = original.AggRecord()
    assert theirs.add_user_record(*user_record)
    assert len(theirs.get_contents()[2]) + 250 > LIMIT
    with pytest.raises(RecordTooLargeError):
        ours.AggRecord().add_user_record(*user_record)


def test_a_max_size_beyond_a_record_is_the_callers_business():
    record = ours.AggRecord(2 * LIMIT)
    assert record.add_user_record("k", b"x" * LIMIT)
    assert len(record.get_contents()[2]) == record.get_size_bytes() > LIMIT


def test_a_callback_is_called_once_however_often_it_was_registered():
    calls = {}
    for module in (original, ours):
        calls[module] = []
        aggregator = module.RecordAggregator(200)
        for execute_on_new_thread in (True, False, False):
            aggregator.on_record_complete(calls[module].append, execute_on_new_thread)
        if module is original:
            aggregator.callbacks.pop(0)  # the one on a thread
        aggregator.add_user_record(*FILLING[0])
        aggregator.add_user_record(*FILLING[1])
    assert [len(calls[module]) for module in (original, ours)] == [2, 1]


def test_clear():
    record = original.AggRecord()
    with pytest.raises(AttributeError):
        record.clear()
    record = ours.AggRecord(200)
    record.add_user_record("a", b"x" * 100, "5")
    record.clear()
    assert contents(record) == contents(ours.AggRecord(200))
    assert record.add_user_record("b", b"y" * 100) is True
    assert record.get_contents() == ("b", None, wire.aggregate([("b", b"y" * 100, None)]))


@pytest.mark.parametrize(
    ("user_record", "error"),
    [
        ((b"\xff", b""), UnicodeDecodeError),
        ((b"k", b"", b"\xff"), UnicodeDecodeError),
        (("\ud800", b""), UnicodeEncodeError),
        (("k", "\ud800"), UnicodeEncodeError),
        ((None, b""), TypeError),
        (("k", None), TypeError),
        (("k", 5), TypeError),
        (("k", b"", 5), TypeError),
        (("k", b"", 0), TypeError),
    ],
)
def test_a_user_record_that_is_refused_leaves_nothing_behind(user_record, error):
    for module in (original, ours):
        record = module.AggRecord()
        record.add_user_record("a", b"1")
        before = contents(record)
        with pytest.raises(error):
            record.add_user_record(*user_record)
        if module is ours:
            assert contents(record) == before


def test_the_original_keeps_half_of_a_user_record_that_it_refused():
    record = original.AggRecord()
    with pytest.raises(UnicodeDecodeError):
        record.add_user_record(b"\xff", b"")
    assert record.get_num_user_records() == 1


def test_an_empty_explicit_hash_key_is_none_and_takes_no_room():
    mine, theirs = ours.AggRecord(), original.AggRecord()
    for record in (mine, theirs):
        record.add_user_record(b"k", b"d", b"")
    assert mine.get_contents() == theirs.get_contents()
    assert mine.get_size_bytes() == len(theirs.get_contents()[2]) < theirs.get_size_bytes()
