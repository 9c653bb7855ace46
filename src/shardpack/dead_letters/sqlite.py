"""Dead letters in a file.

SQLite is what the standard library has that survives a kill at any moment, is written by several processes at once, and
can be looked into with tools that everybody has.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from ..errors import abridged
from ..limits import MIB, whole_number
from .letter import DeadLetter, DeadLetterError, check

if TYPE_CHECKING:
    from typing_extensions import Self

APPLICATION_ID = 0x53504B44
"""What marks the file as one of dead letters, in SQLite's header: "SPKD"."""

SCHEMA_VERSION = 2

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
        self.path: str = os.path.abspath(path)  # noqa: PTH100 - it is opened again after a fork, wherever that works then
        self._busy_timeout_s = busy_timeout_s
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._closed = False
        _opened.add(self)
        with self._using():
            pass

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
        with self._using() as connection:
            rows = connection.execute(
                "SELECT shard_id, sequence_number, sub_sequence_number FROM positions WHERE stream = ?",
                (encoded(stream),),
            ).fetchall()
            return {_decoded(shard_id): (int(number), sub) for shard_id, number, sub in rows}

    def __len__(self) -> int:
        with self._using() as connection:
            return int(connection.execute("SELECT count(*) FROM letters").fetchone()[0])

    def __iter__(self) -> Iterator[tuple[int, DeadLetter]]:
        """Give id and letter of all that are there now, in the order of putting.

        Reads a few megabytes at a time and holds nothing meanwhile: others may put and remove. Raises
        ``DeadLetterError`` that names its id for a letter that cannot be read.
        """
        with self._using() as connection:
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
                if _is_busy(error):
                    raise DeadLetterError(f"{self.path}: another redrive of it is under way") from None
                raise DeadLetterError(f"{self.path}-redrive: {error}") from error
            yield
        finally:
            lock.close()

    def tally(self) -> list[Tally]:
        """Count what is there: by stream and error code, the most first."""
        with self._using() as connection:
            rows = connection.execute(
                "SELECT stream, error_code, count(*), sum(length(data)), sum(maybe_stored != 0), min(given_up_at), "
                "max(given_up_at) FROM letters GROUP BY stream, error_code ORDER BY count(*) DESC, stream, error_code"
            ).fetchall()
            return [Tally(_decoded(stream), _decoded(error_code), *counts) for stream, error_code, *counts in rows]

    def close(self) -> None:
        """Close the file. May be called again."""
        with self._lock:
            self._closed = True
            self._disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, after: int, newest: int) -> list[tuple[int, DeadLetter]]:
        """Read what follows the id ``after``, until a batch is full."""
        batch: list[tuple[int, DeadLetter]] = []
        size = 0
        with self._using() as connection:
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
    def _using(self) -> Iterator[sqlite3.Connection]:
        """Have the connection for oneself; what SQLite raises becomes ``DeadLetterError``."""
        with self._lock:
            try:
                yield self._connect()
            except sqlite3.Error as error:
                raise DeadLetterError(f"{self.path}: {self._reason(error)}") from error
            except ValueError as error:  # text that is no UTF-8, which SQLite's errors may quote
                raise DeadLetterError(f"{self.path}: damaged: {error}") from error

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Have the connection in a transaction: for ``drain``."""
        with self._using() as connection, _transaction(connection):
            yield connection

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise DeadLetterError(f"{self.path}: closed")
        if self._connection is None:
            connection = sqlite3.connect(
                self.path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
            )
            try:
                _prepare(connection, self.path, time.monotonic() + self._busy_timeout_s)
            except BaseException:
                connection.close()
                raise
            self._connection, self._pid = connection, os.getpid()
        elif self._pid != os.getpid():
            raise DeadLetterError(f"{self.path}: opened before a fork that was not Python's; open it after that")
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and self._pid == os.getpid():
            connection.close()

    def _reason(self, error: sqlite3.Error) -> str:
        if "file is not a database" in str(error):
            return "not a SQLite database"
        if _is_busy(error):
            return f"locked by others for more than {self._busy_timeout_s:g} s"
        return str(error)


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


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Do all or nothing; other writers wait from the start, so that nobody has to give way in the middle."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite may have rolled back by itself; the first error is the one to tell
            connection.execute("ROLLBACK")
        raise


# --- opening: what a file is, before anything of it is changed ---


def _prepare(connection: sqlite3.Connection, path: str, deadline: float) -> None:
    """Make sure that the file holds dead letters, making the table in one that is empty."""
    connection.text_factory = bytes
    connection.execute("PRAGMA trusted_schema = OFF")  # the file may be a stranger's
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS: to the disk, not to its cache
    connection.execute("PRAGMA checkpoint_fullfsync = ON")
    if _is_empty(connection):
        with _transaction(connection):
            if _is_empty(connection):  # still: somebody else may have opened it at the same time
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                _write_schema(connection, (SCHEMA, *SCHEMA_OF_DRAINED))
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise DeadLetterError(f"{path}: a SQLite database of something else, not of dead letters")
    version = _pragma(connection, "user_version")
    if version == 1:
        with _transaction(connection):
            if _pragma(connection, "user_version") == 1:
                _write_schema(connection, FROM_VERSION_1)
        version = _pragma(connection, "user_version")
    if version != SCHEMA_VERSION:
        raise DeadLetterError(
            f"{path}: written by a newer shardpack: version {version} of its schema, where this one knows "
            f"{SCHEMA_VERSION}"
            if version > SCHEMA_VERSION
            else f"{path}: version {version} of its schema, which no shardpack wrote"
        )
    _enter_wal(connection, path, deadline)


def _write_schema(connection: sqlite3.Connection, statements: Iterable[str]) -> None:
    for statement in statements:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _is_empty(connection: sqlite3.Connection) -> bool:
    return not (
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        or _pragma(connection, "application_id")
        or _pragma(connection, "user_version")
    )


def _enter_wal(connection: sqlite3.Connection, path: str, deadline: float) -> None:
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:  # SQLite itself does not wait for this lock
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
    if mode != b"wal":
        raise DeadLetterError(f"{path}: SQLite's write-ahead log does not work there; is it a network file system?")


def _is_busy(error: sqlite3.Error) -> bool:
    return "database is locked" in str(error)


# --- fork: SQLite's connections do not survive one, nor does its knowledge of the locks that the process holds ---

_opened: WeakSet[SQLiteDeadLetters] = WeakSet()
_forking = threading.Lock()
_held: list[SQLiteDeadLetters] = []


def _before_fork() -> None:
    """Close every connection, between two uses; each is opened again when it is next used, here and in the child."""
    _forking.acquire()
    for letters in list(_opened):
        letters._lock.acquire()  # noqa: SLF001
        _held.append(letters)
        letters._disconnect()  # noqa: SLF001


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop()._lock.release()  # noqa: SLF001
    _forking.release()


def _after_fork_in_child() -> None:
    global _forking  # noqa: PLW0603 - the parent's threads, which may have held it, are not here
    _held.clear()
    for letters in list(_opened):
        letters._lock = threading.RLock()  # noqa: SLF001
    _forking = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
