"""Whatever is done with a scheduler, in whatever order: what hypothesis comes up with."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise

from deliveries import DENIED, EXPIRED_TOKEN, INTERNAL, INVALID, NO_STREAM, REFUSED, SLOW_DOWN, THROTTLED, TIMEOUT, name
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shardpack.limits import Limits
from shardpack.producer.scheduler import Entry, Scheduler, Status, Wish
from shardpack.shards import HASH_KEYS, Shard, ShardMap
from shardpack.transport import Stored

PLACES = 6
"""Keys, each of which has a place among the hash keys; shards end between them."""

WIDTH = HASH_KEYS // PLACES
cuts = st.sets(st.integers(1, PLACES - 1)).map(lambda inner: [0, *sorted(inner), PLACES])
failures = st.sampled_from([THROTTLED, THROTTLED, INTERNAL, REFUSED])
errors = st.sampled_from([TIMEOUT, EXPIRED_TOKEN, SLOW_DOWN, INVALID, NO_STREAM])


@dataclass(frozen=True)
class Records:
    """User records as (place, number)."""

    records: tuple[tuple[int, int], ...]

    def lie_in(self, shard: Shard) -> bool:
        return all(place * WIDTH in shard for place, _ in self.records)


class Delivery(RuleBasedStateMachine):
    @initialize(
        bounds=cuts,
        in_flight=st.integers(1, 3),
        most=st.integers(1, 4),
        after_failure=st.sampled_from(["continue", "stop"]),
        seed=st.integers(0, 99),
    )
    def begin(self, bounds, in_flight, most, after_failure, seed):
        self.now = 0.0
        self.count = 0  # shards that ever were
        self.maps = [self.new_map(bounds)]
        self.scheduler = Scheduler(
            self.maps[0],
            max_requests_in_flight=in_flight,
            limits=Limits(max_request_records=most),
            after_failure=after_failure,
            rng=random.Random(seed),
        )
        self.in_flight = []
        self.asked = []
        self.open = {}  # entries without an outcome
        self.given_up = {}
        self.numbers = [0] * PLACES
        self.unordered = set()  # what was under way while AUTO distribution was on

    def new_map(self, bounds):
        """Shards that are as they were keep their ids."""
        before = {(s.starting_hash_key, s.ending_hash_key): s for s in self.maps[-1]} if self.count else {}
        made = []
        for low, high in pairwise(bounds):
            keys = (low * WIDTH, high * WIDTH - 1 if high < PLACES else HASH_KEYS - 1)
            if keys not in before:
                before[keys] = Shard(name(self.count), *keys)
                self.count += 1
            made.append(before[keys])
        return ShardMap(made)

    @property
    def is_auto(self):
        return self.scheduler.auto_distribution

    def entries_of(self, records, source=None):
        """Aggregate by the scheduler's map."""
        by_shard = {}
        for record in records:
            by_shard.setdefault(self.scheduler.shard_map.index_of(record[0] * WIDTH), []).append(record)
        for index, some in by_shard.items():
            for part in [[one] for one in some] if self.is_auto else [some]:
                shard_id = self.scheduler.shard_map[index].shard_id
                expires_at = source.expires_at if source else self.now + 20.0
                made = Entry(shard_id, 10, len(part), expires_at, Records(tuple(part)), aggregated=len(part) > 1)
                made.maybe_stored = source is not None and source.maybe_stored
                yield made

    @rule(places=st.lists(st.integers(0, PLACES - 1), min_size=1, max_size=4))
    def offer(self, places):
        records = []
        for place in places:
            records.append((place, self.numbers[place]))
            self.numbers[place] += 1
        for made in self.entries_of(records):
            self.open[made] = None
            self.scheduler.offer(made, self.now)
        self.settle()

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.3, 2.0, 11.0, 400.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule()
    def time_passes_until_it_says(self):
        at = self.scheduler.next_time(self.now)
        if at is not None:
            assert at >= self.now
            self.now = at
        self.send()

    @rule()
    def send(self):
        for request in self.scheduler.requests(self.now):
            self.in_flight.append(request)
            self.settle()
            for made in request.entries:
                assert made in self.open
                assert made.expires_at > self.now
                self.check_turn(made)
            if not self.is_auto:
                flying = [made.shard_id for each in self.in_flight for made in each.entries]
                assert len(flying) == len(set(flying))
        self.settle()
        taken = self.scheduler.take_reroute()
        if taken is None:
            return
        entries, shard_map = taken
        assert not self.in_flight
        assert shard_map == self.scheduler.shard_map
        for made in entries:
            del self.open[made]
        again = [new for made in entries for new in self.entries_of(made.contents.records, made)]
        self.open.update(dict.fromkeys(again))
        self.scheduler.on_rerouted(again, self.now)
        self.settle()

    def check_turn(self, made):
        """No record is sent while an older one of its key has no outcome, or is given up and holds it back."""
        if self.is_auto:
            return
        others = {r for other in (*self.open, *self.given_up) if other is not made for r in other.contents.records}
        for place, number in set(made.contents.records) - self.unordered:
            assert all(p != place or n > number for p, n in others - self.unordered)

    def answer(self, data):
        return self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1)))

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def reply(self, data):
        request = self.answer(data)
        outcomes = []
        for made in request.entries:
            now_in = self.maps[-1][self.maps[-1].index_of(made.contents.records[0][0] * WIDTH)].shard_id
            stored = st.sampled_from([Stored(now_in, "1"), Stored(now_in, "1"), Stored(self.maps[-1][0].shard_id, "2")])
            outcomes.append(data.draw(st.one_of(stored, failures)))
        self.scheduler.on_reply(request, outcomes, self.now)
        self.settle()

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), error=errors)
    def call_fails(self, data, error):
        self.scheduler.on_error(self.answer(data), error, self.now)
        self.settle()

    @rule(bounds=cuts)
    def reshard(self, bounds):
        self.maps.append(self.new_map(bounds))

    @rule()
    def ask(self):
        self.asked += self.scheduler.wishes(self.now)
        assert len(set(self.asked)) == len(self.asked)

    @precondition(lambda self: Wish.SHARDS in self.asked)
    @rule(age=st.integers(0, 1), fails=st.booleans())
    def list_shards(self, age, fails):
        self.asked.remove(Wish.SHARDS)
        if fails:
            self.scheduler.on_shards_error(SLOW_DOWN, self.now)
        else:
            self.scheduler.on_shards(self.maps[max(-1 - age, -len(self.maps))], self.now)

    @precondition(lambda self: Wish.DESCRIPTION in self.asked)
    @rule(auto=st.sampled_from([False, False, False, None, True]))
    def describe(self, auto):
        self.asked.remove(Wish.DESCRIPTION)
        if self.is_auto:
            self.unordered.update(r for made in (*self.open, *self.given_up) for r in made.contents.records)
        self.scheduler.on_described(self.now, auto)

    @rule(again=st.booleans())
    def release(self, again):
        if self.scheduler.failed is None and again:
            self.open.update(self.given_up)
        self.given_up = {}
        (self.scheduler.resume if again else self.scheduler.skip)(self.now, self.now + 20.0)

    @rule(how=st.sampled_from(["fail"] + ["give up"] * 2 + [None] * 17))
    def end(self, how):
        if how == "fail":
            self.scheduler.fail(DENIED, self.now)
        elif how == "give up":
            self.scheduler.give_up_all(self.now, "Closed", "closed")
            self.in_flight = []
            assert self.scheduler.pending == 0
        if how:
            self.given_up = {}
        self.settle()

    def settle(self):
        for settlement in self.scheduler.settlements():
            made = settlement.entry
            del self.open[made]  # it was offered, and has this one outcome
            assert not (settlement.status is Status.NOT_STORED and made.maybe_stored)
            if settlement.status is not Status.STORED and self.scheduler._stops and self.scheduler.failed is None:
                self.given_up[made] = None

    @invariant()
    def nothing_is_forgotten(self):
        assert self.scheduler.pending == len(self.open)

    @invariant()
    def so_many_requests_are_in_flight_at_most(self):
        assert len(self.in_flight) <= self.scheduler.max_requests_in_flight

    def teardown(self):
        """Answer everything well: then everything has its outcome."""
        if not hasattr(self, "scheduler"):
            return
        for _ in range(200):
            self.send()
            for request in self.in_flight:
                shard_map = self.maps[-1]
                where = [shard_map[shard_map.index_of(e.contents.records[0][0] * WIDTH)] for e in request.entries]
                self.scheduler.on_reply(request, [Stored(shard.shard_id, "1") for shard in where], self.now)
            self.in_flight = []
            self.settle()
            self.ask()
            for wish in list(self.asked):
                if wish is Wish.SHARDS:
                    self.scheduler.on_shards(self.maps[-1], self.now)
                else:
                    self.describe(auto=False)
            self.asked = []
            if self.scheduler.held_shards:
                self.release(again=False)
            if not self.open:
                return
            self.now = max(self.now, self.scheduler.next_time(self.now) or self.now)
        raise AssertionError(f"{len(self.open)} entries wait for ever")


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
