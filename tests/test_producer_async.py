"""The producer of event loops: the same engine, awaited; its calls made by threads, or as tasks of the loop."""

from __future__ import annotations

import asyncio
import threading

import pytest
from shards_in_lists import Shards, ShardsOfLoop, in_order

from shardpack import (
    AsyncProducer,
    BufferFullError,
    FlushTimeoutError,
    InvalidPartitionKeyError,
    Producer,
    ProducerClosedError,
)
from shardpack.transport import Stored


@pytest.fixture(params=[Shards, ShardsOfLoop], ids=["threads", "loop"])
def shards(request):
    return request.param


def run(main):
    return asyncio.run(asyncio.wait_for(main, 60))


def test_everything_is_stored_in_the_order_of_its_key(shards):
    transport = shards()

    async def main():
        async with AsyncProducer(transport=transport, linger_ms=5) as producer:
            receipts = [await producer.put(f"device-{i % 50}", b"%d" % i) for i in range(20_000)]
            numbers = range(20_000, 20_500)
            more = await producer.put_many([f"device-{i % 50}" for i in numbers], [b"%d" % i for i in numbers])
            await producer.flush()
            assert all(receipt.done() for receipt in receipts)
            outcome = await more[-1]
            assert transport.stored[outcome.shard_id]

    run(main())
    in_order(transport, 20_500)


def test_without_a_with_block_the_first_put_starts_it(shards):
    async def main():
        producer = AsyncProducer(transport=shards(), linger_ms=1)
        await producer.flush()
        outcome = await (await producer.put("k", b"x"))
        await producer.close()
        return outcome

    assert run(main()).sequence_number == "1"


def test_a_put_that_finds_room_takes_no_turn_of_the_loop(shards):
    async def main():
        async with AsyncProducer(transport=shards(), linger_ms=1, receipts=False) as producer:
            turns = []
            asyncio.get_running_loop().call_soon(turns.append, 1)
            for _ in range(1000):
                assert await producer.put("k", b"x") is None
            assert not turns

    run(main())


def test_bad_input_is_refused(shards):
    async def main():
        async with AsyncProducer(transport=shards(), linger_ms=1) as producer:
            with pytest.raises(InvalidPartitionKeyError):
                await producer.put("", b"x")
            with pytest.raises(InvalidPartitionKeyError, match="record 1"):
                await producer.put_many(["k", ""], [b"x", b"x"])
            assert producer.stats().user_records_put == 0
        with pytest.raises(ProducerClosedError):
            await producer.put("k", b"x")
        with pytest.raises(ProducerClosedError):
            await producer.put_many(["k"], [b"x"])

    run(main())


def full(transport):
    return AsyncProducer(transport=transport, linger_ms=1, max_buffered_bytes=1000)


def test_at_the_bound_a_put_awaits_its_turn(shards):
    transport = shards(1)
    transport.gate.clear()

    async def main():
        async with full(transport) as producer:
            await producer.put("k", bytes(1000))
            waiting = [asyncio.create_task(producer.put("k", b"%d" % i)) for i in range(100)]
            _, pending = await asyncio.wait(waiting, timeout=0.05)
            assert len(pending) == 100
            assert producer._inbox.buffered == 1 + 1000 + 128
            transport.gate.set()
            await asyncio.gather(*waiting)

    run(main())
    values = [record.data for record in transport.user_records()]
    assert [int(value) for value in values[1:]] == list(range(100))


def test_a_put_that_is_cancelled_takes_nothing_and_holds_nobody_up(shards):
    transport = shards(1)
    transport.gate.clear()

    async def main():
        async with full(transport) as producer:
            await producer.put("k", bytes(1000))
            waiting = [asyncio.create_task(producer.put("k", b"%d" % i)) for i in range(10)]
            await asyncio.sleep(0.01)
            for i in (0, 1, 5, 9):
                waiting[i].cancel()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(producer.put("k", b"late"), 0.02)
            transport.gate.set()
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert [i for i, each in enumerate(outcomes) if isinstance(each, asyncio.CancelledError)] == [0, 1, 5, 9]

    run(main())
    assert [record.data for record in transport.user_records()[1:]] == [b"2", b"3", b"4", b"6", b"7", b"8"]


def test_closing_wakes_those_that_wait_for_room(shards):
    transport = shards(1)
    transport.gate.clear()

    async def main():
        producer = AsyncProducer(transport=transport, linger_ms=1, max_buffered_bytes=1000, close_timeout_s=0.1)
        first = await producer.put("k", bytes(1000))
        waiting = [asyncio.create_task(producer.put("k", b"x")) for _ in range(3)]
        await asyncio.sleep(0.01)
        await producer.close()
        for each in waiting:
            with pytest.raises(ProducerClosedError):
                await each
        assert first.done()

    run(main())
    transport.gate.set()


def test_a_flush_that_takes_too_long_says_how_many_are_left(shards):
    transport = shards(1)
    transport.gate.clear()

    async def main():
        async with AsyncProducer(transport=transport, linger_ms=1) as producer:
            await producer.put_many(["k"] * 7, [b"x"] * 7)
            with pytest.raises(FlushTimeoutError) as raised:
                await producer.flush(timeout=0.05)
            transport.gate.set()
            await producer.flush(timeout=10)
            return raised.value.pending

    assert run(main()) == 7


def test_tasks_side_by_side_keep_their_own_order(shards):
    transport = shards(4)

    async def main():
        async with AsyncProducer(transport=transport, linger_ms=1, max_buffered_bytes=20_000) as producer:

            async def put(task):
                for i in range(500):
                    await producer.put(f"task-{task}", b"%d" % (task * 500 + i))

            await asyncio.gather(*map(put, range(20)))

    run(main())
    in_order(transport, 10_000)


def test_the_loop_goes_on_while_calls_are_under_way():
    transport = Shards(1)
    threads = set()

    def fail(entries):
        threads.add(threading.current_thread())
        return [Stored("shardId-000000000000", "1") for _ in entries]

    transport.fail = fail

    async def main():
        async with AsyncProducer(transport=transport, linger_ms=1) as producer:
            await (await producer.put("k", b"x"))
        assert threading.current_thread() not in threads

    run(main())


def test_put_in_a_callback_at_the_bound_is_refused_instead_of_waiting_for_itself():
    refused = []
    done = threading.Event()

    def on_settled(_records):
        try:
            for _ in range(100):
                producer.put("k", bytes(100))
        except BufferFullError as error:
            refused.append(error)
            done.set()

    with Producer(transport=Shards(1), linger_ms=1, max_buffered_bytes=1000, on_settled=on_settled) as producer:
        producer.put("k", b"x")
        assert done.wait(10)
    assert "wait for itself" in str(refused[0])
