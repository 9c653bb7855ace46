"""User records of Kinesis queues, against botocore's model of them.

No local Kinesis knows queues (roto-server 0.10, ministack 1.5 and kinesis-local 0.6 do not). So calls and answers are
botocore's stubs, which check both against the service's model: names, types, what is required, bounds of numbers.
"""

from __future__ import annotations

import base64
import json
import logging
from datetime import datetime, timezone
from itertools import count
from random import Random

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from lambda_events import VECTORS, aggregated

from shardpack import MalformedRecordError, deaggregate, deaggregate_arrow, deaggregate_columns, iter_deaggregate
from shardpack.consume import queue
from shardpack.consume.queue import Received, receive_each, receive_list
from shardpack.transport import BrokenAnswerError

ARN = "arn:aws:kinesis:us-east-1:123456789012:queue/abcdef0123456789"
ARRIVED = datetime(2026, 11, 20, 6, 31, 15, tzinfo=timezone.utc)
KPL, PUT = aggregated("kpl/keys-0")
SECOND, PUT_SECOND = aggregated("kpl/keys-1")
MALFORMED = bytes.fromhex(VECTORS["malformed/pk-index-out-of-range"]["blob"])


def queue_record(number, data, **more):
    return {
        "ReceiptHandle": f"receipt-{number}",
        "RecordId": f"record{number}",
        "PartitionKey": "device-7",
        "Data": data,
        "ApproximateArrivalTimestamp": ARRIVED,
        "FirstReceiveTimestamp": ARRIVED,
        "ReceiveCount": 1,
        **more,
    }


class Queue:
    """What the service is asked, and what it answers; in this order, and nothing else."""

    def __init__(self, stubber):
        self.stubber = stubber

    def gives(self, *datas, asked=None):
        records = [data if isinstance(data, dict) else queue_record(i, data) for i, data in enumerate(datas)]
        expected = {"QueueARN": ARN, "Limit": 10} if asked is None else asked
        self.stubber.add_response("receive_queue_records", {"QueueRecords": records}, expected)
        return records

    def acknowledges(self, *numbers, failed=None):
        """Is asked to acknowledge these; all succeed but the ``failed``, by number: a code, or none to forget."""
        failed = failed or {}
        self._answers("acknowledge_queue_records", [{"ReceiptHandle": f"receipt-{i}"} for i in numbers], failed)

    def makes_visible(self, *numbers, after, failed=None):
        entries = [{"ReceiptHandle": f"receipt-{i}", "VisibilityTimeoutSeconds": after} for i in numbers]
        self._answers("update_queue_records_visibility", entries, failed or {})

    def _answers(self, operation, entries, failed):
        failed = {f"receipt-{i}": code for i, code in failed.items()}
        handles = [entry["ReceiptHandle"] for entry in entries]
        answer = {
            "Successful": [{"ReceiptHandle": handle} for handle in handles if handle not in failed],
            "Failed": [
                {"ReceiptHandle": handle, "ErrorCode": failed[handle], "ErrorMessage": "because"}
                for handle in handles
                if failed.get(handle)
            ],
        }
        self.stubber.add_response(operation, answer, {"QueueARN": ARN, "Entries": entries})


def make_client():
    return boto3.client("kinesis", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")  # noqa: S106


pytestmark = pytest.mark.skipif(
    "ReceiveQueueRecords" not in make_client().meta.service_model.operation_names, reason="this botocore has no queues"
)


@pytest.fixture
def client():
    return make_client()


@pytest.fixture
def service(client):
    with Stubber(client) as stubber:
        yield Queue(stubber)
        stubber.assert_no_pending_responses()


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """How long was waited between calls; nobody does."""
    waited = []
    monkeypatch.setattr(queue, "sleep", waited.append)
    return waited


class Handler:
    """Remembers what it handled, and fails at the data it is told to."""

    def __init__(self, *poison, error=RuntimeError):
        self.poison, self.error = poison, error
        self.handled = []

    def each(self, record):
        if record.data in self.poison:
            raise self.error("poison")
        self.handled.append(record.data)

    def list(self, records):
        return [record for record in records if self.each_fails(record)] or None

    def each_fails(self, record):
        if record.data in self.poison:
            return True
        self.handled.append(record.data)
        return False


both = pytest.mark.parametrize(("receive", "way"), [(receive_each, "each"), (receive_list, "list")])


# --- the shape ---


def test_children_carry_their_parents_receipt(client, service):
    [given, plain] = service.gives(KPL, queue_record(1, b"plain", ReceiveCount=3))
    response = client.receive_queue_records(QueueARN=ARN, Limit=10)
    found = deaggregate(response)
    assert [record.data for record in found] == [*PUT, b"plain"]
    assert list(iter_deaggregate(response)) == found
    assert [record.record_id for record in found] == ["record0"] * len(PUT) + ["record1"]
    assert {record.source["ReceiptHandle"] for record in found[:-1]} == {given["ReceiptHandle"]}
    assert found[-1].source["ReceiveCount"] == plain["ReceiveCount"]
    assert {(record.sequence_number, record.approximate_arrival_timestamp) for record in found} == {(None, ARRIVED)}
    assert [record.sub_sequence_number for record in found] == [*range(len(PUT)), 0]
    columns = deaggregate_columns(response)
    assert [columns.sources[parent]["ReceiptHandle"] for parent in columns.parents] == [
        record.source["ReceiptHandle"] for record in found
    ]
    arrow = deaggregate_arrow(response)
    assert len(arrow) == len(found)


def test_a_stream_that_distributes_records_itself_has_no_partition_keys(client, service):
    record = queue_record(0, b"plain")
    del record["PartitionKey"]
    service.gives(record)
    [found] = deaggregate(client.receive_queue_records(QueueARN=ARN, Limit=10))
    assert (found.partition_key, found.data) == (None, b"plain")


def test_dead_letters_of_a_queue_have_the_same_shape(client, service):
    answer = {"QueueRecords": [queue_record(0, KPL)]}
    service.stubber.add_response("receive_dead_letter_queue_records", answer, {"QueueARN": ARN})
    assert [r.data for r in deaggregate(client.receive_dead_letter_queue_records(QueueARN=ARN))] == PUT


# --- acknowledged is what is done ---


@both
def test_what_is_handled_is_acknowledged(client, service, receive, way):
    service.gives(KPL, b"plain", SECOND)
    service.acknowledges(0, 1, 2)
    handler = Handler()
    done = receive(client, ARN, getattr(handler, way))
    assert handler.handled == [*PUT, b"plain", *PUT_SECOND]
    assert done == Received(3, len(handler.handled), ())
    assert done.acknowledged == 3


@both
@pytest.mark.parametrize("place", [0, 1, 9, 20])
def test_a_kinesis_record_is_acknowledged_when_all_its_user_records_are_done(client, service, receive, way, place):
    _, given, _ = service.gives(b"plain", SECOND, KPL)
    service.acknowledges(0, 2)
    handler = Handler(PUT_SECOND[place])
    done = receive(client, ARN, getattr(handler, way))
    [left] = done.unacknowledged
    assert left.record == given
    assert (left.error_code, left.user_record.data) == ("HandlerFailed", PUT_SECOND[place])
    assert left.message == f"the handler failed at user record {place} of {len(PUT_SECOND)}"
    assert (done.kinesis_records, done.acknowledged) == (3, 2)
    assert handler.handled[:1] + handler.handled[-len(PUT) :] == [b"plain", *PUT]
    if way == "each":  # the others of the same Kinesis record come again anyway
        assert handler.handled == [b"plain", *PUT_SECOND[:place], *PUT]


@both
def test_a_malformed_record_comes_as_a_whole(client, service, receive, way):
    service.gives(MALFORMED)
    service.acknowledges(0)
    errors = []
    if way == "each":
        receive(client, ARN, lambda record: errors.append((record.error, record.data)))
    else:
        receive(client, ARN, lambda records: errors.extend((record.error, record.data) for record in records))
    [(error, data)] = errors
    assert isinstance(error, MalformedRecordError)
    assert data == MALFORMED


@both
def test_an_empty_queue(client, service, receive, way):
    service.gives(asked={"QueueARN": ARN, "Limit": 10, "WaitTimeSeconds": 20, "VisibilityTimeoutSeconds": 0})
    assert receive(client, ARN, getattr(Handler(), way), wait_s=20, visibility_timeout_s=0) == Received(0, 0, ())


def test_a_handler_that_raises_fails_with_all_of_its_list(client, service, caplog):
    service.gives(KPL, b"plain")
    done = receive_list(client, ARN, lambda _: 1 / 0)
    assert [left.record["RecordId"] for left in done.unacknowledged] == ["record0", "record1"]
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("returned", [False, 5, "record", [None]])
def test_a_list_handler_that_returns_what_it_may_not_has_failed(client, service, caplog, returned):
    service.gives(b"plain")
    assert receive_list(client, ARN, lambda _: returned).acknowledged == 0
    assert "expected None or the user records that failed" in caplog.text


def test_failures_are_logged_with_their_traceback_and_record(client, service, caplog):
    service.gives(KPL)
    receive_each(client, ARN, Handler(PUT[3]).each)
    assert "record0/3" in caplog.text
    assert "RuntimeError: poison" in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_done_when_the_handler_is_ended_is_acknowledged(client, service, error):
    service.gives(KPL, SECOND, b"plain")
    service.acknowledges(0)
    with pytest.raises(error):
        receive_each(client, ARN, Handler(PUT_SECOND[2], error=error).each)


async def asynchronous(_record):
    pass


def test_handlers_whose_calls_handle_nothing(client, service):
    for receive in receive_each, receive_list:
        with pytest.raises(TypeError, match="is async or a generator"):
            receive(client, ARN, asynchronous)
        with pytest.raises(TypeError, match="a handler is a function that takes a"):
            receive(client, ARN, None)
    service.gives(b"plain")
    assert receive_each(client, ARN, lambda record: asynchronous(record)).acknowledged == 0  # noqa: PLW0108 (which hides what it is)


@both
def test_what_is_no_record_of_a_queue_fails_alone(client, receive, way, monkeypatch, caplog):
    """The service gives bytes; what stands before it in a test may not."""
    records = [queue_record(0, "text"), queue_record(1, b"plain")]
    asked = []
    monkeypatch.setattr(client, "receive_queue_records", lambda **_: {"QueueRecords": records})
    monkeypatch.setattr(
        client,
        "acknowledge_queue_records",
        lambda **call: asked.append(call["Entries"]) or {"Successful": call["Entries"], "Failed": []},
    )
    done = receive(client, ARN, getattr(Handler(), way))
    [left] = done.unacknowledged
    assert (left.error_code, left.record) == ("Unreadable", records[0])
    assert "record id 'record0'" in left.message
    assert "record0" in caplog.text
    assert asked == [[{"ReceiptHandle": "receipt-1"}]]


class LikeTheService:
    """A queue after its API reference: visible or in flight, a new receipt with each delivery; it fails at random.

    Everything goes through botocore as it would be sent. A visibility timeout ends where nothing is visible.
    """

    def __init__(self, client, datas, rng):
        self.rng = rng
        self.visible = {f"record{i}": data for i, data in enumerate(datas)}
        self.in_flight = {}
        self.acknowledged = []
        self.receipts = count()
        client.meta.events.register("before-send.kinesis", self.answer)

    def answer(self, request, **_):
        operation = request.headers["X-Amz-Target"].decode().rpartition(".")[2]
        answered = getattr(self, operation)(json.loads(request.body))

        class Answer:
            status_code, headers, content = 200, {}, json.dumps(answered).encode()

        return Answer()

    def ReceiveQueueRecords(self, asked):  # noqa: N802
        if not self.visible:
            self.visible = dict(self.in_flight.values())
            self.in_flight.clear()
        given = []
        for record_id in self.rng.sample(sorted(self.visible), min(asked["Limit"], len(self.visible))):
            receipt = f"receipt-{next(self.receipts)}"
            self.in_flight[receipt] = record_id, self.visible.pop(record_id)
            data = base64.b64encode(self.in_flight[receipt][1]).decode()
            given.append(queue_record(0, data, ReceiptHandle=receipt, RecordId=record_id))
            for name in "ApproximateArrivalTimestamp", "FirstReceiveTimestamp":
                given[-1][name] = ARRIVED.timestamp()
        return {"QueueRecords": given}

    def AcknowledgeQueueRecords(self, asked):  # noqa: N802
        return self._each(asked, lambda receipt: self.acknowledged.append(self.in_flight.pop(receipt)[0]))

    def UpdateQueueRecordsVisibility(self, asked):  # noqa: N802
        return self._each(asked, lambda receipt: self.visible.update([self.in_flight.pop(receipt)]))

    def _each(self, asked, do):
        answer = {"Successful": [], "Failed": []}
        for entry in asked["Entries"]:
            receipt = entry["ReceiptHandle"]
            if receipt in self.in_flight and self.rng.random() < 0.7:
                do(receipt)
                answer["Successful"].append({"ReceiptHandle": receipt})
            elif self.rng.random() < 0.8:
                code = self.rng.choice(["ThrottlingException", "ResourceNotFoundException"])
                answer["Failed"].append({"ReceiptHandle": receipt, "ErrorCode": code})
        return answer


@both
@pytest.mark.parametrize("seed", range(10))
def test_nothing_is_lost_until_the_queue_is_empty(client, receive, way, seed):
    """Whatever fails: what is acknowledged was handled, all of it, before."""
    rng = Random(seed)
    datas = [rng.choice([KPL, SECOND, b"plain", MALFORMED]) for _ in range(25)]
    service = LikeTheService(client, datas, rng)
    handled = {f"record{i}": set() for i in range(len(datas))}
    whole = {f"record{i}": set(range(len(deaggregate(data)))) for i, data in enumerate(datas)}

    def handle(record):
        if rng.random() < 0.02:
            raise RuntimeError("poison")
        handled[record.record_id].add(record.sub_sequence_number)

    def each_of(records):
        failed = []
        for record in records:
            try:
                handle(record)
            except RuntimeError:
                failed.append(record)
        return failed

    calls = 0
    while service.visible or service.in_flight:
        before = len(service.acknowledged)
        done = receive(client, ARN, handle if way == "each" else each_of, retry_after_s=rng.choice([None, 0]))
        new = service.acknowledged[before:]
        assert all(handled[record_id] == whole[record_id] for record_id in new)
        assert len(new) >= done.acknowledged  # some are, though the answer did not say so
        calls += 1
        assert calls < 500
    assert sorted(set(service.acknowledged)) == sorted(whole)


# --- acknowledgements that fail ---


def test_what_is_not_acknowledged_is_told(client, service, waits, caplog):
    service.gives(KPL, b"plain", SECOND)
    service.acknowledges(0, 1, 2, failed={0: "ResourceNotFoundException", 2: "InvalidArgumentException"})
    done = receive_each(client, ARN, Handler().each)
    assert [(left.record["RecordId"], left.error_code, left.message) for left in done.unacknowledged] == [
        ("record0", "ResourceNotFoundException", "because"),
        ("record2", "InvalidArgumentException", "because"),
    ]
    assert (done.acknowledged, waits) == (1, [])
    assert caplog.text.count("was handled and is not acknowledged") == 2


def test_what_passes_is_acknowledged_again(client, service, waits, caplog):
    """Else all of it would be handled again."""
    service.gives(KPL, b"plain", SECOND, b"last")
    service.acknowledges(0, 1, 2, 3, failed={0: "ThrottlingException", 1: "InvalidArgumentException", 2: None})
    service.acknowledges(0, 2, failed={0: "InternalFailureException"})
    service.acknowledges(0)
    done = receive_each(client, ARN, Handler().each)
    assert [(left.record["RecordId"], left.error_code) for left in done.unacknowledged] == [
        ("record1", "InvalidArgumentException")
    ]
    assert len(waits) == 2
    assert sum(waits) <= 1
    assert caplog.text.count("is not acknowledged") == 1


def test_acknowledging_ends(client, service):
    service.gives(b"plain")
    for _ in range(3):
        service.acknowledges(0, failed={0: None})
    [left] = receive_each(client, ARN, Handler().each).unacknowledged
    assert (left.error_code, left.message) == ("NotAnswered", "the answer does not mention it")


def test_a_call_that_fails_as_a_whole_is_raised(client, service):
    service.gives(b"plain")
    service.stubber.add_client_error("acknowledge_queue_records", "AccessDeniedException")
    with pytest.raises(ClientError, match="AccessDenied"):
        receive_each(client, ARN, Handler().each)
    service.stubber.add_client_error("receive_queue_records", "ResourceNotFoundException")
    with pytest.raises(ClientError, match="ResourceNotFound"):
        receive_each(client, ARN, Handler().each)


# --- when what failed comes again ---


@both
def test_what_failed_can_come_again_sooner(client, service, receive, way):
    service.gives(KPL, b"plain", SECOND)
    service.acknowledges(1)
    service.makes_visible(0, 2, after=5)
    done = receive(client, ARN, getattr(Handler(PUT[0], PUT_SECOND[0]), way), retry_after_s=5)
    assert done.acknowledged == 1


def test_what_was_handled_is_not_made_visible_by_hand(client, service):
    service.gives(b"plain")
    service.acknowledges(0, failed={0: "ResourceNotFoundException"})
    assert receive_each(client, ARN, Handler().each, retry_after_s=0).acknowledged == 0


def test_a_visibility_that_is_not_changed_is_logged(client, service, caplog):
    caplog.set_level(logging.WARNING)
    service.gives(b"plain", b"second")
    service.makes_visible(0, 1, after=0, failed={0: "InvalidArgumentException", 1: None})
    receive_each(client, ARN, Handler(b"plain", b"second").each, retry_after_s=0)
    assert "record0 comes again when its visibility timeout ends, not after 0 s: InvalidArgument" in caplog.text
    assert "record1 comes again" in caplog.text


# --- what is asked, and of whom ---


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_kinesis_records", 0),
        ("max_kinesis_records", 11),
        ("wait_s", 0),
        ("wait_s", 21),
        ("visibility_timeout_s", -1),
        ("visibility_timeout_s", 43_201),
        ("retry_after_s", 43_201),
    ],
)
def test_options_out_of_range(client, option, value):
    """Before anything is received, which would be gone for a while."""
    with Stubber(client), pytest.raises(ValueError, match=f"{option} of {value} is not between"):
        receive_each(client, ARN, print, **{option: value})


def test_the_bounds_are_the_models(client):
    shapes = client.meta.service_model
    received = shapes.operation_model("ReceiveQueueRecords").input_shape.members
    assert received["Limit"].metadata == {"min": 1, "max": queue.MOST_RECORDS}
    assert received["WaitTimeSeconds"].metadata == {"min": 1, "max": queue.LONGEST_WAIT_SECONDS}
    assert received["VisibilityTimeoutSeconds"].metadata == {"min": 0, "max": queue.LONGEST_VISIBILITY_SECONDS}
    for operation in "AcknowledgeQueueRecords", "UpdateQueueRecordsVisibility":
        entries = shapes.operation_model(operation).input_shape.members["Entries"]
        assert entries.metadata["max"] == queue.MOST_RECORDS


def test_a_client_without_queues():
    with pytest.raises(TypeError, match=r"knows no Kinesis queues: they need a Kinesis client of botocore 1\.44\.5"):
        receive_each(object(), ARN, print)


@pytest.mark.parametrize("body", [{}, {"QueueRecords": [{"RecordId": "a", "Data": ""}]}])
def test_an_answer_that_was_cut_off(client, body):
    """As boto3 makes it of a body that ends too soon; nothing was handled."""

    class Answer:
        status_code, headers, content = 200, {}, json.dumps(body).encode()

    client.meta.events.register("before-send.kinesis.ReceiveQueueRecords", lambda **_: Answer())
    with pytest.raises(BrokenAnswerError, match="ReceiveQueueRecords: the answer was cut off"):
        receive_each(client, ARN, print)
