"""A file that says how much of an input is in a stream, so that a put that broke off goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from .outcome import BadInputError, os_error_text
from .prefix import Position
from .put_rows import ParquetRows
from .source import Source

SECONDS_BETWEEN = 1.0
"""It is written so often, when it changes."""

WAIT_SECONDS = 0.1

FORMAT = 1


@dataclass(frozen=True, slots=True)
class State:
    """All up to ``line`` and ``offset`` is in ``stream``, of an input whose unpacked bytes begin as the digest says."""

    stream: str
    line: int = 0
    offset: int = 0
    head_bytes: int = 0
    head_sha256: str = hashlib.sha256().hexdigest()
    shardpack_put: int = FORMAT


class StateFile:
    """Holds a ``State``, which is on the disk as a whole before it takes the place of the one before."""

    def __init__(self, path: str, stream: str) -> None:
        self._path = Path(path)
        self._written = self._read(stream)
        self._next_at = 0.0
        self._write(self._written)  # what cannot be written is an error now

    @property
    def position(self) -> Position:
        """Where to go on."""
        return Position(self._written.line, self._written.offset)

    def go_to_position(self, source: Source, stopping: Callable[[], bool]) -> Position | None:
        """Read on to there. Returns ``None`` if it was to end before.

        Raises ``BadInputError`` for another input than that which was begun.
        """
        state = self._written
        chunks: list[bytes] = []
        while len(source.head) < state.head_bytes and not (chunks and chunks[-1] == b""):
            if stopping():
                return None
            chunk = source.read(WAIT_SECONDS)
            chunks += [] if chunk is None else [chunk]
        if hashlib.sha256(source.head[: state.head_bytes]).hexdigest() != state.head_sha256:
            raise self._another(source, f"its first {state.head_bytes:,} bytes differ")
        at = max(0, state.offset - 1)
        if not source.seek(at):
            source.put_back(b"".join(chunks))
            at = 0
        return self._read_on(source, at, stopping)

    def row_of(self, rows: ParquetRows) -> Position:
        """Where to go on in a file of rows. Raises ``BadInputError`` for another one than that which was begun."""
        state = self._written
        if state.line and hashlib.sha256(rows.head).hexdigest() != state.head_sha256:
            raise self._another(rows, "the file ends otherwise")
        return self.position

    def _read_on(self, source: Source, at: int, stopping: Callable[[], bool]) -> Position | None:
        state, before = self._written, b"\n"
        while at < state.offset or before != b"\n":
            if stopping():
                return None
            chunk = source.read(WAIT_SECONDS)
            if chunk is None:
                continue
            if at == state.offset:  # the last line had no end
                return self._behind_newline(source, chunk)
            if not chunk:
                raise self._another(source, f"it ends at byte {at:,}, and {state.offset:,} were stored")
            passed = chunk[: state.offset - at]
            source.put_back(chunk[len(passed) :])
            at, before = at + len(passed), passed[-1:]
        return self.position

    def _behind_newline(self, source: Source, chunk: bytes) -> Position:
        """Pass over the newline that has come since behind the last line."""
        rest = chunk.removeprefix(b"\r").removeprefix(b"\n")
        if chunk and not chunk.startswith((b"\n", b"\r\n")):
            raise self._another(source, f"line {self._written.line:,} goes on, and was stored without that")
        source.put_back(rest)
        return Position(self._written.line, self._written.offset + len(chunk) - len(rest))

    def save(self, position: Position, head: bytes | bytearray, *, at_once: bool = False) -> None:
        """Write how far it is, if it is further than before and there was a second since; or ``at_once``."""
        now = time.monotonic()
        state = self._written
        if (position.offset == state.offset and len(head) == state.head_bytes) or not (at_once or now >= self._next_at):
            return
        self._next_at = now + SECONDS_BETWEEN
        digest = hashlib.sha256(head).hexdigest()
        self._write(State(state.stream, position.line, position.offset, len(head), digest))

    def _another(self, source: Source | ParquetRows, why: str) -> BadInputError:
        return BadInputError(f"{self._path}: made of another input than {source.name}: {why}")

    def _read(self, stream: str) -> State:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return State(stream)
        except OSError as error:
            raise BadInputError(f"{self._path}: {os_error_text(error)}") from None
        state = _parsed(content)
        if state is None:
            raise BadInputError(f"{self._path}: not a state that `shardpack put --resume` has written")
        if state.stream != stream:
            raise BadInputError(f"{self._path}: of the stream {state.stream}, not of {stream}")
        return state

    def _write(self, state: State) -> None:
        new = self._path.with_name(self._path.name + ".new")
        try:
            with new.open("wb") as file:
                file.write(json.dumps(asdict(state)).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
            if os.name == "posix":
                _sync_directory(self._path.parent)
        except OSError as error:
            raise BadInputError(f"{self._path}: {os_error_text(error)}") from None
        self._written = state


def _parsed(content: bytes) -> State | None:
    try:
        state = State(**json.loads(content))
        known = state.shardpack_put == FORMAT and 0 <= state.line <= state.offset and state.head_bytes >= 0
    except (ValueError, TypeError):
        return None
    return state if known else None


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
