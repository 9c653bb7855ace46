"""One redrive of a prefix at a time: a lock in the bucket, which ends by itself when nobody renews it."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any
from uuid import uuid4

from ..letter import DeadLetterError

NAME = "redrive.lock"

LEASE_SECONDS = 60.0
"""How long a lock stands that is not renewed: one of a redrive that was killed."""

RENEW_SECONDS = LEASE_SECONDS / 4


class Lock:
    """An object that only one may write: S3 refuses to write what is there, or has changed since.

    ``naming`` turns the service's errors into ``DeadLetterError``.
    """

    def __init__(
        self, client: Any, bucket: str, key: str, naming: Callable[[str], AbstractContextManager[None]]
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._key = key
        self._naming = naming
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._body = json.dumps({"owner": self._owner, "id": str(uuid4())}).encode()
        self._tag = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="shardpack-redrive-lock", daemon=True)
        self.lost = False
        """Whether another has taken the lock over: this process stood still for longer than a lease."""

    def __enter__(self) -> Lock:
        """Raise ``DeadLetterError``, which names the owner, where another has it."""
        with self._naming(self._key):
            while not (self._write(IfNoneMatch="*") or self._take_over()):
                pass  # it was given up between the two
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if not self.lost:
            with self._naming(self._key):
                self._client.delete_object(Bucket=self._bucket, Key=self._key)

    def _write(self, **condition: str) -> bool:
        """Write the object; return whether the condition held."""
        place = {"Bucket": self._bucket, "Key": self._key}
        try:
            self._tag = self._client.put_object(**place, Body=self._body, **condition)["ETag"]
        except Exception as error:
            if _code(error) in {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"}:
                return False
            raise
        return True

    def _take_over(self) -> bool:
        """Take a lock that was not renewed; return whether there was one."""
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=self._key)
        except Exception as error:
            if _code(error) == "NoSuchKey":
                return False
            raise
        date = found.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")  # by the service's clock
        now = parsedate_to_datetime(date) if date else datetime.now(timezone.utc)
        age = (now - found["LastModified"]).total_seconds()
        if age > LEASE_SECONDS and self._write(IfMatch=found["ETag"]):
            return True
        raise DeadLetterError(
            f"s3://{self._bucket}/{self._key}: {_owner_in(found['Body'].read())} redrives these letters, or was killed "
            f"less than {LEASE_SECONDS:g} s ago"
        )

    def _renew(self) -> None:
        while not self._over.wait(RENEW_SECONDS):
            try:
                if not self._write(IfMatch=self._tag):
                    self.lost = True
                    return
            except Exception:  # noqa: BLE001, S112 - it may pass before the lease does; then another may have the lock
                continue


def _code(error: Exception) -> str:
    code: str = getattr(error, "response", {}).get("Error", {}).get("Code", "")
    return code


def _owner_in(body: bytes) -> str:
    try:
        return str(json.loads(body)["owner"])
    except (ValueError, TypeError, KeyError):
        return "another process"
