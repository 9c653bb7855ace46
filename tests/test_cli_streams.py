"""Standard streams that are closed, full, or left by their reader: one line, an exit code, never a traceback."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from conftest import SHARDPACK
from faulty_kinesis import RESET, FaultyKinesis
from letters import letter

from shardpack import Aggregator, ShardMap

STREAM = "standard-streams"
CLOSED = "closed"
FULL = "No space left on device"


@pytest.fixture(scope="session")
def endpoint_url(local_kinesis):
    local_kinesis.create_stream(STREAM, 1)
    local_kinesis.client().put_record(StreamName=STREAM, PartitionKey="k", Data=b"data")
    return local_kinesis.endpoint_url


@pytest.fixture
def sh(command_environment, endpoint_url):
    def sh(
        redirected: str, *arguments: object, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.PIPE
    ) -> subprocess.CompletedProcess[str]:
        """Run the command with streams as a shell redirects them."""
        return subprocess.run(
            ["/bin/sh", "-c", f'"$@" {redirected}', "sh", *SHARDPACK, *map(str, arguments)],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
            timeout=120,
            env=command_environment | {"AWS_ENDPOINT_URL_KINESIS": endpoint_url},
            encoding="utf-8",
        )

    return sh


@pytest.fixture
def blob(tmp_path) -> Path:
    aggregator = Aggregator(ShardMap.uniform(1))
    aggregator.add_many([f"key-{i}" for i in range(5000)], [b"data"] * 5000)
    file = tmp_path / "blob"
    file.write_bytes(aggregator.flush()[0].data)
    return file


@pytest.fixture
def lines(tmp_path) -> Path:
    file = tmp_path / "lines"
    file.write_text('{"id":"a"}\n')
    return file


@pytest.mark.parametrize(
    "arguments", [("put", STREAM, "-", "--key", "id"), ("inspect", "-"), ("inspect", "-", "--json")]
)
def test_closed_input(sh, arguments):
    done = sh("<&-", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "shardpack: standard input: closed\n")


@pytest.mark.parametrize(("redirected", "says"), [(">&-", CLOSED), (">/dev/full", FULL)])
@pytest.mark.parametrize(
    "arguments",
    [
        ("tail", STREAM, "--no-follow"),
        ("tail", STREAM, "--json"),
        ("inspect", "{blob}"),
        ("inspect", "{blob}", "--json"),
        ("demo", "--events", "10", "--shards", "1"),
        ("--help",),
        ("tail", "--help"),
        ("--version",),
    ],
)
def test_output_that_takes_nothing(sh, blob, redirected, says, arguments):
    done = sh(redirected, *(str(blob) if argument == "{blob}" else argument for argument in arguments))
    assert (done.returncode, done.stderr) == (1, f"shardpack: standard output: {says}\n")


@pytest.mark.parametrize("redirected", ["2>&-", "2>/dev/full", "<&- >&- 2>&-"])
def test_errors_that_nobody_reads_change_no_exit_code(sh, lines, redirected):
    assert sh(redirected, "put", STREAM, lines, "--key", "id").returncode == 0
    assert sh(redirected, "put", STREAM, lines, "--key", "absent").returncode == 2
    assert sh(redirected, "put", "absent", lines, "--key", "id").returncode == 1
    assert sh(redirected, "inspect", "/no/such/file").returncode == 2


def test_put_needs_no_output(sh, lines):
    done = sh("<&- >&-", "put", STREAM, lines, "--key", "id")
    assert done.returncode == 0
    assert done.stderr.splitlines()[0].split() == ["events", "stored", "1"]


@pytest.mark.parametrize("options", [(), ("--json",), ("--all",)])
@pytest.mark.parametrize("damaged", [False, True])
def test_the_verdict_stands_when_the_reader_leaves(command_environment, blob, options, damaged):
    content = blob.read_bytes()
    if damaged:
        blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run(
            [*SHARDPACK, "inspect", blob, *options],
            stdout=gone,
            stderr=subprocess.PIPE,
            check=False,
            timeout=120,
            env=command_environment,
        )
    assert (done.returncode, done.stderr) == (int(damaged), b"")


def test_tail_goes_on_after_throttling_and_outages(shardpack, endpoint_url):
    with FaultyKinesis(endpoint_url) as faulty:
        faulty.fail("ListShards", "LimitExceededException")
        faulty.fail("GetShardIterator", RESET)
        faulty.fail("GetRecords", "ProvisionedThroughputExceededException", "ExpiredIteratorException")
        options = ("--limit", "1", "--endpoint-url", faulty.endpoint_url)
        done = shardpack("tail", STREAM, *options, AWS_MAX_ATTEMPTS="1")
        assert faulty.left == 0
    assert (done.returncode, done.stdout) == (0, "k data\n")
    told, again = done.stderr.splitlines()
    assert told.startswith(f"shardpack: {STREAM} cannot be reached, trying again for 300 s: ")
    assert again == f"shardpack: {STREAM} can be reached again"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--help",), 0),
        (("tail", "--help"), 0),
        (("completion", "zsh"), 0),
        (("tail", STREAM, "--no-follow"), 0),
        (("doctor", STREAM), 0),
        (("doctor", "absent", "--json"), 1),
        (("put", "absent", "{lines}", "--key", "id", "--json"), 1),
        (("demo", "--events", "10", "--shards", "1"), 0),
        (("redrive", "{letters}", STREAM, "--dry-run"), 1),
        (("bench", "--end-to-end", "--quick", "--seconds", "0"), 0),
    ],
)
def test_a_reader_that_leaves_is_no_error(sh, lines, letters, path, arguments, code):  # noqa: PLR0917 (fixtures)
    letters.put([letter(stream=STREAM)])
    places = {"{lines}": lines, "{letters}": path}
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = sh("", *(places.get(argument, argument) for argument in arguments), stdout=gone.fileno())
    assert done.returncode == code
    assert not done.stderr or (code == 1 and done.stderr.startswith("shardpack: "))
    assert len(done.stderr.splitlines()) <= 1
