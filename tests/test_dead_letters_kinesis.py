"""Dead letters in a stream: stored in order or told, whatever happens on the way, and taken out into a file."""

from __future__ import annotations

import os
import random
import uuid
from contextlib import suppress

import pytest
from botocore.exceptions import NoRegionError
from faulty_kinesis import CUT, RESET, FaultyKinesis
from letters import by_key, kept, letter, reads
from shards_in_lists import Shards

from shardpack import DeadLetterError, DeadLetterSink, Producer, SQLiteDeadLetters, deaggregate
from shardpack.dead_letters import KinesisDeadLetters, drain
from shardpack.dead_letters.remote import kinesis
from shardpack.dead_letters.remote.form import PART_BYTES, wrap
from shardpack.testing.local_kinesis import wait_until_active
from shardpack.transport import Failed

ODD = [
    letter(1, key="größe", explicit_hash_key=2**128 - 1, shard_id="shardId-000000000003", sequence_number="49"),
    letter(2, key=None, handler="alerts", sub_sequence_number=7),
    letter(3, key=""),
    letter(4, key="k" * 257),
    letter(5, key="\ud800"),
    letter(6, key="k" * 256, data=b""),
    letter(7, data=b"\xf3\x89\x9a\xc2"),
]


def numbered(keys, each):
    return [letter(data=b"%d" % n, key=f"key-{k}") for n in range(each) for k in range(keys)]


def by_keys(letters):
    return by_key([(each.partition_key, each.data) for each in letters])


def taken(client, stream, path):
    with SQLiteDeadLetters(path) as letters:
        done = drain(stream, reads(client, stream), letters)
    return done, kept(path)


class Record:
    """What `drain` reads of a user record."""

    sub_sequence_number = 0

    def __init__(self, number, data):
        self.sequence_number, self.data = str(number), data


@pytest.fixture
def no_time(monkeypatch):
    """A clock that goes on when somebody sleeps; what it gives is how often, and how long in all."""
    slept = []
    monkeypatch.setattr(kinesis, "sleep", slept.append)
    monkeypatch.setattr(kinesis, "monotonic", lambda: sum(slept))
    return slept


# --- against a Kinesis ---


def test_what_was_put_comes_back_in_the_order_of_its_keys(client, stream, path):
    sink: DeadLetterSink = KinesisDeadLetters(stream, client)
    put = numbered(40, 50)
    sink.put([])
    sink.put(put[:1500])
    sink.put(put[1500:])
    records = [record for _, found in reads(client, stream) for record in found]
    assert len({record.sequence_number for record in records}) <= 8  # aggregated
    assert by_key([(record.partition_key, record.data[-2:]) for record in records]).keys() == by_keys(put).keys()
    done, found = taken(client, stream, path)
    assert (done.letters, done.others) == (2000, 0)
    assert by_keys(found) == by_keys(put)
    assert set(found) == set(put)


def test_whatever_they_are(client, stream, path):
    KinesisDeadLetters(stream, client).put(ODD)
    _, found = taken(client, stream, path)
    assert set(found) == set(ODD)


@pytest.mark.parametrize("more", [0, 1])
def test_a_letter_that_outgrows_the_record_limit_with_its_header_is_cut(client, stream, path, more):
    size = 2**20 - len("key") - len(wrap(letter(data=b""))) + more
    KinesisDeadLetters(stream, client).put([letter(1), letter(data=bytes(size)), letter(2)])
    records = [record for _, found in reads(client, stream) for record in found]
    assert [len(record.data) for record in records][1:-1] == ([2**20 - 3, 1 + 2 * PART_BYTES] if more else [2**20 - 3])
    assert taken(client, stream, path)[1] == [letter(1), letter(data=bytes(size)), letter(2)]


def test_the_largest_letter_of_another_stream(client, stream, path):
    put = [letter(data=random.Random(1).randbytes(10 * 2**20 - 3), message="m" * 10_000), letter(2)]
    KinesisDeadLetters(stream, client).put(put)
    assert taken(client, stream, path)[1] == put


def test_what_was_taken_is_not_taken_again_and_what_others_put_is_left(client, stream, path):
    sink = KinesisDeadLetters(stream, client)
    sink.put([letter(1), letter(data=bytes(2**20))])
    with Producer(stream, client=client) as producer:
        producer.put_many(["key"] * 3, [b"else", b"SPDL\x01\x00\x00\x00", b""])
    done, found = taken(client, stream, path)
    assert (done.letters, done.others) == (2, 3)
    done, again = taken(client, stream, path)
    assert (done.letters, done.others, again) == (0, 0, found)
    sink.put([letter(3)])
    done, found = taken(client, stream, path)
    assert (done.letters, [each.data for each in found]) == (1, [b"1", bytes(2**20), b"3"])


def test_a_thousand_letters_are_kept_at_once(path, monkeypatch):
    kept_at_once = []
    changing = SQLiteDeadLetters._changing

    def counted(self):
        kept_at_once.append(len(self))
        return changing(self)

    monkeypatch.setattr(SQLiteDeadLetters, "_changing", counted)
    records = [Record(n, wrap(letter(n))) for n in range(2001)]
    with SQLiteDeadLetters(path) as letters:
        assert drain("dead", [("shard", records)], letters).letters == 2001
    assert kept_at_once == [0, 1000, 2000]


def test_it_is_interrupted_at_every_record(client, stream, path):
    put = [letter(n, key=f"key-{n % 3}", data=bytes(700_000 * (n % 4 == 1)) + b"%d" % n) for n in range(12)]
    put.append(letter(data=bytes(3 * 2**20)))
    KinesisDeadLetters(stream, client).put(put)
    everything = [(shard_id, [record]) for shard_id, found in reads(client, stream) for record in found]
    for stop in range(len(everything)):

        def broken(stop=stop):
            yield from everything[:stop]
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), SQLiteDeadLetters(path) as letters:
            drain(stream, broken(), letters)
    with SQLiteDeadLetters(path) as letters:
        drain(stream, everything, letters)
        assert letters._file._connection.execute("SELECT count(*) FROM parts").fetchone() == (0,)
    assert by_keys(kept(path)) == by_keys(put)


def test_parts_of_something_else_are_told(path):
    sink = KinesisDeadLetters("dead", transport := Shards(1))
    sink.put([letter(data=bytes(2**20))])
    entries = transport.stored["shardId-000000000000"]
    records = [record for entry in entries for record in deaggregate(entry.data)]
    broken = [record.data.replace(b'"stream"', b'"scream"') for record in records]
    transport.stored.clear()
    with SQLiteDeadLetters(path) as letters:
        done = drain("dead", [("shard", [Record(n, data) for n, data in enumerate(broken)])], letters)
    assert (done.letters, done.others, kept(path)) == (0, 1, [])


@pytest.mark.parametrize("fault", [RESET, CUT, "InternalFailure", "ProvisionedThroughputExceededException"])
def test_what_passes_is_tried_again(  # noqa: PLR0917 (fixtures)
    local_kinesis, client, stream, path, no_time, fault
):
    put = numbered(10, 30)
    with FaultyKinesis(local_kinesis.endpoint_url) as faulty:
        faulty.fail("DescribeStreamSummary", fault)
        faulty.fail("ListShards", fault)
        faulty.fail("PutRecords", "", fault, fault)
        once = faulty.client(retries={"total_max_attempts": 1})
        sink = KinesisDeadLetters(stream, once)
        sink.put(put[:100])
        sink.put(put[100:])
        assert faulty.left == 0
    assert len(no_time) >= 4
    _, found = taken(client, stream, path)
    assert by_keys(dict.fromkeys(found)) == by_keys(put)
    if fault != CUT:  # whose answer was lost: stored, and stored again
        assert len(found) == 300


def test_what_does_not_pass_is_an_error_at_once(local_kinesis, client, stream, no_time):
    with pytest.raises(DeadLetterError, match=r"absent: letters are not known to be stored: .*ResourceNotFound"):
        KinesisDeadLetters("absent", client).put([letter()])
    with FaultyKinesis(local_kinesis.endpoint_url) as faulty:
        faulty.fail("PutRecords", "AccessDeniedException")
        with pytest.raises(DeadLetterError, match=f"{stream}: letters are not known to be stored: .*AccessDenied"):
            KinesisDeadLetters(stream, faulty.client()).put([letter()])
    assert no_time == []


def test_after_a_resharding_all_is_where_the_kcl_reads_it(client, stream, path):
    """Which leaves out what lies outside its shard, as `reads` does."""
    sink = KinesisDeadLetters(stream, client)
    put = numbered(60, 20)
    sink.put(put[:400])
    client.update_shard_count(StreamName=stream, TargetShardCount=7, ScalingType="UNIFORM_SCALING")
    wait_until_active(client, stream)
    sink.put(put[400:])
    _, found = taken(client, stream, path)
    assert by_keys(dict.fromkeys(found)) == by_keys(put)


@pytest.mark.usefixtures("no_time")
@pytest.mark.parametrize("seed", [1, 2])
def test_through_lost_answers_and_reshardings_the_order_of_each_key_holds(local_kinesis, client, stream, path, seed):
    chance = random.Random(seed)
    put = numbered(40, 60)
    with FaultyKinesis(local_kinesis.endpoint_url) as faulty:
        sink = KinesisDeadLetters(stream, faulty.client(retries={"total_max_attempts": 1}), give_up_after_s=10**6)
        for first in range(0, len(put), 200):
            faulty.fail("PutRecords", *chance.choices(["", CUT, RESET, "InternalFailure"], [4, 1, 1, 1], k=4))
            if first % 600 == 400:
                shards = {400: 6, 1000: 3, 1600: 5, 2200: 2}[first]
                client.update_shard_count(StreamName=stream, TargetShardCount=shards, ScalingType="UNIFORM_SCALING")
                wait_until_active(client, stream)
            sink.put(put[first : first + 200])
        assert len(faulty.calls_of("ListShards")) >= 5  # at first, and after each resharding
    _, found = taken(client, stream, path)
    assert by_keys(dict.fromkeys(found)) == by_keys(put)


# --- a stream in lists, and no time ---


def test_at_the_end_of_its_patience_it_says_why(no_time):
    throttled = Failed("ProvisionedThroughputExceededException", "slow down")
    transport = Shards(1, fail=lambda entries: [throttled] * len(entries))
    with pytest.raises(DeadLetterError, match=r"dead: letters are not known to be stored: Provisioned.*: slow down"):
        KinesisDeadLetters("dead", transport, give_up_after_s=30).put([letter()])
    assert 20 < sum(no_time) <= 30
    assert max(no_time) <= 5
    transport.fail = None
    KinesisDeadLetters("dead", transport).put([letter()])


@pytest.mark.usefixtures("no_time")
def test_of_a_shard_one_record_at_a_time_is_under_way():
    """So the order holds, whichever entries fail."""
    chance = random.Random(3)
    transport = Shards(3)

    def fail(entries):
        assert len({transport.shard_of(entry).shard_id for entry in entries}) == len(entries)
        return [Failed("InternalFailure", "") if chance.random() < 0.4 else transport.store(entry) for entry in entries]

    transport.fail = fail
    put = [letter(data=bytes(200_000) + b"%d" % n, key=f"key-{n % 7}") for n in range(60)]
    KinesisDeadLetters("dead", transport).put(put)
    stored = [
        record for entries in transport.stored.values() for entry in entries for record in deaggregate(entry.data)
    ]
    assert by_key([(r.partition_key, r.data[-2:]) for r in stored]) == by_key(
        [(each.partition_key, each.data[-2:]) for each in put]
    )


def test_where_it_is_switched_to_auto_each_goes_alone(no_time):
    transport = Shards(4, auto=True)
    sink = KinesisDeadLetters("dead", transport)
    sink.put(numbered(5, 5))
    assert sorted(len(request) for request in transport.requests) == [25]
    assert {entry.user_record_count for entry in transport.requests[0]} == {1}
    transport.auto = False
    no_time.append(299.0)
    sink.put(numbered(5, 5))
    assert len(transport.requests[-1]) == 25
    no_time.append(2.0)
    sink.put(numbered(5, 5))
    assert len(transport.requests[-1]) <= 4


def test_shards_that_are_listed_late_are_waited_for(no_time):
    transport = Shards(2)
    sink = KinesisDeadLetters("dead", transport, give_up_after_s=10)
    sink.put([letter(0)])
    before = transport.list_shards()
    transport.reshard(3)
    listed = [before, before, transport.shard_map]
    transport.list_shards = lambda: listed.pop(0) if len(listed) > 1 else listed[0]
    sink.put(put := numbered(20, 3))
    assert no_time
    assert listed == [transport.shard_map]
    shards = transport.shard_map
    read = [  # as the KCL does
        record.partition_key
        for index, shard in enumerate(shards)
        for records in (deaggregate(entry.data) for entry in transport.stored[shard.shard_id])
        if set(shards.assign([record.partition_key for record in records])) == {index}
        for record in records
    ]
    assert set(read) == {each.partition_key for each in put}


def test_letters_alone_are_put(client, stream):
    with pytest.raises(TypeError, match="DeadLetters are kept here, not 'x'"):
        KinesisDeadLetters(stream, client).put([letter(), "x"])
    with pytest.raises(TypeError, match="expected a Kinesis client"):
        KinesisDeadLetters(stream, "client")


def test_what_a_producer_gives_up_is_there(client, stream, path):
    transport = Shards(2, fail=lambda entries: [Failed("AccessDenied", "never")] * len(entries))
    events = [(f"key-{n % 3}", b"%d" % n) for n in range(30)]
    with Producer(transport=transport, dead_letters=KinesisDeadLetters(stream, client)) as producer:
        producer.put_many(*zip(*events, strict=True))
    _, found = taken(client, stream, path)
    assert by_keys(found) == by_key(events)
    assert {(each.error_code, each.message) for each in found} == {("AccessDenied", "never")}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_after_a_fork_each_process_has_a_client_of_its_own(local_kinesis, client, stream, path, monkeypatch):
    made = []

    def own(*_):
        made.append(os.getpid())
        return local_kinesis.client()

    monkeypatch.setattr(kinesis.ClientSettings, "client", own)
    sink = KinesisDeadLetters(stream)
    sink.put([letter(1)])
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            sink.put([letter(2)])
            os._exit(0 if made == [os.getppid(), os.getpid()] else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    sink.put([letter(3)])
    assert made == [os.getpid()]
    assert [each.data for each in taken(client, stream, path)[1]] == [b"1", b"2", b"3"]


def test_a_client_of_its_own_is_made_when_it_is_needed(monkeypatch):
    monkeypatch.setattr(kinesis.ClientSettings, "client", lambda *_: (_ for _ in ()).throw(NoRegionError()))
    sink = KinesisDeadLetters(f"dead-{uuid.uuid4()}")
    with pytest.raises(DeadLetterError, match="no client can be made: You must specify a region"):
        sink.put([letter()])
