"""What is sent next, and what becomes of it: delivery to one stream as a pure state machine.

It has no thread, no clock and does no I/O. It is told the time and what happened, and says what to send:

    offer(entry)                a Kinesis record for a shard waits
    requests(now)               send these now, each with one call
    on_reply, on_error          how a call went
    wishes(now)                 what else it must be told: the shards as they are now, or the stream's description
    on_shards, on_shards_error  what ListShards said
    on_described                what DescribeStreamSummary said
    on_shards_denied            that ListShards is not allowed: nothing is to be aggregated, and sent in no order
    take_reroute, on_rerouted   the shards are others now: route these user records, and all new ones, to them
    settlements()               what has its outcome
    next_time(now)              when to ask again, if nothing happens before

An entry is in exactly one place at any time: in its shard's lane or in a request; it leaves with one settlement. Each
shard is a lane (`lanes.py`). Only the first entry of a lane is ever in flight (`ordering="shard"`), and one that failed
goes back to the front, so a shard's order survives whatever happens; what a lane waits for (its backoff, its allowance)
no other lane waits for.

Resharding stops the world: nothing new is sent until everything in flight was answered and the new shards are known.
Then the lanes of shards that are gone are routed anew, in their order. So no user record overtakes another one of its
key, whatever was split or merged into what. A stream that turns to AUTO distribution is treated alike: what waits
aggregated is taken apart. While it is on, the service spreads records as it likes: what waits then is sent in no order,
as there is none.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from math import inf
from typing import Literal

from ..limits import SHARD_BYTES_PER_SECOND, Limits
from ..shards import Shard, ShardMap
from ..transport import Failed, Stored
from .entries import Attempt, CallError, Contents, Entry, Fault, Request, Settlement, Status
from .lanes import Lane, Lanes, Place, retry_time
from .questions import Question, Wish
from .request_size import RequestSize

__all__ = [
    "EXPIRED",
    "MISPLACED",
    "Attempt",
    "CallError",
    "Contents",
    "Entry",
    "Fault",
    "Request",
    "Scheduler",
    "Settlement",
    "Status",
    "Wish",
]

EXPIRED = "RecordExpired"
MISPLACED = "Misplaced"

OF_NO_USE = (Fault.FATAL, Fault.NO_STREAM, Fault.INVALID, Fault.TOO_LARGE)
"""Faults of a question that is not worth being asked again."""

STALE_SECONDS = 10.0
"""ListShards shows a shard that a reply has named after so long at the latest; then it is closed again."""

UNDESCRIBED_SECONDS = 30.0
"""How often a description that cannot be had is asked for."""

SWEEP_SECONDS = 1.0
"""How often records that wait for other things than the time are looked through for expired ones."""


class Scheduler:
    """Deliver the entries of one stream, in the order of their shards.

    ``shard_map`` is the stream's as far as is known. With ``None`` one shard stands for all, and nothing is sent, until
    the shards are known and the stream is described. ``ordering="none"`` lets several entries of a shard be in flight.
    ``after_failure="stop"`` holds a lane whose entry was given up, until ``resume`` or ``skip``. Rates are those of one
    shard; without them it has what it takes (`allowance.py`). What it holds is what it was offered: bounding that is
    the caller's. Not to be shared between threads.
    """

    def __init__(
        self,
        shard_map: ShardMap | None,
        *,
        limits: Limits | None = None,
        ordering: Literal["shard", "none"] = "shard",
        after_failure: Literal["continue", "stop"] = "continue",
        max_requests_in_flight: int = 4,
        most_bytes_per_second: float | None = None,
        most_records_per_second: float | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.shard_map = ShardMap.uniform(1) if shard_map is None else shard_map
        self.limits = Limits() if limits is None else limits
        self.max_requests_in_flight = max_requests_in_flight
        self.failed: CallError | None = None
        """Why nothing is sent any more; whatever is offered then is settled at once."""
        self.readers_take_all = False
        """Whether the service spreads records itself, and readers take aggregated ones in whatever shard they are."""
        self.pending = 0
        """Entries that were offered and have no settlement yet."""
        self._ordered = ordering == "shard"
        self._stops = after_failure == "stop"
        self._rng = random.Random() if rng is None else rng
        self._shards = {shard.shard_id: shard for shard in self.shard_map}
        self._lanes = Lanes(in_order=self._ordered, rng=self._rng, give_up=self._give_up_expired)
        self._lanes.most_bytes_per_second = most_bytes_per_second
        self._lanes.most_records_per_second = most_records_per_second
        self._request_size = RequestSize()
        self._in_flight: dict[Request, None] = {}
        self._settlements: list[Settlement] = []
        self._sweep_at = 0.0
        # resharding
        self._begun = shard_map is not None
        self._list_shards = Question(at=inf) if self._begun else Question(in_doubt=True)
        self._describe = Question(in_doubt=not self._begun)
        self._unlisted = False  # and they will not be
        self._described = False  # by the last answer
        self._auto_distribution = False
        self._misplaced: dict[Entry, None] = {}  # since the shards were known last; they are in their lanes
        self._new_map: ShardMap | None = None
        self._reroute: list[Entry] | None = None

    @property
    def auto_distribution(self) -> bool:
        """Whether the service spreads records itself, as far as is known. Then nothing is to be aggregated."""
        return self._auto_distribution

    @auto_distribution.setter
    def auto_distribution(self, on: bool) -> None:
        self._auto_distribution = on
        self._lanes.in_order = self._ordered and not on

    @property
    def requests_in_flight(self) -> int:
        """Requests that were yielded and have no answer. Any thread may ask, as for the next two."""
        return len(self._in_flight)

    @property
    def most_request_bytes(self) -> int:
        """How large requests are at most: as the limits say, or less, where the service has refused such."""
        return self._request_size.most_bytes(self.limits)

    @property
    def limited_s(self) -> float:
        """How long entries have waited for an allowance or after a failure, summed over the shards."""
        return self._lanes.limited_s

    def lanes(self) -> list[Lane]:
        """Return the lanes there are now, in no order."""
        return list(self._lanes)

    @property
    def halted(self) -> bool:
        """Whether nothing new is sent, because the shards are about to change, or may have changed."""
        in_doubt = self._list_shards.in_doubt or self._describe.in_doubt
        return in_doubt or self._new_map is not None or self._reroute is not None

    # --- what waits ---

    def offer(self, entry: Entry, now: float) -> None:
        """Take an entry behind the others of its shard. Raises ``ValueError`` for a shard that is not in the map."""
        self._check_shard(entry)
        self.pending += 1
        if self.failed is not None:
            self._settle_failed(entry, now, self.failed.error_code, self.failed.message)
            return
        lane = self._lanes[entry.shard_id]
        lane.queue.append(entry)
        self._lanes.line_up(lane, now)

    def requests(self, now: float) -> Iterator[Request]:
        """Yield what to send now."""
        self._lanes.wake(now)
        if self._is_blocked() and now >= self._sweep_at:
            self._lanes.expire_all(now)
            self._sweep_at = now + SWEEP_SECONDS
        if self._can_reshard():
            self._reshard(now)
        while not self._is_blocked():
            room = self._request_size.room(self.limits)
            entries = self._lanes.fill(room, self.limits.max_request_records, now)
            if not entries:
                return
            request = Request(entries, now)
            self._in_flight[request] = None
            yield request

    def settlements(self) -> list[Settlement]:
        """Return what has got its outcome since this was called last."""
        settled, self._settlements = self._settlements, []
        return settled

    def next_time(self, now: float) -> float | None:
        """Return when there is something to do if nothing happens before; ``None`` where only an event can bring it."""
        if self.failed is not None:
            return None
        times = [question.at for question in (self._list_shards, self._describe) if not question.asked]
        times.append(self._lanes.next_due())
        if self._can_reshard() or (self._lanes.any_ready and not self._is_blocked()):
            times.append(now)
        elif self.pending and self._is_blocked():
            times.append(self._sweep_at)
        first = min(times)
        return None if first == inf else max(now, first)

    def _is_blocked(self) -> bool:
        return self.halted or len(self._in_flight) >= self.max_requests_in_flight

    def free_capacity(self, shard_id: str, now: float) -> float:
        """Return how well a shard takes more: from 0, for it holds back what it has, to 1. It is a weight."""
        lane = self._lanes.get(shard_id)
        if lane is None:
            return 1.0
        if lane.place is Place.HELD or lane.not_before > now:
            return 0.0
        bytes_per_second = lane.allowance.rates[0]
        share = 1.0 if bytes_per_second is None else min(1.0, bytes_per_second / SHARD_BYTES_PER_SECOND)
        return share / (1 + len(lane.queue))

    # --- how calls went ---

    def on_reply(self, request: Request, outcomes: Sequence[Stored | Failed], now: float) -> None:
        """Take the answer to a request: an outcome for each entry, by position.

        Raises ``ValueError`` for another number of them; the request is in flight still.
        """
        if len(outcomes) != len(request.entries):
            raise ValueError(f"{len(outcomes)} outcomes for {len(request.entries)} entries")
        if not self._end(request):
            return
        back: list[Entry] = []
        for entry, outcome in zip(request.entries, outcomes, strict=True):
            if isinstance(outcome, Stored):
                settled = self._on_stored(entry, outcome, now)
            else:
                settled = self._on_failed(entry, outcome, now)
            if settled:
                self._lanes.line_up(self._lanes[entry.shard_id], now)
            else:
                back.append(entry)
        self._return(back, now, backing_off=True)

    def on_error(self, request: Request, error: CallError, now: float) -> None:
        """Take the failure of a whole request."""
        if not self._end(request):
            return
        entries = request.entries
        for entry in entries:
            entry.attempts.append(Attempt(now, error.error_code))
            entry.maybe_stored |= error.maybe_stored
            self._lanes[entry.shard_id].allowance.give_back(entry.size)
        refused = error.fault in (Fault.INVALID, Fault.TOO_LARGE)
        if refused and len(entries) == 1:
            lane = self._lanes[entries[0].shard_id]
            self._give_up(lane, entries[0], now, error.error_code, error.message)
            self._lanes.line_up(lane, now)
            return
        size, is_too_large = sum(entry.size for entry in request.entries), error.fault is Fault.TOO_LARGE
        if refused and not self._request_size.refused(size, self.limits, is_told=is_too_large):
            # one of them is why: halves find it
            for entry in entries:
                entry.crowd = len(entries) // 2
        self._return(entries, now, backing_off=not refused)
        if error.fault is Fault.FATAL:
            self.fail(error, now)
        elif error.fault is Fault.NO_STREAM:  # deleted; perhaps created again, with other shards
            self._doubt(now)

    def _end(self, request: Request) -> bool:
        """Whether a request was in flight still, and not given up."""
        if request not in self._in_flight:
            return False
        del self._in_flight[request]
        for entry in request.entries:
            self._lanes[entry.shard_id].in_flight -= 1
        return True

    def _on_stored(self, entry: Entry, stored: Stored, now: float) -> bool:
        """Settle an entry, if it is where every reader takes it. Returns whether that could be said."""
        self._lanes[entry.shard_id].on_stored(entry.size, now)
        spread = self.auto_distribution or self.readers_take_all
        if stored.shard_id != entry.shard_id and not spread and not self._unlisted:
            self._list_shards.be_curious(now)
            self._describe.be_curious(now)
        alone = self._unlisted and not spread and entry.user_record_count == 1  # where its own hash key is
        if stored.shard_id == entry.shard_id or not entry.aggregated or alone or self.readers_take_all:
            self._settle_stored(entry, stored, now)
            return True
        entry.attempts.append(Attempt(now, MISPLACED))
        entry.stored, entry.maybe_stored = stored, True
        if self.auto_distribution and not _can_be_taken_apart(entry):  # nor be sent elsewhere
            there = self._shards.get(stored.shard_id)
            if there is not None and entry.contents.lie_in(there):
                self._settle_stored(entry, stored, now)
            else:
                self._give_up(self._lanes[entry.shard_id], entry, now, MISPLACED, "the stream spreads records itself")
            return True
        if self.failed is None:
            self._misplaced[entry] = None
            self._doubt(now)
        return False

    def _on_failed(self, entry: Entry, failed: Failed, now: float) -> bool:
        """Settle an entry that was refused for good. Returns whether it was."""
        lane = self._lanes[entry.shard_id]
        entry.attempts.append(Attempt(now, failed.error_code))
        if failed.error_code == "ProvisionedThroughputExceededException":
            lane.allowance.throttled(now)
        lane.allowance.give_back(entry.size)
        if failed.retryable:
            return False
        self._give_up(lane, entry, now, failed.error_code, failed.message)
        return True

    def _return(self, entries: Sequence[Entry], now: float, *, backing_off: bool) -> None:
        """Put entries that are not where they belong back in front of their lanes, for later."""
        if self.failed is None:
            self._lanes.put_back(entries, now, backing_off=backing_off)
            return
        for entry in entries:
            self._settle_failed(entry, now, self.failed.error_code, self.failed.message)

    def fail(self, error: CallError, now: float) -> None:
        """Give up on the stream: whatever waits is settled, and so is all that is offered from now on.

        What is in flight gets its outcome from its reply.
        """
        if self.failed is None:
            self.failed = error
        for entry in (self._reroute or []) + self._lanes.clear():
            self._settle_failed(entry, now, error.error_code, error.message)
        self._reroute, self._new_map = None, None
        self._list_shards.in_doubt = self._describe.in_doubt = False

    def give_up_all(self, now: float, error_code: str, message: str) -> None:
        """Settle whatever is left, because nobody waits any longer. What is in flight may be stored."""
        for request in list(self._in_flight):
            self._end(request)
            for entry in request.entries:
                entry.maybe_stored = True
                self._settle_failed(entry, now, error_code, message)
        self.fail(CallError(Fault.FATAL, error_code, message), now)

    # --- records given up, where they hold others back ---

    @property
    def is_stuck(self) -> bool:
        """Whether all that waits is held back by what was given up."""
        if not self._stops or self._in_flight or self._reroute or not self.pending:
            return False
        return self.pending == sum(len(lane.queue) for lane in self._lanes if lane.place is Place.HELD)

    @property
    def held_shards(self) -> list[str]:
        """The shards whose records wait for ``resume`` or ``skip``."""
        return [lane.shard_id for lane in self._lanes if lane.place is Place.HELD]

    def resume(self, now: float, expires_at: float) -> list[Entry]:
        """Send what was given up once more, before what it held back. Nothing of either expires before that time.

        What was given up is pending again and gets another settlement; it is returned.
        """
        return self._release(now, expires_at, again=True)

    def skip(self, now: float, expires_at: float) -> None:
        """Go on without what was given up. Nothing that it held back expires before that time."""
        self._release(now, expires_at, again=False)

    def _release(self, now: float, expires_at: float, *, again: bool) -> list[Entry]:
        released: list[Entry] = []
        for lane in self._lanes:
            if lane.place is not Place.HELD:
                continue
            lane.place = Place.EMPTY
            released += lane.given_up
            if again:
                self.pending += len(lane.given_up)
                lane.queue.extendleft(reversed(lane.given_up))
                if lane.mixed or self._has_to_be_taken_apart(lane):
                    self._replace_map(self._new_map or self.shard_map)
            lane.given_up.clear()
            for entry in lane.queue:
                entry.expires_at = max(entry.expires_at, expires_at)
            self._lanes.line_up(lane, now)
        return released

    def _give_up(self, lane: Lane, entry: Entry, now: float, error_code: str, message: str) -> None:
        self._settle_failed(entry, now, error_code, message)
        if self._stops and self.failed is None:
            lane.given_up.append(entry)
            lane.place = Place.HELD

    def _give_up_expired(self, lane: Lane, entry: Entry, now: float) -> None:
        why = f" (last {entry.attempts[-1].error_code})" if entry.attempts else ""
        self._give_up(lane, entry, now, EXPIRED, f"not stored within its time to live{why}")

    # --- what has to be asked ---

    def wishes(self, now: float) -> list[Wish]:
        """Return what has to be asked now. Each is asked for once, until it is answered."""
        if self.failed is not None:
            return []
        if self._list_shards.at == inf:  # they are known to begin with
            self._list_shards.wait(now)
        wishes = {Wish.SHARDS: self._list_shards, Wish.DESCRIPTION: self._describe}
        return [wish for wish, question in wishes.items() if question.ask(now)]

    def on_described(self, now: float, auto_distribution: bool | None) -> None:
        """Take what the stream's description says of AUTO distribution; ``None`` where it could not be had."""
        if auto_distribution is None and not self._begun:
            self._describe.fail(retry_time(now, self._describe.failures, self._rng))
            return
        if not self._describe.answer(now) or self.failed is not None:
            return
        self._begin_when_known()
        self._described = auto_distribution is not None
        if auto_distribution is None:
            self._describe.at = now + UNDESCRIBED_SECONDS
        elif auto_distribution != self.auto_distribution:
            self.auto_distribution = auto_distribution
            self._replace_map(self._new_map or self.shard_map)

    def on_shards(self, shard_map: ShardMap, now: float) -> None:
        """Take the open shards as ListShards had them. They may be older than what replies have shown."""
        if self.failed is not None:
            return
        if self._is_older_than_replies(shard_map, now):
            self._list_shards.fail(retry_time(now, self._list_shards.failures, self._rng))
        elif self._list_shards.answer(now):
            self._begin_when_known()
            if self._misplaced or self._new_map is not None or shard_map != self.shard_map:
                self._replace_map(shard_map)

    def on_shards_error(self, error: CallError, now: float) -> None:
        """ListShards failed. What waits for it waits on, and it is asked again, unless that is of no use."""
        if error.fault not in OF_NO_USE:
            self._list_shards.fail(retry_time(now, self._list_shards.failures, self._rng))
        elif self._list_shards.in_doubt:
            self.fail(error, now)
        else:
            self._list_shards.answer(now)

    def on_shards_denied(self, now: float) -> None:
        """ListShards is not allowed, before anything was sent. Then nothing is to be aggregated, and sent in no order.

        What waits already is to be taken apart: ``take_reroute`` gives it back.
        """
        self._unlisted, self._ordered, self._lanes.in_order = True, False, False
        self._list_shards.answer(now)
        self._begin_when_known()
        for shard in self.shard_map:
            self._lanes[shard.shard_id].mixed = True
        self._replace_map(self.shard_map)

    @property
    def begun(self) -> bool:
        """Whether the shards and the description were ever known."""
        return self._begun

    def _begin_when_known(self) -> None:
        self._begun = self._begun or not (self._list_shards.in_doubt or self._describe.in_doubt)

    def _doubt(self, now: float) -> None:
        """The shards, or their meaning, are not what they were."""
        self._list_shards.doubt(now)
        self._describe.doubt(now)

    def _is_older_than_replies(self, shard_map: ShardMap, now: float) -> bool:
        """Whether replies named shards that come later: the service counts up. What is missing for long is closed."""
        newest = max(shard.shard_id for shard in shard_map)
        return any(
            entry.stored is not None and entry.stored.shard_id > newest and now < entry.attempts[-1].at + STALE_SECONDS
            for entry in self._misplaced
        )

    # --- resharding ---

    def take_reroute(self) -> tuple[list[Entry], ShardMap] | None:
        """Return entries whose user records go to the shards of the map now, in this order, before all others.

        Whatever is offered from now on is for these shards too. Without aggregation, if the stream is AUTO. The entries
        stay the scheduler's until ``on_rerouted``, and nothing is sent before that. ``None``: the shards are as before.
        Look after each ``requests``, before more is offered. What an entry becomes inherits its ``maybe_stored``,
        ``attempts`` and ``expires_at``.
        """
        return None if self._reroute is None else (list(self._reroute), self.shard_map)

    def on_rerouted(self, entries: Sequence[Entry], now: float) -> None:
        """Take the entries that the user records of ``take_reroute`` have become.

        Passed over if those were settled meanwhile, by ``fail`` or ``give_up_all``. Raises ``ValueError``, and takes
        none, if the shard of one is not in the map.
        """
        if self._reroute is None:
            return
        for entry in entries:
            self._check_shard(entry)
        self.pending += len(entries) - len(self._reroute)
        self._reroute = None
        self._lanes.put_back(entries, now, backing_off=False)

    def _check_shard(self, entry: Entry) -> None:
        if entry.shard_id not in self._shards:
            raise ValueError(f"{entry.shard_id} is not in the shard map")

    def _replace_map(self, shard_map: ShardMap) -> None:
        """Halt, and go on with this map once nothing is in flight."""
        self._new_map = shard_map

    def _can_reshard(self) -> bool:
        """Is all answered, and all known that decides what goes where?"""
        in_doubt = self._list_shards.in_doubt or self._describe.in_doubt
        return self._new_map is not None and self._reroute is None and not in_doubt and not self._in_flight

    def _reshard(self, now: float) -> None:
        assert self._new_map is not None
        shards = {shard.shard_id: shard for shard in self._new_map}
        self._judge_misplaced(shards, now)
        reroute: list[Entry] = []
        held: list[tuple[Shard, list[Entry]]] = []
        for shard in self.shard_map:
            lane = self._lanes.get(shard.shard_id)
            if lane is None:
                continue
            gone = shards.get(shard.shard_id) != shard
            if gone or lane.mixed or self._has_to_be_taken_apart(lane):
                reroute += self._lanes.empty(lane)
            if gone:
                self._lanes.remove(lane)
                if lane.place is Place.HELD:
                    held.append((shard, lane.given_up))
            elif lane.place is not Place.HELD:
                lane.mixed = False
        self.shard_map, self._shards, self._new_map = self._new_map, shards, None
        self._reroute = reroute
        for shard, given_up in held:
            self._hold_children(shard, given_up)

    def _judge_misplaced(self, shards: dict[str, Shard], now: float) -> None:
        """Settle what every reader takes where it is. The rest is sent again.

        Where both shards, the one it was meant for and the one it is in, are as they were, the service has spread
        records itself: it does so still, or has stopped meanwhile. If no description tells, a second time does.
        """
        another_stream = any(self._shards.get(shard.shard_id, shard) != shard for shard in shards.values())
        for entry in list(self._misplaced):
            assert entry.stored is not None
            meant, there = entry.shard_id, entry.stored.shard_id
            if another_stream or there not in shards:  # or closed again
                continue
            if entry.contents.lie_in(shards[there]):
                self._lanes[meant].queue.remove(entry)
                self._settle_stored(entry, entry.stored, now)
            elif shards.get(meant) == self._shards[meant] and not self._described and _misplacements(entry) > 1:
                self.auto_distribution = True
        self._misplaced.clear()

    def _has_to_be_taken_apart(self, lane: Lane) -> bool:
        return self.auto_distribution and any(map(_can_be_taken_apart, lane.queue))

    def _hold_children(self, parent: Shard, given_up: list[Entry]) -> None:
        """Hold the shards that have taken a held one's hash keys over. What was given up is sent to the first."""
        for shard in self.shard_map:
            if shard.starting_hash_key <= parent.ending_hash_key and parent.starting_hash_key <= shard.ending_hash_key:
                lane = self._lanes[shard.shard_id]
                lane.place = Place.HELD
                lane.given_up += given_up
                lane.mixed |= bool(given_up)
                given_up = []

    # --- outcomes ---

    def _settle_stored(self, entry: Entry, stored: Stored, now: float) -> None:
        self._settle(Settlement(entry, Status.STORED, now, stored.shard_id, stored.sequence_number))

    def _settle_failed(self, entry: Entry, now: float, error_code: str, message: str) -> None:
        if entry.stored is not None:
            where = entry.stored
            message = (
                f"stored in {where.shard_id} instead of {entry.shard_id}, where the KCL may pass it over: {message}"
            )
            self._settle(
                Settlement(entry, Status.UNKNOWN, now, where.shard_id, where.sequence_number, MISPLACED, message)
            )
            return
        status = Status.UNKNOWN if entry.maybe_stored else Status.NOT_STORED
        self._settle(Settlement(entry, status, now, error_code=error_code, message=message))

    def _settle(self, settlement: Settlement) -> None:
        self.pending -= 1
        self._misplaced.pop(settlement.entry, None)
        self._settlements.append(settlement)


def _can_be_taken_apart(entry: Entry) -> bool:
    return entry.aggregated and (entry.user_record_count > 1 or entry.compressed)


def _misplacements(entry: Entry) -> int:
    return sum(attempt.error_code == MISPLACED for attempt in entry.attempts)
