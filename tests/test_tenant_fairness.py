"""Whose record goes next: the fair queue by itself, with a clock of the test's own."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from math import inf

import pytest

from shardpack.tenants.fair import LEAST_FORGOTTEN, TURN_BYTES, Account, FairQueue, Flow, Rate

KIB = 1024
WINDOW = 64 * KIB


@dataclass(eq=False)
class Record:
    size: int
    number: int = 0
    name: str = ""
    put_at: float = 0.0
    handed_at: float = inf
    stored_at: float = inf
    flow: Flow | None = None


@dataclass
class Stream:
    """A queue before shards that take so many bytes a second, one record after the other."""

    bytes_per_second: float
    queue: FairQueue = field(default_factory=lambda: FairQueue(2**30))
    now: float = 0.0
    done: list = field(default_factory=list)
    _shards: dict = field(default_factory=dict)  # what each has to take, and when it has taken the first of it
    _number: int = 0

    def put(self, account, size, shard="a", name=""):
        self._number += 1
        record = Record(size, self._number, name, self.now)
        self.queue.put(account, shard, WINDOW, record)
        self.hand_over()
        return record

    def hand_over(self):
        for record in self.queue.take(self.now):
            record.handed_at = self.now
            waiting = self._shards.setdefault(record.flow.line.shard_id, deque())
            busy_until = waiting[-1][0] if waiting else self.now
            waiting.append((max(busy_until, self.now) + record.size / self.bytes_per_second, record))

    def run(self, until):
        """Let time pass."""
        while True:
            due = min((waiting[0][0] for waiting in self._shards.values() if waiting), default=inf)
            due = min(due, max(self.now, self.queue.next_time()))
            if due > until:
                self.now = until
                return
            self.now = due
            for waiting in self._shards.values():
                while waiting and waiting[0][0] <= due:
                    record = waiting.popleft()[1]
                    record.stored_at = self.now
                    self.done.append(record)
                    self.queue.settled([record])
            self.hand_over()

    def bytes_of(self, name):
        return sum(record.size for record in self.done if record.name == name)


def latencies(records):
    return sorted(record.stored_at - record.put_at for record in records)


def steady(stream, accounts, seconds, *, rate, size, flooder=None, flood_rate=0.0, seed=1, shards=("a",)):
    """Each account puts so many bytes a second at random times; the flooder so many of its own. Returns the records."""
    rng = random.Random(seed)
    times = []
    for name, account in accounts.items():
        now = rng.random() * size / rate
        while now < seconds:
            times.append((now, name, account, size))
            now += rng.expovariate(rate / size)
    if flooder is not None:
        step = 20 * KIB / flood_rate
        times += [(i * step, "flooder", flooder, 1000) for i in range(int(seconds / step)) for _ in range(20)]
    times.sort(key=lambda each: each[0])
    records = []
    for now, name, account, its_size in times:
        stream.run(now)
        if name == "flooder" and not stream.queue.has_room(account):
            continue
        record = stream.put(account, its_size, rng.choice(shards), name)
        if name != "flooder":
            records.append(record)
    stream.run(seconds + 1000)
    return records


@pytest.mark.parametrize("shards", [("a",), ("a", "b", "c", "d")])
def test_a_flood_delays_others_by_no_more_than_a_window(shards):
    """A hundred times its share; the others' 99th percentile grows by what a window takes, and a turn of each."""
    rate = 1e6
    accounts = {f"tenant-{i}": Account() for i in range(10)}
    total = rate * len(shards)
    share = total / 11
    quiet = steady(Stream(rate), accounts, 8, rate=share / 4, size=500, shards=shards)
    stream = Stream(rate)
    stream.queue.most = 8 * 1024 * KIB
    accounts = {f"tenant-{i}": Account() for i in range(10)}
    flooded = steady(
        stream, accounts, 8, rate=share / 4, size=500, flooder=Account(), flood_rate=100 * share, shards=shards
    )
    assert len(quiet) == len(flooded)
    behind = (WINDOW + 11 * (TURN_BYTES + 1000)) / rate
    assert latencies(flooded)[int(0.99 * len(flooded))] <= latencies(quiet)[int(0.99 * len(quiet))] + behind
    assert latencies(flooded)[-1] <= latencies(quiet)[-1] + 2 * behind
    assert stream.bytes_of("flooder") > total * 8 * 0.6  # what the others leave, it has


@pytest.mark.parametrize("weights", [(1, 1), (1, 3), (1, 2, 4, 8)])
@pytest.mark.parametrize("sizes", [(100, 100), (100, 9000), (50_000, 200)])
def test_those_that_ask_for_more_get_parts_by_their_weights(weights, sizes):
    stream = Stream(1e6)
    accounts = [Account(weight=weight) for weight in weights]
    for i, account in enumerate(accounts):
        size = sizes[i % len(sizes)]
        for _ in range(int(20e6 / size)):
            stream.put(account, size, "a", str(i))
    begun = sum(record.size for record in stream.done)
    stream.run(10)
    assert begun == 0
    got = [(stream.bytes_of(str(i)) / weight) for i, weight in enumerate(weights)]
    slack = (
        sum((max(sizes) + TURN_BYTES) / weight for weight in weights) + WINDOW
    )  # the first window is who came first's
    assert max(got) - min(got) <= slack
    assert sum(record.size for record in stream.done) >= 10e6 - max(sizes)


def test_who_waits_for_one_shard_does_not_hold_up_another():
    stream = Stream(1e6)
    flooder, other = Account(), Account()
    for _ in range(100_000):
        stream.put(flooder, 1000, "hot")
    assert stream.put(other, 1000, "cold").handed_at == 0
    assert stream.put(flooder, 1000, "cold").handed_at == 0


def test_each_tenant_is_stored_in_its_order():
    stream = Stream(1e5)
    accounts = [Account(weight=1 + i) for i in range(5)]
    rng = random.Random(3)
    for _ in range(5000):
        i = rng.randrange(5)
        stream.put(accounts[i], rng.randrange(1, 20_000), rng.choice("abc"), str(i))
        if rng.random() < 0.1:
            stream.run(stream.now + rng.random())
    stream.run(10_000)
    assert len(stream.done) == 5000
    for i in range(5):
        for shard in "abc":
            numbers = [r.number for r in stream.done if r.name == str(i) and r.flow.line.shard_id == shard]
            assert numbers == sorted(numbers)
    assert (stream.queue.held, stream.queue.waiting, stream.queue._lines) == (0, 0, {})
    assert all((a.held, a.queued, a.waiting, a.parked) == (0, 0, 0, []) for a in accounts)


def test_no_more_than_a_window_is_ahead():
    queue = FairQueue(2**30)
    account = Account()
    for i in range(1000):
        queue.put(account, "a", 10_000, Record(1000, i))
        queue.take(0.0)
    (line,) = queue._lines.values()
    assert line.out == 10_000
    assert account.queued == 990_000
    queue.put(account, "b", 10, Record(10**6))
    assert len(queue.take(0.0)) == 1  # one may pass it


def test_a_rate_holds_its_tenant_back_alone():
    stream = Stream(1e6)
    limited, other = Account(rate=Rate(10_000)), Account()
    records = [stream.put(limited, 1000, "ab"[i % 2]) for i in range(100)]
    assert stream.put(other, 1000).handed_at == 0
    handed = [sum(record.handed_at <= until for record in records) * 1000 for until in (0, 1, 5, 9)]
    assert handed[0] == 10_000  # a second's worth at once
    stream.run(200)
    for until in (1, 2, 5, 8):
        handed = sum(record.size for record in records if record.handed_at <= until)
        assert 10_000 * until <= handed <= 10_000 * (until + 1) + 1000
    assert all(record.stored_at < 11 for record in records)
    assert stream.queue.next_time() == inf


def test_rates_hold_no_longer_where_all_is_to_be_delivered():
    stream = Stream(1e6)
    limited = Account(rate=Rate(1))
    records = [stream.put(limited, 1000) for _ in range(50)]
    stream.run(1)
    assert sum(record.stored_at < inf for record in records) == 1
    stream.queue.hurry()
    stream.hand_over()
    stream.run(2)
    assert all(record.stored_at <= 2 for record in records)


@pytest.mark.parametrize("flooders", [1, 2, 5, 30])
def test_whoever_leaves_all_it_can_leaves_a_part_free(flooders):
    queue = FairQueue(1_000_000, around=100)
    accounts = [Account() for _ in range(flooders)]
    while any(queue.has_room(account) for account in accounts):
        for account in accounts:
            if queue.has_room(account):
                queue.put(account, "a", 1000, Record(900))
    assert queue.held <= 1_000_000
    for account in accounts:
        assert account.held == pytest.approx(1_000_000 / (flooders + 1), abs=2000)
    assert queue.has_room(Account())


def test_a_tenants_own_bound_holds():
    queue = FairQueue(1_000_000)
    account = Account(most=5000)
    while queue.has_room(account):
        queue.put(account, "a", 1000, Record(1000))
    assert account.held == 5000
    queue.settled(queue.take(0.0))
    assert queue.has_room(account)


def test_what_waits_is_lined_up_anew_in_its_order():
    queue = FairQueue(2**30)
    accounts = [Account(), Account(rate=Rate(1))]
    out = []
    for i in range(200):
        queue.put(accounts[i % 2], "ab"[i % 3 % 2], 100, Record(10, i, str(i % 2)))
        out += queue.take(0.0)
    assert queue.next_time() < inf
    queue.line_up_anew(lambda items: [("c", 100)] * len(items))
    assert queue.waiting == 200 - len(out)
    assert queue.held == 2000
    queue.hurry()
    while waiting := queue.take(0.0):
        out += waiting
        queue.settled(waiting)
    assert len(out) == 200
    queue.settled(out[:0])
    for name in "01":
        later = [record.number for record in out if record.name == name and record.flow.line.shard_id == "c"]
        assert later == sorted(later)
        assert later


def test_all_of_it_can_be_taken_at_once():
    queue = FairQueue(2**30)
    accounts = [Account(), Account(rate=Rate(1))]
    for i in range(100):
        queue.put(accounts[i % 2], "a", 100, Record(10, i, str(i % 2)))
    taken = queue.take(0.0)
    taken += queue.take_all()
    for name in "01":
        numbers = [record.number for record in taken if record.name == name]
        assert numbers == sorted(numbers)
        assert len(numbers) == 50
    assert queue.waiting == 0
    queue.settled(taken)
    assert (queue.held, queue._lines, queue.next_time()) == (0, {}, inf)


def test_flows_that_are_owed_nothing_are_forgotten():
    stream = Stream(1e6)
    flooder = Account()
    for _i in range(10 * LEAST_FORGOTTEN):
        for _ in range(20):
            stream.put(flooder, 1000)
        stream.put(Account(), 100)
        stream.run(stream.now + 0.02)
    (line,) = stream.queue._lines.values()
    assert len(line.flows) <= 2 * LEAST_FORGOTTEN
