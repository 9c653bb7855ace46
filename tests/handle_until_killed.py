"""Handle a stream with checkpoints in a file, slowly, until killed: note and print what was handled."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import boto3

from shardpack.consume.stream import Checkpoint, MemoryCheckpoints, StreamReader

endpoint_url, stream, handled_path, kept_path = sys.argv[1:]
kept = Path(kept_path)


class FileCheckpoints(MemoryCheckpoints):
    """Checkpoints in a file that is replaced whole, and beside them how many user records were handled."""

    handled = 0

    def claim(self, stream, owner):
        if kept.exists():
            entries = json.loads(kept.read_text())
            self.handled = entries.pop("handled")
            self._kept = {shard_id: Checkpoint(*entry) for shard_id, entry in entries.items()}
        return super().claim(stream, owner)

    def write(self, checkpoints):
        super().write(checkpoints)
        entries = {
            shard_id: (one.sequence_number, one.sub_sequence_number, one.read_up_to)
            for shard_id, one in self._kept.items()
        }
        new = kept.with_suffix(".new")
        new.write_text(json.dumps({**entries, "handled": len_handled}))
        new.replace(kept)


checkpoints = FileCheckpoints()
client = boto3.client(
    "kinesis",
    region_name="us-east-1",
    endpoint_url=endpoint_url,
    aws_access_key_id="test",
    aws_secret_access_key="test",  # noqa: S106
)
checkpoints.claim(stream, "")
len_handled = checkpoints.handled
with Path(handled_path).open("a", encoding="utf-8") as out:
    print(json.dumps({"began_after": len_handled}), file=out, flush=True)

    def handle(batch) -> None:
        global len_handled  # noqa: PLW0603 - what the next checkpoint is of
        for record in batch.records:
            print(json.dumps({"data": record.data.decode()}), file=out, flush=True)
            os.fsync(out.fileno())
            sys.stdout.write("\n")
            sys.stdout.flush()
            time.sleep(0.001)
        len_handled += len(batch)

    StreamReader(stream, client=client, until="latest", checkpoints=checkpoints).run(handle)
