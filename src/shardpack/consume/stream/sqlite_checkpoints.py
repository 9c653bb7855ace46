"""Checkpoints in a file: those of many streams and consumers, each for one reader at a time."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from ...sqlite_file import Kind, SQLiteFile
from .checkpoints import Checkpoint, CheckpointError, CheckpointsInUseError, CheckpointsLostError, Kept, moved_on
from .shards import ListedShard

if TYPE_CHECKING:
    from typing_extensions import Self

KIND = Kind(
    what="checkpoints",
    application_id=0x53504B43,  # "SPKC"
    schema_version=1,
    schema=(
        """
CREATE TABLE readers (
    id INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    consumer TEXT NOT NULL,
    owner TEXT, -- the last one that claimed; none once it gave them up
    claims INTEGER NOT NULL, -- how often they were claimed: the last claim counts
    seen_at REAL NOT NULL, -- when the owner last wrote, epoch seconds
    UNIQUE (stream, consumer)
)""",
        """
CREATE TABLE checkpoints (
    reader INTEGER NOT NULL REFERENCES readers (id),
    shard_id TEXT NOT NULL,
    sequence_number TEXT NOT NULL, -- decimal, or as the KCL writes it
    sub_sequence_number INTEGER NOT NULL,
    read_up_to REAL,
    shard TEXT, -- what ListShards told: [starting hash key, ending hash key, [parents], closed]
    PRIMARY KEY (reader, shard_id)
) WITHOUT ROWID""",
    ),
    error=CheckpointError,
)


class SQLiteCheckpoints:
    """Checkpoints in the file ``path``, which is made if it is not there; there after ``kill -9``.

    One file may have those of many streams and consumers. ``consumer`` names the application: two applications of one
    stream have two names. A stream is what the reader was given: its name and its ARN are two.

    A reader at a time has those of a stream and consumer: the lock is the process's, so after ``kill -9`` the next
    reader has them at once. Beside the file SQLite keeps ``path-wal`` and ``path-shm`` while it is open, and each
    claim makes an empty ``path-lock-N``, which stays. A network file system will not do.

    Shards that are entered are on the disk when ``begin`` returns. ``write`` leaves that to the system: what it kept
    survives a kill, but a power failure may undo the last of it, and user records are handled again; none are lost.

    Any thread may use it. A child of ``os.fork`` has claimed nothing. Every method raises ``CheckpointError``, which
    names the file, when that is of something else, was written by a newer shardpack, is damaged, full, locked for
    more than ``busy_timeout_s``, or closed.
    """

    renew_s: float | None = None

    def __init__(self, path: str | os.PathLike[str], *, consumer: str = "", busy_timeout_s: float = 30.0) -> None:
        self.consumer = consumer
        self._busy_timeout_s = busy_timeout_s
        self._file = SQLiteFile(path, KIND, busy_timeout_s=busy_timeout_s)
        self.path: str = self._file.path
        self._lock = threading.RLock()
        self._locked: int | None = None  # file descriptor
        self._stream = ""
        self._reader = self._claims = 0
        _stores.add(self)

    def claim(self, stream: str, owner: str) -> dict[str, Checkpoint]:
        """Take those of a stream; raises ``CheckpointsInUseError`` while another reader, of any process, has them."""
        with self._lock:
            with self._file.writing(flushed=False) as connection:
                connection.execute(
                    "INSERT OR IGNORE INTO readers (stream, consumer, claims, seen_at) VALUES (?, ?, 0, 0)",
                    (stream, self.consumer),
                )
                number, last_owner, seen_at = connection.execute(
                    "SELECT id, owner, seen_at FROM readers WHERE stream = ? AND consumer = ?",
                    (stream, self.consumer),
                ).fetchone()
            locked = None if self._locked is not None else self._try_lock(number)
            if locked is None:
                raise CheckpointsInUseError(
                    f"{self._where(stream)} are in use by {last_owner}, which last wrote at {_utc(seen_at)}"
                )
            try:
                with self._file.writing(flushed=False) as connection:
                    connection.execute(
                        "UPDATE readers SET owner = ?, claims = claims + 1, seen_at = ? WHERE id = ?",
                        (owner, time.time(), number),
                    )
                    (claims,) = connection.execute("SELECT claims FROM readers WHERE id = ?", (number,)).fetchone()
                    kept = self._read(connection, number)
            except BaseException:
                os.close(locked)
                raise
            self._locked, self._stream, self._reader, self._claims = locked, stream, number, claims
            return kept

    def begin(self, shards: Mapping[ListedShard, Checkpoint]) -> None:
        """Enter shards; one that is there stays as it is. They are on the disk afterwards."""
        with self._claimed(flushed=True) as connection:
            self._insert(connection, shards)

    def write(self, checkpoints: Mapping[str, Checkpoint]) -> None:
        """Keep these, all or none."""
        with self._claimed(flushed=False) as connection:
            kept = self._read(connection, self._reader, checkpoints)
            further = moved_on(self._where(self._stream), kept, checkpoints)
            connection.executemany(
                "INSERT INTO checkpoints (reader, shard_id, sequence_number, sub_sequence_number, read_up_to) "
                "VALUES (?, ?, ?, ?, ?) ON CONFLICT (reader, shard_id) DO UPDATE SET "
                "sequence_number = excluded.sequence_number, "
                "sub_sequence_number = excluded.sub_sequence_number, read_up_to = excluded.read_up_to",
                [(self._reader, shard_id, *_columns(checkpoint)) for shard_id, checkpoint in further.items()],
            )

    def replace(self, shards: Mapping[ListedShard, Checkpoint]) -> None:
        """Have these and no others, whatever was kept: what `shardpack checkpoints reset` does."""
        with self._claimed(flushed=True) as connection:
            connection.execute("DELETE FROM checkpoints WHERE reader = ?", (self._reader,))
            self._insert(connection, shards)

    def renew(self) -> None:
        """Do nothing: the lock says that the owner lives."""

    def forget(self, shard_ids: Collection[str]) -> None:
        """Drop the checkpoints of these shards."""
        with self._claimed(flushed=False) as connection:
            connection.executemany(
                "DELETE FROM checkpoints WHERE reader = ? AND shard_id = ?",
                [(self._reader, shard_id) for shard_id in shard_ids],
            )

    def release(self) -> None:
        """Give them up."""
        with self._lock:
            locked, self._locked = self._locked, None
            if locked is None:
                return
            try:
                with self._file.writing(flushed=False) as connection:
                    connection.execute(
                        "UPDATE readers SET owner = NULL WHERE id = ? AND claims = ?", (self._reader, self._claims)
                    )
            finally:
                os.close(locked)

    def for_consumer(self, name: str) -> SQLiteCheckpoints:
        """Return the checkpoints of another consumer in this file: ``consumer/name`` where this one has a name."""
        consumer = f"{self.consumer}/{name}" if self.consumer else name
        return SQLiteCheckpoints(self.path, consumer=consumer, busy_timeout_s=self._busy_timeout_s)

    def kept(self) -> list[Kept]:
        """Return all that the file has, of every stream and consumer, claimed or not."""
        with self._file.using() as connection:
            rows = connection.execute(
                "SELECT stream, consumer, shard_id, sequence_number, sub_sequence_number, read_up_to, owner, shard "
                "FROM checkpoints JOIN readers ON readers.id = reader ORDER BY stream, consumer, shard_id"
            ).fetchall()
        return [
            Kept(stream, consumer, shard_id, self._checkpoint(shard_id, *columns), owner, _shard(shard_id, shard))
            for stream, consumer, shard_id, *columns, owner, shard in rows
        ]

    def close(self) -> None:
        """Give them up and close the file. May be called again."""
        with self._lock:
            try:
                self.release()
            finally:
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _insert(self, connection: sqlite3.Connection, shards: Mapping[ListedShard, Checkpoint]) -> None:
        connection.executemany(
            "INSERT OR IGNORE INTO checkpoints "
            "(reader, shard_id, sequence_number, sub_sequence_number, read_up_to, shard) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (self._reader, shard.shard_id, *_columns(checkpoint), _told(shard))
                for shard, checkpoint in shards.items()
            ],
        )

    @contextmanager
    def _claimed(self, *, flushed: bool) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._locked is None:
                raise CheckpointsLostError(f"{self.path}: no checkpoints are claimed: their reader is closed")
            with self._file.writing(flushed=flushed) as connection:
                found = connection.execute("SELECT claims, owner FROM readers WHERE id = ?", (self._reader,)).fetchone()
                if found is None or found[0] != self._claims:  # its lock file was removed, or the file replaced
                    raise CheckpointsLostError(
                        f"{self._where(self._stream)} were taken by {'others' if found is None else found[1]}"
                    )
                connection.execute("UPDATE readers SET seen_at = ? WHERE id = ?", (time.time(), self._reader))
                yield connection

    def _read(
        self, connection: sqlite3.Connection, reader: int, shard_ids: Collection[str] | None = None
    ) -> dict[str, Checkpoint]:
        query = "SELECT shard_id, sequence_number, sub_sequence_number, read_up_to FROM checkpoints WHERE reader = ?"
        if shard_ids is None:
            rows = connection.execute(query, (reader,)).fetchall()
        else:
            rows = [row for one in shard_ids for row in connection.execute(f"{query} AND shard_id = ?", (reader, one))]
        return {shard_id: self._checkpoint(shard_id, *columns) for shard_id, *columns in rows}

    def _checkpoint(self, shard_id: str, *columns: Any) -> Checkpoint:
        try:
            return Checkpoint(*columns)
        except (TypeError, ValueError) as error:  # somebody may have changed it by hand
            raise CheckpointError(f"{self.path}: the checkpoint of {shard_id} cannot be read: {error}") from error

    def _where(self, stream: str) -> str:
        of = f"{stream}, consumer {self.consumer}" if self.consumer else stream
        return f"{self.path}: the checkpoints of {of}"

    def _try_lock(self, number: int) -> int | None:
        """Lock out other readers until the descriptor is closed, as it is when the process ends."""
        path = f"{self.path}-lock-{number}"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            raise CheckpointError(f"{path}: cannot be locked: {error.strerror}") from error
        return descriptor


def _columns(checkpoint: Checkpoint) -> tuple[str, int, float | None]:
    return checkpoint.sequence_number, checkpoint.sub_sequence_number, checkpoint.read_up_to


def _told(shard: ListedShard) -> str:
    return json.dumps([str(shard.starting_hash_key), str(shard.ending_hash_key), shard.parents, shard.closed])


def _shard(shard_id: str, told: str | None) -> ListedShard | None:
    if told is None:
        return None
    starting_hash_key, ending_hash_key, parents, closed = json.loads(told)
    return ListedShard(shard_id, int(starting_hash_key), int(ending_hash_key), tuple(parents), closed)


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


# --- fork: the child is no reader, and the lock is the parent's, so a child that outlives it is not to keep it ---

_stores: WeakSet[SQLiteCheckpoints] = WeakSet()


def _after_fork_in_child() -> None:
    for store in list(_stores):
        store._lock = threading.RLock()  # noqa: SLF001
        locked, store._locked = store._locked, None  # noqa: SLF001
        if locked is not None:
            os.close(locked)


os.register_at_fork(after_in_child=_after_fork_in_child)
