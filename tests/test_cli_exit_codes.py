"""Exit codes: every command with every code that it can end with."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from letters import letter

from shardpack import Aggregator, ShardMap, SQLiteDeadLetters
from shardpack.cli import app, bench, client, demo, inspect, plan, train
from shardpack.cli.outcome import ExitCode
from shardpack.consume.stream.checkpoints import Checkpoint
from shardpack.consume.stream.shards import ListedShard
from shardpack.consume.stream.sqlite_checkpoints import SQLiteCheckpoints
from shardpack.testing.local_kinesis import LocalKinesis

STREAM = "exit-codes"
DOCUMENT = Path(__file__).parent.parent / "docs" / "reference" / "command-line.md"

USES = {
    "demo": ["--events", "20", "--shards", "1", "--json"],
    "doctor": [STREAM, "--json"],
    "put": [STREAM, "{lines}", "--key", "id", "--json"],
    "tail": [STREAM, "--no-follow", "--json"],
    "inspect": ["{blob}"],
    "redrive": ["{letters}", STREAM, "--json"],
    "checkpoints": ["show", "{checkpoints}", "--json"],
    "plan": ["{samples}", "--key", "id", "--rate", "10", "--json"],
    "reshard": [STREAM, "--to", "1", "--json"],
    "train": ["{samples}", "--out", "{dictionary}", "--json"],
    "bench": ["--quick", "--seconds", "0", "--json"],
    "completion": ["zsh"],
}
"""Uses that end well."""

FAILING = {
    "doctor": ["absent"],
    "put": ["absent", "{lines}", "--key", "id"],
    "tail": ["absent"],
    "inspect": ["{text}"],
    "redrive": ["{letters}", "absent", "--from", STREAM],
    "checkpoints": ["reset", "{checkpoints}", "--stream", "absent", "--to", "latest"],
    "reshard": ["absent", "--to", "2"],
}
WRONG = [
    ("demo", "--shards", "0"),
    ("demo", "--events", "0"),
    ("demo", "--key", "pilot"),
    ("doctor",),
    ("put", STREAM),
    ("put", STREAM, "-", "--default-key", "k"),
    ("put", STREAM, "-", "--give-up-after", "-1"),
    ("put", STREAM, "-", "--key"),
    ("put", STREAM, "/no/such/file", "--key", "id"),
    ("put", STREAM, ".", "--key", "id"),
    ("put", "", "-", "--key", "id"),
    ("put", STREAM, "-", "--key", "id", "--linger-ms", "-1"),
    ("put", STREAM, "-", "--key", "id", "--endpoint-url", "nowhere"),
    ("tail", STREAM, "--from", "yesterday"),
    ("tail", STREAM, "--profile", "absent"),
    ("tail", STREAM, "--limit", "0"),
    ("tail", STREAM, "--wrong"),
    ("inspect", "/no/such/file"),
    ("inspect", "-", "--format", "utf7"),
    ("inspect", "{lines}"),
    ("inspect", "{blob}", "--record", "1"),
    ("redrive", "/no/such/file", STREAM),
    ("redrive", "{letters}"),
    ("redrive", "kinesis://dead", STREAM),
    ("redrive", "s3://", STREAM),
    ("redrive", "{letters}", STREAM, "--via", "dead.db"),
    ("redrive", "{letters}", STREAM, "--where", "colour=green"),
    ("redrive", "{letters}", STREAM, "--since", "yesterday"),
    ("checkpoints", "show"),
    ("checkpoints", "show", "/no/such/file"),
    ("checkpoints", "show", "{checkpoints}", "--to", "latest"),
    ("checkpoints", "show", "dynamodb:a"),
    ("checkpoints", "import", "{checkpoints}"),
    ("checkpoints", "import", "{checkpoints}", "/no/such/file"),
    ("checkpoints", "import", "{checkpoints}", "{text}"),
    ("checkpoints", "reset", "{checkpoints}", "--to", "latest"),
    ("checkpoints", "reset", "{checkpoints}", "--stream", STREAM),
    ("checkpoints", "reset", "{checkpoints}", "--stream", STREAM, "--to", "soon"),
    ("checkpoints", "move", "{checkpoints}"),
    ("plan",),
    ("plan", "{samples}"),
    ("plan", "{samples}", "--rate", "0"),
    ("plan", "{samples}", "--rate", "10", "--key", "absent"),
    ("plan", "{text}", "--rate", "10", "--key", "id"),
    ("plan", "{samples}", "--rate", "10", "--key", "id", "--max-utilisation", "0"),
    ("reshard", STREAM),
    ("reshard", STREAM, "--to", "2", "--balance"),
    ("reshard", STREAM, "--to", "0"),
    ("reshard", STREAM, "--to", "10001"),
    ("reshard", STREAM, "--to", "2", "--max-shards", "3"),
    ("reshard", STREAM, "--balance", "--seconds", "0"),
    ("reshard", STREAM, "--balance", "--sample", "{lines}"),
    ("reshard", STREAM, "--balance", "--sample", "/no/such/file", "--key", "id"),
    ("reshard", STREAM, "--balance", "--sample", "{text}", "--key", "id"),
    ("reshard", STREAM, "--balance", "--plan", "{text}"),
    ("reshard", STREAM, "--balance", "--plan", "."),
    ("train", "{samples}"),
    ("train", "--out", "{dictionary}"),
    ("train", "{lines}", "--out", "{dictionary}"),
    ("train", "/no/such/file", "--out", "{dictionary}"),
    ("train", "{samples}", "--out", "."),
    ("train", "{samples}", "--out", "{dictionary}", "--level", "23"),
    ("bench", "--seconds", "-1"),
    ("completion", "tcsh"),
    ("nothing",),
]
WITH_ENDING = {  # where to interrupt them: what they do first
    "demo": (LocalKinesis, "__enter__"),
    "doctor": (client, "make_client"),
    "put": (client, "make_client"),
    "tail": (client, "make_client"),
    "inspect": (inspect, "dissect_blob"),
    "redrive": (client, "make_client"),
    "checkpoints": (SQLiteCheckpoints, "kept"),
    "plan": (plan, "make_plan"),
    "reshard": (client, "make_client"),
    "train": (train, "Source"),
    "bench": (bench, "measure"),
}


@pytest.fixture(scope="session")
def stream(local_kinesis):
    local_kinesis.create_stream(STREAM, 1)
    local_kinesis.client().put_record(StreamName=STREAM, PartitionKey="k", Data=b"data")
    return STREAM


@pytest.fixture
def run(monkeypatch, stream, tmp_path, command_environment, local_kinesis):
    """Run a command in this process; returns its exit code."""
    aggregator = Aggregator(ShardMap.uniform(1))
    aggregator.add_many(["a", "b"], [b"1", b"2"])
    (tmp_path / "blob").write_bytes(aggregator.flush()[0].data)
    (tmp_path / "lines").write_text('{"id":"a"}\n')
    (tmp_path / "samples").write_text("".join(f'{{"id":"device-{i % 7}","celsius":{i}}}\n' for i in range(500)))
    (tmp_path / "text").write_text("no aggregated record")
    with SQLiteDeadLetters(tmp_path / "letters") as letters:
        letters.put([letter(stream=stream)])
    with SQLiteCheckpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.claim(stream, "host:1")
        checkpoints.begin({ListedShard("shardId-000000000000", 0, 2**128 - 1): Checkpoint("TRIM_HORIZON")})
    for name, value in command_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", local_kinesis.endpoint_url)
    monkeypatch.setattr(bench, "measure", lambda *_: iter(()))
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> int:
        given = [str(tmp_path / found[1]) if (found := re.fullmatch("{(.*)}", one)) else one for one in arguments]
        monkeypatch.setattr(sys, "argv", ["shardpack", *given])
        try:
            app.run()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    yield run
    signal.signal(signal.SIGTERM, before)


def test_the_table_is_that_of_the_document():
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(str(code.value), code.meaning) for code in ExitCode]
    assert {*USES} == {*app.COMMANDS, "completion"} == {name for name, *_ in WRONG} - {"nothing"}


def members(command: str) -> set[str]:
    """Return what the document says that the JSON of a command has."""
    (row,) = re.findall(rf"^\| `{command}` \| (`.*) \|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    return set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", row)))


@pytest.mark.parametrize("name", USES)
def test_what_is_done_is_told_as_documented(run, capsys, name):
    assert run(name, *USES[name]) == ExitCode.DONE
    told = capsys.readouterr()
    assert told.out
    assert told.err == ""
    if "--json" in USES[name]:
        for line in told.out.splitlines():
            assert set(json.loads(line)) == members(name) - ({"error"} if name == "tail" else set())


def test_what_a_dry_run_finds_is_a_verdict(run, capsys):
    assert run("redrive", *USES["redrive"], "--dry-run") == ExitCode.FAILED
    assert set(json.loads(capsys.readouterr().out)) == members("redrive --dry-run")


@pytest.mark.parametrize("name", FAILING)
def test_what_fails(run, name):
    assert run(name, *FAILING[name]) == ExitCode.FAILED


def test_a_demo_that_proves_nothing_fails(run, monkeypatch):
    monkeypatch.setattr(demo, "proof", lambda *_: (False, "lost"))
    assert run("demo", *USES["demo"]) == ExitCode.FAILED


def test_a_bench_that_cannot_measure_fails(run, monkeypatch, capsys):
    def measure_end_to_end(*_):
        raise bench.CannotMeasureError("no")

    monkeypatch.setattr(bench, "measure_end_to_end", measure_end_to_end)
    assert run("bench", "--end-to-end") == ExitCode.FAILED
    assert capsys.readouterr().err == "shardpack: no\n"


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_usage_is_one_line(run, capsys, monkeypatch, arguments):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    assert run(*arguments) == ExitCode.WRONG_USAGE
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("shardpack: ")
    assert len(told.err.splitlines()) == 1


@pytest.mark.parametrize("name", WITH_ENDING)
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)]
)
def test_a_signal_at_the_beginning(run, monkeypatch, name, number, code):
    place, what = WITH_ENDING[name]

    def end(*_, **__):
        os.kill(os.getpid(), number)
        raise AssertionError("goes on")

    places = [place] if place is not client else [client, sys.modules[f"shardpack.cli.{name}"]]
    for one in places:
        monkeypatch.setattr(one, what, end)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        assert run(name, *USES[name]) == code
    finally:
        signal.signal(signal.SIGINT, before)
