"""Lines that were passed over, kept as lines of JSON."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import BinaryIO

from .ndjson import BadLineError
from .outcome import BadInputError, os_error_text


class SkippedLines:
    """Appends bad lines to a file: ``line`` (its number), ``reason``, and ``data``, or ``data_base64`` if no UTF-8.

    Of a line longer than a record may be there is the beginning, and ``"cut": true``.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.count = 0
        self._synced = 0
        try:
            self._file: BinaryIO = Path(path).open("ab", buffering=0)  # noqa: SIM115 (closed by close)
        except OSError as error:
            raise BadInputError(f"{path}: {os_error_text(error)}") from None

    def add(self, error: BadLineError) -> None:
        fields: dict[str, object] = {"line": error.line_number, "reason": error.reason}
        try:
            fields["data"] = error.line.decode()
        except UnicodeDecodeError:
            fields["data_base64"] = base64.b64encode(error.line).decode()
        if error.cut:
            fields["cut"] = True
        try:
            left = memoryview(json.dumps(fields).encode() + b"\n")
            while left:
                left = left[self._file.write(left) or 0 :]
        except OSError as failed:
            raise BadInputError(f"{self._path}: {os_error_text(failed)}") from None
        self.count += 1

    def sync(self) -> None:
        """Have on the disk what was added, where the file is on one."""
        if self._synced < self.count:
            self._synced = self.count
            try:
                os.fsync(self._file.fileno())
            except OSError:  # a pipe or a terminal
                return

    def close(self) -> None:
        self._file.close()
