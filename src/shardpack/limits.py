"""What Kinesis Data Streams accepts, in bytes and counts.

Source: https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html and the API reference of
PutRecords and UpdateMaxRecordSize.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import index
from typing import Any

from .errors import abridged

KIB = 1024
MIB = 1024 * KIB

MAX_RECORD_BYTES = 1 * MIB
"""Data and partition key of a Kinesis record, unless the stream's limit is raised."""

LARGEST_RECORD_BYTES = 10 * MIB
"""The most a stream's record limit can be raised to."""

MAX_REQUEST_BYTES = 5 * MIB
"""Data and partition keys of one PutRecords call."""

LARGEST_REQUEST_BYTES = 10 * MIB
"""What PutRecords takes where the stream's record limit is raised, or where asked for."""

REQUEST_MARGIN = 64
"""Of a request of several records one byte in so many is left free: 80 KiB of 5 MiB, 160 bytes for each of 500 records.

Producers report requests that the service refused as too large and that they had counted as exactly its limit. That is
documented as data and partition keys; what else is counted is not. A record alone in its request needs no margin.
"""

MAX_REQUEST_RECORDS = 500
"""Kinesis records in one PutRecords call."""

SHARD_BYTES_PER_SECOND = 1 * MIB
SHARD_RECORDS_PER_SECOND = 1_000
"""What one shard takes, Kinesis records with their data and partition keys."""

PUT_PAYLOAD_UNIT_BYTES = 25 * KIB
"""What a provisioned stream bills by: every Kinesis record counts as this or a multiple of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes that hold for one stream, as the service documents them; in bytes of data and UTF-8 partition keys.

    Raises ``ValueError`` for a limit the service does not have, ``TypeError`` for one that is no whole number.
    """

    max_record_bytes: int = MAX_RECORD_BYTES
    max_request_bytes: int = MAX_REQUEST_BYTES
    max_request_records: int = MAX_REQUEST_RECORDS

    def __post_init__(self) -> None:
        for name, largest in (
            ("max_record_bytes", LARGEST_RECORD_BYTES),
            ("max_request_bytes", LARGEST_REQUEST_BYTES),
            ("max_request_records", MAX_REQUEST_RECORDS),
        ):
            value = whole_number(name, getattr(self, name))
            if not 1 <= value <= largest:
                raise ValueError(f"{name} of {abridged(value)} is not between 1 and {largest:,}")
            object.__setattr__(self, name, value)
        if self.max_request_bytes < self.max_record_bytes:
            raise ValueError(
                f"max_request_bytes of {self.max_request_bytes:,} is less than max_record_bytes of "
                f"{self.max_record_bytes:,}: such a record would fit no request"
            )

    @property
    def packed_request_bytes(self) -> int:
        """What ``pack`` fills a request of several records with: ``max_request_bytes`` less its 64th part."""
        return self.max_request_bytes - self.max_request_bytes // REQUEST_MARGIN

    @classmethod
    def for_stream(cls, summary: Mapping[str, Any]) -> Limits:
        """Limits of a stream, from a DescribeStreamSummary response or its ``StreamDescriptionSummary``.

        A stream whose ``MaxRecordSizeInKiB`` is raised also takes requests of 10 MiB. Raises ``TypeError`` for what is
        neither.
        """
        if not isinstance(summary, Mapping):
            raise TypeError(
                f"expected what client.describe_stream_summary(StreamName=…) returns, not {abridged(summary)}"
            )
        description = summary.get("StreamDescriptionSummary", summary)
        max_record_bytes = description.get("MaxRecordSizeInKiB", MAX_RECORD_BYTES // KIB) * KIB
        raised = max_record_bytes > MAX_RECORD_BYTES
        return cls(
            max_record_bytes=max_record_bytes,
            max_request_bytes=LARGEST_REQUEST_BYTES if raised else MAX_REQUEST_BYTES,
        )


def put_payload_units(size: int) -> int:
    """PUT payload units of a Kinesis record of ``size`` bytes (data and partition key)."""
    return max(1, -(-size // PUT_PAYLOAD_UNIT_BYTES))


def whole_number(name: str, value: Any) -> int:
    """Return what counts as an ``int``, numpy's among them, as one. Raises ``TypeError`` that names it."""
    try:
        return index(value)
    except TypeError:
        raise TypeError(f"{name} is a whole number, not {abridged(value)}") from None
