"""What deaggregate reads, against the vectors of tests/data and aggregated records written by hand."""

from __future__ import annotations

import json
import logging
import pickle
import sys
import tracemalloc
from datetime import datetime, timezone
from pathlib import Path

import pytest
import wire

from shardpack import (
    MalformedRecordError,
    Shard,
    ShardpackError,
    UserRecord,
    UserRecords,
    deaggregate,
    deaggregate_arrow,
    deaggregate_columns,
    iter_deaggregate,
)

pytestmark = pytest.mark.native

VECTORS = list(map(json.loads, Path(__file__).with_name("data").joinpath("kpl.jsonl").read_bytes().splitlines()))
ARRIVAL = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def of_kind(kind):
    return [pytest.param(vector, id=vector["name"]) for vector in VECTORS if vector["expect"]["kind"] == kind]


def fields(user_records):
    return [(r.partition_key, r.explicit_hash_key, r.data, r.tags) for r in user_records]


def aggregated(*user_records):
    return wire.aggregate([(*record, None)[:3] for record in user_records])


def received(data, sequence_number="4957", partition_key="outer"):
    return {
        "Data": data,
        "PartitionKey": partition_key,
        "SequenceNumber": sequence_number,
        "ApproximateArrivalTimestamp": ARRIVAL,
    }


TWO = aggregated(("a", b"1"), ("b", b"2", 7))
BAD_INDEX = wire.frame(wire.content(1, b"key") + wire.record(0, b"fine") + wire.record(1, b"lost?"))


# --- the vectors ---


def test_the_vectors_are_all_there():
    assert len(VECTORS) == 56
    assert {vector["expect"]["kind"] for vector in VECTORS} == {"records", "raw", "malformed"}


@pytest.mark.parametrize("vector", of_kind("records"))
def test_vectors_that_are_aggregated_records(vector):
    blob = bytes.fromhex(vector["blob"])
    expected = [
        (key, hash_key, bytes.fromhex(data), tuple(tuple(tag) for tag in tags))
        for key, hash_key, data, tags in vector["expect"]["records"]
    ]
    for strict in (False, True):
        found = deaggregate(blob, strict=strict)
        assert fields(found) == expected
        assert [record.sub_sequence_number for record in found] == list(range(len(expected)))
        assert all(record.aggregated for record in found)
        assert all(record.error is None for record in found)


@pytest.mark.parametrize("vector", of_kind("raw"))
def test_vectors_that_are_not_aggregated(vector):
    blob = bytes.fromhex(vector["blob"])
    for strict in (False, True):
        [record] = deaggregate(received(blob), strict=strict)
        assert fields([record]) == [("outer", None, blob, ())]
        assert (record.aggregated, record.sub_sequence_number, record.error) == (False, 0, None)


@pytest.mark.parametrize("vector", of_kind("malformed"))
def test_vectors_that_are_malformed(vector):
    blob = bytes.fromhex(vector["blob"])
    [record] = deaggregate(received(blob))
    assert fields([record]) == [("outer", None, blob, ())]
    assert record.aggregated is False
    assert isinstance(record.error, MalformedRecordError)
    with pytest.raises(MalformedRecordError):
        deaggregate(blob, strict=True)


# --- malformed ---

MALFORMED = {
    "partition key index": (
        wire.content(1, b"key") + wire.record(0, b"fine") + wire.record(1, b"x"),
        "partition key index",
        1,
    ),
    "no table": (wire.record(0, b"x"), "partition key index", 0),
    "partition key index of 2**64 - 1": (wire.content(1, b"k") + wire.record(2**64 - 1, b""), "partition key index", 0),
    "explicit hash key index": (
        wire.content(1, b"key") + wire.content(2, b"1") + wire.record(0, b"x", 0) * 2 + wire.record(0, b"y", 1),
        "explicit hash key index",
        2,
    ),
    "explicit hash key index of 2**64 - 1": (
        wire.content(1, b"key") + wire.record(0, b"y", 2**64 - 1),
        "explicit hash key index",
        0,
    ),
    **{
        f"explicit hash key {text!r}": (
            wire.content(1, b"key") + wire.content(2, text) + wire.record(0, b"x") + wire.record(0, b"x", 0),
            "explicit hash key is not",
            1,
        )
        for text in (b"", b"x", b"-1", b"+1", b"1 ", b"1.0", b"\xff", b"1\x00", "\uff11".encode(), str(2**128).encode())
    },
}


@pytest.mark.parametrize(("message", "says", "index"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_record_comes_back_whole_and_says_where(message, says, index):
    blob = wire.frame(message)
    [record] = deaggregate(blob)
    assert (record.data, record.aggregated) == (blob, False)
    error = record.error
    assert says in str(error)
    assert error.record_index == index
    # the offset is that of a user record's bytes: count records up to it
    starts = [at + 4 for at in field_starts(message, 3)]
    assert starts[index] <= error.offset <= starts[index] + 3
    with pytest.raises(MalformedRecordError, match=says) as raised:
        deaggregate([b"raw", blob], strict=True)
    assert (raised.value.offset, raised.value.record_index) == (error.offset, index)


def field_starts(message, number):
    """Offsets of the top-level fields with this number; all of them length-delimited, tags and lengths short."""
    starts, at = [], 0
    while at < len(message):
        if message[at] >> 3 == number:
            starts.append(at)
        at += 2 + message[at + 1]
    return starts


def test_an_unused_bad_explicit_hash_key_is_no_fault():
    message = wire.content(1, b"key") + wire.content(2, b"x") + wire.content(2, b"5") + wire.record(0, b"d", 1)
    assert fields(deaggregate(wire.frame(message), strict=True)) == [("key", "5", b"d", ())]


def test_one_malformed_record_spoils_no_other():
    found = deaggregate([TWO, BAD_INDEX, b"raw", TWO])
    assert [record.data for record in found] == [b"1", b"2", BAD_INDEX, b"raw", b"1", b"2"]
    assert [record.error is not None for record in found] == [False, False, True, False, False, False]


@pytest.mark.parametrize("call", [deaggregate, deaggregate_columns])
def test_strict_says_which_kinesis_record_it_was(call):
    records = [received(TWO, "111"), received(BAD_INDEX, "222")]
    with pytest.raises(MalformedRecordError, match=r"byte \d+\), in the Kinesis record 222$") as raised:
        call(records, strict=True)
    assert raised.value.source is records[1]
    [record] = deaggregate(records[1])
    assert (raised.value.offset, raised.value.record_index) == (record.error.offset, record.error.record_index)


def test_the_error_is_ours_and_can_travel():
    [record] = deaggregate(BAD_INDEX)
    assert isinstance(record.error, ShardpackError)
    assert isinstance(record.error, ValueError)
    again = pickle.loads(pickle.dumps(record.error))  # noqa: S301 - our own
    assert (str(again), again.offset, again.record_index) == (
        str(record.error),
        record.error.offset,
        record.error.record_index,
    )


# --- the hash range ---


def test_the_hash_range_takes_or_leaves_an_aggregated_record_whole(caplog):
    keys = ["a", "b", "c"]
    positions = sorted(wire.hash_key(key) for key in keys)
    blob = aggregated(*((key, b"d") for key in keys))
    with caplog.at_level(logging.WARNING, "shardpack.consume"):
        whole = deaggregate(blob, hash_range=(positions[0], positions[-1]))
        assert (len(whole), whole.left_out) == (3, 0)
        assert not caplog.records
        for hash_range in [(positions[0] + 1, positions[-1]), (positions[0], positions[-1] - 1), (0, 0)]:
            nothing = deaggregate([blob, blob], hash_range=hash_range)
            assert (nothing, nothing.left_out) == ([], 6)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    for record in caplog.records:
        assert record.getMessage().startswith("left out 6 user records outside the hash range")


def test_the_explicit_hash_key_decides_before_the_partition_key():
    blob = aggregated(("a", b"1", 5), ("b", b"2", 2**128 - 1))
    assert len(deaggregate(blob, hash_range=(5, 2**128 - 1))) == 2
    assert deaggregate(blob, hash_range=(6, 2**128 - 1)).left_out == 2
    assert deaggregate(blob, hash_range=(5, 2**128 - 2)).left_out == 2


@pytest.mark.parametrize("text", [b"007", b"0" * 50 + b"7"])
def test_explicit_hash_keys_with_leading_zeros_count_as_numbers(text):
    blob = wire.frame(wire.content(1, b"key") + wire.content(2, text) + wire.record(0, b"d", 0))
    assert fields(deaggregate(blob, hash_range=(7, 7))) == [("key", text.decode(), b"d", ())]
    assert deaggregate(blob, hash_range=(8, 8)).left_out == 1


def test_a_shard_is_a_hash_range(caplog):
    blob = wire.aggregate([("a", b"1", 5), ("b", b"2", 7)])
    for shard, count in ((Shard("s", 5, 7), 2), (Shard("s", 6, 2**128 - 1), 0)):
        pair = (shard.starting_hash_key, shard.ending_hash_key)
        caplog.clear()
        found = deaggregate(blob, hash_range=shard)
        assert (len(found), found.left_out) == (count, 2 - count)
        assert [record.getMessage()[-len(str(pair[1])) :] for record in caplog.records] == [str(pair[1])] * (count == 0)
        assert list(iter_deaggregate(blob, hash_range=shard)) == found
        assert len(deaggregate_columns(blob, hash_range=shard)) == count
        assert len(deaggregate_arrow(blob, hash_range=shard)) == count


@pytest.mark.parametrize("hash_range", [7, "0-5", [0, 5], {"StartingHashKey": "0"}, "x" * 10**6])
def test_what_is_no_hash_range(hash_range):
    for call in (deaggregate, deaggregate_columns, deaggregate_arrow, lambda *a, **k: list(iter_deaggregate(*a, **k))):
        with pytest.raises(TypeError, match="hash_range is a Shard, or the first and the last hash key") as raised:
            call(TWO, hash_range=hash_range)
        assert len(str(raised.value)) < 300


def test_raw_and_malformed_records_are_never_left_out():
    found = deaggregate([received(b"raw"), BAD_INDEX, TWO], hash_range=(1, 1))
    assert [record.data for record in found] == [b"raw", BAD_INDEX]
    assert found.left_out == 2


def test_keys_in_the_table_that_no_record_uses_do_not_count():
    inside, outside = sorted(("a", "b"), key=wire.hash_key)
    blob = wire.frame(
        wire.content(1, outside.encode())
        + wire.content(1, inside.encode())
        + wire.content(2, b"9")
        + wire.record(1, b"d")
    )
    where = wire.hash_key(inside)
    assert len(deaggregate(blob, hash_range=(where, where))) == 1


@pytest.mark.parametrize("hash_range", [(-1, 5), (0, 2**128), (0, "x")])
def test_a_hash_range_is_of_hash_keys(hash_range):
    with pytest.raises(ValueError, match="hash key"):
        deaggregate(b"raw", hash_range=hash_range)


@pytest.mark.parametrize("call", [deaggregate, deaggregate_columns])
def test_a_hash_range_has_two_ends_in_order(call):
    with pytest.raises(ValueError, match="from 6 to 5 holds no hash key"):
        call(b"raw", hash_range=(6, 5))
    for unlike in ((5,), (5, 6, 7), [5, 6]):
        with pytest.raises(TypeError):
            call(b"raw", hash_range=unlike)


def test_a_hash_range_may_be_text(caplog):
    with caplog.at_level(logging.WARNING, "shardpack.consume"):
        assert deaggregate(TWO, hash_range=("0", "1")).left_out == 2
    assert caplog.records[0].getMessage().endswith("hash range 0 to 1")


def test_without_a_range_nothing_is_left_out():
    assert deaggregate([TWO, b"raw"]).left_out == 0


# --- shapes ---

SHAPES = {
    "bytes": TWO,
    "bytearray": bytearray(TWO),
    "memoryview": memoryview(TWO),
    "one record": received(TWO),
    "records": [received(TWO)],
    "response": {"Records": [received(TWO)], "NextShardIterator": "x", "MillisBehindLatest": 0},
    "tuple of bytes": (TWO,),
    "iterator": iter([received(TWO)]),
    "generator": (item for item in [TWO]),
    "data in a bytearray": [received(bytearray(TWO))],
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_every_shape_gives_the_user_records(shape):
    assert fields(deaggregate(shape)) == [("a", None, b"1", ()), ("b", "7", b"2", ())]


@pytest.mark.parametrize("empty", [[], (), iter([]), {"Records": []}])
def test_nothing_in_nothing_out(empty):
    found = deaggregate(empty)
    assert (found, found.left_out) == ([], 0)
    assert list(iter_deaggregate(empty)) == []


@pytest.mark.parametrize(
    "unknown",
    [
        None,
        5,
        "text",
        {"Foo": 1},
        [None],
        ["text"],
        [5],
        [{"PartitionKey": "a"}],
        {"Data": "text"},
        [[[TWO]]],
        {"Records": 5},
    ],
    ids=repr,
)
def test_shapes_that_are_not_known(unknown):
    with pytest.raises(TypeError):
        deaggregate(unknown)
    with pytest.raises(TypeError):
        list(iter_deaggregate(unknown))


def test_user_records_carry_what_the_kinesis_record_had():
    source = received(TWO, "49")
    for record, key in zip(deaggregate([source]), ("a", "b"), strict=True):
        assert record.partition_key == key
        assert record.sequence_number == "49"
        assert record.approximate_arrival_timestamp is ARRIVAL
        assert record.source is source
    [raw] = deaggregate(received(b"raw", "50"))
    assert (raw.partition_key, raw.sequence_number, raw.approximate_arrival_timestamp) == ("outer", "50", ARRIVAL)
    [alone] = deaggregate(b"raw")
    assert (alone.partition_key, alone.sequence_number, alone.approximate_arrival_timestamp) == (None, None, None)
    assert alone.source is None


def test_order_over_many_kinesis_records():
    """More than are verified together, raw and aggregated by turns."""
    records, expected = [], []
    for i in range(700):
        if i % 3 == 0:
            records.append(b"raw %d" % i)
            expected.append((b"raw %d" % i, 0, False))
        else:
            datas = [b"%d.%d" % (i, j) for j in range(i % 5)]
            records.append(wire.frame(wire.content(1, b"k") + b"".join(wire.record(0, data) for data in datas)))
            expected += [(data, j, True) for j, data in enumerate(datas)]
    for found in (deaggregate(records), list(iter_deaggregate(iter(records)))):
        assert [(r.data, r.sub_sequence_number, r.aggregated) for r in found] == expected


# --- one by one ---


def test_iter_deaggregate_reads_no_further_than_it_must():
    read = []

    def source():
        for i in range(1000):
            read.append(i)
            yield aggregated(("k", b"%d" % i))

    user_records = iter_deaggregate(source())
    assert read == []
    assert next(user_records).data == b"0"
    assert len(read) <= 64
    assert [record.data for record in user_records] == [b"%d" % i for i in range(1, 1000)]


def test_iter_deaggregate_holds_nothing_back():
    """An event stream may be quiet for minutes."""
    arrived = []

    def events():
        for i in range(3):
            arrived.append(i)
            yield {"SubscribeToShardEvent": {"Records": [received(TWO), received(b"raw")]}}
        raise ConnectionError("reset")

    user_records = iter_deaggregate(events())
    for i in range(3):
        assert [next(user_records).data for _ in range(3)] == [b"1", b"2", b"raw"]
        assert arrived == list(range(i + 1))
    with pytest.raises(ConnectionError):
        next(user_records)


@pytest.mark.parametrize("container", [list, iter])
def test_iter_deaggregate_yields_what_was_before_an_error(container):
    for broken, error in ((5, TypeError), ({"kinesis": {"data": "%"}}, ValueError)):
        user_records = iter_deaggregate(container([TWO, b"raw", broken, b"after"]))
        assert [next(user_records).data for _ in range(3)] == [b"1", b"2", b"raw"]
        with pytest.raises(error):
            next(user_records)


def test_iter_deaggregate_raises_the_first_of_two_errors():
    user_records = iter_deaggregate([b"raw", BAD_INDEX, 5], strict=True)
    assert next(user_records).data == b"raw"
    with pytest.raises(MalformedRecordError):
        next(user_records)


def test_iter_deaggregate_is_deaggregate(caplog):
    items = [TWO, b"raw", received(TWO), BAD_INDEX] * 50
    for hash_range in (None, (0, 2**127), (1, 1)):
        with caplog.at_level(logging.WARNING, "shardpack.consume"):
            eager, lazy = (
                deaggregate(items, hash_range=hash_range),
                list(iter_deaggregate(items, hash_range=hash_range)),
            )
        assert [(fields([r]), r.error is None) for r in lazy] == [(fields([r]), r.error is None) for r in eager]
    with pytest.raises(MalformedRecordError):
        list(iter_deaggregate(items, strict=True))


def test_strict_iteration_yields_what_comes_before_the_fault():
    user_records = iter_deaggregate([TWO, b"raw", BAD_INDEX, TWO], strict=True)
    assert [next(user_records).data for _ in range(3)] == [b"1", b"2", b"raw"]
    with pytest.raises(MalformedRecordError):
        next(user_records)


# --- the user record itself ---


def test_user_records_is_a_list():
    found = deaggregate(TWO)
    assert isinstance(found, UserRecords)
    assert isinstance(found, list)
    assert all(type(record) is UserRecord for record in found)


def test_equality_and_hash():
    one, other = deaggregate(received(TWO)), deaggregate(received(TWO))
    assert one == other
    assert [hash(record) for record in one] == [hash(record) for record in other]
    assert one[0] != one[1]
    assert one[0] != deaggregate(received(TWO, "other sequence number"))[0]
    assert one[0] != deaggregate(aggregated(("a", b"other data"), ("b", b"2")))[0]
    assert one[0] != "a user record"
    assert len({*one, *other}) == 2


def test_a_malformed_record_equals_itself_read_again():
    assert deaggregate(BAD_INDEX) == deaggregate(BAD_INDEX)


@pytest.mark.parametrize(
    "item", [received(TWO), TWO, received(b"raw"), BAD_INDEX], ids=["aggregated", "bare", "raw", "malformed"]
)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(item, protocol):
    before = deaggregate(item)
    after = pickle.loads(pickle.dumps(list(before), protocol))  # noqa: S301 - our own
    assert after == list(before)
    assert fields(after) == fields(before)
    for one, other in zip(before, after, strict=True):
        for name in ("sequence_number", "sub_sequence_number", "approximate_arrival_timestamp", "aggregated"):
            assert getattr(one, name) == getattr(other, name)
        assert str(one.error) == str(other.error)
        assert other.source is None
        assert pickle.loads(pickle.dumps(other, protocol)) == one  # noqa: S301 - again


@pytest.mark.parametrize("make", [bytes, received])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_user_record_takes_no_more_than_itself(make, protocol):
    """It goes to other processes without the megabyte it came in."""
    blob = wire.frame(wire.content(1, b"key") + b"".join(wire.record(0, b"d" * 100) for _ in range(5000)))
    record = deaggregate(make(blob))[4000]
    pickled = pickle.dumps(record, protocol)
    assert len(pickled) < 1000
    assert fields([pickle.loads(pickled)]) == fields([record])  # noqa: S301 - our own


def test_many_that_were_pickled_take_little_memory():
    """What user records of one Kinesis record have in common they have in common again."""
    before = deaggregate(received(aggregated(*(("key", b"%d" % i) for i in range(10_000)))))
    pickled = pickle.dumps(list(before))
    tracemalloc.start()
    after = pickle.loads(pickled)  # noqa: S301 - our own
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after == list(before)
    assert size < 450 * len(after)  # four objects each, the bytes of data one of them


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("made", [deaggregate_columns(b"raw"), deaggregate_arrow(b"raw")], ids=type)
def test_columns_and_batches_do_not_pickle(made, protocol):
    with pytest.raises(TypeError, match=f"{type(made).__name__}.* not pickle"):
        pickle.dumps(made, protocol)


def test_repr_names_what_matters():
    first, second = deaggregate(received(TWO, "49"))
    assert "'a'" in repr(first)
    assert "b'1'" in repr(first)
    assert "49" in repr(first)
    assert "sub_sequence_number=1" in repr(second)
    [raw] = deaggregate(b"x" * 1000)
    assert len(repr(raw)) < 200
    [malformed] = deaggregate(BAD_INDEX)
    assert "index" in repr(malformed)


def test_reprs_and_errors_are_cut():
    """Keys, sequence numbers and payloads are as long as strangers make them."""
    many = "x" * 2_000_000
    blob = wire.aggregate([(many, b"y" * 2_000_000, None)])
    for record in (blob, received(blob, many), received(b"raw", many, many), received(BAD_INDEX, many)):
        assert len(repr(deaggregate(record)[0])) < 1000
    for call in (deaggregate, deaggregate_columns):
        with pytest.raises(MalformedRecordError) as raised:
            call(received(BAD_INDEX, many), strict=True)
        assert len(str(raised.value)) < 400

    class Number(int):
        def __repr__(self):
            return many

        __str__ = __format__ = lambda *_: many

    for hash_range in ((Number(6), Number(5)), (many, 5, 5), (Number(1),) * 3):
        with pytest.raises((TypeError, ValueError)) as refused:
            deaggregate(b"raw", hash_range=hash_range)
        assert len(str(refused.value)) < 400


def test_user_records_are_read_only():
    [record] = deaggregate(b"raw")
    for name in ("data", "partition_key", "explicit_hash_key", "tags", "error", "aggregated", "sequence_number"):
        with pytest.raises(AttributeError):
            setattr(record, name, None)
    with pytest.raises(TypeError):
        UserRecord()


def test_data_is_copied_out_of_what_can_change():
    for blob in (bytearray(b"raw data"), bytearray(TWO)):
        before = bytes(blob)
        found = deaggregate(blob)
        blob[:] = b"x" * len(blob)
        blob.extend(b"more")
        assert fields(found) == fields(deaggregate(before))
        assert all(type(record.data) is bytes for record in found)


# --- text ---


@pytest.mark.parametrize("key", [b"\xff", b"ok\xed\xa0\x80", b"\x80\x81", "clé\U00010348".encode(), b"", b"\0"])
def test_keys_and_tags_that_are_not_utf8_keep_their_bytes(key):
    tags = wire.content(4, wire.content(1, key) + wire.content(2, key))
    [record] = deaggregate(wire.frame(wire.content(1, key) + wire.record(0, b"d", None, tags)))
    assert record.partition_key.encode("utf-8", "surrogateescape") == key
    assert [[text.encode("utf-8", "surrogateescape") for text in tag] for tag in record.tags] == [[key, key]]


def test_tags():
    tags = (
        wire.tag("a", "1")
        + wire.tag("b")
        + wire.tag("a", "")
        + wire.content(4, wire.content(2, b"v") + wire.content(1, b"k"))
    )
    [record] = deaggregate(wire.frame(wire.content(1, b"key") + wire.record(0, b"d", None, tags)))
    assert record.tags == (("a", "1"), ("b", None), ("a", ""), ("k", "v"))


# --- cost ---


def test_memory_follows_what_was_found():
    """A table entry may take two bytes of message: a megabyte of them must not take a hundred."""
    blob = wire.frame(wire.content(1, b"") * 500_000 + wire.content(2, b"") * 10 + wire.record(499_999, b"d"))
    tracemalloc.start()
    found = deaggregate(blob)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert fields(found) == [("", None, b"d", ())]
    assert peak < 10 * len(blob)


def test_a_hostile_megabyte_makes_as_many_objects_as_it_has_records():
    """Many tags that no record owns, one key used by all: nothing is built twice."""
    key = "k" * 200
    count = 20_000
    blob = wire.frame(wire.content(1, key.encode()) + wire.record(0, b"") * count)
    before = sys.getallocatedblocks()
    found = deaggregate(blob)
    assert len(found) == count
    assert sys.getallocatedblocks() - before < count + 1000
    assert len({id(record.partition_key) for record in found}) == 1
