"""Dead letters in a file.

SQLite is what the standard library has that survives a kill at any moment, is written by several processes at once, and
can be looked into with tools that everybody has.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import abridged
from ..limits import MIB, whole_number
from ..sqlite_file import Kind, SQLiteFile, is_busy
from .letter import DeadLetter, DeadLetterError, check

if TYPE_CHECKING:
    from typing_extensions import Self

READ_LETTERS = 1000
READ_BYTES = 4 * MIB
"""What iteration reads at once: so many letters, or until their data are so many bytes."""

SCHEMA = """
CREATE TABLE letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: an id that was read names no later letter
    stream TEXT NOT NULL,
    partition_key TEXT,
    explicit_hash_key TEXT, -- decimal; SQLite's integers have 64 bits
    error_code TEXT NOT NULL,
    message TEXT NOT NULL,
    maybe_stored INTEGER NOT NULL,
    put_at REAL NOT NULL,
    given_up_at REAL NOT NULL,
    attempts INTEGER NOT NULL,
    shard_id TEXT,
    sequence_number TEXT,
    sub_sequence_number INTEGER NOT NULL DEFAULT 0,
    handler TEXT,
    data BLOB NOT NULL -- last: what precedes it is read without it
)
"""

SCHEMA_OF_DRAINED = (
    """
CREATE TABLE positions ( -- of streams of dead letters: what is in here up to and including these
    stream TEXT NOT NULL,
    shard_id TEXT NOT NULL,
    sequence_number TEXT NOT NULL,
    sub_sequence_number INTEGER NOT NULL,
    PRIMARY KEY (stream, shard_id)
)
""",
    """
CREATE TABLE parts ( -- of letters that have several records there and did not all come yet
    letter BLOB NOT NULL,
    part INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (letter, part)
)
""",
)

FROM_VERSION_1 = (
    "ALTER TABLE letters ADD COLUMN shard_id TEXT",
    "ALTER TABLE letters ADD COLUMN sequence_number TEXT",
    "ALTER TABLE letters ADD COLUMN sub_sequence_number INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE letters ADD COLUMN handler TEXT",
    *SCHEMA_OF_DRAINED,
)
"""Adds only: a shardpack that knows version 1 alone and has the file open goes on with it."""

KIND = Kind(
    what="dead letters",
    application_id=0x53504B44,  # "SPKD"
    schema_version=2,
    schema=(SCHEMA, *SCHEMA_OF_DRAINED),
    error=DeadLetterError,
    upgrades={1: FROM_VERSION_1},
    text=bytes,
)

COLUMNS = (
    "stream, partition_key, explicit_hash_key, error_code, message, maybe_stored, put_at, given_up_at, attempts, data, "
    "shard_id, sequence_number, sub_sequence_number, handler"
)
INSERT = f"INSERT INTO letters ({COLUMNS}) VALUES ({', '.join('?' * len(COLUMNS.split(',')))})"  # noqa: S608

TEXTS = ("stream", "partition_key", "error_code", "message", "shard_id", "sequence_number", "handler")

IDS = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Tally:
    """What there is of one stream with one error code. ``size`` counts bytes of data; times are epoch seconds."""

    stream: str
    error_code: str
    letters: int
    size: int
    maybe_stored: int
    first_given_up_at: float
    last_given_up_at: float


class SQLiteDeadLetters:
    """Dead letters in a file: all of a ``put`` or none, in order, there after ``kill -9`` and after a power failure.

    ``path`` is made if it is not there. Beside it SQLite keeps ``path-wal`` and ``path-shm`` while it is open: they
    belong to it, so move all three or, better, none before it is closed. A network file system will not do.

    One object may be used from any thread; several may have the file open, in any number of processes, and each waits
    up to ``busy_timeout_s`` for the others. After ``os.fork`` parent and child go on with it.

    Every method raises ``DeadLetterError``, which names the file, when it is no file of dead letters, was written by a
    newer shardpack, is damaged, full, locked for too long, or closed. No other file is changed by the attempt.
    """

    # WAL with synchronous=FULL: one flush of the disk for every put. NORMAL would leave it out, and what was put would
    # survive a kill but not a power failure, until the next checkpoint. Letters come many at once and seldom, and 4,000
    # take as long as a flush or longer: the price does not show, so what a producer has reported stays true.

    def __init__(self, path: str | os.PathLike[str], *, busy_timeout_s: float = 30.0) -> None:
        self._file = SQLiteFile(path, KIND, busy_timeout_s=busy_timeout_s)
        self.path: str = self._file.path

    def put(self, letters: Sequence[DeadLetter]) -> None:
        """Keep these, all or none, after all that were put before; they are on the disk when it returns."""
        kept = tuple(letters)
        check(kept)
        if not kept:
            return
        with self._changing() as connection:
            connection.executemany(INSERT, map(row_of, kept))

    def remove(self, ids: Iterable[int]) -> int:
        """Drop these letters, all at once, and return how many were still there."""
        doomed = [(number,) for number in (whole_number("id", one) for one in ids) if number in IDS]
        if not doomed:
            return 0
        with self._changing() as connection:
            return connection.executemany("DELETE FROM letters WHERE id = ?", doomed).rowcount

    def replace(self, letters: Iterable[tuple[int, DeadLetter]]) -> int:
        """Keep these in the place of those with their ids, all or none, and return how many were still there."""
        kept = [(whole_number("id", number), letter) for number, letter in letters]
        check([letter for _, letter in kept])
        rows = [(*row_of(letter), number) for number, letter in kept if number in IDS]
        if not rows:
            return 0
        assignments = ", ".join(f"{column} = ?" for column in COLUMNS.split(", "))
        with self._changing() as connection:
            return connection.executemany(f"UPDATE letters SET {assignments} WHERE id = ?", rows).rowcount  # noqa: S608

    def positions(self, stream: str) -> dict[str, tuple[int, int]]:
        """Return, by shard id, up to which sequence and sub-sequence number the letters of a stream are in here."""
        with self._file.using() as connection:
            rows = connection.execute(
                "SELECT shard_id, sequence_number, sub_sequence_number FROM positions WHERE stream = ?",
                (encoded(stream),),
            ).fetchall()
            return {_decoded(shard_id): (int(number), sub) for shard_id, number, sub in rows}

    def __len__(self) -> int:
        with self._file.using() as connection:
            return int(connection.execute("SELECT count(*) FROM letters").fetchone()[0])

    def __iter__(self) -> Iterator[tuple[int, DeadLetter]]:
        """Give id and letter of all that are there now, in the order of putting.

        Reads a few megabytes at a time and holds nothing meanwhile: others may put and remove. Raises
        ``DeadLetterError`` that names its id for a letter that cannot be read.
        """
        with self._file.using() as connection:
            newest = connection.execute("SELECT max(id) FROM letters").fetchone()[0]
        after = IDS[0]
        while newest is not None and after < newest:
            batch = self._read(after, newest)
            if not batch:
                return
            after = batch[-1][0]
            yield from batch

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other redrives of the file out meanwhile: two would break the order. The lock goes with the process."""
        lock = sqlite3.connect(f"{self.path}-redrive", timeout=0, isolation_level=None, check_same_thread=False)
        try:
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.Error as error:
                if is_busy(error):
                    raise DeadLetterError(f"{self.path}: another redrive of it is under way") from None
                raise DeadLetterError(f"{self.path}-redrive: {error}") from error
            yield
        finally:
            lock.close()

    def tally(self) -> list[Tally]:
        """Count what is there: by stream and error code, the most first."""
        with self._file.using() as connection:
            rows = connection.execute(
                "SELECT stream, error_code, count(*), sum(length(data)), sum(maybe_stored != 0), min(given_up_at), "
                "max(given_up_at) FROM letters GROUP BY stream, error_code ORDER BY count(*) DESC, stream, error_code"
            ).fetchall()
            return [Tally(_decoded(stream), _decoded(error_code), *counts) for stream, error_code, *counts in rows]

    def close(self) -> None:
        """Close the file. May be called again."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, after: int, newest: int) -> list[tuple[int, DeadLetter]]:
        """Read what follows the id ``after``, until a batch is full."""
        batch: list[tuple[int, DeadLetter]] = []
        size = 0
        with self._file.using() as connection:
            rows = connection.execute(
                f"SELECT id, {COLUMNS} FROM letters WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",  # noqa: S608
                (after, newest, READ_LETTERS),
            )
            try:
                for number, *row in rows:
                    batch.append((number, self._letter_of(number, row)))
                    size += len(batch[-1][1].data)
                    if size >= READ_BYTES:
                        break
            except DeadLetterError:
                if not batch:  # else first what precedes it
                    raise
            finally:
                rows.close()
        return batch

    def _letter_of(self, number: int, row: Sequence[Any]) -> DeadLetter:
        """Make a letter of what the file has, which somebody may have changed by hand."""
        fields = dict(zip(COLUMNS.split(", "), row, strict=True))
        try:
            for name in TEXTS:
                if (stored := fields[name]) is not None:
                    fields[name] = _decoded(stored)
            if fields["explicit_hash_key"] is not None:
                fields["explicit_hash_key"] = int(fields["explicit_hash_key"])
            return DeadLetter(**fields)
        except (TypeError, ValueError) as error:
            raise DeadLetterError(f"{self.path}: letter {number} cannot be read: {error}") from error

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Have the connection in a transaction: for ``drain``."""
        with self._file.writing(flushed=True) as connection:
            yield connection


def row_of(letter: DeadLetter) -> tuple[object, ...]:
    return (
        encoded(letter.stream),
        encoded(letter.partition_key),
        None if letter.explicit_hash_key is None else str(letter.explicit_hash_key),
        encoded(letter.error_code),
        encoded(letter.message),
        letter.maybe_stored,
        letter.put_at,
        letter.given_up_at,
        letter.attempts,
        letter.data,
        encoded(letter.shard_id),
        encoded(letter.sequence_number),
        letter.sub_sequence_number,
        encoded(letter.handler),
    )


def encoded(text: str | None) -> str | bytes | None:
    """Return what SQLite takes of a text: itself, or a blob where lone surrogates keep it from being UTF-8."""
    if text is None:
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="surrogatepass")
    return text


def _decoded(stored: bytes) -> str:
    if not isinstance(stored, bytes):
        raise ValueError(f"text is stored as {abridged(stored)}")  # noqa: TRY004 - it is the file that is wrong
    return stored.decode(errors="surrogatepass")
