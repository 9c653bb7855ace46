"""What is taken apart is freed again, whatever holds what, and the cycle collector is left as it was."""

from __future__ import annotations

import contextlib
import gc
import weakref

import pytest
import wire

from shardpack import MalformedRecordError, deaggregate, deaggregate_columns, iter_deaggregate

pytestmark = [pytest.mark.native, pytest.mark.usefixtures("small_heap")]

TWO = wire.aggregate([("a", b"1", None), ("b", b"2", None)])
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
