"""The doctor command: what it prints, and how it ends. What it finds is `test_diagnosis.py`'s."""

from __future__ import annotations

import json

import pytest

from shardpack.testing.fault_proxy import FaultProxy
from shardpack.testing.faults import Error
from shardpack.transport import diagnosis


@pytest.fixture(scope="session")
def stream(local_kinesis):
    local_kinesis.create_stream("doctored", 2)
    return "doctored"


def test_a_line_a_check(shardpack, stream):
    done = shardpack("doctor", stream)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert {verdict for verdict, *_ in lines} == {"ok", "warning"}
    assert lines[1] == ["ok", "credentials", "accepted"]
    assert lines[-1][:2] == ["warning", "put"]
    assert len(lines) == 12


def test_json(shardpack, stream):
    done = shardpack("doctor", stream, "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert (found["stream"], found["verdict"]) == (stream, "warning")
    assert {name for check in found["checks"] for name in check} == {"name", "verdict", "found", "remedy"}
    assert {"name": "status", "verdict": "ok", "found": "ACTIVE", "remedy": ""} in found["checks"]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_fails_is_the_exit_code(shardpack, options):
    done = shardpack("doctor", "no-such-stream", *options)
    assert (done.returncode, done.stderr) == (1, "")
    assert "ResourceNotFoundException" in done.stdout
    assert "create it, or ask another region or account" in done.stdout


def test_without_credentials(shardpack, stream):
    done = shardpack("doctor", stream, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert done.returncode == 1
    assert done.stdout.startswith("fails    credentials  ")
    assert len(done.stdout.splitlines()) == 1


def test_what_a_service_says_steers_no_terminal(shardpack, local_kinesis, stream):
    denied = Error("AccessDeniedException", operations="ListShards", message="not\x1b[2J\nyou", probability=1)
    with FaultProxy(local_kinesis.endpoint_url, seed=1, faults=[denied]) as proxy:
        done = shardpack("doctor", stream, "--endpoint-url", proxy.endpoint_url)
    [line] = [line for line in done.stdout.splitlines() if " shards " in line]
    assert line.startswith("warning  shards        AccessDeniedException: not\\x1b[2J")
    assert line.endswith("→ allow kinesis:ListShards")
    assert "\x1b" not in done.stdout


def test_dry_runs_are_told_apart_by_the_time_the_service_wants():
    """It takes one a second, of a stream."""
    assert diagnosis.DRY_RUN_SECONDS > 1
