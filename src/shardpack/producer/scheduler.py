"""What is sent next, and what becomes of it: delivery to one stream as a pure state machine.

It has no thread, no clock and does no I/O. It is told the time and what happened, and says what to send:

    offer(entry)                a Kinesis record for a shard waits
    requests(now)               send these now, each with one call
    on_reply, on_error          how a call went
    wishes(now)                 what else it must be told: the shards as they are now, or the stream's description
    on_shards, on_shards_error  what ListShards said
    take_reroute, on_rerouted   the shards are others now: route these user records, and all new ones, to them
    settlements()               what has its outcome
    next_time(now)              when to ask again, if nothing happens before

An entry is in exactly one place at any time: in its shard's lane, in a request, or among those that the service put
into another shard than expected; it leaves with one settlement. Each shard is a lane. Only the first entry of a lane is
ever in flight (`ordering="shard"`), and one that failed goes back to the front, so a shard's order survives whatever
happens; what a lane waits for (its backoff, its allowance) no other lane waits for.

Resharding stops the world: nothing new is sent until everything in flight was answered and the new shards are known.
Then the lanes of shards that are gone are routed anew, in their order. So no user record overtakes another one of its
key, whatever was split or merged into what. A stream that turns to AUTO distribution is treated alike: what waits
aggregated is taken apart.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from heapq import heappop, heappush
from math import inf
from typing import Literal, Protocol

from ..limits import MAX_REQUEST_RECORDS, Limits
from ..shards import Shard, ShardMap
from ..transport import Failed, Stored
from .allowance import Allowance

FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 5.0
BACKOFF_STEPS = 16
"""Lanes that back off come due together, at one of so many times, so that they share requests."""

DESCRIBE_SECONDS = 300.0
"""A stream can be switched to AUTO distribution at any time; this often it is described again."""

EXPIRED = "RecordExpired"
MISPLACED = "Misplaced"

MAX_MISFITS = 64
"""How many lanes' next entries may turn out too large for what is left of a request before it is closed."""


class Contents(Protocol):
    """The user records of an entry, of which only this is asked."""

    def lie_in(self, shard: Shard) -> bool:
        """Whether the hash keys of all of them are the shard's."""
        ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call that did not store an entry: when it was answered, and with which error code."""

    at: float
    error_code: str


@dataclass(slots=True, eq=False)
class Entry:
    """A Kinesis record that is to be delivered. ``size`` is what it takes of a request, in bytes."""

    shard_id: str
    size: int
    user_record_count: int
    expires_at: float
    contents: Contents
    aggregated: bool = True
    attempts: list[Attempt] = field(default_factory=list)
    maybe_stored: bool = False
    """Some call that carried it was never answered."""
    crowd: int = MAX_REQUEST_RECORDS
    """How many entries its next request may have: fewer each time that one was refused as a whole."""


class Status(Enum):
    """The three outcomes, never mixed."""

    STORED = "stored"
    NOT_STORED = "not stored"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome of an entry: where it is stored, or why it is not, or may not be."""

    entry: Entry
    status: Status
    at: float
    shard_id: str | None = None
    sequence_number: str | None = None
    error_code: str | None = None
    message: str = ""


@dataclass(slots=True, eq=False)
class Request:
    """One PutRecords call."""

    entries: list[Entry]
    sent_at: float


class Fault(Enum):
    """Why a whole call failed, as far as what to do next depends on it."""

    THROTTLED = "throttled"
    TRANSIENT = "transient"
    INVALID = "invalid"
    """The request was refused as it is: one of its entries may be why."""
    NO_STREAM = "no stream"
    FATAL = "fatal"
    """No later call will do better."""


@dataclass(frozen=True, slots=True)
class CallError:
    """A call that failed as a whole. ``maybe_stored`` unless it is known that the service took nothing of it."""

    fault: Fault
    error_code: str
    message: str
    maybe_stored: bool = False


class Wish(Enum):
    """What the scheduler has to be told."""

    SHARDS = "shards"
    DESCRIPTION = "description"


class _Place(Enum):
    """Where a lane is."""

    EMPTY = 0
    READY = 1
    WAITING = 2
    IN_FLIGHT = 3
    HELD = 4


@dataclass(slots=True, eq=False)
class _Lane:
    """What waits for one shard, in order."""

    shard_id: str
    queue: deque[Entry] = field(default_factory=deque)
    place: _Place = _Place.EMPTY
    due: float = 0.0  # while it waits
    in_flight: int = 0
    failures: int = 0
    not_before: float = 0.0
    allowance: Allowance = field(default_factory=Allowance)
    given_up: list[Entry] = field(default_factory=list)  # what it is held for


class Scheduler:
    """Deliver the entries of one stream, in the order of their shards.

    ``shard_map`` is the stream's as far as is known. ``ordering="none"`` lets several entries of a shard be in flight.
    ``after_failure="stop"`` holds a lane whose entry was given up, until ``resume`` or ``skip``. What it holds is what
    it was offered: bounding that is the caller's. Not to be shared between threads.
    """

    def __init__(
        self,
        shard_map: ShardMap,
        *,
        limits: Limits | None = None,
        ordering: Literal["shard", "none"] = "shard",
        after_failure: Literal["continue", "stop"] = "continue",
        max_requests_in_flight: int = 4,
        rng: random.Random | None = None,
    ) -> None:
        self.shard_map = shard_map
        self.limits = Limits() if limits is None else limits
        self.max_requests_in_flight = max_requests_in_flight
        self.auto_distribution = False
        self.failed: CallError | None = None
        """Why nothing is sent any more; whatever is offered then is settled at once."""
        self.pending = 0
        """Entries that were offered and have no settlement yet."""
        self._in_order = ordering == "shard"
        self._stops = after_failure == "stop"
        self._rng = random.Random() if rng is None else rng
        self._shards = {shard.shard_id: shard for shard in shard_map}
        self._lanes: dict[str, _Lane] = {}
        self._ready: deque[_Lane] = deque()
        self._waiting: list[tuple[float, int, _Lane]] = []  # a heap; what is not a lane's `due` is passed over
        self._waited = 0
        self._in_flight: set[Request] = set()
        self._settlements: list[Settlement] = []
        # resharding
        self._halted = False
        self._distribution_changed = False
        self._misplaced: list[tuple[Entry, Stored]] = []
        self._misplaced_at = -inf
        self._new_map: ShardMap | None = None
        self._reroute: list[Entry] | None = None
        # what was asked
        self._shards_asked = False
        self._shards_wanted_at: float | None = None
        self._shards_failures = 0
        self._description_asked = False
        self._describe_at = 0.0
        self._described_at = -inf

    # --- what waits ---

    def offer(self, entry: Entry, now: float) -> None:
        """Take an entry behind the others of its shard. Raises ``ValueError`` for a shard that is not in the map."""
        if entry.shard_id not in self._shards:
            raise ValueError(f"{entry.shard_id} is not in the shard map")
        self.pending += 1
        if self.failed is not None:
            self._settle_failed(entry, now, self.failed.error_code, self.failed.message)
            return
        lane = self._lane(entry.shard_id)
        lane.queue.append(entry)
        self._line_up(lane, now)

    def requests(self, now: float) -> Iterator[Request]:
        """Yield what to send now."""
        self._wake(now)
        if self._halted:
            self._expire_all(now)
            self._reshard(now)
        while self._ready and not self._halted and len(self._in_flight) < self.max_requests_in_flight:
            entries = self._fill(now)
            if not entries:
                return
            request = Request(entries, now)
            self._in_flight.add(request)
            yield request

    def settlements(self) -> list[Settlement]:
        """Return what has got its outcome since this was called last."""
        settled, self._settlements = self._settlements, []
        return settled

    def next_time(self, now: float) -> float | None:
        """Return when there is something to do if nothing happens before; ``None`` where only an event can bring it."""
        if self.failed is not None:
            return None
        times = [] if self._description_asked else [self._describe_at]
        if self._shards_wanted_at is not None and not self._shards_asked:
            times.append(self._shards_wanted_at)
        if self._halted:
            if self._can_reshard():
                return now
            times += [lane.queue[0].expires_at for lane in self._lanes.values() if lane.queue]
            times += [entry.expires_at for entry, _ in self._misplaced]
        elif self._ready and len(self._in_flight) < self.max_requests_in_flight:
            return now
        while self._waiting and not _is_current(self._waiting[0]):
            heappop(self._waiting)
        if self._waiting:
            times.append(self._waiting[0][0])
        return max(now, min(times)) if times else None

    # --- how calls went ---

    def on_reply(self, request: Request, outcomes: Sequence[Stored | Failed], now: float) -> None:
        """Take the answer to a request: an outcome for each entry, by position."""
        if request not in self._in_flight:
            return  # given up meanwhile
        self._in_flight.remove(request)
        failed: list[Entry] = []
        for entry, outcome in zip(request.entries, outcomes, strict=True):
            lane = self._lane(entry.shard_id)
            lane.in_flight -= 1
            if isinstance(outcome, Stored):
                lane.failures, lane.not_before = 0, 0.0
                lane.allowance.stored(entry.size, now)
                self._on_stored(entry, outcome, now)
                self._line_up(lane, now)
                continue
            entry.attempts.append(Attempt(now, outcome.error_code))
            if not outcome.retryable:
                self._give_up(lane, entry, now, outcome.error_code, outcome.message)
                continue
            if outcome.error_code == "ProvisionedThroughputExceededException":
                lane.allowance.throttled(now)
            failed.append(entry)
        self._return(failed, now, backing_off=True)

    def on_error(self, request: Request, error: CallError, now: float) -> None:
        """Take the failure of a whole request."""
        if request not in self._in_flight:
            return  # given up meanwhile
        self._in_flight.remove(request)
        entries = request.entries
        for entry in entries:
            entry.attempts.append(Attempt(now, error.error_code))
            entry.maybe_stored |= error.maybe_stored
            self._lane(entry.shard_id).in_flight -= 1
        if error.fault is Fault.INVALID and len(entries) == 1:
            self._give_up(self._lane(entries[0].shard_id), entries[0], now, error.error_code, error.message)
            return
        if error.fault is Fault.INVALID:  # one of them is why: halves find it
            for entry in entries:
                entry.crowd = len(entries) // 2
        self._return(entries, now, backing_off=error.fault is not Fault.INVALID)
        if error.fault is Fault.FATAL:
            self.fail(error, now)
        elif error.fault is Fault.NO_STREAM:  # deleted; perhaps created again, with other shards
            self._want_shards(now)

    def fail(self, error: CallError, now: float) -> None:
        """Give up on the stream: whatever waits is settled, and so is all that is offered from now on."""
        self.failed = error
        for entry, stored in self._misplaced:
            self._settle_elsewhere(entry, stored, now)
        for entry in self._reroute or ():
            self._settle_failed(entry, now, error.error_code, error.message)
        self._misplaced, self._reroute, self._new_map, self._halted = [], None, None, False
        for lane in self._lanes.values():
            while lane.queue:
                self._settle_failed(lane.queue.popleft(), now, error.error_code, error.message)
            lane.given_up.clear()
            lane.place = _Place.IN_FLIGHT if lane.in_flight else _Place.EMPTY
        self._ready.clear()
        self._waiting.clear()

    def give_up_all(self, now: float, error_code: str, message: str) -> None:
        """Settle whatever is left, because nobody waits any longer. What is in flight may be stored."""
        for request in self._in_flight:
            for entry in request.entries:
                entry.maybe_stored = True
                self._lane(entry.shard_id).in_flight -= 1
                self._settle_failed(entry, now, error_code, message)
        self._in_flight.clear()
        self.fail(CallError(Fault.FATAL, error_code, message), now)

    # --- records given up, where they hold others back ---

    @property
    def held_shards(self) -> list[str]:
        """The shards whose records wait for ``resume`` or ``skip``."""
        return [lane.shard_id for lane in self._lanes.values() if lane.place is _Place.HELD]

    def resume(self, now: float, expires_at: float) -> None:
        """Send what was given up once more, before what it held back. Nothing of either expires before that time."""
        self._release(now, expires_at, again=True)

    def skip(self, now: float, expires_at: float) -> None:
        """Go on without what was given up. Nothing that it held back expires before that time."""
        self._release(now, expires_at, again=False)

    def _release(self, now: float, expires_at: float, *, again: bool) -> None:
        reroute: list[Entry] = []
        for lane in self._lanes.values():
            if lane.place is not _Place.HELD:
                continue
            if again:
                lane.queue.extendleft(reversed(lane.given_up))
                self.pending += len(lane.given_up)
            lane.given_up.clear()
            for entry in lane.queue:
                entry.expires_at = max(entry.expires_at, expires_at)
            if any(entry.shard_id != lane.shard_id for entry in lane.queue):  # given up before a resharding
                reroute += lane.queue
                lane.queue.clear()
            lane.place = _Place.EMPTY
            self._line_up(lane, now)
        if reroute:
            self._reroute = (self._reroute or []) + reroute
            self._halt()

    # --- shards ---

    def wishes(self, now: float) -> list[Wish]:
        """Return what has to be asked now. Each is asked for once, until it is answered."""
        wishes: list[Wish] = []
        if self.failed is not None:
            return wishes
        if self._shards_wanted_at is not None and not self._shards_asked and now >= self._shards_wanted_at:
            self._shards_asked = True
            wishes.append(Wish.SHARDS)
        if now >= self._describe_at and not self._description_asked:
            self._description_asked = True
            wishes.append(Wish.DESCRIPTION)
        return wishes

    def on_described(self, now: float, auto_distribution: bool | None) -> None:
        """Take what the stream's description says of AUTO distribution; ``None`` where it could not be had."""
        self._description_asked = False
        if auto_distribution is None:
            self._describe_at = now + LONGEST_BACKOFF_SECONDS
            return
        self._describe_at, self._described_at = now + DESCRIBE_SECONDS, now
        if auto_distribution != self.auto_distribution:
            self.auto_distribution = auto_distribution
            self._distribution_changed = True
            self._halt()
            self._want_shards(now)

    def on_shards(self, shard_map: ShardMap, now: float) -> None:
        """Take the open shards as ListShards had them. They may be older than what replies have shown."""
        self._shards_asked = False
        known = {shard.shard_id for shard in shard_map}
        if any(stored.shard_id not in known for _, stored in self._misplaced):
            self._want_shards_later(now)
            return
        self._shards_wanted_at, self._shards_failures = None, 0
        if self._halted or shard_map != self.shard_map:
            self._halt()
            self._new_map = shard_map

    def on_shards_error(self, error: CallError, now: float) -> None:
        """ListShards failed. Records wait, and it is asked again."""
        self._shards_asked = False
        if error.fault in (Fault.FATAL, Fault.NO_STREAM):
            self.fail(error, now)
        else:
            self._want_shards_later(now)

    def take_reroute(self) -> tuple[list[Entry], ShardMap] | None:
        """Return entries whose user records go to the shards of the map now, in this order, before all others.

        Whatever is offered from now on is for these shards too. Without aggregation, if the stream is AUTO. The entries
        stay the scheduler's until ``on_rerouted``, and nothing is sent before that. ``None``: the shards are as before.
        """
        return None if self._reroute is None else (list(self._reroute), self.shard_map)

    def on_rerouted(self, entries: Sequence[Entry], now: float) -> None:
        """Take the entries that the user records of ``take_reroute`` have become."""
        self.pending -= len(self._reroute or ())
        self._reroute = None
        self._halted = bool(self._misplaced) or self._new_map is not None or self._distribution_changed
        for entry in entries:
            self.offer(entry, now)
        for lane in self._lanes.values():
            self._line_up(lane, now)

    def _halt(self) -> None:
        self._halted = True

    def _can_reshard(self) -> bool:
        """Is all answered, and all known that decides what goes where?"""
        if self._in_flight or self._new_map is None or self._reroute is not None:
            return False
        return not self._misplaced or self._described_at >= self._misplaced_at

    def _reshard(self, now: float) -> None:
        if not self._can_reshard():
            return
        assert self._new_map is not None
        shards = {shard.shard_id: shard for shard in self._new_map}
        again = self._judge_misplaced(shards, now)
        reroute: list[Entry] = []
        held: list[tuple[Shard, list[Entry]]] = []
        for shard in self.shard_map:
            reroute += again.get(shard.shard_id, ())
            lane = self._lanes.get(shard.shard_id)
            if lane is None:
                continue
            gone = shards.get(shard.shard_id) != shard
            if gone or (self.auto_distribution and any(entry.aggregated for entry in lane.queue)):
                reroute += lane.queue
                lane.queue.clear()
                if lane.place is not _Place.HELD:
                    lane.place = _Place.EMPTY
            if gone:
                del self._lanes[shard.shard_id]
                if lane.place is _Place.HELD:
                    held.append((shard, lane.given_up))
        self.shard_map, self._shards, self._new_map, self._misplaced = self._new_map, shards, None, []
        self._distribution_changed = False
        self._reroute = reroute
        self._ready = deque(lane for lane in self._ready if lane.place is _Place.READY)
        for shard, given_up in held:
            self._hold_children(shard, given_up)

    def _judge_misplaced(self, shards: dict[str, Shard], now: float) -> dict[str, list[Entry]]:
        """Settle what every reader takes where it is. Returns the others, by the shard they were meant for.

        Where that shard is as it was, the service has its own mind about where records go. That is AUTO distribution,
        or else nothing that another try would change.
        """
        again: dict[str, list[Entry]] = {}
        for entry, stored in self._misplaced:
            gone = shards.get(entry.shard_id) != self._shards[entry.shard_id]
            if entry.contents.lie_in(shards[stored.shard_id]) or not (gone or self.auto_distribution):
                self._settle_stored(entry, stored, now)
            else:
                again.setdefault(entry.shard_id, []).append(entry)
        return again

    def _hold_children(self, parent: Shard, given_up: list[Entry]) -> None:
        """Hold the shards that have taken a held one's hash keys over. What was given up is sent to the first."""
        for shard in self.shard_map:
            if shard.starting_hash_key <= parent.ending_hash_key and parent.starting_hash_key <= shard.ending_hash_key:
                lane = self._lane(shard.shard_id)
                lane.place = _Place.HELD
                lane.given_up += given_up
                given_up = []

    def _want_shards(self, now: float) -> None:
        if self._shards_wanted_at is None:
            self._shards_wanted_at = now

    def _want_shards_later(self, now: float) -> None:
        self._shards_wanted_at = now + self._backoff(self._shards_failures)
        self._shards_failures += 1

    # --- lanes ---

    def _lane(self, shard_id: str) -> _Lane:
        lane = self._lanes.get(shard_id)
        if lane is None:
            lane = self._lanes[shard_id] = _Lane(shard_id)
        return lane

    def _line_up(self, lane: _Lane, now: float) -> None:
        """Put a lane where it belongs, by what waits in it and by the time."""
        if lane.place is _Place.HELD or lane.place is _Place.READY:
            return
        if not lane.queue or (self._in_order and lane.in_flight):
            lane.place = _Place.IN_FLIGHT if lane.in_flight else _Place.EMPTY
            return
        due = max(lane.not_before, lane.allowance.ready_at(now))
        if due <= now:
            lane.place = _Place.READY
            self._ready.append(lane)
            return
        due = min(due, lane.queue[0].expires_at)
        if lane.place is not _Place.WAITING or due < lane.due:
            lane.place, lane.due = _Place.WAITING, due
            self._waited += 1
            heappush(self._waiting, (due, self._waited, lane))

    def _wake(self, now: float) -> None:
        while self._waiting and (self._waiting[0][0] <= now or not _is_current(self._waiting[0])):
            item = heappop(self._waiting)
            if _is_current(item):
                lane = item[2]
                lane.place = _Place.EMPTY
                self._expire(lane, now)
                self._line_up(lane, now)

    def _fill(self, now: float) -> list[Entry]:
        """Take one request's entries off the lanes."""
        entries: list[Entry] = []
        room = self.limits.packed_request_bytes
        most = self.limits.max_request_records
        passed: list[_Lane] = []
        while self._ready and len(entries) < most and len(passed) < MAX_MISFITS:
            lane = self._ready.popleft()
            lane.place = _Place.EMPTY
            self._expire(lane, now)
            while lane.queue and lane.place is _Place.EMPTY and len(entries) < most:
                entry = lane.queue[0]
                if lane.allowance.ready_at(now) > now:
                    break
                if entries and (entry.size > room or entry.crowd <= len(entries)):
                    passed.append(lane)
                    break
                most = min(most, entry.crowd)
                entries.append(lane.queue.popleft())
                room -= entry.size
                lane.in_flight += 1
                lane.allowance.take(entry.size, now)
                if self._in_order:
                    break
            if not passed or passed[-1] is not lane:
                self._line_up(lane, now)
        for lane in passed:
            lane.place = _Place.READY
        self._ready.extendleft(reversed(passed))
        return entries

    def _return(self, entries: Sequence[Entry], now: float, *, backing_off: bool) -> None:
        """Put entries that were not stored back in front of their lanes, for later."""
        if self.failed is not None:
            for entry in entries:
                self._settle_failed(entry, now, self.failed.error_code, self.failed.message)
            return
        lanes: dict[str, _Lane] = {}
        for entry in reversed(entries):
            lane = lanes[entry.shard_id] = self._lane(entry.shard_id)
            lane.queue.appendleft(entry)
        for lane in lanes.values():
            if backing_off:
                lane.not_before = now + self._backoff(lane.failures)
                lane.failures += 1
            if lane.place is _Place.READY:  # some of its entries wait before these came back
                self._ready.remove(lane)
                lane.place = _Place.EMPTY
            self._expire(lane, now)
            self._line_up(lane, now)

    def _backoff(self, failures: int) -> float:
        """Exponential, with full jitter, in steps."""
        longest = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(failures, 10))
        return longest * self._rng.randint(1, BACKOFF_STEPS) / BACKOFF_STEPS

    def _expire(self, lane: _Lane, now: float) -> None:
        """Give up what has waited too long at the front of a lane."""
        while lane.queue and lane.queue[0].expires_at <= now and lane.place is not _Place.HELD:
            entry = lane.queue.popleft()
            why = f" (last {entry.attempts[-1].error_code})" if entry.attempts else ""
            self._give_up(lane, entry, now, EXPIRED, f"not stored within its time to live{why}")

    def _expire_all(self, now: float) -> None:
        """While nothing can be sent, nobody else looks."""
        for lane in self._lanes.values():
            self._expire(lane, now)
        for entry, stored in self._misplaced:
            if entry.expires_at <= now:
                self._settle_elsewhere(entry, stored, now)
        self._misplaced = [(entry, stored) for entry, stored in self._misplaced if entry.expires_at > now]

    # --- outcomes ---

    def _on_stored(self, entry: Entry, stored: Stored, now: float) -> None:
        if stored.shard_id == entry.shard_id:
            self._settle_stored(entry, stored, now)
            return
        self._want_shards(now)
        self._describe_at = min(self._describe_at, now)
        if not entry.aggregated:  # every reader takes it, wherever it is
            self._settle_stored(entry, stored, now)
            return
        if self.failed is not None:
            self._settle_elsewhere(entry, stored, now)
            return
        self._misplaced.append((entry, stored))
        self._misplaced_at = now
        self._halt()

    def _give_up(self, lane: _Lane, entry: Entry, now: float, error_code: str, message: str) -> None:
        self._settle_failed(entry, now, error_code, message)
        if self._stops:
            lane.given_up.append(entry)
            lane.place = _Place.HELD
        else:
            self._line_up(lane, now)

    def _settle_stored(self, entry: Entry, stored: Stored, now: float) -> None:
        self._settle(Settlement(entry, Status.STORED, now, stored.shard_id, stored.sequence_number))

    def _settle_failed(self, entry: Entry, now: float, error_code: str, message: str) -> None:
        status = Status.UNKNOWN if entry.maybe_stored else Status.NOT_STORED
        self._settle(Settlement(entry, status, now, error_code=error_code, message=message))

    def _settle_elsewhere(self, entry: Entry, stored: Stored, now: float) -> None:
        """It is in the stream, but in a shard where the KCL drops it, and it cannot be sent again."""
        message = f"stored in {stored.shard_id} instead of {entry.shard_id}, where the KCL may pass it over"
        self._settle(
            Settlement(entry, Status.UNKNOWN, now, stored.shard_id, stored.sequence_number, MISPLACED, message)
        )

    def _settle(self, settlement: Settlement) -> None:
        self.pending -= 1
        self._settlements.append(settlement)


def _is_current(item: tuple[float, int, _Lane]) -> bool:
    due, _, lane = item
    return lane.place is _Place.WAITING and lane.due == due
