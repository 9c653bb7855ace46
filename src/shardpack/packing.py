"""Kinesis records into PutRecords requests, under the limits of the service."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from .errors import RecordTooLargeError, abridged
from .limits import Limits, whole_number
from .records import KinesisRecord

MAX_MISFITS = 64
"""How many shards' next records may turn out too large for what is left of a request before it is closed."""


def pack(
    kinesis_records: Iterable[KinesisRecord],
    limits: Limits | None = None,
    *,
    max_entries_per_shard: int | None = None,
) -> list[list[KinesisRecord]]:
    """Group Kinesis records into requests, each within the limits.

    A request is counted with data, partition keys and explicit hash keys, and filled to
    ``limits.packed_request_bytes``, a 64th less than ``max_request_bytes``. A record that is larger goes alone.

    Records of one shard keep their order, over the requests and inside each. A request takes one record of every shard
    before it takes a second. ``max_entries_per_shard`` caps a shard's records in one request: 1 keeps a shard's order
    through retries, because the service promises no order within a request. With a cap, the shards with the most left
    come first, so that long queues do not become a tail of nearly empty requests.

    Raises ``RecordTooLargeError`` for a record that exceeds ``limits.max_record_bytes``; nothing is returned then.
    ``TypeError`` for what is no ``KinesisRecord``, and for limits that are no ``Limits``, which alone are checked.
    """
    if not isinstance(kinesis_records, Iterable) or isinstance(kinesis_records, (bytes, str)):
        raise TypeError(
            f"pack takes KinesisRecords, as Aggregator.flush() returns them, not {abridged(kinesis_records)}"
        )
    limits = Limits() if limits is None else limits
    if not isinstance(limits, Limits):
        raise TypeError(f"limits are Limits, not {abridged(limits)}")
    if max_entries_per_shard is not None:
        max_entries_per_shard = whole_number("max_entries_per_shard", max_entries_per_shard)
        if max_entries_per_shard < 1:
            raise ValueError(f"max_entries_per_shard of {abridged(max_entries_per_shard)} is less than 1")
    queues: dict[int, deque[KinesisRecord]] = {}
    for record in kinesis_records:
        if not isinstance(record, KinesisRecord):
            raise TypeError(f"pack takes KinesisRecords, as Aggregator.flush() returns them, not {abridged(record)}")
        if record.size > limits.max_record_bytes:
            raise RecordTooLargeError(
                f"Kinesis record of {record.size:,} bytes (key {abridged(record.partition_key)}) exceeds the stream's "
                f"{limits.max_record_bytes:,}"
            )
        queues.setdefault(record.shard_index, deque()).append(record)

    longest_first = [(-len(queue), shard) for shard, queue in queues.items()]
    heapify(longest_first)
    requests = []
    while longest_first:
        requests.append(_next_request(queues, longest_first, limits, max_entries_per_shard))
    return requests


def _next_request(
    queues: dict[int, deque[KinesisRecord]],
    longest_first: list[tuple[int, int]],
    limits: Limits,
    max_entries_per_shard: int | None,
) -> list[KinesisRecord]:
    """Take one request's records off the queues. ``longest_first`` is a heap of (-length, shard) of those not empty."""
    request: list[KinesisRecord] = []
    room = limits.packed_request_bytes
    entries: dict[int, int] = {}  # of each shard in this request
    again: list[tuple[int, int, int]] = []  # heap of (round, -length, shard): shards that are in this request already
    done: list[int] = []  # shards with records left that this request takes no more of
    misfits = 0
    while len(request) < limits.max_request_records and misfits < MAX_MISFITS:
        if again and (not longest_first or (max_entries_per_shard is not None and again[0][1] <= longest_first[0][0])):
            _, _, shard = heappop(again)
        elif longest_first:
            _, shard = heappop(longest_first)
        else:
            break
        queue = queues[shard]
        size = queue[0].request_size
        if size > room and request:
            misfits += 1
            done.append(shard)
            continue
        record = queue.popleft()
        request.append(record)
        room -= size
        entries[shard] = entries.get(shard, 0) + 1
        if queue and entries[shard] != max_entries_per_shard:
            # with a cap, a long queue is what makes more requests necessary, so it goes before a fair round
            heappush(again, (entries[shard] if max_entries_per_shard is None else 0, -len(queue), shard))
        elif queue:
            done.append(shard)
    for shard in (*done, *(shard for _, _, shard in again)):
        heappush(longest_first, (-len(queues[shard]), shard))
    return request
