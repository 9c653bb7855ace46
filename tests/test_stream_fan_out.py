"""Several handlers of one stream: one reading, and none waits for another."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections import defaultdict
from itertools import count

import pytest
from faulty_kinesis import CUT, RESET, FaultyKinesis

from shardpack import Boto3Transport, Producer
from shardpack.consume.stream import (
    CheckpointsInUseError,
    DeadLetterPoison,
    FanOutError,
    HandlerError,
    MemoryCheckpoints,
    StreamReader,
)
from shardpack.dead_letters import CallbackDeadLetters
from shardpack.errors import ShardpackError
from shardpack.limits import MIB
from shardpack.testing.local_kinesis import wait_until_active

STREAM_NUMBERS = count(1)
PATIENCE_S = 60
THROTTLED, EXPIRED = "ProvisionedThroughputExceededException", "ExpiredIteratorException"


@pytest.fixture
def client(local_kinesis):
    return local_kinesis.client()


def stream_of(local_kinesis, shards: int = 1) -> str:
    name = f"fanned-{next(STREAM_NUMBERS)}"
    local_kinesis.create_stream(name, shards)
    return name


def put(client, stream: str, first: int, stop: int, size: int = 0) -> None:
    for i in range(first, stop):
        client.put_record(StreamName=stream, PartitionKey="k", Data=str(i).encode().ljust(size))


class Consumers(MemoryCheckpoints):
    """Checkpoints of consumers, each of which is there again when it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[str, MemoryCheckpoints] = defaultdict(MemoryCheckpoints)

    def for_consumer(self, name: str) -> MemoryCheckpoints:
        return self.of[name]


class Seen:
    """Handles all, and tells what; ``gate`` holds it up."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def __call__(self, batch) -> None:
        self.entered.set()
        assert self.gate.wait(PATIENCE_S)
        self.numbers += [int(record.data) for record in batch.records]


def wait_for(condition) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


class Running:
    """A fan-out in a thread of its own."""

    def __init__(self, reader: StreamReader, handlers, **options) -> None:
        self.reader = reader
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(handlers,), kwargs=options)

    def _run(self, handlers, **options) -> None:
        try:
            self.reader.fan_out(handlers, **options)
        except Exception as error:  # noqa: BLE001 - looked at by the test
            self.error = error

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def join(self) -> None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


def test_one_get_records_serves_all(local_kinesis, client):
    stream = stream_of(local_kinesis)
    handlers = {name: Seen() for name in "abcde"}
    with FaultyKinesis(local_kinesis.endpoint_url) as counted:
        reader = StreamReader(stream, client=counted.client(), poll_interval_s=0.3)
        with Running(reader, handlers) as running:
            for first in range(0, 50, 10):
                put(client, stream, first, first + 10)
                wait_for(lambda stop=first + 10: all(len(seen.numbers) == stop for seen in handlers.values()))
            calls = len(counted.calls_of("GetRecords"))
            stats = reader.stats()
            began = time.monotonic()
            wait_for(lambda: time.monotonic() - began > 2)
            idle_calls = len(counted.calls_of("GetRecords")) - calls
        assert running.error is None
    assert all(seen.numbers == list(range(50)) for seen in handlers.values())
    assert stats.calls <= calls
    assert stats.kinesis_records == 50  # each was read once
    assert [one.own_reads for one in stats.handlers.values()] == [0] * 5
    assert idle_calls <= 2 / 0.3 + 2


def test_one_that_stands_still_delays_nobody_and_catches_up_by_reads_of_its_own(local_kinesis, client):
    """What is read and waits is bounded: 20 MiB for each handler, and 20 MiB that they share."""
    stream = stream_of(local_kinesis)
    bound = 80 * MIB
    size = MIB - 100
    total = 48  # of what stands still, more than its part and the shared one
    slow, fast, other = Seen(), Seen(), Seen()
    slow.gate.clear()
    reader = StreamReader(
        stream,
        client=client,
        max_buffer_bytes=bound,
        poll_interval_s=0.2,
        shard_bytes_per_second=float("inf"),
    )
    most = 0
    with Running(reader, {"slow": slow, "fast": fast, "other": other}) as running:
        for i in range(0, total, 4):
            put(client, stream, i, i + 4, size)
            wait_for(lambda stop=i + 4: len(fast.numbers) == len(other.numbers) == stop)
            most = max(most, reader.stats().buffered_bytes)
        stats = reader.stats()
        assert slow.numbers == []
        assert stats.handlers["slow"].buffered_bytes <= 20 * MIB
        assert stats.handlers["slow"].millis_behind > stats.handlers["fast"].millis_behind
        assert stats.handlers["slow"].own_reads == 0
        assert 20 * MIB < most <= bound
        slow.gate.set()
        wait_for(lambda: len(slow.numbers) == total)
        put(client, stream, total, total + 1)
        wait_for(lambda: all(len(seen.numbers) == total + 1 for seen in (slow, fast, other)))
        stats = reader.stats()
    assert running.error is None
    assert slow.numbers == fast.numbers == other.numbers == list(range(total + 1))
    assert stats.handlers["slow"].own_reads > 0
    assert stats.handlers["fast"].own_reads == stats.handlers["other"].own_reads == 0


def test_each_begins_at_its_own_checkpoints(local_kinesis, client):
    stream = stream_of(local_kinesis)
    checkpoints = Consumers()
    put(client, stream, 0, 10)
    first = Seen()
    StreamReader(stream, client=client, until="latest", checkpoints=checkpoints.for_consumer("a")).run(first)
    put(client, stream, 10, 20)
    handlers = {"a": Seen(), "b": Seen()}
    StreamReader(stream, client=client, until="latest", checkpoints=checkpoints).fan_out(handlers)
    assert first.numbers == list(range(10))
    assert handlers["a"].numbers == list(range(10, 20))
    assert handlers["b"].numbers == list(range(20))
    handlers = {"a": Seen(), "b": Seen()}
    StreamReader(stream, client=client, until="latest", checkpoints=checkpoints).fan_out(handlers)
    assert handlers["a"].numbers == handlers["b"].numbers == []


def test_one_that_is_far_behind_leaves_the_others_their_calls(local_kinesis, client):
    """Its calls are for one MiB at most; those ahead go on."""
    stream = stream_of(local_kinesis)
    checkpoints = Consumers()
    put(client, stream, 0, 400, 10_000)
    StreamReader(stream, client=client, until="latest", checkpoints=checkpoints.for_consumer("a")).run(Seen())
    ahead, behind = Seen(), Seen()
    with FaultyKinesis(local_kinesis.endpoint_url) as counted:
        reader = StreamReader(stream, client=counted.client(), checkpoints=checkpoints, poll_interval_s=0.2, until=None)
        with Running(reader, {"a": ahead, "b": behind}) as running:
            wait_for(lambda: len(behind.numbers) >= 100)
            put(client, stream, 400, 410)
            wait_for(lambda: len(ahead.numbers) == 10)
            wait_for(lambda: len(behind.numbers) == 410)
            stats = reader.stats()
        assert running.error is None
        limits = [call["Limit"] for call in counted.calls_of("GetRecords") if "Limit" in call]
    assert ahead.numbers == list(range(400, 410))
    assert behind.numbers == list(range(410))
    assert stats.handlers["b"].own_reads == len(limits) > 0
    assert stats.handlers["a"].own_reads == 0
    assert limits[0] in {100, MIB // 10_000}  # before and after it is known how large records are
    assert all(50 <= limit <= 10_000 for limit in limits)


def reshard(client, stream: str, step: int) -> None:
    """Split the first shard, and then merge its halves."""
    shards = list(Boto3Transport(client, stream).list_shards())
    if step % 2 == 0:
        middle = (shards[0].starting_hash_key + shards[0].ending_hash_key) // 2
        client.split_shard(StreamName=stream, ShardToSplit=shards[0].shard_id, NewStartingHashKey=str(middle))
    else:
        client.merge_shards(StreamName=stream, ShardToMerge=shards[0].shard_id, AdjacentShardToMerge=shards[1].shard_id)
    wait_until_active(client, stream)


def by_key(found: dict[str, list[bytes]], pause_s: float):
    """Return a handler that takes its time."""

    def handle(batch) -> None:
        time.sleep(pause_s)
        for record in batch.records:
            found[record.partition_key].append(record.data)

    return handle


def test_children_come_after_parents_for_each_while_the_stream_is_resharded(local_kinesis, client):
    stream = stream_of(local_kinesis, 2)
    keys = [f"key-{i}" for i in range(20)]
    sent: dict[str, list[bytes]] = defaultdict(list)
    handled = {name: defaultdict(list) for name in ("a", "b", "slow")}

    checkpoints = Consumers()
    reader = StreamReader(stream, client=client, poll_interval_s=0.2, checkpoints=checkpoints)
    with Running(reader, {name: by_key(of, 0.05 * (name == "slow")) for name, of in handled.items()}) as running:
        with Producer(stream, client=client) as producer:
            for step in range(6):
                for number in range(50):
                    for key in keys:
                        data = f"{key} {step} {number}".encode()
                        producer.put(key, data)
                        sent[key].append(data)
                producer.flush()
                reshard(client, stream, step)
        wait_for(lambda: all(sum(map(len, of.values())) >= 6 * 50 * 20 for of in handled.values()))
    assert running.error is None
    for of in handled.values():
        assert of == sent
    again = {name: Seen() for name in handled}
    StreamReader(stream, client=client, until="latest", checkpoints=checkpoints).fan_out(again)
    assert [seen.numbers for seen in again.values()] == [[], [], []]


def test_one_that_fails_ends_alone_and_is_named_in_the_end(local_kinesis, client):
    stream = stream_of(local_kinesis)
    checkpoints = Consumers()
    good = Seen()

    def bad(_batch) -> None:
        raise KeyError("no such column")

    def worse(_batch) -> None:
        raise SystemExit(3)

    put(client, stream, 0, 5)
    reader = StreamReader(stream, client=client, poll_interval_s=0.2, checkpoints=checkpoints)
    with Running(reader, {"good": good, "bad": bad, "worse": worse}) as running:
        wait_for(lambda: reader.stats().handlers["bad"].error and reader.stats().handlers["worse"].error)
        put(client, stream, 5, 10)
        wait_for(lambda: len(good.numbers) == 10)
    error = running.error
    assert isinstance(error, FanOutError)
    assert set(error.errors) == {"bad", "worse"}
    failed = error.errors["bad"]
    assert isinstance(failed, HandlerError)
    assert (failed.handler, failed.shard_id) == ("bad", "shardId-000000000000")
    assert "handler 'bad' failed at shardId-000000000000, " in str(error)
    assert "handler 'worse' ended with SystemExit(3)" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301
    again = Seen()
    StreamReader(stream, client=client, until="latest", checkpoints=checkpoints.for_consumer("bad")).run(again)
    assert again.numbers == list(range(10))


def test_poison_of_one_is_handled_by_the_others(local_kinesis, client):
    stream = stream_of(local_kinesis)
    put(client, stream, 0, 20)
    good, letters, handled = Seen(), [], []

    def picky(batch) -> None:
        numbers = [int(record.data) for record in batch.records]
        if {3, 11} & set(numbers):
            raise ValueError("three and eleven are poison")
        handled.extend(numbers)

    policy = DeadLetterPoison(CallbackDeadLetters(letters.extend), attempts=1, backoff_s=0)
    reader = StreamReader(stream, client=client, until="latest")
    reader.fan_out({"good": good, "picky": picky}, on_error={"picky": policy})
    assert good.numbers == list(range(20))
    assert handled == [number for number in range(20) if number not in {3, 11}]
    assert [(letter.data, letter.handler) for letter in letters] == [(b"3", "picky"), (b"11", "picky")]
    stats = reader.stats().handlers
    assert (stats["picky"].dead_letters, stats["good"].dead_letters) == (2, 0)


def test_faults_that_pass_lose_nothing_for_anybody(local_kinesis, client):
    stream = stream_of(local_kinesis)
    handlers = {name: Seen() for name in "abc"}
    with FaultyKinesis(local_kinesis.endpoint_url) as faulty:
        faulty.fail("GetShardIterator", THROTTLED, RESET)
        faulty.fail("GetRecords", THROTTLED, "", EXPIRED, RESET, CUT, "", "InternalFailure", EXPIRED)
        faulty.fail("ListShards", "LimitExceededException")
        reader = StreamReader(stream, client=faulty.client(), poll_interval_s=0.2)
        with Running(reader, handlers) as running:
            for first in range(0, 40, 10):
                put(client, stream, first, first + 10)
                wait_for(lambda stop=first + 10: all(len(seen.numbers) >= stop for seen in handlers.values()))
            wait_for(lambda: not faulty.left)
        assert running.error is None
        assert reader.stats().failed_calls == 9
    assert all(seen.numbers == list(range(40)) for seen in handlers.values())


def test_what_does_not_pass_ends_all(local_kinesis):
    stream = stream_of(local_kinesis)
    with FaultyKinesis(local_kinesis.endpoint_url) as faulty:
        faulty.waiting["GetRecords"].extend(["AccessDeniedException"] * 100)
        with pytest.raises(FanOutError, match=r"'a': AccessDeniedException: .*; 'b': AccessDeniedException: "):
            StreamReader(stream, client=faulty.client()).fan_out({"a": Seen(), "b": Seen()})
        faulty.waiting.clear()


def test_all_begin_at_the_same_latest(local_kinesis, client):
    stream = stream_of(local_kinesis)
    put(client, stream, 0, 5)
    handlers = {name: Seen() for name in "abc"}
    reader = StreamReader(stream, client=client, start="latest", poll_interval_s=0.2)
    with Running(reader, handlers) as running:
        wait_for(lambda: reader._fan_out and reader.stats().calls >= 1)
        put(client, stream, 5, 10)
        wait_for(lambda: all(seen.numbers == list(range(5, 10)) for seen in handlers.values()))
    assert running.error is None


def test_a_signal_ends_all(local_kinesis, client):
    stream = stream_of(local_kinesis)
    put(client, stream, 0, 5)
    checkpoints = Consumers()
    handlers = {"a": Seen(), "b": Seen()}
    reader = StreamReader(stream, client=client, checkpoints=checkpoints)
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: reader.stop())

    def terminate() -> None:
        wait_for(lambda: all(len(seen.numbers) == 5 for seen in handlers.values()))
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=terminate)
    thread.start()
    try:
        reader.fan_out(handlers)
    finally:
        signal.signal(signal.SIGTERM, before)
        thread.join()
    again = {"a": Seen(), "b": Seen()}
    StreamReader(stream, client=client, until="latest", checkpoints=checkpoints).fan_out(again)
    assert [seen.numbers for seen in again.values()] == [[], []]


def test_checkpoints_of_one_that_another_reader_has(local_kinesis, client):
    stream = stream_of(local_kinesis)
    released = []

    class Taken(MemoryCheckpoints):
        def claim(self, stream, owner):  # noqa: ARG002
            raise CheckpointsInUseError(f"{stream}: in use")

    class Noted(MemoryCheckpoints):
        def release(self) -> None:
            released.append(self)

    checkpoints = Consumers()
    checkpoints.of["a"] = Noted()
    checkpoints.of["b"] = Taken()
    with pytest.raises(CheckpointsInUseError):
        StreamReader(stream, client=client, checkpoints=checkpoints).fan_out({"a": Seen(), "b": Seen()})
    assert released == [checkpoints.of["a"]]


@pytest.mark.parametrize(
    ("handlers", "options", "error", "message"),
    [
        ({}, {}, ValueError, "no handlers"),
        ({"": print}, {}, ValueError, "handlers have names"),
        ({"a": print}, {"on_error": {"b": "stop"}}, ValueError, "'b', which is no handler"),
        ({"a": print}, {"on_error": "skip"}, ValueError, "not 'skip'"),
        ({"a": 5}, {}, TypeError, "a handler is a function"),
        (
            dict.fromkeys("abcdef", print),
            {},
            ValueError,
            "134,217,728 is less than 20,971,520 for each of 6 handlers and for what they share: 146,800,640",
        ),
    ],
)
def test_what_is_refused(client, handlers, options, error, message):
    with pytest.raises(error, match=message):
        StreamReader("s", client=client).fan_out(handlers, **options)


def test_it_begins_with_a_reader_that_has_not_begun(local_kinesis, client):
    stream = stream_of(local_kinesis)
    with (
        StreamReader(stream, client=client) as reader,
        pytest.raises(ShardpackError, match="reads already: fan_out begins without with or iteration"),
    ):
        reader.fan_out({"a": Seen()})
