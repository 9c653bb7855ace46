"""Out of a stream of dead letters into a file, from where they can be sent again and removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from .form import Part, unwrap
from .letter import DeadLetter
from .sqlite import SQLiteDeadLetters

AT_ONCE = 1000
"""How many letters are kept with one flush of the disk."""


class ReadRecord(Protocol):
    """What is read of a user record; ``UserRecord`` is one."""

    @property
    def data(self) -> bytes: ...
    @property
    def sequence_number(self) -> str | None: ...
    @property
    def sub_sequence_number(self) -> int: ...


@dataclass(slots=True)
class Drained:
    """What was taken out of a stream of dead letters."""

    letters: int = 0
    """Now in the file."""
    others: int = 0
    """User records that are no dead letters: left where they are."""


def drain(
    stream: str,
    reads: Iterable[tuple[str, Iterable[ReadRecord]]],
    letters: SQLiteDeadLetters,
    done: Drained | None = None,
) -> Drained:
    """Copy the letters that ``KinesisDeadLetters`` put into ``stream`` to a file, each once.

    ``reads`` gives shard ids and user records of them, in order, as a ``StreamReader`` does; from the beginning, or
    from ``letters.positions(stream)``. The file keeps, with the letters and in the same transaction, up to where it has
    each shard: what is read again is not copied again, whatever interrupted it. So keep the file, and call the stream
    by the same name. Letters in several parts wait there for the rest. ``done`` is counted up, where it is given.

    Raises ``DeadLetterError`` of the file, and what ``reads`` raises.
    """
    done = Drained() if done is None else done
    positions = letters.positions(stream)
    for shard_id, records in reads:
        for batch in _batches(records):
            before = positions.get(shard_id, (-1, 0))
            places = [(int(record.sequence_number or 0), record.sub_sequence_number) for record in batch]
            found: list[DeadLetter | Part] = []
            for place, record in zip(places, batch, strict=True):
                if place > before:
                    try:
                        found.append(unwrap(record.data))
                    except ValueError:
                        done.others += 1
            if places[-1] > before:
                kept, broken = letters.put_drained(stream, shard_id, places[-1], found)
                done.letters += kept
                done.others += broken
                positions[shard_id] = places[-1]
    return done


def _batches(records: Iterable[ReadRecord]) -> Iterator[list[ReadRecord]]:
    batch: list[ReadRecord] = []
    for record in records:
        batch.append(record)
        if len(batch) == AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
