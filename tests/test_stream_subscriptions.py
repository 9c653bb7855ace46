"""Reading a stream by enhanced fan-out, from ministack, which has it."""

from __future__ import annotations

import threading
import time
from itertools import count

import pytest
from other_kinesis import ministack
from urllib3.exceptions import ProtocolError

from shardpack import Aggregator, ShardMap, ShardpackError
from shardpack.consume.stream import MemoryCheckpoints, StreamReader, schedule
from shardpack.consume.stream import subscriptions as fan_out_module
from shardpack.consume.stream.checkpoints import SHARD_END, Checkpoint
from shardpack.testing.local_kinesis import wait_until_active

names = count()
DATAS = [str(i).encode() for i in range(5)]


WAITS = 0.1
"""Of the 5 s between two subscriptions to a shard: the server's and ours are shortened alike."""


@pytest.fixture(scope="module")
def fan_out(tmp_path_factory):
    with ministack(tmp_path_factory.mktemp("ministack"), waits=WAITS) as server:
        yield server


@pytest.fixture
def client(fan_out, monkeypatch):
    monkeypatch.setattr(fan_out_module, "SUBSCRIBE_AGAIN_SECONDS", WAITS * fan_out_module.SUBSCRIBE_AGAIN_SECONDS)
    return fan_out.client()


def stream_of(client, shards=1, datas=()):
    name = f"pushed-{next(names)}"
    client.create_stream(StreamName=name, ShardCount=shards)
    wait_until_active(client, name)
    put(client, name, datas)
    return name


def put(client, stream, datas):
    for data in datas:
        client.put_record(StreamName=stream, PartitionKey="k", Data=data, ExplicitHashKey="0")


def reading(client, stream, **options):
    return StreamReader(stream, **{"client": client, "mode": "fan-out", "consumer": "reader"} | options)


def read(client, stream, **options):
    with reading(client, stream, until="latest", **options) as reader:
        return [record.data for batch in reader for record in batch.records]


def arn_of(client, stream):
    return client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]


# --- the consumer ---


def test_a_name_is_registered_once_and_stays(client):
    stream = stream_of(client, 2, DATAS)
    assert read(client, stream) == DATAS
    arn = arn_of(client, stream)
    [consumer] = client.list_stream_consumers(StreamARN=arn)["Consumers"]
    assert consumer["ConsumerName"] == "reader"
    assert read(client, stream_of(client, 1, DATAS), consumer="reader") == DATAS  # of another stream
    with reading(client, arn, consumer=consumer["ConsumerARN"]):  # one that is there, the stream by its ARN
        pass
    assert client.list_stream_consumers(StreamARN=arn)["Consumers"] == [consumer]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"mode": "push"}, 'mode is "polling" or "fan-out"'),
        ({"consumer": None}, "give both, or none"),
        ({"mode": "polling"}, "give both, or none"),
        ({"max_subscriptions": 0}, "max_subscriptions of 0 is less than 1"),
    ],
)
def test_options_that_are_refused(client, options, why):
    with pytest.raises(ValueError, match=why):
        reading(client, "s", **options)


class Clock:
    """Time that also passes, without waiting, where a reader looks again at its consumer."""

    def __init__(self):
        self.skipped = 0.0

    def monotonic(self):
        return time.monotonic() + self.skipped

    time = staticmethod(time.time)

    def wait(self, condition, seconds):
        if seconds is None:
            condition.wait()
        else:
            self.skipped += seconds


class Registering:
    """A client that tells another status of the consumer at first."""

    def __init__(self, client, *statuses):
        self._client, self.statuses = client, list(statuses)

    def __getattr__(self, name):
        return getattr(self._client, name)

    def describe_stream_consumer(self, **named):
        answer = self._client.describe_stream_consumer(**named)
        if self.statuses:
            status = self.statuses.pop(0)
            if isinstance(status, Exception):
                raise status
            answer["ConsumerDescription"]["ConsumerStatus"] = status
        return answer


def test_a_consumer_is_waited_for_until_it_is_active(client):
    stream = stream_of(client, 1, DATAS)
    client.register_stream_consumer(StreamARN=arn_of(client, stream), ConsumerName="reader")
    slow = Registering(client, "CREATING", error(client, "LimitExceededException"), "CREATING")
    clock = Clock()
    with reading(slow, stream, _clock=clock) as reader:
        assert [record.data for record in next(reader).records] == DATAS
    assert slow.statuses == []
    assert clock.skipped >= 3


def test_a_consumer_that_never_becomes_active_is_given_up(client):
    stream = stream_of(client)
    client.register_stream_consumer(StreamARN=arn_of(client, stream), ConsumerName="reader")
    clock = Clock()
    with pytest.raises(ShardpackError, match=f"the consumer reader of {stream} is CREATING after 60 s"):
        next(reading(Registering(client, *["CREATING"] * 100), stream, _clock=clock, give_up_after_s=60))
    assert 59 <= clock.skipped <= 61


def test_more_shards_than_subscriptions_are_refused(client):
    stream = stream_of(client, 3)
    with pytest.raises(ShardpackError, match="has 3 shards to be read, more than max_subscriptions=2"):
        read(client, stream, max_subscriptions=2)
    assert read(client, stream, max_subscriptions=3) == []


# --- what comes ---


def test_aggregates_and_a_checkpoint_in_the_middle_of_one(client):
    stream = stream_of(client)
    aggregator = Aggregator(ShardMap.uniform(1))
    aggregator.add_many(["a"] * 4, DATAS[:4])
    [record] = aggregator.flush()
    client.put_records(StreamName=stream, Records=[record.to_boto3()])
    put(client, stream, DATAS[4:])
    store = MemoryCheckpoints()
    with reading(client, stream, checkpoints=store) as reader:
        batch = next(reader)
        batch.checkpoint(batch.records[1])
        assert batch.shard_id == batch.records[0].shard_id
    assert read(client, stream, checkpoints=store, consumer="another") == DATAS[2:]


def test_what_comes_later_is_pushed(client):
    stream = stream_of(client, 1, DATAS)
    with reading(client, stream, start="latest") as reader:
        opened = iter(reader)
        threading.Timer(1.0, put, (client, stream, [b"later"])).start()
        assert [record.data for record in next(opened).records] == [b"later"]


def test_children_after_their_parent(client):
    stream = stream_of(client)
    found: list[bytes] = []
    store = MemoryCheckpoints()
    with reading(client, stream, checkpoints=store) as reader:
        put(client, stream, [b"before"])
        for batch in reader:
            found += [record.data for record in batch.records]
            batch.checkpoint()
            if found == [b"before"]:
                client.split_shard(StreamName=stream, ShardToSplit=batch.shard_id, NewStartingHashKey=str(2**127))
                wait_until_active(client, stream)
                put(client, stream, [b"after"])
                parent = batch.shard_id
            else:
                assert parent in batch.shard.parents
                reader.stop()
    assert found == [b"before", b"after"]
    assert store.claim(stream, "me")[parent].sequence_number == SHARD_END


# --- subscriptions that end ---


class Subscribing:
    """A client whose subscriptions are scripted: real ones, cut after so many events, refused, or lists of events."""

    def __init__(self, client, script):
        self._client = client
        self.script = list(script)
        self.asked: list[dict] = []

    def __getattr__(self, name):
        return getattr(self._client, name)

    def subscribe_to_shard(self, **request):
        self.asked.append(request["StartingPosition"])
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        answer = self._client.subscribe_to_shard(**request) if step is None or isinstance(step, int) else {}
        if step is not None:
            answer["EventStream"] = Cut(answer["EventStream"], step) if isinstance(step, int) else Given(step)
        return answer


class Cut:
    """An event stream whose connection breaks."""

    def __init__(self, stream, events):
        self.stream, self.events, self.close = stream, events, stream.close

    def __iter__(self):
        for number, event in enumerate(self.stream, 1):
            yield event
            if number == self.events:
                raise ProtocolError("Connection broken")


class Given:
    def __init__(self, events):
        self.events = events

    def __iter__(self):
        for event in self.events:
            if isinstance(event, Exception):
                raise event
            if callable(event):
                event()
                continue
            yield {"SubscribeToShardEvent": event}

    def close(self):
        pass


def error(client, code):
    return client.exceptions.ClientError({"Error": {"Code": code, "Message": "so it is"}}, "SubscribeToShard")


def event(continuation, *records, millis_behind=0, **more):
    return {
        "Records": list(records),
        "ContinuationSequenceNumber": continuation,
        "MillisBehindLatest": millis_behind,
    } | more


def test_a_broken_connection_goes_on_where_it_was(client):
    stream = stream_of(client, 1, DATAS)
    cut = Subscribing(client, [1])
    with reading(cut, stream) as reader:
        batches = iter(reader)
        found = [record.data for record in next(batches).records]
        put(client, stream, [b"later"])
        found += [record.data for record in next(batches).records]
        assert reader.stats().failed_calls >= 1
    assert found == [*DATAS, b"later"]
    assert [position["Type"] for position in cut.asked[:2]] == ["TRIM_HORIZON", "AFTER_SEQUENCE_NUMBER"]


@pytest.mark.parametrize("code", ["ResourceInUseException", "LimitExceededException", "InternalFailureException"])
def test_errors_that_pass_of_calls_and_in_streams(client, code):
    stream = stream_of(client, 1, DATAS)
    failing = Subscribing(client, [error(client, code), [error(client, code)]])
    assert read(failing, stream) == DATAS
    assert len(failing.asked) == 3


def test_an_error_that_does_not_pass_is_raised(client):
    stream = stream_of(client, 1, DATAS)
    with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
        read(Subscribing(client, [error(client, "AccessDeniedException")]), stream)


def test_a_stream_of_events_that_is_none_is_given_up(client):
    stream = stream_of(client)
    with pytest.raises(ShardpackError, match="SubscribeToShard"):
        read(Subscribing(client, [[]] * 50), stream, give_up_after_s=2)


def test_a_subscription_that_ends_is_renewed_from_its_continuation(client, monkeypatch):
    monkeypatch.setattr(fan_out_module, "SUBSCRIBE_AGAIN_SECONDS", 0.0)  # the first is none of the server's
    stream = stream_of(client)
    [shard] = client.list_shards(StreamName=stream)["Shards"]
    first = int(shard["SequenceNumberRange"]["StartingSequenceNumber"])
    ended = Subscribing(client, [[event(str(first + 1), millis_behind=9), event(str(first + 7), millis_behind=9)]])
    assert read(ended, stream) == []
    assert ended.asked[1] == {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": str(first + 7)}


def test_the_end_of_a_shard_is_its_child_shards(client, monkeypatch):
    monkeypatch.setattr(schedule, "CHILDREN_TRIES", 1)  # nobody lists this child
    stream = stream_of(client)
    child = {"ShardId": "shardId-000000000009", "ParentShards": ["shardId-000000000000"]}
    ended = Subscribing(client, [[event("1", millis_behind=9), event(None, ChildShards=[child])]])
    store = MemoryCheckpoints()
    with reading(ended, stream, checkpoints=store) as reader:
        assert list(reader) == []
    assert len(ended.asked) == 1
    assert store.claim(stream, "me")["shardId-000000000000"].sequence_number == SHARD_END


@pytest.mark.parametrize("told", ["by the call", "among the events"])
def test_children_of_a_shard_that_has_left_the_stream(client, caplog, told):
    """ministack lists no closed shards and knows them no more: one that is split before its subscription is gone."""
    stream = stream_of(client, 1, [b"expired"])
    parent = "shardId-000000000000"
    gone = error(client, "ResourceNotFoundException")

    class Splitting(Subscribing):
        def subscribe_to_shard(self, **request):
            if not self.asked:
                client.split_shard(StreamName=stream, ShardToSplit=parent, NewStartingHashKey=str(2**127))
                wait_until_active(client, stream)
                put(client, stream, [b"after"])
            return super().subscribe_to_shard(**request)

    with reading(Splitting(client, [None] if told == "by the call" else [[gone]]), stream) as reader:
        [record] = next(reader).records
        assert record.data == b"after"
        assert reader.stats().gaps == 1
    [warning] = [entry.getMessage() for entry in caplog.records if entry.levelname == "WARNING"]
    assert warning.startswith(f"{stream}: {parent} has left the stream: its records that came after its beginning ")


# --- idle shards, and those that nobody reads ---


def test_an_idle_shard_moves_on_once_all_of_it_is_handled(client, monkeypatch):
    monkeypatch.setattr(schedule, "CHILDREN_TRIES", 1)
    monkeypatch.setattr(fan_out_module, "IDLE_SECONDS", 0.0)
    stream = stream_of(client)
    put(client, stream, [b"x"])
    [record] = client.get_records(
        ShardIterator=client.get_shard_iterator(
            StreamName=stream, ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
    )["Records"]
    number = int(record["SequenceNumber"])
    later = {**record, "SequenceNumber": str(number + 20)}
    kept: list[Checkpoint] = []

    def until_kept(many):
        while len(kept) < many:
            time.sleep(0.01)

    script = [
        event(str(number - 5)),
        lambda: until_kept(1),
        event(record["SequenceNumber"], record),
        lambda: until_kept(2),
        event(str(number + 10)),
        lambda: until_kept(3),
        event(str(number + 20), later),
        event(str(number + 30)),
        event(None, ChildShards=[{"ShardId": "child"}]),
    ]
    store = MemoryCheckpoints()
    write = store.write
    monkeypatch.setattr(store, "write", lambda given: (kept.extend(given.values()), write(given)))
    with reading(Subscribing(client, [script]), stream, checkpoints=store) as reader:
        for batch in reader:
            if batch.records[0].sequence_number == record["SequenceNumber"]:
                batch.checkpoint()
    # what came last was not checkpointed: the shard stays where it was before
    assert [int(one.sequence_number) - number for one in kept] == [-5, 0, 10]


def test_events_are_not_taken_while_there_is_no_room(client):
    stream = stream_of(client)
    data = bytes(1_000_000)
    records = [
        {"Data": data, "PartitionKey": "k", "SequenceNumber": str(number), "ApproximateArrivalTimestamp": None}
        for number in range(1, 61)
    ]
    pushed = count()

    class Pushing(Given):
        def __iter__(self):
            for record in records:
                next(pushed)
                yield {"SubscribeToShardEvent": event(record["SequenceNumber"], record, millis_behind=9)}

    client = Subscribing(client, [])
    client.subscribe_to_shard = lambda **_: {"EventStream": Pushing([])}
    with reading(client, stream, max_buffer_bytes=20 << 20) as reader:
        batches = iter(reader)
        next(batches)
        largest = 0
        for _ in range(59):
            stats = reader.stats()
            largest = max(largest, stats.buffered_bytes)
            next(batches)
        assert largest <= 20 << 20
    assert next(pushed) <= 61


def test_close_while_nothing_comes_and_while_there_is_no_room(client):
    stream = stream_of(client, 2)
    with reading(client, stream) as reader:
        threading.Timer(1.0, reader.stop).start()
        assert list(reader) == []
    assert not any(thread.is_alive() for thread in reader._threads)


def test_a_subscription_that_another_takes_over_is_made_again(client):
    stream = stream_of(client, 1, DATAS)
    watched = Subscribing(client, [])
    with reading(watched, stream) as reader:
        found = [record.data for record in next(reader).records]
        [consumer] = client.list_stream_consumers(StreamARN=arn_of(client, stream))["Consumers"]
        request = {"ConsumerARN": consumer["ConsumerARN"], "ShardId": "shardId-000000000000"}
        while True:  # refused so soon after the reader's
            try:
                answer = client.subscribe_to_shard(**request, StartingPosition={"Type": "LATEST"})
            except client.exceptions.ResourceInUseException:
                time.sleep(0.05)
            else:
                break
        put(client, stream, [b"later"])
        found += [record.data for record in next(reader).records]
        put(client, stream, [b"latest"])
        while len(found) < len(DATAS) + 2:
            found += [record.data for record in next(reader).records]
        while len(watched.asked) < 2:
            time.sleep(0.1)
        answer["EventStream"].close()
    assert found == [*DATAS, b"later", b"latest"]
