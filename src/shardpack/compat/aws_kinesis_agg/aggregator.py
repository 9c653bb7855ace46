"""Aggregated records, built one user record at a time and for no shard in particular.

New code wants ``shardpack.Aggregator``, which knows shards: the KCL drops an aggregated record, whole, when it holds a
user record of another shard. Where this departs from the original, and why, is docs/migrate/from-aws-kinesis-agg.md.

Format: https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md
"""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Callable
from typing import Any

from ..._native.compat import GrowingMessage, size_of_one
from ...errors import RecordTooLargeError
from . import DIGEST_SIZE, MAGIC, MAX_BYTES_PER_RECORD

__all__ = ["AggRecord", "KeySet", "RecordAggregator"]

FRAME_SIZE = len(MAGIC) + DIGEST_SIZE


class KeySet:
    """Distinct keys in first-seen order, and their places."""

    def __init__(self) -> None:
        self.keys: list[Any] = []
        self.lookup: dict[Any, int] = {}

    def get_potential_index(self, key: Any) -> int:
        """Return the index of a key, or the one it would get."""
        return self.lookup.get(key, len(self.keys))

    def add_key(self, key: Any) -> tuple[bool, int]:
        """Add a key unless it is there; return whether it was new, and its index."""
        index = self.lookup.setdefault(key, len(self.keys))
        is_new = index == len(self.keys)
        if is_new:
            self.keys.append(key)
        return is_new, index

    def contains(self, key: Any) -> bool:
        return key is not None and key in self.lookup

    def clear(self) -> None:
        self.keys.clear()
        self.lookup.clear()

    def __deepcopy__(self, memo: dict[int, Any]) -> KeySet:
        copied = KeySet()
        copied.keys, copied.lookup = self.keys.copy(), self.lookup.copy()
        return copied


class AggRecord:
    """An aggregated record that grows by user records, to ``max_size`` bytes at most. Sizes are exact.

    The aggregated record and its partition key together stay within ``MAX_BYTES_PER_RECORD`` (or ``max_size``, where
    that is more): else Kinesis would refuse them. Not to be shared between threads.
    """

    def __init__(self, max_size: int = MAX_BYTES_PER_RECORD) -> None:
        self.max_size = max_size
        self.partition_keys = KeySet()
        self.explicit_hash_keys = KeySet()
        self.clear()

    def clear(self) -> None:
        """Forget all user records."""
        self.partition_keys.clear()
        self.explicit_hash_keys.clear()
        self._message = GrowingMessage()
        self._count = 0
        self._first_key = b""
        self._partition_key: str | bytes = ""
        self._explicit_hash_key: str | bytes | None = ""

    def get_num_user_records(self) -> int:
        return self._count

    def get_size_bytes(self) -> int:
        """Return the bytes of the aggregated record, as ``get_contents`` would give it."""
        return FRAME_SIZE + self._message.size

    def get_contents(self) -> tuple[str | bytes, str | bytes | None, bytes]:
        """Return what PutRecord takes: partition key and explicit hash key of the first user record, as given; data."""
        message = b"".join(self._message.fields())
        data = b"".join((MAGIC, message, hashlib.md5(message).digest()))
        return self._partition_key, self._explicit_hash_key, data

    def get_partition_key(self) -> str | bytes | None:
        """Return the first user record's partition key, or None without one."""
        return self._partition_key if self._count else None

    def get_explicit_hash_key(self) -> str | bytes | None:
        """Return the first user record's explicit hash key, or None without one."""
        return self._explicit_hash_key if self._count else None

    def add_user_record(
        self, partition_key: str | bytes, data: str | bytes, explicit_hash_key: str | bytes | None = None
    ) -> bool:
        """Take a user record, and return True; or False where it does not fit any more. Text becomes UTF-8.

        Raises ``RecordTooLargeError`` (a ``ValueError``) for a user record that would not fit into an empty one either,
        ``UnicodeError`` (another) for keys that are not UTF-8, ``TypeError`` for other types. Nothing was taken then.
        """
        key = _utf8(partition_key)
        hash_key = None if explicit_hash_key is None else _utf8(explicit_hash_key) or None
        payload = data if type(data) is bytes else _payload(data)
        key_index = self.partition_keys.get_potential_index(key)
        is_new = key_index == len(self.partition_keys.keys)
        max_size = self._max_message_size_with(self._first_key if self._count else key)
        if hash_key is None:
            taken = self._message.add(payload, key, key_index, is_new, max_size=max_size)
        else:
            hash_key_index = self.explicit_hash_keys.get_potential_index(hash_key)
            is_new_hash_key = hash_key_index == len(self.explicit_hash_keys.keys)
            taken = self._message.add(
                payload, key, key_index, is_new, hash_key, hash_key_index, is_new_hash_key, max_size=max_size
            )
        if not taken:
            alone = size_of_one(key, hash_key, payload)
            if self._count and alone - FRAME_SIZE <= self._max_message_size_with(key):
                return False
            raise RecordTooLargeError(
                f"user record of {len(payload):,} bytes (partition key {partition_key!r}, explicit hash key "
                f"{explicit_hash_key!r}) makes an aggregated record of {alone:,} bytes behind {len(key)} of key: "
                f"more than {self.max_size:,}, or than {MAX_BYTES_PER_RECORD:,} together"
            )
        if is_new:
            self.partition_keys.add_key(key)
        if hash_key is not None:
            self.explicit_hash_keys.add_key(hash_key)
        if not self._count:
            self._partition_key, self._explicit_hash_key = partition_key, explicit_hash_key
            self._first_key = key
        self._count += 1
        return True

    def _max_message_size_with(self, partition_key: bytes) -> int:
        together = max(self.max_size, MAX_BYTES_PER_RECORD) - len(partition_key)
        return int(min(self.max_size, together)) - FRAME_SIZE


Callback = Callable[[AggRecord], object]


class RecordAggregator:
    """Fill one aggregated record after another. Not to be shared between threads."""

    def __init__(self, max_size: int = MAX_BYTES_PER_RECORD) -> None:
        if max_size > MAX_BYTES_PER_RECORD:
            raise ValueError(f"max_size of {max_size:,} exceeds {MAX_BYTES_PER_RECORD:,}")
        self.max_size = max_size
        self.current_record = AggRecord(max_size)
        self.callbacks: list[tuple[Callback, bool]] = []

    def on_record_complete(self, callback: Callback, execute_on_new_thread: bool = True) -> None:
        """Have ``callback`` called with every record that is full, each time on a thread of its own or on the caller's.

        One that is registered already is still called once, in the way said last.
        """
        for i, (known, _) in enumerate(self.callbacks):
            if known == callback:
                self.callbacks[i] = (callback, execute_on_new_thread)
                return
        self.callbacks.append((callback, execute_on_new_thread))

    def clear_callbacks(self) -> None:
        self.callbacks.clear()

    def get_num_user_records(self) -> int:
        return self.current_record.get_num_user_records()

    def get_size_bytes(self) -> int:
        return self.current_record.get_size_bytes()

    def clear_record(self) -> None:
        """Drop the user records of the current record."""
        self.current_record = AggRecord(self.max_size)

    def clear_and_get(self) -> AggRecord | None:
        """Return the current record, however full, and start a new one; None where there is nothing in it."""
        if self.get_num_user_records() == 0:
            return None
        record = self.current_record
        self.clear_record()
        return record

    def add_user_record(
        self, partition_key: str | bytes, data: str | bytes, explicit_hash_key: str | bytes | None = None
    ) -> AggRecord | None:
        """Take a user record. Where it does not fit, return the current record, which is full, and start a new one.

        Callbacks come first. What one raises on the caller's thread is raised here, and the user record was not taken.
        Raises what ``AggRecord.add_user_record`` raises.
        """
        if self.current_record.add_user_record(partition_key, data, explicit_hash_key):
            return None
        full = self.current_record
        if self.callbacks:
            full = copy.deepcopy(full)  # ours stays as it is, until no callback can fail any more
        for callback, execute_on_new_thread in self.callbacks:
            if execute_on_new_thread:
                threading.Thread(target=callback, args=(full,)).start()
            else:
                callback(full)
        self.clear_record()
        self.current_record.add_user_record(partition_key, data, explicit_hash_key)
        return full


def _utf8(text: str | bytes) -> bytes:
    if isinstance(text, str):
        return text.encode()
    if not isinstance(text, bytes):
        raise TypeError(f"keys are str or UTF-8 bytes, not {type(text).__name__}")
    text.decode()
    return bytes(text)  # which a subclass is not


def _payload(data: Any) -> bytes:
    return data.encode() if isinstance(data, str) else bytes(memoryview(data))
