"""Records that are pushed to a reader in an event loop, by a real aiobotocore, from ministack.

`test_aiobotocore.py` runs this, as it does `with_aiobotocore.py`.
"""

from __future__ import annotations

import asyncio
import uuid

import aiohttp
import pytest
from botocore.exceptions import ClientError, HTTPClientError
from other_kinesis import ministack
from with_aiobotocore import aio_client, run

from shardpack import ShardpackError
from shardpack.consume.stream import AsyncStreamReader, MemoryCheckpoints, aio, subscriptions
from shardpack.consume.stream.checkpoints import SHARD_END
from shardpack.testing.local_kinesis import wait_until_active


@pytest.fixture(scope="module")
def pushing(tmp_path_factory):
    with ministack(tmp_path_factory.mktemp("ministack"), waits=0.1) as server:
        yield server


@pytest.fixture
def pushed(pushing, monkeypatch):
    monkeypatch.setattr(subscriptions, "SUBSCRIBE_AGAIN_SECONDS", 0.5)
    pushing.create_stream(name := f"pushed-{uuid.uuid4()}", 2)
    return name


def put(server, stream, datas, explicit_hash_key="0"):
    for data in datas:
        server.client().put_record(StreamName=stream, PartitionKey="k", Data=data, ExplicitHashKey=explicit_hash_key)


class Subscribing:
    """A client whose subscriptions fail so: botocore's errors by the call, others after the first event."""

    def __init__(self, client, script, *, by_call=True):
        self._client, self.script, self.by_call, self.asked = client, script, by_call, []

    async def __aenter__(self):
        raise AssertionError("it is aiobotocore's")

    def __getattr__(self, name):
        return getattr(self._client, name)

    async def subscribe_to_shard(self, **request):
        self.asked.append(request["StartingPosition"])
        step = self.script.pop(0) if self.script else None
        if self.by_call and step is not None:
            raise step
        answer = await self._client.subscribe_to_shard(**request)
        if step is not None:
            answer["EventStream"] = Breaking(answer["EventStream"], step)
        return answer


class Breaking:
    """An event stream in which an error comes after the first event."""

    def __init__(self, stream, error):
        self.stream, self.error, self.close = stream, error, stream.close

    async def __aiter__(self):
        async for event in self.stream:
            yield event
            raise self.error


def pushed_to(stream, client, **options):
    return AsyncStreamReader(stream, client=client, mode="fan-out", consumer="reader", **options)


def test_what_is_pushed_comes_in_order_children_after_parents(pushing, pushed):
    put(pushing, pushed, [b"%d" % i for i in range(5)])
    store = MemoryCheckpoints()

    async def main():
        found = []
        async with aio_client(pushing.endpoint_url) as client:
            async with pushed_to(pushed, client, checkpoints=store) as reader:
                async for batch in reader:
                    found += [record.data for record in batch.records]
                    await batch.checkpoint()
                    if found == [b"%d" % i for i in range(5)]:
                        await client.split_shard(
                            StreamName=pushed, ShardToSplit=batch.shard_id, NewStartingHashKey=str(2**126)
                        )
                        await asyncio.to_thread(wait_until_active, pushing.client(), pushed)
                        await asyncio.to_thread(put, pushing, pushed, [b"child"])
                        parent = batch.shard_id
                    if found[-1:] == [b"child"]:
                        assert batch.shard.parents == (parent,)
                        reader.stop()
            assert store.claim(pushed, "me")[parent].sequence_number == SHARD_END
            store.release()
            async with pushed_to(pushed, client, checkpoints=store, until="latest") as reader:
                found += [record.data async for batch in reader for record in batch.records]
        return found

    assert run(main()) == [*(b"%d" % i for i in range(5)), b"child"]


@pytest.mark.parametrize("told", ["by the call", "among the events"])
@pytest.mark.parametrize("why", ["connection", "InternalFailureException", "ResourceInUseException"])
def test_a_subscription_that_breaks_is_made_again_where_it_was(pushing, pushed, told, why):
    put(pushing, pushed, [b"before"])
    error = (
        (HTTPClientError(error="reset") if told == "by the call" else aiohttp.ClientPayloadError("reset"))
        if why == "connection"
        else ClientError({"Error": {"Code": why}}, "SubscribeToShard")
    )

    async def main():
        async with aio_client(pushing.endpoint_url) as client:
            breaking = Subscribing(client, [error], by_call=told == "by the call")
            async with pushed_to(pushed, breaking) as reader:
                found = [record.data for record in (await reader.__anext__()).records]
                await asyncio.to_thread(put, pushing, pushed, [b"later"])
                while len(found) < 2:
                    found += [record.data for record in (await reader.__anext__()).records]
                assert reader.stats().failed_calls >= 1
            return found, breaking.asked

    found, asked = run(main())
    assert found == [b"before", b"later"]
    assert len(asked) >= 3


def test_an_error_of_a_subscription_that_does_not_pass_is_raised(pushing, pushed):
    async def main():
        async with aio_client(pushing.endpoint_url) as client:
            refused = ClientError({"Error": {"Code": "AccessDeniedException"}}, "SubscribeToShard")
            async with pushed_to(pushed, Subscribing(client, [refused])) as reader:
                await reader.__anext__()

    with pytest.raises(ClientError, match="AccessDenied"):
        run(main())


class Pushing:
    """A stream of events of a Kinesis record of 1 MB each, as fast as they are taken."""

    def __init__(self, count):
        self.count, self.pushed = count, 0

    async def __aiter__(self):
        while self.pushed < self.count:
            self.pushed += 1
            record = {"Data": bytes(1_000_000), "PartitionKey": "k", "SequenceNumber": str(self.pushed)}
            event = {"Records": [record], "ContinuationSequenceNumber": str(self.pushed), "MillisBehindLatest": 9}
            yield {"SubscribeToShardEvent": event}

    def close(self):
        pass


def test_no_event_is_taken_while_there_is_no_room(pushing, pushed):
    stream = Pushing(60)

    async def subscribe_to_shard(**_):
        return {"EventStream": stream}

    async def main():
        largest = 0
        async with aio_client(pushing.endpoint_url) as client:
            given = Subscribing(client, [])
            given.subscribe_to_shard = subscribe_to_shard
            async with pushed_to(pushed, given, max_buffer_bytes=20 << 20) as reader:
                for count in range(60):
                    await reader.__anext__()
                    await asyncio.sleep(0.005)
                    largest = max(largest, reader.stats().buffered_bytes)
                    assert stream.pushed <= count + 1 + 20 + 2  # handed out, buffered, and one event of each shard
        return largest

    assert 19 << 20 < run(main()) <= 20 << 20


class Silent:
    """A stream in which no event comes; ``closed`` is how many were closed."""

    closed = 0

    async def __aiter__(self):
        await asyncio.Event().wait()
        yield {}

    def close(self):
        Silent.closed += 1


def test_a_reader_of_what_is_pushed_that_is_left_ends_its_subscriptions(pushing, pushed, monkeypatch):
    monkeypatch.setattr(aio, "CLOSE_SECONDS", 1000.0)  # by themselves: `run` has no patience for that
    monkeypatch.setattr(Silent, "closed", 0)

    async def subscribe_to_shard(**_):
        return {"EventStream": Silent()}

    async def main():
        async with aio_client(pushing.endpoint_url) as client:
            given = Subscribing(client, [])
            given.subscribe_to_shard = subscribe_to_shard
            async with pushed_to(pushed, given) as reader:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(reader.__anext__(), 0.5)
            assert len(asyncio.all_tasks()) <= 2  # this one, and what waits for it

    run(main())
    assert Silent.closed == 2


def test_who_can_follow_what_is_pushed(pushing, pushed):
    with pytest.raises(TypeError, match="takes a client of aiobotocore; StreamReader takes boto3's"):
        pushed_to(pushed, pushing.client())

    async def main():
        async with (
            aio_client(pushing.endpoint_url, max_pool_connections=3) as client,
            pushed_to(pushed, client) as reader,
        ):
            await reader.__anext__()

    with pytest.raises(ShardpackError, match=r"has 2 shards to be read, .* AioConfig\(max_pool_connections=4\)"):
        run(main())
