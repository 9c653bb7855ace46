"""One seed: the scheduler against a Kinesis, a network and a clock that the seed makes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Any

from ...producer.entries import CallError, Entry, Request, Settlement, Status
from ...producer.questions import Wish
from ...producer.request_size import LEAST_BYTES
from ...producer.scheduler import Scheduler
from ...shards import ShardMap
from ...transport import Failed, Stored
from .plan import (
    CALL_FAULTS,
    DENIED,
    INVALID,
    LIST_ERRORS,
    NEVER_COMMITTED,
    NO_STREAM,
    REFUSED,
    TIMED_OUT,
    TOO_LARGE,
    Plan,
)
from .promises import FindingError, check_copies, check_order, check_stored
from .stream import INTERNAL, Contents, Put, SimulatedStream

TIMEOUT_SECONDS = 5.0
SETTLED_LATE_SECONDS = 2 * TIMEOUT_SECONDS + 2.0
"""What is given up is so long behind its time to live at most: for a call under way, and the look after it."""

WAKES_PER_SECOND = 50.0

NO_MEMORY_SECONDS = 0.1
"""How long a pump waits that has none for what it is about to do."""


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
            None if plan.begins_unknown else self.stream.shard_map,
            limits=plan.limits,
            ordering=plan.ordering,
            after_failure=plan.after_failure,
            max_requests_in_flight=plan.requests_in_flight,
            most_records_per_second=plan.most_records_per_second,
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
        self._no_memory_until = -inf  # until then nothing is done, but events come
        self._faulty = True
        # what the producer has
        self._staged: list[Put] = []
        self._numbers: Counter[str] = Counter()
        self._poison: set[Put] = set()
        self._open: dict[Entry, None] = {}
        self._given_up: dict[Entry, None] = {}
        self._born: dict[Entry, float] = {}
        self._flying: dict[Entry, None] = {}
        self._least_refused = inf  # for its size, of requests of several entries
        self._calls = 0
        self._asked = 0
        self._release_planned = False
        self._releases = 0
        # for the checks
        self._outcomes: dict[Put, Status] = {}
        self._explained: Counter[Put] = Counter()
        self._troubled_shards: set[str] = set()
        self._noticed_at = -inf  # that the stream was deleted; before that nobody can know
        self._exempt: set[Put] = set()
        self._doubts = 0

    def run(self) -> None:
        """Let everything happen, and check it."""
        self._plan_events()
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

    def _plan_events(self) -> None:
        plan, rng = self.plan, random.Random(f"plan {self.seed}")
        for _ in range(plan.puts):
            self._at(rng.random() * plan.seconds, self._put, rng.randint(1, plan.burst))
        for act, times in (
            (self._reshard, plan.reshardings),
            (self._switch_auto_distribution, plan.auto),
            (self._delete, plan.recreated),
        ):
            for _ in range(times):
                self._at(rng.random() * plan.seconds, act)
        if plan.given_up:
            self._at(rng.random() * plan.seconds * 2, self._give_up_all)
        self._at(plan.seconds, self._end_faults)

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
        if self.now < self._no_memory_until:
            return
        moved = self._step()
        for _ in range(1000):
            if not self._step():
                break
        else:
            raise FindingError("spins: always something to do, and no time passes")
        if self.now < self._no_memory_until:
            return
        self._check_step()
        wake_at = self.scheduler.next_time(self.now)
        if wake_at is not None and wake_at < self.now:
            raise FindingError(f"next_time is in the past: {wake_at}")
        self._idle_steps = self._idle_steps + 1 if wake_at == self.now and not moved else 0
        if self._idle_steps > 3:
            raise FindingError("spins: next_time is now, and there is nothing to do")
        if wake_at is None:
            self._wake_at = -1.0
        elif wake_at != self._wake_at or wake_at == self.now:
            self._wake_at = wake_at
            self._at(wake_at, self._wake)

    def _step(self) -> bool:
        """Do what the scheduler says now. Whether that was anything."""
        moved = False
        for request in self.scheduler.requests(self.now):
            self._send(request)
            moved = True
        self._collect()
        taken = self.scheduler.take_reroute()
        if taken is not None and self._fault("no memory"):
            self._note("no memory to route anew")
            self._no_memory_until = self.now + NO_MEMORY_SECONDS
            self._at(self._no_memory_until, self._go_on)
            return False
        if taken is not None:
            self._reroute(*taken)
        wishes = self.scheduler.wishes(self.now)
        for wish in wishes:
            self._ask(wish)
        self._collect()
        return moved or taken is not None or bool(wishes)

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
        if (
            not plan.watched
            or plan.most_records_per_second
            or held
            or scheduler.halted
            or self._calls >= plan.requests_in_flight
        ):
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

    def _go_on(self) -> None:
        self._note("memory again")

    def _flush(self) -> None:
        if self.now < self._no_memory_until:  # what was put before the shards changed goes first
            self._at(self._no_memory_until, self._flush)
            return
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
                    size=50 + self.plan.record_bytes * len(some),
                    user_record_count=len(some),
                    expires_at=min(source.expires_at if source else self.now + self.plan.ttl for _, source in some),
                    contents=Contents(tuple(record for record, _ in some)),
                    aggregated=len(some) > 1 or self.plan.wraps,
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
        size = sum(entry.size for entry in entries)
        if len(entries) > 1 and size > min(plan.limits.packed_request_bytes, self._least_refused - 1):
            raise FindingError(f"a request of {size} bytes, where {self._least_refused} were refused")
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
        size = sum(entry.size for entry in request.entries)
        if self.plan.largest_taken is not None and size > self.plan.largest_taken:
            self.faults["too large"] += 1
            return TOO_LARGE
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
                elif request.sent_at <= self._noticed_at and len(self.stream.incarnations) > 1:
                    self._exempt.update(_records(entry))
        self._note("commit", *(f"{_name(request.entries[i])}:{_what(outcomes[i])}" for i in order))
        return [outcomes[i] for i in range(len(request.entries))]

    def _reply(self, request: Request, answer: list[Stored | Failed] | CallError) -> None:
        self._calls -= 1
        for entry in request.entries:
            self._flying.pop(entry, None)
        if isinstance(answer, CallError):
            self._reply_error(request, answer)
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

    def _reply_error(self, request: Request, error: CallError) -> None:
        self._note("error", error.error_code, *map(_name, request.entries))
        self._troubled_shards.update(entry.shard_id for entry in request.entries)
        if error.maybe_stored:
            for entry in request.entries:
                self._explained.update(_records(entry))
        size = sum(entry.size for entry in request.entries)
        if error is TOO_LARGE and len(request.entries) > 1 and size >= 2 * LEAST_BYTES:
            self._least_refused = min(self._least_refused, size)
        if error is NO_STREAM:
            self._noticed_at = min(self._noticed_at, self.now)
        self._doubts += 1
        self.scheduler.on_error(request, error, self.now)

    def _ask(self, wish: Wish) -> None:
        self._asked += 1
        self._at(self.now + self._latency() / 2, self._look, wish)

    def _look(self, wish: Wish) -> None:
        """The service is asked."""
        back = self.now + self._latency() / 2
        if wish is Wish.DESCRIPTION:
            denied = self.plan.description_denied
            unknown = (denied and self.scheduler.begun) or not self.stream.exists or self._fault("describe fails")
            self._at(back, self._described, None if unknown else not denied and self.stream.auto_distribution)
        elif not self.stream.exists:
            self._at(back, self._listed, NO_STREAM if self.plan.list_denies_deleted else LIST_ERRORS[0])
        elif self.plan.list_denied and self._faulty:
            self.faults["list denied"] += 1
            self._at(back, self._listed, DENIED)
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
            if len(self.stream.incarnations) > 1 and answer in self.stream.shard_maps:
                self._noticed_at = min(self._noticed_at, self.now)
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
        self._noticed_at = inf
        self.faults["recreated"] += 1
        self._note("deleted")
        self._at(self.now + self._rng.random() * 3, self._create)

    def _create(self) -> None:
        self.stream.create(self._rng.randint(1, 9), self.now)
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
