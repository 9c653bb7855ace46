"""Handle a stream with checkpoints in SQLite, slowly, until killed; note what each handler was given and handled.

For each line that it reads a process of its own does so, a fork of this one, which has nothing open and one thread. It
tells that process's id, an empty line for each user record that was handled, and the exit code.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
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
            tell()
            time.sleep(self._pause_s)

    def _note(self, what: object) -> None:
        self._file.write(json.dumps(what) + "\n")
        self._file.flush()


def handle() -> None:
    handlers = {name: Noted(Path(folder, name), 0.001 + 0.003 * place) for place, name in enumerate(names)}
    checkpoints = SQLiteCheckpoints(Path(folder, "checkpoints.db"))
    reader = StreamReader(stream, client=client, until="latest", checkpoints=checkpoints)
    if len(handlers) == 1:
        reader.run(handlers[names[0]])
    else:
        reader.fan_out(handlers)


def tell(*what: object) -> None:
    sys.stdout.write(" ".join(map(str, what)) + "\n")
    sys.stdout.flush()


endpoint_url, stream, folder, *names = sys.argv[1:]
kinesis = LocalKinesis()
kinesis.endpoint_url = endpoint_url
client = kinesis.client()
for _ in sys.stdin:
    if not (child := os.fork()):
        tell(os.getpid())
        exit_code = 1
        try:
            handle()
            exit_code = 0
        except BaseException:  # noqa: BLE001 - its end is told
            traceback.print_exc()
        finally:
            os._exit(exit_code)
    tell("exit code", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
