"""What becomes of a configuration of the Kinesis Producer Library."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from shardpack import Stats
from shardpack.producer.kpl_properties import NAMES, OBJECTS, producer_options
from shardpack.producer.producer import Producer

KPL = json.loads(Path(__file__).with_name("data").joinpath("kpl_names.json").read_text())
DOCS = Path(__file__).parent.parent / "docs" / "migrate" / "from-kpl.md"
OF_1_1 = {"DescribeStreamSummaryIntervalMs", "RecordDistributionStrategyDefault"}


def options_of(**properties):
    return producer_options(properties, {})


def client_of(**properties):
    return options_of(**properties)["client"].client(3)


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


def test_every_key_of_the_kpl_is_known():
    assert set(NAMES.values()) == {*KPL["default_config.properties"], *KPL["setters"], *OF_1_1}


def test_nothing_is_an_option_where_nothing_is_said():
    assert options_of() == {}


@pytest.mark.parametrize(
    ("properties", "options"),
    [
        ({"AggregationEnabled": "true"}, {}),
        ({"AggregationEnabled": "false"}, {"max_aggregate_records": 1}),
        ({"AggregationEnabled": "FALSE", "AggregationMaxCount": "20"}, {"max_aggregate_records": 1}),
        ({"AggregationMaxCount": "20"}, {"max_aggregate_records": 20}),
        ({"AggregationMaxCount": "4294967295"}, {"max_aggregate_records": 4294967295}),
        ({"AggregationMaxCount": "9223372036854775807"}, {}),
        ({"AggregationMaxSize": "51200"}, {"max_aggregate_bytes": 51200}),
        ({"MaxConnections": 24}, {"max_requests_in_flight": 24}),
        ({"RecordMaxBufferedTime": "0"}, {"linger_ms": 0}),
        ({"RecordMaxBufferedTime": " 250\t"}, {"linger_ms": 250}),
        ({"RecordTtl": "9223372036854775807"}, {"record_ttl_ms": 2**63 - 1}),
        ({"RateLimit": "150"}, {"shard_bytes_per_second": 1.5 * 1024 * 1024, "shard_records_per_second": 1500}),
        ({"RateLimit": "1"}, {"shard_bytes_per_second": 10485.76, "shard_records_per_second": 10}),
        ({"FailIfThrottled": "false", "MaxUserRecordSize": "1048576", "UserRecordTimeoutInMillis": "0"}, {}),
        ({"Region": "", "KinesisEndpoint": "", "CaCertPath": ""}, {}),
    ],
)
def test_what_corresponds_is_converted(properties, options, warnings):
    assert producer_options(properties, {}) == options
    assert warnings() == []


@pytest.mark.parametrize(
    "key", ["RecordMaxBufferedTime", "recordMaxBufferedTime", "record_max_buffered_time", "record-max-buffered-time"]
)
def test_every_spelling_of_a_key(key):
    assert producer_options({key: "5"}, {}) == {"linger_ms": 5}


def test_a_key_that_is_there_in_two_spellings():
    with pytest.raises(ValueError, match="RecordTtl is there twice, the second time as 'record_ttl'"):
        producer_options({"RecordTtl": "500", "record_ttl": "600"}, {})


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("RecordMaxBufferTime", "RecordMaxBufferedTime"), ("ratelimit%", "RateLimit"), ("LingerMs", None), (7, None)],
)
def test_unknown_keys_are_refused(key, nearest):
    said = f"; {nearest}?" if nearest else ""
    with pytest.raises(ValueError, match=f"^{re.escape(f'no KPL configuration key: {key!r}{said}')}$"):
        producer_options({key: "5"}, {})


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("FailIfThrottled", "true", "a shorter RecordTtl gives up sooner"),
        ("MaxUserRecordSize", "52428", "what the stream takes is taken"),
        ("UserRecordTimeoutInMillis", "5000", r"result\(timeout=…\)"),
        ("GlueSchemaRegistryPropertiesFilePath", "/etc/glue", "encode it before"),
        ("CaCertPath", "/etc/ssl/certs", "CaCertFile"),
        *((name, object(), re.escape(why)) for name, why in OBJECTS.items()),
    ],
)
def test_what_cannot_be_honoured_is_refused(key, value, why):
    with pytest.raises(ValueError, match=f"^{key} cannot be .*{why}"):
        producer_options({key: value}, {})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("AggregationEnabled", "yes"),  # Java reads anything but true as false
        ("AggregationEnabled", "1"),
        ("AggregationEnabled", 1),
        ("AggregationMaxCount", "0"),
        ("AggregationMaxSize", "63"),
        ("AggregationMaxSize", "1_000"),
        ("CollectionMaxCount", "501"),
        ("KinesisEndpoint", "https://kinesis.us-east-1.amazonaws.com"),
        ("KinesisPort", "65536"),
        ("LogLevel", "loud"),
        ("MaxConnections", True),
        ("MaxUserRecordSize", "1048576;"),  # as it stands in the KPL's own file, which the KPL does not load
        ("RateLimit", "150%"),
        ("RateLimit", "9" * 5000),
        ("RecordTtl", "99"),
        ("RecordTtl", "30s"),
        ("RecordTtl", None),
        ("Region", "us_east_1"),
        ("ThreadingModel", "pooled"),
    ],
)
def test_values_that_the_kpl_refuses(key, value):
    with pytest.raises(ValueError, match=f"^{key} is ") as raised:
        producer_options({key: value}, {})
    assert len(str(raised.value)) < 300


HARMLESS = {
    "CloudwatchEndpoint": "monitoring.local",
    "CloudwatchPort": "443",
    "CollectionMaxCount": "100",
    "CollectionMaxSize": "1000000",
    "CredentialsRefreshDelay": "5000",
    "DaemonHealthCheckTimeoutMs": "30000",
    "DescribeStreamSummaryIntervalMs": "60000",
    "EnableCoreDumps": "true",
    "EnableDaemonHealthCheck": "false",
    "EnableOldestFutureTracker": "true",
    "KinesisPort": "4567",  # without KinesisEndpoint, as in the KPL
    "LogLevel": "info",
    "MetricsGranularity": "shard",
    "MetricsLevel": "detailed",
    "MetricsNamespace": "KinesisProducerLibrary",
    "MetricsUploadDelay": "60000",
    "MinConnections": "1",
    "NativeExecutable": "/opt/kpl",
    "ProxyPassword": "secret",
    "ProxyPort": "3128",
    "ProxyUserName": "user",
    "RecordDistributionStrategyDefault": "AUTO",
    "ReturnUserRecordOnFailure": "true",
    "StsEndpoint": "sts.local",
    "StsPort": "443",
    "TempDirectory": "/var/kpl",
    "ThreadPoolSize": "64",
    "ThreadingModel": "POOLED",
}


def test_what_changes_nothing_is_named_once(warnings):
    assert producer_options(HARMLESS, {}) == {}
    assert warnings() == [f"of no effect here: {', '.join(sorted(HARMLESS))}"]


def test_what_is_so_anyway_is_not_named(warnings):
    usual = {
        "CollectionMaxCount": "500",
        "CollectionMaxSize": "5242880",
        "DescribeStreamSummaryIntervalMs": "300000",
        "KinesisPort": "443",
        "RecordDistributionStrategyDefault": "UNSET",
    }
    assert producer_options(usual, {}) == {}
    assert warnings() == []


def test_the_client_is_made_as_they_say(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    client = client_of(
        Region="eu-west-3",
        KinesisEndpoint="kinesis.local",
        KinesisPort="4567",
        ConnectTimeout="1500",
        RequestTimeout="2500",
        CaCertFile="/etc/ca.pem",
        ProxyHost="proxy.local",
        ProxyPort="3128",
        ProxyUserName="user@place",
        ProxyPassword="p:w",
    )
    assert client.meta.region_name == "eu-west-3"
    assert client.meta.endpoint_url == "https://kinesis.local:4567"
    config = client.meta.config
    assert (config.connect_timeout, config.read_timeout, config.max_pool_connections) == (1.5, 2.5, 3)
    assert config.retries["total_max_attempts"] == 1
    assert config.proxies == {"https": "http://user%40place:p%3Aw@proxy.local:3128"}
    assert client._endpoint.http_session._verify == "/etc/ca.pem"
    assert client_of(VerifyCertificate="false", CaCertFile="/etc/ca.pem")._endpoint.http_session._verify is False
    usual = client_of(ConnectTimeout="100")
    assert usual.meta.endpoint_url == "https://kinesis.us-east-1.amazonaws.com"
    assert usual.meta.config.read_timeout == 6
    assert usual._endpoint.http_session._verify is True


def test_options_go_before_and_a_client_has_its_own_settings(warnings):
    client = object()
    given = {"client": client, "linger_ms": 5}
    properties = {"RecordMaxBufferedTime": "100", "RecordTtl": "500", "Region": "eu-west-3", "RequestTimeout": "6000"}
    assert producer_options(properties, given) == {"client": client, "linger_ms": 5, "record_ttl_ms": 500}
    assert warnings() == ["of no effect here: Region, RequestTimeout"]


def test_a_producer_made_of_them_delivers(local_kinesis):
    local_kinesis.create_stream("kpl-properties", 2)
    properties = {"AggregationEnabled": "false", "RecordMaxBufferedTime": "5"}
    with Producer.from_kpl_properties(properties, "kpl-properties", client=local_kinesis.client()) as producer:
        receipts = producer.put_many(["a"] * 3, [b"1", b"2", b"3"])
    assert len({receipt.result(0).sequence_number for receipt in receipts}) == 3


def test_the_docs_have_every_key_and_every_metric():
    rows = re.findall(r"^\| (`.*?) \|", DOCS.read_text(), re.MULTILINE)
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert names >= {*NAMES.values(), *KPL["metrics"]}


def test_the_docs_name_fields_of_stats():
    table = DOCS.read_text().partition("| KPL metric | in `stats()` |")[2].partition("\n\n")[0]
    fields = {name for row in table.splitlines()[2:] for name in re.findall(r"`([a-z_]+)`", row.split("|")[2])}
    assert len(fields) > 10
    assert {name for name in fields if not hasattr(Stats, name)} == {"attempts"}  # of an outcome
