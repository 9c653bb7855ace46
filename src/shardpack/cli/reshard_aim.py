"""A file that says which shards a stream is to have, so that a run that broke off is ended as it was begun."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..shards import HASH_KEYS
from .outcome import BadInputError, os_error_text

FORMAT = 1


class AimFile:
    """Holds the borders that shards of one stream are to have."""

    def __init__(self, path: str, stream: dict[str, Any]) -> None:
        self._path = Path(path)
        # one that was deleted and made again under its name has other shards
        self._stream = [stream["StreamARN"], str(stream["StreamCreationTimestamp"].timestamp())]
        self.name = path

    def read(self) -> tuple[int, ...] | None:
        """Return the borders, or ``None`` where there is no file. Raises ``BadInputError`` for one that is no such."""
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BadInputError(f"{self.name}: {os_error_text(error)}") from None
        try:
            held = json.loads(text)
            borders = tuple(map(int, held["borders"]))
            known = held["shardpack_reshard"] == FORMAT and all(0 < border < HASH_KEYS for border in borders)
            stream = held["stream"]
        except (ValueError, TypeError, KeyError, RecursionError):
            known = False
        if not known:
            raise BadInputError(f"{self.name}: no plan of shardpack reshard")
        if stream != self._stream:
            raise BadInputError(
                f"{self.name} is the plan of another stream, or of one that was deleted since: {stream[:1]}"
            )
        return borders

    def write(self, borders: tuple[int, ...]) -> None:
        """Have it on the disk as a whole before it takes the place of the one before."""
        held = {"shardpack_reshard": FORMAT, "stream": self._stream, "borders": [str(border) for border in borders]}
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            with beside.open("w") as file:
                file.write(json.dumps(held) + "\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as error:
            raise BadInputError(f"{self.name}: {os_error_text(error)}") from None

    def remove(self) -> None:
        """End it: what it says is done."""
        self._path.unlink(missing_ok=True)
