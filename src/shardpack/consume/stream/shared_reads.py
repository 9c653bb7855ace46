"""One reading for many: what GetRecords brought of a shard is there for every reader that stands where it begins.

The readers of a ``fan_out`` ask here before they call. An answer that holds a reader's position serves it; else one of
them calls, at the pace that the service allows for a shard, and the others wait for what comes. A reader that is behind
what is still kept calls for itself, and goes on with the others once it has caught up.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ...limits import MIB
from .checkpoints import SHARD_END, Checkpoint
from .schedule import BUSY_SECONDS, SENTINELS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..._native.deaggregate import ReceivedRecord
    from .schedule import Cursor

OWN_READ_SECONDS = 1.0
"""Between two calls for readers that are behind: one of the five a second."""
IDLE_OWN_READ_SECONDS = 0.4
"""The same while nothing comes of the shard, and those ahead leave calls over."""
OWN_READ_BYTES = MIB
"""About what such a call may bring, so that the service does not hold up the others for it: half of 2 MiB a second."""
OWN_READ_RECORDS = 100
"""What it may bring of a shard of whose records the size is not known."""
MOST_RECORDS = 10_000
MOST_ANSWERS = 256
"""Are kept of a shard."""
ACTIVE_SECONDS = 2.0
"""For so long after a reader has asked, those behind it are behind: one that stands still is nobody to wait for."""


@dataclass(slots=True, eq=False)
class Answer:
    """What one GetRecords call brought, and where it was asked for."""

    place: tuple[str, bool, float | None]
    received: list[ReceivedRecord]
    size: int
    """Bytes of data."""
    millis_behind: int | None
    next_iterator: str | None
    answered_at: float
    """Epoch seconds by the service's clock."""
    came_at: float = 0.0
    serial: int = 0

    @property
    def last(self) -> str | None:
        """The sequence number of the last Kinesis record."""
        return self.received[-1].origin.sequence_number if self.received else None

    def numbers(self) -> list[int]:
        """Return the sequence numbers."""
        return [int(record.origin.sequence_number or 0) for record in self.received]

    def part_for(self, cursor: Cursor) -> list[ReceivedRecord] | None:
        """Return what of it comes next for a reader, if what comes next is in it."""
        if place_of(cursor) == self.place:
            return self.received
        number = cursor.position.sequence_number
        if number in SENTINELS or number == SHARD_END:
            return None
        at = int(number)
        if at > int(self.last or 0):
            return None
        numbers = self.numbers()
        if not cursor.whole:
            first = bisect_left(numbers, at)
            return self.received[first:] if numbers[first] == at else None
        begins = numbers[0] if self.place[0] in SENTINELS else int(self.place[0])
        if not begins <= at < numbers[-1]:
            return None
        return self.received[bisect_right(numbers, at) :]


def place_of(cursor: Cursor) -> tuple[str, bool, float | None]:
    """Return what tells whether two readers ask for the same."""
    position = cursor.position
    sentinel = position.sequence_number in SENTINELS
    return position.sequence_number, cursor.whole and not sentinel, position.read_up_to if sentinel else None


class Served(NamedTuple):
    """An answer that was there already, as far as a reader has not had it; ``newest`` is whether none came after it."""

    answer: Answer
    received: list[ReceivedRecord]
    newest: bool


class Turn(NamedTuple):
    """That a reader is to call, for all or for itself alone; with a ``Limit``, if there is one."""

    alone: bool
    limit: int | None


@dataclass(slots=True)
class _Shard:
    filled: list[Answer] = field(default_factory=list)
    """Those with records, by their last."""
    tip: Answer | None = None
    """The last answer without records."""
    latest: tuple[str, float] | None = None
    positions: dict[int, Checkpoint] = field(default_factory=dict)  # by reader
    asked_at: dict[int, float] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)  # serial of the last tip
    busy: list[bool] = field(default_factory=lambda: [False, False])  # a call for all, a call for one alone
    any_at: float = 0.0
    alone_at: float = 0.0
    mean_size: float = 0.0
    idle: bool = False
    """Whether the last call for all brought nothing."""

    def is_behind(self, reader: int, now: float) -> bool:
        """Whether another one is further, and goes on."""
        own = self.positions[reader]
        return any(
            other != reader and now - self.asked_at[other] < ACTIVE_SECONDS and position.is_after(own)
            for other, position in self.positions.items()
        )


class SharedReads:
    """The answers that the readers of one stream share: at most ``max_bytes`` of data, and 256 of a shard.

    The oldest leave first; those that every reader has had, at once.

    ``readers`` have numbers, and each a function that is told of shards of which something came. Thread-safe.
    """

    def __init__(self, max_bytes: int, *, poll_interval_s: float, shard_bytes_per_second: float) -> None:
        self._max_bytes = max_bytes
        self._poll_interval_s = poll_interval_s
        self._shard_bytes_per_second = shard_bytes_per_second
        self._lock = threading.Lock()
        self._shards: dict[str, _Shard] = {}
        self._kept: OrderedDict[int, tuple[_Shard, Answer]] = OrderedDict()
        self._size = 0
        self._serial = 0
        self._hurry: dict[int, Callable[[str], None]] = {}

    @property
    def size(self) -> int:
        """Bytes of data that are kept."""
        return self._size

    def join(self, reader: int, hurry: Callable[[str], None], known: Mapping[str, Checkpoint], now: float) -> None:
        """Count a reader among those that answers are kept for; ``known`` is where it begins, by shard."""
        with self._lock:
            self._hurry[reader] = hurry
            for shard_id, position in known.items():
                if position.sequence_number != SHARD_END:
                    shard = self._shards.setdefault(shard_id, _Shard())
                    shard.positions[reader], shard.asked_at[reader] = position, now

    def leave(self, reader: int) -> None:
        """Keep nothing for a reader any more."""
        with self._lock:
            self._hurry.pop(reader, None)
            for shard_id, shard in list(self._shards.items()):
                shard.positions.pop(reader, None)
                self._drop_what_all_have(shard_id, shard)

    def latest(self, shard_id: str) -> tuple[str, float] | None:
        """Return the iterator at the latest that another reader was given, and when, so that all begin there."""
        with self._lock:
            shard = self._shards.get(shard_id)
            return None if shard is None else shard.latest

    def keep_latest(self, shard_id: str, iterator: str, answered_at: float) -> None:
        """Note such an iterator."""
        with self._lock:
            shard = self._shards.setdefault(shard_id, _Shard())
            shard.latest = shard.latest or (iterator, answered_at)

    def find(self, reader: int, cursor: Cursor, now: float) -> Served | Turn | float:
        """Return what comes next for a reader, or that it is its turn to call, or when it is to ask again.

        After a turn, ``made`` or ``failed`` is to be called.
        """
        with self._lock:
            shard = self._shards.setdefault(cursor.shard.shard_id, _Shard())
            shard.positions[reader] = cursor.position
            shard.asked_at[reader] = now
            newest = shard.filled[-1].last if shard.filled else None
            for answer in shard.filled if cursor.position.sequence_number != newest or not cursor.whole else ():
                received = answer.part_for(cursor)
                if received is not None:
                    return Served(answer, received, answer is shard.filled[-1])
            tip = shard.tip
            if (
                tip is not None
                and tip.place == place_of(cursor)
                and (
                    tip.next_iterator is None
                    or (tip.serial > shard.seen.get(reader, 0) and now - tip.came_at <= self._poll_interval_s)
                )
            ):
                shard.seen[reader] = tip.serial
                return Served(tip, [], newest=True)
            alone = shard.is_behind(reader, now)
            if shard.busy[alone]:
                return now + 1.0  # or earlier: once that call is answered
            at = max(shard.any_at, shard.alone_at) if alone else shard.any_at
            if at > now:
                return at
            shard.busy[alone] = True
            shard.any_at = now + BUSY_SECONDS
            limit = None
            if alone:
                limit = int(OWN_READ_BYTES / shard.mean_size) if shard.mean_size else OWN_READ_RECORDS
                limit = max(1, min(limit, MOST_RECORDS))
            return Turn(alone, limit)

    def made(self, reader: int, shard_id: str, turn: Turn, answer: Answer, now: float) -> None:
        """Take what a call brought, and tell the others."""
        with self._lock:
            shard = self._shards.setdefault(shard_id, _Shard())
            shard.busy[turn.alone] = False
            self._serial += 1
            answer.serial, answer.came_at = self._serial, now
            rate = self._shard_bytes_per_second
            if turn.alone:
                shard.any_at = max(shard.any_at, now + BUSY_SECONDS)
                pace = (IDLE_OWN_READ_SECONDS, 0.75) if shard.idle else (OWN_READ_SECONDS, 0.5)
                shard.alone_at = now + max(pace[0], answer.size / (pace[1] * rate))
            else:
                shard.idle = not answer.received
                shard.any_at = now + max(BUSY_SECONDS, answer.size / rate)
            if answer.received:
                shard.mean_size = answer.size / len(answer.received)
                self._keep(shard, answer, alone=turn.alone)
            else:
                shard.seen[reader] = answer.serial
                shard.tip = answer
            others = [
                hurry
                for other, hurry in self._hurry.items()
                if other != reader and (not turn.alone or self._waits_for(shard, other, answer))
            ]
        for hurry in others:
            hurry(shard_id)

    def failed(self, shard_id: str, turn: Turn, now: float, *, soon: bool) -> None:
        """Note that a call had no answer; ``soon`` is whether the next may follow at once."""
        with self._lock:
            shard = self._shards.setdefault(shard_id, _Shard())
            shard.busy[turn.alone] = False
            shard.any_at = now + (BUSY_SECONDS if soon else 1.0)

    def took(self, reader: int, shard_id: str, position: Checkpoint) -> None:
        """Note how far a reader has come: ``SHARD_END`` where it needs no more of the shard."""
        with self._lock:
            shard = self._shards.get(shard_id)
            if shard is not None:
                shard.positions[reader] = position
                self._drop_what_all_have(shard_id, shard)

    def _waits_for(self, shard: _Shard, reader: int, answer: Answer) -> bool:
        position = shard.positions.get(reader)
        return position is not None and not (answer.last and position.is_after(Checkpoint(answer.last)))

    def _keep(self, shard: _Shard, answer: Answer, *, alone: bool) -> None:
        if len(self._hurry) < 2 or (alone and self._size + answer.size > self._max_bytes):
            return  # nobody else's; or it would push out what is further ahead
        insort(shard.filled, answer, key=lambda one: int(one.last or 0))
        self._kept[answer.serial] = shard, answer
        self._size += answer.size
        if len(shard.filled) > MOST_ANSWERS:
            self._drop(shard, shard.filled[0])
        while self._size > self._max_bytes:
            self._drop(*next(iter(self._kept.values())))

    def _drop(self, shard: _Shard, answer: Answer) -> None:
        shard.filled.remove(answer)
        del self._kept[answer.serial]
        self._size -= answer.size

    def _drop_what_all_have(self, shard_id: str, shard: _Shard) -> None:
        if len(shard.positions) < len(self._hurry):
            return
        for answer in list(shard.filled):
            end = Checkpoint(answer.last or "0", -1)
            if all(position.is_after(end) for position in shard.positions.values()):
                self._drop(shard, answer)
        if all(position.sequence_number == SHARD_END for position in shard.positions.values()):
            self._shards.pop(shard_id, None)
