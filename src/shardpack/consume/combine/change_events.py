"""A change event of DynamoDB or AWS DMS, read and checked.

Sources: DynamoDB Developer Guide, "Using Kinesis Data Streams to capture changes to DynamoDB"; API reference of
DynamoDB Streams, "Record"; AWS DMS User Guide, "Using Amazon Kinesis Data Streams as a target".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from ...errors import ChangeEventError, abridged

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
FRACTION = re.compile(r"\.(\d+)")
UNITS = {"SECOND": 1_000_000, "MILLISECOND": 1000, "MICROSECOND": 1}

Object: TypeAlias = dict[str, Any]
Keys: TypeAlias = Sequence[str] | Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a row: the outcome of all its events in one call."""

    table: str
    """Name of the table; of DMS with the schema: ``shop.orders``."""
    key: Object
    """The attributes or columns of its primary key, with their values as the events have them."""
    operation: Literal["put", "remove"]
    image: Object | None
    """The row, of a put. DynamoDB's has typed attribute values."""
    replaces: bool
    """Of a put: whether the row is ``image`` alone, or its other columns stay as they are."""
    at: datetime
    """When the last of the events happened, by its source."""
    record: Any
    """The record of the last event."""
    events: int
    """How many events it is made of; one that changes the primary key is one of both rows."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event as a change of its row, which ``identity`` tells from all others."""

    identity: tuple[Any, ...]
    change: Change
    order: tuple[int, int] = (0, 0)
    """Of DynamoDB: events of one item happened in this order."""
    moved_from: Event | None = None
    """Where the primary key changes: the remove of the row before."""
    before: Object | None = None
    """What is known of the row before."""


class Place:
    """Where an event is, for errors about it; and what reads its members."""

    def __init__(self, record: Any) -> None:
        self.record = record

    def __str__(self) -> str:
        number = getattr(self.record, "sequence_number", None)
        if number is None:
            return "change event"
        return f"change event {number}, user record {getattr(self.record, 'sub_sequence_number', 0)}"

    def event(self, loads: Callable[[bytes], Any]) -> Object:
        """Return the event itself."""
        try:
            event = loads(getattr(self.record, "data", self.record))
        except (ValueError, TypeError, RecursionError) as error:
            raise ChangeEventError(f"{self}: not JSON: {abridged(str(error))}") from error
        if not isinstance(event, dict):
            raise ChangeEventError(f"{self}: {abridged(event)} is no JSON object")
        return event

    def member(self, container: Object, name: str) -> Object:
        """Return a member that is an object."""
        found = container.get(name)
        if not isinstance(found, dict):
            raise self.unlike(name, "an object", found)
        return found

    def text(self, container: Object, name: str) -> str:
        """Return a member that is a text."""
        found = container.get(name)
        if not isinstance(found, str):
            raise self.unlike(name, "a text", found)
        return found

    def unlike(self, name: str, kind: str, found: object) -> ChangeEventError:
        """Make an error about a member that is not what it has to be."""
        return ChangeEventError(f"{self}: {name!r} is not {kind}, but {abridged(found)}")


def of_dynamodb(event: Object, place: Place) -> Event:
    """Read an event of Kinesis Data Streams for DynamoDB, or of DynamoDB Streams, which name the table by an ARN."""
    record = place.record
    body = place.member(event, "dynamodb")
    name, key = place.text(event, "eventName"), place.member(body, "Keys")
    of_streams = "tableName" not in event
    table = place.text(event, "eventSourceARN" if of_streams else "tableName")
    moment = body.get("ApproximateCreationDateTime")
    if not isinstance(moment, (int, float, Decimal)) or isinstance(moment, bool):  # a text would be repeated
        raise place.unlike("ApproximateCreationDateTime", "a number", moment)
    try:
        if of_streams:
            table = table.split("/")[1]
        identity = (table, *sorted((part, *value.items()) for part, value in key.items()))
        hash(identity)
        unit = UNITS[body.get("ApproximateCreationDateTimePrecision", "SECOND" if of_streams else "MILLISECOND")]
        microseconds = int(moment * unit)
        at = EPOCH + timedelta(microseconds=microseconds)
        order = (1, int(body["SequenceNumber"])) if of_streams else (0, microseconds)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ChangeEventError(f"{place}: table, keys or time are not DynamoDB's: {abridged(error)}") from error
    if name == "REMOVE":
        return Event(identity, Change(table, key, "remove", None, False, at, record, 1), order)
    if name in {"INSERT", "MODIFY"}:
        image = place.member(body, "NewImage")
        return Event(identity, Change(table, key, "put", image, True, at, record, 1), order)
    raise place.unlike("eventName", "INSERT, MODIFY or REMOVE", name)


def of_dms(event: Object, place: Place, keys: Keys | None, before_image: str, partial_updates: bool) -> Event:
    """Read a message of AWS DMS about a row."""
    record = place.record
    metadata, data = place.member(event, "metadata"), place.member(event, "data")
    operation = place.text(metadata, "operation")
    table = f"{place.text(metadata, 'schema-name')}.{place.text(metadata, 'table-name')}"
    columns = keys.get(table) if isinstance(keys, Mapping) else keys
    if not columns or isinstance(columns, str):
        raise ChangeEventError(f"{place}: keys= has no column names of the primary key of {abridged(table)}")
    at = _moment(metadata, place)
    identity, key = _key(table, columns, data, place)
    if operation == "delete":
        return Event(identity, Change(table, key, "remove", None, False, at, record, 1))
    if operation in {"load", "insert"}:
        return Event(identity, Change(table, key, "put", data, True, at, record, 1))
    if operation != "update":
        raise place.unlike("operation", "load, insert, update or delete", operation)
    change = Change(table, key, "put", data, not partial_updates, at, record, 1)
    if event.get(before_image) is None:
        return Event(identity, change)
    before = place.member(event, before_image)
    old_identity, old_key = _key(table, columns, {**data, **before}, place)
    if old_identity == identity:
        return Event(identity, change)
    removed = Event(old_identity, Change(table, old_key, "remove", None, False, at, record, 1))
    return Event(identity, change, moved_from=removed, before=before)


def _key(table: str, columns: Sequence[str], row: Object, place: Place) -> tuple[tuple[Any, ...], Object]:
    key = {column: row.get(column) for column in columns}
    for column, value in key.items():
        if value is None or isinstance(value, (dict, list)):
            raise place.unlike(column, "a value of a primary key", value)
    return (table, *((isinstance(value, bool), value) for value in key.values())), key


def _microseconds(fraction: re.Match[str]) -> str:
    """Return a fraction of a second as Python 3.10 takes it."""
    return f".{fraction[1][:6]:0<6}"


def _moment(metadata: Object, place: Place) -> datetime:
    text = place.text(metadata, "timestamp")
    try:
        moment = datetime.fromisoformat(FRACTION.sub(_microseconds, text).replace("Z", "+00:00"))
    except ValueError:
        raise place.unlike("timestamp", "a time", text) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
