from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import json
import lzma
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from itertools import count
from pathlib import Path

import pytest
import zstandard
from conftest import SHARDPACK, Shardpack

from shardpack.consume.stream.reader import StreamReader
from shardpack.testing import LocalKinesis
from shardpack.testing.local_kinesis import wait_until_active

VECTORS = [json.loads(line) for line in (Path(__file__).parent / "data" / "kpl.jsonl").read_text().splitlines()]
STREAM_NUMBERS = count(1)
INTERRUPTIBLE = [  # a shell in the background may have told its children to ignore Ctrl-C
    sys.executable,
    "-W",
    "error",
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom shardpack.cli import main; main()",
]


@pytest.fixture
def stream(local_kinesis: LocalKinesis) -> str:
    name = f"cli-{next(STREAM_NUMBERS)}"
    local_kinesis.create_stream(name, 4)
    return name


def tail_json(shardpack: Shardpack, stream: str, *options: str) -> list[dict[str, object]]:
    done = shardpack("tail", stream, "--json", "--no-follow", *options)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def stored(local_kinesis: LocalKinesis, stream: str) -> dict[object, list[object]]:
    """Partition key to data of what the stream holds, read in this process."""
    found: dict[object, list[object]] = {}
    for read in StreamReader(stream, client=local_kinesis.client(), until="latest", range_rule=False):
        for record in read.records:
            found.setdefault(record.partition_key, []).append(record.data.decode())
    return found


def by_key(records: list[dict[str, object]]) -> dict[object, list[object]]:
    found: dict[object, list[object]] = {}
    for record in records:
        found.setdefault(record["partition_key"], []).append(record["data"])
    return found


def event_lines(n: int) -> list[str]:
    return [json.dumps({"id": f"device-{i % 13}", "n": i, "text": "größer ✓" * (i % 5)}) for i in range(n)]


def expected_by_key(lines: list[str], field: str = "id") -> dict[object, list[object]]:
    found: dict[object, list[object]] = {}
    for line in lines:
        found.setdefault(json.loads(line)[field], []).append(line)
    return found


# --- put, and back through tail ---


@pytest.mark.parametrize("form", ["plain", "gz", "bz2", "xz", "zst", "stdin"])
def test_lines_come_back_whole_and_in_the_order_of_their_keys(shardpack, stream, tmp_path, form):
    lines = event_lines(5000)
    content = "\n".join(lines).encode()  # the last line has no newline
    opened = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open, "zst": zstandard.open}.get(form, open)
    file = tmp_path / f"events.ndjson{'' if opened is open else '.' + form}"
    with opened(file, "wb") as out:
        out.write(content)
    done = (
        shardpack("put", stream, "-", "--key", "id", stdin=content)
        if form == "stdin"
        else shardpack("put", stream, file, "--key", "id")
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    figures = dict(line.rsplit(maxsplit=1) for line in done.stderr.splitlines())
    assert figures["events stored"] == "5,000"
    assert "\x1b" not in done.stderr
    assert by_key(tail_json(shardpack, stream)) == expected_by_key(lines)


def test_json_tells_everything_about_a_user_record(shardpack, stream):
    shardpack("put", stream, "-", "--key", "id", stdin=b'{"id":"a"}\n{"id":"a","n":2}\n')
    first, second = tail_json(shardpack, stream)
    assert first["data"] == '{"id":"a"}'
    assert second["data"] == '{"id":"a","n":2}'
    assert (first["sub_sequence_number"], second["sub_sequence_number"]) == (0, 1)
    assert first["sequence_number"] == second["sequence_number"]
    assert first["aggregated"] is True
    assert first["explicit_hash_key"] is None
    assert str(first["shard_id"]).startswith("shardId-")
    arrived = datetime.fromisoformat(str(first["approximate_arrival_timestamp"]))
    assert arrived.utcoffset() == timedelta(0)
    assert "error" not in first


def test_keys_are_texts_numbers_as_written_or_the_default(shardpack, stream):
    lines = ['{"id":"1"}', '{"id":1.50}', '{"id":10000000000000000000000}', '{"id":null}', "{}", ' {"id":"ü"} \r']
    done = shardpack("put", stream, "-", "--key", "id", "--default-key", "?", stdin="\n\n".join(lines).encode())
    assert done.returncode == 0, done.stderr
    keys = {str(record["data"]): record["partition_key"] for record in tail_json(shardpack, stream)}
    assert keys == {
        '{"id":"1"}': "1",
        '{"id":1.50}': "1.50",
        '{"id":10000000000000000000000}': "10000000000000000000000",
        '{"id":null}': "?",
        "{}": "?",
        ' {"id":"ü"} ': "ü",
    }


def test_explicit_hash_keys_decide_the_shard(shardpack, stream):
    # two for each shard: a user record that travels alone is raw, and its reader sees no explicit hash key
    lines = [json.dumps({"id": f"k{i}", "at": str(i * 2**126 + j)}) for j in range(2) for i in range(4)]
    lines += [json.dumps({"id": "number", "at": 7}), json.dumps({"id": "none", "at": None})]
    done = shardpack("put", stream, "-", "--key", "id", "--explicit-hash-key", "at", stdin="\n".join(lines).encode())
    assert done.returncode == 0, done.stderr
    found = {str(record["partition_key"]): record for record in tail_json(shardpack, stream)}
    for i in range(4):
        assert found[f"k{i}"]["explicit_hash_key"] == str(i * 2**126 + 1)
        assert found[f"k{i}"]["shard_id"] == f"shardId-{i:012d}"
    assert found["number"]["explicit_hash_key"] == "7"
    assert found["none"]["explicit_hash_key"] is None


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("{nope}", "not JSON"),
        ('{"id":NaN}', "not JSON"),
        ('"text"', "not a JSON object"),
        ('{"id":true}', "true or false"),
        ('{"id":["a"]}', "an array"),
        ('{"id":{}}', "an object"),
        ('{"id":null}', "--default-key"),
        ("{}", "--default-key"),
        ('{"id":""}', "partition key"),
        (json.dumps({"id": "k" * 257}), "partition key"),
        ('{"id":"\\ud800"}', "partition key"),
        (json.dumps({"id": "big", "text": "x" * 2**20}), "1,048,576"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_bad_line_is_named_and_what_precedes_it_is_stored(shardpack, stream, bad, says, local_kinesis):
    lines = event_lines(700)
    content = "\n".join([*lines, "", bad, *event_lines(10)]).encode()
    done = shardpack("put", stream, "-", "--key", "id", stdin=content)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert "line 702: " in last
    assert says in last
    assert "700 events before it are stored" in last
    assert stored(local_kinesis, stream) == expected_by_key(lines)


def test_bytes_that_are_no_utf8_are_a_bad_line(shardpack, stream, local_kinesis):
    done = shardpack("put", stream, "-", "--key", "id", stdin=b'{"id":"a"}\n{"id":"\xff"}\n')
    assert done.returncode == 2
    assert "line 2: not JSON" in done.stderr
    assert len(stored(local_kinesis, stream)) == 1


def test_bad_explicit_hash_key_is_a_bad_line(shardpack, stream, local_kinesis):
    content = b'{"id":"a","at":"5"}\n{"id":"b","at":-1}\n'
    done = shardpack("put", stream, "-", "--key", "id", "--explicit-hash-key", "at", stdin=content)
    assert done.returncode == 2
    assert "line 2: " in done.stderr
    assert len(stored(local_kinesis, stream)) == 1


def test_endless_line_ends_in_an_error_not_in_memory(shardpack, stream, local_kinesis):
    done = shardpack("put", stream, "-", "--key", "id", stdin=b'{"id":"a"}\n' + b"x" * 3 * 2**20)
    assert done.returncode == 2
    assert "line 2: longer than" in done.stderr
    assert len(stored(local_kinesis, stream)) == 1


def test_damaged_archive_is_bad_input(shardpack, stream, tmp_path, local_kinesis):
    file = tmp_path / "events.gz"
    file.write_bytes(gzip.compress("\n".join(event_lines(20_000)).encode())[:-50])
    done = shardpack("put", stream, file, "--key", "id")
    assert done.returncode == 2
    assert str(file) in done.stderr
    found = stored(local_kinesis, stream)
    assert all(expected_by_key(event_lines(20_000))[key][: len(datas)] == datas for key, datas in found.items())
    assert f"{sum(map(len, found.values())):,} events before it are stored" in " ".join(done.stderr.split())


def test_slow_pipe_is_flushed_at_the_linger(stream, shardpack, local_kinesis):
    """The first event is readable while the pipe is still open."""
    command = [*INTERRUPTIBLE, "put", stream, "-", "--key", "id", "--linger-ms", "10"]
    command += ["--endpoint-url", shardpack.endpoint_url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=shardpack.environment) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(b'{"id":"a"}\n{"id":"unfin')
            process.stdin.flush()
            read = next(StreamReader(stream, client=local_kinesis.client()))
            assert read.records[0].data == b'{"id":"a"}'
            assert process.poll() is None
            process.stdin.write(b'ished"}\n')
            process.stdin.close()
            assert process.wait(60) == 0
        finally:
            process.kill()
    assert stored(local_kinesis, stream) == {"a": ['{"id":"a"}'], "unfinished": ['{"id":"unfinished"}']}


def test_interrupt_stores_what_was_read(stream, shardpack, local_kinesis):
    command = [*INTERRUPTIBLE, "put", stream, "-", "--key", "id", "--linger-ms", "20"]
    command += ["--endpoint-url", shardpack.endpoint_url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=shardpack.environment) as process:
        try:
            assert process.stdin is not None
            assert process.stderr is not None
            process.stdin.write("\n".join(event_lines(10)).encode() + b"\n")
            process.stdin.flush()
            while sum(map(len, stored(local_kinesis, stream).values())) < 10:
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
            assert b"interrupted" in process.stderr.read()
        finally:
            process.kill()
    assert stored(local_kinesis, stream) == expected_by_key(event_lines(10))


# --- tail ---


def test_plain_lines_are_key_and_data(shardpack, stream, local_kinesis):
    local_kinesis.client().put_records(
        StreamName=stream,
        Records=[
            {"PartitionKey": "k\u00fc", "Data": b"a\tb\nc\x1b[31m\xff", "ExplicitHashKey": "0"},
            {"PartitionKey": "k\u00fc", "Data": b"", "ExplicitHashKey": "0"},
        ],
    )
    done = shardpack("tail", stream, "--no-follow")
    assert done.returncode == 0
    assert done.stdout == "kü a\tb\\x0ac\\x1b[31m\\xff\nkü \n"


def test_bytes_travel_as_base64(shardpack, stream, local_kinesis):
    data = bytes(range(256))
    local_kinesis.client().put_records(StreamName=stream, Records=[{"PartitionKey": "k", "Data": data}])
    (record,) = tail_json(shardpack, stream)
    assert "data" not in record
    assert base64.b64decode(str(record["data_base64"])) == data
    assert record["aggregated"] is False


def test_malformed_aggregate_comes_back_whole_with_its_error(shardpack, stream, local_kinesis):
    vector = next(vector for vector in VECTORS if vector["expect"]["kind"] == "malformed")
    blob = bytes.fromhex(vector["blob"])
    local_kinesis.client().put_records(StreamName=stream, Records=[{"PartitionKey": "k", "Data": blob}])
    (record,) = tail_json(shardpack, stream)
    assert base64.b64decode(str(record["data_base64"])) == blob
    assert "malformed" in str(record["error"])


def test_key_that_is_no_utf8_prints_as_escapes_that_json_reads(shardpack, stream, local_kinesis):
    message = b"\x0a\x01\xff\x1a\x05\x08\x00\x1a\x01x"  # table: FF; record: index 0, data x
    blob = b"\xf3\x89\x9a\xc2" + message + hashlib.md5(message).digest()
    local_kinesis.client().put_records(StreamName=stream, Records=[{"PartitionKey": "k", "Data": blob}])
    (record,) = tail_json(shardpack, stream)
    assert record["partition_key"] == "\udcff"
    assert shardpack("tail", stream, "--no-follow").stdout == "\\udcff x\n"


def test_limit_and_starting_times(shardpack, stream):
    shardpack("put", stream, "-", "--key", "id", stdin="\n".join(event_lines(50)).encode())
    assert len(tail_json(shardpack, stream, "--limit", "7")) == 7
    assert len(tail_json(shardpack, stream, "--from", "latest")) == 0
    past = datetime.now(timezone.utc) - timedelta(hours=1)
    for text in (past.isoformat(), past.strftime("%Y-%m-%dT%H:%M:%SZ"), str(past.timestamp())):
        assert len(tail_json(shardpack, stream, "--from", text)) == 50
    done = shardpack("tail", stream, "--from", "yesterday", "--no-follow")
    assert done.returncode == 2
    assert "yesterday" in done.stderr


def test_follow_reads_what_comes_through_a_split_and_a_merge(stream, shardpack, local_kinesis):
    client = local_kinesis.client()
    command = [*INTERRUPTIBLE, "tail", stream, "--endpoint-url", shardpack.endpoint_url]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=shardpack.environment
    ) as process:
        try:
            assert process.stdout is not None
            seen = []
            for step in range(3):
                lines = [f"{i}:{step}" for i in range(32)]
                client.put_records(
                    StreamName=stream,
                    Records=[{"PartitionKey": line.split(":")[0], "Data": line.encode()} for line in lines],
                )
                seen += [process.stdout.readline().decode().split()[1] for _ in lines]
                if step == 0:
                    client.split_shard(
                        StreamName=stream, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**124)
                    )
                if step == 1:
                    client.merge_shards(
                        StreamName=stream,
                        ShardToMerge="shardId-000000000002",
                        AdjacentShardToMerge="shardId-000000000003",
                    )
                wait_until_active(client, stream)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
            assert process.stderr is not None
            assert process.stderr.read() == b""
        finally:
            process.kill()
    assert sorted(seen) == sorted(f"{i}:{step}" for i in range(32) for step in range(3))


def test_reader_that_has_seen_enough_ends_tail(stream, shardpack):
    shardpack("put", stream, "-", "--key", "id", stdin="\n".join(event_lines(20_000)).encode())
    command = [*INTERRUPTIBLE, "tail", stream, "--endpoint-url", shardpack.endpoint_url]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=shardpack.environment
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.wait(60) == 0
            assert process.stderr.read() == b""
        finally:
            process.kill()


# --- what users get wrong ---


@pytest.mark.parametrize("arguments", [("put", "absent", "-", "--key", "id"), ("tail", "absent")])
def test_absent_stream_is_one_clear_line(shardpack, arguments):
    done = shardpack(*arguments, stdin=b'{"id":1}\n')
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "ResourceNotFoundException" in done.stderr


def test_no_credentials(shardpack):
    done = shardpack("tail", "s", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert done.returncode == 1
    assert done.stderr.startswith("shardpack: no AWS credentials")
    assert len(done.stderr.splitlines()) == 1


def test_no_region(command_environment):
    without = {name: value for name, value in command_environment.items() if "REGION" not in name}
    done = subprocess.run([*SHARDPACK, "tail", "s"], capture_output=True, check=False, timeout=60, env=without)
    assert done.returncode == 2
    assert b"--region" in done.stderr


def test_nobody_listens_there(shardpack):
    done = shardpack("tail", "s", "--endpoint-url", "http://127.0.0.1:1", AWS_MAX_ATTEMPTS="1")
    assert done.returncode == 1
    assert "http://127.0.0.1:1" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_bare_command_is_wrong_usage_and_shows_the_help(shardpack):
    done = shardpack()
    assert (done.returncode, done.stdout, done.stderr) == (2, "", shardpack("--help").stdout)


@pytest.mark.parametrize(
    ("missing", "arguments"), [("click", ["--help"]), ("rich", ["tail", "s"]), ("boto3", ["tail", "s"])]
)
def test_missing_extra_is_named(missing, arguments, command_environment):
    code = f"import sys; sys.modules[{missing!r}] = None\nfrom shardpack.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, check=False, timeout=60, env=command_environment
    )
    assert done.returncode == 2
    assert done.stderr.decode() == f"shardpack: {missing} is not installed: pip install 'shardpack[cli]'\n"
