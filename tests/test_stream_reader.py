"""Reading a whole stream: through splits and merges, and through whatever a service or a network does meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from itertools import count
from threading import Condition

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError
from faulty_kinesis import CUT, RESET, FaultyKinesis

from shardpack import Boto3Transport
from shardpack.consume.stream import schedule
from shardpack.consume.stream.reader import StreamReader
from shardpack.testing.local_kinesis import wait_until_active

THROTTLED = "ProvisionedThroughputExceededException"
LIMITED = "LimitExceededException"
EXPIRED = "ExpiredIteratorException"
STREAM_NUMBERS = count(1)


class Clock:
    """Time that passes only where a reader waits; ``on_sleep`` is called at every such wait, with its length."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.on_sleep: Callable[[float], None] = lambda _: None

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return datetime.now(timezone.utc).timestamp()

    def wait(self, condition: Condition, seconds: float | None) -> None:
        if seconds is None:
            condition.wait()
            return
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds
        self.on_sleep(seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextmanager
def reading(clock, client, stream, start="trim_horizon", *, follow=False, **options):
    """Read in one thread, in the time of the clock."""
    with StreamReader(
        stream,
        client=client,
        start=start,
        until=None if follow else "latest",
        max_concurrent_calls=1,
        _clock=clock,
        **options,
    ) as reader:
        yield reader


def read(*arguments, **options) -> list[bytes]:
    with reading(*arguments, **options) as reader:
        return [record.data for batch in reader for record in batch.records]


@pytest.fixture
def faulty(local_kinesis) -> Iterator[FaultyKinesis]:
    with FaultyKinesis(local_kinesis.endpoint_url) as faulty:
        yield faulty
        assert faulty.left == 0


def stream_of(local_kinesis, shards: int, datas: list[bytes] | None = None):
    """Make a stream; put these into its first shard."""
    name = f"read-{next(STREAM_NUMBERS)}"
    local_kinesis.create_stream(name, shards)
    client = local_kinesis.client()
    put(client, name, datas or [])
    return client, name


def put(client, stream: str, datas: list[bytes]) -> None:
    for data in datas:  # one call each: the order of one shard
        client.put_record(StreamName=stream, PartitionKey="k", Data=data, ExplicitHashKey="0")


def datas_of(batch) -> list[bytes]:
    return [record.data for record in batch.records]


def split_first(client, stream: str) -> None:
    first = next(iter(Boto3Transport(client, stream).list_shards()))
    middle = (first.starting_hash_key + first.ending_hash_key) // 2
    client.split_shard(StreamName=stream, ShardToSplit=first.shard_id, NewStartingHashKey=str(middle))
    wait_until_active(client, stream)


def test_parents_are_read_before_their_children(local_kinesis):
    client, stream = stream_of(local_kinesis, 4)
    sent = []
    for step in range(4):
        for i in range(20):
            client.put_records(
                StreamName=stream, Records=[{"PartitionKey": f"key-{i}", "Data": f"{i} {step}".encode()}]
            )
            sent.append((f"key-{i}", f"{i} {step}".encode()))
        shards = list(Boto3Transport(client, stream).list_shards())
        if step % 2 == 0:
            middle = (shards[0].starting_hash_key + shards[0].ending_hash_key) // 2
            client.split_shard(StreamName=stream, ShardToSplit=shards[0].shard_id, NewStartingHashKey=str(middle))
        else:
            client.merge_shards(
                StreamName=stream, ShardToMerge=shards[1].shard_id, AdjacentShardToMerge=shards[2].shard_id
            )
        wait_until_active(client, stream)
    found: dict[str, list[bytes]] = {}
    with StreamReader(stream, client=client, until="latest") as reader:
        for batch in reader:
            for record in batch.records:
                found.setdefault(record.partition_key, []).append(record.data)
    assert found == {f"key-{i}": [data for key, data in sent if key == f"key-{i}"] for i in range(20)}


def test_a_stream_by_its_arn(local_kinesis, faulty, clock):
    client, stream = stream_of(local_kinesis, 1, [b"by arn"])
    arn = Boto3Transport(client, stream).describe().stream_arn
    assert read(clock, faulty.client(), arn) == [b"by arn"]
    assert {request.get("StreamARN") for _, request in faulty.calls} == {arn}
    assert {"ListShards", "GetShardIterator", "GetRecords"} <= {operation for operation, _ in faulty.calls}


# --- what passes by itself ---

DATAS = [str(i).encode() for i in range(5)]


@pytest.mark.parametrize(
    ("operation", "faults"),
    [
        ("ListShards", [LIMITED]),
        ("ListShards", [RESET]),
        ("ListShards", [CUT]),
        ("ListShards", ["InternalFailure", LIMITED, RESET, LIMITED]),
        ("GetShardIterator", [THROTTLED, RESET, CUT]),
        ("GetRecords", [THROTTLED, "KMSThrottlingException", "ThrottlingException"]),
        ("GetRecords", [RESET, CUT, "InternalFailure"]),
        ("GetRecords", [EXPIRED, THROTTLED, EXPIRED]),
    ],
)
def test_what_passes_by_itself_is_tried_again(local_kinesis, faulty, clock, operation, faults):
    _, stream = stream_of(local_kinesis, 2, DATAS)
    faulty.fail(operation, *faults)
    assert read(clock, faulty.client(), stream) == DATAS


@pytest.mark.parametrize("fault", [LIMITED, RESET])
def test_children_are_found_though_the_list_of_shards_fails(local_kinesis, faulty, clock, fault):
    client, stream = stream_of(local_kinesis, 1, DATAS)
    split_first(client, stream)
    put(client, stream, [b"child"])
    faulty.fail("ListShards", "", *[fault] * 12)  # more than there are tries for children that nobody lists
    assert read(clock, faulty.client(), stream) == [*DATAS, b"child"]


def test_expired_iterator_is_renewed_where_the_reading_stood(local_kinesis, faulty, clock):
    client, stream = stream_of(local_kinesis, 1, DATAS)
    faulty.fail("GetRecords", "", EXPIRED)
    with reading(clock, faulty.client(), stream, follow=True) as reader:
        assert datas_of(next(reader)) == DATAS
        put(client, stream, [b"later"])
        assert datas_of(next(reader)) == [b"later"]
    first, renewed = faulty.calls_of("GetShardIterator")
    assert first["ShardIteratorType"] == "TRIM_HORIZON"
    assert renewed["ShardIteratorType"] == "AFTER_SEQUENCE_NUMBER"


def test_what_came_while_an_iterator_at_the_latest_expired_is_read(local_kinesis, faulty, clock):
    client, stream = stream_of(local_kinesis, 1)
    client.put_record(StreamName=stream, PartitionKey="k", Data=b"old")
    faulty.fail("GetRecords", *[RESET] * 3, EXPIRED)
    arrives = [b"while nobody could read"]

    def once(_seconds: float) -> None:
        if faulty.calls_of("GetRecords") and arrives:
            put(client, stream, [arrives.pop()])

    clock.on_sleep = once
    with reading(clock, faulty.client(), stream, "latest", follow=True) as reader:
        found = datas_of(next(reader))
    assert found[-1] == b"while nobody could read"
    latest, renewed = faulty.calls_of("GetShardIterator")
    assert latest["ShardIteratorType"] == "LATEST"
    assert renewed["ShardIteratorType"] == "AT_TIMESTAMP"
    since = datetime.fromtimestamp(float(renewed["Timestamp"]), timezone.utc)
    assert abs(datetime.now(timezone.utc) - since) < timedelta(minutes=1)


def test_pauses_grow_from_a_second_to_ten_and_begin_anew(local_kinesis, faulty, clock, monkeypatch):
    monkeypatch.setattr(schedule.random, "uniform", lambda _low, high: high)
    _, stream = stream_of(local_kinesis, 1, DATAS)
    faulty.fail("GetRecords", *[THROTTLED] * 6, EXPIRED, "", THROTTLED)
    assert read(clock, faulty.client(), stream) == DATAS
    # an iterator is renewed soon; then it is read until nothing comes
    assert clock.slept == pytest.approx([1, 2, 4, 8, 10, 10, 1, schedule.BUSY_SECONDS, 1])


# --- what does not pass ---


@pytest.mark.parametrize("operation", ["ListShards", "GetShardIterator", "GetRecords"])
def test_giving_up_is_bounded_in_time(local_kinesis, faulty, clock, operation):
    _, stream = stream_of(local_kinesis, 1, DATAS)
    faulty.waiting[operation].extend([THROTTLED] * 1000)
    began = clock.now
    with pytest.raises(ClientError, match=THROTTLED):
        read(clock, faulty.client(), stream, give_up_after_s=60)
    assert 60 - schedule.LONGEST_BACKOFF_SECONDS <= clock.now - began <= 60
    assert len(faulty.calls_of(operation)) < 20
    faulty.waiting.clear()


@pytest.mark.parametrize("operation", ["ListShards", "GetShardIterator", "GetRecords"])
def test_what_will_never_succeed_is_raised_at_once(local_kinesis, faulty, clock, operation):
    _, stream = stream_of(local_kinesis, 1)
    faulty.fail(operation, "AccessDeniedException")
    with pytest.raises(ClientError, match="AccessDeniedException"):
        read(clock, faulty.client(), stream)
    assert len(faulty.calls_of(operation)) == 1


@pytest.mark.parametrize("operation", ["GetShardIterator", "GetRecords"])
def test_a_shard_that_is_unknown_for_a_moment_is_asked_for_again(local_kinesis, faulty, clock, operation):
    _, stream = stream_of(local_kinesis, 1, DATAS)
    faulty.fail(operation, *["ResourceNotFoundException"] * 2)
    assert read(clock, faulty.client(), stream) == DATAS
    assert len(faulty.calls_of("ListShards")) == 3


def test_a_stream_that_is_deleted_while_it_is_read_is_an_error(local_kinesis, faulty, clock):
    _, stream = stream_of(local_kinesis, 1, DATAS)
    faulty.fail("GetRecords", "ResourceNotFoundException")
    faulty.fail("ListShards", "", "ResourceNotFoundException")
    with pytest.raises(ClientError, match="ListShards"):
        read(clock, faulty.client(), stream)


def test_a_service_that_never_answered_is_given_up_soon(faulty, clock):
    endpoint_url = faulty.endpoint_url
    client = faulty.client()
    client.meta.events.register("before-send.kinesis", lambda **_: _refuse(endpoint_url))
    began = clock.now
    with pytest.raises(EndpointConnectionError):
        read(clock, client, "s")
    assert 0 < clock.now - began <= schedule.FIRST_ANSWER_SECONDS


def _refuse(endpoint_url: str) -> None:
    raise EndpointConnectionError(endpoint_url=endpoint_url)


def test_an_outage_is_told_once_and_its_end(local_kinesis, faulty, clock, caplog):
    caplog.set_level(logging.WARNING, "shardpack.consume")
    _, stream = stream_of(local_kinesis, 2, DATAS)
    faulty.fail("GetRecords", THROTTLED, *[RESET] * 6)
    read(clock, faulty.client(), stream)
    assert len(clock.slept) > 6
    lost, found = [entry.getMessage() for entry in caplog.records]
    assert lost.startswith(f"{stream} cannot be reached, trying again for 300 s: ")
    assert found == f"{stream} can be reached again"


def test_a_connection_that_stays_broken_is_raised_in_the_end(local_kinesis, faulty, clock):
    _, stream = stream_of(local_kinesis, 1)
    faulty.waiting["GetRecords"].extend([RESET] * 1000)
    with pytest.raises(ConnectionClosedError):
        read(clock, faulty.client(), stream, give_up_after_s=30)
    faulty.waiting.clear()
