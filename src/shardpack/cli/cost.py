"""What events cost on their way into a stream: as they were sent, and one Kinesis record per event."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..limits import MAX_REQUEST_BYTES, MAX_REQUEST_RECORDS, put_payload_units


@dataclass(slots=True)
class Cost:
    """What one way of sending takes."""

    kinesis_records: int = 0
    requests: int = 0
    wire_bytes: int = 0
    payload_units: int = 0


class WireMeter:
    """Counts the PutRecords calls a boto3 client makes and the bytes of their HTTP bodies, retries included."""

    def __init__(self, client: Any) -> None:
        self.requests = 0
        self.wire_bytes = 0
        client.meta.events.register("before-send.kinesis.PutRecords", self._count)

    def _count(self, request: Any, **_: Any) -> None:
        self.requests += 1
        self.wire_bytes += len(request.body)


def cost_unaggregated(events: Iterable[tuple[str, bytes]], stream_name: str) -> Cost:
    """Compute what sending each event as its own Kinesis record takes, requests filled to their limits.

    ``wire_bytes`` are those of the JSON that boto3 makes of such a call, to the byte.
    """
    cost = Cost()
    around = len(json.dumps({"Records": [], "StreamName": stream_name}))
    each = len('{"Data": "", "PartitionKey": }')
    entries = size = 0
    for key, data in events:
        event_size = len(data) + len(key.encode())
        if not entries or entries == MAX_REQUEST_RECORDS or size + event_size > MAX_REQUEST_BYTES:
            cost.requests += 1
            cost.wire_bytes += around
            entries = size = 0
        cost.wire_bytes += each + 4 * -(-len(data) // 3) + len(json.dumps(key)) + (len(", ") if entries else 0)
        cost.kinesis_records += 1
        cost.payload_units += put_payload_units(event_size)
        entries += 1
        size += event_size
    return cost
