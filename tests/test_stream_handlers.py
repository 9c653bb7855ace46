"""One handler of a stream: what counts as handled, what follows when it raises, and how it is stopped."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shardpack import Aggregator, Boto3Transport
from shardpack.consume.stream import (
    CheckpointsLostError,
    DeadLetterPoison,
    HandlerError,
    MemoryCheckpoints,
    StreamReader,
)
from shardpack.dead_letters import CallbackDeadLetters, SQLiteDeadLetters
from shardpack.errors import ShardpackError
from shardpack.testing.local_kinesis import wait_until_active

STREAM_NUMBERS = count(1)
DATAS = [str(i).encode() for i in range(12)]


class PoisonError(Exception):
    """What a handler raises for a record that it cannot handle."""


@pytest.fixture(scope="module")
def stream(local_kinesis) -> str:
    """Return a stream with twelve user records: aggregated ones of five, six and one."""
    return stream_of(local_kinesis, DATAS[:5], DATAS[5:11], DATAS[11:])


def stream_of(local_kinesis, *aggregates: list[bytes]) -> str:
    name = f"handled-{next(STREAM_NUMBERS)}"
    local_kinesis.create_stream(name, 1)
    put_aggregates(local_kinesis.client(), name, *aggregates)
    return name


def put_aggregates(client, stream, *aggregates: list[bytes]) -> None:
    transport = Boto3Transport(client, stream)
    for datas in aggregates:
        aggregator = Aggregator(transport.list_shards())
        aggregator.add_many(["k"] * len(datas), datas)
        transport.put_records(aggregator.flush())


@pytest.fixture
def client(local_kinesis):
    return local_kinesis.client()


def run(client, stream, handler, on_error="stop", checkpoints=None) -> None:
    reader = StreamReader(stream, client=client, until="latest", checkpoints=checkpoints)
    reader.run(handler, on_error=on_error)


def unhandled(client, stream, checkpoints) -> list[bytes]:
    """Return what the next reader is given."""
    with StreamReader(stream, client=client, until="latest", checkpoints=checkpoints) as reader:
        return [record.data for batch in reader for record in batch.records]


class Handler:
    """Handles all but the poison, and none of a batch that has some: as a transaction does."""

    def __init__(self, poison: set[bytes]) -> None:
        self.poison = poison
        self.handled: list[bytes] = []
        self.given: list[list[bytes]] = []

    def __call__(self, batch) -> None:
        datas = [record.data for record in batch.records]
        self.given.append(datas)
        for data in datas:
            if data in self.poison:
                raise PoisonError(f"{data!r} is poison")
        self.handled += datas


def letters_in(letters: list) -> CallbackDeadLetters:
    return CallbackDeadLetters(letters.extend)


def test_what_a_handler_returned_from_is_handled(client, stream):
    checkpoints = MemoryCheckpoints()
    handler = Handler(set())
    run(client, stream, handler, checkpoints=checkpoints)
    assert handler.handled == DATAS
    assert unhandled(client, stream, checkpoints) == []


def test_an_error_stops_and_names_where(client, stream):
    checkpoints = MemoryCheckpoints()
    with pytest.raises(HandlerError) as raised:
        run(client, stream, Handler({b"7"}), checkpoints=checkpoints)
    error = raised.value
    assert isinstance(error.__cause__, PoisonError)
    assert (error.shard_id, error.sub_sequence_number, error.handler) == ("shardId-000000000000", 0, None)
    assert str(error) == (
        f"the handler failed at shardId-000000000000, {error.sequence_number}/0: PoisonError: b'7' is poison"
    )
    assert unhandled(client, stream, checkpoints) == DATAS  # all of the batch, or none
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (str(again), again.sequence_number) == (str(error), error.sequence_number)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(poison=st.sets(st.sampled_from(DATAS)))
def test_exactly_the_poison_becomes_dead_letters_in_order(client, stream, poison):
    letters: list = []
    checkpoints = MemoryCheckpoints()
    handler = Handler(poison)
    run(client, stream, handler, DeadLetterPoison(letters_in(letters), attempts=2, backoff_s=0), checkpoints)
    assert [letter.data for letter in letters] == [data for data in DATAS if data in poison]
    assert handler.handled == [data for data in DATAS if data not in poison]  # in order, and once
    assert unhandled(client, stream, checkpoints) == []
    for data in poison:
        assert handler.given.count([data]) == 2  # alone, as often as there are attempts


def test_a_dead_letter_says_where_its_record_is_and_why(client, stream, tmp_path):
    before = time.time()
    with SQLiteDeadLetters(tmp_path / "letters.db") as sink:
        run(client, stream, Handler({b"6"}), DeadLetterPoison(sink, attempts=2, backoff_s=0))
        [(_, letter)] = sink
    with StreamReader(stream, client=client, until="latest") as reader:
        [source] = [record for batch in reader for record in batch.records if record.data == b"6"]
    assert (letter.stream, letter.partition_key, letter.data) == (stream, "k", b"6")
    assert (letter.error_code, letter.message, letter.attempts) == ("PoisonError", "b'6' is poison", 2)
    assert (letter.shard_id, letter.sequence_number) == ("shardId-000000000000", source.sequence_number)
    assert (letter.sub_sequence_number, letter.handler) == (1, None)
    assert letter.put_at == source.approximate_arrival_timestamp.timestamp()
    assert before <= letter.given_up_at <= time.time()


def test_a_dead_letter_has_the_hash_key_that_its_producer_gave(local_kinesis, client):
    name = stream_of(local_kinesis)
    transport = Boto3Transport(client, name)
    aggregator = Aggregator(transport.list_shards())
    for data, hash_key in ((b"0", 2**127 + 5), (b"1", None)):
        aggregator.add("k", data, explicit_hash_key=hash_key)
    transport.put_records(aggregator.flush())
    letters: list = []
    run(client, name, Handler({b"0", b"1"}), DeadLetterPoison(letters_in(letters), attempts=1))
    assert [(letter.data, letter.explicit_hash_key) for letter in letters] == [(b"0", 2**127 + 5), (b"1", None)]


def test_what_precedes_the_poison_is_kept_as_handled_before_what_follows_is_tried(client, stream):
    checkpoints = MemoryCheckpoints()

    def put(_letters) -> None:
        raise OSError("the disk is full")

    handler = Handler({b"7"})
    policy = DeadLetterPoison(CallbackDeadLetters(put), attempts=1, backoff_s=0)
    with pytest.raises(HandlerError, match=r"the sink of dead letters of the handler failed at .*: the disk is full"):
        run(client, stream, handler, policy, checkpoints)
    assert handler.handled == DATAS[:7]
    assert unhandled(client, stream, checkpoints) == DATAS[7:]  # the poison too: it is nowhere else


def test_what_passes_by_itself_is_tried_again_as_a_whole(client, stream):
    failures = iter([PoisonError, PoisonError])
    handled: list[bytes] = []

    def handler(batch) -> None:
        for error in failures:
            raise error
        handled.extend(record.data for record in batch.records)

    run(client, stream, handler, DeadLetterPoison(letters_in([]), attempts=3, backoff_s=0))
    assert handled == DATAS


def test_an_outage_is_waited_for_however_often_it_is_met(client, stream):
    failures = iter([ConnectionError] * 20)
    letters: list = []
    sizes: list[int] = []

    def handler(batch) -> None:
        sizes.append(len(batch))
        for error in failures:
            raise error

    policy = DeadLetterPoison(letters_in(letters), attempts=1, backoff_s=0, outages=(ConnectionError,))
    run(client, stream, handler, policy)
    assert sizes == [12] * 21
    assert letters == []


def test_pauses_double_up_to_their_longest(monkeypatch):
    policy = DeadLetterPoison(letters_in([]), backoff_s=0.5, max_backoff_s=10)
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)
    assert [policy.pause_s(failures) for failures in (1, 2, 3, 4, 5, 6, 5000)] == [0.5, 1, 2, 4, 8, 10, 10]
    monkeypatch.setattr(random, "uniform", lambda low, _high: low)
    assert policy.pause_s(1) == 0.25


def test_stopping_ends_a_pause_and_keeps_nothing(client, stream):
    checkpoints = MemoryCheckpoints()
    reader = StreamReader(stream, client=client, checkpoints=checkpoints)

    def handler(_batch) -> None:
        reader.stop()
        raise PoisonError

    reader.run(handler, on_error=DeadLetterPoison(letters_in([]), backoff_s=3600, max_backoff_s=3600))
    assert unhandled(client, stream, checkpoints) == DATAS


def test_checkpoints_that_are_lost_during_a_pause_end_it_with_that(client):
    """Nothing that follows the batch is handled."""
    failing = threading.Event()

    class Lost(MemoryCheckpoints):
        renew_s = 0.01

        def renew(self) -> None:
            if failing.is_set():
                raise CheckpointsLostError("another has them")

    handled = []

    def handler(batch) -> None:
        handled.append(len(batch))
        put_aggregates(client, stream_of_two, [b"1"])
        while reader.stats().kinesis_records < 2:
            time.sleep(0.01)  # another batch is there
        failing.set()
        raise PoisonError

    stream_of_two = f"handled-{next(STREAM_NUMBERS)}"
    client.create_stream(StreamName=stream_of_two, ShardCount=1)
    wait_until_active(client, stream_of_two)
    put_aggregates(client, stream_of_two, [b"0"])
    reader = StreamReader(stream_of_two, client=client, checkpoints=Lost(), poll_interval_s=0.2)
    with pytest.raises(CheckpointsLostError, match="another has them"):
        reader.run(handler, on_error=DeadLetterPoison(letters_in([]), backoff_s=3600, max_backoff_s=3600))
    assert handled == [1]


def test_a_signal_ends_it_after_the_batch_in_hand(client, stream):
    checkpoints = MemoryCheckpoints()
    before = signal.getsignal(signal.SIGTERM)
    reader = StreamReader(stream, client=client, checkpoints=checkpoints)
    signal.signal(signal.SIGTERM, lambda *_: reader.stop())
    try:
        reader.run(lambda _batch: os.kill(os.getpid(), signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert unhandled(client, stream, checkpoints) == []
    with pytest.raises(ShardpackError, match="is closed"):
        next(reader)


def test_functions_that_would_handle_nothing_are_refused(client, stream):
    async def later(_batch) -> None: ...

    def generator(_batch):
        yield

    for handler in (later, generator, None):
        with pytest.raises(TypeError, match="handle"):
            run(client, stream, handler)
    checkpoints = MemoryCheckpoints()
    with pytest.raises(HandlerError, match="has handled nothing yet"):
        run(client, stream, partial(later), checkpoints=checkpoints)
    assert unhandled(client, stream, checkpoints) == DATAS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attempts": 0}, "attempts of 0 is less than 1"),
        ({"backoff_s": -1}, "backoff_s of -1 is not in 0 … max_backoff_s, 10.0"),
        ({"backoff_s": 11}, "backoff_s of 11 is not in 0 … max_backoff_s, 10.0"),
        ({"sink": object()}, r"has put\(letters\)"),
        ({"outages": (3,)}, "outages are classes of exceptions, not 3"),
    ],
)
def test_policies_that_are_none(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        DeadLetterPoison(**{"sink": letters_in([])} | options)


def test_on_error_that_is_none(client, stream):
    with pytest.raises(ValueError, match="on_error is \"stop\" or a DeadLetterPoison, not 'skip'"):
        run(client, stream, Handler(set()), "skip")


# --- a process that is killed ---

KILLED = Path(__file__).with_name("handle_until_killed.py")


@pytest.mark.skipif(sys.platform == "win32", reason="no kill -9 here")
@pytest.mark.parametrize("names", [["one"], ["fast", "slow"]])
def test_a_process_that_is_killed_in_the_middle_of_batches_loses_nothing(local_kinesis, client, tmp_path, names):
    """Only what came since the last checkpoint is handled again: the next process begins with the batch in hand."""
    aggregates = [[f"{i}-{j}".encode() for j in range(10)] for i in range(40)]
    name = stream_of(local_kinesis)
    rng = random.Random(5)
    runs: dict[str, list[list[tuple[int, list[str]]]]] = {one: [] for one in names}  # batches of each process
    killed = 0
    command = [sys.executable, KILLED, local_kinesis.endpoint_url, name, tmp_path, *names]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as processes:
        assert processes.stdin is not None
        assert processes.stdout is not None
        for process_number in range(8):
            put_aggregates(client, name, *aggregates[process_number * 5 : process_number * 5 + 5])
            processes.stdin.write("\n")
            processes.stdin.flush()
            process_id = int(processes.stdout.readline())
            line = ""
            if process_number < 7:
                for _ in range(rng.randrange(1, 150)):  # user records that it has handled; fewer where it ends
                    if (line := processes.stdout.readline()) != "\n":
                        break
                else:
                    os.kill(process_id, signal.SIGKILL)
            while line in {"", "\n"}:
                line = processes.stdout.readline()
                assert line, "nobody tells how it ended"
            killed += line == f"exit code {-signal.SIGKILL}\n"
            for one in names:
                runs[one].append(batches_noted(tmp_path / one))
    assert line == "exit code 0\n"
    assert killed > 0
    expected = [data.decode() for datas in aggregates for data in datas]
    for one in names:
        judge(runs[one], expected)


def batches_noted(path: Path) -> list[tuple[int, list[str]]]:
    """Return what a process noted, and forget it: of each batch its size, and what was handled of it."""
    batches: list[tuple[int, list[str]]] = []
    for line in path.read_text().splitlines() if path.exists() else ():
        what = json.loads(line)
        if isinstance(what, str):
            batches[-1][1].append(what)
        else:
            batches.append((what["batch"], []))
    path.unlink(missing_ok=True)
    return batches


def judge(runs: list[list[tuple[int, list[str]]]], expected: list[str]) -> None:
    """Every process goes on with the batch that the one before it had in hand, or behind it where it was handled."""
    begins = {0}
    for batches in runs:
        begun = False
        for size, batch in batches:
            if not batch:
                continue  # it was killed before the first of it
            first = expected.index(batch[0])
            assert first in begins if not begun else first == max(begins), "it began elsewhere than behind a checkpoint"
            begun = True
            assert batch == expected[first : first + len(batch)]
            begins = {first, first + size} if len(batch) == size else {first}
    assert max(begins) == len(expected)
