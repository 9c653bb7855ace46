"""What waits for each shard, in order; whose turn it is, and when the others'."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from heapq import heappop, heappush
from math import floor, inf

from .allowance import Allowance
from .entries import Entry

FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 6.4
BACKOFF_STEPS = 16
TICK_SECONDS = 0.025
"""Lanes come due on ticks of the clock, the longer they back off the rarer ones, so that they share requests."""

MAX_MISFITS = 64
"""How many lanes' next entries may turn out too large for what is left of a request before it is closed."""


def retry_time(now: float, failures: int, rng: random.Random) -> float:
    """Return when to try again after a failure that ``failures`` others came before: exponential, with full jitter."""
    longest = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(failures, 16))
    return _tick_after(now + longest * rng.random(), max(TICK_SECONDS, longest / BACKOFF_STEPS))


def _tick_after(time: float, step: float) -> float:
    return (floor(time / step) + 1) * step


class Place(Enum):
    """Where a lane is."""

    EMPTY = 0
    READY = 1
    WAITING = 2
    IN_FLIGHT = 3
    HELD = 4


@dataclass(slots=True, eq=False)
class Lane:
    """What waits for one shard, in order."""

    shard_id: str
    allowance: Allowance
    queue: deque[Entry] = field(default_factory=deque)
    place: Place = Place.EMPTY
    due: float = 0.0  # while it waits
    in_flight: int = 0
    failures: int = 0
    not_before: float = 0.0
    waits_since: float = 0.0  # while it waits
    given_up: list[Entry] = field(default_factory=list)  # what it is held for
    mixed: bool = False  # what was given up was meant for a shard that is gone

    def ready_at(self, now: float) -> float:
        """When its next entry may be sent."""
        return max(self.not_before, self.allowance.ready_at(now))

    def on_stored(self, size: int, now: float) -> None:
        """The shard took an entry of this many bytes."""
        self.failures, self.not_before = 0, 0.0
        self.allowance.stored(size, now)


class Lanes:
    """The lanes of a stream, one for each shard for which something came.

    A lane that can be sent from is in a queue, one that waits for its time in a heap: no step looks at all of them.
    An item of either that its lane has left behind is passed over when its turn comes. ``give_up`` is told what has
    expired. ``in_order``: one entry of a lane in flight.
    """

    def __init__(self, *, in_order: bool, rng: random.Random, give_up: Callable[[Lane, Entry, float], None]) -> None:
        self.in_order = in_order
        self.most_bytes_per_second: float | None = None
        self.most_records_per_second: float | None = None
        self._rng = rng
        self._give_up = give_up
        self._lanes: dict[str, Lane] = {}
        self._ready: deque[Lane] = deque()
        self._waiting: list[tuple[float, int, Lane]] = []
        self._waited = 0  # breaks ties in the heap
        self.limited_s = 0.0
        """How long lanes have waited for their time, all together."""

    def __getitem__(self, shard_id: str) -> Lane:
        lane = self._lanes.get(shard_id)
        if lane is None:
            allowance = Allowance(self.most_bytes_per_second, self.most_records_per_second)
            lane = self._lanes[shard_id] = Lane(shard_id, allowance)
        return lane

    def __iter__(self) -> Iterator[Lane]:
        return iter(list(self._lanes.values()))

    def get(self, shard_id: str) -> Lane | None:
        """Return the lane of a shard if something ever came for it."""
        return self._lanes.get(shard_id)

    def remove(self, lane: Lane) -> None:
        """Forget a lane. Its entries are the caller's."""
        del self._lanes[lane.shard_id]
        self.empty(lane)

    def empty(self, lane: Lane) -> list[Entry]:
        """Take everything out of a lane. One that is held stays so."""
        entries = list(lane.queue)
        lane.queue.clear()
        if lane.place is not Place.HELD:
            lane.place = Place.IN_FLIGHT if lane.in_flight else Place.EMPTY
        return entries

    def put_back(self, entries: Sequence[Entry], now: float, *, backing_off: bool) -> None:
        """Put entries in front of their lanes, in this order."""
        lanes: dict[str, Lane] = {}
        for entry in reversed(entries):
            lane = lanes[entry.shard_id] = self[entry.shard_id]
            lane.queue.appendleft(entry)
        for lane in reversed(lanes.values()):
            if backing_off:
                lane.not_before = retry_time(now, lane.failures, self._rng)
                lane.failures += 1
            self.expire(lane, now)
            self.line_up(lane, now)

    def line_up(self, lane: Lane, now: float) -> None:
        """Put a lane where it belongs, by what waits in it and by the time."""
        if lane.place is Place.HELD or lane.place is Place.READY:
            return
        if not lane.queue or (self.in_order and lane.in_flight):
            lane.place = Place.IN_FLIGHT if lane.in_flight else Place.EMPTY
            return
        due = lane.ready_at(now)
        if due <= now:
            lane.place = Place.READY
            self._ready.append(lane)
            return
        due = min(_tick_after(due, TICK_SECONDS) if due > lane.not_before else due, lane.queue[0].expires_at)
        if lane.place is not Place.WAITING:
            lane.place, lane.due, lane.waits_since = Place.WAITING, inf, now
        if due < lane.due:
            lane.due = due
            self._waited += 1
            heappush(self._waiting, (due, self._waited, lane))

    def wake(self, now: float) -> None:
        """Line up the lanes whose time has come."""
        while self.next_due() <= now:
            lane = heappop(self._waiting)[2]
            self.limited_s += now - lane.waits_since
            lane.place = Place.EMPTY
            self.expire(lane, now)
            self.line_up(lane, now)

    def next_due(self) -> float:
        """Return when the first of the waiting lanes is due."""
        while self._waiting:
            due, _, lane = self._waiting[0]
            if lane.place is Place.WAITING and lane.due == due:
                return due
            heappop(self._waiting)
        return inf

    @property
    def any_ready(self) -> bool:
        """Whether ``fill`` may find something."""
        return bool(self._ready)

    def fill(self, room: int, most: int, now: float) -> list[Entry]:
        """Take one request's entries off the lanes: ``most``, of ``room`` bytes. Without any, no lane is ready."""
        entries: list[Entry] = []
        misfits: list[Lane] = []
        while self._ready and len(entries) < most and len(misfits) < MAX_MISFITS:
            lane = self._ready.popleft()
            if lane.place is not Place.READY:
                continue
            lane.place = Place.EMPTY
            self.expire(lane, now)
            while lane.place is Place.EMPTY and lane.queue and len(entries) < most and lane.ready_at(now) <= now:
                entry = lane.queue[0]
                if entries and (entry.size > room or entry.crowd <= len(entries)):
                    misfits.append(lane)
                    lane.place = Place.READY
                    break
                most = min(most, entry.crowd)
                entries.append(lane.queue.popleft())
                room -= entry.size
                lane.in_flight += 1
                lane.allowance.take(entry.size, now)
                if self.in_order:
                    break
                self.expire(lane, now)
            self.line_up(lane, now)
        self._ready.extendleft(reversed(misfits))
        return entries

    def expire(self, lane: Lane, now: float) -> None:
        """Give up what has waited too long at the front of a lane, unless what comes before it is in flight."""
        if self.in_order and lane.in_flight:
            return
        while lane.queue and lane.queue[0].expires_at <= now and lane.place is not Place.HELD:
            self._give_up(lane, lane.queue.popleft(), now)

    def expire_all(self, now: float) -> None:
        """Look at all lanes for what has waited too long."""
        for lane in self._lanes.values():
            self.expire(lane, now)

    def clear(self) -> list[Entry]:
        """Take everything out of all lanes, and hold none."""
        entries: list[Entry] = []
        for lane in self._lanes.values():
            lane.given_up.clear()
            lane.mixed, lane.place = False, Place.EMPTY
            entries += self.empty(lane)
        self._ready.clear()
        self._waiting.clear()
        return entries
