"""What a reader has done, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HandlerStats:
    """What one handler of ``fan_out`` has done, and where it stands."""

    millis_behind: int
    """Age of the oldest record that was read and waits for it; without one, how far its reading is from the tip."""
    calls: int
    """GetRecords calls that were made in its turn; what they brought is there for all."""
    own_reads: int
    """Of these, those that were for it alone, since it was behind."""
    buffered_bytes: int
    """Of data, read and not handed to it."""
    dead_letters: int
    error: Exception | None
    """What ended it."""


@dataclass(frozen=True, slots=True)
class ReaderStats:
    """What a reader has done, and where it stands."""

    calls: int
    """GetRecords calls that were answered."""
    failed_calls: int
    """Calls of any kind that failed and were made again."""
    kinesis_records: int
    bytes_read: int
    """Of data."""
    buffered_bytes: int
    """Of data, read and not handed out."""
    shards: int
    """That are being read."""
    millis_behind: int
    """How far the shard that is furthest behind is from its tip, as its last answer told; 0 before any."""
    gaps: int
    """How often records may have expired before they were read."""
    handlers: Mapping[str, HandlerStats] = field(default_factory=dict)
    """Those of ``fan_out``, by name."""
