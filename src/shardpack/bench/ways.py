"""The ways that are measured: ours, the peers' and the plain-Python one, each as its documentation shows it.

Peers are imported when they are asked for; ``NotInstalledError`` says what to install.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from .. import Aggregator, KinesisRecord, ShardMap, deaggregate
from .._native.md5 import _md5_many
from .corpus import Corpus

MIB = 1 << 20


class NotInstalledError(Exception):
    """A peer is not there. Its text is what to install."""


# --- ours ---


def add_many(aggregator: Aggregator, corpus: Corpus) -> list[KinesisRecord]:
    """Aggregate in one call. The aggregator is long-lived, as a producer's is."""
    aggregator.add_many(corpus.keys, corpus.datas)
    return aggregator.flush()


def batches(corpus: Corpus, size: int = 10_000) -> list[tuple[list[str], list[bytes]]]:
    """Cut a corpus into what comes at a time."""
    return [(corpus.keys[i : i + size], corpus.datas[i : i + size]) for i in range(0, len(corpus), size)]


def add_many_in_batches(aggregator: Aggregator, batches: Iterable[tuple[list[str], list[bytes]]]) -> int:
    """Aggregate batch by batch, and take what is full after each, as a producer does. Returns how many were sealed."""
    sealed = 0
    for keys, datas in batches:
        aggregator.add_many(keys, datas)
        sealed += len(aggregator.take())
    return sealed + len(aggregator.flush())


def add(aggregator: Aggregator, corpus: Corpus) -> list[KinesisRecord]:
    """Aggregate record by record."""
    add_one = aggregator.add
    for key, data in zip(corpus.keys, corpus.datas, strict=True):
        add_one(key, data)
    return aggregator.flush()


def read(records: Any) -> None:
    """Deaggregate, and ask every user record for its data and partition key."""
    for record in deaggregate(records):
        record.data  # noqa: B018 (made when asked for)
        record.partition_key  # noqa: B018


def column_pairs(columns: Any) -> list[tuple[str, bytes]]:
    """Return what ``deaggregate_columns`` found as pairs of partition key and data, in order."""
    data, offsets = bytes(columns.data), memoryview(columns.offsets)
    keys = [columns.partition_keys[i] for i in memoryview(columns.partition_key_indices)]
    return [(key, data[offsets[i] : offsets[i + 1]]) for i, key in enumerate(keys)]


KPL_AGGREGATE = 51_200
"""Bytes of an aggregated record as the KPL makes them unless it is told otherwise: its ``AggregationMaxSize``."""


def kinesis_records(corpus: Corpus, max_bytes: int = MIB) -> list[KinesisRecord]:
    """Aggregate a corpus into Kinesis records of that size, for one shard."""
    return add_many(Aggregator(ShardMap.uniform(1), max_bytes=max_bytes), corpus)


def get_records(sealed: list[KinesisRecord]) -> list[dict[str, Any]]:
    """Return what boto3's GetRecords would."""
    return [
        {
            "SequenceNumber": str(i),
            "PartitionKey": record.partition_key,
            "Data": record.data,
            "ApproximateArrivalTimestamp": datetime(2025, 1, 1, tzinfo=timezone.utc),
        }
        for i, record in enumerate(sealed)
    ]


def lambda_records(sealed: list[KinesisRecord]) -> list[dict[str, Any]]:
    """Return the ``Records`` of the event that Lambda would hand to a function."""
    return [
        {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": record.partition_key,
                "sequenceNumber": str(i),
                "data": base64.b64encode(record.data).decode(),
                "approximateArrivalTimestamp": 1735689600.0,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"shardId-000000000000:{i}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::123456789012:role/consumer",
            "awsRegion": "us-east-1",
            "eventSourceARN": "arn:aws:kinesis:us-east-1:123456789012:stream/telemetry",
        }
        for i, record in enumerate(sealed)
    ]


def compat_deaggregate(data_format: str | None) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """Our drop-in for aws_kinesis_agg: the same call, the same dictionaries."""
    from ..compat.aws_kinesis_agg.deaggregator import deaggregate_records  # noqa: PLC0415 (older versions lack it)

    return lambda records: deaggregate_records(records, data_format)


def compat_aggregate() -> Callable[[Corpus], list[bytes]]:
    """Aggregate with our drop-in for aws_kinesis_agg, record by record."""
    from ..compat.aws_kinesis_agg.aggregator import RecordAggregator  # noqa: PLC0415 (older versions lack it)

    return lambda corpus: _add_user_records(RecordAggregator(), corpus)


def arrow_to_pyarrow() -> Callable[[Any], Any]:
    """Deaggregate into an Arrow record batch, and have pyarrow read it."""
    from pyarrow import record_batch  # noqa: PLC0415 (not everybody has it)

    from .. import deaggregate_arrow  # noqa: PLC0415 (older versions lack it)

    return lambda records: record_batch(deaggregate_arrow(records))


def batch_pairs(batch: Any) -> list[tuple[str, bytes]]:
    """Return what a pyarrow record batch holds as pairs of partition key and data, in order."""
    batch.validate(full=True)
    return list(zip(batch["partition_key"].to_pylist(), batch["data"].to_pylist(), strict=True))


def stored_pairs(sealed: list[Any]) -> list[tuple[str | None, bytes]]:
    """Return what Kinesis records of any shards hold as sorted pairs: of ours, or of the data of a peer's."""
    found = deaggregate(get_records(sealed) if isinstance(sealed[0], KinesisRecord) else sealed)
    return sorted(pairs(found))


def pairs(user_records: Iterable[Any]) -> list[tuple[str | None, bytes]]:
    """Return user records of ours or aiokpl's as pairs of partition key and data, in order."""
    return [(record.partition_key, record.data) for record in user_records]


def aws_pairs(user_records: Iterable[dict[str, Any]]) -> list[tuple[str | None, bytes]]:
    """Return user records of aws_kinesis_agg as pairs of partition key and data, in order."""
    return [(record["kinesis"]["partitionKey"], base64.b64decode(record["kinesis"]["data"])) for record in user_records]


# --- the floor ---


def floor(datas: list[bytes], message_size: int = MIB) -> Callable[[], object]:
    """Return what no aggregator can do without: one copy of the payload into memory already touched, and its MD5.

    Both over messages of one size: a ``memcpy`` each, and our own MD5 of all of them together.
    """
    payload = b"".join(datas)
    messages = [payload[i : i + message_size] for i in range(0, len(payload), message_size)]
    target = bytearray(b"\x01" * len(payload))

    def copy_and_hash() -> object:
        with memoryview(target) as out:
            end = 0
            for message in messages:
                out[end : end + len(message)] = message
                end += len(message)
        return _md5_many(messages)

    return copy_and_hash


# --- hashlib ---


def hashlib_hash_keys(keys: list[str]) -> list[int]:
    return [int.from_bytes(hashlib.md5(key.encode()).digest(), "big") for key in keys]


def hashlib_md5(messages: list[bytes]) -> list[bytes]:
    return [hashlib.md5(message).digest() for message in messages]


# --- aws_kinesis_agg ---

AWS = "aws_kinesis_agg"


def _aws(module: str) -> Any:
    path = list(sys.path)  # which importing it changes
    try:
        return importlib.import_module(f"aws_kinesis_agg.{module}")
    except ModuleNotFoundError:
        raise NotInstalledError("pip install aws_kinesis_agg six") from None
    finally:
        sys.path[:] = path


def aws_aggregate() -> Callable[[Corpus], list[bytes]]:
    """Record by record, which is its only way; it knows no shards and makes one stream of Kinesis records."""
    aggregator = _aws("aggregator").RecordAggregator()
    return lambda corpus: _add_user_records(aggregator, corpus)


def _add_user_records(aggregator: Any, corpus: Corpus) -> list[bytes]:
    sealed = []
    for key, data in zip(corpus.keys, corpus.datas, strict=True):
        if full := aggregator.add_user_record(key, data):
            sealed.append(full.get_contents()[2])
    sealed.append(aggregator.clear_and_get().get_contents()[2])
    return sealed


def aws_deaggregate(data_format: str | None) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """GetRecords' records for ``data_format="Boto3"``, a Lambda event's for None. Its data is base64 in either case."""
    iter_records = _aws("deaggregator").iter_deaggregate_records
    return lambda records: list(iter_records(records, data_format=data_format))


def aws_to_pyarrow(data_format: str | None) -> Callable[[list[dict[str, Any]]], Any]:
    """Deaggregate, and make columns of the dictionaries, with data decoded, as whoever wants Arrow has to."""
    from pyarrow import record_batch  # noqa: PLC0415 (not everybody has it)

    deaggregate_records = aws_deaggregate(data_format)

    def to_pyarrow(records: list[dict[str, Any]]) -> Any:
        found = [record["kinesis"] for record in deaggregate_records(records)]
        return record_batch(
            {
                "partition_key": [record["partitionKey"] for record in found],
                "data": [base64.b64decode(record["data"]) for record in found],
                "sequence_number": [record["sequenceNumber"] for record in found],
                "sub_sequence_number": [record["subSequenceNumber"] for record in found],
                "approximate_arrival_timestamp": [record["approximateArrivalTimestamp"] for record in found],
            }
        )

    return to_pyarrow


def aws_read(data_format: str | None) -> Callable[[list[dict[str, Any]]], None]:
    """Deaggregate, and ask every user record for its data and partition key."""
    iter_records = _aws("deaggregator").iter_deaggregate_records

    def read_all(records: list[dict[str, Any]]) -> None:
        for record in iter_records(records, data_format=data_format):
            base64.b64decode(record["kinesis"]["data"])
            record["kinesis"]["partitionKey"]

    return read_all


# --- aiokpl ---

AIOKPL = "aiokpl"


def _aiokpl() -> ModuleType:
    """Load its codec, which needs nothing else; the package as a whole needs aiobotocore, and that an older boto3."""
    package = importlib.util.find_spec("aiokpl")
    if package is None or package.origin is None:
        raise NotInstalledError("pip install --no-deps aiokpl==0.2.0")
    name = "aiokpl.aggregation"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(package.origin).with_name("aggregation.py"))
        if spec is None or spec.loader is None:
            raise NotInstalledError("pip install --no-deps aiokpl==0.2.0")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)  # its dataclasses look themselves up there
        spec.loader.exec_module(module)
    return sys.modules[name]


def aiokpl_aggregate() -> Callable[[Corpus], list[bytes]]:
    """Its codec alone, which neither routes nor watches sizes: 1 MiB of data a Kinesis record, cut here."""
    codec = _aiokpl()
    user_record, encode = codec.UserRecord, codec.encode_aggregated

    def aggregate(corpus: Corpus) -> list[bytes]:
        sealed: list[bytes] = []
        batch: list[Any] = []
        size = 0
        for key, data in zip(corpus.keys, corpus.datas, strict=True):
            if size + len(data) + 32 > MIB:
                sealed.append(encode(batch))
                batch, size = [], 0
            batch.append(user_record(key, data))
            size += len(data) + 32
        sealed.append(encode(batch))
        return sealed

    return aggregate


def aiokpl_deaggregate() -> Callable[[list[dict[str, Any]]], list[Any]]:
    """Its codec alone, on the data of GetRecords' records; user records without their Kinesis record's fields."""
    decode = _aiokpl().decode_aggregated
    return lambda records: [record for parent in records for record in decode(parent["Data"])]


def aiokpl_read() -> Callable[[list[dict[str, Any]]], None]:
    """Deaggregate, and ask every user record for its data and partition key."""
    decode = _aiokpl().decode_aggregated

    def read_all(records: list[dict[str, Any]]) -> None:
        for parent in records:
            for record in decode(parent["Data"]):
                record.data  # noqa: B018
                record.partition_key  # noqa: B018

    return read_all


def versions() -> dict[str, str]:
    """Return the peers that are installed."""
    found = {}
    for peer in (AWS, AIOKPL, "protobuf"):
        try:
            found[peer] = version(peer)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
