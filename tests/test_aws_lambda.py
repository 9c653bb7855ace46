"""Handlers as Lambda runs them: the events of AWS's documentation in, partial batch responses out."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sqlite3
from functools import partial
from pathlib import Path
from types import GeneratorType
from unittest.mock import AsyncMock, MagicMock, Mock, NonCallableMock

import numpy as np
import pybase64
import pytest
from aws_lambda_powertools.utilities.data_classes import KinesisStreamEvent, event_source
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.parser.models import KinesisDataStreamModel
from isolated import python
from lambda_events import PLAIN, VECTORS, aggregated, event_of, retried, sequence_numbers

import shardpack
from shardpack.consume.aws_lambda import each_user_record, user_record_batches

KPL, PUT = aggregated("kpl/keys-0")
SECOND, PUT_SECOND = aggregated("kpl/keys-1")
MALFORMED = bytes.fromhex(VECTORS["malformed/pk-index-out-of-range"]["blob"])
ALL_WELL = {"batchItemFailures": []}


def failed_at(event, place):
    return {"batchItemFailures": [{"itemIdentifier": sequence_numbers(event)[place]}]}


class Function:
    """A handler that remembers what it handled, and fails at the data it is told to, so many times."""

    def __init__(self, *poison: bytes, times: int = 1) -> None:
        self.left = dict.fromkeys(poison, times)
        self.handled: list[bytes] = []

    def each(self, record, context):
        assert context == "context"
        if self.left.get(record.data, 0):
            self.left[record.data] -= 1
            raise RuntimeError("poison")
        self.handled.append(record.data)


# --- in a process that has nothing but shardpack ---


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """Run a module's ``handler`` on an event, where Python has no packages but ours and pybase64."""
    packages = tmp_path_factory.mktemp("packages")
    for package in (shardpack, pybase64):
        folder = Path(package.__file__).parent
        packages.joinpath(folder.name).symlink_to(folder)

    def run(source: str, event: dict):
        code = f"{source}\nimport json, sys\nprint(json.dumps(handler(json.loads(sys.argv[1]), None)))"
        done = python("-S", "-W", "error", "-c", code, json.dumps(event), PYTHONPATH=str(packages))
        assert done.returncode == 0, done.stderr
        *printed, response = done.stdout.splitlines()
        return printed, json.loads(response), done.stderr

    return run


EACH = """
from shardpack.consume.aws_lambda import each_user_record
@each_user_record
def handler(record, context):
    if record.data.hex() == {poison!r}:
        raise ValueError("poison")
    print(record.data.hex())
"""
BATCHES = """
from shardpack.consume.aws_lambda import user_record_batches
@user_record_batches(max_records=7)
def handler(records, context):
    for i, record in enumerate(records):
        if record.data.hex() == {poison!r}:
            return records[i:]
        print(record.data.hex())
"""
handlers = pytest.mark.parametrize("source", [EACH, BATCHES], ids=["each", "batches"])


@handlers
def test_the_event_of_the_documentation(bare, source):
    printed, response, logged = bare(source.format(poison=None), PLAIN)
    assert [bytes.fromhex(line) for line in printed] == [b"Hello, this is a test.", b"This is only a test."]
    assert (response, logged) == (ALL_WELL, "")


@handlers
def test_aggregated_records(bare, source):
    event = event_of(KPL, b"plain", SECOND)
    printed, response, _ = bare(source.format(poison=None), event)
    assert [bytes.fromhex(line) for line in printed] == [*PUT, b"plain", *PUT_SECOND]
    assert response == ALL_WELL


@handlers
@pytest.mark.parametrize("place", [0, 1, 9, 20])
def test_a_failure_names_its_kinesis_record_and_ends_the_invocation(bare, source, place):
    event = event_of(b"plain", SECOND, b"after")
    printed, response, logged = bare(source.format(poison=PUT_SECOND[place].hex()), event)
    assert [bytes.fromhex(line) for line in printed] == [b"plain", *PUT_SECOND[:place]]
    assert response == failed_at(event, 1)
    assert f"{sequence_numbers(event)[1]}/{place} of shardId-000000000006" in logged
    assert ("ValueError: poison" in logged) is (source is EACH)


def test_a_cold_start_loads_little(bare):
    source = "import sys\n" + EACH.format(poison=None) + "inner = handler\n"
    source += "def handler(*a):\n    r = inner(*a); print(*sys.modules); return r\n"
    printed, _, _ = bare(source, event_of(KPL))
    assert not set(printed[-1].split()) & {"typing", "logging", "dataclasses", "inspect", "datetime", "traceback"}


# --- one by one ---


def test_what_fails_is_retried_until_all_is_handled():
    function = Function(PUT[3], b"plain", times=2)
    handler = each_user_record(function.each)
    event, turns = event_of(KPL, b"plain", SECOND), 0
    while event is not None:
        event = retried(event, handler(event, "context"))
        turns += 1
    assert turns == 5
    # at least once and in order; what stood before the failure in its Kinesis record, again with each try
    assert function.handled == [*PUT[:3], *PUT[:3], *PUT, b"plain", *PUT_SECOND]


def test_the_hooks_keep_a_retry_from_handling_again():
    store: dict[tuple, int] = {}
    asked = []

    def remember(failed):
        store[failed.shard_id, failed.sequence_number] = failed.sub_sequence_number

    def recall(first):
        asked.append(first.sequence_number)
        return store.get((first.shard_id, first.sequence_number))

    function = Function(PUT[3], PUT[30], PUT_SECOND[0], times=2)
    handler = each_user_record(on_partial=remember, resume_at=recall)(function.each)
    event, turns = event_of(b"plain", KPL, SECOND), 0
    a, b = sequence_numbers(event)[1:]
    while event is not None:
        event = retried(event, handler(event, "context"))
        turns += 1
    assert turns == 7
    assert function.handled == [b"plain", *PUT, *PUT_SECOND]
    assert store == {("shardId-000000000006", a): 30}  # of the second nothing was handled before it failed
    assert asked == [a] * 4 + [b] * 2  # nobody asks for a plain record


def test_user_records_beyond_the_end_are_not_missed():
    function = Function()
    event = event_of(KPL, SECOND)
    assert each_user_record(resume_at=lambda _: 10**6)(function.each)(event, "context") == ALL_WELL
    assert function.handled == PUT_SECOND


def test_a_hook_that_fails_does_not_cost_the_response(caplog):
    def broken(_):
        raise OSError("no table")

    event = event_of(b"plain", KPL)
    function = Function(PUT[3])
    assert each_user_record(on_partial=broken)(function.each)(event, "context") == failed_at(event, 1)
    assert "no table" in caplog.text
    function.handled.clear()
    with pytest.raises(OSError, match="no table"):
        each_user_record(resume_at=broken)(function.each)(event_of(KPL), "context")
    assert function.handled == []


def test_the_first_record_fails():
    event = event_of(b"poison", b"plain")
    function = Function(b"poison")
    assert each_user_record(function.each)(event, "context") == failed_at(event, 0)
    assert function.handled == []


@pytest.mark.parametrize("decorate", [each_user_record, user_record_batches])
def test_an_event_without_records_calls_nobody(decorate):
    def handler(*_):
        raise AssertionError

    assert decorate(handler)({"Records": []}, None) == ALL_WELL
    assert decorate(handler)([], None) == ALL_WELL


def test_a_malformed_record_comes_to_the_handler():
    seen = []
    handler = each_user_record(lambda record, _: seen.append((record.data, str(record.error))))
    assert handler(event_of(MALFORMED), None) == ALL_WELL
    [(data, error)] = seen
    assert data == MALFORMED
    assert "outside the table" in error


@pytest.mark.parametrize("decorate", [each_user_record, user_record_batches])
@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt])
def test_what_ends_a_process_is_let_through(decorate, end):
    def handler(*_):
        raise end

    with pytest.raises(end):
        decorate(handler)(PLAIN, None)


def test_the_failure_is_logged_with_its_traceback(caplog):
    each_user_record(Function(PUT[3]).each)(event_of(KPL), "context")
    [record] = caplog.records
    assert (record.name, record.levelno) == ("shardpack.consume", logging.ERROR)
    assert "RuntimeError: poison" in caplog.text


def test_the_event_of_a_pipe():
    event = event_of(b"plain", KPL)
    records = [record.pop("kinesis") | record for record in event_of(b"plain", KPL)["Records"]]
    function = Function(PUT[0])
    assert each_user_record(function.each)(records, "context") == failed_at(event, 1)
    assert function.handled == [b"plain"]


@pytest.mark.parametrize(
    ("event", "what"),
    [
        (PLAIN | {"window": {}, "state": {}}, "tumbling window"),
        (PLAIN | {"window": {"start": "2020-12-09T07:00:00Z"}, "state": {}}, "tumbling window"),
        ({"records": []}, r"not a mapping with \['records'\]"),
        ({str(i): i for i in range(10**5)}, r"not a mapping with \['0', '1', .*…\]"),
        (None, "expected the event of a Kinesis event source mapping, not NoneType"),
        (17, "expected the event of a Kinesis event source mapping, not int"),
        ({"Records": None}, "the records of a response or an event are a list, not NoneType"),
        ([[PLAIN["Records"][0]]], "record 0: cannot deaggregate list"),
        ({"Records": [{"body": "sqs", "eventSource": "aws:sqs"}]}, "cannot deaggregate a mapping"),
        ({"Records": [{"dynamodb": {}}]}, "cannot deaggregate a mapping"),
    ],
)
def test_other_events_are_refused(event, what):
    with pytest.raises(TypeError, match=what):
        each_user_record(Function().each)(event, "context")


@pytest.mark.parametrize("decorate", [each_user_record, user_record_batches])
def test_handlers_that_a_call_does_not_run_are_refused(decorate):
    async def coroutine(*_): ...

    def generator(*_):
        yield

    async def both(*_):
        yield

    for handler in coroutine, generator, both:
        with pytest.raises(TypeError, match=f"{handler.__name__}.* is async or a generator"):
            decorate(handler)


@pytest.mark.parametrize("handler", [None, "handler", 17, [print]])
def test_what_is_no_function_is_refused(handler):
    for decorate in (each_user_record, user_record_batches, each_user_record(), user_record_batches(max_records=5)):
        with pytest.raises(TypeError, match=r"a handler is a function that takes .*, not "):
            decorate(handler)


def test_handlers_that_did_not_run_have_failed(caplog):
    """Those that cannot be told before they are called."""

    async def coroutine(*_): ...

    def generator(*_):
        yield

    async def both(*_):
        yield

    class Handler:
        async def __call__(self, *_): ...

    class Awaitable:
        def __await__(self):
            yield

    async def scheduled():
        future = asyncio.get_running_loop().create_future()
        try:
            return each_user_record(lambda *_: future)(event, "context")
        finally:
            future.cancel()

    event = event_of(b"plain", KPL)
    for indirect in (*map(partial, (coroutine, generator, both)), Handler(), lambda *_: Awaitable()):
        handler = each_user_record(indirect)
        assert handler(event, "context") == failed_at(event, 0)
        assert "which has handled nothing yet" in caplog.text
        caplog.clear()
    assert asyncio.run(scheduled()) == failed_at(event, 0)
    assert "which has handled nothing yet" in caplog.text


class Cursor:
    """As a database's: an iterator that is closed, and closes what it belongs to."""

    closed = False

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration

    def close(self):
        self.closed = True


class Proxy:
    """Has whatever it is asked for."""

    def __getattr__(self, name):
        return name


@pytest.mark.parametrize(
    "make",
    [
        Cursor,
        Proxy,
        Mock,
        MagicMock,
        NonCallableMock,
        AsyncMock,
        lambda: Mock(spec=GeneratorType),
        lambda: sqlite3.connect(":memory:").execute("select 1"),
        lambda: iter([1]),
        lambda: map(str, []),
        lambda: io.BytesIO(b"lines"),
        lambda: io.StringIO("lines"),
        dict,
        object,
        lambda: False,
    ],
)
def test_a_handler_may_return_anything_that_has_run(make, caplog):
    """What its last call returned, such as a cursor; the work is done."""
    returned = []

    @each_user_record
    def handler(*_):
        returned.append(make())
        return returned[-1]

    assert handler(event_of(b"plain", b"plain"), None) == ALL_WELL
    assert (len(returned), caplog.text) == (2, "")
    assert not any(each.closed for each in returned if isinstance(each, Cursor))
    for each in returned:
        if isinstance(each, sqlite3.Cursor):
            each.connection.close()


# --- events that cannot be read to their end ---


@handlers
@pytest.mark.parametrize("place", [0, 1, 2])
def test_bad_base64_fails_its_record_once_those_before_it_are_handled(bare, source, place):
    event = event_of(b"plain", SECOND, b"after")
    event["Records"][place]["kinesis"]["data"] = "aGk"
    printed, response, logged = bare(source.format(poison=None), event)
    assert [bytes.fromhex(line) for line in printed] == [b"plain", *PUT_SECOND][: (0, 1, 1 + len(PUT_SECOND))[place]]
    assert response == failed_at(event, place)
    number = sequence_numbers(event)[place]
    assert f"failed to read the Kinesis record {number}: Lambda retries from it" in logged
    assert f"record {place} (sequence number '{number}'): data of a record in an event is not base64" in logged


@pytest.mark.parametrize("data", [None, 5, {"celsius": 21.5}])
def test_data_of_no_known_type_fails_its_record(data):
    event = event_of(b"plain", b"plain")
    event["Records"][1]["kinesis"]["data"] = data
    function = Function()
    assert each_user_record(function.each)(event, "context") == failed_at(event, 1)
    assert function.handled == [b"plain"]


def test_a_failure_before_an_unreadable_record_counts():
    event = event_of(KPL, b"plain")
    event["Records"][1]["kinesis"]["data"] = "aGk"
    function = Function(PUT[3])
    assert each_user_record(function.each)(event, "context") == failed_at(event, 0)
    assert function.handled == PUT[:3]


def test_an_unreadable_record_without_a_sequence_number_ends_the_function():
    event = event_of(b"plain", b"plain")
    event["Records"][1]["kinesis"] = {"data": "aGk"}
    function = Function()
    with pytest.raises(ValueError, match=r"record 1: .* is not base64"):
        each_user_record(function.each)(event, "context")
    assert function.handled == []


@pytest.mark.parametrize(
    "powertools",
    [event_source(data_class=KinesisStreamEvent), event_parser(model=KinesisDataStreamModel)],
    ids=["data class", "model"],
)
def test_events_of_powertools(powertools):
    function = Function(PUT[2])
    event = event_of(b"plain", KPL)
    assert powertools(each_user_record(function.each))(event, "context") == failed_at(event, 1)
    assert function.handled == [b"plain", *PUT[:2]]


def test_a_record_without_a_sequence_number_cannot_be_named():
    event = event_of(b"plain")
    del event["Records"][0]["kinesis"]["sequenceNumber"]
    with pytest.raises(ValueError, match="no sequence number to retry from"):
        each_user_record(Function(b"plain").each)(event, "context")


def test_it_keeps_the_handlers_name():
    @each_user_record
    def handle_reading(record, context):
        """Store it."""

    assert (handle_reading.__name__, handle_reading.__doc__) == ("handle_reading", "Store it.")


# --- in lists ---


@pytest.mark.parametrize(
    ("max_records", "sizes"), [(None, [61]), (100, [61]), (61, [61]), (60, [60, 1]), (25, [25, 25, 11]), (1, [1] * 61)]
)
def test_lists_are_filled_across_kinesis_records(max_records, sizes):
    lists = []
    handler = user_record_batches(max_records=max_records)(lambda records, _: lists.append(records))
    assert handler(event_of(KPL, b"plain", SECOND), None) == ALL_WELL
    assert list(map(len, lists)) == sizes
    assert [record.data for records in lists for record in records] == [*PUT, b"plain", *PUT_SECOND]


@pytest.mark.parametrize(
    ("max_records", "calls", "place", "sub"),
    [(None, 1, 0, None), (30, 2, 0, 30), (38, 2, 1, None), (39, 2, 2, None), (20, 3, 2, 1)],
)
def test_an_exception_fails_the_list(max_records, calls, place, sub):
    event = event_of(KPL, b"plain", SECOND)  # user records 0 to 37, 38, 39 to 60
    remembered, called = [], []

    @user_record_batches(max_records=max_records, on_partial=remembered.append)
    def handler(records, _):
        called.append(records)
        if len(called) == calls:
            raise ValueError

    assert handler(event, None) == failed_at(event, place)
    assert len(called) == calls
    assert [record.sub_sequence_number for record in remembered] == ([] if sub is None else [sub])


@pytest.mark.parametrize(
    ("failed", "place", "sub"), [([40, 38, 50], 1, None), ([60, 45], 2, 6), ([5], 0, 5), ([], None, None)]
)
def test_the_first_of_those_returned_counts(failed, place, sub):
    event = event_of(KPL, b"plain", SECOND)
    remembered = []
    handler = user_record_batches(on_partial=remembered.append)(lambda records, _: [records[i] for i in failed])
    assert handler(event, None) == (ALL_WELL if place is None else failed_at(event, place))
    assert [record.sub_sequence_number for record in remembered] == ([] if sub is None else [sub])


@pytest.mark.parametrize("returned", [True, 3, "failed", [None], [b"data"], {"batchItemFailures": []}, ["seq"]])
def test_what_a_handler_may_not_return_fails_the_list(returned, caplog):
    event = event_of(b"plain", KPL)
    response = user_record_batches(lambda *_: returned)(event, None)
    assert response == failed_at(event, 0)
    assert "expected None or the user records that failed" in caplog.text


def test_a_list_that_the_handler_changes_is_its_own():
    def handler(records, _):
        failed = records[2]
        records.clear()
        return [failed]

    event = event_of(b"0", b"1", b"2", b"3")
    assert user_record_batches(handler)(event, None) == failed_at(event, 2)


@pytest.mark.parametrize("max_records", [0, -1, -(10**5000)], ids=["0", "-1", "far less"])
def test_lists_hold_something(max_records):
    with pytest.raises(ValueError, match=r"max_records is .*; a list has one user record at least"):
        user_record_batches(max_records=max_records)


def test_any_whole_number_is_a_number_of_records():
    lists = []
    handler = user_record_batches(max_records=np.int64(2))(lambda records, _: lists.append(len(records)))
    assert handler(event_of(b"0", b"1", b"2"), None) == ALL_WELL
    assert lists == [2, 1]
    for max_records in (2.0, "2"):
        with pytest.raises(TypeError, match="integer"):
            user_record_batches(max_records=max_records)
