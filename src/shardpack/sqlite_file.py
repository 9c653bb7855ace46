"""One SQLite file of this library's own: told from strangers' files, waited for, opened again after a fork."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from weakref import WeakSet

from .errors import ShardpackError


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file holds: its marks in SQLite's header, its tables, and the error that names it.

    ``upgrades`` are what makes this version's tables of an older one's, ``text`` is what texts are read as.
    """

    what: str
    application_id: int
    schema_version: int
    schema: tuple[str, ...]
    error: type[ShardpackError]
    upgrades: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    text: type[str | bytes] = str


class SQLiteFile:
    """A file of one kind, in write-ahead mode. Any thread may use it; after a fork, parent and child go on with it.

    Another's file is refused and not changed. SQLite's errors become the kind's own, which name the file.
    """

    def __init__(self, path: str | os.PathLike[str], kind: Kind, *, busy_timeout_s: float) -> None:
        self.path: str = os.path.abspath(path)  # noqa: PTH100 - it is opened again after a fork, wherever that works then
        self.lock = threading.RLock()
        self._kind = kind
        self._busy_timeout_s = busy_timeout_s
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._closed = False
        _opened.add(self)
        with self.using():
            pass

    @contextmanager
    def using(self) -> Iterator[sqlite3.Connection]:
        """Have the connection for oneself."""
        with self.lock:
            try:
                yield self._connect()
            except sqlite3.Error as error:
                raise self._kind.error(f"{self.path}: {self._reason(error)}") from error
            except ValueError as error:  # text that is no UTF-8, which SQLite's errors may quote
                if isinstance(error, ShardpackError):
                    raise
                raise self._kind.error(f"{self.path}: damaged: {error}") from error

    @contextmanager
    def writing(self, *, flushed: bool) -> Iterator[sqlite3.Connection]:
        """Do all or nothing; other writers wait from the start.

        ``flushed``: it is on the disk afterwards, with all that was written before. Else a power failure may undo it,
        a kill never.
        """
        with self.using() as connection:
            connection.execute(f"PRAGMA synchronous = {'FULL' if flushed else 'NORMAL'}")
            with transaction(connection):
                yield connection

    def close(self) -> None:
        """Close the file. May be called again."""
        with self.lock:
            self._closed = True
            self.disconnect()

    def disconnect(self) -> None:
        """Close the connection until it is next used."""
        connection, self._connection = self._connection, None
        if connection is not None and self._pid == os.getpid():
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise self._kind.error(f"{self.path}: closed")
        if self._connection is None:
            connection = sqlite3.connect(
                self.path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection, self._pid = connection, os.getpid()
        elif self._pid != os.getpid():
            raise self._kind.error(f"{self.path}: opened before a fork that was not Python's; open it after that")
        return self._connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make sure that the file is of this kind, making the tables in one that is empty."""
        kind = self._kind
        connection.text_factory = kind.text
        connection.execute("PRAGMA trusted_schema = OFF")  # the file may be a stranger's
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: to the disk, not to its cache
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        if _is_empty(connection):
            with transaction(connection):
                if _is_empty(connection):  # still: somebody else may have opened it at the same time
                    connection.execute(f"PRAGMA application_id = {kind.application_id}")
                    self._write_schema(connection, kind.schema)
        if _pragma(connection, "application_id") != kind.application_id:
            raise kind.error(f"{self.path}: a SQLite database of something else, not of {kind.what}")
        if _pragma(connection, "user_version") in kind.upgrades:
            with transaction(connection):
                upgrade = kind.upgrades.get(_pragma(connection, "user_version"))  # still, as above
                if upgrade is not None:
                    self._write_schema(connection, upgrade)
        version = _pragma(connection, "user_version")
        if version != kind.schema_version:
            raise kind.error(
                f"{self.path}: written by a newer shardpack: version {version} of its schema, where this one knows "
                f"{kind.schema_version}"
                if version > kind.schema_version
                else f"{self.path}: version {version} of its schema, which no shardpack wrote"
            )
        self._enter_wal(connection)

    def _write_schema(self, connection: sqlite3.Connection, statements: tuple[str, ...]) -> None:
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {self._kind.schema_version}")

    def _enter_wal(self, connection: sqlite3.Connection) -> None:
        deadline = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
                break
            except sqlite3.OperationalError as error:  # SQLite itself does not wait for this lock
                if not is_busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
        if mode not in ("wal", b"wal"):
            raise self._kind.error(
                f"{self.path}: SQLite's write-ahead log does not work there; is it a network file system?"
            )

    def _reason(self, error: sqlite3.Error) -> str:
        if "file is not a database" in str(error):
            return "not a SQLite database"
        if is_busy(error):
            return f"locked by others for more than {self._busy_timeout_s:g} s"
        return str(error)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Do all or nothing; other writers wait from the start, so that nobody has to give way in the middle."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite may have rolled back by itself; the first error is the one to tell
            connection.execute("ROLLBACK")
        raise


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _is_empty(connection: sqlite3.Connection) -> bool:
    return not (
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        or _pragma(connection, "application_id")
        or _pragma(connection, "user_version")
    )


def is_busy(error: sqlite3.Error) -> bool:
    """Whether others have the file locked."""
    return "database is locked" in str(error)


# --- fork: SQLite's connections do not survive one, nor does its knowledge of the locks that the process holds ---

_opened: WeakSet[SQLiteFile] = WeakSet()
_forking = threading.Lock()
_held: list[SQLiteFile] = []


def _before_fork() -> None:
    """Close every connection, between two uses; each is opened again when it is next used, here and in the child."""
    _forking.acquire()
    for file in list(_opened):
        file.lock.acquire()
        _held.append(file)
        file.disconnect()


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop().lock.release()
    _forking.release()


def _after_fork_in_child() -> None:
    global _forking  # noqa: PLW0603 - the parent's threads, which may have held it, are not here
    _held.clear()
    for file in list(_opened):
        file.lock = threading.RLock()
    _forking = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
