"""The delivery of a stream, simulated: the scheduler against a Kinesis, a network and a clock that a seed makes.

    make simulate SECONDS=60        as many seeds as fit
    make simulate SEED=4711         one seed, with its schedule

Each seed draws a plan: what is put and when, how the service is set up, which faults there are and how often, what
becomes of the shards. Then the faults end, everything is let settle, the shards are read, and what was promised is
checked (`promises.py`). A seed gives the same schedule each time, so a finding can be looked at again.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Any, Literal

from ..limits import Limits
from ..producer.entries import CallError, Entry, Fault, Request, Settlement, Status
from ..producer.questions import Wish
from ..producer.scheduler import Scheduler
from ..shards import HASH_KEYS, ShardMap
from ..transport import Failed, Stored
from .promises import FindingError, check_copies, check_order, check_stored
from .simulated_kinesis import INTERNAL, Contents, Put, SimulatedStream

TIMEOUT_SECONDS = 5.0
SETTLED_LATE_SECONDS = 2 * TIMEOUT_SECONDS + 2.0
"""What is given up is so long behind its time to live at most: for a call under way, and the look after it."""

WAKES_PER_SECOND = 50.0

CALL_FAULTS: dict[str, CallError] = {
    "lost reply": CallError(Fault.TRANSIENT, "ReadTimeout", "no reply", maybe_stored=True),
    "cut reply": CallError(Fault.TRANSIENT, "BrokenAnswer", "cut off", maybe_stored=True),
    "reset before": CallError(Fault.TRANSIENT, "ConnectionReset", "reset", maybe_stored=True),
    "5xx": CallError(Fault.TRANSIENT, "ServiceUnavailable", "503", maybe_stored=True),
    "late commit": CallError(Fault.TRANSIENT, "ReadTimeout", "no reply", maybe_stored=True),
    "expired token": CallError(Fault.TRANSIENT, "ExpiredToken", "expired"),
    "throttled call": CallError(Fault.THROTTLED, "LimitExceeded", "slow down"),
}
NEVER_COMMITTED = ("reset before", "expired token", "throttled call")
TIMED_OUT = ("lost reply", "late commit")
OTHER_FAULTS = ("internal", "list fails", "describe fails")
INVALID = CallError(Fault.INVALID, "ValidationException", "refused")
NO_STREAM = CallError(Fault.NO_STREAM, "ResourceNotFoundException", "no such stream")
DENIED = CallError(Fault.FATAL, "AccessDeniedException", "not yours")
LIST_ERRORS = (
    CallError(Fault.THROTTLED, "LimitExceededException", "slow down"),
    CallError(Fault.TRANSIENT, "InternalFailure", "500"),
)
REFUSED = Failed("InvalidArgumentException", "refused for good")


class Plan:
    """What a seed draws before it begins."""

    def __init__(self, rng: random.Random) -> None:
        choice, chance = rng.choice, rng.random
        self.shard_count = choice((1, 2, 3, 4, 8))
        self.keys = [(f"key-{i}", rng.randrange(HASH_KEYS)) for i in range(choice((1, 3, 8, 16)))]
        self.seconds = choice((0.5, 3.0, 12.0))
        self.puts = rng.randint(1, 16)
        self.burst = choice((1, 3, 10))
        self.aggregate_records = choice((1, 2, 5, 20))
        self.linger = choice((0.0, 0.1))
        self.ttl = choice((2.0, 15.0, 60.0, 300.0))
        self.latency = choice((0.001, 0.02, 0.3))
        self.records_per_second = choice((1000.0, 1000.0, 20.0, 3.0))
        self.ordering: Literal["shard", "none"] = choice(("shard", "shard", "shard", "none"))
        self.after_failure: Literal["continue", "stop"] = choice(("continue", "continue", "stop"))
        self.requests_in_flight = choice((1, 2, 4, 16))
        few, small = Limits(max_request_records=3), Limits(max_record_bytes=2000, max_request_bytes=2500)
        self.limits = choice((Limits(), few, small))
        self.reshardings = choice((0, 0, 1, 3))
        self.recreated = chance() < 0.07
        self.list_denies_deleted = chance() < 0.2
        self.auto = choice((0, 0, 0, 0, 1, 3))
        self.stale = choice((0.0, 0.0, 0.5, 5.0))
        self.description_denied = chance() < 0.1
        self.faults = {kind: choice((0.02, 0.1, 0.3)) for kind in (*CALL_FAULTS, *OTHER_FAULTS) if chance() < 0.3}
        if chance() < 0.3:
            self.faults = {}
        self.poison = choice((0, 0, 0, 0, 0, 1, 3))
        self.poisons_requests = chance() < 0.5
        self.denied = chance() < 0.03
        self.given_up = chance() < 0.05
        self.watched = chance() < 0.25

    def __str__(self) -> str:
        keys = {key: f"{hash_key:032x}" for key, hash_key in self.keys}
        return "\n".join(f"  {name} = {value}" for name, value in (vars(self) | {"keys": keys}).items())


class Simulation:
    """One seed: ``run`` raises ``FindingError`` where a promise is not kept.

    ``schedule`` takes a line for each event, in order.
    """

    def __init__(self, seed: int, schedule: list[str] | None = None) -> None:
        self.seed = seed
        self.now = 0.0
        self.faults: Counter[str] = Counter()
        self.requests = 0
        self.entries = 0
        self.plan = plan = Plan(random.Random(seed))
        self.stream = SimulatedStream(plan.shard_count, plan.records_per_second, random.Random(f"stream {seed}"))
        self.scheduler = Scheduler(
            self.stream.shard_map,
            limits=plan.limits,
            ordering=plan.ordering,
            after_failure=plan.after_failure,
            max_requests_in_flight=plan.requests_in_flight,
            rng=random.Random(f"scheduler {seed}"),
        )
        self._schedule = schedule
        self._rng = random.Random(f"network {seed}")
        # the clock
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._event_count = 0
        self._under_way = 0  # events that are not the clock's
        self._wake_at = -1.0
        self._wakes = 0
        self._idle_steps = 0
        self._faulty = True
        # what the producer has
        self._staged: list[Put] = []
        self._numbers: Counter[str] = Counter()
        self._poison: set[Put] = set()
        self._open: dict[Entry, None] = {}
        self._given_up: dict[Entry, None] = {}
        self._born: dict[Entry, float] = {}
        self._flying: dict[Entry, None] = {}
        self._calls = 0
        self._asked = 0
        self._release_planned = False
        self._releases = 0
        # for the checks
        self._outcomes: dict[Put, Status] = {}
        self._explained: Counter[Put] = Counter()
        self._troubled_shards: set[str] = set()
        self._replaced_at: float | None = None  # the stream is another one, and nobody can know
        self._exempt: set[Put] = set()
        self._doubts = 0

    def run(self) -> None:
        """Let everything happen, and check it."""
        plan, rng = self.plan, random.Random(f"plan {self.seed}")
        for _ in range(plan.puts):
            self._at(rng.random() * plan.seconds, self._put, rng.randint(1, plan.burst))
        for _ in range(plan.reshardings):
            self._at(rng.random() * plan.seconds, self._reshard)
        for _ in range(plan.auto):
            self._at(rng.random() * plan.seconds, self._switch_auto_distribution)
        if plan.recreated:
            self._at(rng.random() * plan.seconds, self._delete)
        if plan.given_up:
            self._at(rng.random() * plan.seconds * 2, self._give_up_all)
        self._at(plan.seconds, self._end_faults)
        self._pump()
        while self._open or self._under_way:
            if not self._events:
                raise FindingError(f"asleep for ever: {len(self._open)} entries wait")
            self.now, _, act, values = heappop(self._events)
            if act != self._wake:
                self._under_way -= 1
            elif self.now != self._wake_at:
                continue
            if self.now > self._drained_by():
                raise FindingError(f"stuck: {len(self._open)} entries wait long after the last fault")
            act(*values)
            self._pump()
        self._check()

    @property
    def put_count(self) -> int:
        """User records that were put."""
        return sum(self._numbers.values())

    def _drained_by(self) -> float:
        return self.plan.seconds + 150.0 + 8 * self.put_count / self.plan.records_per_second

    def _at(self, when: float, act: Callable[..., None], *values: Any) -> None:
        self._event_count += 1
        if act != self._wake:
            self._under_way += 1
        heappush(self._events, (max(when, self.now), self._event_count, act, values))

    def _note(self, what: str, *values: object) -> None:
        if self._schedule is not None:
            self._schedule.append(f"{self.now:12.6f}  {what} {' '.join(str(value) for value in values)}")

    def _fault(self, kind: str) -> bool:
        """Draw whether it happens."""
        rate = self.plan.faults.get(kind, 0.0) if self._faulty else 0.0
        if not rate or self._rng.random() >= rate:
            return False
        self.faults[kind] += 1
        return True

    # --- the pump around the scheduler ---

    def _pump(self) -> None:
        scheduler = self.scheduler
        moved = False
        for _ in range(1000):
            more = False
            for request in scheduler.requests(self.now):
                self._send(request)
                more = True
            self._collect()
            taken = scheduler.take_reroute()
            if taken is not None:
                self._reroute(*taken)
                more = True
            for wish in scheduler.wishes(self.now):
                self._ask(wish)
                more = True
            moved |= more
            if not more:
                break
        else:
            raise FindingError("spins: always something to do, and no time passes")
        self._collect()
        self._check_step()
        self._idle_steps = 0 if moved else self._idle_steps + 1
        wake_at = scheduler.next_time(self.now)
        if wake_at is None:
            self._wake_at = -1.0
            return
        if wake_at < self.now:
            raise FindingError(f"next_time is in the past: {wake_at}")
        if wake_at > self.now:
            self._idle_steps = 0
        elif self._idle_steps > 3:
            raise FindingError("spins: next_time is now, and there is nothing to do")
        if wake_at != self._wake_at or wake_at == self.now:
            self._wake_at = wake_at
            self._at(wake_at, self._wake)

    def _wake(self) -> None:
        self._wakes += 1

    def _check_step(self) -> None:
        scheduler, plan = self.scheduler, self.plan
        if scheduler.pending != len(self._open):
            raise FindingError(f"pending is {scheduler.pending}, but {len(self._open)} entries are open")
        held = scheduler.held_shards if plan.after_failure == "stop" else []
        if held and not self._release_planned:
            self._release_planned = True
            self._at(self.now + self._rng.random() * 3, self._release)
        if not plan.watched or held or scheduler.halted or self._calls >= plan.requests_in_flight:
            return
        busy = {entry.shard_id for entry in self._flying} if plan.ordering == "shard" else set()
        for entry in self._open:
            if entry not in self._flying and entry.shard_id not in busy | self._troubled_shards:
                raise FindingError(f"waits for nothing: {_name(entry)}, whose shard never failed")

    def _collect(self) -> None:
        for settlement in self.scheduler.settlements():
            self._take_settlement(settlement)

    def _take_settlement(self, settlement: Settlement) -> None:
        entry, status = settlement.entry, settlement.status
        self._note("settled", _name(entry), status.value, settlement.error_code or "", settlement.message)
        if entry not in self._open:
            raise FindingError(f"settled twice, or never offered: {_name(entry)}")
        del self._open[entry]
        self._flying.pop(entry, None)
        for record in _records(entry):
            self._outcomes[record] = status
        if status is Status.NOT_STORED and entry.maybe_stored:
            raise FindingError(f"not stored, though it may be: {_name(entry)}")
        if status is not Status.STORED and self.plan.after_failure == "stop" and self.scheduler.failed is None:
            self._given_up[entry] = None
        elif self.now > entry.expires_at + SETTLED_LATE_SECONDS and self.plan.after_failure != "stop":
            raise FindingError(f"settled {self.now - entry.expires_at:.1f} s after its time to live: {_name(entry)}")
        lived = self.now - self._born[entry]
        if len(entry.attempts) > 25 + 10 * lived:
            raise FindingError(f"hot: {len(entry.attempts)} attempts in {lived:.1f} s: {_name(entry)}")

    # --- what the producer does ---

    def _put(self, record_count: int) -> None:
        for _ in range(record_count):
            key, hash_key = self._rng.choice(self.plan.keys)
            record = Put(key, hash_key, self._numbers[key])
            self._numbers[key] += 1
            self._staged.append(record)
            if len(self._poison) < self.plan.poison and self._rng.random() < 0.1:
                self._poison.add(record)
                self.faults["poison"] += 1
        self._note("put", *(f"{record.key}#{record.number}" for record in self._staged[-record_count:]))
        self._at(self.now + self.plan.linger, self._flush)

    def _flush(self) -> None:
        staged, self._staged = self._staged, []
        for entry in self._aggregate([(record, None) for record in staged], self.scheduler.shard_map):
            self._open[entry] = None
            self.scheduler.offer(entry, self.now)

    def _aggregate(self, records: list[tuple[Put, Entry | None]], shard_map: ShardMap) -> list[Entry]:
        """Make entries of records, and of what they were in before."""
        buckets: dict[int, list[tuple[Put, Entry | None]]] = {}
        for record, source in records:
            buckets.setdefault(shard_map.index_of(record.hash_key), []).append((record, source))
        most = 1 if self.scheduler.auto_distribution else self.plan.aggregate_records
        entries = []
        for index, bucket in buckets.items():
            for first in range(0, len(bucket), most):
                some = bucket[first : first + most]
                entry = Entry(
                    shard_map[index].shard_id,
                    size=50 + 90 * len(some),
                    user_record_count=len(some),
                    expires_at=min(source.expires_at if source else self.now + self.plan.ttl for _, source in some),
                    contents=Contents(tuple(record for record, _ in some)),
                    aggregated=len(some) > 1,
                    maybe_stored=any(source is not None and source.maybe_stored for _, source in some),
                )
                self._born[entry] = self.now
                self.entries += 1
                entries.append(entry)
        return entries

    def _reroute(self, entries: list[Entry], shard_map: ShardMap) -> None:
        self._note("reroute", *map(_name, entries), "to", *(shard.shard_id[-3:] for shard in shard_map))
        self._doubts += 1
        for entry in entries:
            if entry not in self._open or entry in self._flying:
                raise FindingError(f"to be routed anew, but not waiting: {_name(entry)}")
            del self._open[entry]
        again = self._aggregate([(record, entry) for entry in entries for record in _records(entry)], shard_map)
        self._open.update(dict.fromkeys(again))
        self.scheduler.on_rerouted(again, self.now)

    def _release(self) -> None:
        """Resume, or at last skip."""
        self._release_planned = False
        self._releases += 1
        expires_at = self.now + self.plan.ttl
        given_up, self._given_up = self._given_up, {}
        if self._releases % 3 and self._releases < 10:
            self._note("resume", *map(_name, given_up))
            if self.scheduler.failed is None:
                self._open.update(given_up)
                self._born.update(dict.fromkeys(given_up, self.now - 25.0))
            self.scheduler.resume(self.now, expires_at)
        else:
            self._note("skip", *map(_name, given_up))
            self.scheduler.skip(self.now, expires_at)

    def _give_up_all(self) -> None:
        self._note("give up all")
        self.faults["given up"] += 1
        self.scheduler.give_up_all(self.now, "Closed", "closed")
        self._flying.clear()

    # --- the network ---

    def _latency(self) -> float:
        return self.plan.latency * (0.5 + self._rng.random())

    def _send(self, request: Request) -> None:
        plan, entries = self.plan, request.entries
        self.requests += 1
        self._calls += 1
        self._note("send", *map(_name, entries))
        if not 0 < len(entries) <= plan.limits.max_request_records:
            raise FindingError(f"a request of {len(entries)} entries")
        if len(entries) > 1 and sum(entry.size for entry in entries) > plan.limits.packed_request_bytes:
            raise FindingError(f"a request of {sum(entry.size for entry in entries)} bytes")
        if self._calls > plan.requests_in_flight:
            raise FindingError(f"{self._calls} requests in flight")
        for entry in entries:
            if entry not in self._open or entry in self._flying or entry.expires_at <= self.now:
                raise FindingError(f"sent, but not to be sent: {_name(entry)}")
            self._flying[entry] = None
        if plan.ordering == "shard" and not self.scheduler.auto_distribution:
            shards = Counter(entry.shard_id for entry in self._flying)
            if max(shards.values()) > 1:
                raise FindingError(f"several entries of a shard in flight: {shards.most_common(1)[0]}")
        fault = next((kind for kind in CALL_FAULTS if self._fault(kind)), None)
        self._at(self.now + self._latency() / 2, self._arrive, request, fault)

    def _arrive(self, request: Request, fault: str | None) -> None:
        """The service has the request; or it never gets it, or late."""
        answer: list[Stored | Failed] | CallError
        back = self.now + (TIMEOUT_SECONDS if fault in TIMED_OUT else self._latency() / 2)
        if fault is None:
            answer = self._commit(request)
        else:
            answer = CALL_FAULTS[fault]
            if fault == "late commit":
                self._at(back + self._rng.random() * 3, self._commit_late, request)
            elif fault not in NEVER_COMMITTED and (fault != "5xx" or self._rng.random() < 0.5):
                self._commit(request)
        if self.plan.denied and self._faulty and self._rng.random() < 0.2:
            answer = DENIED
            self.faults["denied"] += 1
            for entry in request.entries:  # it was stored, and the reply is another one
                entry.maybe_stored = True
        self._at(back, self._reply, request, answer)

    def _commit_late(self, request: Request) -> None:
        self._commit(request)

    def _commit(self, request: Request) -> list[Stored | Failed] | CallError:
        if not self.stream.exists:
            return NO_STREAM
        poisonous = [not self._poison.isdisjoint(_records(entry)) for entry in request.entries]
        if self.plan.poisons_requests and any(poisonous):
            return INVALID
        outcomes: dict[int, Stored | Failed] = {}
        order = list(range(len(request.entries)))
        self._rng.shuffle(order)  # no order is promised within a request
        for i in order:
            entry = request.entries[i]
            if poisonous[i]:
                outcomes[i] = REFUSED
            elif self._fault("internal"):
                outcomes[i] = INTERNAL
            else:
                contents = Contents(_records(entry))
                outcomes[i] = outcome = self.stream.put(contents, aggregated=entry.aggregated, now=self.now)
                if not isinstance(outcome, Stored):
                    self.faults["throttled"] += 1
                elif self._replaced_at is not None and request.sent_at <= self._replaced_at:
                    self._exempt.update(_records(entry))
        self._note("commit", *(f"{_name(request.entries[i])}:{_what(outcomes[i])}" for i in order))
        return [outcomes[i] for i in range(len(request.entries))]

    def _reply(self, request: Request, answer: list[Stored | Failed] | CallError) -> None:
        self._calls -= 1
        for entry in request.entries:
            self._flying.pop(entry, None)
        if isinstance(answer, CallError):
            self._note("error", answer.error_code, *map(_name, request.entries))
            self._troubled_shards.update(entry.shard_id for entry in request.entries)
            if answer.maybe_stored:
                for entry in request.entries:
                    self._explained.update(_records(entry))
            if answer is NO_STREAM and self._replaced_at is not None and self.stream.exists:
                self._replaced_at = min(self._replaced_at, self.now)
            self._doubts += 1
            self.scheduler.on_error(request, answer, self.now)
            return
        self._note("reply", *(f"{_name(e)}:{_what(o)}" for e, o in zip(request.entries, answer, strict=True)))
        for entry, outcome in zip(request.entries, answer, strict=True):
            if isinstance(outcome, Failed):
                self._troubled_shards.add(entry.shard_id)
            elif outcome.shard_id != entry.shard_id:
                self._doubts += 1
                self._troubled_shards.add(entry.shard_id)
                if entry.aggregated:
                    self._explained.update(_records(entry))
        self.scheduler.on_reply(request, answer, self.now)

    def _ask(self, wish: Wish) -> None:
        self._asked += 1
        self._at(self.now + self._latency() / 2, self._look, wish)

    def _look(self, wish: Wish) -> None:
        """The service is asked."""
        back = self.now + self._latency() / 2
        if wish is Wish.DESCRIPTION:
            unknown = self.plan.description_denied or not self.stream.exists or self._fault("describe fails")
            self._at(back, self._described, None if unknown else self.stream.auto_distribution)
        elif not self.stream.exists:
            self._at(back, self._listed, NO_STREAM if self.plan.list_denies_deleted else LIST_ERRORS[0])
        elif self._fault("list fails"):
            self._at(back, self._listed, self._rng.choice(LIST_ERRORS))
        else:
            stale = self._rng.random() * self.plan.stale if self._faulty else 0.0
            self.faults["list stale"] += stale > 0
            self._at(back, self._listed, self.stream.shard_map_at(self.now - stale))

    def _described(self, auto_distribution: bool | None) -> None:
        self._note("described", auto_distribution)
        self.scheduler.on_described(self.now, auto_distribution)

    def _listed(self, answer: ShardMap | CallError) -> None:
        if isinstance(answer, CallError):
            self._note("list failed", answer.error_code)
            self.scheduler.on_shards_error(answer, self.now)
        else:
            self._note("listed", *(shard.shard_id[-3:] for shard in answer))
            self.scheduler.on_shards(answer, self.now)

    # --- what becomes of the stream ---

    def _reshard(self) -> None:
        if not self.stream.exists:
            return
        kind = self._rng.choice(("split", "split", "merge", "update shard count"))
        self.faults[kind] += 1
        if kind == "split":
            self.stream.split(self.now)
        elif kind == "merge":
            self.stream.merge(self.now)
        else:
            self.stream.update_shard_count(self._rng.randint(1, 9), self.now)
        self._note(kind, *(shard.shard_id[-3:] for shard in self.stream.shard_map))
        if self._rng.random() < 0.2:  # the service goes by way of others
            self._at(self.now + self._rng.random() * self.plan.latency * 2, self._reshard)

    def _switch_auto_distribution(self) -> None:
        self.stream.auto_distribution = not self.stream.auto_distribution
        self.faults["AUTO switched"] += 1
        self._note("AUTO distribution", self.stream.auto_distribution)

    def _delete(self) -> None:
        self.stream.delete()
        self.faults["recreated"] += 1
        self._note("deleted")
        self._at(self.now + self._rng.random() * 3, self._create)

    def _create(self) -> None:
        self.stream.create(self._rng.randint(1, 9), self.now)
        self._replaced_at = float("inf")
        self._note("created", *(shard.shard_id[-3:] for shard in self.stream.shard_map))

    def _end_faults(self) -> None:
        self._note("no more faults")
        self._faulty = False

    # --- at the end ---

    def _check(self) -> None:
        """Nothing is in flight, nothing waits. What is there, and what was said?"""
        self._note("read")
        plan, outcomes = self.plan, self._outcomes
        if self.put_count != len(outcomes) or self.scheduler.pending:
            raise FindingError(f"{self.put_count} records were put, {len(outcomes)} have an outcome")
        there = Counter(self.stream.read(like_the_kcl=False))
        check_stored(outcomes, there, Counter(self.stream.read(like_the_kcl=True)), self._exempt)
        check_copies(there, self._explained)
        if plan.ordering == "shard" and not plan.auto and not self._exempt:
            late = self.faults["late commit"] > 0
            check_order(outcomes, self.stream.read(like_the_kcl=True), unknown_too=not late)
        if self._wakes > 100 + 10 * self.entries + WAKES_PER_SECOND * self.now:
            raise FindingError(f"hot: woken {self._wakes} times in {self.now:.1f} s")
        if self._asked > 20 + 4 * self._doubts + 3 * self.now:
            raise FindingError(f"hot: {self._asked} calls of ListShards and DescribeStreamSummary in {self.now:.1f} s")


def _records(entry: Entry) -> tuple[Put, ...]:
    assert isinstance(entry.contents, Contents)
    return entry.contents.records


def _name(entry: Entry) -> str:
    records = ",".join(f"{record.key[4:]}#{record.number}" for record in _records(entry))
    return f"{entry.shard_id[-3:]}<{records}>"


def _what(outcome: Stored | Failed) -> str:
    return outcome.shard_id[-3:] if isinstance(outcome, Stored) else outcome.error_code


# --- many of them ---


class Totals:
    """What many runs come to."""

    def __init__(self) -> None:
        self.runs = self.requests = self.records = 0
        self.hours = 0.0
        self.faults: Counter[str] = Counter()
        self.findings: list[tuple[int, str]] = []

    def add(self, simulation: Simulation) -> None:
        """Count a run."""
        self.runs += 1
        self.requests += simulation.requests
        self.records += simulation.put_count
        self.hours += simulation.now / 3600
        self.faults += simulation.faults

    def __str__(self) -> str:
        faults = ", ".join(f"{kind} {number:,}" for kind, number in sorted(self.faults.items()))
        return (
            f"{self.runs:,} runs, {self.hours:,.1f} simulated hours, {self.records:,} user records, "
            f"{self.requests:,} requests, {len(self.findings)} findings\nfaults: {faults}"
        )


def simulate(seeds: Iterable[int], *, seconds: float | None = None, most_findings: int = 5) -> Totals:
    """Run seeds, for so long at most, or until so many have shown something."""
    totals = Totals()
    ends = None if seconds is None else time.monotonic() + seconds
    for seed in seeds:
        simulation = Simulation(seed)
        try:
            simulation.run()
        except Exception as error:  # noqa: BLE001 - whatever is raised is a finding
            totals.findings.append((seed, f"{type(error).__name__}: {error}"))
        totals.add(simulation)
        if len(totals.findings) >= most_findings or (ends is not None and time.monotonic() >= ends):
            break
    return totals


def schedule_of(seed: int) -> str:
    """Return what happens with a seed, a line for each event."""
    lines: list[str] = []
    simulation = Simulation(seed, lines)
    try:
        simulation.run()
    except Exception as error:  # noqa: BLE001 - it ends the schedule
        lines.append(f"{simulation.now:12.6f}  FOUND {type(error).__name__}: {error}")
    return "\n".join([f"seed {seed}", str(simulation.plan), *lines])


def main() -> int:
    """Simulate as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m shardpack.testing.simulation", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--seed", type=int, help="run this seed alone, and print its schedule")
    parser.add_argument("--first", type=int, help="the first seed; without it they are others each time")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        schedule = schedule_of(arguments.seed)
        sys.stdout.write(schedule + "\n")
        return int("FOUND" in schedule.rpartition("\n")[2])
    first = time.time_ns() % 2**40 if arguments.first is None else arguments.first
    totals = simulate(range(first, first + 2**40), seconds=arguments.seconds)
    for seed, finding in totals.findings:
        sys.stdout.write(f"{schedule_of(seed)}\nagain: make simulate SEED={seed}   # {finding}\n\n")
    sys.stdout.write(f"seeds from {first}: {totals}\n")
    return int(bool(totals.findings))


if __name__ == "__main__":
    sys.exit(main())
