"""`shardpack put`: how it ends and goes on, what it passes over, and what it shows."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from contextlib import contextmanager
from itertools import count

import pytest
import zstandard
from faulty_kinesis import FaultyKinesis
from terminal import SIGNALLED, on_terminal, screen

from shardpack.consume.stream.reader import StreamReader

STREAM_NUMBERS = count(1)
THROTTLED = "ProvisionedThroughputExceededException"


@pytest.fixture
def stream(local_kinesis):
    name = f"cli-put-{next(STREAM_NUMBERS)}"
    local_kinesis.create_stream(name, 4)
    return name


@pytest.fixture
def faulty(local_kinesis):
    with FaultyKinesis(local_kinesis.endpoint_url) as faulty:
        yield faulty


@pytest.fixture
def stored(local_kinesis, stream):
    """Key and data of every user record in the stream, in the order of its shards."""

    def stored():
        client = local_kinesis.client()
        return [
            (record.partition_key, record.data)
            for read in StreamReader(stream, client=client, until="latest", range_rule=False)
            for record in read.records
        ]

    return stored


def events(n: int, size: int = 0) -> list[bytes]:
    return [json.dumps({"id": f"device-{i % 13}", "n": i, "text": "x" * size}).encode() for i in range(n)]


def put(shardpack, stream, content, *options, **environment):
    return shardpack("put", stream, "-", *options, stdin=content, **environment)


def figures(done):
    return dict(line.rsplit(maxsplit=1) for line in done.stderr.splitlines() if not line.startswith("shardpack"))


@contextmanager
def running(shardpack, *arguments, endpoint_url=None, **streams):
    command = [*SIGNALLED, "put", *map(str, arguments), "--endpoint-url", endpoint_url or shardpack.endpoint_url]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=shardpack.environment, **streams)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stderr):
            if stream is not None:
                stream.close()


# --- keys ---


def test_lines_without_keys_go_as_they_are(shardpack, stream, stored):
    lines = [b"plain text", b'{"id":1}', b"\xff\xfe", *events(5000)]
    done = put(shardpack, stream, b"\n".join(lines))
    assert done.returncode == 0, done.stderr
    assert Counter(data for _, data in stored()) == Counter(lines)
    assert figures(done)["events stored"] == f"{len(lines):,}"
    assert int(figures(done)["Kinesis records"].replace(",", "")) < 100


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (b'{"a":{"b":"inner"}}', "inner"),
        (b'{"a":{"b":"inner"},"a.b":"literal"}', "literal"),
        (b'{"a":{"b":"inner"},"a.b":null}', "?"),
        (b'{"a":{"b":1.50}}', "1.50"),
        (b'{"a":{"c":1}}', "?"),
        (b'{"a":"text"}', "?"),
        (b"{}", "?"),
    ],
)
def test_dotted_keys(shardpack, stream, stored, line, key):
    assert put(shardpack, stream, line, "--key", "a.b", "--default-key", "?").returncode == 0
    assert stored() == [(key, line)]


def test_a_dotted_key_that_is_no_text(shardpack, stream):
    done = put(shardpack, stream, b'{"a":{"b":["x"]}}', "--key", "a.b")
    assert done.returncode == 2
    assert "line 1: the field 'a.b' is an array" in done.stderr


def test_the_stream_by_its_arn(shardpack, stream, stored, local_kinesis, tmp_path):
    arn = local_kinesis.client().describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]
    file = tmp_path / "events"
    file.write_bytes(b'{"id":"a"}')
    done = shardpack("put", arn, file, "--key", "id")
    assert done.returncode == 0, done.stderr
    assert stored() == [("a", b'{"id":"a"}')]
    assert shardpack("tail", arn, "--no-follow").stdout == 'a {"id":"a"}\n'


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, zstandard.compress])
def test_compressed_standard_input(shardpack, stream, stored, compress):
    lines = events(3000)
    assert put(shardpack, stream, compress(b"\n".join(lines)), "--key", "id").returncode == 0
    assert Counter(data for _, data in stored()) == Counter(lines)


# --- what it says ---


def test_quiet_says_nothing(shardpack, stream):
    done = put(shardpack, stream, b'{"id":1}', "--key", "id", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = put(shardpack, stream, b'{"id":1}\n{}', "--key", "id", "--quiet")
    assert done.returncode == 2
    assert done.stderr.startswith("shardpack: line 2: ")
    assert len(done.stderr.splitlines()) == 1


def test_compressed(shardpack, stream, stored):
    sent = events(2000, 60)
    done = put(shardpack, stream, b"\n".join(sent), "--key", "id", "--compression", "zstd", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bytes"] * 4 < sum(map(len, sent))
    assert sorted(data for _, data in stored()) == sorted(sent)


def test_figures_as_json(shardpack, stream, local_kinesis):
    content = b"\n".join(events(1000)) + b"\n\n"
    done = put(shardpack, stream, content, "--key", "id", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    records = [
        record
        for read in StreamReader(stream, client=local_kinesis.client(), until="latest", range_rule=False)
        for record in read.kinesis_records()
    ]
    sizes = [len(record["Data"]) + len(record["PartitionKey"]) for record in records]
    assert found.pop("seconds") > 0
    assert found.pop("requests") > 0
    assert found == {
        "stored": 1000,
        "not_stored": 0,
        "maybe_stored": 0,
        "unbroken_to_line": 1001,
        "unbroken_to_byte": len(content),
        "skipped_lines": 0,
        "kinesis_records": len(records),
        "bytes": sum(sizes),
        "payload_units": sum(-(-size // 25_600) for size in sizes),
        "resent_entries": 0,
        "interrupted": False,
        "error": None,
    }
    done = put(shardpack, stream, b"{}", "--key", "id", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"].startswith("line 1: ")


def test_nothing_stored_is_no_table_of_zeros(shardpack, stream):
    done = put(shardpack, stream, b"{}", "--key", "id")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_an_empty_input_is_fine(shardpack, stream):
    done = put(shardpack, stream, b"\n", "--key", "id")
    assert done.returncode == 0
    assert figures(done)["events stored"] == "0"


def test_what_is_not_taken_any_more_ends_it(shardpack, stream, faulty):
    faulty.fail("PutRecords", *["InternalFailure"] * 1000)
    done = put(
        shardpack, stream, b'{"id":1}', "--key", "id", "--give-up-after", "0.5", "--endpoint-url", faulty.endpoint_url
    )
    assert done.returncode == 1
    assert "nothing was stored for 0.5 s: InternalFailure" in done.stderr
    assert "0 events are stored, unbroken to line 0; 0 are not, 1 may be" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_the_service_refuses_for_good_ends_it(shardpack, stream, faulty, stored):
    faulty.fail("PutRecords", "", "AccessDeniedException")
    lines = events(3000, 1000)
    done = put(shardpack, stream, b"\n".join(lines), "--key", "id", "--endpoint-url", faulty.endpoint_url)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "AccessDeniedException" in last
    told = re.search(r"\(([\d,]+) events are stored, unbroken to line ([\d,]+); ([\d,]+) are not\)", last)
    assert told is not None, done.stderr
    kept, line, lost = (int(figure.replace(",", "")) for figure in told.groups())
    found = [data for _, data in stored()]
    assert kept == len(found)
    assert lost > 0
    assert set(lines[:line]) <= set(found)
    assert lines[line] not in found
    assert figures(done)["unbroken to line"] == f"{line:,}"


# --- bad lines ---


def test_bad_lines_are_set_aside(shardpack, stream, stored, tmp_path):
    bad = [b"{nope}", b'{"id":""}', b'{"id":"\xff"}', b"x" * 3_000_000, json.dumps({"id": "k" * 257}).encode()]
    big = json.dumps({"id": "big", "text": "y" * 2**20}).encode()
    good = events(500)
    lines = [good[0], bad[0], bad[1], *good[1:400], bad[2], bad[3], good[400], b"", bad[4], big, *good[401:]]
    file = tmp_path / "bad.ndjson"
    file.write_bytes(b'{"line":0}\n')
    done = put(shardpack, stream, b"\n".join(lines), "--key", "id", "--skip-bad", file)
    assert done.returncode == 0, done.stderr
    assert figures(done)["events stored"] == "500"
    assert figures(done)["bad lines skipped"] == "6"
    found = stored()
    for key in {key for key, _ in found}:
        assert [data for other, data in found if other == key] == [
            line for line in good if json.loads(line)["id"] == key
        ]
    assert Counter(data for _, data in found) == Counter(good)
    first, *told = map(json.loads, file.read_bytes().splitlines())
    assert first == {"line": 0}
    assert [each["line"] for each in told] == [2, 3, 403, 404, 407, 408]
    assert [lines[each["line"] - 1] for each in told] == [*bad, big]
    assert told[0]["data"] == "{nope}"
    assert told[2]["data_base64"] == "eyJpZCI6Iv8ifQ=="
    assert told[3]["cut"] is True
    assert lines[403].startswith(told[3]["data"].encode())
    assert "partition key" in told[1]["reason"]
    assert "1,048,576" in told[5]["reason"]


def test_a_bad_line_does_not_end_a_pipe(shardpack, stream, stored, tmp_path):
    file = tmp_path / "bad"
    with running(
        shardpack, stream, "-", "--key", "id", "--linger-ms", "10", "--skip-bad", file, stdin=subprocess.PIPE
    ) as process:
        process.stdin.write(b'{"id":"a"}\nbad\n{"id":"b"}\n')
        process.stdin.flush()
        while len(stored()) < 2:
            assert process.poll() is None
        assert json.loads(file.read_bytes())["line"] == 2
        process.stdin.write(b'{"id":"c"}\n')
        process.stdin.close()
        assert process.wait(60) == 0
    assert sorted(key for key, _ in stored()) == ["a", "b", "c"]


# --- signals ---


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_reading_and_all_that_was_read_is_stored(shardpack, stream, stored, signal_number):
    with running(shardpack, stream, "-", "--key", "id", "--linger-ms", "20", stdin=subprocess.PIPE) as process:
        process.stdin.write(b"\n".join(events(10)) + b"\n")
        process.stdin.flush()
        while len(stored()) < 10:
            assert process.poll() is None
        process.send_signal(signal_number)
        assert process.wait(60) == 130
        told = process.stderr.read().decode()
    assert "interrupted: what was read is stored, up to line 10; the rest was not read" in told
    assert sorted(data for _, data in stored()) == sorted(events(10))


def test_a_second_signal_stops_at_once(shardpack, stream, faulty):
    faulty.fail("PutRecords", *["InternalFailure"] * 100_000)
    with running(
        shardpack, stream, "-", "--key", "id", endpoint_url=faulty.endpoint_url, stdin=subprocess.PIPE
    ) as process:
        process.stdin.write(b'{"id":"a"}\n')
        process.stdin.flush()
        while not faulty.requests["PutRecords"]:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        asked = faulty.requests["PutRecords"]
        while faulty.requests["PutRecords"] < asked + 2:  # it drains
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
        told = process.stderr.read().decode()
    assert "interrupted twice: 0 events are stored, unbroken to line 0; 0 are not, 1 may be" in told


# --- resuming ---


@pytest.mark.parametrize("form", ["plain", "gzip", "stdin"])
def test_killed_it_goes_on_from_the_unbroken_prefix(  # noqa: PLR0917 (fixtures)
    shardpack, stream, stored, faulty, tmp_path, form
):
    lines = events(15_000, 100)
    content = b"\n".join(lines) + b"\n"
    file, state = tmp_path / "events", tmp_path / "state"
    file.write_bytes(gzip.compress(content) if form == "gzip" else content)
    source = "-" if form == "stdin" else file
    kills, line, before_it = 0, 0, Counter()
    for _ in range(100):
        faulty.fail("PutRecords", *[THROTTLED, "", "", ""] * 3)
        before = faulty.requests["PutRecords"]
        with (
            file.open("rb") as opened,
            running(
                shardpack,
                stream,
                source,
                "--key",
                "id",
                "--resume",
                state,
                endpoint_url=faulty.endpoint_url,
                stdin=opened,
            ) as process,
        ):
            while process.poll() is None and faulty.requests["PutRecords"] < before + 3 + 3 * kills:
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
            if process.wait(60) == 0:
                break
        kills += 1
        kept = json.loads(state.read_bytes())
        assert content[: kept["offset"]].count(b"\n") == kept["line"]
        found = Counter(data for _, data in stored())
        assert all(found[data] == before_it[data] for data in lines[:line])  # nothing of it was stored again
        line, before_it = kept["line"], found
        assert set(lines[:line]) <= set(found)
    assert kills
    found = Counter(data for _, data in stored())
    assert all(found[data] == before_it[data] for data in lines[:line])
    assert set(found) == set(lines)
    assert json.loads(state.read_bytes())["line"] == len(lines)


def test_only_what_is_behind_the_prefix_is_stored_again(shardpack, stream, stored, faulty, tmp_path):
    lines = events(3000, 1000)
    file, state = tmp_path / "events", tmp_path / "state"
    file.write_bytes(b"\n".join(lines))
    faulty.fail("PutRecords", "", "AccessDeniedException")
    done = shardpack("put", stream, file, "--key", "id", "--resume", state, "--endpoint-url", faulty.endpoint_url)
    assert done.returncode == 1
    line = json.loads(state.read_bytes())["line"]
    first = Counter(data for _, data in stored())
    done = shardpack("put", stream, file, "--key", "id", "--resume", state, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["stored"], told["unbroken_to_line"]) == (3000 - line, 3000)
    assert Counter(data for _, data in stored()) == first + Counter(lines[line:])
    done = shardpack("put", stream, file, "--key", "id", "--resume", state, "--json")
    assert json.loads(done.stdout)["stored"] == 0


def test_a_bad_line_that_was_mended(shardpack, stream, stored, tmp_path):
    file, state = tmp_path / "events", tmp_path / "state"
    file.write_bytes(b'{"id":"a"}\n{"id":"b"}\n\n{"di":"c"}\n{"id":"d"}')
    assert shardpack("put", stream, file, "--key", "id", "--resume", state).returncode == 2
    assert json.loads(state.read_bytes())["line"] == 2
    file.write_bytes(file.read_bytes().replace(b"di", b"id"))
    done = shardpack("put", stream, file, "--key", "id", "--resume", state)
    assert done.returncode == 2  # its first bytes are others
    assert f"{state}: made of another input than {file}: its first 44 bytes differ" in done.stderr
    assert Counter(key for key, _ in stored()) == Counter("ab")


def test_a_file_that_has_grown(shardpack, stream, stored, tmp_path):
    file, state = tmp_path / "events", tmp_path / "state"
    file.write_bytes(b'{"id":"a"}\n{"id":"b"}')
    for more in (b"", b"\n", b'{"id":"c"}\n', b'{"id":"d"}', b'\r\n{"id":"e"}\r\n', b'{"id":"f"}'):
        file.write_bytes(file.read_bytes() + more)
        done = shardpack("put", stream, file, "--key", "id", "--resume", state)
        assert done.returncode == 0, done.stderr
    assert json.loads(state.read_bytes())["line"] == 6
    assert Counter(key for key, _ in stored()) == Counter("abcdef")
    file.write_bytes(file.read_bytes() + b"more")
    done = shardpack("put", stream, file, "--key", "id", "--resume", state)
    assert done.returncode == 2
    assert "line 6 goes on, and was stored without that" in done.stderr


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: content[:-2000], "it ends at byte"),
        (lambda content: b" " + content[1:], "its first 65,536 bytes differ"),
        (lambda _: b"", "its first 65,536 bytes differ"),
    ],
)
@pytest.mark.parametrize("compress", [lambda content: content, gzip.compress])
def test_another_input_is_refused(  # noqa: PLR0917 (fixtures)
    shardpack, stream, tmp_path, change, says, compress
):
    content = b"\n".join(events(2000, 100)) + b"\n"
    file, state = tmp_path / "events", tmp_path / "state"
    file.write_bytes(compress(content))
    assert shardpack("put", stream, file, "--key", "id", "--resume", state).returncode == 0
    before = state.read_bytes()
    file.write_bytes(compress(change(content)))
    done = shardpack("put", stream, file, "--key", "id", "--resume", state)
    assert done.returncode == 2
    assert f"{state}: made of another input than {file}: {says}" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert state.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"shardpack_put":2}', b'{"stream":"s","line":9,"offset":1}']
)
def test_files_that_are_no_state(shardpack, stream, tmp_path, content):
    state = tmp_path / "state"
    state.write_bytes(content)
    done = put(shardpack, stream, b'{"id":1}', "--key", "id", "--resume", state)
    assert done.returncode == 2
    assert done.stderr == f"shardpack: {state}: not a state that `shardpack put --resume` has written\n"
    assert state.read_bytes() == content


def test_a_state_of_another_stream_or_that_cannot_be_written(shardpack, stream, tmp_path):
    state = tmp_path / "state"
    state.write_text(json.dumps({"stream": "other"}))
    done = put(shardpack, stream, b'{"id":1}', "--key", "id", "--resume", state)
    assert (done.returncode, done.stderr) == (2, f"shardpack: {state}: of the stream other, not of {stream}\n")
    for option in ("--resume", "--skip-bad"):
        done = put(shardpack, stream, b'{"id":1}', "--key", "id", option, "/no/such/place")
        assert (done.returncode, done.stderr) == (2, "shardpack: /no/such/place: No such file or directory\n")


# --- on a terminal ---


def test_a_terminal_sees_figures_and_keeps_only_the_last(shardpack, stream, faulty, tmp_path):
    file = tmp_path / "events"
    file.write_bytes(b"\n".join(events(20_000, 500)))
    faulty.fail("PutRecords", *[THROTTLED, ""] * 4)
    code, seen = on_terminal(shardpack, "put", stream, file, "--key", "id", "--endpoint-url", faulty.endpoint_url)
    assert code == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)
    assert re.search(r"stored +records/s +MB/s +in flight +throttles", plain)
    assert "%" in plain
    left = screen(seen)
    assert left[0].split() == ["events", "stored", "20,000"]
    assert len(left) == 6
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") == 1  # the cursor is there again
    assert all(len(line) <= 80 for line in plain.replace("\r", "\n").split("\n"))


def test_a_warning_stands_above_the_figures(shardpack, stream, faulty, tmp_path):
    file = tmp_path / "events"
    file.write_bytes(b"\n".join(events(1000)))
    faulty.fail("ListShards", "AccessDeniedException")
    faulty.fail("PutRecords", *[THROTTLED] * 3)
    code, seen = on_terminal(shardpack, "put", stream, file, "--key", "id", "--endpoint-url", faulty.endpoint_url)
    assert code == 0
    left = screen(seen)
    assert left[0].startswith("shardpack: ListShards is not allowed: ")
    assert "events stored" in "".join(left)
    assert not any("in flight" in line for line in left)


def test_a_terminal_keeps_the_error_alone(shardpack, stream, tmp_path):
    file = tmp_path / "events"
    file.write_bytes(b"{}")
    code, seen = on_terminal(shardpack, "put", stream, file, "--key", "id", "--endpoint-url", shardpack.endpoint_url)
    assert code == 2
    left = screen(seen)
    assert left[0].startswith("shardpack: line 1: no value in the field 'id'")


def test_an_interrupt_leaves_the_terminal_clean(shardpack, stream):
    reading, writing = os.pipe()
    os.write(writing, b"\n".join(events(10)) + b"\n")
    code, seen = on_terminal(
        shardpack,
        "put",
        stream,
        "-",
        "--key",
        "id",
        "--endpoint-url",
        shardpack.endpoint_url,
        stdin=reading,
        stop_when=b"in flight",
    )
    os.close(reading)
    os.close(writing)
    assert code == 130
    left = screen(seen)
    assert left[0].startswith(("events stored", "^Cevents stored"))
    assert any(line.startswith("shardpack: interrupted") for line in left)
    assert not any("in flight" in line for line in left)


def test_a_quiet_terminal(shardpack, stream, tmp_path):
    file = tmp_path / "events"
    file.write_bytes(b'{"id":1}')
    code, seen = on_terminal(
        shardpack, "put", stream, file, "--key", "id", "--quiet", "--endpoint-url", shardpack.endpoint_url
    )
    assert (code, seen) == (0, "")
