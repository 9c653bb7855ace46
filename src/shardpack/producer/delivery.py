"""The way into a stream: user records, aggregated, sent in order until the service has them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from .._native.aggregate import Aggregator
from ..records import KinesisRecord
from ..transport.boto3 import Boto3Transport
from .send import DeliveryReport, OrderedSender

logger = logging.getLogger("shardpack.producer")


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

    def add_many(
        self,
        partition_keys: Sequence[str | bytes],
        datas: Sequence[bytes],
        explicit_hash_keys: Sequence[int | str | None] | None = None,
    ) -> None:
        """Take user records, all or none, as ``Aggregator.add_many`` does; send once a full request is ready."""
        self._aggregator.add_many(partition_keys, datas, explicit_hash_keys)
        self._collect(self._aggregator.take())
        if self._ready_size >= self.limits.max_request_bytes:
            self._send()

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
