"""Keys that are split while they outgrow a shard: by a clock of the tests' own, with chance seeded."""

from __future__ import annotations

import logging
import os
import random
import threading
import tracemalloc
from collections import Counter, defaultdict

import pytest
from in_threads import in_threads

from shardpack import Producer, deaggregate
from shardpack.keys import HotKeys, sub_keys, unsalted
from shardpack.limits import KIB, MIB


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(autouse=True)
def seeded():
    """The same bytes are looked at in each run."""
    state = random.getstate()
    random.seed(14)
    yield
    random.setstate(state)


def run(strategy, clock, seconds, rates, *, batched=True):
    """Put records of each key at so many bytes a second; returns the keys that each became."""
    made, size = defaultdict(list), 1000
    for _ in range(round(seconds * 10)):
        records = [key for key, rate in rates.items() for _ in range(round(rate / size / 10))]
        random.shuffle(records)
        data = b"x" * size
        keys = (
            strategy.many(records, [data] * len(records))[0]
            if batched
            else [strategy(record, data) for record in records]
        )
        for key, new in zip(records, keys, strict=True):
            made[key].append(new)
        clock.now += 0.1
    return made


@pytest.mark.parametrize("batched", [True, False])
def test_only_what_outgrows_its_share_is_split_and_only_while_it_does(clock, caplog, batched):
    changes = []
    strategy = HotKeys(clock=clock, on_change=lambda key, n: changes.append((key, n)))
    rates = {"hot": 2 * MIB, "warm": 400_000, "cold": 20_000}
    with caplog.at_level(logging.INFO, "shardpack.keys"):
        run(strategy, clock, 20, rates, batched=batched)
        assert set(strategy.salted_keys) == {"hot"}
        made = run(strategy, clock, 10, rates, batched=batched)
        state = strategy.salted_keys["hot"]
        assert state.sub_keys == sub_keys("hot", len(state.sub_keys))
        assert len(state.sub_keys) in {8, 16}  # of at most 256 KiB/s each: 8, or 16 where the estimate is above
        assert state.bytes_per_second == pytest.approx(2 * MIB, rel=0.2)
        assert set(made["hot"]) == set(state.sub_keys)
        assert max(Counter(made["hot"]).values()) < 1.3 * min(Counter(made["hot"]).values())
        assert set(made["warm"]) == {"warm"}
        rates["hot"] = 300_000  # between hot and cool: it stays split
        run(strategy, clock, 100, rates, batched=batched)
        assert set(strategy.salted_keys) == {"hot"}
        rates["hot"] = 100_000
        run(strategy, clock, 50, rates, batched=batched)
        assert set(strategy.salted_keys) == {"hot"}  # not before 60 seconds
        run(strategy, clock, 30, rates, batched=batched)
        assert strategy.salted_keys == {}
        assert set(run(strategy, clock, 1, rates, batched=batched)["hot"]) == {"hot"}
    assert changes[0][0] == "hot"
    assert changes[-1] == ("hot", 1)
    assert [n for _, n in changes[:-1]] == sorted(n for _, n in changes[:-1])
    assert [record.levelname for record in caplog.records] == ["INFO"] * len(changes)
    assert "partition key 'hot'" in caplog.text
    assert "is whole again" in caplog.text


def test_a_key_grows_into_more_sub_keys_up_to_the_most(clock):
    strategy = HotKeys(clock=clock, hot_bytes_per_second=10_000, max_sub_keys=50)
    seen = []
    for rate in (12_000, 60_000, 150_000, 2_000_000):
        run(strategy, clock, 30, {"k": rate})
        seen.append(len(strategy.salted_keys["k"].sub_keys))
    assert seen == sorted(seen)
    assert seen[0] < seen[-1] == 32  # a power of two


def test_keys_for_order_within_a_part(clock):
    strategy = HotKeys(clock=clock, hot_bytes_per_second=10_000, by=lambda _, data: data[:1])
    run(strategy, clock, 20, {"k": 100_000})
    assert strategy.salted_keys
    for part in (b"a", b"b"):
        assert len({strategy("k", part + bytes([i])) for i in range(100)}) == 1
        assert len(set(strategy.many(["k"] * 100, [part + bytes([i]) for i in range(100)])[0])) == 1


def test_bytes_text_and_none_are_keys_as_ever(clock):
    strategy = HotKeys(clock=clock, hot_bytes_per_second=10_000)
    run(strategy, clock, 20, {"k": 100_000})
    keys, places = strategy.many(["k", b"k", None, "looks~#7", b"looks~#7"], [b""] * 5)
    assert places is None
    assert [unsalted(key) for key in keys] == ["k", b"k", None, "looks~#7", b"looks~#7"]
    assert [type(key) for key in keys] == [str, bytes, type(None), str, bytes]
    assert keys[0] in sub_keys("k", 64)
    assert unsalted(strategy("looks~#7", b"")) == "looks~#7"


def test_so_many_keys_are_told_apart_and_split(clock, caplog):
    strategy = HotKeys(clock=clock, hot_bytes_per_second=1.0, min_seconds=1e6)
    for i in range(20_000):
        strategy(f"key-{i}", b"x" * 40_000)
        assert len(strategy._bytes) <= 2048
    assert len(strategy.salted_keys) == 256
    [message] = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert message.startswith("256 keys are split, as many as may: 'key-")


def test_memory_is_within_what_it_says(clock):
    longest = ["\U0001f600" * 242 + f"{i:06}" for i in range(3000)]
    tracemalloc.start()
    try:
        strategy = HotKeys(clock=clock, hot_bytes_per_second=1.0, max_sub_keys=64)
        for key in longest:
            strategy(key[:], b"x" * 40_000)
        clock.now += 6
        for _ in range(3):
            for key in longest[:300]:
                strategy(key, b"x" * (8 * MIB))
            clock.now += 6
        del longest
        assert max(len(state.sub_keys) for state in strategy.salted_keys.values()) == 64
        assert tracemalloc.get_traced_memory()[0] < 22 * MIB
    finally:
        tracemalloc.stop()


def test_heavy_keys_are_found_among_more_than_are_told_apart(clock):
    strategy = HotKeys(clock=clock)
    rates = {"hot": 2 * MIB} | {f"key-{i}": 2_000 for i in range(4000)}
    run(strategy, clock, 12, rates)
    assert set(strategy.salted_keys) == {"hot"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hot_bytes_per_second": 0}, "a key is hot from 0"),
        ({"hot_bytes_per_second": 10, "cool_bytes_per_second": 11}, "cool below 11"),
        ({"hot_bytes_per_second": float("inf")}, "a key is hot from inf"),
        ({"min_seconds": -1}, "min_seconds of -1 is below 0"),
        ({"max_sub_keys": 257}, "257 sub-keys"),
    ],
)
def test_options_that_are_none(options, message):
    with pytest.raises(ValueError, match=message):
        HotKeys(**options)


def test_what_listens_may_fail(clock, caplog):
    def fail(*_):
        raise RuntimeError("not our day")

    strategy = HotKeys(clock=clock, hot_bytes_per_second=10_000, on_change=fail)
    run(strategy, clock, 10, {"k": 100_000})
    assert strategy.salted_keys
    assert "on_change failed" in caplog.text


def test_many_threads_at_once(clock):
    strategy = HotKeys(clock=clock, hot_bytes_per_second=KIB, min_seconds=0)
    allowed = set(sub_keys("a", 64)) | {"a"}
    wrong = []

    def put() -> None:
        for _ in range(300):
            wrong.extend(set(strategy.many(["a"] * 50, [b"x" * 2000] * 50)[0]) - allowed)
            clock.now += 0.01

    in_threads(4, put)
    assert wrong == []
    assert set(strategy.salted_keys) == {"a"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked there")
def test_a_process_that_is_forked_off_while_it_counts(clock):
    strategy = HotKeys(clock=clock, hot_bytes_per_second=10_000)
    with strategy._lock:
        pid = os.fork()
        if pid == 0:
            strategy._count({"k": 1.0})
            os._exit(0)
        ended = threading.Timer(30, os.kill, (pid, 9))
        ended.start()
        assert os.waitpid(pid, 0)[1] == 0
        ended.cancel()


def test_a_hot_key_reaches_all_shards(local_kinesis, clock):
    client = local_kinesis.client()
    local_kinesis.create_stream("hot-keys", 4)
    strategy = HotKeys(clock=clock, hot_bytes_per_second=20_000)
    with Producer("hot-keys", client=client, key_strategy=strategy) as producer:
        for i in range(300):
            producer.put_many(["UA"] * 10, [b"%d:" % (10 * i + j) + b"x" * 1000 for j in range(10)])
            clock.now += 0.1
    found = []
    shards = 0
    for shard in client.list_shards(StreamName="hot-keys")["Shards"]:
        where = client.get_shard_iterator(
            StreamName="hot-keys", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )
        records = deaggregate(client.get_records(ShardIterator=where["ShardIterator"], Limit=10_000))
        by_key = defaultdict(list)
        for record in records:
            by_key[record.partition_key].append(int(record.data.partition(b":")[0]))
        assert all(numbers == sorted(numbers) for numbers in by_key.values())  # order within a sub-key
        shards += len(records) > 300
        found += records
    assert shards == 4
    assert {unsalted(record.partition_key) for record in found} == {"UA"}
    assert sorted(int(record.data.partition(b":")[0]) for record in found) == list(range(3000))
