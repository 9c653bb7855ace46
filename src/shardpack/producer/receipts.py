"""Outcomes for those who put the records: a receipt each, which costs nothing to settle until somebody asks.

User records are numbered. A block keeps the settlements of 4,096 numbers in a row: when a Kinesis record is settled, it
is noted in the few blocks that its user records lie in, and a receipt looks for its own number when it is asked.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Condition
from time import monotonic
from typing import overload

from .._native.receipt import BLOCK, Block, Receipt, receipt_of
from ..errors import DeliveryError, RecordExpiredError
from .entries import Attempt, Settlement, Status
from .scheduler import EXPIRED


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a user record is stored, and what it took."""

    shard_id: str
    sequence_number: str
    sub_sequence_number: int
    """Its place in the Kinesis record, counted from 0."""
    attempts: tuple[Attempt, ...]
    """The calls before that did not store it."""


@dataclass(slots=True, eq=False)
class Settled:
    """A Kinesis record that has its outcome, and the numbers of its user records."""

    settlement: Settlement
    tokens: array[int]


class Register:
    """Where outcomes are noted, and waited for. ``blocks`` are the inbox's; a receipt holds its own itself."""

    def __init__(self) -> None:
        self.blocks: dict[int, Block] = {}
        self._changed = Condition()
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def settle(self, settled: Sequence[Settled]) -> None:
        """Note outcomes, and wake whoever waits for some. A block that has all of its own is needed no longer here."""
        for each in settled:
            tokens = each.tokens
            for number in range(tokens[0] // BLOCK, tokens[-1] // BLOCK + 1):
                start, stop = bisect_left(tokens, number * BLOCK), bisect_left(tokens, (number + 1) * BLOCK)
                if start == stop:
                    continue
                block = self.blocks[number]
                block.settled.append(each)
                block.count += stop - start
                if block.count == BLOCK:
                    del self.blocks[number]
        with self._changed:
            self._changed.notify_all()
            waiters, self._waiters = self._waiters, []
        for loop, event in waiters:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # the loop is closed
                continue

    def wait(self, block: Block, token: int, timeout: float | None) -> Outcome:
        """Wait for an outcome, on a thread."""
        found = block.find(token)
        if found is None:
            deadline = None if timeout is None else monotonic() + timeout
            with self._changed:
                while (found := block.find(token)) is None:
                    left = None if deadline is None else deadline - monotonic()
                    if left is not None and left <= 0:
                        raise TimeoutError("the user record has no outcome yet")
                    self._changed.wait(left)
        return outcome_of(*found)

    async def wait_in_loop(self, block: Block, token: int) -> Outcome:
        """Wait for an outcome, in an event loop."""
        while True:
            event = asyncio.Event()
            with self._changed:
                found = block.find(token)
                if found is None:
                    self._waiters.append((asyncio.get_running_loop(), event))
            if found is not None:
                return outcome_of(*found)
            await event.wait()


class Receipts(Sequence[Receipt]):
    """The receipts of one ``put_many``, made as they are looked at."""

    __slots__ = ("_blocks", "_count", "_first", "_register")

    def __init__(self, register: Register, first: int, blocks: list[Block], count: int) -> None:
        self._register, self._first, self._blocks, self._count = register, first, blocks, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Receipt: ...
    @overload
    def __getitem__(self, index: slice) -> list[Receipt]: ...
    def __getitem__(self, index: int | slice) -> Receipt | list[Receipt]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError("receipt index out of range")
        token = self._first + index % self._count
        return receipt_of(self._blocks[token // BLOCK - self._first // BLOCK], self._register, token)


def outcome_of(settlement: Settlement, place: int) -> Outcome:
    """Return where a user record is stored, or raise why it is not, or may not be."""
    entry = settlement.entry
    if settlement.status is Status.STORED:
        assert settlement.shard_id is not None
        assert settlement.sequence_number is not None
        return Outcome(settlement.shard_id, settlement.sequence_number, place, tuple(entry.attempts))
    kind = RecordExpiredError if settlement.error_code == EXPIRED else DeliveryError
    raise kind(
        settlement.message,
        error_code=settlement.error_code or "",
        maybe_stored=settlement.status is Status.UNKNOWN,
        attempts=tuple(entry.attempts),
    )
