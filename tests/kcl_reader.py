"""The real KCL, where Java and its jars are, and what it writes; ``python tests/kcl_reader.py`` records it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from shardpack import Aggregator, Boto3Transport
from shardpack.testing.local_kinesis import LocalKinesis, wait_until_active

REPOSITORY = Path(__file__).parent.parent
JARS = REPOSITORY / "build" / "kcl"
PROGRAM = Path(__file__).parent / "kcl" / "ReadWithKcl.java"
RECORDED = Path(__file__).parent / "data" / "kcl-leases.json"


class Read(NamedTuple):
    shard_id: str
    sequence_number: str
    sub_sequence_number: int
    data: bytes


def why_not() -> str:
    """Say what the KCL lacks here, if anything."""
    if shutil.which("java") is None:
        return "no Java"
    if not [*JARS.glob("amazon-kinesis-client-3*.jar")]:
        return (
            f"no jars of the KCL: mvn -f {PROGRAM.parent}/pom.xml dependency:copy-dependencies -DoutputDirectory={JARS}"
        )
    return ""


def read_with_kcl(
    endpoint_url: str,
    stream: str,
    application: str,
    records: int,
    *,
    leases_at: str | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> list[Read]:
    """Have the KCL read so many user records, checkpoint each, and stop; its table may be of another server."""
    java = shutil.which("java")
    assert java is not None
    with subprocess.Popen(
        [
            java,
            "-Daws.cborEnabled=false",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            *("-cp", f"{JARS}/*", PROGRAM, endpoint_url, leases_at or endpoint_url, stream, application, str(records)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
    ) as process:
        try:
            meanwhile()
            out, told = process.communicate(timeout=150)
        finally:
            process.kill()
    assert process.returncode == 0, told[-3000:]
    lines = [line.split() for line in out.splitlines()]
    return [Read(shard_id, number, int(sub), bytes.fromhex(data)) for shard_id, number, sub, data in lines]


def put(client: object, stream: str, first: int, end: int) -> list[bytes]:
    """Put user records of ten keys, seven to an aggregated record of each shard; return their data."""
    transport = Boto3Transport(client, stream)
    datas = [b"%d" % number for number in range(first, end)]
    for place in range(0, len(datas), 14):
        aggregator = Aggregator(transport.list_shards())
        some = datas[place : place + 14]
        aggregator.add_many([f"key-{int(data) % 10}" for data in some], some)
        for record in aggregator.flush():
            transport.put_records([record])
    return datas


def split(client: object, stream: str) -> None:
    """Split the first shard."""
    shard = Boto3Transport(client, stream).list_shards()[0]
    middle = (shard.starting_hash_key + shard.ending_hash_key + 1) // 2
    client.split_shard(StreamName=stream, ShardToSplit=shard.shard_id, NewStartingHashKey=str(middle))  # type: ignore[attr-defined]
    wait_until_active(client, stream)


def record() -> None:
    """Keep the rows that the KCL has written once it stopped in the middle of aggregated records."""
    import boto3  # noqa: PLC0415

    with LocalKinesis() as kinesis:
        client = kinesis.client()
        kinesis.create_stream("telemetry", 2)
        put(client, "telemetry", 0, 70)
        read = read_with_kcl(kinesis.endpoint_url, "telemetry", "application", 33)
        dynamodb = boto3.client(
            "dynamodb",
            endpoint_url=kinesis.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106
        )
        rows = dynamodb.scan(TableName="application")["Items"]
    last = {one.shard_id: [one.sequence_number, one.sub_sequence_number] for one in read}
    recorded = {"read_last": last, "rows": sorted(rows, key=lambda row: row["leaseKey"]["S"])}
    RECORDED.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    record()
