"""Where a reader begins, how far it says it has come, and where the next one goes on."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import datetime, timedelta, timezone
from itertools import count

import pyarrow as pa
import pytest
from botocore.exceptions import ClientError

from shardpack import Aggregator, Boto3Transport, ShardMap
from shardpack.consume.stream.checkpoints import (
    SHARD_END,
    Checkpoint,
    CheckpointError,
    CheckpointMovedBackError,
    MemoryCheckpoints,
)
from shardpack.consume.stream.reader import StreamReader
from shardpack.errors import ShardpackError
from shardpack.limits import MIB
from shardpack.testing.local_kinesis import wait_until_active

STREAM_NUMBERS = count(1)


@pytest.fixture
def client(local_kinesis):
    return local_kinesis.client()


@pytest.fixture
def stream(local_kinesis) -> str:
    name = f"resume-{next(STREAM_NUMBERS)}"
    local_kinesis.create_stream(name, 1)
    return name


def put_aggregates(client, stream, *aggregates: list[bytes], key="k", shard_map=None) -> list[str]:
    """Put each as one aggregated record; return their sequence numbers."""
    transport = Boto3Transport(client, stream)
    numbers = []
    for datas in aggregates:
        aggregator = Aggregator(shard_map or transport.list_shards())
        aggregator.add_many([key] * len(datas), datas)
        [record] = aggregator.flush()
        [stored] = transport.put_records([record])
        numbers.append(stored.sequence_number)
    return numbers


def read(client, stream, **options) -> list[bytes]:
    with StreamReader(stream, client=client, until="latest", **options) as reader:
        return [record.data for batch in reader for record in batch.records]


def split(client, stream) -> None:
    [shard] = Boto3Transport(client, stream).list_shards()
    client.split_shard(StreamName=stream, ShardToSplit=shard.shard_id, NewStartingHashKey=str(2**127))
    wait_until_active(client, stream)


def test_the_next_reader_goes_on_at_the_next_user_record(client, stream):
    put_aggregates(client, stream, [b"0", b"1", b"2"], [b"3", b"4"])
    checkpoints = MemoryCheckpoints()
    expected = [b"0", b"1", b"2", b"3", b"4"]
    for handled in range(5):
        with StreamReader(stream, client=client, until="latest", checkpoints=checkpoints) as reader:
            [batch] = reader
            assert [record.data for record in batch.records] == expected[handled:]
            batch.checkpoint(batch.records[0])
    assert read(client, stream, checkpoints=checkpoints) == []
    put_aggregates(client, stream, [b"5"])
    assert read(client, stream, checkpoints=checkpoints) == [b"5"]


def test_a_part_of_a_batch(client, stream):
    put_aggregates(client, stream, [b"0", b"1", b"2"], [b"3", b"4"])
    checkpoints = MemoryCheckpoints()
    with StreamReader(stream, client=client, until="latest", checkpoints=checkpoints) as reader:
        [batch] = reader
        assert len(batch) == 5
        assert [record.data for record in batch[1:4].records] == [b"1", b"2", b"3"]
        assert [record.data for record in batch[1:4][1:].records] == [b"2", b"3"]
        assert [bytes(batch[1:4].columns().data[i : i + 1]) for i in batch[1:4].columns().offsets[:-1]] == [
            b"1",
            b"2",
            b"3",
        ]
        assert pa.record_batch(batch[1:4].arrow()).column("data").to_pylist() == [b"1", b"2", b"3"]
        assert batch[:] is batch
        assert len(batch[3:2]) == 0
        with pytest.raises(TypeError, match=r"batch\[a:b\]"):
            batch[1]
        with pytest.raises(ValueError, match="step of 2"):
            batch[::2]
        batch[3:3].checkpoint()  # nothing of it
        batch[1:4].checkpoint()
    assert read(client, stream, checkpoints=checkpoints) == [b"4"]


def test_a_shard_that_ended_is_kept_as_ended_once_all_of_it_is_handled(client, stream):
    put_aggregates(client, stream, [b"0", b"1"])
    split(client, stream)
    put_aggregates(client, stream, [b"2"])
    checkpoints = MemoryCheckpoints()

    def kept():
        return {one.shard_id: one.checkpoint.sequence_number for one in checkpoints.kept()}["shardId-000000000000"]

    with StreamReader(stream, client=client, until="latest", checkpoints=checkpoints) as reader:
        batches = list(reader)
        assert [[record.data for record in batch.records] for batch in batches] == [[b"0", b"1"], [b"2"]]
        assert kept() == "TRIM_HORIZON"
        batches[0].checkpoint(batches[0].records[0])
        assert kept() == batches[0].records[0].sequence_number
        batches[0].checkpoint(batches[0].records[1])
        assert kept() == SHARD_END
        batches[0].checkpoint()
    assert read(client, stream, checkpoints=checkpoints) == [b"2"]


def test_a_shard_that_ended_later_is_kept_as_ended_without_another_checkpoint(client, stream):
    put_aggregates(client, stream, [b"0", b"1"])
    checkpoints = MemoryCheckpoints()
    with StreamReader(stream, client=client, poll_interval_s=0.2, checkpoints=checkpoints) as reader:
        next(reader).checkpoint()
        split(client, stream)
        put_aggregates(client, stream, [b"2"])
        batch = next(reader)
        assert {one.shard_id: one.checkpoint.sequence_number for one in checkpoints.kept()}[
            "shardId-000000000000"
        ] == SHARD_END
        assert batch.records[0].data == b"2"


def test_a_checkpoint_goes_forward_only(client, stream):
    put_aggregates(client, stream, [b"0", b"1", b"2"])
    [foreign] = put_aggregates(client, stream, [b"3"])
    with StreamReader(stream, client=client, until="latest") as reader:
        [batch] = reader
        batch.checkpoint(batch.records[1])
        batch.checkpoint(batch.records[1])
        with pytest.raises(CheckpointMovedBackError, match=r"shardId-000000000000: \d+/0 is before .*, \d+/1"):
            batch.checkpoint(batch.records[0])
        with pytest.raises(ValueError, match="not at"):
            batch.checkpoint(object())
    put_aggregates(client, stream, [b"4"])
    with StreamReader(stream, client=client, until="latest", start={"shardId-000000000000": foreign}) as reader:
        [other] = reader
        assert [record.data for record in other.records] == [b"3", b"4"]
        with pytest.raises(ValueError, match="one of its user records"):
            other.checkpoint(batch.records[0])


def test_from_a_sequence_number_which_is_included(client, stream):
    _, second, _ = put_aggregates(client, stream, [b"0"], [b"1", b"2"], [b"3"])
    split(client, stream)
    put_aggregates(client, stream, [b"4"])
    checkpoints = MemoryCheckpoints()
    start = {"shardId-000000000000": second}
    assert read(client, stream, start=start, checkpoints=checkpoints) == [b"1", b"2", b"3", b"4"]
    assert checkpoints.kept()[0].checkpoint == Checkpoint(second, -1)  # it is entered as it was given


def test_from_a_time_until_a_time(client, stream):
    def now():
        time.sleep(0.05)
        moment = datetime.now(timezone.utc)
        time.sleep(0.05)
        return moment

    put_aggregates(client, stream, [b"0"])
    since = now()
    put_aggregates(client, stream, [b"1"])
    split(client, stream)
    put_aggregates(client, stream, [b"2"])
    until = now()
    put_aggregates(client, stream, [b"3"])
    with StreamReader(stream, client=client, start=since, until=until) as reader:
        assert [record.data for batch in reader for record in batch.records] == [b"1", b"2"]
    with StreamReader(stream, client=client, start=since, until=since) as reader:
        assert list(reader) == []
    soon = datetime.now(timezone.utc) + timedelta(seconds=1.5)
    with StreamReader(stream, client=client, start=until, until=soon, poll_interval_s=0.2) as reader:
        assert [record.data for batch in reader for record in batch.records] == [b"3"]


def test_from_the_latest_and_what_comes_while_nobody_reads(client, stream):
    put_aggregates(client, stream, [b"old"])
    checkpoints = MemoryCheckpoints()
    options = {"client": client, "start": "latest", "checkpoints": checkpoints, "poll_interval_s": 0.2}
    with StreamReader(stream, **options) as reader:
        while not reader.stats().calls:
            time.sleep(0.01)
        put_aggregates(client, stream, [b"new"])
        assert [record.data for record in next(reader).records] == [b"new"]
    time.sleep(1.1)  # its time is known to the second
    with StreamReader(stream, **options) as reader:  # nothing was handled: what was new still is
        assert next(reader).records[-1].data == b"new"


def test_what_a_producer_sent_again_after_a_reshard_is_seen_once(client, stream):
    before = Boto3Transport(client, stream).list_shards()
    put_aggregates(client, stream, [b"0"])
    split(client, stream)
    now = Boto3Transport(client, stream).list_shards()
    half = [next(f"k{i}" for i in range(100) if now.assign([f"k{i}"])[0] == index) for index in range(2)]
    aggregator = Aggregator(before)
    aggregator.add_many(half, [b"1", b"2"])
    Boto3Transport(client, stream).put_records(aggregator.flush())  # of one shard that was, in one that is
    for key, data in zip(half, [b"1", b"2"], strict=True):
        put_aggregates(client, stream, [data, data + b"!"], key=key)
    with StreamReader(stream, client=client, until="latest") as reader:
        batches = list(reader)
    assert sorted(record.data for batch in batches for record in batch.records) == [b"0", b"1", b"1!", b"2", b"2!"]
    assert sum(batch.left_out for batch in batches) == 2
    assert len(read(client, stream, range_rule=False)) == 7


def test_stop_is_for_signal_handlers_too(client, stream):
    put_aggregates(client, stream, [b"0"])
    before = signal.getsignal(signal.SIGTERM)
    with StreamReader(stream, client=client) as reader:
        signal.signal(signal.SIGTERM, lambda *_: reader.stop())
        try:
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
            assert [record.data for batch in reader for record in batch.records] == [b"0"]
        finally:
            signal.signal(signal.SIGTERM, before)
    with pytest.raises(ShardpackError, match=f"reader of {stream} is closed"):
        next(reader)


def test_a_reader_that_nobody_asks_reads_no_further_than_its_bound(local_kinesis, client):
    name = f"resume-{next(STREAM_NUMBERS)}"
    local_kinesis.create_stream(name, 4)
    size = MIB - 1000
    for _ in range(12):
        client.put_records(
            StreamName=name,
            Records=[
                {"PartitionKey": "k", "ExplicitHashKey": str(shard.starting_hash_key), "Data": bytes(size)}
                for shard in Boto3Transport(client, name).list_shards()
            ],
        )
    bound = 20 * MIB
    with StreamReader(
        name, client=client, until="latest", max_buffer_bytes=bound, shard_bytes_per_second=float("inf")
    ) as reader:
        deadline = time.monotonic() + 10
        most = 0
        while time.monotonic() < deadline and reader.stats().calls < 2:
            time.sleep(0.05)
        time.sleep(1)  # for another call, which is not to be
        most = reader.stats().buffered_bytes
        assert bound - 10 * MIB < most <= bound
        seen = 0
        for batch in reader:
            seen += len(batch)
            assert reader.stats().buffered_bytes <= bound
    assert seen == 48


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_buffer_bytes": 20 * MIB - 1}, "max_buffer_bytes of 20,971,519 is less than two reads: 20,971,520"),
        ({"max_concurrent_calls": 0}, "max_concurrent_calls of 0 is less than 1"),
        ({"start": "oldest"}, 'start is "trim_horizon", "latest", a time, or .*, not \'oldest\''),
        ({"start": {"shardId-0": 5}}, "not 5 by 'shardId-0'"),
        ({"until": "tip"}, "until is a time or \"latest\", not 'tip'"),
        ({"poll_interval_s": -1}, "poll_interval_s of -1 is less than 0"),
        ({"shard_bytes_per_second": 0}, "shard_bytes_per_second of 0 is not more than 0"),
    ],
)
def test_options_that_are_none(client, options, message):
    with pytest.raises(ValueError, match=message):
        StreamReader("s", client=client, **options)


def test_the_times_of_start_and_until_need_a_zone(client):
    with pytest.raises(ValueError, match="start has no time zone"):
        StreamReader("s", client=client, start=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="until has no time zone"):
        StreamReader("s", client=client, until=datetime(2026, 1, 1))  # noqa: DTZ001


def test_uniform_shards_are_all_read(local_kinesis, client):
    name = f"resume-{next(STREAM_NUMBERS)}"
    local_kinesis.create_stream(name, 3)
    shard_map = ShardMap.uniform(3)
    keys = [next(f"k{i}" for i in range(100) if shard_map.assign([f"k{i}"])[0] == index) for index in range(3)]
    for key in keys:
        put_aggregates(client, name, [key.encode()], key=key)
    assert sorted(read(client, name)) == sorted(key.encode() for key in keys)


class SlowToEnter(MemoryCheckpoints):
    """Enters shards slowly, and tells what was kept before they were there."""

    def __init__(self) -> None:
        super().__init__()
        self.early: list[str] = []
        self._entered = threading.Event()
        self._written = threading.Event()

    def begin(self, shards):
        self._written.wait(0.5)  # so long there is time for what is wrong
        super().begin(shards)
        self._entered.set()

    def write(self, checkpoints):
        if not self._entered.is_set():
            self.early += checkpoints
        self._written.set()
        super().write(checkpoints)


@pytest.mark.parametrize("start", ["latest", "trim_horizon"])
def test_no_shard_is_read_before_all_are_in_the_store(client, stream, start):
    put_aggregates(client, stream, [b"a"])
    split(client, stream)
    store = SlowToEnter()
    with StreamReader(stream, client=client, until="latest", checkpoints=store, start=start) as reader:
        for batch in reader:
            batch.checkpoint()
    assert store.early == []


class FailingOnce(MemoryCheckpoints):
    """Checkpoints whose client meets a fault, the first time that ``method`` is called."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.method: str | None = method

    def fail(self, method: str) -> None:
        if self.method == method:
            self.method = None
            answer = {"Error": {"Code": "ThrottlingException", "Message": "of the table"}}
            raise ClientError(answer, "UpdateItem")  # which passes by itself, where it is of Kinesis

    def begin(self, shards) -> None:
        self.fail("begin")
        super().begin(shards)

    def write(self, checkpoints) -> None:
        self.fail("write")
        super().write(checkpoints)


@pytest.mark.parametrize("method", ["begin", "write"])
def test_a_store_that_fails_ends_the_reading(client, stream, method):
    put_aggregates(client, stream, [b"0", b"1"])
    time.sleep(1.1)  # where the latest was is known to the second
    checkpoints = FailingOnce(method)
    options = {"client": client, "checkpoints": checkpoints, "start": "latest" if method == "write" else "trim_horizon"}
    with (
        StreamReader(stream, **options) as reader,
        pytest.raises(CheckpointError, match=f"{stream}: checkpoints cannot be kept: .*ThrottlingException"),
    ):
        next(reader)
    put_aggregates(client, stream, [b"2"])
    options |= {"until": "latest"}
    with StreamReader(stream, **options) as reader:
        found = [record.data for batch in reader for record in batch.records]
    assert found == ([b"2"] if method == "write" else [b"0", b"1", b"2"])
    assert [one.shard_id for one in checkpoints.kept()] == ["shardId-000000000000"]


def test_what_may_have_expired_unread_is_told(client, stream, caplog):
    [number, _] = put_aggregates(client, stream, [b"0", b"1"], [b"2"])
    checkpoints = MemoryCheckpoints()
    with StreamReader(stream, client=client, until="latest", checkpoints=checkpoints) as reader:
        next(reader)
        assert reader.stats().gaps == 0
    began = time.time()
    checkpoints.claim(stream, "test")
    checkpoints.write({"shardId-000000000000": Checkpoint(number, 1, read_up_to=began - 25 * 3600)})
    checkpoints.release()
    with StreamReader(stream, client=client, until="latest", checkpoints=checkpoints) as reader:
        [batch] = reader
        assert reader.stats().gaps == 1
    assert [record.data for record in batch.records] == [b"2"]
    assert batch.gap is not None
    assert batch.gap.shard_id == "shardId-000000000000"
    assert batch.gap.since.timestamp() == pytest.approx(began - 25 * 3600, abs=0.001)
    assert batch.gap.until.timestamp() == pytest.approx(began - 24 * 3600, abs=60)  # the stream keeps a day
    [warning] = [entry.getMessage() for entry in caplog.records if "may have expired" in entry.getMessage()]
    assert "shardId-000000000000" in warning
