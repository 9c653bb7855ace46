"""The figures of ``Stats`` as metrics: their names, kinds and units, the same in every system."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ..stats import Histogram, Stats


class Watched(Protocol):
    """A ``Producer`` or ``AsyncProducer``."""

    def stats(self, *, shards: bool = True) -> Stats: ...


class Kind(Enum):
    """How a figure goes, and what may be done with it."""

    COUNTER = "counter"
    """It only rises: a total of what has been done."""
    LEVEL = "level"
    """It rises and falls, and adds up over producers."""
    GAUGE = "gauge"
    """It rises and falls, and does not add up."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric. ``label`` tells its values apart, if there are several; their units are those of UCUM."""

    name: str
    kind: Kind
    unit: str
    description: str
    label: str | None
    values: Callable[[Stats], Iterable[tuple[str, float]]]


def _one(name: str, kind: Kind, unit: str, description: str) -> Figure:
    return Figure(name, kind, unit, description, None, lambda stats: [("", getattr(stats, name))])


def _each_shard(name: str, kind: Kind, unit: str, description: str, of: str) -> Figure:
    def values(stats: Stats) -> Iterable[tuple[str, float]]:
        return [(shard.shard_id, getattr(shard, of)) for shard in stats.shards]

    return Figure(name, kind, unit, description, "shard_id", values)


FIGURES = (
    _one("user_records_put", Kind.COUNTER, "{record}", "User records that were put"),
    _one("user_records_stored", Kind.COUNTER, "{record}", "User records that are stored"),
    _one("user_records_failed", Kind.LEVEL, "{record}", "User records that were given up and are not stored"),
    _one("user_records_unknown", Kind.LEVEL, "{record}", "User records that were given up and are perhaps stored"),
    _one("user_records_expired", Kind.LEVEL, "{record}", "User records that were given up as their time was over"),
    _one("user_records_pending", Kind.LEVEL, "{record}", "User records without an outcome"),
    _one("kinesis_records_sent", Kind.COUNTER, "{record}", "Kinesis records in requests, each time they were sent"),
    _one("kinesis_records_stored", Kind.COUNTER, "{record}", "Kinesis records that are stored"),
    _one("bytes_stored", Kind.COUNTER, "By", "Data and partition keys of Kinesis records that are stored"),
    _one("user_bytes_stored", Kind.COUNTER, "By", "Data and partition keys of user records that are stored"),
    _one("requests", Kind.COUNTER, "{request}", "PutRecords calls"),
    _one("requests_in_flight", Kind.LEVEL, "{request}", "PutRecords calls without an answer"),
    _one("retries", Kind.COUNTER, "{record}", "Kinesis records that were sent again"),
    Figure(
        "errors",
        Kind.COUNTER,
        "{record}",
        "Kinesis records that were answered with an error",
        "error_code",
        lambda stats: stats.errors.items(),
    ),
    _one("buffered_bytes", Kind.LEVEL, "By", "Keys, data and 64 bytes, or 128, for each pending user record"),
    _one("max_buffered_bytes", Kind.LEVEL, "By", "The bound of that"),
    _one("oldest_record_age_s", Kind.GAUGE, "s", "Since the oldest pending user record was put"),
    _one("limited_s", Kind.COUNTER, "s", "How long shards have waited for an allowance or after a failure"),
)

SHARD_FIGURES = (
    _each_shard("shard_bytes", Kind.GAUGE, "By/s", "Bytes that the shard took lately", "bytes_per_second"),
    _each_shard("shard_records", Kind.GAUGE, "{record}/s", "Kinesis records it took lately", "records_per_second"),
    _each_shard("shard_utilisation", Kind.GAUGE, "1", "That as a part of what it may take", "utilisation"),
    _each_shard("shard_throttles", Kind.COUNTER, "{record}", "Kinesis records it refused as too much", "throttles"),
)

STAGES = ("stage", "linger", "queue", "request")


def histograms(stats: Stats) -> Mapping[str, Histogram]:
    """Return how long the stages of a record took, in their order."""
    return dict(zip(STAGES, (stats.stage_s, stats.linger_s, stats.queue_s, stats.request_s), strict=True))
