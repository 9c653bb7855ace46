"""Where a reader finds dictionaries by their ids."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Protocol, runtime_checkable

from .dictionary import MAGIC, dictionary_id_of, read_dictionary

SECONDS_UNTIL_LOOKED_AGAIN = 60
MAX_FILES = 10_000


@runtime_checkable
class Dictionaries(Protocol):
    """Something that finds dictionaries: a table, a bucket, a service."""

    def find(self, dictionary_id: int) -> bytes | None:
        """Return the dictionary of that id, or ``None`` where there is none.

        A reader keeps what was found, and asks for what was not again after 60 seconds. What is raised here goes to the
        reader's caller: it is no fault of the record.
        """
        ...


class DictionaryFiles:
    """The dictionaries in a folder, whatever their files are called, or the one in a file. Any thread may ask.

    The first 8 bytes of a file tell whether it is one. The folder, of 10,000 files at most, is looked through again
    when it has changed, and after 60 seconds.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._lock = Lock()
        self._paths: dict[int, Path] = {}
        self._looked: tuple[float, int] | None = None  # when, and when the folder had changed last

    def find(self, dictionary_id: int) -> bytes | None:
        """Return the dictionary of that id, or ``None``. Raises ``OSError``; ``ValueError`` where two have the id."""
        with self._lock:
            changed = self._path.stat().st_mtime_ns
            now = monotonic()
            if self._looked is None or self._looked[1] != changed or now > self._looked[0] + SECONDS_UNTIL_LOOKED_AGAIN:
                self._paths = self._all()
                self._looked = now, changed
            path = self._paths.get(dictionary_id)
        return None if path is None else read_dictionary(path)

    def _all(self) -> dict[int, Path]:
        paths = sorted(self._path.iterdir()) if self._path.is_dir() else [self._path]
        if len(paths) > MAX_FILES:
            raise ValueError(f"{self._path} has {len(paths):,} files, more than {MAX_FILES:,}")
        found: dict[int, Path] = {}
        for path in paths:
            if not path.is_file():
                continue
            with path.open("rb") as file:
                start = file.read(8)
            if start[:4] != MAGIC or len(start) < 8:
                continue
            number = dictionary_id_of(start)
            other = found.setdefault(number, path)
            if other is not path and other.read_bytes() != path.read_bytes():
                raise ValueError(f"two dictionaries have the id {number}: {other} and {path}")
        return found


class _Held:
    def __init__(self, dictionaries: Mapping[int, bytes]) -> None:
        self._dictionaries = dictionaries

    def find(self, dictionary_id: int) -> bytes | None:
        return self._dictionaries.get(dictionary_id)


DictionariesGiven = Dictionaries | Mapping[int, bytes] | bytes | str | os.PathLike[str]
"""What a reader takes: what finds them, those there are by id, one, or the path of a file or a folder."""


def dictionaries_of(given: DictionariesGiven | None) -> Dictionaries:
    """Return what finds dictionaries. Raises ``TypeError``, and ``ValueError`` for bytes that are none."""
    if given is None:
        return _Held({})
    if isinstance(given, bytes):
        return _Held({dictionary_id_of(given): given})
    if isinstance(given, Mapping):
        return _Held(given)
    if isinstance(given, (str, os.PathLike)):
        return DictionaryFiles(given)
    if isinstance(given, Dictionaries):
        return given
    raise TypeError(f"dictionaries are bytes, a path, a mapping by id, or have find(); not {type(given).__name__}")
