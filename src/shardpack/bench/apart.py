"""A way of doing a row's work, in a process of its own.

Whoever shares a process shares its memory: what one way has left in pieces, or keeps for the next time, makes another
slower or faster by a quarter.
"""

from __future__ import annotations

import multiprocessing
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType

from .interleave import one_core, take_turn
from .rows import OURS, ROWS, NotHereError, Scale, UnlikeError
from .ways import NotInstalledError


@dataclass(frozen=True, slots=True)
class About:
    """What a row is, and how much of its unit a run of each way moves; ours is the first."""

    title: str
    detail: str
    unit: str
    amounts: dict[str, float]


class Apart:
    """A process that makes a row, proves one way of it, and runs that when it is told to."""

    def __init__(self, row: str, scale: Scale, way: str = OURS) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._connection, theirs = spawning.Pipe()
        self._process = spawning.Process(target=_serve, args=(theirs, row, scale, way), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Apart:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()  # which ends it
        self._process.join(10)
        self._process.kill()

    def about(self) -> About:
        """Wait until it is proved. Raises ``NotHereError``, ``NotInstalledError`` or ``UnlikeError``."""
        found = self._connection.recv()
        if isinstance(found, Exception):
            raise found
        assert isinstance(found, About)
        return found

    def turn(self, times: int) -> float:
        self._connection.send(times)
        return float(self._connection.recv())


def _serve(connection: Connection, name: str, scale: Scale, way: str) -> None:
    try:
        row = ROWS[name](scale)
        run = row.proved(way)
    except (NotHereError, NotInstalledError, UnlikeError) as why:
        connection.send(why)
        return
    connection.send(About(row.title, row.detail, row.unit, {way: row.amount_of(way) for way in row.ways}))
    with one_core(), suppress(EOFError):
        while True:
            connection.send(take_turn(run, connection.recv()))
