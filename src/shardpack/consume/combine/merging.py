"""Change events of tables folded to one change for each row.

What is folded can be written twice: a batch that is read again may be cut otherwise. So there are two operations alone,
"put", which inserts or replaces, and "remove", which finds a row or not. An insert and a remove are a remove, not
nothing: the row may be there from a time before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ...errors import ChangeEventError
from .change_events import Change, Event, Keys, Place, of_dms, of_dynamodb


class Changes(list[Change]):
    """The changes of one call; ``others`` are the records that are none of a row: DMS control records."""

    __slots__ = ("others",)
    others: list[Any]


def merge(
    records: Iterable[Any],
    *,
    keys: Keys | None = None,
    before_image: str = "before-image",
    partial_updates: bool = False,
    loads: Callable[[bytes], Any] = json.loads,
) -> Changes:
    """Fold change events to one change for each row, in the order of the last event of each.

    ``records`` are user records (or their data), each with an event of Kinesis Data Streams for DynamoDB, of DynamoDB
    Streams, or a message of AWS DMS; which, it says itself. Events of DynamoDB come in any order, and more than once:
    those of an item count in the order of their ApproximateCreationDateTime, and in that of the stream where it is the
    same; those of DynamoDB Streams by SequenceNumber. Those of DMS count in the order of the stream. They do not say
    what their primary key is: ``keys`` does, column names for all tables or by ``schema.table``. An update that changes
    the key is a remove of the old row, then a put of the new one; only a before-image tells (``BeforeImageSettings`` of
    DMS, off unless you say so), whose ``FieldName`` is ``before_image``. Without it the old row stays.

    An update of DMS has the whole row, and a column that is missing is null. With ``partial_updates`` it has the
    columns that it sets, and the others stay: then ``IncludeNullAndEmpty`` has to be on, and, where keys change, a
    before-image of all columns. ``loads`` reads the JSON: ``partial(json.loads, parse_float=Decimal)`` for decimals.

    Raises ``ChangeEventError``, which names the record, for anything else than a change event, and for an update that
    changes the key of a row that is not known whole; nothing is folded then.
    """
    changes = Changes()
    changes.others = []
    items: list[Event] = []
    rows: list[Event] = []
    for record in records:
        place = Place(record)
        event = place.event(loads)
        if "dynamodb" in event:
            items.append(of_dynamodb(event, place))
        elif place.text(place.member(event, "metadata"), "record-type") == "control":
            changes.others.append(record)
        else:
            rows.append(of_dms(event, place, keys, before_image, partial_updates))
    items.sort(key=lambda event: event.order)
    states: dict[tuple[Any, ...], Change] = {}
    for one in (*items, *rows):
        change = one.change
        if one.moved_from is not None:
            if not change.replaces:
                change = replace(change, image={**_whole_row(one, states), **(change.image or {})}, replaces=True)
            _fold(states, one.moved_from.identity, one.moved_from.change)
        _fold(states, one.identity, change)
    changes.extend(states.values())
    return changes


def _fold(states: dict[tuple[Any, ...], Change], identity: tuple[Any, ...], change: Change) -> None:
    """Put a change into the place of what is known of its row, and behind all others."""
    known = states.pop(identity, None)
    if known is not None:
        change = replace(change, events=known.events + change.events)
        if change.operation == "put" and not change.replaces:
            image = {**(known.image or {}), **(change.image or {})}
            change = replace(change, image=image, replaces=known.replaces or known.operation == "remove")
    states[identity] = change


def _whole_row(event: Event, states: Mapping[tuple[Any, ...], Change]) -> dict[str, Any]:
    """Return the row that an update of some columns takes to another key."""
    assert event.moved_from is not None
    known = states.get(event.moved_from.identity)
    if known is not None and known.image is not None and known.replaces:
        return known.image
    if event.before is not None and len(event.before) > len(event.change.key):
        return {**event.before, **((known.image or {}) if known is not None else {})}
    raise ChangeEventError(
        f"{Place(event.change.record)}: the primary key changes, and neither the batch nor a before-image of all "
        "columns has the whole row: its other columns would be lost"
    )
