"""What readers share of a shard: who is served, whose turn it is, what is kept. A made-up clock, real records."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shardpack.consume.reading import read_records
from shardpack.consume.stream.checkpoints import SHARD_END, TRIM_HORIZON, Checkpoint
from shardpack.consume.stream.schedule import Cursor
from shardpack.consume.stream.shards import ListedShard
from shardpack.consume.stream.shared_reads import MOST_ANSWERS, Answer, Served, SharedReads, Turn, place_of
from shardpack.limits import MIB

SHARD_ID = "shardId-000000000000"
SHARD = ListedShard(SHARD_ID, 0, 2**128 - 1)
BEGINNING = Checkpoint(TRIM_HORIZON)
FOR_ALL = Turn(alone=False, limit=None)


@pytest.fixture(scope="session")
def received(local_kinesis):
    """Return the Kinesis records of a shard: 300 of 1,000 bytes."""
    client = local_kinesis.client()
    local_kinesis.create_stream("shared-reads", 1)
    for _ in range(300):
        client.put_record(StreamName="shared-reads", PartitionKey="k", Data=bytes(1000))
    where = client.get_shard_iterator(StreamName="shared-reads", ShardId=SHARD_ID, ShardIteratorType="TRIM_HORIZON")
    reply = read_records(client, ShardIterator=where["ShardIterator"])
    assert len(reply) == 300
    return reply.received


class Readers:
    """Readers of one shard, by number: each has a cursor, and those that are hurried are noted."""

    def __init__(self, count: int, max_bytes: int = MIB) -> None:
        self.shared = SharedReads(max_bytes, poll_interval_s=1.0, shard_bytes_per_second=2 * MIB)
        self.cursors = [Cursor(SHARD, BEGINNING) for _ in range(count)]
        self.hurried: list[int] = []
        for number in range(count):
            self.shared.join(number, lambda _shard_id, number=number: self.hurried.append(number), {}, 0.0)

    def find(self, reader: int, now: float) -> Served | Turn | float:
        return self.shared.find(reader, self.cursors[reader], now)

    def made(self, reader: int, received, now: float, turn: Turn = FOR_ALL, next_iterator: str | None = "next"):
        answer = Answer(place_of(self.cursors[reader]), received, 1000 * len(received), 0, next_iterator, now)
        self.shared.made(reader, SHARD_ID, turn, answer, now)
        self.take(reader, received)
        return answer

    def take(self, reader: int, received) -> None:
        cursor = self.cursors[reader]
        if received:
            cursor.position, cursor.whole = Checkpoint(received[-1].origin.sequence_number), True
        self.shared.took(reader, SHARD_ID, cursor.position)

    def served(self, reader: int, now: float) -> list:
        found = self.find(reader, now)
        assert isinstance(found, Served)
        self.take(reader, found.received)
        return found.received


def test_one_calls_and_the_others_wait_for_what_comes(received):
    readers = Readers(3)
    assert readers.find(0, 10.0) == FOR_ALL
    assert readers.find(1, 10.0) == 11.0
    readers.made(0, received[:5], 10.1)
    assert readers.hurried == [1, 2]
    assert readers.served(1, 10.1) == received[:5]
    assert readers.shared.size == 5000
    assert readers.served(2, 10.1) == received[:5]
    assert readers.shared.size == 0  # everyone has it


def test_calls_of_a_shard_are_a_fifth_of_a_second_apart_and_as_far_as_their_bytes_want(received):
    readers = Readers(2)
    assert readers.find(0, 10.0) == FOR_ALL
    readers.made(0, received[:5], 10.0)
    readers.served(1, 10.0)
    assert readers.find(1, 10.1) == pytest.approx(10.2)
    assert readers.find(0, 10.2) == FOR_ALL
    readers.shared.failed(SHARD_ID, FOR_ALL, 10.3, soon=True)
    assert readers.find(1, 10.3) == pytest.approx(10.5)
    assert readers.find(1, 10.5) == FOR_ALL
    readers.shared.failed(SHARD_ID, FOR_ALL, 10.6, soon=False)
    assert readers.find(1, 10.6) == pytest.approx(11.6)
    assert readers.find(1, 11.6) == FOR_ALL
    answer = Answer(place_of(readers.cursors[1]), received[5:6], 4 * MIB, 0, "next", 12.0)
    readers.shared.made(1, SHARD_ID, FOR_ALL, answer, 12.0)
    readers.take(1, received[5:6])
    assert readers.find(1, 12.0) == pytest.approx(14.0)


def test_a_reader_in_the_middle_of_an_answer_is_given_the_rest(received):
    readers = Readers(2)
    readers.find(0, 10.0)
    readers.made(0, received[:10], 10.0)
    number = received[4].origin.sequence_number
    readers.cursors[1].position, readers.cursors[1].whole = Checkpoint(number), True
    assert readers.find(1, 10.0).received == received[5:10]
    readers.cursors[1].whole = False  # in the middle of that Kinesis record
    assert readers.find(1, 10.0).received == received[4:10]
    readers.cursors[1].position, readers.cursors[1].whole = Checkpoint(received[9].origin.sequence_number), True
    assert not isinstance(readers.find(1, 10.0), Served)
    readers.cursors[1].whole = False
    assert readers.find(1, 10.0).received == received[9:10]


def test_what_a_reader_has_not_had_is_never_passed_over(received):
    """An answer that begins behind a reader's position is not for it, though its records are further."""
    readers = Readers(3)  # the third reads nothing: what the others had is kept for it
    readers.cursors[0].position, readers.cursors[0].whole = Checkpoint(received[9].origin.sequence_number), True
    assert isinstance(readers.find(0, 10.0), Turn)
    readers.made(0, received[10:20], 10.0)
    assert readers.find(1, 20.0) == FOR_ALL  # from the beginning: nobody else has asked for a while
    readers.made(1, received[:5], 20.0)
    assert isinstance(readers.find(1, 30.0), Turn)
    readers.made(1, received[5:10], 30.0)
    assert readers.served(1, 30.0) == received[10:20]


def test_nothing_new_is_told_once_to_each():
    readers = Readers(2)
    readers.find(0, 10.0)
    readers.made(0, [], 10.0)
    assert readers.served(1, 10.5) == []
    assert readers.find(1, 10.5) == FOR_ALL
    readers.made(1, [], 10.5)
    assert readers.find(0, 11.6) == FOR_ALL  # more than a second ago


def test_the_end_of_a_shard_is_told_to_all_whenever_they_ask():
    readers = Readers(3)
    readers.find(0, 10.0)
    readers.made(0, [], 10.0, next_iterator=None)
    assert readers.served(1, 100.0) == []
    assert readers.served(2, 1000.0) == []
    for reader in range(3):
        readers.shared.took(reader, SHARD_ID, Checkpoint(SHARD_END))
    assert readers.shared._shards == {}


def test_what_is_kept_is_bounded_in_bytes_and_the_oldest_leaves(received):
    readers = Readers(2, max_bytes=20_000)
    for now in range(30):
        readers.find(0, float(now))
        readers.made(0, received[now * 5 : now * 5 + 5], float(now))
        assert readers.shared.size <= 20_000
    assert readers.shared.size == 20_000
    turn = readers.find(1, 29.5)
    assert turn == Turn(alone=True, limit=MIB // 1000)  # the beginning is not there any more
    readers.made(1, received[:130], 29.5, turn)
    assert readers.served(1, 29.5) == received[130:135]  # it has caught up


def test_answers_of_a_shard_are_at_most_256(received):
    readers = Readers(2)
    for now in range(300):
        readers.find(0, float(now))
        readers.made(0, received[now : now + 1], float(now))
    assert readers.shared.size == MOST_ANSWERS * 1000 == 256_000


def test_one_that_is_behind_has_one_call_a_second_and_leaves_the_others_theirs(received):
    readers = Readers(2, max_bytes=1000)
    readers.find(0, 10.0)
    readers.made(0, received[:5], 10.0)  # more than is kept
    alone = readers.find(1, 10.2)
    assert alone == Turn(alone=True, limit=MIB // 1000)
    assert readers.find(0, 10.3) == pytest.approx(10.4)
    assert readers.find(0, 10.4) == FOR_ALL  # though that call is under way
    readers.made(0, received[5:10], 10.4)
    readers.hurried.clear()
    readers.made(1, received[:1], 10.4, alone)
    assert readers.hurried == []  # what was read alone is nothing new
    assert readers.find(1, 10.7) == pytest.approx(11.4)
    assert readers.find(0, 10.7) == FOR_ALL
    readers.made(0, [], 10.7)
    alone = readers.find(1, 11.4)
    assert isinstance(alone, Turn)
    readers.made(1, received[1:2], 11.4, alone)
    readers.find(0, 11.5)
    assert readers.find(1, 11.6) == pytest.approx(11.8)  # nothing new comes: one in 0.4 s


def test_one_that_begins_behind_others_is_behind_before_they_have_asked(received):
    readers = Readers(0)
    readers.cursors = [Cursor(SHARD, BEGINNING), Cursor(SHARD, BEGINNING)]
    readers.shared.join(0, readers.hurried.append, {}, 10.0)
    readers.shared.join(1, readers.hurried.append, {SHARD_ID: Checkpoint(received[9].origin.sequence_number)}, 10.0)
    assert readers.find(0, 10.1) == Turn(alone=True, limit=100)


def test_one_that_stands_still_is_nobody_to_be_behind(received):
    readers = Readers(2, max_bytes=1000)
    readers.find(0, 10.0)
    readers.made(0, received[:5], 10.0)
    assert readers.find(1, 12.5) == FOR_ALL


def test_nothing_is_kept_for_one_that_has_left(received):
    readers = Readers(3)
    readers.find(0, 10.0)
    readers.made(0, received[:5], 10.0)
    readers.served(1, 10.0)
    assert readers.shared.size == 5000
    readers.find(2, 10.0)
    readers.shared.leave(2)
    assert readers.shared.size == 0
    readers.shared.leave(1)
    assert isinstance(readers.find(0, 11.0), Turn)
    readers.made(0, received[5:10], 11.0)
    assert readers.shared.size == 0  # nobody else is there


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), count=st.integers(2, 4), max_bytes=st.sampled_from([1000, 20_000, MIB]))
def test_each_reads_all_once_and_in_order_at_the_pace_of_a_shard(received, seed, count, max_bytes):
    """Readers of different speeds, calls that fail, answers that come late; and the service's five calls a second."""
    rng = random.Random(seed)
    readers = Readers(count, max_bytes)
    read: list[list] = [[] for _ in range(count)]
    under_way: dict[int, Turn] = {}
    speeds = [rng.choice([0.02, 0.3, 1.0]) for _ in range(count)]
    calls: list[float] = []
    now = 0.0
    while any(len(of) < len(received) for of in read):
        now += 0.05
        for number in rng.sample(range(count), count):
            if rng.random() > speeds[number]:
                continue
            turn = under_way.pop(number, None)
            if turn is not None:
                if rng.random() < 0.1:
                    readers.shared.failed(SHARD_ID, turn, now, soon=rng.random() < 0.5)
                    continue
                stop = len(read[number]) + min(rng.randrange(40), turn.limit or 40)
                came = received[len(read[number]) : stop]
                readers.made(number, came, now, turn)
                read[number] += came
                continue
            found = readers.find(number, now)
            if isinstance(found, Served):
                readers.take(number, found.received)
                read[number] += found.received
            elif isinstance(found, Turn):
                calls.append(now)
                under_way[number] = found
            else:
                assert now < found <= now + 1.0
            assert readers.shared.size <= max_bytes
    assert read == [received] * count
    assert all(later - earlier >= 0.2 - 1e-9 for earlier, later in itertools.pairwise(calls))


def test_all_begin_at_the_latest_of_the_first():
    readers = Readers(2)
    assert readers.shared.latest(SHARD_ID) is None
    readers.shared.keep_latest(SHARD_ID, "one", 10.0)
    readers.shared.keep_latest(SHARD_ID, "other", 11.0)
    assert readers.shared.latest(SHARD_ID) == ("one", 10.0)
