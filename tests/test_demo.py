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
from shardpack.testing.proof import prove

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

LOSING_ONE = """
from shardpack.cli import demo, main
receive = demo.receive
def lose_one(*arguments):
    received = receive(*arguments)
    received.events.pop(17)
    return received
demo.receive = lose_one
main()
"""

FILTERED_OUT = """
from shardpack.cli import main
from shardpack.producer import delivery
from shardpack import ShardMap
class Unaware(delivery.OrderedSender):
    # aggregates for one shard only, whatever the stream has, and does not look where they land
    def __init__(self, transport, limits):
        transport.list_shards = lambda: ShardMap.uniform(1)
        super().__init__(transport, limits)
    def _settle(self, request, outcomes, on_stored):
        for record, outcome in zip(request, outcomes, strict=True):
            self._lanes[record.shard_index].records.popleft()
            if not self._lanes[record.shard_index].records:
                del self._lanes[record.shard_index]
            self._count(record, outcome, on_stored)
        return [], None
delivery.OrderedSender = Unaware
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


def test_loss_is_told_and_exits_1(run):
    done = run("--events", "500", "--shards", "2", code=LOSING_ONE)
    assert done.returncode == 1
    assert "Of 500 events: 1 missing." in " ".join(done.stdout.split())


def test_aggregates_the_kcl_would_drop_are_told_and_exit_1(run):
    done = run("--events", "500", "--shards", "2", code=FILTERED_OUT)
    assert done.returncode == 1
    text = " ".join(done.stdout.split())
    assert "500 missing" in text
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


# --- the proof proves ---

SENT = [(key, f"{key}{i}".encode()) for i in range(4) for key in ("a", "b", "c")]


def test_proof_holds_whatever_the_order_between_keys():
    proof = prove(SENT, sorted(SENT))
    assert proof.holds
    assert (proof.events, proof.keys) == (12, 3)
    assert "12 events came back exactly once" in proof.statement()


def moved(event: int, to: int) -> list[tuple[str, bytes]]:
    rest = SENT[:event] + SENT[event + 1 :]
    return [*rest[:to], SENT[event], *rest[to:]]


@pytest.mark.parametrize(
    ("received", "says"),
    [
        (SENT[1:], "1 missing"),
        ([], "12 missing"),
        ([*SENT, SENT[5]], "1 duplicated"),
        ([*SENT[:3], SENT[0], *SENT[3:]], "1 duplicated"),
        (moved(0, 11), "4 out of order"),
        ([SENT[3], SENT[1], SENT[2], SENT[0], *SENT[4:]], "2 out of order"),
        ([("b", b"a0"), *SENT[1:]], "1 missing, 1 under a wrong key"),
        ([("z", b"a0"), *SENT[1:]], "1 missing, 1 under a wrong key"),
        ([*SENT, ("a", b"odd")], "1 never sent"),
        ([("a", b"A0"), *SENT[1:]], "1 missing, 1 never sent"),
        ([*SENT[2:], SENT[0]], "1 missing, 4 out of order"),
    ],
)
def test_proof_finds(received, says):
    proof = prove(SENT, received)
    assert not proof.holds
    assert f"Of 12 events: {says}. For example: key " in proof.statement()


def test_equal_events_count_as_often_as_they_were_sent():
    twice = [("a", b"x"), ("a", b"y"), ("a", b"x")]
    assert prove(twice, twice).holds
    assert prove(twice, twice[:2]).missing == 1
    assert prove(twice, [*twice, ("a", b"x")]).duplicated == 1
    assert prove(twice, [("a", b"x"), ("a", b"x"), ("a", b"y")]).reordered == 2


def test_what_the_hash_ranges_left_out_fails_the_proof():
    assert not prove(SENT, SENT, left_out=3).holds


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
