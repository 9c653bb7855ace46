"""What is taken apart is freed again, whatever holds what, and the cycle collector is left as it was."""

from __future__ import annotations

import contextlib
import gc
import tracemalloc
import weakref
from datetime import datetime, timezone

import pytest
import wire

from shardpack import MalformedRecordError, deaggregate, deaggregate_columns, iter_deaggregate

pytestmark = [pytest.mark.native, pytest.mark.usefixtures("small_heap")]

TWO = wire.aggregate([("a", b"1", None), ("b", b"2", None)])
ARRIVED = datetime(2026, 11, 20, 6, 31, 15, tzinfo=timezone.utc)
BAD_INDEX = wire.frame(wire.content(1, b"a") + wire.record(1, b"d"))


def received(data):
    return {"Data": data, "PartitionKey": "outer", "SequenceNumber": "49"}


def test_an_error_that_was_raised_holds_nothing():
    """Its traceback holds frames, and those the user record: neither may hold the error."""

    class Canary:
        pass

    def fail(call):
        canary = Canary()
        gone.append(weakref.ref(canary))
        found = deaggregate([received(BAD_INDEX), BAD_INDEX])
        with contextlib.suppress(MalformedRecordError):
            call(found)
        assert canary

    def raise_it(found):
        raise found[0].error

    gone: list = []
    fail(raise_it)
    for records in ([BAD_INDEX], [received(BAD_INDEX)]):
        fail(lambda _, records=records: deaggregate(records, strict=True))
        fail(lambda _, records=records: list(iter_deaggregate(records, strict=True)))
        fail(lambda _, records=records: deaggregate_columns(records, strict=True))
    gc.collect()
    assert [ref() for ref in gone] == [None] * 7


@pytest.mark.parametrize("call", [deaggregate, iter_deaggregate, deaggregate_columns])
def test_a_cycle_through_a_kinesis_record_is_collected(call):
    """Who adds what came out to what went in."""

    class Record(dict):
        pass

    for data in (TWO, b"raw"):
        record = Record(received(data))
        record["found"] = call([record, record])
        if call is iter_deaggregate:
            next(record["found"])
        gone = weakref.ref(record)
        del record
        gc.collect()
        assert gone() is None


@pytest.mark.parametrize("enabled", [True, False])
def test_the_cycle_collector_is_left_as_it_was(enabled):
    (gc.enable if enabled else gc.disable)()
    try:
        deaggregate([TWO] * 3)
        assert gc.isenabled() == enabled
        with pytest.raises(MalformedRecordError):
            deaggregate([TWO, BAD_INDEX], strict=True)
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


@pytest.mark.parametrize("data", [TWO, BAD_INDEX, b"raw"])
def test_a_detached_user_record_is_equal_and_keeps_nothing_of_its_kinesis_record(data):
    class Record(dict):
        pass

    record = Record(received(data), ApproximateArrivalTimestamp=ARRIVED)
    gone = weakref.ref(record)
    found = deaggregate([record])
    assert found[-1].source is record
    expected = fields(found[-1])
    detached = found[-1].detach()
    assert detached == found[-1]
    assert hash(detached) == hash(found[-1])
    del record, found
    gc.collect()
    assert gone() is None
    assert detached.source is None
    assert fields(detached) == expected
    assert fields(detached.detach()) == expected


def test_one_that_is_kept_keeps_a_megabyte_unless_it_is_detached():
    """Python's own allocator counts: the Kinesis records are bytes objects."""
    blobs = [wire.aggregate([(f"{i}", bytes(100_000), None) for i in range(10)]) for _ in range(8)]
    kept = []
    for detach in (False, True):
        tracemalloc.start()
        user_records = [deaggregate(bytes(bytearray(blob)))[3] for blob in blobs]
        kept.append([record.detach() if detach else record for record in user_records])
        del user_records
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (size > 8 * 900_000) is not detach, size
        assert size > 8 * 100_000 or not detach
    assert kept[0] == kept[1]


def fields(record):
    names = [
        name for name in dir(record) if not name.startswith("_") and name not in {"source", "detach", "error", "object"}
    ]
    return {name: getattr(record, name) for name in names} | {"error": str(record.error)}
