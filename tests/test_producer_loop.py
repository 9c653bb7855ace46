"""Calls that are tasks of an event loop: cancelled, blocked, and the loop that ends before its producer."""

from __future__ import annotations

import asyncio
import os
import threading
from functools import partial
from pathlib import Path

import pytest
from isolated import run as run_isolated
from shards_in_lists import Shards, ShardsOfLoop, in_order, until

from shardpack import AsyncProducer, DeliveryError, Producer, RecordExpiredError
from shardpack.errors import EventLoopEndedError
from shardpack.producer.callers import TasksOfLoop
from shardpack.transport.aiobotocore import AiobotocoreTransport
from shardpack.transport.boto3 import Boto3Transport

TESTS = str(Path(__file__).parent)


def run(main):
    return asyncio.run(asyncio.wait_for(main, 60))


def calls():
    return [task for task in asyncio.all_tasks() if task.get_name() == "shardpack-call"]


async def under_way(transport, number=1):
    await until(lambda: transport.under_way >= number)


def values(transport):
    return [int(record.data) for record in transport.user_records()]


def test_calls_are_made_in_the_loop_and_no_more_than_may_be_in_flight():
    transport = ShardsOfLoop(8)

    async def main():
        async with AsyncProducer(transport=transport, linger_ms=0, max_requests_in_flight=3) as producer:
            await (await producer.put("k", b"0"))
            transport.gate.clear()
            for i in range(1, 6):
                await producer.put("k", b"%d" % i, explicit_hash_key=(i << 125))
                await under_way(transport, min(i, 3))
            transport.gate.set()
        assert transport.loops == {asyncio.get_running_loop()}

    run(main())
    assert transport.most_under_way == 3
    assert sorted(values(transport)) == [*range(6)]


def test_others_have_a_turn_of_the_loop_between_two_calls():
    """The body of a call is written and hashed in one go."""
    order, over = [], []

    async def call(number):
        order.append(number)

    async def others():
        while len(over) < 4:
            order.append("others")
            await asyncio.sleep(0)

    async def main():
        callers = TasksOfLoop(asyncio.get_running_loop(), over.append)
        for number in range(4):
            callers.submit(partial(call, number), print, print)
        await others()

    run(main())
    assert [each for each in order if each != "others"] == [*range(4)]
    assert all("others" in order[order.index(i) : order.index(i + 1)] for i in range(3))


def test_what_is_a_loops_is_refused_by_others():
    class Client:
        async def __aenter__(self):
            return self

    with pytest.raises(TypeError, match="for AsyncProducer"):
        Producer(transport=ShardsOfLoop())
    with pytest.raises(TypeError, match="for AsyncProducer"):
        Producer("s", client=Client())
    with pytest.raises(TypeError, match="AiobotocoreTransport"):
        Boto3Transport(Client(), "s")
    for client in (Client(), object()):  # what `async with` has not entered, and what is none
        with pytest.raises(TypeError, match="expected a Kinesis client of aiobotocore"):
            AiobotocoreTransport(client, "s")

    async def put():
        await AsyncProducer("s", client=Client()).put("k", b"")

    with pytest.raises(TypeError, match="expected a Kinesis client of aiobotocore"):
        run(put())


# --- tasks that are cancelled ---


def test_a_call_that_is_cancelled_may_have_stored_what_it_carried():
    """As one whose answer was lost: it is made again, and nothing is lost."""

    class StoresFirst(ShardsOfLoop):
        async def put_records(self, entries):
            outcomes = Shards.put_records(self, entries)
            if len(self.requests) <= 3:
                await asyncio.Event().wait()
            return outcomes

    transport = StoresFirst(1)

    async def main():
        async with AsyncProducer(transport=transport, linger_ms=1) as producer:
            receipt = await producer.put("k", b"0")
            for i in range(3):
                await until(lambda i=i: len(transport.requests) > i)
                (call,) = calls()
                call.cancel()
                await asyncio.wait([call])
            return await receipt

    outcome = run(main())
    assert [attempt.error_code for attempt in outcome.attempts] == ["CancelledError"] * 3
    assert values(transport) == [0] * 4


@pytest.mark.parametrize("begun", [False, True])
def test_what_is_told_of_calls_that_were_cancelled(begun):
    """One whose task was cancelled before its first step has sent nothing."""
    transport = ShardsOfLoop(1)

    async def main():
        loop = asyncio.get_running_loop()

        def make_task(loop, coroutine, **options):
            task = asyncio.Task(coroutine, loop=loop, **options)
            if coroutine.__qualname__ == "TasksOfLoop._make" and ready:
                loop.call_soon(task.cancel) if begun else task.cancel()
            return task

        ready = False
        async with AsyncProducer(transport=transport, linger_ms=1, record_ttl_ms=300) as producer:
            await (await producer.put("k", b"0"))
            loop.set_task_factory(make_task)
            ready = True
            receipt = await producer.put("k", b"1")
            with pytest.raises(RecordExpiredError) as raised:
                await receipt
            ready = False
            return raised.value

    error = run(main())
    assert {attempt.error_code for attempt in error.attempts} == {"CancelledError"}
    assert error.maybe_stored == begun
    assert values(transport) == [0]


def test_main_is_cancelled_and_what_was_put_is_delivered():
    transport = ShardsOfLoop()

    async def main():
        async with AsyncProducer(transport=transport, linger_ms=60_000) as producer:
            await producer.put_many([f"{i % 9}" for i in range(1000)], [b"%d" % i for i in range(1000)])
            asyncio.current_task().cancel()
            await asyncio.sleep(60)

    with pytest.raises(asyncio.CancelledError):
        run(main())
    in_order(transport, 1000)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_loses_nothing_and_doubles_nothing(times):
    code = f"""
import asyncio, signal, sys
sys.path.insert(0, {TESTS!r})
from shards_in_lists import ShardsOfLoop, in_order
from shardpack import AsyncProducer
transport, taken = ShardsOfLoop(), []

async def main():
    async with AsyncProducer(transport=transport, linger_ms=5, max_buffered_bytes=5_000) as producer:
        for i in range(100_000):
            if i == 2_000:
                for _ in range({times}):
                    signal.raise_signal(signal.SIGINT)
            await producer.put(f"{{i % 9}}", b"%d" % i)
            taken.append(i)

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""
    # a second one may end the loop while it is closed: then what is left is told, and nothing is stored twice
    check = "in_order(transport, len(taken))" if times == 1 else "assert len(set(v)) == len(v) <= len(taken)"
    assert (
        run_isolated(f"{code}\nv = [r.data for r in transport.user_records()]\n{check}\nprint(len(taken) >= 2000)")
        == "interrupted\nTrue\n"
    )


# --- a loop that is blocked ---


def test_a_loop_that_is_blocked_delivers_when_it_goes_on():
    transport = ShardsOfLoop()

    async def main():
        async with AsyncProducer(transport=transport, linger_ms=1) as producer:
            await (await producer.put("0", b"0"))
            receipts = [await producer.put(f"{i % 9}", b"%d" % i) for i in range(1, 100)]
            while not producer._pump._calls._under_way:  # in its own way, which blocks the loop
                os.sched_yield()
            assert len(values(transport)) == 1
            assert not any(receipt.done() for receipt in receipts)
            for receipt in receipts:
                await receipt

    run(main())
    in_order(transport, 100)


# --- closing ---


def test_closing_leaves_no_call_behind():
    transport = ShardsOfLoop(1)
    transport.gate.clear()

    async def main():
        producer = AsyncProducer(transport=transport, linger_ms=1, close_timeout_s=0.1)
        receipt = await producer.put("k", b"0")
        await under_way(transport)
        await producer.close()
        await until(lambda: not calls())
        assert transport.under_way == 0
        with pytest.raises(DeliveryError) as raised:
            await receipt
        return raised.value

    error = run(main())
    assert (error.error_code, error.maybe_stored) == ("ProducerClosed", True)


def test_another_loop_may_close_it_while_its_own_runs():
    transport, begun, over = ShardsOfLoop(), threading.Event(), threading.Event()
    kept = []

    async def main():
        producer = AsyncProducer(transport=transport, linger_ms=60_000)
        await producer.put_many([f"{i % 9}" for i in range(100)], [b"%d" % i for i in range(100)])
        kept.append(producer)
        begun.set()
        await until(over.is_set)

    thread = threading.Thread(target=run, args=(main(),))
    thread.start()
    begun.wait(10)
    run(kept[0].close())
    over.set()
    thread.join()
    in_order(transport, 100)


# --- a loop that has ended ---


@pytest.mark.parametrize("how", ["run", "closed", "stopped"])
def test_a_loop_that_ends_before_its_producer(monkeypatch, how):
    """What was under way may have been stored; what waited was not. All of it is told, and so is whoever closes."""
    monkeypatch.setattr(TasksOfLoop, "LOOK_S", 0.01)
    transport = ShardsOfLoop(1)
    transport.gate.clear()

    async def main():
        producer = AsyncProducer(transport=transport, linger_ms=1, record_ttl_ms=60_000)
        receipts = [await producer.put("k", b"0")]
        await under_way(transport)
        receipts.append(await producer.put("k", b"1"))
        return producer, receipts

    loop = asyncio.new_event_loop()
    if how == "run":
        loop.close()
        producer, receipts = asyncio.run(main())
    else:
        producer, receipts = loop.run_until_complete(main())
        if how == "closed":
            loop.close()
    if how != "stopped":
        with pytest.raises(DeliveryError, match="the event loop that makes the calls has ended"):
            receipts[1].result(10)
    with pytest.raises(EventLoopEndedError, match="Close the producer in that loop"):
        asyncio.run(producer.close())
    for receipt, maybe_stored in zip(receipts, (True, False), strict=True):
        with pytest.raises(DeliveryError) as raised:
            receipt.result(0)
        assert (raised.value.error_code, raised.value.maybe_stored) == ("EventLoopEnded", maybe_stored)
    transport.gate.set()
    if how == "stopped":  # and goes on: what was told is not stored after all
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()
    assert values(transport) == []


def test_what_was_delivered_before_the_loop_ended_is_no_error():
    transport = ShardsOfLoop()

    async def main():
        producer = AsyncProducer(transport=transport, linger_ms=1)
        await (await producer.put("k", b"0"))
        return producer

    asyncio.run(asyncio.run(main()).close())
    assert values(transport) == [0]


def test_what_is_put_in_a_later_loop_is_told():
    transport = ShardsOfLoop()

    async def put(producer):
        return await (await producer.put("k", b"0"))

    producer = AsyncProducer(transport=transport, linger_ms=1)
    asyncio.run(put(producer))
    with pytest.raises(DeliveryError, match="has ended"):
        asyncio.run(put(producer))
    with pytest.raises(EventLoopEndedError):
        asyncio.run(producer.close())


@pytest.mark.parametrize("how", ["asyncio.run(main())", "asyncio.new_event_loop().run_until_complete(main())"])
def test_an_interpreter_that_exits_after_its_loop_waits_for_nothing(how, tmp_path):
    code = f"""
import asyncio, atexit, sys
sys.path.insert(0, {TESTS!r})

@atexit.register  # before the library's own, so it is called after it
def check():
    with SQLiteDeadLetters({str(tmp_path / "letters")!r}) as letters:
        print(sorted((int(letter.data), letter.error_code, letter.maybe_stored) for _, letter in letters))

from shards_in_lists import ShardsOfLoop
from shardpack import AsyncProducer, SQLiteDeadLetters

async def main():
    letters = SQLiteDeadLetters({str(tmp_path / "letters")!r})
    producer = AsyncProducer(transport=ShardsOfLoop(), linger_ms=60_000, close_timeout_s=600, dead_letters=letters)
    for i in range(3):
        await producer.put("k", b"%d" % i)
    kept.append(producer)

kept = []
{how}
"""
    letters = [(i, "EventLoopEnded", False) for i in range(3)]
    assert run_isolated(code) == f"{letters}\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_process_is_told_to_make_its_own():
    code = f"""
import asyncio, os, sys, warnings
sys.path.insert(0, {TESTS!r})
from shards_in_lists import ShardsOfLoop, in_order
from shardpack import AsyncProducer
from shardpack.errors import EventLoopEndedError
warnings.simplefilter("ignore")  # that there are threads
transport = ShardsOfLoop()

async def put_in_child(producer):
    try:
        await producer.put("k", b"")
    except EventLoopEndedError as error:
        assert "parent process" in str(error)
        await producer.close()
        own = ShardsOfLoop()
        async with AsyncProducer(transport=own) as another:
            await another.put("k", b"0")
        in_order(own, 1)
        os._exit(0)

async def main():
    async with AsyncProducer(transport=transport, linger_ms=5) as producer:
        for i in range(100):
            await producer.put(f"{{i % 9}}", b"%d" % i)
        pid = os.fork()
        if not pid:
            asyncio._set_running_loop(None)
            try:
                asyncio.run(put_in_child(producer))
            finally:
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        for i in range(100, 200):
            await producer.put(f"{{i % 9}}", b"%d" % i)

asyncio.run(main())
in_order(transport, 200)
print("all")
"""
    assert run_isolated(code) == "all\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_loop_makes_no_call_of_the_parents():
    code = """
import asyncio, os, warnings
from shardpack.producer.callers import TasksOfLoop
warnings.simplefilter("ignore")  # that a loop is forked
made = []

async def call():
    made.append(os.getpid())

async def main():
    callers = TasksOfLoop(asyncio.get_running_loop(), lambda what: None)
    callers.submit(call, print, print)
    pid = os.fork()
    for _ in range(5):
        await asyncio.sleep(0)
    if not pid:
        os._exit(len(made))
    assert os.waitpid(pid, 0)[1] == 0
    assert made == [os.getpid()]
    print("made once")

asyncio.run(main())
"""
    assert run_isolated(code) == "made once\n"
