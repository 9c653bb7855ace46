"""The way into a stream that put and demo share: lines, aggregated, sent in order until the service has them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from .._aggregate import Aggregator
from ..errors import InvalidRecordError
from ..producer.send import DeliveryReport, OrderedSender
from ..records import KinesisRecord
from ..transport.boto3 import Boto3Transport
from .ndjson import BadLineError, KeyFields, Lines, Source, keys_of
from .outcome import BadInputError

logger = logging.getLogger("shardpack.cli")

LONGEST_WAIT_SECONDS = 0.1
"""How long a wait for input may keep us from noticing that we are to stop."""


class Delivery:
    """Aggregates events for the shards of one stream and sends them; follows resharding."""

    def __init__(self, client: Any, stream_name: str, on_stored: Callable[[KinesisRecord], None] | None = None) -> None:
        transport = Boto3Transport(client, stream_name)
        description = transport.describe()
        self.limits = description.limits
        self._max_records = None
        if description.auto_distribution:
            self._max_records = 1
            logger.warning("%s spreads records over its shards itself (AUTO): they are sent raw", stream_name)
        self._sender = OrderedSender(transport, self.limits)
        self._aggregator = self._new_aggregator()
        self._on_stored = on_stored
        self._ready: list[KinesisRecord] = []
        self._ready_size = 0

    def _new_aggregator(self) -> Aggregator:
        return Aggregator(self._sender.shard_map, limits=self.limits, max_records=self._max_records)

    @property
    def report(self) -> DeliveryReport:
        """What the service has."""
        return self._sender.report

    def add_lines(self, lines: list[tuple[int, bytes]], fields: KeyFields) -> None:
        """Take the events of numbered lines, and send once a full request is ready.

        Raises ``BadLineError`` for a line that cannot be sent; those before it are taken.
        """
        numbers, keys, datas, explicit_hash_keys, bad = keys_of(lines, fields)
        given = explicit_hash_keys if fields.explicit_hash_key is not None else None
        try:
            self._aggregator.add_many(keys, datas, given)
        except InvalidRecordError:  # nothing of them was taken: find the line
            for number, key, data, explicit_hash_key in zip(numbers, keys, datas, explicit_hash_keys, strict=True):
                try:
                    self._aggregator.add(key, data, explicit_hash_key)
                except InvalidRecordError as error:
                    bad = BadLineError(number, str(error))
                    break
        self._collect(self._aggregator.take())
        if self._ready_size >= self.limits.max_request_bytes:
            self._send()
        if bad is not None:
            raise bad

    def flush(self) -> None:
        """Send everything, and return when the service has it."""
        self._collect(self._aggregator.flush())
        self._send()

    def _collect(self, records: list[KinesisRecord]) -> None:
        self._ready += records
        self._ready_size += sum(record.size for record in records)

    def _send(self) -> None:
        ready, self._ready, self._ready_size = self._ready, [], 0
        self._sender.send(ready, self._aggregator.shard_map, self._on_stored)
        if self._sender.shard_map is not self._aggregator.shard_map:
            # resharded: the buckets belong to the old map; the sender aggregates them anew, after what was ready
            old, self._aggregator = self._aggregator, self._new_aggregator()
            self._sender.send(old.flush(), old.shard_map, self._on_stored)


def put_lines(
    source: Source,
    fields: KeyFields,
    delivery: Delivery,
    *,
    linger_s: float = LONGEST_WAIT_SECONDS,
    max_lines: int | None = None,
    on_read: Callable[[], None] = lambda: None,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Deliver every line of ``source``; from a pipe, none waits longer than ``linger_s`` for others to share with.

    Memory stays bounded. Raises ``BadInputError`` (``BadLineError`` for a line) once all that precedes the bad input
    is stored. ``stopping`` ends the reading early; what was read is stored.
    """
    lines = Lines(delivery.limits.max_record_bytes)
    oldest: float | None = None  # when the first event came that is not sent yet
    left = max_lines
    try:
        while not stopping() and left != 0:
            wait = LONGEST_WAIT_SECONDS if oldest is None else oldest + linger_s - time.monotonic()
            chunk = source.read(min(max(wait, 0.0), LONGEST_WAIT_SECONDS))
            if chunk is not None:
                numbered = (lines.feed(chunk) if chunk else lines.finish())[:left]
                delivery.add_lines(numbered, fields)
                lines.check()
                on_read()
                left = None if left is None else left - len(numbered)
                oldest = time.monotonic() if oldest is None else oldest
            if chunk == b"":
                break
            if source.live and oldest is not None and time.monotonic() - oldest >= linger_s:
                delivery.flush()
                oldest = None
    except BadInputError:
        delivery.flush()
        raise
    delivery.flush()
