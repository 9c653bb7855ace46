"""Where the time goes: that stages are told apart, and make the whole; and a canned Kinesis to read from."""

from __future__ import annotations

import json
import threading
import time

import pytest

from shardpack import Boto3Transport, KinesisRecord, read_records
from shardpack.bench.canned_kinesis import SHARD_ITERATOR, STREAM, canned_kinesis
from shardpack.bench.corpus import synthetic
from shardpack.bench.end_to_end import PUT, RECEIVED, RECORD_SIZES, Stage, Taken
from shardpack.bench.producing import answer_itself, new_client
from shardpack.bench.stages import BOTO3, GET_RECORDS, PUT_RECORDS, CallMarks, ThreadClocks, least, timed

PUT_STAGES = [
    "stage",
    "route",
    "seal",
    "body",
    "sign: SHA-256 of the body",
    "sign: the rest",
    "send",
    "reply",
    BOTO3,
    "schedule, settle",
    "hand over",
    "the rest",
]


def test_canned_kinesis_gives_user_records_in_aggregated_records():
    aws = pytest.importorskip("aws_kinesis_agg.deaggregator")
    with canned_kinesis(user_records=1_500, record_size=100) as url:
        client = new_client(url)
        response, again = (client.get_records(ShardIterator=SHARD_ITERATOR) for _ in range(2))
    assert response["NextShardIterator"] == SHARD_ITERATOR
    assert response["MillisBehindLatest"] == 0
    assert response["Records"] == again["Records"]
    assert all(len(record["Data"]) <= 51_200 for record in response["Records"])
    numbers = [int(record["SequenceNumber"]) for record in response["Records"]]
    assert numbers == sorted(set(numbers))
    found = aws.iter_deaggregate_records(response["Records"], data_format="Boto3")
    assert [record["kinesis"]["partitionKey"] for record in found] == synthetic(1_500, 100).keys


def test_client_that_answers_itself_needs_no_server():
    with canned_kinesis(user_records=500) as url:
        client = new_client(url)
        answer_itself(client, SHARD_ITERATOR)
    for _ in range(2):  # reading takes nothing away from the answer
        found = read_records(client, ShardIterator=SHARD_ITERATOR).user_records()
        assert [record.data for record in found] == synthetic(500, 100).datas
        assert client.get_records(ShardIterator=SHARD_ITERATOR)["NextShardIterator"] == SHARD_ITERATOR


# --- clocks ---


def spin(nanoseconds):
    until = time.thread_time_ns() + nanoseconds
    while time.thread_time_ns() < until:
        pass


def test_threads_have_clocks_of_their_own_by_name():
    go = [threading.Event(), threading.Event()]
    done = [threading.Event(), threading.Event()]

    def work(i):
        go[i].wait()
        spin((i + 1) * 20_000_000)
        done[i].set()
        go[0].wait()

    threads = [threading.Thread(target=work, args=(i,), name=f"a-worker-{i}") for i in range(2)]
    for thread in threads:
        thread.start()
    clocks = ThreadClocks()
    go[1].set()
    assert done[1].wait(10)
    assert clocks.nanoseconds("a-worker-1") >= 40_000_000
    assert clocks.nanoseconds("a-worker-0") < 20_000_000  # it waits
    assert clocks.nanoseconds("a-worker") >= 40_000_000
    go[0].set()
    for thread in threads:
        thread.join()


def test_least_of_what_is_measured_counts():
    found = iter([5, 3, 4])
    assert least(lambda: next(found), 0) == 3
    assert timed(lambda: spin(5_000_000)) >= 5_000_000


def test_calls_are_marked_between_the_events_of_boto3():
    with canned_kinesis() as url:
        client = new_client(url)
        marks = CallMarks(client, "PutRecords", PUT_RECORDS, last="reply")
        events = client.meta.events
        for event, nanoseconds in (
            ("before-call", 30_000_000),  # where bodies are written
            ("before-parse", 20_000_000),
        ):
            events.register(f"{event}.kinesis.PutRecords", lambda taken=nanoseconds, **_: spin(taken))
        transport = Boto3Transport(client, STREAM)
        marks.listen_last()
        records = [KinesisRecord("device-7", None, b"data", 0, 1, 12)]
        with marks.call():
            transport.put_records(records)
        first = dict(marks.nanoseconds)
        transport.put_records(records)  # which nobody asked about
        marks.hashes = True
        with marks.call():
            transport.put_records(records)
    assert set(first) == {"body", BOTO3, "sign", "send", "reply"}
    assert first["body"] >= 30_000_000
    assert first["reply"] >= 20_000_000
    assert 2 * 30_000_000 <= marks.nanoseconds["body"] < 3 * 30_000_000
    assert marks.calls == 2
    assert marks.hashed > 0
    marks.reset()
    assert not marks.nanoseconds
    assert (marks.calls, marks.hashed) == (0, 0)


def test_call_that_fails_leaves_no_mark():
    with canned_kinesis(user_records=64) as url:
        client = new_client(url)
        marks = CallMarks(client, "GetRecords", GET_RECORDS, last="read")
        marks.listen_last()
        with pytest.raises(ZeroDivisionError), marks.call():
            raise ZeroDivisionError
        client.get_records(ShardIterator=SHARD_ITERATOR)
    assert not marks.nanoseconds
    assert marks.calls == 0


# --- the command ---


def test_bench_tells_stages_that_make_the_whole(shardpack):
    done = shardpack("bench", "--end-to-end", "--json", "--quick", "--seconds", "0")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["environment"]["sha256"]
    ways = [(taken["way"], taken["record_size"]) for taken in found["end_to_end"]]
    assert ways == [(way, size) for way in (PUT, RECEIVED) for size in RECORD_SIZES]
    for taken in found["end_to_end"]:
        names = [stage["name"] for stage in taken["stages"]]
        assert names == (PUT_STAGES if taken["way"] == PUT else ["receive", "decode", "verify", "make"])
        assert sum(stage["nanoseconds"] for stage in taken["stages"]) == pytest.approx(taken["nanoseconds"])
        assert sum(stage["share"] for stage in taken["stages"]) == pytest.approx(1)
        assert taken["records_per_cpu_second"] == pytest.approx(1e9 / taken["nanoseconds"])


def test_bench_shows_stages_in_a_table(shardpack):
    done = shardpack("bench", "--end-to-end", "--quick", "--seconds", "0", COLUMNS="140")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].split("  ")[0] == "Put until it is stored"
    assert "1,000 B, ns" in lines[0]
    assert [line.split("  ")[0].rstrip() for line in lines[1:13]] == PUT_STAGES


def test_share_is_of_the_whole():
    taken = Taken(PUT, 100, 10, 200.0, (Stage("stage", 50.0, "alone"),))
    assert taken.share(taken.stages[0]) == 0.25
    assert taken.records_per_cpu_second == 5e6
    assert taken.bytes_per_cpu_second == 5e8
