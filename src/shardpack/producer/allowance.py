"""How fast one shard may be sent to: what it takes is found out, for nobody tells it."""

from __future__ import annotations

LEAST_BYTES_PER_SECOND = 16 * 1024
LEAST_RECORDS_PER_SECOND = 10.0
DECREASE = 0.7
INCREASE_PER_SECOND = 0.1
"""Of the rate at which the shard last throttled, while it takes everything."""
WINDOW_SECONDS = 1.0


class Allowance:
    """Two token buckets, of bytes and of Kinesis records, whose rates fall when the shard throttles and rise again.

    A shard takes 1 MiB and 1,000 records a second, but others send to it too, and an on-demand stream grows: so there
    is no limit until it throttles. Then it may have what it took in the second before, less 30 %, and a tenth of that
    more with every second in which it takes all. ``most_bytes`` and ``most_records`` a second bound it from above.
    Times are seconds of any clock that does not go back.
    """

    __slots__ = (
        "_bytes",
        "_bytes_rate",
        "_bytes_step",
        "_most_bytes",
        "_most_records",
        "_records",
        "_records_rate",
        "_records_step",
        "_seen_at",
        "_window_bytes",
        "_window_from",
        "_window_records",
        "throttles",
    )

    def __init__(self, most_bytes: float | None = None, most_records: float | None = None) -> None:
        self.throttles = 0
        self._most_bytes, self._most_records = most_bytes, most_records
        self._bytes_rate, self._records_rate = most_bytes, most_records  # None: not limited
        self._bytes = self._records = 0.0  # tokens; below 0 what was taken in advance
        self._bytes_step = self._records_step = 0.0
        self._seen_at: float | None = None
        self._window_from = 0.0  # what was stored since
        self._window_bytes = self._window_records = 0

    @property
    def rates(self) -> tuple[float | None, float | None]:
        """Bytes and records that it may have a second; ``None`` without a limit."""
        return self._bytes_rate, self._records_rate

    def ready_at(self, now: float) -> float:
        """When the next entry may be sent: at once, or when what the last ones took in advance has come in."""
        self._refill(now)
        wait = 0.0
        if self._bytes_rate is not None and self._bytes < 0:
            wait = -self._bytes / self._bytes_rate
        if self._records_rate is not None and self._records < 0:
            wait = max(wait, -self._records / self._records_rate)
        return now + wait

    def take(self, size: int, now: float) -> None:
        """An entry of this many bytes is sent. It may be larger than what there is: the next one waits the longer."""
        self._refill(now)
        self._bytes -= size
        self._records -= 1

    def stored(self, size: int, now: float) -> None:
        """The shard took an entry of this many bytes."""
        if now - self._window_from >= WINDOW_SECONDS:
            self._window_from, self._window_bytes, self._window_records = now, 0, 0
        self._window_bytes += size
        self._window_records += 1

    def throttled(self, now: float) -> None:
        """The shard refused an entry as too much."""
        self.throttles += 1
        seconds = max(now - self._window_from, WINDOW_SECONDS)
        taken_bytes, taken_records = self._window_bytes / seconds, self._window_records / seconds
        bytes_rate = taken_bytes if self._bytes_rate is None else min(self._bytes_rate, max(taken_bytes, 1.0))
        records_rate = taken_records if self._records_rate is None else min(self._records_rate, taken_records)
        self._bytes_rate = max(LEAST_BYTES_PER_SECOND, DECREASE * bytes_rate)
        self._records_rate = max(LEAST_RECORDS_PER_SECOND, DECREASE * records_rate)
        self._bytes_step = INCREASE_PER_SECOND * self._bytes_rate
        self._records_step = INCREASE_PER_SECOND * self._records_rate

    def _refill(self, now: float) -> None:
        elapsed = 0.0 if self._seen_at is None else max(0.0, now - self._seen_at)
        self._seen_at = now
        if self._bytes_rate is not None:
            self._bytes_rate = _grown(self._bytes_rate, self._bytes_step * elapsed, self._most_bytes)
            self._bytes = min(self._bytes + self._bytes_rate * elapsed, 0.0)
        else:
            self._bytes = 0.0
        if self._records_rate is not None:
            self._records_rate = _grown(self._records_rate, self._records_step * elapsed, self._most_records)
            self._records = min(self._records + self._records_rate * elapsed, 0.0)
        else:
            self._records = 0.0


def _grown(rate: float, more: float, most: float | None) -> float:
    return rate + more if most is None else min(rate + more, most)
