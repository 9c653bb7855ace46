"""shardpack checkpoints, run as its users do."""

from __future__ import annotations

import json
from itertools import count

import pytest

from shardpack.consume.stream.checkpoints import Checkpoint
from shardpack.consume.stream.dynamodb_checkpoints import DynamoDBCheckpoints
from shardpack.consume.stream.reader import StreamReader
from shardpack.consume.stream.shards import ListedShard
from shardpack.consume.stream.sqlite_checkpoints import SQLiteCheckpoints
from shardpack.testing.local_kinesis import wait_until_active

NUMBERS = count(1)
SHARD = ListedShard("shardId-000000000001", 0, 2**128 - 1, ("shardId-000000000000",))
AT = Checkpoint("49590338271490256608559692538361571095921575989136588898", 3, 1764160000.5)


@pytest.fixture
def run(shardpack):
    def run(*arguments: object, stdin: bytes = b"", code: int = 0):
        done = shardpack("checkpoints", *arguments, "--endpoint-url", shardpack.endpoint_url, stdin=stdin)
        assert done.returncode == code, done.stderr
        return done

    return run


@pytest.fixture
def path(tmp_path):
    with SQLiteCheckpoints(tmp_path / "c.db", consumer="alerts") as store:
        store.claim("telemetry", "host:1")
        store.begin({SHARD: Checkpoint("TRIM_HORIZON")})
        store.write({SHARD.shard_id: AT})
    return tmp_path / "c.db"


def test_what_is_shown(run, path):
    shown = run("show", path).stdout
    assert "telemetry  consumer alerts  nobody has them" in shown
    assert "2025-11-26T12:26:40Z" in shown
    [line] = run("show", path, "--json").stdout.splitlines()
    assert json.loads(line) == {
        "stream": "telemetry",
        "consumer": "alerts",
        "shard_id": SHARD.shard_id,
        "sequence_number": AT.sequence_number,
        "sub_sequence_number": 3,
        "read_up_to": 1764160000.5,
        "owner": None,
        "starting_hash_key": "0",
        "ending_hash_key": str(2**128 - 1),
        "parents": ["shardId-000000000000"],
    }
    assert run("export", path).stdout.splitlines() == [line]
    run("show", path, "--stream", "telemetry", "--consumer", "alerts")
    assert "no checkpoints of these" in run("show", path, "--stream", "flights", code=2).stderr


def test_who_has_them_is_shown(run, path):
    with SQLiteCheckpoints(path, consumer="alerts") as store:
        store.claim("telemetry", "host:7")
        assert "host:7 has them" in run("show", path).stdout


def test_there_and_back(run, path, tmp_path, dynamodb):
    table = f"there-{next(NUMBERS)}"
    lines = run("export", path).stdout.encode()
    assert "no such DynamoDB table" in run("import", f"dynamodb:{table}", "-", stdin=lines, code=1).stderr
    run("import", f"dynamodb:{table}", "-", "--create", "--consumer", "", stdin=lines)
    [one] = DynamoDBCheckpoints(table, client=dynamodb).kept()
    assert (one.stream, one.checkpoint, one.shard, one.owner) == ("telemetry", AT, SHARD, None)
    back = tmp_path / "lines"
    back.write_text(run("export", f"dynamodb:{table}").stdout)
    told = run("import", tmp_path / "other.db", back, "--create", "--consumer", "alerts", "--json")
    assert json.loads(told.stdout) == {"checkpoints": 1}
    assert run("export", tmp_path / "other.db").stdout.encode() == lines
    run("import", tmp_path / "other.db", back, "--consumer", "alerts")  # again: nothing changes
    assert run("export", tmp_path / "other.db").stdout.encode() == lines


def test_what_is_imported_moves_nothing_back(run, path):
    lines = run("export", path).stdout
    earlier = lines.replace(AT.sequence_number, "5").encode()
    assert "is not after the checkpoint that is kept" in run("import", path, "-", stdin=earlier, code=1).stderr
    assert run("export", path).stdout == lines


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "no checkpoints to import"),
        (b"{", "line 1 is no checkpoint as export prints them"),
        (b'\n{"stream": "s", "shard_id": "a", "sequence_number": "x"}', "line 2 is no checkpoint"),
        (b'{"stream": null, "shard_id": "a", "sequence_number": "1"}', "line 1 names no stream: give --stream"),
        (b'{"stream": "s", "sequence_number": "1"}', "line 1 is no checkpoint"),
        (b"[]", "line 1 is no checkpoint"),
    ],
)
def test_lines_that_are_none(run, path, line, reason):
    assert reason in run("import", path, "-", stdin=line, code=2).stderr


@pytest.fixture
def stream(local_kinesis) -> str:
    """A stream with a closed shard and two open ones; a record before the split, and one after it."""
    name, client = f"reset-{next(NUMBERS)}", local_kinesis.client()
    local_kinesis.create_stream(name, 1)
    client.put_record(StreamName=name, PartitionKey="k", Data=b"before")
    client.split_shard(StreamName=name, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127))
    wait_until_active(client, name)
    client.put_record(StreamName=name, PartitionKey="k", Data=b"after")
    return name


@pytest.mark.parametrize("kind", ["file", "table"])
def test_reset(run, tmp_path, dynamodb, local_kinesis, stream, kind):  # noqa: PLR0917 (fixtures)
    place = str(tmp_path / "c.db") if kind == "file" else f"dynamodb:{stream}"
    store = (
        SQLiteCheckpoints(place)
        if kind == "file"
        else DynamoDBCheckpoints(stream, client=dynamodb, create=True, lease_s=0.5)
    )

    def read() -> list[bytes]:
        client = local_kinesis.client()
        with StreamReader(stream, client=client, checkpoints=store, until="latest") as reader:
            datas = []
            for batch in reader:
                datas += [record.data for record in batch.records]
                batch.checkpoint()
            return datas

    assert read() == [b"before", b"after"]
    assert read() == []
    for to, expected in (
        ("trim-horizon", [b"before", b"after"]),
        ("2020-01-31T12:00:00Z", [b"before", b"after"]),
        ("latest", []),
    ):
        assert json.loads(run("reset", place, "--stream", stream, "--to", to, "--json").stdout) == {"checkpoints": 3}
        assert read() == expected, to
    if kind == "file":
        store.close()


@pytest.mark.parametrize("kind", ["file", "table"])
def test_what_a_live_reader_has_is_left_to_it(run, tmp_path, dynamodb, stream, kind):
    place = str(tmp_path / "c.db") if kind == "file" else f"dynamodb:{stream}"
    store = SQLiteCheckpoints(place) if kind == "file" else DynamoDBCheckpoints(stream, client=dynamodb, create=True)
    store.claim(stream, "host:the-live-one")
    store.begin({SHARD: AT})
    if kind == "table":
        from threading import Event, Thread  # noqa: PLC0415

        over = Event()

        def renew() -> None:
            while not over.wait(0.5):
                store.renew()

        renewing = Thread(target=renew)
        renewing.start()
    try:
        told = run("reset", place, "--stream", stream, "--to", "latest", code=1).stderr
    finally:
        if kind == "table":
            over.set()
            renewing.join()
    assert "in use by host:the-live-one" in " ".join(told.split())
    assert [one.checkpoint for one in store.kept()] == [AT]
    store.release()
    if kind == "file":
        store.close()
