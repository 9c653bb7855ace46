"""`shardpack put --parquet`: the rows of a file, in a local Kinesis."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timezone
from decimal import Decimal
from itertools import count

import msgpack
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shardpack.consume.stream.reader import StreamReader

STREAM_NUMBERS = count(1)


@pytest.fixture
def stream(local_kinesis):
    name = f"cli-parquet-{next(STREAM_NUMBERS)}"
    local_kinesis.create_stream(name, 4)
    return name


@pytest.fixture
def stored(local_kinesis, stream):
    """Key and data of every user record in the stream, each key's in order; shards come as they are read."""

    def stored():
        return [
            (record.partition_key, record.data)
            for read in StreamReader(stream, client=local_kinesis.client(), until="latest", range_rule=False)
            for record in read.records
        ]

    return stored


@pytest.fixture
def file(tmp_path):
    """Write columns to a file of several row groups, and name it."""

    def write(columns, row_group_size=700):
        path = tmp_path / "rows.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
        return path

    return write


def readings(n):
    return {
        "device": pa.array([f"device-{i % 13}" for i in range(n)]).dictionary_encode(),
        "payload": [b"reading %d" % i for i in range(n)],
        "number": range(n),
    }


def test_a_column_as_it_is_in_the_order_of_its_keys(shardpack, stream, stored, file):
    done = shardpack("put", stream, "--parquet", file(readings(5000)), "--key", "device", "--data", "payload", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["stored"], found["unbroken_to_row"], found["error"]) == (5000, 5000, None)
    assert "unbroken_to_byte" not in found
    records = stored()
    assert Counter(records) == Counter((f"device-{i % 13}", b"reading %d" % i) for i in range(5000))
    for device in range(13):
        its = [int(data.split()[1]) for key, data in records if key == f"device-{device}"]
        assert its == sorted(its)


def test_integers_are_keys_and_nulls_have_the_default(shardpack, stream, stored, file):
    path = file({"k": [5, None, -3], "d": ["a", "b", "c"], "h": pa.array([None, 0, 7], pa.uint64())})
    options = ["--key", "k", "--default-key", "unknown", "--data", "d", "--explicit-hash-key", "h"]
    done = shardpack("put", stream, "--parquet", path, *options, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(stored()) == [("-3", b"c"), ("5", b"a"), ("unknown", b"b")]


def test_rows_become_objects(shardpack, stream, stored, file):
    at = datetime(2024, 2, 29, 12, 30, tzinfo=timezone.utc)
    columns = {"k": ["a", "b"], "n": [1, None], "t": [at, at], "x": [[1.5], []], "m": [Decimal("1.10"), None]}
    path = file(columns)
    rows = [
        {"k": k, "n": n, "t": "2024-02-29T12:30:00+00:00", "x": x, "m": m}
        for k, n, x, m in (("a", 1, [1.5], "1.10"), ("b", None, [], None))
    ]
    assert shardpack("put", stream, "--parquet", path, "--key", "k").returncode == 0
    assert [json.loads(data) for _, data in sorted(stored())] == rows
    options = ["--key", "k", "--data", "n", "--data", "m", "--as", "msgpack"]
    assert shardpack("put", stream, "--parquet", path, *options).returncode == 0
    packed = [msgpack.unpackb(data) for _, data in sorted(stored()) if not data.startswith(b"{")]
    assert packed == [{"n": row["n"], "m": row["m"]} for row in rows]


def test_one_column_as_an_object(shardpack, stream, stored, file):
    path = file({"d": ["a", "b"], "n": [1, 2]})
    assert shardpack("put", stream, "--parquet", path, "--data", "d", "--as", "json").returncode == 0
    assert shardpack("put", stream, "--parquet", path, "--data", "n").returncode == 0
    assert sorted(stored()) == [("-", b) for b in (b'{"d":"a"}', b'{"d":"b"}', b'{"n":1}', b'{"n":2}')]


@pytest.mark.parametrize(
    ("columns", "options", "says"),
    [
        ({"k": ["a"] * 5 + [None], "d": ["x"] * 6}, ["--key", "k"], "row 6: no value in the column 'k'"),
        ({"k": ["a"] * 5 + [""], "d": ["x"] * 6}, ["--key", "k"], "row 6: column 'k': the partition key is empty"),
        ({"k": ["a"] * 6, "d": ["x"] * 5 + [None]}, ["--key", "k", "--data", "d"], "row 6: column 'd': data is null"),
        ({"d": [1.0] * 5 + [float("nan")]}, ["--data", "d"], "row 6: Out of range float values"),
        ({"d": [b"a"] * 6}, [], "as it is"),
    ],
)
def test_a_bad_row_ends_it_and_what_precedes_is_stored(shardpack, stream, stored, file, columns, options, says):  # noqa: PLR0917
    done = shardpack("put", stream, "--parquet", file(columns), *options)
    if says == "as it is":
        assert (done.returncode, len(stored())) == (0, 6)
        return
    assert done.returncode == 2
    assert says in done.stderr
    assert "5 events before it are stored" in done.stderr
    assert len(stored()) == 5


def test_it_goes_on_behind_the_last_row_that_is_stored(shardpack, stream, stored, file, tmp_path):
    columns = readings(3000)
    columns["payload"][1500] = None
    state = tmp_path / "state"
    options = ["--key", "device", "--data", "payload", "--resume", state]
    done = shardpack("put", stream, "--parquet", file(columns), *options)
    assert done.returncode == 2
    assert "row 1,501: column 'payload': data is null (1,500 events before it are stored)" in done.stderr
    assert json.loads(state.read_text())["line"] == 1500
    done = shardpack("put", stream, "--parquet", file(readings(3000)), *options)
    assert done.returncode == 2
    assert "made of another input" in done.stderr
    columns["payload"][1500] = b"mended"
    state.write_text(state.read_text())
    path = file(columns)
    begun = json.loads(state.read_text())
    state.unlink()
    assert shardpack("put", stream, "--parquet", path, *options, "--json").returncode == 0
    done = shardpack("put", stream, "--parquet", path, *options, "--json")
    assert json.loads(done.stdout)["stored"] == 0
    whole = json.loads(state.read_text())
    assert (begun["line"], whole["line"]) == (1500, 3000)
    state.write_text(json.dumps(whole | {"line": 2100, "offset": 2100}))
    done = shardpack("put", stream, "--parquet", path, *options, "--json")
    assert (json.loads(done.stdout)["stored"], json.loads(done.stdout)["unbroken_to_row"]) == (900, 3000)
    assert len(stored()) == 1500 + 3000 + 900


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--key", "x"], "there is not one column 'x', but 'device', 'payload', 'number'"),
        (["--data", "x"], "there is not one column 'x'"),
        (["--key", "device", "--explicit-hash-key", "x"], "there is not one column 'x'"),
        (["--skip-bad", "f"], "FILE and --skip-bad are for lines"),
        (["--as", "xml"], "xml"),
    ],
)
def test_wrong_usage(shardpack, stream, file, options, says):
    done = shardpack("put", stream, "--parquet", file(readings(10)), *options)
    assert done.returncode == 2
    assert says in done.stderr


def test_wrong_files(shardpack, stream, tmp_path):
    path = tmp_path / "file"
    for content, says in ((None, "No such file"), (b"no Parquet", "no Parquet file"), (b"", "no Parquet file")):
        if content is not None:
            path.write_bytes(content)
        done = shardpack("put", stream, "--parquet", path)
        assert (done.returncode, says in done.stderr) == (2, True)
    done = shardpack("put", stream, path, "--data", "d")
    assert "--data and --as are for --parquet" in done.stderr
    assert "give a FILE, or --parquet FILE" in shardpack("put", stream).stderr


def test_without_pyarrow(shardpack, stream, file, tmp_path):
    (tmp_path / "pyarrow.py").write_text("raise ImportError")
    done = shardpack("put", stream, "--parquet", file(readings(10)), PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "pip install pyarrow" in done.stderr
