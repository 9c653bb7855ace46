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
        "out_of_order": 0,
        "ended_early": False,
        "left": 3,
        "interrupted": False,
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


def test_files_that_are_none(shardpack, path, stream):
    done = shardpack("redrive", path, stream)
    assert (done.returncode, done.stderr.replace("\n", " ")) == (
        2,
        f"shardpack: {path}: no such file; PATH is a file of dead letters ",
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
