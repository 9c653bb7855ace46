"""Transformations as Firehose invokes them: the events of AWS's documentation in, an answer for each record out."""

from __future__ import annotations

import base64
import json
import logging
from functools import partial

import pytest
from aws_lambda_powertools.utilities.data_classes import KinesisFirehoseEvent
from aws_lambda_powertools.utilities.parser.models import KinesisFirehoseModel
from lambda_events import VECTORS, aggregated

from shardpack.consume import firehose
from shardpack.consume.firehose import MAX_RESPONSE_BYTES, transform_each_user_record

KPL, PUT = aggregated("kpl/keys-0")
MALFORMED = bytes.fromhex(VECTORS["malformed/pk-index-out-of-range"]["blob"])
STREAM = {
    "shardId": "shardId-000000000000",
    "partitionKey": "4d1ad2b9-24f8-4b9d-a088-76e9947c317a",
    "approximateArrivalTimestamp": 1607495475000,
    "sequenceNumber": "49546986683135544286507457936321625675700192471156785154",
    "subsequenceNumber": 0,
}


def event_of(*datas):
    """Return an event as the developer guides of Firehose and Lambda have it, a record for each of these data."""
    return {
        "invocationId": "invoked123",
        "deliveryStreamArn": "aws:lambda:events",
        "region": "us-west-2",
        "records": [
            {
                "recordId": f"record{i}",
                "data": base64.b64encode(data).decode(),
                "approximateArrivalTimestamp": 1607495475000,
                "kinesisRecordMetadata": STREAM,
            }
            for i, data in enumerate(datas, 1)
        ],
    }


def answer(place, data):
    return {"recordId": f"record{place}", "result": "Ok", "data": base64.b64encode(data).decode()}


def failed(place):
    return {"recordId": f"record{place}", "result": "ProcessingFailed"}


def upper(record, _):
    return record.data.upper()


def test_each_record_is_answered_with_its_user_records():
    seen = []

    @transform_each_user_record
    def transform(record, context):
        seen.append((record.data, record.record_id, record.shard_id, context))
        return record.data

    joined = b"".join(data + b"\n" * (not data.endswith(b"\n")) for data in PUT)
    expected = {"records": [answer(1, b"plain\n"), answer(2, joined), answer(3, b"line\n")]}
    event = event_of(b"plain", KPL, b"line\n")
    assert transform(event, "context") == expected
    assert seen[0] == (b"plain", "record1", STREAM["shardId"], "context")
    assert [data for data, *_ in seen[1:-1]] == PUT
    assert transform(KinesisFirehoseEvent(event)) == expected
    assert transform(KinesisFirehoseModel(**event)) == expected
    assert transform({"records": []}) == {"records": []}
    assert transform.__name__ == "transform"


@pytest.mark.parametrize(("delimiter", "expected"), [(b"", b"AB"), (b"\r\n", b"A\r\nB\r\n"), (b"B", b"ABB")])
def test_what_stands_between(delimiter, expected):
    two = bytes.fromhex(VECTORS["kpl/keys-0"]["blob"])
    letters = iter([b"A", b"B", *[None] * 1000])
    transform = transform_each_user_record(delimiter=delimiter)(lambda *_: next(letters))
    assert transform(event_of(two)) == {"records": [answer(1, expected)]}


def test_dropped():
    odd = transform_each_user_record(lambda record, _: record.data if record.data == PUT[1] else None)
    assert odd(event_of(b"a", KPL)) == {
        "records": [{"recordId": "record1", "result": "Dropped"}, answer(2, PUT[1] + b"\n")]
    }


def test_a_failure_is_its_records_alone(caplog):
    called = []

    @transform_each_user_record
    def transform(record, _):
        called.append(record.data)
        if record.data == PUT[1]:
            raise RuntimeError("poison")
        return record.data

    assert transform(event_of(KPL, b"a")) == {"records": [failed(1), answer(2, b"a\n")]}
    assert called == [*PUT[:2], b"a"]
    [log] = caplog.records
    assert log.name == "shardpack.consume"
    assert "record1" in log.getMessage()
    assert "poison" in str(log.exc_info[1])


def test_what_cannot_be_read_does_not_come_to_the_function(caplog):
    event = event_of(MALFORMED, b"", b"a")
    event["records"][1]["data"] = "no base64!"
    called = []
    transform = transform_each_user_record(lambda record, _: called.append(record.data) or record.data)
    assert transform(event) == {"records": [failed(1), failed(2), answer(3, b"a\n")]}
    assert called == [b"a"]
    assert "malformed aggregated record" in caplog.text
    assert "not base64" in caplog.text


async def later(record, _):
    return record.data


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (lambda record, _: record.data.decode(), "returns bytes, or None to drop"),
        (lambda record, _: bytearray(record.data), "returns bytes, or None to drop"),
        (partial(later), "has handled nothing yet"),
    ],
)
def test_what_is_no_data_has_failed(returned, says, caplog):
    assert transform_each_user_record(returned)(event_of(b"a")) == {"records": [failed(1)]}
    assert says in caplog.text


def test_what_ends_the_function_ends_it():
    def leave(*_):
        raise SystemExit

    with pytest.raises(SystemExit):
        transform_each_user_record(leave)(event_of(b"a"))


def test_many_failures_are_counted(caplog):
    transform = transform_each_user_record(lambda *_: 1 / 0)
    assert transform(event_of(*[b"a"] * 30)) == {"records": [failed(i) for i in range(1, 31)]}
    assert len(caplog.records) == 21
    assert "10 more records" in caplog.messages[-1]


def test_partition_keys(caplog):
    """As "Dynamic partitioning" has them: in the metadata of an answer."""
    keyed = transform_each_user_record(partition_keys=lambda record: {"device": record.data.decode()[0]})
    transform = keyed(lambda record, _: None if record.data == b"drop" else record.data)
    expected = {**answer(1, b"a7\n"), "metadata": {"partitionKeys": {"device": "a"}}}
    assert transform(event_of(b"a7", b"drop")) == {"records": [expected, {"recordId": "record2", "result": "Dropped"}]}
    same = transform_each_user_record(partition_keys=lambda _: {"all": "é"})(lambda *_: b"x")
    assert same(event_of(KPL))["records"][0]["metadata"] == {"partitionKeys": {"all": "é"}}
    differ = transform_each_user_record(partition_keys=lambda record: {"key": record.data.hex()})(upper)
    assert differ(event_of(KPL)) == {"records": [failed(1)]}
    assert "different partition keys" in caplog.text
    for wrong in ("text", {"n": 1}, None):
        transform = transform_each_user_record(partition_keys=lambda _, wrong=wrong: wrong)(upper)
        assert transform(event_of(b"a")) == {"records": [failed(1)]}
    says = [str(log.exc_info[1]) for log in caplog.records[1:]]
    assert [text.startswith("partition keys are a mapping of names to text, not ") for text in says] == [True] * 3


# --- the size of the response ---


def test_the_limit_is_the_lower_reading_of_what_aws_documents():
    """6 MB, of the synchronous invocation's payload: Firehose developer guide, "Transform source data"."""
    assert MAX_RESPONSE_BYTES == 6 * 1000**2 < 6 * 1024**2


@pytest.mark.parametrize("over", [0, 1])
def test_the_response_fits_to_the_byte(over, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    transform = transform_each_user_record(
        partition_keys=lambda _: {"ключ": "é\n"},
    )(upper)
    event = event_of(b"a" * 700, KPL, b"b" * 50)
    event["records"][1]["recordId"] = 'ré"cord'
    whole = transform(event)
    size = len(json.dumps(whole))
    monkeypatch.setattr(firehose, "MAX_RESPONSE_BYTES", size - over)
    answered = transform(event)
    assert len(json.dumps(answered)) <= size - over
    if not over:
        assert answered == whole
        assert caplog.records == []
        return
    # the last one has no room; those before it have
    assert answered == {"records": [*whole["records"][:2], failed(3)]}
    [log] = caplog.messages
    assert log.startswith("1 of 3 records are answered ProcessingFailed")
    assert f"would have {size} bytes and may have {size - 1}" in log
    assert "BufferSizeInMBs" in log


def test_a_record_that_is_too_large_does_not_take_the_room_of_others(caplog):
    large = MAX_RESPONSE_BYTES * 3 // 4
    transform = transform_each_user_record(lambda record, _: b"x" * large if record.data == b"large" else record.data)
    answered = transform(event_of(b"a", b"large", b"b"))
    assert answered == {"records": [answer(1, b"a\n"), failed(2), answer(3, b"b\n")]}
    assert len(caplog.records) == 1


# --- what is refused ---


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ("text", "not str"),
        ({"Records": []}, "Records"),
        ({"records": {}}, "whose records are a list"),
        ({"records": [{"data": "YQ=="}]}, "record 0 has no recordId"),
        ({"records": [b"a"]}, "record 0 has no recordId"),
    ],
)
def test_events_of_others(event, says):
    with pytest.raises(TypeError, match=says) as raised:
        transform_each_user_record(upper)(event)
    assert str(raised.value).startswith("expected the event of a Firehose transformation")


def test_a_record_id_is_answered_once():
    event = event_of(b"a", b"b")
    event["records"][1]["recordId"] = "record1"
    with pytest.raises(ValueError, match="the recordId 'record1' twice"):
        transform_each_user_record(upper)(event)


@pytest.mark.parametrize("decorate", [transform_each_user_record, transform_each_user_record(delimiter=b"")])
@pytest.mark.parametrize("wrong", [None, "transform", later])
def test_what_is_no_function(decorate, wrong):
    with pytest.raises(TypeError, match=r"a handler is a function|is async or a generator"):
        decorate(wrong)


def test_options():
    with pytest.raises(TypeError, match=r"delimiter is bytes, such as b'\\n', not ','"):
        transform_each_user_record(delimiter=",")
    prefixed = transform_each_user_record(partial(lambda prefix, record, _: prefix + record.data, b"> "))
    assert prefixed(event_of(b"a")) == {"records": [answer(1, b"> a\n")]}
