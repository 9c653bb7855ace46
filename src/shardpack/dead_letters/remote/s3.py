"""Dead letters in S3: objects of JSON lines, compressed with zstd, by stream, day and shard."""

from __future__ import annotations

import json
import os
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from time import time_ns
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from ...codec import zstd
from ...codec.payload import header_of
from ...errors import ShardpackError
from ...limits import MIB
from ..letter import DeadLetter, DeadLetterError, check
from .form import fields_of, letter_of, loaded
from .s3_lock import NAME, Lock

SUFFIX = ".ndjson.zst"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
LEVEL = 3

OBJECT_BYTES = 8 * MIB
"""Of lines, before they are compressed: no letter is added to an object that has as many. A larger one is alone."""

MOST_OBJECT_BYTES = 64 * MIB
"""Of lines: larger objects are neither written nor read."""

CLOCKS = timedelta(seconds=5)
"""How much the times of two answers of the service may differ: what comes so soon after the beginning is read too."""

Line = tuple[int, bytes]
"""The number of a letter in its object, which it keeps while others of the object go, and its line."""


class S3DeadLetters:
    """Dead letters in a bucket, there once ``put`` returns: an object for each ``put``, stream and shard.

    Objects are called ``prefix/stream/2026/11/26/shard/time-uuid.ndjson.zst``, by the time of the ``put``; the shard is
    ``-`` for letters of a producer. A line is a JSON object with the fields of a letter, its ``data`` in base64. An
    object has 8 MiB of lines at most, or one letter; a ``put`` of more becomes several, and one that fails may have
    written some of them. Letters of more than 64 MiB are a ``DeadLetterError``. Of a ``put``, the letters of a stream
    and shard stay in order.

    ``client`` is a boto3 client of S3; without one each process makes its own. Needs zstd (``pip install
    'shardpack[codec]'``, or Python 3.14), else ``ImportError``. Safe from any thread. Every method raises
    ``DeadLetterError``, which names the object, when the service refuses, cannot be reached, or has something else
    there.

    ``redrive`` takes letters from here too. An object is written again without those that were stored, and deleted when
    none is left. One redrive of a prefix runs at a time: ``redrive.lock`` is its lock.
    """

    def __init__(self, bucket: str, prefix: str = "", client: Any = None) -> None:
        self.bucket = bucket
        self.prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._zstd = zstd.library()
        self._given = client
        self._made: tuple[int, Any] = (0, None)
        self._lock = threading.Lock()
        self._redrive: Lock | None = None
        self._last = 0  # microsecond that an object was called by

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name()}>"

    def put(self, letters: Sequence[DeadLetter]) -> None:
        """Keep these; they are in the bucket when it returns."""
        kept = tuple(letters)
        check(kept)
        together: dict[tuple[str, str | None], list[DeadLetter]] = {}
        for letter in kept:
            together.setdefault((letter.stream, letter.shard_id), []).append(letter)
        for (stream, shard_id), its in together.items():
            lines: list[Line] = []
            size = 0
            for letter in its:
                line = _line(len(lines), letter)
                if lines and size + len(line[1]) > OBJECT_BYTES:
                    self._write(self._key(stream, shard_id), lines)
                    lines, size = [_line(0, letter)], 0
                else:
                    lines.append(line)
                size += len(line[1])
            self._write(self._key(stream, shard_id), lines)

    def __iter__(self) -> Iterator[tuple[str, DeadLetter]]:
        """Give id and letter of all that were there at the beginning, in the order of the objects' names.

        So those of a key are in the order of putting, also where it went from one shard to its child. Reads one object
        at a time.
        """
        for key in self._keys():
            if self._redrive is not None and self._redrive.lost:
                raise DeadLetterError(f"{self._name(NAME)}: another redrive has taken these letters over")
            for number, line in self._read(key):
                yield f"{key}#{number}", self._letter(key, number, line)

    def remove(self, ids: Iterable[str]) -> int:
        """Drop these letters, object by object, and return how many were still there."""
        return self._change(dict.fromkeys(ids))

    def replace(self, letters: Iterable[tuple[str, DeadLetter]]) -> int:
        """Keep these in the place of those with their ids, object by object; return how many were still there."""
        changes = dict(letters)
        check(tuple(changes.values()))
        return self._change(changes)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other redrives of the prefix out, by the object ``redrive.lock``; a killed one's stands for a minute.

        Raises ``DeadLetterError``, which names the owner, where there is one; and in the iteration, where this process
        stood still for so long that another has taken the lock over.
        """
        lock = Lock(self._client(), self.bucket, self.prefix + NAME, self._naming)
        with lock:
            self._redrive = lock
            try:
                yield
            finally:
                self._redrive = None

    def _change(self, changes: dict[str, DeadLetter] | dict[str, None]) -> int:
        by_key: dict[str, dict[int, DeadLetter | None]] = {}
        for name, letter in changes.items():
            key, _, place = name.rpartition("#")
            by_key.setdefault(key, {})[int(place)] = letter
        changed = 0
        for key, its in by_key.items():
            lines: list[Line] = []
            found = 0
            for number, line in self._read(key):
                if number not in its:
                    lines.append((number, line))
                    continue
                found += 1
                if (instead := its[number]) is not None:
                    lines.append(_line(number, instead))
            if found and lines:
                self._write(key, lines)
            elif found:
                with self._naming(key):
                    self._client().delete_object(Bucket=self.bucket, Key=key)
            changed += found
        return changed

    def _key(self, stream: str, shard_id: str | None) -> str:
        """Return the name of an object that comes after all that this one has named before."""
        with self._lock:
            self._last = max(time_ns() // 1000, self._last + 1)
            now = datetime.fromtimestamp(self._last // 1_000_000, timezone.utc)
            name = f"{now:%Y%m%dT%H%M%S}.{self._last % 1_000_000:06}Z-{uuid4()}{SUFFIX}"
        parts = (_quoted(stream.rpartition("/")[2]), f"{now:%Y/%m/%d}", _quoted(shard_id or ""), name)
        return self.prefix + "/".join(parts)

    def _write(self, key: str, lines: list[Line]) -> None:
        content = b"".join(line for _, line in lines)
        if len(content) > MOST_OBJECT_BYTES:
            raise DeadLetterError(f"{self._name(key)}: {len(content):,} bytes, more than {MOST_OBJECT_BYTES:,}")
        (frame,) = self._zstd.compress_many([content], LEVEL)
        with self._naming(key):
            self._client().put_object(Bucket=self.bucket, Key=key, Body=frame, ContentType="application/zstd")

    def _keys(self) -> Iterator[str]:
        more: dict[str, str] = {}
        began: datetime | None = None
        while True:
            with self._naming(self.prefix):
                page = self._client().list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, **more)
            if began is None:
                date = page.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")  # by the service's clock
                began = (parsedate_to_datetime(date) if date else datetime.now(timezone.utc)) + CLOCKS
            for found in page.get("Contents", ()):
                if found["Key"].endswith(SUFFIX) and found["LastModified"] <= began:
                    yield found["Key"]
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _read(self, key: str) -> list[Line]:
        """Return the lines of an object; none where it is gone."""
        with self._naming(key):
            try:
                frame = self._client().get_object(Bucket=self.bucket, Key=key)["Body"].read()
            except Exception as error:
                if getattr(error, "response", {}).get("Error", {}).get("Code") == "NoSuchKey":
                    return []
                raise
        try:
            return [(int(loaded(line)["id"]), line + b"\n") for line in self._unpacked(frame).splitlines()]
        except (ShardpackError, ValueError, TypeError, KeyError) as error:
            raise DeadLetterError(f"{self._name(key)}: no object of dead letters: {error!r}") from error

    def _unpacked(self, frame: bytes) -> bytes:
        if frame[:4] != ZSTD_MAGIC:
            raise ValueError("no zstd frame")
        _, size = header_of(frame[1:20], MOST_OBJECT_BYTES, max_ratio=MOST_OBJECT_BYTES)
        (content,) = self._zstd.decompress_many([frame], [size])
        if isinstance(content, str):
            raise ValueError(content)  # noqa: TRY004 - what is wrong with the frame
        return content

    def _letter(self, key: str, number: int, line: bytes) -> DeadLetter:
        try:
            fields = loaded(line)
            return letter_of(fields, b64decode(fields["data"], validate=True))
        except (ValueError, TypeError, KeyError) as error:
            raise DeadLetterError(f"{self._name(key)}: letter {number} cannot be read: {error!r}") from error

    def _client(self) -> Any:
        if self._given is not None:
            return self._given
        with self._lock:
            if self._made[0] != os.getpid():  # connections do not survive a fork
                import boto3  # noqa: PLC0415 - only where it is used

                self._made = os.getpid(), boto3.client("s3")
            return self._made[1]

    def _name(self, key: str = "") -> str:
        return f"s3://{self.bucket}/{key or self.prefix}"

    @contextmanager
    def _naming(self, key: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise DeadLetterError(f"{self._name(key)}: {error}") from error


def _line(number: int, letter: DeadLetter) -> Line:
    fields = {"id": number, **fields_of(letter), "data": b64encode(letter.data).decode()}
    return number, json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _quoted(name: str) -> str:
    return quote(name, safe="", errors="surrogatepass") or "-"
