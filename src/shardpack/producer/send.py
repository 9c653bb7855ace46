"""Send Kinesis records until the service has every one of them, in the order of their shards.

One entry of a shard is in flight at a time, so an entry that fails is tried again before anything behind it, and the
order of a shard survives throttling. When an answer names another shard than predicted, the stream was resharded: the
shard map is read again and whatever is affected is aggregated anew for the shards as they are now.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .._native.aggregate import Aggregator
from ..consume import deaggregate
from ..errors import DeliveryError
from ..limits import Limits, put_payload_units
from ..packing import pack
from ..records import KinesisRecord
from ..shards import Shard, ShardMap
from ..transport import Failed, Stored, Transport

logger = logging.getLogger("shardpack.producer")

FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 5.0


@dataclass(slots=True)
class DeliveryReport:
    """What was stored. Bytes count data and partition keys."""

    user_records: int = 0
    kinesis_records: int = 0
    requests: int = 0
    resent_entries: int = 0
    size: int = 0
    payload_units: int = 0
    size_by_shard: dict[str, int] = field(default_factory=dict)

    def add(self, record: KinesisRecord, stored: Stored) -> None:
        self.user_records += record.user_record_count
        self.kinesis_records += 1
        self.size += record.size
        self.payload_units += put_payload_units(record.size)
        self.size_by_shard[stored.shard_id] = self.size_by_shard.get(stored.shard_id, 0) + record.size


@dataclass(slots=True)
class _Lane:
    """The Kinesis records that wait for one shard; only the first is ever in flight."""

    records: deque[KinesisRecord] = field(default_factory=deque)
    failures: int = 0
    failing_since: float | None = None
    not_before: float = 0.0


class OrderedSender:
    """Deliver Kinesis records to one stream from one thread, in order, through throttling and resharding.

    ``shard_map`` is the stream's as this sender knows it; it is replaced when the stream turns out to be resharded.
    ``give_up_after_s`` bounds how long one shard may refuse its next record.
    """

    def __init__(self, transport: Transport, limits: Limits | None = None, *, give_up_after_s: float = 60.0) -> None:
        self.transport = transport
        self.limits = Limits() if limits is None else limits
        self.shard_map = transport.list_shards()
        self.report = DeliveryReport()
        self._give_up_after_s = give_up_after_s
        self._lanes: dict[int, _Lane] = {}
        self._lost_since: float | None = None  # when answers began to name shards that the map does not have there
        self._lost_times = 0

    def send(
        self,
        kinesis_records: Iterable[KinesisRecord],
        shard_map: ShardMap,
        on_stored: Callable[[KinesisRecord], None] | None = None,
    ) -> None:
        """Send all, and return when the service has them; ``on_stored`` is called for each.

        ``shard_map`` is the one they were aggregated with; when it is not the sender's any more, they are aggregated
        anew. Raises ``DeliveryError`` for an entry that can never be stored, or that was refused for
        ``give_up_after_s``; the transport's own exceptions pass through. Either way ``report`` tells what was stored.
        """
        records = list(kinesis_records)
        if shard_map is not self.shard_map:
            records = self._aggregate_anew(records)
        self._line_up(records)
        while self._lanes:
            for request in pack(self._due(), self.limits, max_entries_per_shard=1):
                outcomes = self.transport.put_records(request)
                self.report.requests += 1
                elsewhere, refused = self._settle(request, outcomes, on_stored)
                if elsewhere:
                    self._follow_resharding(elsewhere, on_stored)
                if refused is not None:
                    raise refused
                if elsewhere:
                    break  # the rest of this round belongs to the old map
                self._lost_since, self._lost_times = None, 0

    def _line_up(self, records: Iterable[KinesisRecord]) -> None:
        for record in records:
            self._lanes.setdefault(record.shard_index, _Lane()).records.append(record)

    def _due(self) -> list[KinesisRecord]:
        """Return the next record of every shard that is not backing off; wait until there is one."""
        wait = min(lane.not_before for lane in self._lanes.values()) - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        now = time.monotonic()
        return [lane.records[0] for lane in self._lanes.values() if lane.not_before <= now]

    def _settle(
        self,
        request: list[KinesisRecord],
        outcomes: list[Stored | Failed],
        on_stored: Callable[[KinesisRecord], None] | None,
    ) -> tuple[list[tuple[KinesisRecord, Stored]], DeliveryError | None]:
        """Take what is stored off its lane.

        Returns the aggregated records that landed in another shard than predicted, which are not counted yet, and the
        error of an entry that was refused for good.
        """
        elsewhere = []
        refused: DeliveryError | None = None
        for record, outcome in zip(request, outcomes, strict=True):
            lane = self._lanes[record.shard_index]
            if isinstance(outcome, Failed):
                refused = self._back_off(lane, record, outcome) or refused
                continue
            lane.records.popleft()
            lane.failures, lane.failing_since, lane.not_before = 0, None, 0.0
            if not lane.records:
                del self._lanes[record.shard_index]
            if outcome.shard_id == self.shard_map[record.shard_index].shard_id or _is_raw(record):
                self._count(record, outcome, on_stored)
            else:
                elsewhere.append((record, outcome))
        return elsewhere, refused

    def _count(self, record: KinesisRecord, stored: Stored, on_stored: Callable[[KinesisRecord], None] | None) -> None:
        self.report.add(record, stored)
        if on_stored is not None:
            on_stored(record)

    def _back_off(self, lane: _Lane, record: KinesisRecord, failed: Failed) -> DeliveryError | None:
        """Keep the record at the head of its lane, for later: exponential, full jitter, this shard alone.

        Returns the error when there is no later.
        """
        now = time.monotonic()
        if lane.failing_since is None:
            lane.failing_since = now
        what = f"Kinesis record of {record.size:,} bytes (key {record.partition_key!r}): {failed.error_code}"
        if not failed.retryable:
            return DeliveryError(f"{what}: {failed.message}")
        if now - lane.failing_since > self._give_up_after_s:
            return DeliveryError(f"{what} for more than {self._give_up_after_s:g} s: {failed.message}")
        longest = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2**lane.failures)
        lane.failures += 1
        lane.not_before = now + random.uniform(0, longest)
        self.report.resent_entries += 1
        return None

    # --- resharding ---

    def _follow_resharding(
        self, elsewhere: list[tuple[KinesisRecord, Stored]], on_stored: Callable[[KinesisRecord], None] | None
    ) -> None:
        """Read the map again; send again what the KCL would drop, and all that waits, for the shards as they are.

        The map can lag behind the answers: each time in a row waits longer, and not for ever.
        """
        now = time.monotonic()
        self._lost_since = now if self._lost_since is None else self._lost_since
        if now - self._lost_since > self._give_up_after_s:
            raise DeliveryError(
                f"for more than {self._give_up_after_s:g} s the service stores records in other shards than ListShards "
                f"says, {elsewhere[0][1].shard_id} for one"
            )
        if self._lost_times:
            time.sleep(random.uniform(0, min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2**self._lost_times)))
        self._lost_times += 1
        self.shard_map = self.transport.list_shards()
        shards = {shard.shard_id: shard for shard in self.shard_map}
        logger.info("the stream was resharded: %d open shards now", len(self.shard_map))
        again = []
        for record, stored in elsewhere:
            shard = shards.get(stored.shard_id)
            if shard is not None and _lies_in(record, shard):
                self._count(record, stored, on_stored)
            else:
                again.append(record)
                self.report.resent_entries += 1
        waiting = [record for lane in self._lanes.values() for record in lane.records]
        self._lanes.clear()
        self._line_up(self._aggregate_anew(again + waiting))

    def _aggregate_anew(self, records: list[KinesisRecord]) -> list[KinesisRecord]:
        aggregator = Aggregator(self.shard_map, limits=self.limits)
        for record in records:
            if _is_raw(record):
                aggregator.add(record.partition_key, record.data, record.explicit_hash_key)
                continue
            for user_record in deaggregate(record.data, strict=True):
                assert user_record.partition_key is not None  # the format has one for every user record
                aggregator.add(user_record.partition_key, user_record.data, user_record.explicit_hash_key)
        return aggregator.flush()


def _is_raw(record: KinesisRecord) -> bool:
    return record.user_record_count == 1 and not deaggregate(record.data)[0].aggregated


def _lies_in(record: KinesisRecord, shard: Shard) -> bool:
    """Whether the KCL, reading this shard, takes every user record of the aggregated record."""
    hash_range = (shard.starting_hash_key, shard.ending_hash_key)
    return deaggregate(record.data, hash_range=hash_range).left_out == 0
