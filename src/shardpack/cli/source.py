"""The bytes of a file or of standard input, unpacked."""

from __future__ import annotations

import os
import select
import stat
import sys
from pathlib import Path
from typing import IO

from .compression import CompressionError, Unpacker
from .outcome import BadInputError, os_error_text

CHUNK_BYTES = 256 * 1024
HEAD_BYTES = 64 * 1024


class Source:
    """Bytes of a file or of standard input (``-``); gzip, bzip2, xz and Zstandard data are unpacked."""

    unit = "line"

    def __init__(self, file: str) -> None:
        self.name = "standard input" if file == "-" else file
        try:
            self._raw: IO[bytes] = (
                open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115 (closed by close)
                if file == "-"
                else Path(file).open("rb", buffering=0)  # noqa: SIM115
            )
            status = os.fstat(self._raw.fileno())
            os.read(self._raw.fileno(), 0)  # what cannot be read is an error now
        except OSError as error:
            raise BadInputError(f"{self.name}: {os_error_text(error)}") from None
        self.live = not stat.S_ISREG(status.st_mode)
        """Whether there may be a wait for more: a pipe or a terminal."""
        self.size = None if self.live else status.st_size
        self.head = bytearray()
        """The first 64 KiB of what is unpacked, as far as they were read."""
        self._begin = 0 if self.live else self._raw.tell()
        self._unpacker = Unpacker(file)
        self._put_back = b""

    @property
    def position(self) -> int:
        """How much of ``size`` was read."""
        return self._raw.tell() if self.size is not None else 0

    def read(self, timeout_s: float) -> bytes | None:
        """Return the next bytes, ``b""`` at the end, or ``None`` when nothing came in time."""
        if self._put_back:
            unpacked, self._put_back = self._put_back, b""
            return unpacked
        try:
            chunk = self._read(timeout_s)
        except OSError as error:
            raise BadInputError(f"{self.name}: {os_error_text(error)}") from None
        except CompressionError as error:
            raise BadInputError(f"{self.name}: {error}") from None
        if chunk and len(self.head) < HEAD_BYTES:
            self.head += chunk[: HEAD_BYTES - len(self.head)]
        return chunk

    def _read(self, timeout_s: float) -> bytes | None:
        while True:
            if not self._unpacker.empty and (unpacked := self._unpacker.read(CHUNK_BYTES)):
                return unpacked
            if self.live and not select.select([self._raw], [], [], timeout_s)[0]:
                return None
            data = self._raw.read(CHUNK_BYTES)
            if not data:
                return self._unpacker.finish()
            self._unpacker.feed(data)

    def put_back(self, chunk: bytes) -> None:
        """Have it read once more."""
        self._put_back = chunk + self._put_back

    def seek(self, offset: int) -> bool:
        """Go to a byte behind the head, if that is possible without reading, and the head is whole. Returns whether."""
        if self.size is None or not self._unpacker.plain or len(self.head) < HEAD_BYTES:
            return False
        self._raw.seek(self._begin + offset)
        self._put_back = b""
        return True

    def close(self) -> None:
        self._raw.close()
