"""The redrive command: what it says, how it ends, and what it leaves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from conftest import SHARDPACK
from faulty_kinesis import FaultyKinesis
from letters import by_key, everything, kept, letter, put_events

from shardpack.dead_letters import KinesisDeadLetters, S3DeadLetters


def figures(done):
    lines = done.stderr.splitlines()
    return dict(line.rsplit(maxsplit=1) for line in lines if not line.startswith(("shardpack", "letter ")))


def test_the_command_sends_and_says_what_it_did(shardpack, letters, path, client, stream):
    events = put_events(letters, 5, 10, stream=stream)
    letters.put([letter(stream="other"), letter(key="key-1", data=b"maybe", stream=stream, maybe_stored=True)])
    done = shardpack("redrive", path, stream)
    assert (done.returncode, done.stdout) == (0, "")
    assert figures(done) == {
        "letters stored": "51",
        "of them maybe stored before": "1",
        "of other streams": "1",
        "left": "0",
    }
    assert by_key(everything(client, stream)) == by_key([*events, ("key-1", b"maybe")])
    assert len(kept(path)) == 1


def test_the_command_as_json_with_letters_left(shardpack, letters, path, stream):
    letters.put([letter(stream=stream), letter(key="", stream=stream), letter(key="", stream=stream)])
    letters.put([letter(stream=stream, maybe_stored=True)])
    done = shardpack("redrive", path, stream, "--json", "--skip-maybe-stored")
    assert done.returncode == 1
    assert done.stderr == f"shardpack: 3 letters are left in {path}\n"
    found = json.loads(done.stdout)
    (refusal,) = found.pop("refusals")
    assert found == {
        "stored": 1,
        "stored_maybe_again": 0,
        "not_stored": 1,
        "held_back": 1,
        "skipped": 1,
        "other_streams": 0,
        "not_selected": 0,
        "out_of_order": 0,
        "ended_early": False,
        "left": 3,
        "interrupted": False,
        "taken": 0,
        "others": 0,
    }
    assert (refusal["id"], refusal["error_code"]) == (2, "InvalidPartitionKeyError")
    told = shardpack("redrive", path, stream, "--skip-maybe-stored")
    assert "letter 2 (key ''): InvalidPartitionKeyError: the partition key is empty" in told.stderr


def test_a_dry_run_tells_what_is_there(shardpack, letters, path):
    letters.put([letter(n, stream="\x1b[31m", maybe_stored=n == 1) for n in range(3)])
    letters.put([letter(stream="other", error_code="Expired\ud800", given_up_at=0.0)])
    done = shardpack("redrive", path, "other", "--dry-run", AWS_REGION="", AWS_DEFAULT_REGION="")
    assert (done.returncode, done.stderr) == (1, "")
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [
        ["\\x1b[31m", "InternalFailure", "3", "3", "1", "2023-11-14T22:14:20Z"],
        ["other", "Expired\\ud800", "1", "1", "0", "1970-01-01T00:00:00Z"],
    ]
    done = shardpack("redrive", path, "third", "--dry-run", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["left"] == 0
    assert [(tally["letters"], tally["size"], tally["maybe_stored"]) for tally in found["letters"]] == [
        (3, 3, 1),
        (1, 1, 0),
    ]
    assert len(kept(path)) == 4


def test_letters_of_one_stream_into_another(shardpack, letters, path, client, stream):
    letters.put([letter(stream="gone"), letter(stream=stream)])
    assert shardpack("redrive", path, stream, "--from", "gone").returncode == 0
    assert everything(client, stream) == [("key", b"0")]
    assert [each.stream for each in kept(path)] == [stream]


def some(letters_or_sink, stream):
    """Put letters with all that --where asks for; data are their numbers."""
    fields = [
        {"error_code": "ValueError", "given_up_at": 1_700_000_000.0},
        {"error_code": "KeyError", "handler": "alerts", "given_up_at": 1_800_000_000.0},
        {"error_code": "KeyError", "key": "größe=1", "shard_id": "shardId-000000000001"},
        {"error_code": "TypeError", "shard_id": "shardId-000000000001"},
    ]
    letters_or_sink.put([letter(n, **{"stream": stream} | given) for n, given in enumerate(fields)])
    letters_or_sink.put([letter(4, stream="other", error_code="ValueError")])


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--where", "error=ValueError"], "0"),
        (["--where", "error=ValueError", "--where", "error=KeyError"], "012"),
        (["--where", "error=KeyError", "--where", "handler=alerts"], "1"),
        (["--where", "key=größe=1"], "2"),
        (["--where", "shard=shardId-000000000001"], "23"),
        (["--where", "stream=other"], "4"),
        (["--from", "other", "--where", "stream=other"], "4"),
        (["--since", "1700000000.5"], "123"),
        (["--since", "2027-01-01T00:00:00Z", "--where", "error=KeyError"], "1"),
    ],
    ids=str,
)
def test_those_that_are_asked_for(shardpack, letters, path, client, stream, options, numbers):  # noqa: PLR0917
    some(letters, stream)
    done = shardpack("redrive", path, stream, *options, "--dry-run", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["left"]) == (1, len(numbers))
    done = shardpack("redrive", path, stream, *options)
    assert (done.returncode, figures(done)["letters stored"]) == (0, f"{len(numbers)}")
    assert sorted(data.decode() for _, data in everything(client, stream)) == [*numbers]
    assert len(letters) == 5 - len(numbers)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["kinesis://dead"], "kinesis://dead: nothing can be removed from a stream: --via FILE is where its letters"),
        (["kinesis://", "--via", "x.db"], "kinesis://: names nothing"),
        (["s3://"], "s3://: names nothing"),
        (["s3:///prefix"], "s3:///prefix: names nothing"),
        (["{path}", "--via", "x.db"], "--via is for kinesis://STREAM, not for"),
        (
            ["{path}", "--where", "error"],
            "--where takes NAME=VALUE, NAME one of stream, error, key, shard, handler; not",
        ),
        (["{path}", "--where", "colour=green"], "--where takes NAME=VALUE"),
        (["{path}", "--where", "stream=a", "--from", "b"], "--from and --where name one stream, not 2"),
        (["{path}", "--since", "yesterday"], "--since takes an ISO 8601 time or epoch seconds, not 'yesterday'"),
    ],
)
def test_what_cannot_be_asked_for(shardpack, letters, path, arguments, says):
    assert len(letters) == 0
    first, *options = (one.format(path=path) for one in arguments)
    done = shardpack("redrive", first, "telemetry", *options)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())


def test_letters_in_s3(shardpack, client, stream, bucket, s3, local_kinesis):  # noqa: PLR0917
    dead = S3DeadLetters(bucket, "dead", s3)
    some(dead, stream)
    events = put_events(dead, 5, 100, stream=stream)
    dead.put([letter(key="", stream=stream)])
    at = {"AWS_ENDPOINT_URL_S3": local_kinesis.endpoint_url}
    done = shardpack("redrive", f"s3://{bucket}/dead", stream, "--dry-run", "--json", "--where", "error=KeyError", **at)
    assert (done.returncode, json.loads(done.stdout)["left"]) == (1, 2)
    done = shardpack("redrive", f"s3://{bucket}/dead", stream, **at)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"shardpack: 1 letters are left in s3://{bucket}/dead"
    assert "ndjson.zst#0 (key ''): InvalidPartitionKeyError" in done.stderr
    assert sorted((each.stream, each.data) for _, each in dead) == sorted([(stream, b"0"), ("other", b"4")])
    found = by_key(everything(client, stream))
    assert {key: found[key] for key in by_key(events)} == by_key(events)
    done = shardpack("redrive", "s3://absent-bucket", stream, **at)
    assert (done.returncode, "s3://absent-bucket/: " in done.stderr, "NoSuchBucket" in done.stderr) == (1, True, True)


def test_letters_in_a_stream(shardpack, path, client, stream, local_kinesis):
    local_kinesis.create_stream(dead := f"{stream}-dead", 2)
    sink = KinesisDeadLetters(dead, client)
    events = [(f"key-{n % 5}", b"%d" % n + bytes(2**20 * (n == 7) - 10 * (n == 7))) for n in range(200)]
    sink.put([letter(key=key, data=data, stream=stream) for key, data in events])
    sink.put([letter(key="", stream=stream), letter(stream="other")])
    client.put_record(StreamName=dead, PartitionKey="key", Data=b"something else")
    done = shardpack("redrive", f"kinesis://{dead}", stream, "--via", path)
    assert done.returncode == 1
    assert figures(done) == {
        "taken out of the stream": "202",
        "no dead letters there": "1",
        "letters stored": "200",
        "of them maybe stored before": "0",
        "not stored": "1",
        "of other streams": "1",
        "left": "1",
    }
    assert done.stderr.splitlines()[-1] == f"shardpack: 1 letters are left in {path}"
    assert by_key(everything(client, stream)) == by_key(events)
    sink.put([letter(1, stream=stream)])
    arn = client.describe_stream_summary(StreamName=dead)["StreamDescriptionSummary"]["StreamARN"]
    done = shardpack("redrive", f"kinesis://{arn}", stream, "--via", path, "--where", "key=key", "--json")
    assert done.returncode == 0
    assert [json.loads(done.stdout)[name] for name in ("taken", "others", "stored", "left")] == [1, 0, 1, 0]
    done = shardpack("redrive", "kinesis://absent", stream, "--via", path)
    assert (done.returncode, "ResourceNotFoundException" in done.stderr) == (1, True)


def test_files_that_are_none(shardpack, path, stream):
    done = shardpack("redrive", path, stream)
    assert (done.returncode, done.stderr.replace("\n", " ")) == (
        2,
        f"shardpack: {path}: no such file; FROM is a file of dead letters, s3://… or kinesis://… ",
    )
    assert not path.exists()
    path.write_text("x" * 5000)
    done = shardpack("redrive", path, stream)
    assert (done.returncode, done.stderr) == (1, f"shardpack: {path}: not a SQLite database\n")


def test_a_stream_that_is_not_there(shardpack, letters, path):
    letters.put([letter(stream="absent")])
    done = shardpack("redrive", path, "absent")
    assert done.returncode == 1
    assert "ResourceNotFoundException" in done.stderr
    assert kept(path) == [letter(stream="absent")]


def test_what_ends_it_is_told_once(shardpack, letters, path, local_kinesis, stream):
    letters.put([letter(stream=stream, key=""), *(letter(n, key=f"{n}", stream=stream) for n in range(9))])
    with FaultyKinesis(local_kinesis.endpoint_url) as faulty:
        faulty.fail("PutRecords", *["AccessDeniedException"] * 9)
        done = shardpack("redrive", path, stream, "--endpoint-url", faulty.endpoint_url)
    assert done.returncode == 1
    assert figures(done)["not stored"] == figures(done)["left"] == "10"
    assert [line[:9] for line in done.stderr.splitlines() if line.startswith("letter ")] == ["letter 1 "]
    assert done.stderr.splitlines()[-1].startswith("shardpack: An error occurred (AccessDeniedException)")
    assert [each.error_code for each in kept(path)] == ["InvalidPartitionKeyError", *["AccessDeniedException"] * 9]


@pytest.mark.skipif(sys.platform == "win32", reason="no kill -9 here")
@pytest.mark.parametrize("with_what", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_command_is_interrupted_and_goes_on(  # noqa: PLR0917 (fixtures)
    shardpack, command_environment, local_kinesis, letters, path, client, stream, with_what
):
    for first in range(0, 20_000, 1000):
        letters.put([letter(key=f"key-{n % 7}", data=b"%d" % n, stream=stream) for n in range(first, first + 1000)])
    with FaultyKinesis(local_kinesis.endpoint_url) as between:
        command = [
            *SHARDPACK[:-1],
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + SHARDPACK[-1],
            "redrive",
            str(path),
            stream,
            "--endpoint-url",
            between.endpoint_url,
        ]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, env=command_environment)
        while process.poll() is None and between.requests["PutRecords"] < 2:
            pass
        process.send_signal(with_what)
        told = process.communicate()[1].decode()
    left = len(kept(path))
    assert 0 < left <= 20_000
    if with_what != signal.SIGKILL:
        assert process.returncode == 130
        assert f"interrupted: {left:,} letters are left" in " ".join(told.split())
    assert shardpack("redrive", path, stream).returncode == 0
    assert len(letters) == 0
    found = everything(client, stream)
    assert by_key(list(dict.fromkeys(found))) == by_key([(f"key-{n % 7}", b"%d" % n) for n in range(20_000)])
    assert len(found) - 20_000 <= (4000 if with_what == signal.SIGKILL else 0)


# --- to a handler ---

HANDLERS = """
import sys

class Alerts:
    @staticmethod
    def handle(letter):
        if letter.data == b"1:2":
            raise KeyError("no such device")
        with open("handled.txt", "a") as file:
            print(letter.stream, letter.partition_key, letter.data.decode(), file=file)

nothing = 5
"""


def test_letters_go_to_a_handler(shardpack, letters, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "handlers_of_mine.py").write_text(HANDLERS)
    events = put_events(letters, 2, 4, stream="one")
    letters.put([letter(stream="other", key="k", data=b"another stream's")])
    done = shardpack("redrive", path, "handler:handlers_of_mine:Alerts.handle")
    assert done.returncode == 1
    assert figures(done) == {
        "letters handled": "7",
        "of them maybe stored before": "0",
        "not handled": "1",
        "held back by these": "1",
        "left": "2",
    }
    assert "(key 'key-1'): KeyError: 'no such device'" in done.stderr
    handled = [line.split(" ", 2)[1:] for line in (tmp_path / "handled.txt").read_text().splitlines()]
    expected = [*events, ("k", b"another stream's")]
    assert handled == [[key, data.decode()] for key, data in expected if data not in {b"1:2", b"1:3"}]
    assert [(each.data, each.error_code == "KeyError") for each in kept(path)] == [(b"1:2", True), (b"1:3", False)]


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("handler:", "handler:: a handler is handler:MODULE:FUNCTION"),
        ("handler:json", "handler:json: a handler is handler:MODULE:FUNCTION"),
        ("handler:no_such_module_here:f", "handler:no_such_module_here:f: No module named 'no_such_module_here'"),
        ("handler:json:nope", "handler:json:nope: module 'json' has no attribute 'nope'"),
        ("handler:json:__name__", "handler:json:__name__: __name__ is no function"),
    ],
)
def test_what_is_no_handler_is_said_before_anything_is_taken(shardpack, letters, path, target, says):
    letters.put([letter()])
    done = shardpack("redrive", path, target)
    assert (done.returncode, done.stderr) == (2, f"shardpack: {says}\n")
    assert len(kept(path)) == 1
