"""The examples do what they say, as they stand in the repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from shardpack import Aggregator, ShardMap

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def run(local_kinesis, command_environment):
    def run(name: str, *arguments: str, stdin: str = "") -> str:
        return subprocess.run(
            [sys.executable, EXAMPLES / name, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
            env=command_environment | {"AWS_ENDPOINT_URL_KINESIS": local_kinesis.endpoint_url},
        ).stdout

    return run


def test_what_produce_sends_consume_reads(local_kinesis, run):
    local_kinesis.create_stream("examples", 2)
    assert run("produce.py", "examples").startswith("1,000,000 readings in ")
    lines = [
        line.split(" ", 3)
        for shard in ("shardId-000000000000", "shardId-000000000001")
        for line in run("consume.py", "examples", shard).splitlines()
    ]
    assert len(lines) == 1_000_000
    minutes = [int(data.split(":")[1].split(",")[0]) for _, _, key, data in lines if key == "device-77"]
    assert minutes == list(range(100))


def test_to_parquet_writes_what_a_shard_holds(local_kinesis, run, tmp_path):
    local_kinesis.create_stream("to-parquet", 1)
    sent = [(f"device-{i % 7}", b"%d" % i) for i in range(5000)]
    aggregator = Aggregator(ShardMap.uniform(1), max_bytes=20_000)
    aggregator.add_many([key for key, _ in sent], [data for _, data in sent])
    for record in aggregator.flush():
        local_kinesis.client().put_record(StreamName="to-parquet", **record.to_boto3())
    path = tmp_path / "shard.parquet"
    assert run("to_parquet.py", "to-parquet", "shardId-000000000000", str(path)) == f"5,000 user records in {path}\n"
    table = pq.read_table(path)
    assert list(zip(table["partition_key"].to_pylist(), table["data"].to_pylist(), strict=True)) == sent


def test_shard_of_counts_keys(run):
    printed = run("shard_of.py", "2", stdin="".join(f"key-{i}\n" for i in range(1000)))
    counts = [int(line.split()[1]) for line in printed.splitlines()]
    assert len(counts) == 2
    assert sum(counts) == 1000
