"""Handle a stream with checkpoints in a file, slowly, until killed: note and print what was handled."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import boto3

from shardpack.consume.stream import SQLiteCheckpoints, StreamReader

endpoint_url, stream, handled_path, kept_path = sys.argv[1:]
client = boto3.client(
    "kinesis",
    region_name="us-east-1",
    endpoint_url=endpoint_url,
    aws_access_key_id="test",
    aws_secret_access_key="test",  # noqa: S106
)
with Path(handled_path).open("a", encoding="utf-8") as out:

    def handle(batch) -> None:
        for record in batch.records:
            print(record.data.decode(), file=out, flush=True)
            os.fsync(out.fileno())
            sys.stdout.write("\n")
            sys.stdout.flush()
            time.sleep(0.001)

    StreamReader(stream, client=client, until="latest", checkpoints=SQLiteCheckpoints(kept_path)).run(handle)
