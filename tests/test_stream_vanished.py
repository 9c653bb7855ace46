"""A closed shard that leaves the stream while it is read: told of, counted, and its children are read.

The local Kinesis keeps closed shards for good. So the calls for the shard are answered as the service answers them
then, by the fault proxy, and the shard is taken out of what ListShards answers from the second time on.
"""

from __future__ import annotations

import asyncio
from itertools import count

import pytest
from botocore.exceptions import ClientError
from faulty_kinesis import FaultyKinesis

from shardpack.consume.stream import AsyncStreamReader, MemoryCheckpoints, StreamReader
from shardpack.consume.stream.checkpoints import SHARD_END, Checkpoint
from shardpack.testing.local_kinesis import wait_until_active

UNKNOWN = "ResourceNotFoundException"
PARENT = "shardId-000000000000"
STREAM_NUMBERS = count(1)
CALLS = ["GetShardIterator", "GetRecords"]


@pytest.fixture
def faulty(local_kinesis):
    with FaultyKinesis(local_kinesis.endpoint_url) as faulty:
        yield faulty


@pytest.fixture
def stream(local_kinesis):
    """A stream of which one shard was split: a record in it, and one in each of its children."""
    name = f"vanished-{next(STREAM_NUMBERS)}"
    local_kinesis.create_stream(name, 1)
    client = local_kinesis.client()
    client.put_record(StreamName=name, PartitionKey="k", Data=b"expired")
    client.split_shard(StreamName=name, ShardToSplit=PARENT, NewStartingHashKey=str(2**127))
    wait_until_active(client, name)
    for hash_key, data in (("0", b"left"), (str(2**127), b"right")):
        client.put_record(StreamName=name, PartitionKey="k", Data=data, ExplicitHashKey=hash_key)
    return name


def hiding(client, shown=1):
    """Take the parent out of what this client's ListShards answers, but for so many answers."""
    answers = count(1)

    def hide(parsed, **_):
        if next(answers) > shown:
            parsed["Shards"] = [shard for shard in parsed["Shards"] if shard["ShardId"] != PARENT]

    client.meta.events.register("after-call.kinesis.ListShards", hide)
    return client


def read(client, stream, **options):
    """Return what was found, how many gaps were counted, and what batches tell of: by which data, of which shard."""
    found, told = [], {}
    with StreamReader(stream, client=client, until="latest", **options) as reader:
        for batch in reader:
            found += [record.data for record in batch.records]
            if batch.gap is not None:
                told[batch.records[0].data] = batch.gap.shard_id, batch.gap.since is None
                assert batch.gap.since is None or batch.gap.since <= batch.gap.until
            batch.checkpoint()
        return sorted(found), reader.stats().gaps, told


async def read_async(client, stream, **options):
    found, told = [], {}
    async with AsyncStreamReader(stream, client=client, until="latest", **options) as reader:
        async for batch in reader:
            found += [record.data for record in batch.records]
            if batch.gap is not None:
                told[batch.records[0].data] = batch.gap.shard_id, batch.gap.since is None
            await batch.checkpoint()
        return sorted(found), reader.stats().gaps, told


def read_in_loop(*arguments, **options):
    return asyncio.run(read_async(*arguments, **options))


def check_end(store, stream):
    assert {shard_id for shard_id, kept in store.claim(stream, "me").items() if kept == Checkpoint(SHARD_END)} == {
        PARENT
    }


@pytest.mark.parametrize("reading", [read, read_in_loop])
@pytest.mark.parametrize("call", CALLS)
def test_its_children_are_read_and_it_is_told_of(faulty, stream, caplog, reading, call):
    faulty.fail(call, UNKNOWN)
    store = MemoryCheckpoints()
    told_by = dict.fromkeys([b"left", b"right"], (PARENT, True))
    assert reading(hiding(faulty.client()), stream, checkpoints=store) == ([b"left", b"right"], 1, told_by)
    [told] = [entry.getMessage() for entry in caplog.records if entry.levelname == "WARNING"]
    assert told == (
        f"{stream}: {PARENT} has left the stream: its records that came after its beginning have expired "
        "before they were read"
    )
    check_end(store, stream)


@pytest.mark.parametrize("reading", [read, read_in_loop])
@pytest.mark.parametrize("call", CALLS)
def test_a_stream_that_is_gone_is_an_error(faulty, stream, reading, call):
    faulty.fail(call, *[UNKNOWN] * 3)
    faulty.fail("ListShards", "", UNKNOWN)
    with pytest.raises(ClientError, match=UNKNOWN):
        reading(faulty.client(), stream)


@pytest.mark.parametrize("call", CALLS)
def test_several_handlers_go_on(faulty, stream, call):
    faulty.fail(call, *[UNKNOWN] * 2)  # for each handler its own
    found = {"one": [], "two": []}

    def handler(name):
        return lambda batch: found[name].extend(record.data for record in batch.records)

    reader = StreamReader(stream, client=hiding(faulty.client(), shown=2), until="latest", max_buffer_bytes=64 << 20)
    reader.fan_out({name: handler(name) for name in found})
    for datas in found.values():
        assert {b"left", b"right"} <= {*datas}


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("reading", [read, read_in_loop])
def test_one_that_left_while_nobody_read_is_told_of_too(faulty, stream, caplog, reading, kept):
    store = MemoryCheckpoints()
    with StreamReader(stream, client=faulty.client(), checkpoints=store) as reader:
        batch = next(reader)  # of the parent
        if kept:
            batch.checkpoint(batch.records[0])
    told_by = dict.fromkeys([b"left", b"right"], (PARENT, not kept))
    assert reading(hiding(faulty.client(), shown=0), stream, checkpoints=store) == ([b"left", b"right"], 1, told_by)
    [told] = [entry.getMessage() for entry in caplog.records if entry.levelname == "WARNING"]
    assert told.startswith(f"{stream}: {PARENT} is gone, and was not read to its end: its records that came after ")
    assert PARENT not in store.claim(stream, "me")
