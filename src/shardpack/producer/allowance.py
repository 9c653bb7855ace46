"""How fast one shard may be sent to: what it takes is found out, for nobody tells it."""

from __future__ import annotations

LEAST_BYTES_PER_SECOND = 64 * 1024
LEAST_RECORDS_PER_SECOND = 10.0

DECREASE = 0.8
DECREASE_SECONDS = 0.25
"""However much is refused within so long counts once."""

MORE_BYTES_EACH_SECOND = 64 * 1024
MORE_RECORDS_EACH_SECOND = 50.0

WINDOW_SECONDS = 1.0
BURST_SECONDS = 0.1
"""What may be sent and is not can be sent so much later."""


class Allowance:
    """Two token buckets, of bytes and of Kinesis records, whose rates fall when the shard throttles and rise again.

    A shard takes 1 MiB and 1,000 records a second, but others send to it too, and an on-demand stream grows: so there
    is no limit until it throttles. Then it may have what it took in the second before, less a fifth, and with every
    second a 16th of what a shard takes more, until it throttles again: a fifth less again. So producers that share a
    shard come to equal parts. What was never used up is no rate: it counts as twice what the shard took at most.
    ``most_bytes`` and ``most_records`` a second bound it from above. Times are seconds of any clock that does not go
    back.
    """

    __slots__ = ("_bytes", "_records", "_throttled_at", "_took", "throttles")

    def __init__(self, most_bytes: float | None = None, most_records: float | None = None) -> None:
        self.throttles = 0
        self._bytes = _Bucket(LEAST_BYTES_PER_SECOND, MORE_BYTES_EACH_SECOND, most_bytes)
        self._records = _Bucket(LEAST_RECORDS_PER_SECOND, MORE_RECORDS_EACH_SECOND, most_records)
        self._throttled_at: float | None = None
        self._took = _Took()

    @property
    def rates(self) -> tuple[float | None, float | None]:
        """Bytes and records that it may have a second; ``None`` without a limit."""
        return self._bytes.rate, self._records.rate

    def took(self, now: float) -> tuple[float, float]:
        """Return bytes and records that the shard took a second, lately. Changes nothing: any thread may ask."""
        return self._took.recent(now)

    def has_throttled_since(self, time: float) -> bool:
        """Whether the shard has refused an entry as too much since then. Any thread may ask."""
        return self._throttled_at is not None and self._throttled_at >= time

    def ready_at(self, now: float) -> float:
        """When the next entry may be sent: at once, or when what the last ones took in advance has come in."""
        if self._bytes.rate is None and self._records.rate is None:
            return now
        return now + max(self._bytes.wait(now), self._records.wait(now))

    def take(self, size: int, now: float) -> None:
        """An entry of this many bytes is sent. It may be larger than what there is: the next one waits the longer."""
        self._bytes.take(size, now)
        self._records.take(1, now)

    def give_back(self, size: int) -> None:
        """An entry of this many bytes was not stored after all."""
        self._bytes.give_back(size)
        self._records.give_back(1)

    def stored(self, size: int, now: float) -> None:
        """The shard took an entry of this many bytes."""
        self._took.add(size, now)

    def throttled(self, now: float) -> None:
        """The shard refused an entry as too much."""
        self.throttles += 1
        if self._throttled_at is not None and now < self._throttled_at + DECREASE_SECONDS:
            return
        self._throttled_at = now
        taken_bytes, taken_records = self._took.per_second(now)
        self._bytes.lower(taken_bytes, now)
        self._records.lower(taken_records, now)


class _Bucket:
    """Tokens that come in at a rate; below 0 there are what was taken in advance."""

    __slots__ = ("_least", "_more", "_most", "_seen_at", "_tokens", "rate")

    def __init__(self, least: float, more: float, most: float | None) -> None:
        self.rate = most
        self._least, self._more, self._most = least, more, most
        self._tokens = 0.0
        self._seen_at: float | None = None

    def take(self, count: float, now: float) -> None:
        if self.rate is not None:
            self._refill(now)
            self._tokens -= count

    def give_back(self, count: float) -> None:
        if self.rate is not None:
            self._tokens = min(self._tokens + count, self.rate * BURST_SECONDS)

    def wait(self, now: float) -> float:
        if self.rate is None:
            return 0.0
        self._refill(now)
        return -self._tokens / self.rate if self._tokens < 0 else 0.0

    def lower(self, taken: float, now: float) -> None:
        self._refill(now)
        self.rate = max(self._least, DECREASE * (taken if self.rate is None else min(self.rate, 2 * taken)))
        if self._most is not None:
            self.rate = min(self.rate, self._most)

    def _refill(self, now: float) -> None:
        elapsed = 0.0 if self._seen_at is None else max(0.0, now - self._seen_at)
        self._seen_at = now
        if self.rate is None:
            return
        self.rate += self._more * elapsed
        if self._most is not None:
            self.rate = min(self.rate, self._most)
        self._tokens = min(self._tokens + self.rate * elapsed, self.rate * BURST_SECONDS)


class _Took:
    """What a shard took lately: in a window that began less than so many seconds ago, and in the one before."""

    __slots__ = ("_before", "_bytes", "_from", "_records")

    def __init__(self) -> None:
        self._from = 0.0
        self._bytes = self._records = 0
        self._before = (0.0, 0.0)

    def add(self, size: int, now: float) -> None:
        self._turn(now)
        self._bytes += size
        self._records += 1

    def per_second(self, now: float) -> tuple[float, float]:
        """Bytes and records; the better of both windows, for one that has only begun tells little."""
        self._turn(now)
        return self.recent(now)

    def recent(self, now: float) -> tuple[float, float]:
        """Return the same for another thread, which may turn no window."""
        windows = (now - self._from) // WINDOW_SECONDS
        this = (self._bytes / WINDOW_SECONDS, self._records / WINDOW_SECONDS) if windows < 2 else (0.0, 0.0)
        before = self._before if windows < 1 else (0.0, 0.0)
        return max(this[0], before[0]), max(this[1], before[1])

    def _turn(self, now: float) -> None:
        elapsed = now - self._from
        if elapsed >= WINDOW_SECONDS:
            recent = elapsed < 2 * WINDOW_SECONDS
            self._before = (self._bytes / WINDOW_SECONDS, self._records / WINDOW_SECONDS) if recent else (0.0, 0.0)
            self._from, self._bytes, self._records = now, 0, 0
