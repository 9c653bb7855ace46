"""Lines for CloudWatch: by the schema that AWS publishes, under the names that the KPL has documented."""

from __future__ import annotations

import json

import jsonschema
import pytest
from test_producer import Shards, put_all
from watched import Watched, busy, times

from shardpack.producer.exporters.emf import EmfLines
from shardpack.producer.producer import Producer
from shardpack.producer.stats import Stats

NAME = {"type": "string", "minLength": 1, "maxLength": 1024}
PER_SECOND = [f"{unit}/Second" for unit in ("Bytes", "Kilobytes", "Megabytes", "Bits", "Kilobits", "Megabits", "Count")]
UNITS = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Bits",
    "Percent",
    "Count",
    *PER_SECOND,
    "None",
]
METRIC = {"type": "object", "required": ["Name"], "properties": {"Name": NAME, "Unit": {"enum": UNITS}}}
DIMENSION_SET = {"type": "array", "maxItems": 30, "items": {"type": "string", "minLength": 1, "maxLength": 250}}
DIRECTIVE = {
    "type": "object",
    "required": ["Namespace", "Dimensions", "Metrics"],
    "properties": {
        "Namespace": NAME,
        "Dimensions": {"type": "array", "minItems": 1, "items": DIMENSION_SET},
        "Metrics": {"type": "array", "maxItems": 100, "items": METRIC},
    },
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "required": ["_aws"],
    "properties": {
        "_aws": {
            "type": "object",
            "required": ["Timestamp", "CloudWatchMetrics"],
            "properties": {
                "Timestamp": {"type": "integer", "minimum": 0},
                "CloudWatchMetrics": {"type": "array", "items": DIRECTIVE},
            },
        }
    },
}
"""Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html"""

MAX_LINE = 256 * 1024
"""Bytes of a log event."""

OF_THE_KPL = {
    "UserRecordsReceived": "Count",
    "UserRecordsPending": "Count",
    "UserRecordsPut": "Count",
    "UserRecordsDataPut": "Bytes",
    "KinesisRecordsPut": "Count",
    "KinesisRecordsDataPut": "Bytes",
    "AllErrors": "Count",
    "RetriesPerRecord": "Count",
    "UserRecordExpired": "Count",
    "BufferingTime": "Milliseconds",
    "RequestTime": "Milliseconds",
    "UserRecordsPerKinesisRecord": "Count",
    "KinesisRecordsPerPutRecordsRequest": "Count",
}
"""Names and units. Source: https://docs.aws.amazon.com/streams/latest/dev/monitoring-with-kpl.html"""


def read(line):
    """Return dimensions and metrics of a line that keeps the rules."""
    assert len(line.encode()) <= MAX_LINE
    assert "\n" not in line
    document = json.loads(line)
    jsonschema.validate(document, SCHEMA)
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    (dimensions,) = directive["Dimensions"]
    values = {dimension: document[dimension] for dimension in dimensions}
    assert all(isinstance(value, str) and 1 <= len(value) <= 1024 for value in values.values())
    metrics = {metric["Name"]: (metric["Unit"], document[metric["Name"]]) for metric in directive["Metrics"]}
    assert all(isinstance(value, (int, float)) for _, value in metrics.values())
    assert set(document) == {"_aws", *dimensions, *metrics}
    return directive["Namespace"], values, metrics, document["_aws"]["Timestamp"]


def test_the_line_has_what_the_kpl_has():
    first, *_ = EmfLines(busy(), "orders").lines(at=1_700_000_000.5)
    namespace, dimensions, metrics, timestamp = read(first)
    assert (namespace, dimensions, timestamp) == ("KinesisProducerLibrary", {"StreamName": "orders"}, 1_700_000_000_500)
    assert {name: unit for name, (unit, _) in metrics.items()} == OF_THE_KPL
    assert {name: value for name, (_, value) in metrics.items()} == {
        "UserRecordsReceived": 1000,
        "UserRecordsPending": 50,
        "UserRecordsPut": 900,
        "UserRecordsDataPut": 81_000,
        "KinesisRecordsPut": 45,
        "KinesisRecordsDataPut": 90_000,
        "AllErrors": 15,
        "RetriesPerRecord": pytest.approx(15 / 45),
        "UserRecordExpired": 25,
        "BufferingTime": 93.75 + 250 + 500,
        "RequestTime": 45_003.90625,
        "UserRecordsPerKinesisRecord": 20,
        "KinesisRecordsPerPutRecordsRequest": 5,
    }


def test_each_error_code_has_a_line():
    _, *lines = EmfLines(busy(), "orders").lines()
    read_lines = [read(line) for line in lines]
    assert [(dimensions["ErrorCode"], metrics) for _, dimensions, metrics, _ in read_lines] == [
        ("ProvisionedThroughputExceededException", {"ErrorsByCode": ("Count", 11)}),
        ("InternalFailure", {"ErrorsByCode": ("Count", 4)}),
    ]
    assert all(list(dimensions) == ["StreamName", "ErrorCode"] for _, dimensions, _, _ in read_lines)


@pytest.mark.parametrize("code", ["", "x" * 5000, "né\n\U0001f4e1"])
def test_whatever_an_error_is_called_the_line_keeps_the_rules(code):
    lines = EmfLines(Watched(errors={code: 1}), "orders").lines()
    assert len(lines) == 2
    for line in lines:
        read(line)


def test_lines_are_of_what_was_done_since_the_last_ones():
    producer = busy()
    emf = EmfLines(producer, "orders")
    emf.lines()
    producer.set(user_records_put=1010, user_records_stored=960, kinesis_records_stored=47, queue_s=times(0.5, 1.0))
    producer.set(errors={"ProvisionedThroughputExceededException": 12, "InternalFailure": 4})
    first, *errors = [read(line)[2] for line in emf.lines()]
    assert first["UserRecordsReceived"][1] == 10
    assert first["UserRecordsPut"][1] == 60
    assert first["UserRecordsPerKinesisRecord"][1] == 30
    assert first["BufferingTime"][1] == 1000
    assert first["AllErrors"][1] == 1
    assert "RequestTime" not in first
    assert errors == [{"ErrorsByCode": ("Count", 1)}]


def test_what_there_was_none_of_has_no_average():
    (line,) = EmfLines(Watched(), "orders").lines()
    metrics = read(line)[2]
    assert {"BufferingTime", "RequestTime", "RetriesPerRecord", "UserRecordsPerKinesisRecord"}.isdisjoint(metrics)
    assert metrics["UserRecordsReceived"] == ("Count", 0)


def test_a_process_that_was_forked_off_begins_anew():
    producer = busy()
    emf = EmfLines(producer, "orders")
    emf.lines()
    producer.now = Stats(user_records_put=3, user_records_pending=3)
    assert read(emf.lines()[0])[2]["UserRecordsReceived"] == ("Count", 3)


def test_dimensions_and_namespace_may_be_others():
    (line,) = EmfLines(Watched(), "orders", namespace="ingest", dimensions={"Host": "a-1"}).lines()
    namespace, dimensions, _, _ = read(line)
    assert (namespace, dimensions) == ("ingest", {"StreamName": "orders", "Host": "a-1"})


def test_the_lines_of_a_producer_add_up_to_what_was_put():
    with Producer(transport=Shards(), linger_ms=1) as producer:
        emf = EmfLines(producer, "orders")
        received = 0
        for _ in range(3):
            put_all(producer, 100)
            received += read(emf.lines()[0])[2]["UserRecordsReceived"][1]
    last = read(emf.lines()[0])[2]
    assert received + last["UserRecordsReceived"][1] == 300
    assert last["UserRecordsPending"][1] == 0
