"""Which shards are read from where, and when: at random, on a made-up clock, with readers that are killed."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from datetime import datetime, timezone
from itertools import pairwise
from random import Random
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_stream import BEGAN, Put, SimulatedStream, passing_error

from shardpack.consume.reading import RecordsReply
from shardpack.consume.shapes import received_of
from shardpack.consume.stream.base import BaseReader
from shardpack.consume.stream.batch import StreamBatch
from shardpack.consume.stream.checkpoints import Checkpoint, MemoryCheckpoints
from shardpack.consume.stream.dynamodb_checkpoints import generations_of
from shardpack.consume.stream.schedule import Cursor, ListCall
from shardpack.consume.stream.shards import ListedShard

POLL_SECONDS, BYTES_PER_SECOND = 1.0, 500.0
LONGEST = 3000.0
"""Seconds of a reading that has to end; it is in a loop otherwise."""

seeds = st.integers(0, 2**32)


class KilledError(Exception):
    """Where a reader ends in the middle of a batch."""


class Steps(BaseReader):
    """A reader whose calls the test makes."""

    def _notify_all(self) -> None: ...
    def _notify_room(self) -> None: ...


class Entering(MemoryCheckpoints):
    """Checkpoints whose reader may be killed while it enters shards: some of them, none before those it came of."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.random, self.may_end = random, False

    def begin(self, shards: Mapping[ListedShard, Checkpoint]) -> None:
        if not self.may_end or self.random.random() < 0.5:
            super().begin(shards)
            return
        for generation in generations_of(shards):
            entered = [shard for shard in generation if self.random.random() < 0.8]
            super().begin({shard: shards[shard] for shard in entered})
            if len(entered) < len(generation):
                raise KilledError


class Reading:
    """Readers of one stream, one after the other, at the same checkpoints; and what they handled, in order."""

    def __init__(self, stream: SimulatedStream, *, faults: float = 0.0, **options: Any) -> None:
        self.stream, self.random, self.faults, self.options = stream, stream.random, faults, options
        self.store = Entering(stream.random)
        self.handled: list[tuple[int, int]] = []
        self.latest_at: dict[str, float] = {}
        """When an iterator was given of what comes from then on."""
        self.reads: dict[str, list[tuple[float, float, int, bool]]] = {}

    def reader(self, until: Any = None) -> Steps:
        """Return a reader of the stream, which has the checkpoints."""
        reader = Steps(
            "stream",
            client=SimpleNamespace(put_records=print),
            checkpoints=self.store,
            until=until,
            range_rule=False,
            give_up_after_s=1e6,
            poll_interval_s=POLL_SECONDS,
            shard_bytes_per_second=BYTES_PER_SECOND,
            _clock=self.stream,
            **self.options,
        )
        reader._retention_s = self.stream.retention_s
        reader._claim()
        return reader

    def live(self, seconds: float = LONGEST, *, until: Any = None) -> bool:
        """Read for so long, or until that; be killed then. Returns whether there was an end."""
        stream, random = self.stream, self.random
        reader = self.reader(until)
        self.reads = {}
        self.store.may_end = until is None
        under_way: list[tuple[float, int, Any, float]] = []
        concurrent, begun = random.choice((1, 3, 8)), 0
        deadline = stream.now + seconds
        try:
            while stream.now < deadline:
                while random.random() < 0.7 and (item := reader._pop()) is not None:
                    if isinstance(item, StreamBatch):
                        self._handle(item, may_end=until is None)
                    else:
                        reader._settle(item)
                call = reader._next_call() if len(under_way) < concurrent else None
                if isinstance(call, (Cursor, ListCall)):
                    begun += 1
                    heapq.heappush(under_way, (stream.now + random.random() * 0.3, begun, call, stream.now))
                    continue
                if under_way and (not isinstance(call, float) or under_way[0][0] <= call + BEGAN):
                    at, _, made, began_at = heapq.heappop(under_way)
                    stream.advance(max(0.0, at - stream.now))
                    self._answer(reader, made, began_at)
                elif isinstance(call, float):
                    stream.advance(max(0.0, call - stream.monotonic()) + 1e-6)
                elif not reader._ready:
                    assert reader._schedule is not None
                    assert reader._schedule.done, "nobody calls, and nothing is over"
                    return True
            return False
        except KilledError:
            return False
        finally:
            self._check_pace()
            self.store.release()

    def _answer(self, reader: Steps, call: Any, began_at: float) -> None:
        stream = self.stream
        try:
            if self.reads and self.random.random() < self.faults:  # a service that never answered is given up soon
                raise passing_error(self.random)
            if isinstance(call, ListCall):
                reader._listed(stream.list_shards())
                return
            shard_id = call.shard.shard_id
            if call.iterator is None:
                parameters = call.iterator_parameters()
                reader._began(call, stream.get_shard_iterator(shard_id, parameters))
                if parameters["ShardIteratorType"] == "LATEST":
                    self.latest_at[shard_id] = stream.now
            response = stream.get_records(shard_id, call.iterator)
            received = [*received_of(response.pop("Records"))]
            size = sum(record.size for record in received)
            idle = not received and not response["MillisBehindLatest"]
            self.reads.setdefault(shard_id, []).append((began_at, stream.now, size, idle))
            reader._take_reply(call, RecordsReply(received, response, None, False))
        except (ClientError, BotoCoreError) as error:
            reader._failed(call, error)
        finally:
            reader._called(call)

    def _handle(self, batch: StreamBatch, *, may_end: bool) -> None:
        shard = self.stream.shards[batch.shard_id]
        handled = set(self.handled)
        for put in self.expected():
            if put.shard_id in shard.parents and not put.expired:
                assert (put.key, put.number) in handled, "a child before its parents"
        records = batch.records
        count = self.random.randint(1, len(records)) if records and self.random.random() < 0.4 else len(records)
        self.handled += [(int(record.partition_key or ""), int(record.data)) for record in records[:count]]
        if count < len(records):
            batch.checkpoint(records[count - 1])
            if may_end and self.random.random() < 0.5:
                raise KilledError
            self.handled += [(int(record.partition_key or ""), int(record.data)) for record in records[count:]]
        if self.random.random() < 0.6:
            batch.checkpoint()

    def expected(self) -> list[Put]:
        """Return all that has to be read."""
        start = self.options.get("start", "trim_horizon")
        if isinstance(start, datetime):
            return [put for put in self.stream.puts if put.arrived >= start.timestamp()]
        if start == "latest":
            return []  # the test of it knows
        return self.stream.puts

    def first_copies(self) -> list[tuple[int, int]]:
        return [*dict.fromkeys(self.handled)]

    def check(self) -> None:
        """Nothing is missing that did not expire, and each key is in order."""
        first = self.first_copies()
        seen = set(first)
        missing = [put for put in self.expected() if (put.key, put.number) not in seen and not put.expired]
        assert not missing
        last: dict[int, int] = {}
        for key, number in first:
            assert number > last.get(key, -1), f"key {key}: {number} after {last[key]}"
            last[key] = number

    def _check_pace(self) -> None:
        for reads in self.reads.values():
            for (earlier, _, _, _), (later, _, _, _) in zip(reads, reads[5:], strict=False):
                assert later - earlier >= 1 - 1e-4, "more than five reads a second"
            for (_, answered, size, idle), (began, _, _, _) in pairwise(reads):
                assert began >= answered + max(0.2, size / BYTES_PER_SECOND, POLL_SECONDS if idle else 0.0) - 1e-4


@settings(max_examples=150, deadline=None)
@given(
    seed=seeds, shards=st.sampled_from((1, 2, 4, 8)), faults=st.sampled_from((0.0, 0.1, 0.5)), kills=st.integers(0, 6)
)
def test_everything_is_read_in_order_whoever_is_killed(seed, shards, faults, kills):
    stream = SimulatedStream(Random(seed), shards=shards)
    stream.advance(stream.random.random() * 20)
    reading = Reading(stream, faults=faults)
    for _ in range(kills):
        reading.live(stream.random.expovariate(1 / 5))
        stream.advance(stream.random.expovariate(1 / 5))
    stream.advance(10)
    stream.quiet = True
    assert reading.live(until="latest")
    reading.check()
    if not kills:
        assert len(reading.handled) == len(stream.puts), "something was read twice"
    handled = len(reading.handled)
    for shard_id, kept in reading.store.claim("stream", "another").items():
        assert shard_id in stream.shards
        assert kept is not None
    reading.store.release()
    assert reading.live(until="latest")
    assert reading.first_copies() == [*dict.fromkeys(reading.handled[:handled])], "a later reader found something new"


@settings(max_examples=100, deadline=None)
@given(seed=seeds, kills=st.integers(0, 6), retention_s=st.sampled_from((5.0, 20.0, 60.0)))
def test_only_what_expired_is_missing_and_ancestors_leave_the_list(seed, kills, retention_s):
    stream = SimulatedStream(Random(seed), shards=4, retention_s=retention_s)
    stream.advance(stream.random.random() * 40)
    reading = Reading(stream, faults=0.1)
    for _ in range(kills):
        reading.live(stream.random.expovariate(1 / 5))
        stream.advance(stream.random.expovariate(1 / 10))
    stream.quiet = True
    assert reading.live(until="latest")
    reading.check()


def test_a_shard_that_leaves_the_stream_while_it_is_read_is_told_of_and_its_children_are_read(caplog):
    stream = SimulatedStream(Random(1), shards=1, retention_s=20)
    stream.quiet = True
    stream.put(3, 2)
    reading = Reading(stream)
    reader = reading.reader()

    def step() -> Any:
        call = reader._next_call()
        if isinstance(call, float):
            stream.advance(call - stream.monotonic())
            return step()
        reading._answer(reader, call, stream.now)
        return call

    assert isinstance(step(), ListCall)
    [whole] = stream.shards.values()
    stream._open(range(8), whole)
    stream._open(range(8, 16), whole)
    stream.advance(30)
    stream.put(3, 1)
    assert step().shard.shard_id == "shardId-000000000000"  # ResourceNotFoundException
    assert isinstance(step(), ListCall)
    assert isinstance(reader._pop(), ListedShard)
    assert reader.stats().gaps == 1
    assert {step().shard.shard_id, step().shard.shard_id} == {"shardId-000000000001", "shardId-000000000002"}
    while (batch := reader._pop()) is None:
        step()
    assert [record.data for record in batch.records] == [b"2"]
    [told] = [entry.getMessage() for entry in caplog.records]
    assert told == (
        "stream: shardId-000000000000 has left the stream: its records that came after its beginning have expired "
        "before they were read"
    )


def test_what_another_reader_was_answered_does_not_end_a_closed_shard():
    """The answer may be from before it was closed; what came in between is still to be read."""
    stream = SimulatedStream(Random(1), shards=1)
    stream.quiet = True
    [whole] = stream.shards.values()
    stream._open(range(8), whole)
    reader = Reading(stream).reader()
    assert isinstance(reader._next_call(), ListCall)
    reader._listed(stream.list_shards())
    cursor = reader._next_call()
    assert isinstance(cursor, Cursor)
    assert cursor.shard.closed
    for millis_behind, free in ((0, True), (None, False)):  # or it does not tell where the tip is
        assert not reader._take_records(cursor, [], stream.now, millis_behind, "goes on", free=free)
        stream.advance(2 * POLL_SECONDS)
        assert reader._next_call() is cursor
    assert reader._take_records(cursor, [], stream.now, 0, "goes on")  # this one is from after it was listed


def test_children_wait_for_a_parent_that_is_read_though_it_is_not_listed():
    stream = SimulatedStream(Random(1), shards=1)
    stream.quiet = True
    [whole] = stream.shards.values()
    reader = Reading(stream).reader()
    reader._next_call()
    reader._listed(stream.list_shards())
    parent = reader._next_call()
    stream._open(range(8), whole)
    stream._open(range(8, 16), whole)
    reader._listed([shard for shard in stream.list_shards() if "ParentShardId" in shard])
    assert list(reader._schedule.cursors) == [whole.shard_id]
    reader._take_records(parent, [], stream.now, 0, None)
    reader._listed(stream.list_shards())
    assert sorted(reader._schedule.cursors) == ["shardId-000000000001", "shardId-000000000002"]


def test_no_call_is_made_while_shards_are_entered_in_the_store(monkeypatch):
    stream = SimulatedStream(Random(1), shards=2)
    stream.quiet = True
    first, second = stream.shards.values()
    reader = Reading(stream).reader()
    reader._next_call()
    reader._listed(stream.list_shards())
    cursors = {call.shard.shard_id: call for call in (reader._next_call(), reader._next_call())}
    stream._open(first.keys, first)
    stream._open(second.keys, second)
    reader._take_records(cursors[first.shard_id], [], stream.now, 0, None)
    calls = []

    def begin(shards: Mapping[ListedShard, Checkpoint]) -> None:
        if not calls:  # meanwhile the other one ends, whose children are to be listed
            reader._take_records(cursors[second.shard_id], [], stream.now, 0, None)
        calls.append(reader._next_call())
        MemoryCheckpoints.begin(reader._store, shards)

    monkeypatch.setattr(reader._store, "begin", begin)
    assert isinstance(reader._next_call(), ListCall)
    reader._listed(stream.list_shards())
    assert calls == [None]
    assert isinstance(reader._next_call(), ListCall)


@settings(max_examples=100, deadline=None)
@given(seed=seeds, kills=st.integers(0, 4), ago=st.floats(0, 30))
def test_a_time_to_begin_at(seed, kills, ago):
    stream = SimulatedStream(Random(seed), shards=4)
    stream.advance(30)
    start = datetime.fromtimestamp(stream.now - ago, timezone.utc)
    reading = Reading(stream, faults=0.1, start=start)
    for _ in range(kills):
        reading.live(stream.random.expovariate(1 / 5))
    stream.quiet = True
    assert reading.live(until="latest")
    reading.check()
    expected = {(put.key, put.number) for put in reading.expected()}
    assert set(reading.handled) == expected, "something from before that time"


@settings(max_examples=100, deadline=None)
@given(seed=seeds, kills=st.integers(0, 4), first_life=st.floats(0, 3))
def test_latest_is_what_comes_from_now_on(seed, kills, first_life):
    stream = SimulatedStream(Random(seed), shards=4)
    stream.advance(30)
    before = int(stream.now)  # the service tells the time in whole seconds
    reading = Reading(stream, faults=0.1, start="latest")
    reading.live(first_life)
    for _ in range(kills):
        reading.live(stream.random.expovariate(1 / 5))
        stream.advance(stream.random.expovariate(1 / 5))
    stream.advance(5)
    stream.quiet = True
    assert reading.live(until="latest")
    arrived = {(put.key, put.number): put.arrived for put in stream.puts}
    assert all(arrived[handled] >= before for handled in reading.handled), "something from before the reader"
    since = max(reading.latest_at.values(), default=stream.now)
    expected = {(put.key, put.number) for put in stream.puts if put.arrived > since}
    assert expected <= set(reading.handled)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, ahead=st.floats(-20, 20))
def test_a_time_until_which_to_read(seed, ahead):
    stream = SimulatedStream(Random(seed), shards=4)
    stream.advance(30)
    until = datetime.fromtimestamp(stream.now + ahead, timezone.utc)
    reading = Reading(stream, faults=0.1)
    assert reading.live(until=until)
    assert sorted(reading.handled) == sorted(
        (put.key, put.number) for put in stream.puts if put.arrived < until.timestamp()
    )
    stream.quiet = True
    assert reading.live(until="latest")  # who goes on at the same checkpoints has the rest
    reading.check()
