"""Handle a stream with checkpoints in SQLite, slowly, until killed; note what each handler was given and handled."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import IO

from shardpack.consume.stream import SQLiteCheckpoints, StreamBatch, StreamReader
from shardpack.testing import LocalKinesis


class Noted:
    """A handler that notes in a file; what was written there is there after a kill."""

    def __init__(self, path: Path, pause_s: float) -> None:
        self._file: IO[str] = path.open("a", encoding="utf-8")
        self._pause_s = pause_s

    def __call__(self, batch: StreamBatch) -> None:
        self._note({"batch": len(batch)})
        for record in batch.records:
            self._note(record.data.decode())
            sys.stdout.write("\n")
            sys.stdout.flush()
            time.sleep(self._pause_s)

    def _note(self, what: object) -> None:
        self._file.write(json.dumps(what) + "\n")
        self._file.flush()


endpoint_url, stream, folder, *names = sys.argv[1:]
kinesis = LocalKinesis()
kinesis.endpoint_url = endpoint_url
handlers = {name: Noted(Path(folder, name), 0.001 + 0.003 * place) for place, name in enumerate(names)}
reader = StreamReader(
    stream, client=kinesis.client(), until="latest", checkpoints=SQLiteCheckpoints(Path(folder, "checkpoints.db"))
)
if len(handlers) == 1:
    reader.run(handlers[names[0]])
else:
    reader.fan_out(handlers)
