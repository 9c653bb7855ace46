"""What a producer refuses to begin with."""

from __future__ import annotations

import inspect

import boto3
import pytest

from shardpack import AsyncProducer, Boto3Transport, Producer
from shardpack.producer.options import ProducerOptions


@pytest.mark.parametrize("kind", [Producer, AsyncProducer])
@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({}, ValueError, "either stream_name or stream_arn"),
        ({"stream_arn": "arn:aws:kinesis:eu-west-1:1:stream/s", "stream_name": "s"}, ValueError, "either"),
        ({"stream_arn": "telemetry"}, ValueError, "stream_arn is an ARN, not 'telemetry'"),
        ({"stream_name": 7}, TypeError, "a stream's name or ARN is a str"),
        ({"transport": object(), "client": object()}, ValueError, "a transport has its client"),
        ({"linger_ms": -1}, ValueError, "linger_ms of -1 is below 0"),
        ({"linger_ms": "100"}, TypeError, "linger_ms is a number, not str"),
        ({"linger_ms": float("nan")}, ValueError, "linger_ms of nan is no bound"),
        ({"record_ttl_ms": float("inf")}, ValueError, "record_ttl_ms of inf is no bound"),
        ({"max_aggregate_bytes": 0}, ValueError, "max_aggregate_bytes of 0 is not between 1 and 1,048,576"),
        ({"max_aggregate_bytes": 1 << 21}, ValueError, "max_aggregate_bytes of 2,097,152"),
        ({"max_aggregate_records": 0}, ValueError, "max_aggregate_records of 0"),
        ({"max_aggregate_records": 1.5}, TypeError, "max_aggregate_records is a whole number"),
        ({"max_buffered_bytes": -5}, ValueError, "max_buffered_bytes of -5"),
        ({"max_requests_in_flight": 0}, ValueError, "max_requests_in_flight of 0"),
        ({"shard_bytes_per_second": 0}, ValueError, "shard_bytes_per_second of 0"),
        ({"shard_records_per_second": True}, TypeError, "shard_records_per_second is a number"),
        ({"ordering": "key"}, ValueError, "ordering is one of shard, none, not 'key'"),
        ({"after_failure": "halt"}, ValueError, "after_failure is one of continue, stop, not 'halt'"),
        ({"close_timeout_s": None}, TypeError, "close_timeout_s is a number"),
    ],
)
def test_options_that_are_none(kind, options, error, said):
    given = (
        options if {"stream_name", "stream_arn", "transport"} & set(options) or not options else {"stream_name": "s"}
    )
    with pytest.raises(error, match=said):
        kind(**{**given, **options})


@pytest.mark.parametrize("client", ["us-east-1", boto3.Session(region_name="us-east-1"), object(), 7])
@pytest.mark.parametrize(
    "make", [lambda client: Producer("x", client=client), lambda client: Boto3Transport(client, "x")]
)
def test_a_client_that_is_none_is_named_at_once(make, client):
    with pytest.raises(TypeError, match=r"expected a Kinesis client, as boto3\.client\('kinesis'\) makes one"):
        make(client)


def test_a_client_in_the_place_of_the_name():
    with pytest.raises(TypeError, match="a client goes in as client="):
        Producer(boto3.client("kinesis", region_name="us-east-1"))


def test_what_they_show():
    client = boto3.client("kinesis", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y")  # noqa: S106
    producer = Producer("telemetry", client=client)
    assert repr(producer) == "<Producer of telemetry, open>"
    producer.close()
    assert repr(producer) == "<Producer of telemetry, closed>"
    assert repr(Boto3Transport(client, "telemetry")) == "<Boto3Transport of telemetry>"
    assert repr(Producer(transport=Boto3Transport(client, "telemetry"))) == (
        "<Producer of <Boto3Transport of telemetry>, open>"
    )


def test_options_that_are_handed_on_are_all_of_them():
    """A type checker sees them in two places: the same names, of the same types."""
    taken = inspect.get_annotations(Producer.__init__)
    handed_on = {name: text.__forward_arg__ for name, text in ProducerOptions.__annotations__.items()}
    assert handed_on == {name: text for name, text in taken.items() if name not in {"stream_name", "return"}}
