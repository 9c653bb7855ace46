"""Dead letters in a stream of their own: user records of the KPL's format, with a header that says why."""

from __future__ import annotations

import os
import random
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import Any

from ..._native.aggregate import Aggregator
from ...errors import ShardMapError, abridged
from ...packing import pack
from ...records import KinesisRecord
from ...shards import ShardMap
from ...transport import Failed, Stored, StreamDescription, Transport
from ...transport.boto3 import Boto3Transport, ClientSettings
from ..letter import DeadLetter, DeadLetterError, check
from .form import cut, wrap

NO_KEY = "-"
"""The partition key of letters that have none, or one that Kinesis does not take; their own is in the header."""

LONGEST_BACKOFF_S = 5.0
LOOK_AGAIN_S = 300.0
"""After so long the stream is described again: its record distribution may have been switched."""

Item = tuple[str, bytes]
"""Partition key and data of one user record."""


class KinesisDeadLetters:
    """Dead letters in another stream, aggregated in the KPL's format, stored once ``put`` returns.

    Each is a user record with its own partition key, ``-`` where it has none that Kinesis takes. Its data is a header
    with the letter's fields, then the letter's data; one that outgrows the stream's record limit so is cut into up to
    64 user records. Letters of one key stay in order. With AUTO record distribution each is a record of its own, and
    there is no order.

    ``client`` is a boto3 client, or a ``Transport``; without one each process makes its own. What passes by itself,
    throttling and failures, is tried again for ``give_up_after_s``; where an answer was lost a letter may be stored
    twice. ``put`` raises ``DeadLetterError``, which names the stream, when not all is stored, and then some may be.
    Safe from any thread: a second ``put`` waits for the first.

    ``drain`` reads such a stream.
    """

    def __init__(self, stream: str, client: Any = None, *, give_up_after_s: float = 60.0) -> None:
        self.stream = stream
        self._give_up_after_s = give_up_after_s
        self._lock = threading.Lock()
        self._made_by: int | None = None  # of a client that is given nobody asks
        self._delivery: _Delivery | None = None
        if client is not None:
            given = callable(getattr(client, "describe", None))
            self._delivery = _Delivery(client if given else Boto3Transport(client, stream))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} in {abridged(self.stream)}>"

    def put(self, letters: Sequence[DeadLetter]) -> None:
        """Store these, those of a key in this order, after all that were put before."""
        kept = tuple(letters)
        check(kept)
        if not kept:
            return
        with self._lock:
            try:
                self._delivering().deliver(kept, self._give_up_after_s)
            except _GivenUpError as error:
                raise DeadLetterError(f"{self.stream}: {error}") from error.__cause__

    def _delivering(self) -> _Delivery:
        if self._delivery is None or self._made_by not in (None, os.getpid()):  # connections do not survive a fork
            try:
                self._delivery = _Delivery(Boto3Transport(ClientSettings().client(1), self.stream))
            except Exception as error:  # of boto3: no region, for example
                raise DeadLetterError(f"{self.stream}: no client can be made: {error}") from error
            self._made_by = os.getpid()
        return self._delivery


class _GivenUpError(Exception):
    """Not all could be stored; what is left is not known to be."""


class _Delivery:
    """Sends user records in order and tries again, one Kinesis record of a shard at a time, as the format asks for.

    What went to another shard than was predicted is sent anew, unless all of it belongs there: the KCL would leave it
    out.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._description: StreamDescription | None = None
        self._shards = ShardMap.uniform(1)
        self._look_again_at = self._deadline = 0.0
        self._failures = 0  # in a row

    def deliver(self, letters: Sequence[DeadLetter], give_up_after_s: float) -> None:
        self._deadline, self._failures = monotonic() + give_up_after_s, 0
        if self._description is None or monotonic() > self._look_again_at:
            self._look()
        items = [item for letter in letters for item in self._items(letter)]
        while items:
            items = self._send(items)

    def _look(self) -> StreamDescription:
        description: StreamDescription = self._ask(self._transport.describe)
        if not description.auto_distribution:
            self._shards = self._ask(self._transport.list_shards)
        self._description, self._look_again_at = description, monotonic() + LOOK_AGAIN_S
        return description

    def _ask(self, call: Callable[[], Any]) -> Any:
        while True:
            try:
                return call()
            except Exception as error:  # noqa: BLE001 - of any client
                self._wait(error)

    def _items(self, letter: DeadLetter) -> list[Item]:
        assert self._description is not None
        key = letter.partition_key or NO_KEY
        try:
            room = self._description.limits.max_record_bytes - len(key.encode())
            if len(key) > 256:
                raise UnicodeError  # noqa: TRY301 - as no key for Kinesis as one that is no UTF-8
        except UnicodeError:
            key, room = NO_KEY, self._description.limits.max_record_bytes - len(NO_KEY)
        try:
            return [(key, data) for data in cut(wrap(letter), room)]
        except ValueError as error:
            raise _GivenUpError(f"a letter of key {abridged(letter.partition_key, 40)}: {error}") from None

    def _send(self, items: list[Item]) -> list[Item]:
        """Send these; return what is to be sent anew, and what was not sent because shards are others now."""
        description = self._description
        assert description is not None
        auto = description.auto_distribution
        aggregator = Aggregator(self._shards, limits=description.limits, max_records=1 if auto else None)
        keys = [key for key, _ in items]
        aggregator.add_many(keys, [data for _, data in items])
        waiting: defaultdict[int, deque[Item]] = defaultdict(deque)
        for index, item in zip(self._shards.assign(keys), items, strict=True):
            waiting[index].append(item)
        records = aggregator.flush()
        contents = {
            id(record): [waiting[record.shard_index].popleft() for _ in range(record.user_record_count)]
            for record in records
        }
        requests = pack(records, description.limits, max_entries_per_shard=None if auto else 1)
        for place, request in enumerate(requests):
            elsewhere = self._store(request, auto=auto)
            if elsewhere:
                now_auto = self._look().auto_distribution
                again = [
                    item
                    for record, shard_id in elsewhere
                    for item in contents[id(record)]
                    if now_auto or not self._all_belong(contents[id(record)], shard_id)
                ]
                if again:
                    self._wait(None)
                return again + [item for later in requests[place + 1 :] for one in later for item in contents[id(one)]]
        return []

    def _all_belong(self, items: list[Item], shard_id: str) -> bool:
        return {self._shards[index].shard_id for index in self._shards.assign([key for key, _ in items])} == {shard_id}

    def _store(self, request: list[KinesisRecord], *, auto: bool) -> list[tuple[KinesisRecord, str]]:
        """Send until all is stored; return what went to another shard than was predicted, and where."""
        elsewhere: list[tuple[KinesisRecord, str]] = []
        pending = request
        while pending:
            failed: list[KinesisRecord] = []
            for record, outcome in zip(pending, self._put_records(pending), strict=True):
                if isinstance(outcome, Failed):
                    failed.append(record)
                    reason = outcome
                elif not auto and outcome.shard_id != self._shards[record.shard_index].shard_id:
                    elsewhere.append((record, outcome.shard_id))
            if failed:
                self._wait(reason)
            else:
                self._failures = 0
            pending = failed
        return elsewhere

    def _put_records(self, pending: list[KinesisRecord]) -> list[Stored | Failed]:
        outcomes: list[Stored | Failed] = self._ask(lambda: self._transport.put_records(pending))
        return outcomes

    def _wait(self, reason: Exception | Failed | None) -> None:
        """Put the next try off, twice as long each time. Raises where there is none."""
        if isinstance(reason, Failed):
            passes, cause, words = reason.retryable, None, f"{reason.error_code}: {reason.message}"
        elif reason is None:
            passes, cause, words = True, None, "records went to other shards than ListShards tells of"
        else:
            from ...transport.transient import is_transient  # noqa: PLC0415 - it needs botocore

            # a stream that is resharded may be listed with a gap
            passes, cause, words = is_transient(reason) or isinstance(reason, ShardMapError), reason, str(reason)
        seconds = random.uniform(0.5, 1) * min(LONGEST_BACKOFF_S, 0.1 * 2 ** min(self._failures, 10))
        self._failures += 1
        if not passes or monotonic() + seconds > self._deadline:
            raise _GivenUpError(f"letters are not known to be stored: {words}") from cause
        sleep(seconds)
