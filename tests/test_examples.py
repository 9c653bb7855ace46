"""The examples do what they say, as they stand in the repository."""

from __future__ import annotations

import importlib.util
import json
import re
import signal
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from aws_lambda_powertools import Logger
from lambda_events import event_of, sequence_numbers

from shardpack import Aggregator, Boto3Transport, DeliveryError, Producer, ShardMap
from shardpack.consume.aws_lambda import each_user_record
from shardpack.testing import FaultProxy, faults, history
from shardpack.testing.local_kinesis import wait_until_active

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def run(local_kinesis, command_environment):
    def run(name: str, *arguments: str, stdin: str = "") -> str:
        return subprocess.run(
            [sys.executable, EXAMPLES / name, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
            env=command_environment | {"AWS_ENDPOINT_URL_KINESIS": local_kinesis.endpoint_url},
        ).stdout

    return run


def test_what_produce_sends_consume_reads(local_kinesis, run):
    local_kinesis.create_stream("examples", 2)
    assert run("produce.py", "examples").startswith("1,000,000 readings in ")
    lines = [
        line.split(" ", 3)
        for shard in ("shardId-000000000000", "shardId-000000000001")
        for line in run("consume.py", "examples", shard).splitlines()
    ]
    assert len(lines) == 1_000_000
    minutes = [int(data.split(":")[1].split(",")[0]) for _, _, key, data in lines if key == "device-77"]
    assert minutes == list(range(100))


def test_tenants_share_a_stream(local_kinesis, run):
    local_kinesis.create_stream("examples-tenants", 2)
    said = run("tenants.py", "examples-tenants")
    assert "acme: 500 put, 500 stored\nglobex: 500 put, 500 stored\n" in said
    noisy = re.search(r"noisy: ([\d,]+) put, ([\d,]+) stored\n([\d,]+) of noisy's were not taken", said).groups()
    put, stored, refused = (int(number.replace(",", "")) for number in noisy)
    assert put == stored
    assert put + refused == 5_000
    assert said.endswith(f"acme reads 500 of its own, and none of {500 + put:,} others\n")


def test_what_is_put_before_sigterm_is_stored(local_kinesis, command_environment):
    local_kinesis.create_stream("until-sigterm", 2)
    process = subprocess.Popen(
        [sys.executable, EXAMPLES / "produce_until_sigterm.py", "until-sigterm"],
        stdout=subprocess.PIPE,
        text=True,
        env=command_environment | {"AWS_ENDPOINT_URL_KINESIS": local_kinesis.endpoint_url},
    )
    assert process.stdout.readline() == "putting\n"
    process.terminate()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    put, stored, failed = (int(number.replace(",", "")) for number in re.findall(r"[0-9,]*[0-9]", said))
    assert (put, failed) == (stored, 0)
    assert put > 0
    assert readings_in(local_kinesis.client(), "until-sigterm") == list(range(put))


def test_what_came_before_sigterm_is_handled_or_put_aside(local_kinesis, command_environment, tmp_path):
    local_kinesis.create_stream("consume-until-sigterm", 2)
    with Producer("consume-until-sigterm", client=local_kinesis.client()) as producer:
        producer.put("device-0", b"no JSON")
        for i in range(1, 1000):
            producer.put(f"device-{i % 7}", b'{"reading": %d}' % i)
        producer.flush()
    process = subprocess.Popen(
        [sys.executable, EXAMPLES / "consume_stream.py", "consume-until-sigterm"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=command_environment | {"AWS_ENDPOINT_URL_KINESIS": local_kinesis.endpoint_url},
    )
    with Producer("consume-until-sigterm", client=local_kinesis.client()) as producer:
        for key in (f"device-{i}" for i in range(7)):
            producer.put(key, b'{"reading": 0}')
    for _ in range(7):
        assert process.stdout.readline() == "begun\n"
    process.terminate()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert said.startswith("1,006 readings handled, 1 put aside, ")


UPSTREAM_IN_A_FILE = """
import sys
from acknowledge_upstream import Producer, Upstream, pass_on


class Kept(Upstream):
    def acknowledge(self, before):
        with open(sys.argv[2], "a") as kept:
            print(before, file=kept)


begin = int(sys.argv[3])
upstream = Kept([(f"device-{i % 7}", b'{"reading": %d}' % i) for i in range(40_000)])
upstream._next = begin
with Producer(sys.argv[1], linger_ms=1, max_aggregate_records=50) as producer:
    pass_on(upstream, producer)
"""


def test_a_killed_process_loses_nothing_that_is_acknowledged_upstream(local_kinesis, command_environment, tmp_path):
    local_kinesis.create_stream("killed", 2)
    kept = tmp_path / "acknowledged"
    kept.touch()
    environment = command_environment | {
        "AWS_ENDPOINT_URL_KINESIS": local_kinesis.endpoint_url,
        "PYTHONPATH": str(EXAMPLES),
    }

    def begin():
        lines = kept.read_text().split("\n")[:-1]
        command = [sys.executable, "-c", UPSTREAM_IN_A_FILE, "killed", str(kept), lines[-1] if lines else "0"]
        return subprocess.Popen(command, env=environment), len(lines)

    for _ in range(3):
        process, acknowledged = begin()
        while kept.read_text().count("\n") < acknowledged + 3 and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        assert process.wait(30) == -signal.SIGKILL
    process, _ = begin()
    assert process.wait(120) == 0
    first_copies = {}
    for shard in history.read_all(local_kinesis.client(), "killed", kcl_rule=True):
        for record in shard.records:
            first_copies.setdefault(record.partition_key, {})[json.loads(record.data)["reading"]] = None
    assert sorted(reading for each in first_copies.values() for reading in each) == list(range(40_000))
    assert all(list(each) == sorted(each) for each in first_copies.values())


def test_every_device_is_confirmed_what_is_stored(local_kinesis, run):
    local_kinesis.create_stream("confirmed", 2)
    assert run("produce_async.py", "confirmed") == "10,000 readings are stored and confirmed\n"
    readings = {}
    for shard in history.read_all(local_kinesis.client(), "confirmed", kcl_rule=True):
        for record in shard.records:
            readings.setdefault(record.partition_key, []).append(json.loads(record.data)["reading"])
    assert len(readings) == 500
    assert all(each == list(range(20)) for each in readings.values())


def readings_in(client, stream_name):
    shards = history.read_all(client, stream_name, kcl_rule=True)
    return sorted(json.loads(record.data)["reading"] for shard in shards for record in shard.records)


def test_what_is_acknowledged_is_stored(local_kinesis, run):
    local_kinesis.create_stream("acknowledged", 2)
    assert run("acknowledge_upstream.py", "acknowledged") == "20,000 messages are stored and acknowledged\n"
    assert readings_in(local_kinesis.client(), "acknowledged") == list(range(20_000))


def test_what_cannot_be_stored_is_not_acknowledged(local_kinesis):
    example = load("acknowledge_upstream.py")
    local_kinesis.create_stream("not-acknowledged", 1)
    upstream = example.Upstream([("device-7", b'{"reading": %d}' % i) for i in range(50)])
    with FaultProxy(local_kinesis.endpoint_url, seed=1) as proxy:
        options = {"linger_ms": 1, "record_ttl_ms": 300, "close_timeout_s": 1}
        with Producer("not-acknowledged", client=proxy.client(), **options) as producer:
            upstream.messages.insert(20, ("device-7", b"the stream is away from here on"))
            poll, away = upstream.poll, faults.Error("AccessDeniedException", operations="PutRecords")

            def poll_until_away(timeout):
                if upstream._next == 20:
                    producer.flush(10)
                    proxy.faults = [away]
                return poll(timeout)

            upstream.poll = poll_until_away
            with pytest.raises(DeliveryError):
                example.pass_on(upstream, producer)
    assert upstream.acknowledged <= 20
    assert readings_in(local_kinesis.client(), "not-acknowledged") == list(range(20))


def put(client, stream_name, shard_map, keys):
    aggregator = Aggregator(shard_map)
    for key in keys:
        aggregator.add(key, b"data of " + key.encode())
    for record in aggregator.flush():
        client.put_records(StreamName=stream_name, Records=[record.to_boto3()])


def keys_of(printed):
    return [line.split(" ", 3)[2] for line in printed.splitlines()]


KEYS = [f"key-{i}" for i in range(20)]


def test_an_installed_client_reads_what_deaggregate_reads(local_kinesis, run):
    local_kinesis.create_stream("plainly", 1)
    put(local_kinesis.client(), "plainly", ShardMap.uniform(1), KEYS)
    shard = "shardId-000000000000"
    assert run("consume_installed.py", "plainly", shard) == run("consume.py", "plainly", shard)
    assert keys_of(run("consume_installed.py", "plainly", shard)) == KEYS


def test_after_resharding_stale_aggregates_are_left_out(local_kinesis, run):
    """A producer that still believes in the parent puts an aggregated record whose keys belong to both children."""
    client = local_kinesis.client()
    local_kinesis.create_stream("stale-aggregates", 1)
    before = ShardMap.uniform(1)
    put(client, "stale-aggregates", before, KEYS)
    client.split_shard(
        StreamName="stale-aggregates",
        ShardToSplit="shardId-000000000000",
        NewStartingHashKey=str(ShardMap.uniform(2)[1].starting_hash_key),
    )
    wait_until_active(client, "stale-aggregates")
    put(client, "stale-aggregates", before, KEYS)
    after = Boto3Transport(client, "stale-aggregates").list_shards()
    put(client, "stale-aggregates", after, KEYS)
    children = [[key for key, at in zip(KEYS, after.assign(KEYS), strict=True) if at == i] for i in (0, 1)]
    assert all(children)
    parent, low, high = (f"shardId-{i:012d}" for i in range(3))
    assert keys_of(run("consume_like_kcl.py", "stale-aggregates", parent)) == KEYS  # closed, and all of it its own
    assert keys_of(run("consume_like_kcl.py", "stale-aggregates", low)) == children[0]
    assert keys_of(run("consume_like_kcl.py", "stale-aggregates", high)) == children[1]
    everything = [len(keys_of(run("consume.py", "stale-aggregates", shard))) for shard in (low, high)]
    assert sum(everything) == 2 * len(KEYS)


def test_to_parquet_writes_what_a_shard_holds(local_kinesis, run, tmp_path):
    local_kinesis.create_stream("to-parquet", 1)
    sent = [(f"device-{i % 7}", b"%d" % i) for i in range(5000)]
    aggregator = Aggregator(ShardMap.uniform(1), max_bytes=20_000)
    aggregator.add_many([key for key, _ in sent], [data for _, data in sent])
    for record in aggregator.flush():
        local_kinesis.client().put_record(StreamName="to-parquet", **record.to_boto3())
    path = tmp_path / "shard.parquet"
    assert run("to_parquet.py", "to-parquet", "shardId-000000000000", str(path)) == f"5,000 user records in {path}\n"
    table = pq.read_table(path)
    assert set(table["shard_id"].to_pylist()) == {"shardId-000000000000"}
    assert list(zip(table["partition_key"].to_pylist(), table["data"].to_pylist(), strict=True)) == sent


def test_shard_of_counts_keys(run):
    printed = run("shard_of.py", "2", stdin="".join(f"key-{i}\n" for i in range(1000)))
    counts = [int(line.split()[1]) for line in printed.splitlines()]
    assert len(counts) == 2
    assert sum(counts) == 1000


def load(name):
    spec = importlib.util.spec_from_file_location(Path(name).stem, EXAMPLES / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CONTEXT = SimpleNamespace(
    function_name="readings",
    memory_limit_in_mb=128,
    invoked_function_arn="arn:aws:lambda:us-east-2:111122223333:function:readings",
    aws_request_id="c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
    get_remaining_time_in_millis=lambda: 3000,
)


def readings(*rows):
    """Return a Lambda event of aggregated records, a row of readings each; what is no number is no reading."""
    datas = []
    for row in rows:
        aggregator = Aggregator(ShardMap.uniform(1))
        for i, celsius in enumerate(row):
            aggregator.add(f"device-{i}", json.dumps({"celsius": celsius}).encode() if celsius else b"broken")
        [record] = aggregator.flush()
        datas.append(record.data)
    return event_of(*datas)


def test_the_lambda_handler_skips_what_was_handled(capsys):
    function = load("lambda_handler.py")
    event = readings([1, 2], [3, None, 5], [6, 7])
    assert function.handler(event, CONTEXT) == {"batchItemFailures": [{"itemIdentifier": sequence_numbers(event)[1]}]}
    mended = readings([1, 2], [3, 4, 5], [6, 7])
    again = {"Records": mended["Records"][1:]}
    assert function.handler(again, CONTEXT) == {"batchItemFailures": []}
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [celsius for _, _, celsius in printed] == ["1", "2", "3", "4", "5", "6", "7"]


def test_the_firehose_transformation():
    datas = {"reading": b'{"celsius": 20}', "other": b"{}", "no JSON": b"{"}
    records = [
        {"recordId": name, "data": b64encode(data).decode(), "kinesisRecordMetadata": {"partitionKey": "device-7"}}
        for name, data in datas.items()
    ]
    answers = load("firehose_transform.py").handler({"records": records}, CONTEXT)["records"]
    answered = {answer["recordId"]: answer for answer in answers}
    assert b64decode(answered["reading"]["data"]) == b'{"device": "device-7", "fahrenheit": 68.0}\n'
    assert [answered[name]["result"] for name in datas] == ["Ok", "Dropped", "ProcessingFailed"]


def test_powertools_batch_processor(capsys):
    function = load("lambda_powertools.py")
    event = readings([1, 2], [3, None, 5], [6, 7])
    response = function.handler(event, CONTEXT)
    assert response == {"batchItemFailures": [{"itemIdentifier": sequence_numbers(event)[1]}]}
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    # it goes on after a failure: what it handled there comes again
    assert [line["celsius"] for line in logged if line["message"] == "reading"] == [1, 2, 3, 6, 7]
    assert {line["function_name"] for line in logged if line["message"] == "reading"} == {"readings"}
    assert function.handler(readings([1, 2], [3]), CONTEXT) == {"batchItemFailures": []}


def test_powertools_logger_around_our_decorator(capsys):
    logger = Logger(service="around")

    @logger.inject_lambda_context
    @each_user_record
    def handler(record, context):
        logger.info("reading", device=record.partition_key, celsius=json.loads(record.data)["celsius"])
        assert context is CONTEXT

    event = readings([1, 2], [3, None, 5], [6])
    assert handler(event, CONTEXT) == {"batchItemFailures": [{"itemIdentifier": sequence_numbers(event)[1]}]}
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["celsius"] for line in logged if line["message"] == "reading"] == [1, 2, 3]
    assert {line["function_request_id"] for line in logged} == {CONTEXT.aws_request_id}


def test_combined_flights_are_the_same_rows(run, tmp_path):
    picture = tmp_path / "combine.svg"
    said = run("combine_flights.py", "--records", "12000", "--picture", str(picture)).splitlines()
    (_, each, each_writes, _), (_, combined, writes, _) = (line.split() for line in said[1:3])
    assert (each, each_writes, combined) == ("12,000", "12,000", "12,000")
    assert int(writes.replace(",", "")) < 4_000
    assert [line.split()[0] for line in said[3:]] == ["DuckDB", "DuckDB"]
    assert b"</svg>" in picture.read_bytes()
