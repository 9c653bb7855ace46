"""The forms in which Kinesis records reach consumers.

A shape is recognised by its fields, not by its type. Each has two functions: one that finds the data, and one that
reads the rest into an ``Origin`` when somebody asks for it. To teach ``deaggregate`` another shape, add it here.

Sources: the event examples of the AWS Lambda, Firehose and Kinesis Analytics developer guides, and the Kinesis API.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .._native.deaggregate import ReceivedRecord

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes longer to load than all of this package: a function that starts cold goes without
    from collections.abc import Callable, Iterator
    from typing import Any

EXPECTED = (
    "expected Kinesis records as GetRecords, SubscribeToShard, Lambda, Firehose, Kinesis Analytics or amazon_kclpy "
    "give them (a response, an event, its records, or one of those), raw bytes, or an iterable of these"
)

ONE_RECORD = (str, bytes, bytearray, memoryview)
"""Iterables that are no collection of records; the text is none either, which an error says."""


class Origin:
    """Where a Kinesis record came from, and what it says about itself; ``None`` for what its shape does not carry."""

    __slots__ = (
        "arrived",
        "encryption_type",
        "partition_key",
        "record_id",
        "sequence_number",
        "shard_id",
        "sub_sequence_number",
    )

    def __init__(  # noqa: PLR0917 - in the order of values(), of which pickle makes it again
        self,
        partition_key: str | None = None,
        sequence_number: str | None = None,
        arrived: Any = None,  # a datetime with a time zone, or seconds since 1970
        shard_id: str | None = None,
        encryption_type: str | None = None,
        record_id: str | None = None,
        sub_sequence_number: int = 0,
    ) -> None:
        self.partition_key = partition_key
        self.sequence_number = sequence_number
        self.arrived = arrived
        self.shard_id = shard_id
        self.encryption_type = encryption_type
        self.record_id = record_id
        self.sub_sequence_number = sub_sequence_number

    @property
    def approximate_arrival_timestamp(self) -> Any:
        if isinstance(self.arrived, (int, float)):
            from datetime import datetime, timezone  # noqa: PLC0415 - a function that starts cold rarely asks

            self.arrived = datetime.fromtimestamp(self.arrived, timezone.utc)
        return self.arrived

    def values(self) -> tuple[Any, ...]:
        """Return what the constructor takes, in its order."""
        return (
            self.partition_key,
            self.sequence_number,
            self.approximate_arrival_timestamp,
            self.shard_id,
            self.encryption_type,
            self.record_id,
            self.sub_sequence_number,
        )


def received_records(records: Any) -> Iterator[ReceivedRecord]:
    """Yield every Kinesis record in ``records``. Raises ``TypeError`` for a shape that is not known."""
    if isinstance(records, Iterable) and not isinstance(records, (Mapping, *ONE_RECORD)):
        for item in records:
            if type(item) is dict and ("Data" in item or "kinesis" in item):  # nearly always
                yield _received(item)
            else:
                yield from _records_of(item)
    else:
        yield from _records_of(records)


def _records_of(item: Any) -> Iterator[ReceivedRecord]:
    """Yield the Kinesis records of a response, event or list, or the one record that it is."""
    if isinstance(item, (list, tuple)):
        yield from map(_received, item)
        return
    if isinstance(item, Mapping):
        for container in ("Records", "records"):
            if container in item:
                yield from map(_received, item[container])
                return
        if "SubscribeToShardEvent" in item:
            yield from map(_received, item["SubscribeToShardEvent"]["Records"])
            return
    yield _received(item)


def _received(record: Any) -> ReceivedRecord:
    if type(record) is dict or isinstance(record, Mapping):
        if record.get("Aggregated"):  # what an installed client gave
            return ReceivedRecord(_api_data(record), _api_origin, record, True, record.get("ExplicitHashKey"))
        for field, (data, origin) in SHAPES.items():
            if field in record:
                return ReceivedRecord(data(record), origin, record)
        raise TypeError(f"cannot deaggregate a mapping with {sorted(map(str, record))}: {EXPECTED}")
    if isinstance(record, (bytes, bytearray, memoryview)):
        return ReceivedRecord(record, _no_origin)
    if hasattr(record, "binary_data"):
        return ReceivedRecord(record.binary_data, _kclpy_origin, record)
    raise TypeError(f"cannot deaggregate {type(record).__name__}: {EXPECTED}")


def _no_origin(_: None) -> Origin:
    return Origin()


# --- GetRecords, SubscribeToShard ---


def _api_data(record: Mapping[str, Any]) -> Any:
    data = record["Data"]
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"Data of a GetRecords record is bytes, not {type(data).__name__}: {EXPECTED}")
    return data


def _api_origin(record: Mapping[str, Any]) -> Origin:
    return Origin(
        record.get("PartitionKey"),
        record.get("SequenceNumber"),
        record.get("ApproximateArrivalTimestamp"),
        encryption_type=record.get("EncryptionType"),
        sub_sequence_number=record.get("SubSequenceNumber", 0),
    )


# --- Lambda: event source mappings, and Pipes, which send the inner part alone ---


def _lambda_data(record: Mapping[str, Any]) -> bytes:
    return _decoded(record["kinesis"])


def _lambda_origin(record: Mapping[str, Any]) -> Origin:
    inner = record.get("kinesis", record)
    shard_id, colon, _ = record.get("eventID", "").partition(":")
    return Origin(
        inner.get("partitionKey"),
        inner.get("sequenceNumber"),
        inner.get("approximateArrivalTimestamp"),
        shard_id if colon else None,
        inner.get("encryptionType"),
    )


# --- Firehose transformations, and those of Kinesis Analytics ---

METADATA = ("kinesisRecordMetadata", "kinesisStreamRecordMetadata")


def _transformation_origin(record: Mapping[str, Any]) -> Origin:
    inner: Mapping[str, Any] = next(filter(None, map(record.get, METADATA)), {})
    return Origin(
        inner.get("partitionKey"),
        inner.get("sequenceNumber"),
        _seconds(inner.get("approximateArrivalTimestamp")),
        inner.get("shardId"),
        record_id=record.get("recordId"),
        sub_sequence_number=int(inner.get("subsequenceNumber") or 0),
    )


def _unnamed_origin(record: Mapping[str, Any]) -> Origin:
    """Read what is there of a Firehose record that was put directly, without a stream before it."""
    inner = record.get("kinesisFirehoseRecordMetadata") or record  # as Kinesis Analytics has it
    return Origin(arrived=_seconds(inner.get("approximateArrivalTimestamp")), record_id=record.get("recordId"))


def _seconds(arrived: Any) -> Any:
    """Return milliseconds as seconds, and text, which the console's test events have, as what it says."""
    if isinstance(arrived, str):
        from datetime import datetime  # noqa: PLC0415 - as above

        return datetime.fromisoformat(arrived.replace("Z", "+00:00"))
    return arrived if arrived is None else arrived / 1000


# --- amazon_kclpy ---


def _kclpy_origin(record: Any) -> Origin:
    milliseconds = getattr(record, "timestamp_millis", None)  # its datetime has no time zone
    return Origin(
        record.partition_key,
        record.sequence_number,
        None if milliseconds is None else milliseconds / 1000,
        encryption_type=getattr(record, "encryption_type", None),
        sub_sequence_number=int(getattr(record, "sub_sequence_number", None) or 0),
    )


# --- what they share ---


def _decoded(record: Mapping[str, Any]) -> bytes:
    from pybase64 import b64decode  # noqa: PLC0415 - no third-party package until one is needed

    data = record.get("data")
    if not isinstance(data, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"data of a record in an event is base64, str or bytes, not {type(data).__name__}: {EXPECTED}")
    try:
        return b64decode(data, validate=True)
    except ValueError as error:
        raise ValueError(f"data of a record in an event is not base64: {error}") from None


SHAPES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Origin]]] = {
    "Data": (_api_data, _api_origin),
    "kinesis": (_lambda_data, _lambda_origin),
    "kinesisRecordMetadata": (_decoded, _transformation_origin),
    "kinesisStreamRecordMetadata": (_decoded, _transformation_origin),
    "sequenceNumber": (_decoded, _lambda_origin),
    "recordId": (_decoded, _unnamed_origin),
}
"""By the field that tells a record's shape, looked for in this order: where its data is, and what it says."""
