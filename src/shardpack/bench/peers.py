"""Whom ours is measured beside: other libraries, plain Python and the floor, each called as its documentation shows it.

Peers are imported when they are asked for; ``NotInstalledError`` says what to install.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.util
import sys
from bisect import bisect_right
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from .. import KinesisRecord, Limits
from .._native.md5 import _md5_many
from .corpus import Corpus

MIB = 1 << 20


class NotInstalledError(Exception):
    """A peer is not there. Its text is what to install."""


# --- plain Python ---


def hashlib_hash_keys(keys: list[str]) -> list[int]:
    return [int.from_bytes(hashlib.md5(key.encode()).digest(), "big") for key in keys]


def bisect_shards(starts: list[int], keys: list[str]) -> list[int]:
    """Find the shards of partition keys, given where each shard's hash range starts, in order."""
    return [bisect_right(starts, hash_key) - 1 for hash_key in hashlib_hash_keys(keys)]


def hashlib_md5(messages: list[bytes]) -> list[bytes]:
    return [hashlib.md5(message).digest() for message in messages]


def pack_in_order(records: list[KinesisRecord], limits: Limits) -> list[list[KinesisRecord]]:
    """Fill requests in the order of arrival, with no thought for fairness."""
    requests: list[list[KinesisRecord]] = []
    request: list[KinesisRecord] = []
    room = limits.max_request_bytes
    for record in records:
        if len(request) == limits.max_request_records or record.size > room:
            requests.append(request)
            request, room = [], limits.max_request_bytes
        request.append(record)
        room -= record.size
    return [*requests, request]


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
    return lambda corpus: add_user_records(aggregator, corpus)


def add_user_records(aggregator: Any, corpus: Corpus) -> list[bytes]:
    """Aggregate record by record with a ``RecordAggregator``, the original or our drop-in for it."""
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


# --- which there are ---


def versions() -> dict[str, str]:
    """Return the peers that are installed."""
    found = {}
    for peer in (AWS, AIOKPL, "protobuf", "boto3", "confluent-kafka"):
        try:
            found[peer] = version(peer)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
