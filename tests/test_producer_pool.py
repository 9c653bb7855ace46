"""A stream for each tenant: few producers at a time for many streams, nothing lost as they come and go."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections import Counter

import pytest
from shards_in_lists import Shards

from shardpack.errors import BufferFullError, DeliveryError, ProducerClosedError
from shardpack.producer.callers import Hands
from shardpack.producer.producer import Producer
from shardpack.tenants import ProducerPool
from shardpack.tenants import pool as pools
from shardpack.testing import history


class Streams:
    """Transports into lists, one for each stream; what each was asked is counted."""

    def __init__(self, monkeypatch):
        self.streams, self.asked = {}, Counter()
        monkeypatch.setattr(pools, "Boto3Transport", self.transport)

    def transport(self, _client, name, **_options):
        if name not in self.streams:
            self.streams[name] = Counted(self, name)
        return self.streams[name]

    def put_records(self, **_call):
        raise AssertionError("transports are ours")


class Counted(Shards):
    def __init__(self, streams, name):
        super().__init__(1)
        self.streams, self.name = streams, name

    def list_shards(self):
        self.streams.asked["list"] += 1
        return super().list_shards()

    def describe(self):
        self.streams.asked["describe"] += 1
        return super().describe()


@pytest.fixture
def streams(monkeypatch):
    return Streams(monkeypatch)


def test_many_streams_have_few_producers_and_lose_nothing(streams):
    with ProducerPool(streams, max_producers=3, linger_ms=1) as pool:
        for i in range(200):
            pool.put(f"s{i % 20}", "k", b"%d" % i)
            assert len(pool.streams()) <= 3
        pool.flush(30)
    for i in range(20):
        assert [int(r.data) for r in streams.streams[f"s{i}"].user_records()] == list(range(i, 200, 20))
    assert streams.asked == {"list": 20, "describe": 20}  # to open one anew asks nothing


def test_what_is_known_for_long_is_asked_anew(streams, monkeypatch):
    monkeypatch.setattr(pools, "KEPT_SECONDS", 0.0)
    with ProducerPool(streams, max_producers=1, linger_ms=1) as pool:
        for i in range(4):
            pool.put(f"s{i % 2}", "k", b"1").result(30)
    assert streams.asked == {"list": 4, "describe": 4}


def test_a_stream_that_was_resharded_while_it_had_no_producer(streams):
    with ProducerPool(streams, max_producers=1, linger_ms=1) as pool:
        pool.put("s", "k", b"0").result(30)
        pool.put("other", "k", b"0").result(30)
        streams.streams["s"].reshard(4)
        for i in range(100):
            pool.put("s", f"{i}", b"%d" % i)
        pool.flush(30)
    assert {int(record.data) for record in streams.streams["s"].user_records()} == set(range(100))


def test_at_the_bound_a_put_waits_for_another_stream_to_be_delivered(streams):
    with ProducerPool(streams, max_producers=1, linger_ms=1) as pool:
        pool.put("a", "k", b"1").result(30)
        streams.streams["a"].gate.clear()
        held = pool.put("a", "k", b"2")
        with pytest.raises(BufferFullError, match="has records without an outcome"):
            pool.put("b", "k", b"1", timeout=0.05)
        threading.Timer(0.05, streams.streams["a"].gate.set).start()
        assert pool.put("b", "k", b"1").result(30)
        assert held.done()
        assert pool.streams() == ["b"]


def test_of_so_many_streams_something_is_known(streams, monkeypatch):
    monkeypatch.setattr(pools, "MOST_KNOWN", 3)
    with ProducerPool(streams, max_producers=1, linger_ms=1) as pool:
        for i in [0, 1, 2, 3, 3, 0]:
            pool.put(f"s{i}", "k", b"1").result(30)
        assert len(pool._known) == 3
    assert streams.asked["list"] == 5


def test_a_producer_that_was_closed_is_no_garbage():
    gc.disable()
    try:
        producer = Producer(transport=Shards(), linger_ms=1, receipts=False)
        producer.put("k", b"1")
        pump = weakref.ref(producer._pump)
        thread = producer._pump._thread
        producer.close()
        del producer
        thread.join(30)
        assert pump() is None
    finally:
        gc.enable()


def test_calls_have_so_many_threads_and_no_more():
    hands, gate, done = Hands(3), threading.Event(), threading.Semaphore(0)
    names = set()

    def task():
        gate.wait(30)
        names.add(threading.current_thread().name)
        done.release()

    for _ in range(20):
        hands.do(task)
    gate.set()
    for _ in range(20):
        assert done.acquire(timeout=30)
    assert names <= {f"shardpack-call-{i}" for i in (1, 2, 3)}
    hands.stop()


def test_idle_ones_are_closed(streams):
    with ProducerPool(streams, idle_s=0.0, linger_ms=1) as pool:
        for i in range(10):
            pool.put(f"s{i}", "k", b"1").result(30)
            pool.flush(30)
        assert len(pool.streams()) <= 2


def test_from_many_threads(streams):
    with ProducerPool(streams, max_producers=4, linger_ms=1) as pool:

        def put(number):
            for i in range(100):
                pool.put_many(f"s{(number + i) % 10}", [f"{number}"] * 2, [b"%d" % i] * 2)

        threads = [threading.Thread(target=put, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert sum(len(stream.user_records()) for stream in streams.streams.values()) == 1200


def test_after_the_end_nothing_is_taken(streams):
    pool = ProducerPool(streams, linger_ms=1)
    receipts = [pool.put(f"s{i}", "k", b"1") for i in range(5)]
    pool.close()
    assert all(receipt.done() for receipt in receipts)
    with pytest.raises(ProducerClosedError):
        pool.put("s0", "k", b"1")


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (ValueError, {"max_producers": 0}),
        (ValueError, {"max_producers": 10_001}),
        (ValueError, {"idle_s": -1}),
        (TypeError, {"transport": Shards()}),
        (TypeError, {"stream_arn": "arn"}),
        (TypeError, {"linger_ms": "x"}),
        (TypeError, {"colour": 1}),
    ],
)
def test_options_that_are_none_are_refused(streams, error, options):
    with pytest.raises(error):
        ProducerPool(streams, **options)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_process_that_is_forked_off_has_producers_of_its_own(streams):
    with ProducerPool(streams, linger_ms=1) as pool:
        pool.put("a", "k", b"1").result(30)
        child = os.fork()
        if not child:
            stored = pool.put("a", "k", b"2").result(30) is not None
            os._exit(0 if stored else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_to_streams_of_the_local_kinesis(local_kinesis):
    client = local_kinesis.client()
    names = [f"tenant-of-its-own-{i}" for i in range(6)]
    for name in names:
        local_kinesis.create_stream(name, 1)
    puts = {name: [] for name in names}
    with ProducerPool(client, max_producers=2, linger_ms=2) as pool:
        for i in range(300):
            name = names[i % 7 % 6]
            puts[name].append((f"{i % 5}", b"%d" % i, pool.put(name, f"{i % 5}", b"%d" % i)))
        with pytest.raises(DeliveryError):
            pool.put("there-is-no-such-stream", "k", b"1").result(30)
    for name in names:
        told = []
        for key, data, receipt in puts[name]:
            outcome = receipt.result(0)
            place = history.Position(outcome.shard_id, outcome.sequence_number, outcome.sub_sequence_number)
            told.append(history.Put(key, data, place))
        report = history.check(told, history.read_all(client, name, kcl_rule=True))
        assert report.holds, report
