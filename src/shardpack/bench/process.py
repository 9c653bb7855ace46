"""A contender, in a process of its own.

Whoever shares a process shares its memory: what one has left in pieces, or keeps for the next time, makes another
slower or faster by a quarter.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType

from .interleave import one_core
from .peers import NotInstalledError
from .row import OURS, CannotMeasureError, Scale, WrongResultError
from .rows import ROWS


@dataclass(frozen=True, slots=True)
class RowSummary:
    """What a row is, and how much of its unit a run of each contender moves; ours is the first."""

    title: str
    detail: str
    unit: str
    amounts: dict[str, float]


class ContenderProcess:
    """A process that makes a row, proves one contender of it, and runs that when it is told to."""

    def __init__(self, row: str, scale: Scale, contender: str = OURS) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._connection, theirs = spawning.Pipe()
        self._process = spawning.Process(target=_serve, args=(theirs, row, scale, contender), daemon=True)
        with _interrupts_ignored():  # as the new process then does: Ctrl-C is for the one that started it
            self._process.start()
        theirs.close()

    def __enter__(self) -> ContenderProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()  # which ends it
        self._process.join(10)
        self._process.kill()

    def summary(self) -> RowSummary:
        """Wait until it is proved. Raises ``CannotMeasureError``, ``NotInstalledError`` or ``WrongResultError``."""
        found = self._connection.recv()
        if isinstance(found, Exception):
            raise found
        assert isinstance(found, RowSummary)
        return found

    def turn(self, times: int) -> float:
        self._connection.send(times)
        return float(self._connection.recv())


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # which alone may set handlers
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(connection: Connection, row_name: str, scale: Scale, contender: str) -> None:
    with one_core():  # and whatever threads are started
        try:
            row = ROWS[row_name](scale)
            turn = row.turn(contender)
        except (CannotMeasureError, NotInstalledError, WrongResultError) as why:
            connection.send(why)
            return
        amounts = {name: row.amount_of(name) for name in row.contenders}
        with suppress(EOFError, BrokenPipeError):  # the other end is closed
            connection.send(RowSummary(row.title, row.detail, row.unit, amounts))
            while True:
                connection.send(turn(connection.recv()))
