"""The forms in which Kinesis records reach consumers.

A shape is recognised by its fields, not by its type. Each has two functions: one that finds the data, and one that
reads the rest into an ``Origin`` when somebody asks for it. To teach ``deaggregate`` another shape, add it here.

Sources: the event examples of the AWS Lambda, Firehose and Kinesis Analytics developer guides, and the Kinesis API.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

from .._native.deaggregate import ReceivedRecord
from ..errors import abridged

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes longer to load than all of this package: a function that starts cold goes without
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from typing import Any

EXPECTED = (
    "expected Kinesis records as GetRecords, SubscribeToShard, ReceiveQueueRecords, Lambda, Firehose, Kinesis "
    "Analytics, Powertools or amazon_kclpy give them (a response, an event, its records, or one of those), raw bytes, "
    "or an iterable of these"
)

ONE_RECORD = (str, bytes, bytearray, memoryview)
"""Iterables that are no collection of records; the text is none either, which an error says."""

CONTAINERS = ("Records", "records", "QueueRecords")
"""Where a response or an event has its Kinesis records."""

SHOWN_NAMES = 8
"""Fields of a mapping that an error names."""


_NOT_READ: Any = ...
"""An arrival time that nobody has asked for; pickled and copied, it is itself."""


def _arrival_time(arrived: Any) -> datetime | None:
    from .arrival import arrival_time  # noqa: PLC0415 - a function that starts cold rarely asks

    globals()["_arrival_time"] = arrival_time  # in place of this: an import statement costs more than a time
    return arrival_time(arrived)


class Origin:
    """Where a Kinesis record came from, and what it says about itself; ``None`` for what its shape does not carry."""

    __slots__ = (
        "_moment",
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
        arrived: Any = None,  # whatever the record says of it
        shard_id: str | None = None,
        encryption_type: str | None = None,
        record_id: str | None = None,
        sub_sequence_number: int = 0,
    ) -> None:
        self.partition_key: str | None = partition_key
        self.sequence_number: str | None = sequence_number
        self.arrived: Any = arrived
        self._moment: Any = _NOT_READ
        self.shard_id: str | None = shard_id
        self.encryption_type: str | None = encryption_type
        self.record_id: str | None = record_id
        self.sub_sequence_number: int = sub_sequence_number

    @property
    def approximate_arrival_timestamp(self) -> datetime | None:
        """An aware ``datetime``; ``None`` where there is none, or nothing that tells a time: see ``arrival_time``."""
        moment: datetime | None = self._moment
        if moment is _NOT_READ:
            # whole when another thread sees it, and the same whichever thread reads it
            self._moment = moment = _arrival_time(self.arrived)
        return moment

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


def received_records(records: Any, first: int = 0) -> Iterator[ReceivedRecord]:
    """Yield every Kinesis record in ``records``. Raises ``TypeError`` for a shape that is not known.

    That, and ``ValueError`` for base64 that is not, names the record: its place in its list, counted from ``first``
    where ``records`` is one, and its sequence number, or its record id where it has no other.
    """
    if holds_several(records):
        for place, item in enumerate(records, first):
            if type(item) is dict and ("Data" in item or "kinesis" in item):  # nearly always
                yield _received(item, place)
            else:
                yield from _records_of(item, place)
    else:
        yield from _records_of(records)


def received_of(records: Any) -> Iterator[ReceivedRecord]:
    """Yield the Kinesis records of a response's or an event's list, one for each item; else as ``received_records``."""
    if not holds_several(records):
        raise TypeError(f"the records of a response or an event are a list, not {type(records).__name__}: {EXPECTED}")
    for place, record in enumerate(records):
        yield _received(record, place)


def holds_several(records: Any) -> bool:
    """Is this an iterable of records, events or responses, rather than one of those?"""
    if isinstance(records, (list, tuple)):
        return True
    if not isinstance(records, Iterable) or isinstance(records, (Mapping, *ONE_RECORD)):
        return False
    return not _is_model(records) and _as_bytes(records) is None


def fields_of(thing: Any) -> Mapping[str, Any] | None:
    """Return a mapping as it is, a pydantic model's fields by the names that the event has; ``None`` for others.

    Of a model, what is inside stays a model, so that no payload is copied.
    """
    if type(thing) is dict or isinstance(thing, Mapping):
        return thing
    if not _is_model(thing):
        return None
    fields = type(thing).model_fields.items()
    return {field.serialization_alias or field.alias or name: getattr(thing, name) for name, field in fields}


def origin_of(record: Any) -> Origin:
    """Return what a Kinesis record that could not be read says of itself, as far as its shape is known."""
    fields = fields_of(record)
    for field, (_, origin) in SHAPES.items():
        if fields is not None and field in fields:
            try:
                return origin(fields)
            except Exception:  # noqa: BLE001 - what is wrong with it is told already
                break
    return Origin()


def _is_model(thing: Any) -> bool:
    return hasattr(type(thing), "model_fields")


def _as_bytes(thing: Any) -> Any:
    """Return bytes, or a view of another buffer of them, for ``ReceivedRecord`` to copy; ``None`` for others."""
    if isinstance(thing, (bytes, bytearray, memoryview)):
        return thing
    try:
        view = memoryview(thing)
    except (TypeError, ValueError, BufferError):
        return None
    return view if view.itemsize == 1 else None


def _records_of(item: Any, place: int | None = None) -> Iterator[ReceivedRecord]:
    """Yield the Kinesis records of a response, event or list, or the one record that it is."""
    if isinstance(item, (list, tuple)):
        yield from received_of(item)
        return
    fields = fields_of(item)
    if fields is not None:
        if "SubscribeToShardEvent" in fields:
            fields = fields_of(fields["SubscribeToShardEvent"]) or {}
        for container in CONTAINERS:
            if container in fields:
                yield from received_of(fields[container])
                return
    yield _received(item, place)


def _received(record: Any, place: int | None = None) -> ReceivedRecord:
    fields = record if type(record) is dict else fields_of(record)
    if fields is not None:
        try:
            if fields.get("Aggregated"):  # what an installed client gave
                return ReceivedRecord(_api_data(fields), _api_origin, record, True, fields.get("ExplicitHashKey"))
            for field, (data, origin) in SHAPES.items():
                if field in fields:
                    return ReceivedRecord(data(fields), origin, record)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"{_name(record, place)}{error}") from None
        raise TypeError(f"{_name(record, place)}cannot deaggregate a mapping with {names_of(fields)}: {EXPECTED}")
    data = _as_bytes(record)
    if data is not None:
        return ReceivedRecord(data, _no_origin)
    if hasattr(record, "binary_data"):
        return ReceivedRecord(record.binary_data, _kclpy_origin, record)
    raise TypeError(f"{_name(record, place)}cannot deaggregate {type(record).__name__}: {EXPECTED}")


def _name(record: Any, place: int | None) -> str:
    """Begin an error about a Kinesis record: where it is in its list, and its sequence number or record id."""
    origin = origin_of(record)
    known = None if origin.record_id is None else f"record id {abridged(origin.record_id)}"
    if origin.sequence_number is not None:
        known = f"sequence number {abridged(origin.sequence_number)}"
    if place is None:
        return "" if known is None else f"record with {known}: "
    return f"record {place}: " if known is None else f"record {place} ({known}): "


def names_of(fields: Mapping[str, Any]) -> str:
    """Return what an error says of a mapping: the names of its fields, as many as one cares to read."""
    names = sorted(abridged(name, 40) for name in islice(fields, SHOWN_NAMES))
    return f"[{', '.join(names)}{', …' if len(fields) > SHOWN_NAMES else ''}]"


def _no_origin(_: None) -> Origin:
    return Origin()


# --- GetRecords, SubscribeToShard, ReceiveQueueRecords ---


def _api_data(record: Mapping[str, Any]) -> Any:
    given = record["Data"]
    data = given if type(given) is bytes else _as_bytes(given)
    if data is None:
        raise TypeError(f"Data of a record of the API is bytes, not {type(given).__name__}: {EXPECTED}")
    return data


def _api_origin(record: Any) -> Origin:
    fields = fields_of(record) or {}
    return Origin(
        fields.get("PartitionKey"),
        fields.get("SequenceNumber"),
        fields.get("ApproximateArrivalTimestamp"),
        encryption_type=fields.get("EncryptionType"),
        record_id=fields.get("RecordId"),
        sub_sequence_number=_number(fields.get("SubSequenceNumber")),
    )


# --- Lambda: event source mappings, and Pipes, which send the inner part alone ---


def _lambda_data(record: Mapping[str, Any]) -> Any:
    given = record["kinesis"]
    inner = given if type(given) is dict else fields_of(given)
    if inner is None:
        raise TypeError(f"kinesis of a record in an event is a mapping, not {type(given).__name__}")
    return _event_data(inner)


def _lambda_origin(record: Any) -> Origin:
    fields = fields_of(record) or {}
    inner = fields_of(fields.get("kinesis")) or fields
    shard_id, colon, _ = str(fields.get("eventID")).partition(":")
    return Origin(
        inner.get("partitionKey"),
        inner.get("sequenceNumber"),
        inner.get("approximateArrivalTimestamp"),
        shard_id if colon else None,
        inner.get("encryptionType"),
    )


# --- Firehose transformations, and those of Kinesis Analytics ---

METADATA = ("kinesisRecordMetadata", "kinesisStreamRecordMetadata", "kinesisFirehoseRecordMetadata")
"""Where a record says what its stream said of it; one that was put to Firehose directly has none, or nothing there."""


def _transformation_origin(record: Any) -> Origin:
    fields = fields_of(record) or {}
    inner = next(filter(None, (fields_of(fields.get(name)) for name in METADATA)), fields)
    return Origin(
        inner.get("partitionKey"),
        inner.get("sequenceNumber"),
        inner.get("approximateArrivalTimestamp"),
        inner.get("shardId"),
        record_id=fields.get("recordId"),
        sub_sequence_number=_number(inner.get("subsequenceNumber")),
    )


# --- amazon_kclpy ---


def _kclpy_origin(record: Any) -> Origin:
    return Origin(
        record.partition_key,
        record.sequence_number,
        getattr(record, "timestamp_millis", None),  # its datetime has no time zone
        encryption_type=getattr(record, "encryption_type", None),
        sub_sequence_number=_number(getattr(record, "sub_sequence_number", None)),
    )


# --- what they share ---


def _event_data(record: Mapping[str, Any]) -> Any:
    """Return the data of an event's record: text is base64, and bytes are what a parser has decoded already."""
    data = record.get("data")
    if not isinstance(data, str):
        decoded = _as_bytes(data)
        if decoded is None:
            raise TypeError(f"data of a record in an event is base64 text or bytes, not {type(data).__name__}")
        return decoded
    try:
        return decode_base64(data)
    except ValueError as error:
        raise ValueError(f"data of a record in an event is not base64: {error}") from None


def decode_base64(text: str) -> bytes:
    """Decode base64 without a character too many. Raises ``ValueError`` for what is not.

    pybase64 validates without the GIL, which beside a busy thread takes a thousand times as long to get back as the
    decoding of a record. Without validation it skips what is no base64, and keeps the GIL: then less comes out than
    the text has room for.
    """
    from pybase64 import b64decode  # noqa: PLC0415 - no third-party package until one is needed

    padding = 2 if text.endswith("==") else 1 if text.endswith("=") else 0
    try:
        decoded = b64decode(text)
    except ValueError:
        decoded = b""
    if 4 * len(decoded) == 3 * len(text) - 4 * padding:
        return decoded
    return b64decode(text, validate=True)


def _number(text: Any) -> int:
    """Return a sub-sequence number; test events have empty text for 0."""
    try:
        return int(text or 0)
    except (TypeError, ValueError):
        return 0


SHAPES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Origin]]] = {
    "Data": (_api_data, _api_origin),
    "kinesis": (_lambda_data, _lambda_origin),
    "kinesisRecordMetadata": (_event_data, _transformation_origin),
    "kinesisStreamRecordMetadata": (_event_data, _transformation_origin),
    "sequenceNumber": (_event_data, _lambda_origin),
    "recordId": (_event_data, _transformation_origin),
}
"""By the field that tells a record's shape, looked for in this order: where its data is, and what it says."""
