"""Out of a stream of dead letters into a file, from where they can be sent again and removed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from ..letter import DeadLetter
from ..sqlite import INSERT, SQLiteDeadLetters, encoded, row_of
from .form import Part, unwrap

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
                kept, broken = _put(letters, stream, shard_id, places[-1], found)
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


def _put(
    letters: SQLiteDeadLetters,
    stream: str,
    shard_id: str,
    position: tuple[int, int],
    found: list[DeadLetter | Part],
) -> tuple[int, int]:
    """Keep what was read and up to where, all or none; parts until their letter is whole.

    Returns how many letters were kept, and how many were none when whole.
    """
    kept = broken = 0
    with letters._changing() as connection:  # noqa: SLF001 - of this package
        for one in found:
            try:
                letter = _whole(connection, one) if isinstance(one, Part) else one
            except ValueError:
                broken += 1
                continue
            if letter is not None:
                connection.execute(INSERT, row_of(letter))
                kept += 1
        connection.execute(
            "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)",
            (encoded(stream), encoded(shard_id), str(position[0]), position[1]),
        )
    return kept, broken


def _whole(connection: sqlite3.Connection, part: Part) -> DeadLetter | None:
    """Keep a part; return the letter if it is the last that was missing, whose parts go."""
    connection.execute("INSERT OR IGNORE INTO parts VALUES (?, ?, ?)", (part.letter, part.part, part.content))
    (there,) = connection.execute("SELECT count(*) FROM parts WHERE letter = ?", (part.letter,)).fetchone()
    if there < part.parts:
        return None
    contents = connection.execute("SELECT content FROM parts WHERE letter = ? ORDER BY part", (part.letter,)).fetchall()
    connection.execute("DELETE FROM parts WHERE letter = ?", (part.letter,))
    whole = unwrap(b"".join(content for (content,) in contents))
    if isinstance(whole, Part):
        raise ValueError("a part of a part")  # noqa: TRY004 - what was read is wrong
    return whole
