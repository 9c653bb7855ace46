from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from shardpack.cli.cost import WireMeter, cost_unaggregated
from shardpack.cli.demo import sent_events

WITH_PID = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from shardpack.cli import main
from shardpack.testing.local_kinesis import LocalKinesis
start = LocalKinesis.__enter__
def start_and_tell(self):
    start(self)
    print(self.pid, flush=True)
    return self
LocalKinesis.__enter__ = start_and_tell
main()
"""

CHANGED = """
from shardpack.cli import demo, main
from shardpack.testing.history import StoredRecord
receive = demo.receive
def change(*arguments):
    received = receive(*arguments)
    first, second, third, *others = records = received.records["shardId-000000000000"]
    def stored(record, **other):
        fields = {name: getattr(record, name) for name in StoredRecord._fields}
        return StoredRecord(**fields | other)
    records[:] = CHANGE
    return received
demo.receive = change
main()
"""

FILTERED_OUT = """
from shardpack import Boto3Transport, ShardMap
from shardpack.cli import main
from shardpack.transport import Stored
put_records = Boto3Transport.put_records
def put_unaware(self, entries):
    # all is aggregated for one shard, whatever the stream has, and the answer says that it landed there
    return [Stored("shardId-000000000000", stored.sequence_number) for stored in put_records(self, entries)]
Boto3Transport.put_records = put_unaware
Boto3Transport.list_shards = lambda self: ShardMap.uniform(1)
main()
"""


@pytest.fixture
def run(command_environment):
    def run(*arguments: str, code: str = "from shardpack.cli import main; main()"):
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", code, "demo", *arguments],
            capture_output=True,
            check=False,
            timeout=120,
            env=command_environment,
            encoding="utf-8",
        )

    return run


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def ends(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(pid)


def figures(stdout: str, row: str) -> list[float]:
    (line,) = [line for line in stdout.splitlines() if line.startswith(f"{row}  ")]
    return [float(figure.replace(",", "")) for figure in re.findall(r"[\d,.]+", line[len(row) :])]


@pytest.mark.parametrize(("key", "shards"), [("tailnum", 8), ("carrier", 3)])
def test_every_event_comes_back_with_figures_that_add_up(run, key, shards):
    done = run("--events", "6000", "--key", key, "--shards", str(shards))
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    sent = list(sent_events(key, 6000))
    payload = sum(len(event_key.encode()) + len(data) for event_key, data in sent)

    assert figures(done.stdout, "events") == [6000, 6000]
    records, unaggregated_records, _ = figures(done.stdout, "Kinesis records")[:3]
    assert 1 <= records <= 2 * shards
    assert unaggregated_records == 6000
    requests, unaggregated_requests, _ = figures(done.stdout, "requests")[:3]
    assert 1 <= requests <= records
    assert unaggregated_requests == 12
    wire, unaggregated_wire, _ = figures(done.stdout, "bytes on the wire")[:3]
    assert sum(len(data) for _, data in sent) * 4 / 3 < wire < unaggregated_wire
    units, unaggregated_units, _ = figures(done.stdout, "PUT payload units")[:3]
    assert units < 6000 == unaggregated_units

    by_shard = [figures(done.stdout, f"shardId-{i:012d}")[0] for i in range(shards)]
    assert 0.9 * payload < sum(by_shard) < 1.1 * payload
    keys = len({event_key for event_key, _ in sent})
    statement = " ".join(done.stdout.split())
    assert "Every one of the 6,000 events came back exactly once" in statement
    assert f"({keys:,} keys compared)" in statement


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("[first, second, *others]", "499 found: 1 lost. lost: key"),
        ("[*records, stored(first, sequence_number='9' * 56)]", "501 found, 1 duplicates"),
        ("[stored(first, data=b'odd'), second, third, *others]", "1 lost, 1 never put"),
        ("[stored(first, partition_key='odd'), second, third, *others]", "1 under another key"),
        ("[*records[1:], stored(first, sequence_number='9' * 56)]", "1 not where reported"),
    ],
)
def test_what_is_not_as_it_was_sent_is_told_and_exits_1(run, change, says):
    done = run("--events", "500", "--shards", "2", code=CHANGED.replace("CHANGE", change))
    assert (done.returncode, done.stderr) == (1, "")
    assert says in " ".join(done.stdout.split())


def test_aggregates_the_kcl_would_drop_are_told_and_exit_1(run):
    done = run("--events", "500", "--shards", "2", code=FILTERED_OUT)
    assert done.returncode == 1
    text = " ".join(done.stdout.split())
    assert "500 lost" in text
    assert "500 outside the hash range of their shard" in text


def test_interrupt_exits_130_and_leaves_no_server_behind(command_environment):
    with subprocess.Popen(
        [sys.executable, "-c", WITH_PID, "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=command_environment,
    ) as process:
        try:
            assert process.stdout is not None
            server = int(process.stdout.readline())
            assert is_alive(server)
            process.stdout.readline()  # it says what it does once the stream is there
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
            assert process.stderr is not None
            assert b"Traceback" not in process.stderr.read()
            assert ends(server)
        finally:
            process.kill()


if sys.platform == "linux":

    def test_killed_command_takes_its_server_along(command_environment):
        with subprocess.Popen(
            [sys.executable, "-c", WITH_PID, "demo"], stdout=subprocess.PIPE, env=command_environment
        ) as process:
            try:
                assert process.stdout is not None
                server = int(process.stdout.readline())
                assert is_alive(server)
            finally:
                process.kill()
            assert process.wait(60) == -signal.SIGKILL
            assert ends(server)


# --- what it would cost without aggregation ---


@pytest.mark.parametrize("n", [1, 499, 500, 501, 1200])
def test_computed_wire_bytes_are_those_boto3_sends(local_kinesis, n):
    name = f"cost-{n}"
    local_kinesis.create_stream(name, 2)
    client = local_kinesis.client()
    meter = WireMeter(client)
    events = [(f'ключ "{i % 7}" \x1f', b"x" * (i % 11)) for i in range(n)]
    for start in range(0, n, 500):
        client.put_records(
            StreamName=name,
            Records=[{"Data": data, "PartitionKey": key} for key, data in events[start : start + 500]],
        )
    cost = cost_unaggregated(events, name)
    assert (cost.kinesis_records, cost.requests, cost.wire_bytes) == (n, meter.requests, meter.wire_bytes)
    assert cost.payload_units == n


def test_large_events_fill_requests_by_bytes_and_units():
    events = [("k", b"x" * (1024 * 1024 - 1))] * 11
    cost = cost_unaggregated(events, "s")
    assert cost.requests == 3
    assert cost.payload_units == 11 * 41
