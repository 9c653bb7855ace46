"""The shapes that AWS's documentation shows, one by one and mixed, and what goes with their records."""

from __future__ import annotations

import base64
import pickle
from array import array
from datetime import datetime, timezone
from mmap import mmap

import numpy as np
import pyarrow as pa
import pytest
import wire
from aws_lambda_powertools.utilities.data_classes import KinesisFirehoseEvent, KinesisStreamEvent
from aws_lambda_powertools.utilities.parser.models import (
    KinesisDataStreamModel,
    KinesisDataStreamRecord,
    KinesisFirehoseModel,
)
from hypothesis import given as holding
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from shardpack import deaggregate, deaggregate_arrow, deaggregate_columns, iter_deaggregate
from shardpack.consume.shapes import decode_base64

AGGREGATED = wire.frame(wire.content(1, b"a") + wire.content(1, b"b") + wire.record(1, b"one") + wire.record(0, b"two"))
ARRIVED = datetime(2020, 12, 9, 6, 31, 15, tzinfo=timezone.utc)


def b64(data, decoded):
    """Data as an event has it; or as a parser of events leaves it."""
    return data if decoded else base64.b64encode(data).decode()


def get_records_record(data, **more):
    return {
        "SequenceNumber": "49590338271490256608559692538361571095921575989136588898",
        "ApproximateArrivalTimestamp": ARRIVED,
        "Data": data,
        "PartitionKey": "1",
        "EncryptionType": "KMS",
        **more,
    }


def get_records(data):
    """As the API reference of GetRecords has it."""
    return {
        "Records": [get_records_record(data)],
        "NextShardIterator": "AAAAAAAAAAHsW8zCWf9164uy8Epue6WS3w6wmj4a4USt+CNvMd6uXQ+HL5vAJMznqqC0DLKsIjuoiTi1BpT6",
        "MillisBehindLatest": 2100,
    }


def subscribe_to_shard(data):
    """As the API reference of SubscribeToShard has it: one event of its stream."""
    return {
        "SubscribeToShardEvent": {
            "Records": [get_records_record(data)],
            "ContinuationSequenceNumber": "1234567890",
            "MillisBehindLatest": 0,
        }
    }


def queue_record(data, **more):
    """As the API reference of ReceiveQueueRecords has it."""
    return {
        "ReceiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
        "RecordId": "f00d42",
        "PartitionKey": "1",
        "Data": data,
        "ApproximateArrivalTimestamp": ARRIVED,
        "FirstReceiveTimestamp": ARRIVED,
        "ReceiveCount": 2,
        **more,
    }


def lambda_record(data, decoded=False):
    """As the developer guide of Lambda has it: "Using AWS Lambda with Amazon Kinesis"."""
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "1",
            "sequenceNumber": "49590338271490256608559692538361571095921575989136588898",
            "data": b64(data, decoded),
            "approximateArrivalTimestamp": ARRIVED.timestamp(),
            "encryptionType": "KMS",
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": "shardId-000000000006:49590338271490256608559692538361571095921575989136588898",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::123456789012:role/lambda-role",
        "awsRegion": "us-east-2",
        "eventSourceARN": "arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream",
    }


def pipes_record(data, decoded=False):
    """As the user guide of EventBridge Pipes has it: the inner part of Lambda's, and the outer part beside it."""
    outer = lambda_record(data, decoded)
    return outer.pop("kinesis") | outer


def firehose(data, decoded=False):
    """As the developer guide of Firehose has it, for a stream that reads from Kinesis."""
    return {
        "invocationId": "invoked123",
        "deliveryStreamArn": "aws:lambda:events",
        "region": "us-west-2",
        "records": [
            {
                "data": b64(data, decoded),
                "recordId": "record1",
                "approximateArrivalTimestamp": 1607495475000,
                "kinesisRecordMetadata": {
                    "shardId": "shardId-000000000000",
                    "partitionKey": "4d1ad2b9-24f8-4b9d-a088-76e9947c317a",
                    "approximateArrivalTimestamp": 1607495475000,
                    "sequenceNumber": "49546986683135544286507457936321625675700192471156785154",
                    "subsequenceNumber": 3,
                },
            }
        ],
    }


def analytics(data, decoded=False):
    """As the developer guide of Kinesis Data Analytics for SQL has it, for a stream."""
    return {
        "invocationId": "00540a87-5050-496a-84e4-e7d92bbaf5e2",
        "applicationArn": "arn:aws:kinesisanalytics:us-east-1:12345678911:application/lambda-test",
        "streamArn": "arn:aws:kinesis:us-east-1:12345678911:stream/stream-test",
        "records": [
            {
                "recordId": "49572672223665514422805246926656954630972486059535892482",
                "data": b64(data, decoded),
                "kinesisStreamRecordMetadata": {
                    "shardId": "shardId-000000000003",
                    "partitionKey": "7400791606",
                    "sequenceNumber": "49572672223665514422805246926656954630972486059535892482",
                    "approximateArrivalTimestamp": 1607495475000,
                },
            }
        ],
    }


def direct_firehose(data, decoded=False):
    """As the developer guide of Firehose has it, for a stream that is put to directly."""
    record = firehose(data, decoded)["records"][0]
    del record["kinesisRecordMetadata"]
    return {"records": [record]}


class KclRecord:
    """What amazon_kclpy.messages.Record offers."""

    sequence_number = "49590338271490256608559692538361571095921575989136588898"
    sub_sequence_number = 7
    partition_key = "1"
    timestamp_millis = 1607495475000
    approximate_arrival_timestamp = datetime.fromtimestamp(1607495475)  # noqa: DTZ006 (as it does)

    def __init__(self, data):
        self.data = base64.b64encode(data).decode()

    @property
    def binary_data(self):
        return base64.b64decode(self.data)


def mapped(data):
    memory = mmap(-1, len(data))
    memory[:] = data
    return memory


SEQUENCE = "49590338271490256608559692538361571095921575989136588898"
SHAPES = {
    # shape: how to make one, and partition key, sequence number, arrival, shard, encryption, record id, sub-sequence
    "GetRecords response": (get_records, ("1", SEQUENCE, ARRIVED, None, "KMS", None, 0)),
    "GetRecords' Records": (lambda data: get_records(data)["Records"], ("1", SEQUENCE, ARRIVED, None, "KMS", None, 0)),
    "GetRecords record": (get_records_record, ("1", SEQUENCE, ARRIVED, None, "KMS", None, 0)),
    "SubscribeToShard event": (subscribe_to_shard, ("1", SEQUENCE, ARRIVED, None, "KMS", None, 0)),
    "SubscribeToShard stream": (
        lambda data: iter([subscribe_to_shard(data)]),
        ("1", SEQUENCE, ARRIVED, None, "KMS", None, 0),
    ),
    "ReceiveQueueRecords response": (
        lambda data: {"QueueRecords": [queue_record(data)]},
        ("1", None, ARRIVED, None, None, "f00d42", 0),
    ),
    "ReceiveQueueRecords record": (queue_record, ("1", None, ARRIVED, None, None, "f00d42", 0)),
    "Lambda event": (
        lambda data: {"Records": [lambda_record(data)]},
        ("1", SEQUENCE, ARRIVED, "shardId-000000000006", "KMS", None, 0),
    ),
    "Lambda record with decoded data": (
        lambda data: lambda_record(data, decoded=True),
        ("1", SEQUENCE, ARRIVED, "shardId-000000000006", "KMS", None, 0),
    ),
    "Lambda event of Powertools' data class": (
        lambda data: KinesisStreamEvent({"Records": [lambda_record(data)]}),
        ("1", SEQUENCE, ARRIVED, "shardId-000000000006", "KMS", None, 0),
    ),
    "Lambda event of Powertools' model": (
        lambda data: KinesisDataStreamModel(Records=[lambda_record(data)]),
        ("1", SEQUENCE, ARRIVED, "shardId-000000000006", None, None, 0),  # whose encryption types it drops
    ),
    "Lambda records of Powertools' model": (
        lambda data: KinesisDataStreamModel(Records=[lambda_record(data)]).Records,
        ("1", SEQUENCE, ARRIVED, "shardId-000000000006", None, None, 0),
    ),
    "Lambda record of Powertools' model": (
        lambda data: KinesisDataStreamRecord(**lambda_record(data)),
        ("1", SEQUENCE, ARRIVED, "shardId-000000000006", None, None, 0),
    ),
    "the inner part of Powertools' model": (
        lambda data: KinesisDataStreamRecord(**lambda_record(data)).kinesis,
        ("1", SEQUENCE, ARRIVED, None, None, None, 0),
    ),
    "Lambda event of Powertools' model, dumped": (
        lambda data: KinesisDataStreamModel(Records=[lambda_record(data)]).model_dump(),
        ("1", SEQUENCE, ARRIVED, "shardId-000000000006", None, None, 0),
    ),
    "Pipes records": (
        lambda data: [pipes_record(data)],
        ("1", SEQUENCE, ARRIVED, "shardId-000000000006", "KMS", None, 0),
    ),
    "Firehose event": (
        firehose,
        (
            "4d1ad2b9-24f8-4b9d-a088-76e9947c317a",
            "49546986683135544286507457936321625675700192471156785154",
            ARRIVED,
            "shardId-000000000000",
            None,
            "record1",
            3,
        ),
    ),
    "Firehose event of Powertools' model": (
        lambda data: KinesisFirehoseModel(**firehose(data)),
        (
            "4d1ad2b9-24f8-4b9d-a088-76e9947c317a",
            "49546986683135544286507457936321625675700192471156785154",
            ARRIVED,
            "shardId-000000000000",
            None,
            "record1",
            3,
        ),
    ),
    "Firehose event of Powertools' data class": (
        lambda data: KinesisFirehoseEvent(direct_firehose(data)),
        (None, None, ARRIVED, None, None, "record1", 0),
    ),
    "Firehose event of Powertools' model, put directly": (
        lambda data: KinesisFirehoseModel(**(firehose(data) | direct_firehose(data))),
        (None, None, ARRIVED, None, None, "record1", 0),
    ),
    "Firehose event, put directly": (direct_firehose, (None, None, ARRIVED, None, None, "record1", 0)),
    "Analytics event": (
        analytics,
        (
            "7400791606",
            "49572672223665514422805246926656954630972486059535892482",
            ARRIVED,
            "shardId-000000000003",
            None,
            "49572672223665514422805246926656954630972486059535892482",
            0,
        ),
    ),
    "amazon_kclpy record": (KclRecord, ("1", SEQUENCE, ARRIVED, None, None, None, 7)),
    "bytes": (bytes, (None, None, None, None, None, None, 0)),
    "bytearray": (bytearray, (None, None, None, None, None, None, 0)),
    "memoryview": (memoryview, (None, None, None, None, None, None, 0)),
    "array": (lambda data: array("B", data), (None, None, None, None, None, None, 0)),
    "numpy array": (lambda data: np.frombuffer(data, np.uint8), (None, None, None, None, None, None, 0)),
    "Arrow buffer": (pa.py_buffer, (None, None, None, None, None, None, 0)),
    "mmap": (mapped, (None, None, None, None, None, None, 0)),
    "GetRecords record of an Arrow buffer": (
        lambda data: get_records_record(pa.py_buffer(data)),
        ("1", SEQUENCE, ARRIVED, None, "KMS", None, 0),
    ),
    "generator of bytes": (lambda data: (each for each in [data]), (None, None, None, None, None, None, 0)),
}
CARRIED = ("sequence_number", "approximate_arrival_timestamp", "shard_id", "encryption_type", "record_id")


def shapes():
    return pytest.mark.parametrize(("make", "origin"), SHAPES.values(), ids=SHAPES.keys())


@shapes()
def test_an_aggregated_record(make, origin):
    one, two = deaggregate(make(AGGREGATED))
    assert (one.partition_key, one.data, one.sub_sequence_number, one.aggregated) == ("b", b"one", 0, True)
    assert (two.partition_key, two.data, two.sub_sequence_number, two.aggregated) == ("a", b"two", 1, True)
    for record in one, two:
        assert tuple(getattr(record, name) for name in CARRIED) == origin[1:6]
    assert list(iter_deaggregate(make(AGGREGATED))) == [one, two] or make is KclRecord


@shapes()
def test_a_plain_record(make, origin):
    [record] = deaggregate(make(b"plain"))
    assert (record.data, record.aggregated) == (b"plain", False)
    assert (record.partition_key, *(getattr(record, name) for name in CARRIED)) == origin[:6]
    assert record.sub_sequence_number == origin[6]


@shapes()
def test_columns(make, origin):
    columns = deaggregate_columns(make(AGGREGATED))
    assert bytes(columns.data) == b"onetwo"
    assert (columns.sequence_numbers, columns.approximate_arrival_timestamps) == ([origin[1]], [origin[2]])
    assert columns.shard_ids == [origin[3]]


@pytest.mark.parametrize("data", [AGGREGATED, b"plain", wire.frame(wire.content(1, b"a") + wire.record(1, b"one"))])
@shapes()
def test_a_shard_that_the_record_does_not_tell(make, origin, data):
    shard = origin[3] or "shardId-000000000009"
    given = {"shard_id": "shardId-000000000009"}
    found = deaggregate(make(data), **given)
    assert {record.shard_id for record in found} == {shard}
    assert {pickle.loads(pickle.dumps(record)).shard_id for record in found} == {shard}  # noqa: S301
    assert {record.shard_id for record in iter_deaggregate(make(data), **given)} == {shard}
    assert deaggregate_columns(make(data), **given).shard_ids == [shard]
    batch = pa.record_batch(deaggregate_arrow(make(data), **given))
    assert set(batch["shard_id"].to_pylist()) == {shard}
    # and all else is as without it
    assert [(record.data, record.partition_key) for record in found] == [
        (record.data, record.partition_key) for record in deaggregate(make(data))
    ]


@pytest.mark.parametrize(
    "call", [deaggregate, deaggregate_columns, deaggregate_arrow, lambda *a, **k: list(iter_deaggregate(*a, **k))]
)
def test_a_shard_is_text(call):
    with pytest.raises(TypeError, match="shard_id is text, such as 'shardId-000000000000', not 9"):
        call([b"plain"], shard_id=9)


@pytest.mark.parametrize("data", [AGGREGATED, b"plain"])
@pytest.mark.parametrize("make", [get_records_record, queue_record, lambda_record, bytes])
def test_what_was_pickled_keeps_where_it_came_from(make, data):
    for record in deaggregate(make(data)):
        again = pickle.loads(pickle.dumps(record))  # noqa: S301
        assert again == record
        assert again.source is None
        for name in ("partition_key", "sub_sequence_number", *CARRIED):
            assert getattr(again, name) == getattr(record, name)


def test_the_source_is_the_record_as_it_was_given():
    given = lambda_record(AGGREGATED)
    assert all(record.source is given for record in deaggregate({"Records": [given]}))


def test_shapes_mixed_in_one_call():
    everything = [make(data) for data in (AGGREGATED, b"plain") for make, _ in SHAPES.values()]
    flat = [each for each in everything if isinstance(each, (dict, bytes, bytearray, memoryview, KclRecord))]
    found = deaggregate(flat)
    assert [record.data for record in found] == [b"one", b"two"] * (len(flat) // 2) + [b"plain"] * (len(flat) // 2)


def test_lists_of_records():
    """As from several calls; an item that is no list may be among them."""
    page = [get_records_record(AGGREGATED), b"plain"]
    for each in (deaggregate, iter_deaggregate):
        assert [record.data for record in each([page, (b"plain",), get_records(b"plain")])] == [
            b"one",
            b"two",
            b"plain",
            b"plain",
            b"plain",
        ]


def test_the_test_event_of_the_console():
    """Its times are text, its sub-sequence number is empty; and a record put directly has no metadata of a stream."""
    event = firehose(AGGREGATED)
    metadata = event["records"][0]["kinesisRecordMetadata"]
    metadata |= {"approximateArrivalTimestamp": "2020-12-09T06:31:15.000Z", "subsequenceNumber": ""}
    one, _ = deaggregate(event)
    assert (one.approximate_arrival_timestamp, one.sub_sequence_number) == (ARRIVED, 0)
    assert deaggregate_columns(event).approximate_arrival_timestamps == [ARRIVED]
    event["records"][0]["kinesisRecordMetadata"] = None
    one, _ = deaggregate(event)
    assert (one.shard_id, one.record_id) == (None, "record1")


def test_kinesis_analytics_behind_firehose():
    record = {"recordId": "1", "data": b64(b"plain", decoded=False)}
    metadata = {"approximateArrivalTimestamp": 1607495475000}
    [found] = deaggregate({"records": [record | {"kinesisFirehoseRecordMetadata": metadata}]})
    assert (found.data, found.approximate_arrival_timestamp) == (b"plain", ARRIVED)


def test_powertools_records_are_mappings():
    event = KinesisStreamEvent({"Records": [lambda_record(AGGREGATED)]})
    assert [record.data for record in deaggregate(event)] == [b"one", b"two"]
    assert [record.data for record in deaggregate(event.records)] == [b"one", b"two"]


@pytest.mark.parametrize("data", [b"HELLO123", b"aGVsbG8=", b"", b"%%%"])
def test_bytes_in_an_event_are_the_data(data):
    """Only text is base64; what was decoded already is not decoded again."""
    for make in (lambda_record, pipes_record, firehose, direct_firehose, analytics):
        for given in (data, bytearray(data), memoryview(data)):
            event = make(given, decoded=True)
            assert [record.data for record in deaggregate(event)] == [data]


def test_the_source_is_the_model_that_was_given():
    event = KinesisDataStreamModel(Records=[lambda_record(AGGREGATED)])
    found = deaggregate(event)
    assert all(record.source is event.Records[0] for record in found)
    again = pickle.loads(pickle.dumps(found[0]))  # noqa: S301
    assert again == found[0]
    assert again.source is None  # a user record leaves its Kinesis record behind


def test_models_of_ones_own():
    """Their fields are found by the names that the event has."""

    class Payload(BaseModel):
        key: str = Field(alias="partitionKey")
        number: str = Field(alias="sequenceNumber")
        data: str

    class Record(BaseModel):
        payload: Payload = Field(validation_alias="kinesis", serialization_alias="kinesis")

    class Event(BaseModel):
        kinesis_records: list[Record] = Field(alias="Records")

    event = Event(Records=[lambda_record(AGGREGATED)])
    for each in (deaggregate, iter_deaggregate):
        assert [(record.data, record.sequence_number) for record in each(event)] == [
            (b"one", SEQUENCE),
            (b"two", SEQUENCE),
        ]
    assert [record.data for record in deaggregate([event, event.kinesis_records[0]])] == [b"one", b"two"] * 2


def test_a_model_that_parsed_the_data_is_refused():
    class Reading(BaseModel):
        celsius: float

    record = KinesisDataStreamRecord(**lambda_record(b"plain"))
    record.kinesis.data = Reading(celsius=21.5)
    with pytest.raises(TypeError, match="data of a record in an event is base64 text or bytes, not Reading"):
        deaggregate(record)


def test_what_a_shape_says_may_be_odd():
    record = lambda_record(b"plain") | {"eventID": None}
    [found] = deaggregate(record)
    assert (found.shard_id, found.sequence_number) == (None, SEQUENCE)
    event = firehose(b"plain")
    event["records"][0]["kinesisRecordMetadata"]["subsequenceNumber"] = "first"
    assert deaggregate(event)[0].sub_sequence_number == 0


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (17, "cannot deaggregate int: expected Kinesis records"),
        ("text", "cannot deaggregate str: expected Kinesis records"),
        (None, "cannot deaggregate NoneType"),
        ([b"plain", None], "record 1: cannot deaggregate NoneType"),
        ((each for each in [b"plain", b"plain", 3]), "record 2: cannot deaggregate int"),
        (array("I", [1]), "record 0: cannot deaggregate int"),
        ({"Body": "sqs"}, r"cannot deaggregate a mapping with \['Body'\]"),
        ([{"body": "sqs"}], r"record 0: cannot deaggregate a mapping with \['body'\]"),
        ({"Records": None}, "the records of a response or an event are a list, not NoneType"),
        ({"Records": {}}, "the records of a response or an event are a list, not dict"),
        ({"SubscribeToShardEvent": None}, r"cannot deaggregate a mapping with \['SubscribeToShardEvent'\]"),
        ({"Data": "aGk="}, "Data of a record of the API is bytes, not str"),
        ({"kinesis": {"data": 5}}, "data of a record in an event is base64 text or bytes, not int"),
        ({"kinesis": {}}, "data of a record in an event is base64 text or bytes, not NoneType"),
        ({"kinesis": "aGk="}, "kinesis of a record in an event is a mapping, not str"),
        (
            {"QueueRecords": [queue_record(b""), queue_record("aGk=")]},
            r"record 1 \(record id 'f00d42'\): Data of a record of the API is bytes, not str",
        ),
        (
            {"Records": [lambda_record(b""), {"kinesis": {"sequenceNumber": "49", "data": 5}}]},
            r"record 1 \(sequence number '49'\): data of a record in an event is base64 text or bytes, not int",
        ),
    ],
)
def test_what_no_consumer_gets_is_refused(given, what):
    with pytest.raises(TypeError, match=what):
        deaggregate(given)


@pytest.mark.parametrize("data", ["%%%%", "aGk", "aG k=", "é"])
def test_what_is_not_base64_is_refused(data):
    with pytest.raises(ValueError, match="is not base64"):
        deaggregate({"kinesis": {"data": data}})


@holding(
    text=st.text("AQz9+/=-_\n é", max_size=12)
    | st.binary(max_size=40).map(lambda data: base64.b64encode(data).decode())
)
def test_base64_is_what_the_standard_library_takes(text):
    try:
        expected = base64.b64decode(text, validate=True)
    except ValueError:
        expected = None
    if expected is not None and base64.b64encode(expected).decode()[: len(text) - 4] != text[: len(text) - 4]:
        expected = None  # padding in the middle, which some versions end at
    try:
        found = decode_base64(text)
    except ValueError:
        found = None
    assert found == expected


@pytest.mark.parametrize("make", [lambda_record, pipes_record])
def test_bad_base64_names_its_record(make):
    """And what stands before it comes out first, where records come one by one."""
    records = [make(AGGREGATED), make(b"plain"), make(b""), make(b"behind")]
    inner = records[2].get("kinesis", records[2])
    inner |= {"data": "aGk", "sequenceNumber": "495"}
    for given in (records, {"Records": records}):
        for call in (deaggregate, deaggregate_columns):
            with pytest.raises(ValueError, match=r"record 2 \(sequence number '495'\): data .* is not base64"):
                call(given)
    for given in (records, {"Records": records}, iter(records)):
        found = iter_deaggregate(given)
        assert [next(found).data for _ in range(3)] == [b"one", b"two", b"plain"]
        with pytest.raises(ValueError, match=r"record 2 \(sequence number '495'\): data .* is not base64"):
            next(found)


@pytest.mark.parametrize(
    "given",
    [
        {"x" * 10**6: 1},
        {str(i): i for i in range(10**5)},
        {"x": "y" * 10**6, 10**5000: 1},
        {"Data": "x" * 10**6},
        [{"kinesis": {"sequenceNumber": "4" * 10**6, "data": "é" * 10**6}}],
        {"kinesis": {"sequenceNumber": 10**5000, "data": None}},
        "x" * 10**6,
        [["x" * 10**6]],
    ],
)
def test_errors_are_short(given):
    with pytest.raises((TypeError, ValueError)) as raised:
        deaggregate(given)
    assert len(str(raised.value)) < 900
