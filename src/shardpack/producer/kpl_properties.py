"""A configuration of the Kinesis Producer Library as options of ``Producer``.

Source: KinesisProducerConfiguration.java, default_config.properties and kinesis_producer.cc of amazon-kinesis-producer
1.0.7, and what AWS documents of 1.1.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any
from urllib.parse import quote

from ..errors import abridged
from ..limits import (
    MAX_RECORD_BYTES,
    MAX_REQUEST_BYTES,
    MAX_REQUEST_RECORDS,
    MIB,
    SHARD_BYTES_PER_SECOND,
    SHARD_RECORDS_PER_SECOND,
)
from ..transport.boto3 import ClientSettings

logger = logging.getLogger("shardpack.producer")

MOST = 2**63 - 1
MOST_AGGREGATED = 2**32 - 1
"""What the KPL means by no bound, and the most that a bucket takes."""

NUMBERS = {
    "AggregationMaxCount": (1, MOST),
    "AggregationMaxSize": (64, 10 * MIB),
    "CloudwatchPort": (1, 65535),
    "CollectionMaxCount": (1, 500),
    "CollectionMaxSize": (52224, MOST),
    "ConnectTimeout": (100, 300_000),
    "CredentialsRefreshDelay": (1, 300_000),
    "DaemonHealthCheckTimeoutMs": (5000, MOST),
    "DescribeStreamSummaryIntervalMs": (1, MOST),
    "KinesisPort": (1, 65535),
    "MaxConnections": (1, 256),
    "MaxUserRecordSize": (64, 10 * MIB),
    "MetricsUploadDelay": (1, 60_000),
    "MinConnections": (1, 16),
    "ProxyPort": (1, 65535),
    "RateLimit": (1, MOST),
    "RecordMaxBufferedTime": (0, MOST),
    "RecordTtl": (100, MOST),
    "RequestTimeout": (100, 600_000),
    "StsPort": (1, 65535),
    "ThreadPoolSize": (0, 2**31 - 1),
    "UserRecordTimeoutInMillis": (0, MOST),
}
"""From … to, as the KPL has it."""

SWITCHES = frozenset(
    {
        "AggregationEnabled",
        "EnableCoreDumps",
        "EnableDaemonHealthCheck",
        "EnableOldestFutureTracker",
        "FailIfThrottled",
        "ReturnUserRecordOnFailure",
        "VerifyCertificate",
    }
)

ANY = "(?s).*"
HOST = r"[A-Za-z0-9.-]*"
TEXTS = {
    "CaCertFile": ANY,
    "CaCertPath": ANY,
    "CloudwatchEndpoint": HOST,
    "GlueSchemaRegistryPropertiesFilePath": ANY,
    "KinesisEndpoint": HOST,
    "LogLevel": "trace|debug|info|warning|error",
    "MetricsGranularity": "global|stream|shard",
    "MetricsLevel": "none|summary|detailed",
    "MetricsNamespace": "(?!AWS/).{1,255}",
    "NativeExecutable": ANY,
    "ProxyHost": ANY,
    "ProxyPassword": ANY,
    "ProxyUserName": ANY,
    "RecordDistributionStrategyDefault": "UNSET|AUTO|USER_PARTITION_KEY",
    "Region": r"([a-z]+-([a-z]+-)?[a-z]+-[0-9])?",
    "StsEndpoint": HOST,
    "TempDirectory": ANY,
    "ThreadingModel": "PER_REQUEST|POOLED",
}

OBJECTS = {
    "CredentialsProvider": "boto3 finds credentials; for others give client=",
    "GlueSchemaRegistryConfiguration": "data is stored as it is put; encode it before",
    "GlueSchemaRegistryCredentialsProvider": "data is stored as it is put; encode it before",
    "MetricsCredentialsProvider": "metrics are read with stats(), and exported with credentials of the exporter",
}
"""What only Java code can set."""

NO_OTHER: dict[str, tuple[object, str]] = {
    "FailIfThrottled": (
        False,
        "a throttled record is sent again until it is stored or expires: a shorter RecordTtl gives up sooner",
    ),
    "UserRecordTimeoutInMillis": (
        0,
        "an outcome is told when it is known: wait for it with result(timeout=…), or give up sooner with RecordTtl",
    ),
    "GlueSchemaRegistryPropertiesFilePath": ("", "data is stored as it is put; encode it before"),
    "CaCertPath": ("", "boto3 takes certificates from one file: CaCertFile"),
}
"""The only value that can be had, and why. Another one would change what becomes of records, or who is trusted."""

NO_COUNTERPART = frozenset(
    {
        "CloudwatchEndpoint",
        "CloudwatchPort",
        "CredentialsRefreshDelay",
        "DaemonHealthCheckTimeoutMs",
        "EnableCoreDumps",
        "EnableDaemonHealthCheck",
        "EnableOldestFutureTracker",
        "LogLevel",
        "MetricsGranularity",
        "MetricsLevel",
        "MetricsNamespace",
        "MetricsUploadDelay",
        "MinConnections",
        "NativeExecutable",
        "ReturnUserRecordOnFailure",
        "StsEndpoint",
        "StsPort",
        "TempDirectory",
        "ThreadPoolSize",
        "ThreadingModel",
    }
)
"""Of no consequence for any record."""

ALWAYS_SO: dict[str, object] = {
    "CollectionMaxCount": MAX_REQUEST_RECORDS,
    "CollectionMaxSize": MAX_REQUEST_BYTES,
    "DescribeStreamSummaryIntervalMs": 300_000,
    "RecordDistributionStrategyDefault": "UNSET",
}
"""What is done whatever they say, and harmless: named in the warning only where they say something else."""

OF_THE_CLIENT = (
    "CaCertFile",
    "ConnectTimeout",
    "KinesisEndpoint",
    "KinesisPort",
    "ProxyHost",
    "ProxyPassword",
    "ProxyPort",
    "ProxyUserName",
    "Region",
    "RequestTimeout",
    "VerifyCertificate",
)

NEEDS = {
    "KinesisPort": "KinesisEndpoint",
    "ProxyPassword": "ProxyHost",
    "ProxyPort": "ProxyHost",
    "ProxyUserName": "ProxyHost",
}
"""What says nothing without another one."""

NAMES = {name.lower(): name for name in (*NUMBERS, *SWITCHES, *TEXTS, *OBJECTS)}


def producer_options(properties: Mapping[str, object], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a producer that do what these properties say; those ``given`` go before them.

    Keys that have no counterpart and change nothing about records are named in one warning. Raises ``ValueError`` for
    unknown keys, values that the KPL refuses, and values that cannot be honoured.
    """
    values = _values(properties)
    for name, (only, why) in NO_OTHER.items():
        if values.get(name, only) != only:
            raise ValueError(f"{name} cannot be {values[name]!r}: {why}")
    if values.get("MaxUserRecordSize", MAX_RECORD_BYTES) < MAX_RECORD_BYTES:
        raise ValueError(f"MaxUserRecordSize cannot be {values['MaxUserRecordSize']}: what the stream takes is taken")
    options = _delivery(values)
    of_no_use = [name for name in values if name in NO_COUNTERPART]
    of_no_use += [name for name, usual in ALWAYS_SO.items() if values.get(name, usual) != usual]
    idle = [name for name, other in NEEDS.items() if not values.get(other)]
    of_no_use += [name for name in idle if values.get(name, "") not in ("", 443)]
    of_the_client = [name for name in OF_THE_CLIENT if values.get(name, "") != "" and name not in idle]
    if given.get("client") is not None or given.get("transport") is not None:
        of_no_use += of_the_client  # it has its own
    elif of_the_client:
        options["client"] = _client_settings(values)
    if of_no_use:
        logger.warning("of no effect here: %s", ", ".join(sorted(of_no_use)))
    return {**options, **given}


def _values(properties: Mapping[str, object]) -> dict[str, Any]:
    """Return what the keys say, by their names in the KPL's files."""
    values: dict[str, Any] = {}
    for key, value in properties.items():
        name = NAMES.get(re.sub("[_-]", "", key).lower()) if isinstance(key, str) else None
        if name is None:
            raise ValueError(f"no KPL configuration key: {abridged(key)}{_nearest(key)}")
        if name in values:
            raise ValueError(f"{name} is there twice, the second time as {key!r}")
        if name in OBJECTS:
            raise ValueError(f"{name} cannot be honoured: {OBJECTS[name]}")
        values[name] = _value(name, value.strip() if isinstance(value, str) else value)
    return values


def _nearest(key: object) -> str:
    found = get_close_matches(re.sub("[_-]", "", str(key)[:80]).lower(), NAMES, n=1)
    return f"; {NAMES[found[0]]}?" if found else ""


def _value(name: str, value: object) -> object:
    if name in SWITCHES:
        text = str(value).lower() if isinstance(value, (str, bool)) else ""
        if text not in ("true", "false"):
            raise ValueError(f"{name} is true or false, not {abridged(value)}")
        return text == "true"
    if name in NUMBERS:
        if isinstance(value, bool) or not re.fullmatch("[+-]?[0-9]{1,20}", str(value)):
            raise ValueError(f"{name} is a whole number, not {abridged(value)}")
        least, most = NUMBERS[name]
        number = int(str(value))
        if not least <= number <= most:
            raise ValueError(f"{name} is from {least:,} to {most:,}, not {number:,}")
        return number
    text = "" if value is None else str(value)
    if not re.fullmatch(TEXTS[name], text):
        raise ValueError(f"{name} is one of {TEXTS[name]}, not {abridged(value)}")
    return text


def _delivery(values: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if values.get("AggregationMaxCount", MOST) <= MOST_AGGREGATED:
        options["max_aggregate_records"] = values["AggregationMaxCount"]
    if not values.get("AggregationEnabled", True):
        options["max_aggregate_records"] = 1
    for name, option in (
        ("AggregationMaxSize", "max_aggregate_bytes"),
        ("MaxConnections", "max_requests_in_flight"),
        ("RecordMaxBufferedTime", "linger_ms"),
        ("RecordTtl", "record_ttl_ms"),
    ):
        if name in values:
            options[option] = values[name]
    if "RateLimit" in values:
        options["shard_bytes_per_second"] = values["RateLimit"] * SHARD_BYTES_PER_SECOND / 100
        options["shard_records_per_second"] = values["RateLimit"] * SHARD_RECORDS_PER_SECOND / 100
    return options


def _client_settings(values: Mapping[str, Any]) -> ClientSettings:
    settings: dict[str, Any] = {}
    if values.get("Region"):
        settings["region_name"] = values["Region"]
    if values.get("KinesisEndpoint"):
        settings["endpoint_url"] = f"https://{values['KinesisEndpoint']}:{values.get('KinesisPort', 443)}"
    if not values.get("VerifyCertificate", True):
        settings["verify"] = False
    elif values.get("CaCertFile"):
        settings["verify"] = values["CaCertFile"]
    if values.get("ProxyHost"):
        user = quote(values.get("ProxyUserName", ""), safe="")
        password = quote(values.get("ProxyPassword", ""), safe="")
        who = f"{user}:{password}@" if user else ""
        proxy = f"http://{who}{values['ProxyHost']}:{values.get('ProxyPort', 443)}"
        settings["proxies"] = {"https": proxy}
    if "ConnectTimeout" in values:
        settings["connect_timeout_s"] = values["ConnectTimeout"] / 1000
    if "RequestTimeout" in values:
        settings["read_timeout_s"] = values["RequestTimeout"] / 1000
    return ClientSettings(**settings)
