"""Answers that are slow or large, as readers of streams take them: from kinesis-local, which has records of 9 MiB."""

from __future__ import annotations

import asyncio
import hashlib
from itertools import count

import pytest
from botocore.exceptions import ReadTimeoutError

from shardpack import Boto3Transport
from shardpack.consume.stream import AsyncStreamReader, StreamReader
from shardpack.limits import MIB
from shardpack.testing import FaultProxy
from shardpack.testing.faults import Latency, Trickle

STREAM_NUMBERS = count(1)
BOUND = 20 * MIB
"""The least that ``max_buffer_bytes`` may be."""
WAIT_SECONDS = 1.0
"""How long clients wait for the next piece of an answer."""


def data_of(size, seed):
    return hashlib.shake_128(b"%d" % seed).digest(size)


def stream_of(raising, *sizes):
    """Make a stream; put records of these sizes into each of its shards. Returns its name and the records' digests."""
    client, stream = raising.clients[0], f"slow-{next(STREAM_NUMBERS)}"
    if not hasattr(client, "update_max_record_size"):
        pytest.skip("older botocores know of no other limit")
    raising.create_stream(stream, len(sizes))
    arn = client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]
    client.update_max_record_size(StreamARN=arn, MaxRecordSizeInKiB=10 * 1024)
    digests = []
    for shard, sizes_of_it in zip(Boto3Transport(client, stream).list_shards(), sizes, strict=True):
        for size in sizes_of_it:
            data = data_of(size, len(digests))
            client.put_record(
                StreamName=stream, PartitionKey="k", Data=data, ExplicitHashKey=str(shard.starting_hash_key)
            )
            digests.append(hashlib.md5(data).hexdigest())
    return stream, sorted(digests)


OPTIONS = {"until": "latest", "max_buffer_bytes": BOUND, "shard_bytes_per_second": float("inf")}


def read(client, stream, **options):
    """Return digests of what was read, the most that was read ahead, and how many calls failed."""
    found, seen = [], []
    with StreamReader(stream, client=client, **OPTIONS | options) as reader:
        for batch in reader:
            seen.append(reader.stats().buffered_bytes + sum(len(record.data) for record in batch.records))
            found += [hashlib.md5(record.data).hexdigest() for record in batch.records]
        return sorted(found), max(seen), reader.stats().failed_calls


async def read_async(client, stream, **options):
    found, seen = [], []
    async with AsyncStreamReader(stream, client=client, **OPTIONS | options) as reader:
        async for batch in reader:
            seen.append(reader.stats().buffered_bytes + sum(len(record.data) for record in batch.records))
            found += [hashlib.md5(record.data).hexdigest() for record in batch.records]
        return sorted(found), max(seen), reader.stats().failed_calls


def read_in_loop(*arguments, **options):
    return asyncio.run(read_async(*arguments, **options))


CALLS = [("ListShards", read), ("GetShardIterator", read), ("GetRecords", read), ("GetRecords", read_in_loop)]


@pytest.fixture(scope="module")
def small(raising):
    return stream_of(raising, [1, 300, 20_000])


@pytest.fixture
def proxy(raising):
    with FaultProxy(raising.endpoint_url, seed=1) as proxy:
        yield proxy


class First:
    """The first calls of an operation meet this fault."""

    def __init__(self, operation, fault, calls=1):
        self.operation, self.fault, self.calls = operation, fault, calls

    def __call__(self, request):
        if request.operation != self.operation or not self.calls:
            return None
        self.calls -= 1
        return self.fault


@pytest.mark.parametrize(("operation", "reading"), CALLS)
def test_an_answer_that_trickles_is_waited_for(proxy, small, reading, operation):
    """All of it takes longer than the client waits, and none of its pieces does."""
    stream, digests = small
    proxy.faults = [First(operation, Trickle(1.6 * WAIT_SECONDS, 16))]
    found, _, failed = reading(proxy.client(read_timeout=WAIT_SECONDS), stream)
    assert (found, failed) == (digests, 0)
    assert proxy.injected == {"trickle": 1}


@pytest.mark.parametrize(("operation", "reading"), CALLS)
@pytest.mark.parametrize(
    "fault", [Trickle(60, 2), Latency(seconds=60, when="after")], ids=["stalled in the middle", "after the timeout"]
)
def test_an_answer_that_comes_too_late_is_asked_for_again(proxy, small, reading, operation, fault):
    stream, digests = small
    schedule = First(operation, fault)
    proxy.faults = [First("ListShards", None, calls=1), schedule] if operation != "ListShards" else [schedule]
    client = proxy.client(read_timeout=WAIT_SECONDS)
    found, _, failed = reading(client, stream)
    assert (found, failed) == (digests, 1)
    assert proxy.requests[operation] >= 2


@pytest.mark.parametrize("reading", [read, read_in_loop])
def test_answers_that_always_come_too_late_are_given_up(proxy, small, reading):
    stream, _ = small
    proxy.faults = [Latency(seconds=60, when="after", operations="GetRecords")]
    with pytest.raises(ReadTimeoutError):
        reading(proxy.client(read_timeout=WAIT_SECONDS), stream, give_up_after_s=3)
    assert proxy.requests["GetRecords"] >= 2


def test_a_large_record_that_comes_in_pieces(proxy, raising):
    """As large as kinesis-local gives it out again. Where memory ends, a server of canned answers shows."""
    stream, digests = stream_of(raising, [9 * MIB])
    proxy.faults = [Trickle(0.5, 50, operations="GetRecords")]
    found, most, failed = read(proxy.client(), stream)
    assert (found, most, failed) == (digests, 9 * MIB, 0)
