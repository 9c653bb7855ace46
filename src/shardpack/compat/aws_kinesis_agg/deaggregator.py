"""User records out of Kinesis records, as dictionaries in the shape of Lambda's events.

What is aggregated becomes a dictionary for each user record: ``kinesis`` with its ``partitionKey``,
``explicitHashKey``, ``subSequenceNumber``, ``aggregated`` (True) and ``data`` (base64, as bytes), and what the Kinesis
record says beside it. Everything else comes back as it was given, or in Lambda's shape where it came in another.
Where this departs from the original, and why, is docs/migrate/from-aws-kinesis-agg.md.
"""

from __future__ import annotations

from base64 import b64decode as lenient_b64decode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pybase64 import b64decode, b64encode

from ..._native.compat import Template, append_user_records, index_received, template_of
from ..._native.deaggregate import ReceivedRecord
from ...consume.shapes import decode_base64
from ...errors import MalformedRecordError

__all__ = ["deaggregate_records", "iter_deaggregate_records"]

BATCH = 256
BATCH_BYTES = 16 << 20
"""Kinesis records of a list, or bytes of them, that are read at a time: what one call or event brings, as a rule. Their
checksums run together, and the cycle collector rests until all of their user records are there."""

BOTO3 = "Boto3"

METADATA = ("kinesisStreamRecordMetadata", "kinesisRecordMetadata")
"""Where records of Kinesis Analytics and of Firehose say what goes under ``kinesis``."""

Records = Mapping[str, Any] | Iterable[Mapping[str, Any]]

_Received = tuple[ReceivedRecord, bool]
"""A Kinesis record with its source in Lambda's shape; is the data there still to be encoded, where it comes back?"""


def deaggregate_records(records: Records, data_format: str | None = None) -> list[dict[str, Any]]:
    """Return all that ``iter_deaggregate_records`` yields."""
    found: list[dict[str, Any]] = []
    for batch in _received(records, data_format):
        append_user_records([_part(received, to_encode) for received, to_encode in batch], found)
    return found


def iter_deaggregate_records(records: Records, data_format: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the user records of Kinesis records: of Lambda, Firehose, Kinesis Analytics or boto3; of one, or of many.

    A list or tuple is read 256 Kinesis records ahead, or 16 MiB; of any other iterable, a record is asked for when all
    before it were yielded. ``data`` is base64 in what is yielded. ``data_format="Boto3"`` says that data comes raw; a
    record that is not aggregated keeps it so.

    An aggregated record with an index outside its table comes back whole, and is logged. Raises ``KeyError`` for
    records of another shape, ``ValueError`` for base64 that is not, after what came before. Thread-safe.
    """
    for batch in _received(records, data_format):
        for received, to_encode in batch:
            found: list[dict[str, Any]] = []
            append_user_records([_part(received, to_encode)], found)
            yield from found


def _received(records: Records, data_format: str | None) -> Iterator[list[_Received]]:
    """Yield the Kinesis records, indexed, some at a time."""
    if type(records) is not list and type(records) is not tuple:  # a subclass may make its items as they are asked for
        for record in [records] if isinstance(records, Mapping) else records:
            yield from _received([record], data_format)
        return
    start = 0
    while start < len(records):  # a list may grow as it is read
        received: list[_Received] = []
        size = 0
        try:
            for record in records[start : start + BATCH]:
                received.append(_read(record, data_format))
                size += len(received[-1][0].data)
                if size >= BATCH_BYTES:
                    break
        except Exception:
            yield _indexed(received)  # what came before it is sound
            raise
        yield _indexed(received)
        start += len(received)


def _indexed(received: list[_Received]) -> list[_Received]:
    index_received([record for record, _ in received])
    return received


def _read(record: Mapping[str, Any], data_format: str | None) -> _Received:
    is_raw = data_format == BOTO3
    to_encode = False
    if "Data" in record and (is_raw or "kinesis" not in record):
        record = _from_boto3(record)
        is_raw, to_encode = True, not is_raw
    elif "data" in record and "kinesis" not in record:
        record = _from_transformation(record)
    data = record["kinesis"]["data"]
    if not is_raw:
        data = _decoded(data)
    elif not isinstance(data, (bytes, bytearray, memoryview)):
        data, to_encode = b"", False  # what is not bytes passes
    return ReceivedRecord(data, None, record), to_encode


def _decoded(data: Any) -> bytes:
    try:
        return decode_base64(data) if isinstance(data, str) else b64decode(data, validate=True)
    except ValueError:
        return lenient_b64decode(data)  # which skips line breaks, and knows what to say


def _from_boto3(record: Mapping[str, Any]) -> dict[str, Any]:
    kinesis = {"kinesisSchemaVersion": "1.0"}
    for name in ("SequenceNumber", "PartitionKey", "ApproximateArrivalTimestamp", "Data"):
        if name in record:
            kinesis[name[0].lower() + name[1:]] = record[name]
    return {"kinesis": kinesis}


def _from_transformation(record: Mapping[str, Any]) -> Mapping[str, Any]:
    for metadata in (record[name] for name in METADATA if name in record):
        kinesis = {"kinesisSchemaVersion": "1.0"}
        for name in ("sequenceNumber", "partitionKey", "approximateArrivalTimestamp", "shardId"):
            if name in metadata:
                kinesis[name] = metadata[name]
        kinesis["data"] = record["data"]
        if "recordId" in record:
            kinesis["recordId"] = record["recordId"]
        return {"kinesis": kinesis}
    return record


def _part(received: ReceivedRecord, to_encode: bool) -> Template | dict[str, Any]:
    """Return what ``append_user_records`` takes: a template, or the Kinesis record where it comes back whole."""
    try:
        if template := template_of(received):
            return template
    except MalformedRecordError as error:
        _report(received, str(error))
    if to_encode:
        received.source["kinesis"]["data"] = b64encode(received.data)
    source: dict[str, Any] = received.source
    return source


def _report(received: ReceivedRecord, reason: str) -> None:
    import logging  # noqa: PLC0415 - a function that starts cold rarely needs it

    sequence_number = received.source["kinesis"].get("sequenceNumber")
    logging.getLogger("shardpack.compat").warning("record %s comes back whole: %s", sequence_number, reason)
