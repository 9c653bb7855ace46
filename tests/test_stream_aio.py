"""``AsyncStreamReader`` before a real local Kinesis, with boto3's client; aiobotocore's is in with_aiobotocore.py."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime, timezone
from functools import partial
from itertools import count

import pytest
from botocore.exceptions import ClientError
from faulty_kinesis import CUT, RESET, FaultyKinesis

from shardpack import Boto3Transport, ShardpackError
from shardpack.consume.stream import AsyncStreamReader, CheckpointsInUseError, MemoryCheckpoints
from shardpack.consume.stream.checkpoints import SHARD_END
from shardpack.testing.local_kinesis import wait_until_active

STREAM_NUMBERS = count(1)
DATAS = [str(i).encode() for i in range(5)]
run = partial(asyncio.run, debug=True)  # so that it raises where a thread touches the loop that is not its own


def stream_of(local_kinesis, shards, datas=()):
    name = f"aio-{next(STREAM_NUMBERS)}"
    local_kinesis.create_stream(name, shards)
    client = local_kinesis.client()
    put(client, name, datas)
    return client, name


def put(client, stream, datas):
    for data in datas:
        client.put_record(StreamName=stream, PartitionKey="k", Data=data, ExplicitHashKey="0")


async def read(client, stream, **options):
    async with AsyncStreamReader(stream, client=client, **{"until": "latest"} | options) as reader:
        return [record.data async for batch in reader for record in batch.records]


def test_everything_in_order_children_after_parents(local_kinesis):
    client, stream = stream_of(local_kinesis, 4, DATAS)
    first = next(iter(Boto3Transport(client, stream).list_shards()))
    middle = (first.starting_hash_key + first.ending_hash_key) // 2
    client.split_shard(StreamName=stream, ShardToSplit=first.shard_id, NewStartingHashKey=str(middle))
    wait_until_active(client, stream)
    put(client, stream, [b"child"])
    store = MemoryCheckpoints()

    async def main():
        found = []
        async with AsyncStreamReader(stream, client=client, until="latest", checkpoints=store) as reader:
            async for batch in reader:
                found += [record.data for record in batch.records]
                await batch[: len(batch)].checkpoint()
            assert reader.stats().kinesis_records == 6
        return found

    assert run(main()) == [*DATAS, b"child"]
    assert store.claim(stream, "me")[first.shard_id].sequence_number == SHARD_END
    store.release()
    assert run(read(client, stream, checkpoints=store)) == []


def test_goes_on_behind_a_checkpoint(local_kinesis):
    client, stream = stream_of(local_kinesis, 1, DATAS)
    store = MemoryCheckpoints()

    async def some():
        async with AsyncStreamReader(stream, client=client, checkpoints=store) as reader:
            async for batch in reader:
                await batch.checkpoint(batch.records[1])
                reader.stop()

    run(some())
    assert run(read(client, stream, checkpoints=store)) == DATAS[2:]


@pytest.mark.parametrize(
    ("operation", "faults"),
    [
        ("ListShards", ["LimitExceededException", RESET, CUT]),
        ("GetShardIterator", ["ProvisionedThroughputExceededException"]),
        ("GetRecords", ["ExpiredIteratorException", RESET, CUT]),
    ],
)
def test_what_passes_by_itself_is_tried_again(local_kinesis, operation, faults):
    _, stream = stream_of(local_kinesis, 2, DATAS)
    with FaultyKinesis(local_kinesis.endpoint_url) as faulty:
        faulty.fail(operation, *faults)
        assert run(read(faulty.client(), stream)) == DATAS
        assert faulty.left == 0


@pytest.mark.parametrize("operation", ["ListShards", "GetShardIterator", "GetRecords"])
def test_what_will_never_succeed_is_raised(local_kinesis, operation):
    _, stream = stream_of(local_kinesis, 1)
    with FaultyKinesis(local_kinesis.endpoint_url) as faulty:
        faulty.fail(operation, "AccessDeniedException")
        with pytest.raises(ClientError, match="AccessDeniedException"):
            run(read(faulty.client(), stream))


def test_a_stream_that_is_not_there(local_kinesis):
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        run(read(local_kinesis.client(), "nobody-made-it"))


def test_stopped_from_another_thread_and_closed(local_kinesis):
    client, stream = stream_of(local_kinesis, 2, DATAS)

    async def main():
        async with AsyncStreamReader(stream, client=client) as reader:
            found = []
            async for batch in reader:
                found += [record.data for record in batch.records]
                threading.Timer(0.3, reader.stop).start()
            assert found == DATAS
        await reader.close()
        with pytest.raises(ShardpackError, match="is closed"):
            await reader.__anext__()
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_a_cancelled_wait_has_taken_nothing(local_kinesis):
    client, stream = stream_of(local_kinesis, 1, DATAS)

    async def main():
        async with AsyncStreamReader(stream, client=client) as reader:
            found = [record.data for record in (await reader.__anext__()).records]
            for _ in range(3):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(reader.__anext__(), 0.05)
            await asyncio.to_thread(put, client, stream, [b"later"])
            return found + [record.data for record in (await reader.__anext__()).records]

    assert run(main()) == [*DATAS, b"later"]


class Owned(MemoryCheckpoints):
    """Checkpoints that are slow to be claimed, or are another's; what is released is noted."""

    def __init__(self, hold=None, owner=None):
        super().__init__()
        self.hold, self.owner, self.calls = hold, owner, []
        self.renew_s = 0.05

    def claim(self, stream, owner):
        self.calls.append("claim")
        if self.hold is not None:
            self.hold.wait(10)
        if self.owner is not None:
            raise CheckpointsInUseError(f"{self.owner} has them")
        return super().claim(stream, owner)

    def renew(self):
        self.calls.append("renew")

    def release(self):
        self.calls.append("release")


def test_cancelled_while_it_opens_it_gives_the_checkpoints_up(local_kinesis):
    client, stream = stream_of(local_kinesis, 1)
    store = Owned(threading.Event())

    async def main():
        opening = asyncio.ensure_future(read(client, stream, checkpoints=store))
        while not store.calls:  # noqa: ASYNC110 - a thread notes it
            await asyncio.sleep(0.01)
        opening.cancel()
        store.hold.set()
        with pytest.raises(asyncio.CancelledError):
            await opening

    run(main())
    assert [call for call in store.calls if call != "renew"] == ["claim", "release"]


def test_checkpoints_of_another_and_renewal(local_kinesis):
    client, stream = stream_of(local_kinesis, 1, DATAS)
    with pytest.raises(CheckpointsInUseError, match="a:7 has them"):
        run(read(client, stream, checkpoints=Owned(owner="a:7")))
    store = Owned()

    async def main():
        async with AsyncStreamReader(stream, client=client, checkpoints=store):
            while "renew" not in store.calls:  # noqa: ASYNC110 - a thread notes it
                await asyncio.sleep(0.01)

    run(main())
    assert store.calls[-1] == "release"


def test_a_reader_that_nobody_asks_stops_calling(local_kinesis):
    client, stream = stream_of(local_kinesis, 1)
    for _ in range(45):
        client.put_record(StreamName=stream, PartitionKey="k", Data=bytes(1_000_000))

    async def main():
        options = {"until": "latest", "max_buffer_bytes": 20 << 20, "shard_bytes_per_second": 1e9}
        async with AsyncStreamReader(stream, client=client, **options) as reader:
            largest, found = 0, 0
            async for batch in reader:
                largest = max(largest, reader.stats().buffered_bytes)
                found += len(batch)
                await asyncio.sleep(0.05)
            return largest, found

    largest, found = run(main())
    assert found == 45
    assert largest <= 20 << 20


def test_start_at_a_time(local_kinesis):
    client, stream = stream_of(local_kinesis, 1, DATAS)
    assert run(read(client, stream, start=datetime(2020, 1, 1, tzinfo=timezone.utc))) == DATAS
