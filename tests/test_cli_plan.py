"""The plan command, on files and on a stream of the local Kinesis."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shardpack import Boto3Transport, Producer
from shardpack.bench.corpus import flights


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    path = tmp_path_factory.mktemp("plan") / "flights.ndjson.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"\n".join(flights(60_000).datas) + b"\n")
    return path


def test_flights_keyed_by_carrier(shardpack, events, tmp_path):
    png, svg = tmp_path / "load.png", tmp_path / "load.svg"
    arguments = ("plan", events, "--key", "carrier", "--rate", "20000", "--shards", "8")
    done = shardpack(
        *arguments, "--compare", "tailnum", "--compare", "carrier,flight", "--png", png, "--svg", svg, COLUMNS="140"
    )
    assert done.returncode == 0, done.stderr
    for text in (
        "hot shards, aggregated",
        "shardId-000000000001",
        "UA",
        "key tailnum: 9 shards do.",
        "key carrier,flight",
    ):
        assert text in done.stdout
    assert png.read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in svg.read_bytes()
    done = shardpack(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [hot["shard"]["shard_id"][-1] for hot in found["hot_shards"]] == ["1", "3", "4", "7"]
    assert found["hot_shards"][0]["keys"][0]["partition_key"] == "UA"
    assert 0 < int(found["hot_shards"][0]["split_point"]) < 2**128
    assert not found["strategies"][0]["passes"]
    assert found["recommended"].startswith("HotKeys(")
    assert {way["name"] for way in found["ways"]} == {"raw", "aggregated", "compressed"}


def test_rows_of_parquet(shardpack, tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"id": ["a", "b"] * 500, "value": list(range(1_000))}), path)
    done = shardpack("plan", path, "--key", "id", "--rate", "100", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    sizes = [len(json.dumps({"id": "a", "value": i}, separators=(",", ":"))) + 1 for i in range(1_000)]
    assert found["user_bytes_per_second"] == pytest.approx(sum(sizes) / 10)


def test_a_stream_by_what_came_lately(shardpack, local_kinesis, client):
    local_kinesis.create_stream("to-plan", 2)
    corpus = flights(3_000)
    with Producer(transport=Boto3Transport(client, "to-plan")) as producer:
        producer.put_many(corpus.keys, corpus.datas)
    done = shardpack("plan", "to-plan", "--seconds", "60", "--json", "--endpoint-url", local_kinesis.endpoint_url)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["user_records"] == 3_000
    assert found["user_records_per_second"] == 50
    assert len(found["shards"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--rate"),
        (("--rate", "10", "--key", "nothing"), "no value in the field"),
        (("--rate", "0"), "0"),
    ],
)
def test_wrong_usage(shardpack, events, arguments, message):
    done = shardpack("plan", events, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
