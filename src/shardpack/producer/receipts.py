"""Outcomes for those who put the records: a receipt each, which costs nothing to settle until somebody asks.

User records are numbered. A block keeps the settlements of 4,096 numbers in a row: when a Kinesis record is settled, it
is noted in the few blocks that its user records lie in, and a receipt looks for its own number when it is asked.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import overload

from .._native.receipt import BLOCK, Block, Receipt, receipt_of
from ..errors import DeliveryError, RecordExpiredError
from .entries import Attempt, Settlement, Status
from .scheduler import EXPIRED
from .signals import Signal


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
    blocks: dict[int, Block] = field(default_factory=dict)
    """Where it was noted, by number, unless it is stored."""


Waiter = tuple[asyncio.AbstractEventLoop, asyncio.Event]


class Register:
    """Where outcomes are noted, and waited for. ``blocks`` are the inbox's; a receipt holds its own itself."""

    def __init__(self) -> None:
        self.blocks: dict[int, Block] = {}
        self._settled = Signal()
        self._awaited: dict[int, list[Waiter]] = {}  # by the numbers of user records
        self._awaiting = Lock()  # held while that changes
        self._ended: str | None = None

    def settle(self, settled: Sequence[Settled]) -> None:
        """Note outcomes, and wake whoever waits for some. A block that has all of its own is needed no longer here."""
        for each in settled:
            for number, count in _numbers(each.tokens):
                block = self.blocks[number]
                block.settled.append(each)
                block.count += count
                if block.count == BLOCK:
                    del self.blocks[number]
                if each.settlement.status is not Status.STORED:
                    each.blocks[number] = block
        self._settled.notify()
        if self._awaited:
            self._wake({token for each in settled for token in each.tokens})

    def take_back(self, settled: Settled) -> None:
        """Note that a Kinesis record that was not stored has no outcome after all: it is sent again."""
        for number, count in _numbers(settled.tokens):
            block = self.blocks[number] = settled.blocks[number]
            block.take_back(settled)
            block.count -= count

    def forget(self) -> None:
        """In a process that was forked off: the outcomes are told in the other one."""
        self._settled, self._awaiting, self._awaited = Signal(), Lock(), {}
        self._ended = "it was put before the fork, and is the parent process's to deliver"

    def end(self, why: str) -> None:
        """Nothing is settled any more; whoever waits still is told why."""
        self._ended = why
        self._settled.notify()
        self._wake(set(self._awaited))

    def wait(self, block: Block, token: int, timeout: float | None) -> Outcome:
        """Wait for an outcome, on a thread."""
        found = self._settled.wait(lambda: self._find(block, token), timeout)
        if found is None:
            raise TimeoutError("the user record has no outcome yet")
        return outcome_of(*found)

    async def wait_in_loop(self, block: Block, token: int) -> Outcome:
        """Wait for an outcome, in an event loop. However many wait, each is woken once."""
        while True:
            found = self._find(block, token)
            if found is not None:
                return outcome_of(*found)
            waiter = asyncio.get_running_loop(), asyncio.Event()
            with self._awaiting:
                self._awaited.setdefault(token, []).append(waiter)
            try:
                if self._find(block, token) is None:  # nor was it settled meanwhile
                    await waiter[1].wait()
            finally:
                self._forget_waiter(token, waiter)

    def _forget_waiter(self, token: int, waiter: Waiter) -> None:
        with self._awaiting:
            waiters = self._awaited.get(token, [])
            if waiter in waiters:
                waiters.remove(waiter)
            if not waiters:
                self._awaited.pop(token, None)

    def _wake(self, tokens: set[int]) -> None:
        """Wake those who await one of these user records, all of a loop at once."""
        with self._awaiting:
            awaited = self._awaited.keys() & tokens
            waiters = [waiter for token in awaited for waiter in self._awaited.pop(token)]
        events: dict[asyncio.AbstractEventLoop, list[asyncio.Event]] = {}
        for loop, event in waiters:
            events.setdefault(loop, []).append(event)
        for loop, its in events.items():
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_set_all, its)

    def _find(self, block: Block, token: int) -> tuple[Settlement, int] | None:
        found = block.find(token)
        if found is None and self._ended is not None and (found := block.find(token)) is None:
            raise DeliveryError(self._ended, error_code="ProducerEnded", maybe_stored=True)
        return found


class Receipts(Sequence[Receipt]):
    """The receipts of one ``put_many``, made as they are looked at."""

    __slots__ = ("_blocks", "_count", "_first", "_register")

    def __init__(self, register: Register, first: int, count: int, blocks: list[Block]) -> None:
        self._register, self._first, self._count, self._blocks = register, first, count, blocks

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


def _set_all(events: list[asyncio.Event]) -> None:
    for event in events:
        event.set()


def _numbers(tokens: array[int]) -> list[tuple[int, int]]:
    """Return the blocks that user records lie in, and how many in each."""
    numbers = []
    for number in range(tokens[0] // BLOCK, tokens[-1] // BLOCK + 1):
        count = bisect_left(tokens, (number + 1) * BLOCK) - bisect_left(tokens, number * BLOCK)
        if count:
            numbers.append((number, count))
    return numbers


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
