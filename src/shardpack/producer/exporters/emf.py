"""Metrics of a producer for CloudWatch, under the KPL's names: lines in the embedded metric format, for a log.

What prints them in Lambda, in a container with the awslogs driver, or to the CloudWatch agent has them as metrics.
Sources: "Embedded metric format specification" of the CloudWatch documentation; "Monitor the KPL with Amazon
CloudWatch" of that of Kinesis, for names, units and dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from time import time

from ..stats import Histogram, Stats
from .figures import Watched

__all__ = ["EmfLines"]

MAX_VALUE = 1024
"""Characters of a dimension's value."""


class EmfLines:
    """What a producer did since it was asked last, as lines for a log.

    ``namespace`` is the KPL's own unless another is given. ``dimensions`` are added to ``StreamName``. Ask once in a
    minute or so; CloudWatch adds up, and averages, what is in the lines of each minute.
    """

    def __init__(
        self,
        producer: Watched,
        stream_name: str,
        *,
        namespace: str = "KinesisProducerLibrary",
        dimensions: dict[str, str] | None = None,
    ) -> None:
        self._producer = producer
        self._namespace = namespace
        self._dimensions = {"StreamName": stream_name, **(dimensions or {})}
        self._before = Stats()

    def lines(self, at: float | None = None) -> list[str]:
        """Return a line with all metrics, and one for each error code that came; ``at`` is Unix time, now if not given.

        A line has no line feed at its end.
        """
        before, now = self._before, self._producer.stats(shards=False)
        if now.user_records_put < before.user_records_put:  # another process, forked off
            before = Stats()
        self._before = now
        timestamp = int((time() if at is None else at) * 1000)
        lines = [self._line(timestamp, dict(_metrics(before, now)), {})]
        for code, count in _errors(before, now):
            dimension = {"ErrorCode": (code or "Unknown")[:MAX_VALUE]}
            lines.append(self._line(timestamp, {"ErrorsByCode": ("Count", count)}, dimension))
        return lines

    def _line(self, timestamp: int, metrics: dict[str, tuple[str, float]], more: dict[str, str]) -> str:
        dimensions = {**self._dimensions, **more}
        directive = {
            "Namespace": self._namespace,
            "Dimensions": [list(dimensions)],
            "Metrics": [{"Name": name, "Unit": unit} for name, (unit, _) in metrics.items()],
        }
        values = {name: value for name, (_, value) in metrics.items()}
        return json.dumps({"_aws": {"Timestamp": timestamp, "CloudWatchMetrics": [directive]}, **dimensions, **values})


def _metrics(before: Stats, now: Stats) -> Iterator[tuple[str, tuple[str, float]]]:
    """Names with units and values. What there was none of has no average."""
    stored = now.kinesis_records_stored - before.kinesis_records_stored
    requests = now.requests - before.requests
    yield "UserRecordsReceived", ("Count", now.user_records_put - before.user_records_put)
    yield "UserRecordsPending", ("Count", now.user_records_pending)
    yield "UserRecordsPut", ("Count", now.user_records_stored - before.user_records_stored)
    yield "UserRecordsDataPut", ("Bytes", now.user_bytes_stored - before.user_bytes_stored)
    yield "KinesisRecordsPut", ("Count", stored)
    yield "KinesisRecordsDataPut", ("Bytes", now.bytes_stored - before.bytes_stored)
    yield "AllErrors", ("Count", sum(count for _, count in _errors(before, now)))
    yield "UserRecordExpired", ("Count", max(0, now.user_records_expired - before.user_records_expired))
    if stored:
        yield "RetriesPerRecord", ("Count", (now.retries - before.retries) / stored)
        user_records = now.user_records_stored - before.user_records_stored
        yield "UserRecordsPerKinesisRecord", ("Count", user_records / stored)
    if requests:
        sent = now.kinesis_records_sent - before.kinesis_records_sent
        yield "KinesisRecordsPerPutRecordsRequest", ("Count", sent / requests)
    if _count(before.queue_s, now.queue_s):
        waits = [(before.stage_s, now.stage_s), (before.linger_s, now.linger_s), (before.queue_s, now.queue_s)]
        yield "BufferingTime", ("Milliseconds", sum(_mean_ms(*wait) for wait in waits))
    if _count(before.request_s, now.request_s):
        yield "RequestTime", ("Milliseconds", _mean_ms(before.request_s, now.request_s))


def _errors(before: Stats, now: Stats) -> list[tuple[str, int]]:
    counts = [(code, count - before.errors.get(code, 0)) for code, count in now.errors.items()]
    return [(code, count) for code, count in counts if count]


def _count(before: Histogram, now: Histogram) -> int:
    return now.count - before.count


def _mean_ms(before: Histogram, now: Histogram) -> float:
    count = _count(before, now)
    return 1000 * (now.sum - before.sum) / count if count else 0.0
