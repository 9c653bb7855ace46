"""What the delivery of a stream promises, checked against what was put, what was said of it, and what is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ...producer.entries import Status
from .stream import Put


class FindingError(AssertionError):
    """A promise that was not kept."""


def check_stored(outcomes: dict[Put, Status], there: Counter[Put], readable: Counter[Put], exempt: set[Put]) -> None:
    """Nothing lost: what was said to be stored is there, where the KCL takes it. And nothing else was denied."""
    for record, status in outcomes.items():
        if status is Status.STORED and record not in readable and record not in exempt:
            raise FindingError(f"lost: {record} was said to be stored; it is there {there[record]} times, unreadable")
        if status is Status.NOT_STORED and record in there:
            raise FindingError(f"wrongly denied: {record} was said not to be stored, but is")


def check_copies(there: Counter[Put], explained: Counter[Put]) -> None:
    """Duplicates only where a reply was lost, or had named another shard."""
    for record, copies in there.items():
        if copies > 1 + explained[record]:
            raise FindingError(f"duplicate: {record} is there {copies} times, {explained[record]} of them explained")


def check_order(outcomes: dict[Put, Status], read: Iterable[Put], *, unknown_too: bool) -> None:
    """The first copies of each key's records are in the order in which they were put."""
    last: dict[str, int] = {}
    seen: set[Put] = set()
    for record in read:
        if record in seen or not (unknown_too or outcomes[record] is Status.STORED):
            continue
        seen.add(record)
        if record.number < last.get(record.key, -1):
            raise FindingError(f"out of order: {record} comes after {last[record.key]} of its key")
        last[record.key] = record.number
