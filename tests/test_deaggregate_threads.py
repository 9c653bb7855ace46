"""Objects that were never made, lists that change while they are read, and many threads at one record."""

from __future__ import annotations

import contextlib
import copyreg
import gc
import os
import pickle
import sysconfig
import threading
from pathlib import Path

import isolated
import pytest
import wire
from in_threads import in_threads

from shardpack import UserRecord, deaggregate, deaggregate_arrow, deaggregate_columns
from shardpack._native.arrow import UserRecordBatch, batch_of_columns
from shardpack._native.columns import Columns, columns_of_received
from shardpack._native.compat import GrowingMessage, Template, append_user_records, index_received, template_of
from shardpack._native.deaggregate import ReceivedRecord, deaggregate_received
from shardpack.consume.shapes import Origin

pytestmark = [pytest.mark.native, pytest.mark.usefixtures("small_heap")]

TWO = wire.aggregate([("a", b"1", None), ("b", b"2", 7)])
MANY = wire.aggregate([(f"key-{i}", b"%d" % i, i) for i in range(1_000)])

WITH_TESTS = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])


def received(blob, shape=lambda _: Origin("outer", "49")):
    return ReceivedRecord(blob, shape)


# --- what is made inside ---


@pytest.mark.parametrize("kind", [UserRecord, Columns, UserRecordBatch, Template])
def test_what_is_made_inside_is_made_by_nobody_else(kind):
    ways = [
        kind,
        lambda: kind.__new__(kind),
        lambda: object.__new__(kind),
        lambda: copyreg._reconstructor(kind, object, None),
        lambda: copyreg.__newobj__(kind),
        lambda: type("Sub", (kind,), {}),
    ]
    for make in ways:
        with pytest.raises(TypeError):
            make()


def test_internal_classes_that_only_the_collector_shows_are_made_by_nobody_either():
    batch = deaggregate_arrow(TWO)
    views = [batch.columns.parents.obj, *gc.get_referents(batch)]
    kinds = {type(view) for view in views if type(view).__module__.startswith("shardpack._native")}
    assert {kind.__name__ for kind in kinds} >= {"Memory", "Buffers"}
    for kind in kinds:
        with pytest.raises(TypeError):
            kind.__new__(kind)


def test_what_is_made_of_data_needs_data():
    with pytest.raises(TypeError):
        ReceivedRecord.__new__(ReceivedRecord)
    for other in (None, 5, "text"):
        with pytest.raises(TypeError):
            ReceivedRecord(other)
    empty = GrowingMessage.__new__(GrowingMessage)
    assert (empty.size, empty.fields()) == (0, [])
    assert empty.add(b"data", b"key", 0, True, max_size=100)


def test_a_second_init_changes_nothing():
    record = received(TWO)
    found: list[UserRecord] = []
    deaggregate_received([record], None, False, found)
    columns = columns_of_received([record], None, False)
    for made, arguments in (
        (record, (b"other",)),
        (found[0], ()),
        (columns, ()),
        (batch_of_columns(columns), ()),
        (GrowingMessage(), ([b"x"],)),
    ):
        type(made).__init__(made, *arguments)
    assert record.data == TWO
    assert [(one.data, one.partition_key) for one in found] == [(b"1", "a"), (b"2", "b")]
    assert (bytes(columns.data), columns.partition_keys) == (b"12", ["a", "b"])


@pytest.mark.parametrize("other", [None, b"raw", UserRecord, Origin()])
def test_lists_of_something_else_are_refused(other):
    for call in (
        lambda items: deaggregate_received(items, None, False, []),
        lambda items: columns_of_received(items, None, False),
        index_received,
    ):
        for items in ([other], [received(TWO), other], other, (received(TWO),)):
            with pytest.raises(TypeError):
                call(items)


def test_pickles_that_lie_make_an_error():
    function, arguments = deaggregate(TWO)[0].__reduce__()
    for i in range(len(arguments)):
        for wrong in (None, 5, "text", [1], object()):
            changed = [*arguments[:i], wrong, *arguments[i + 1 :]]
            try:
                record = function(*changed)
            except (TypeError, AttributeError):
                continue
            for use in (repr, hash, pickle.dumps, lambda record: record == record):  # noqa: PLR0124
                with contextlib.suppress(TypeError, AttributeError, pickle.PicklingError):
                    use(record)


# --- lists that change ---


def test_a_list_that_a_shape_empties_is_read_as_it_was():
    """Reading an origin is the caller's code."""

    def shape(_):
        records.clear()
        gc.collect()
        return Origin("outer", "49")

    bad = wire.frame(wire.content(1, b"a") + wire.record(1, b"d"))
    for call in (
        lambda records: columns_of_received(records, None, False),
        lambda records: batch_of_columns(columns_of_received(records, None, False)),
    ):
        records = [received(blob, shape) for blob in (b"raw", TWO, bad, b"raw", TWO)]
        assert len(call(records)) == 7
        assert records == []
    for call in (columns_of_received, lambda *arguments: deaggregate_received(*arguments, [])):
        records = [received(blob, shape) for blob in (TWO, bad, b"raw")]
        with pytest.raises(ValueError, match="in the Kinesis record 49"):
            call(records, None, True)


def test_a_shape_that_deaggregates_the_same_record_again():
    def shape(_):
        found: list[UserRecord] = []
        deaggregate_received([record, record], None, False, found)
        inner.extend(found)
        return Origin("outer", "49")

    inner: list[UserRecord] = []
    record = received(TWO, shape)
    columns = columns_of_received([record, received(b"raw", shape), record], None, False)
    outer: list[UserRecord] = []
    deaggregate_received([record], None, False, outer)
    assert [one.sequence_number for one in outer] == ["49"] * 2
    assert {one.data for one in inner} == {b"1", b"2"}
    assert columns.partition_keys == ["a", "b", "outer", "a", "b"]


def test_what_was_found_stays_where_it_is_when_the_record_is_read_again():
    record = received(MANY)
    found: list[UserRecord] = []
    for _ in range(3):
        deaggregate_received([record], None, False, found)
        columns_of_received([record], (0, 1), False)
        index_received([record])
    assert [one.data for one in found] == 3 * [b"%d" % i for i in range(1_000)]
    assert [one.explicit_hash_key for one in found] == 3 * [str(i) for i in range(1_000)]


# --- many threads ---


def test_one_record_taken_apart_by_many_threads():
    blob = wire.aggregate([(f"key-{i}", bytes(300), i) for i in range(1_000)])  # large enough for the GIL to go

    for _ in range(5):
        record = received(blob)

        def call(record=record):
            found: list[UserRecord] = []
            deaggregate_received([record] * 2, None, False, found)
            columns = columns_of_received([record] * 2, None, False)
            return [one.partition_key for one in found], columns.partition_keys, [one.data for one in found[:1000]]

        for keys, table, datas in in_threads(4, call):
            assert keys == table == 2 * [f"key-{i}" for i in range(1_000)]
            assert datas == [bytes(300)] * 1_000


def test_fields_made_by_many_threads_are_the_same_objects():
    for _ in range(5):
        found = deaggregate([{"Data": MANY, "PartitionKey": "k", "SequenceNumber": "49"}])
        columns = deaggregate_columns(MANY)

        def read(found=found, columns=columns):
            return (
                [(one.data, one.partition_key, one.explicit_hash_key) for one in found],
                columns.partition_keys,
                columns.explicit_hash_keys,
            )

        first, *others = in_threads(4, read)
        assert all(other == first for other in others)
        assert [data for data, _, _ in first[0]] == [b"%d" % i for i in range(1_000)]
        assert first[1] == [f"key-{i}" for i in range(1_000)]
        assert all(other[1] is first[1] and other[2] is first[2] for other in others)


def test_a_list_that_others_change_meanwhile():
    records = [received(MANY) for _ in range(40)]
    stop = threading.Event()

    def change():
        while not stop.is_set():
            records.extend([received(b"raw"), received(TWO)])
            del records[:1]
            del records[41:]
            records.insert(0, received(MANY))

    threads = [threading.Thread(target=change) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            found: list[UserRecord] = []
            deaggregate_received(records, None, False, found)
            assert all(one.data is not None for one in found)
            columns = columns_of_received(records, None, False)
            assert columns.offsets[len(columns)] == len(columns.data)
            index_received(records)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_one_template_used_by_many_threads():
    record = ReceivedRecord(MANY, None, {"kinesis": {"sequenceNumber": "49"}})
    index_received([record])
    template = template_of(record)

    def build():
        out: list[dict[str, object]] = []
        append_user_records([template] * 5, out)
        return out

    first, *others = in_threads(4, build)
    assert len(first) == 5_000
    assert all(other == first for other in others)
    assert [one["kinesis"]["partitionKey"] for one in first[:1_000]] == [f"key-{i}" for i in range(1_000)]


# --- no memory ---

FAILING = """
import _testcapi
import wire
from shardpack import deaggregate, deaggregate_arrow, deaggregate_columns

blob = wire.aggregate([(f"key-{i}", b"data", i) for i in range(1_000)])
expected = [f"key-{i}" for i in range(1_000)]

def demand(call, check):
    failures = 0
    for start in [*range(100), *range(100, 4_000, 7)]:
        made = call()
        _testcapi.set_nomemory(start, start + 1)
        try:
            check(made)
        except MemoryError:
            failures += 1
        finally:
            _testcapi.remove_mem_hooks()
        assert check(made), start
    assert failures

demand(lambda: deaggregate_columns(blob), lambda columns: columns.partition_keys == expected)
demand(lambda: deaggregate_columns(blob), lambda columns: columns.explicit_hash_keys == [str(i) for i in range(1_000)])
demand(lambda: deaggregate(blob), lambda found: [one.partition_key for one in found] == expected)
demand(lambda: [blob, b"raw"], lambda records: len(deaggregate(records)) == 1_001)
demand(lambda: [blob, b"raw"], lambda records: len(deaggregate_arrow(records)) == 1_001)
"""


def test_lists_of_keys_are_whole_or_not_there_when_memory_is_short():
    pytest.importorskip("_testcapi")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("free-threaded CPython 3.13 crashes by itself where memory is short")
    isolated.run(FAILING, PYTHONPATH=WITH_TESTS)


SMALL_STACK = """
import threading, wire
from shardpack import deaggregate, deaggregate_columns
blob = wire.aggregate([(f"key-{i}", b"data", i) for i in range(1_000)])
records = [blob, b"raw"] * 300
threading.stack_size(128 << 10)
found = []
for call in (lambda: len(deaggregate(records)), lambda: len(deaggregate_columns(records, hash_range=(0, 5)))):
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
assert found == [300_300, 300], found
"""


def test_a_thread_with_a_small_stack():
    isolated.run(SMALL_STACK, PYTHONPATH=WITH_TESTS)
