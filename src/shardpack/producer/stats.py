"""What a producer has done so far, and is doing: ``Stats``, a snapshot, and the ``Meter`` that counts for it.

The pump counts, with a few additions for each Kinesis record and request and none for a user record. A snapshot is read
beside it, without a lock: every figure is right by itself, and one that changes at that moment may be a Kinesis record
ahead of another. Only this holds always: put = stored + failed + unknown + pending.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from .._native.inbox import Inbox
from ..limits import SHARD_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND
from .entries import Request, Settlement, Status
from .lanes import Lane
from .scheduler import EXPIRED, Scheduler

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets of a histogram, in seconds; what is longer is in one more."""

MAX_ERROR_CODES = 100
OTHER_CODES = "other"
"""What is counted under one name once there are so many: whoever answers may say anything."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often something took how long. ``counts[i]`` took at most ``bounds[i]`` seconds; the last one, longer."""

    bounds: tuple[float, ...] = BOUNDS
    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    sum: float = 0.0
    """Of all, in seconds."""

    @property
    def count(self) -> int:
        """How often."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class ShardStats:
    """One shard, as this producer sees it: what it took in the last second or two."""

    shard_id: str
    bytes_per_second: float
    """Of the Kinesis records' data and keys."""
    records_per_second: float
    """Kinesis records."""
    throttles: int
    """Kinesis records that it refused as too much, since it was first sent to."""
    utilisation: float
    """The rate as a part of what may be sent: 1 MiB or 1,000 records a second, or less where throttles have taught so;
    the larger part of both."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What a producer has done since it began, and what it holds now.

    A time is counted with the Kinesis record or request that it is known of: ``stage_s`` once for each time that the
    pump has looked, for the record that had waited longest; ``linger_s`` and ``queue_s`` once a Kinesis record, for its
    first user record; ``request_s`` once a request.
    """

    user_records_put: int = 0
    user_records_stored: int = 0
    user_records_failed: int = 0
    """Not stored, for certain."""
    user_records_expired: int = 0
    """Those of the failed and the unknown ones whose time to live was over."""
    user_records_unknown: int = 0
    """Given up, but perhaps stored."""
    user_records_pending: int = 0
    """Without an outcome."""
    kinesis_records_sent: int = 0
    """Entries of requests; one that is sent again counts again."""
    kinesis_records_stored: int = 0
    bytes_stored: int = 0
    """Data and partition keys of Kinesis records."""
    user_bytes_stored: int = 0
    """Data and partition keys of user records."""
    requests: int = 0
    requests_in_flight: int = 0
    retries: int = 0
    """Kinesis records that were sent again."""
    errors: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Error codes, and how many Kinesis records got each as an answer. A failed call answers all of its own."""
    buffered_bytes: int = 0
    """Keys, data and 64 bytes (128 with receipts) for each user record that is pending."""
    max_buffered_bytes: int = 0
    oldest_record_age_s: float = 0.0
    """Since the oldest pending user record was put, but for what its batch has staged; 0 without any."""
    limited_s: float = 0.0
    """How long Kinesis records have waited for an allowance or after a failure, summed over the shards. A wait counts
    when it is over."""
    stage_s: Histogram = field(default_factory=Histogram)
    """From ``put`` to a bucket."""
    linger_s: Histogram = field(default_factory=Histogram)
    """From a bucket to where it waits for its turn, full or lingered."""
    queue_s: Histogram = field(default_factory=Histogram)
    """From there to its first request."""
    request_s: Histogram = field(default_factory=Histogram)
    """From a request to its answer, or to its failure."""
    shards: tuple[ShardStats, ...] = ()
    """Those that something was sent to, or waits for, in no order."""

    @property
    def user_records_per_kinesis_record(self) -> float:
        """How many are aggregated on average, of what is stored."""
        return self.user_records_stored / self.kinesis_records_stored if self.kinesis_records_stored else 0.0

    @property
    def compression_ratio(self) -> float:
        """Bytes of user records for each byte of Kinesis records, of what is stored; a little less than 1 without."""
        return self.user_bytes_stored / self.bytes_stored if self.bytes_stored else 0.0

    @property
    def kinesis_records_per_request(self) -> float:
        """How full requests were on average."""
        return self.kinesis_records_sent / self.requests if self.requests else 0.0


class Times:
    """A histogram that grows."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._sum += seconds

    def snapshot(self) -> Histogram:
        return Histogram(BOUNDS, tuple(self._counts), self._sum)


class Meter:
    """Counts what happens. One thread tells it; any may ask for the counts."""

    def __init__(self) -> None:
        self.stage, self.linger, self.queue, self.request = Times(), Times(), Times(), Times()
        self._user_records = dict.fromkeys(Status, 0)
        self._expired = 0
        self._kinesis_records_stored = self._bytes_stored = self._user_bytes_stored = 0
        self._requests = self._sent = self._retries = 0
        self._errors: dict[str, int] = {}

    @property
    def user_records_settled(self) -> int:
        """How many user records have their outcome."""
        return sum(self._user_records.values())

    @property
    def user_bytes_in_a_byte(self) -> float:
        """How many bytes of user records are in a byte of what is stored: many, where they are compressed."""
        return self._user_bytes_stored / self._bytes_stored if self._bytes_stored else 1.0

    def on_sent(self, request: Request, waited: Iterable[float]) -> None:
        """A request is made. Its entries that were in none before have waited so many seconds for their turn."""
        self._requests += 1
        self._sent += len(request.entries)
        self._retries += sum(bool(entry.attempts) for entry in request.entries)
        for seconds in waited:
            self.queue.add(seconds)

    def on_answer(self, request: Request, error_codes: Iterable[str], now: float) -> None:
        """It was answered, or failed as a whole: with a code for each entry that is not stored."""
        self.request.add(now - request.sent_at)
        for code in error_codes:
            known = code in self._errors or len(self._errors) < MAX_ERROR_CODES
            name = code if known else OTHER_CODES
            self._errors[name] = self._errors.get(name, 0) + 1

    def on_settled(self, settlement: Settlement, size: int, user_size: int) -> None:
        """An entry has its outcome. Bytes of data and partition key: of the Kinesis record, of its user records."""
        self._count(settlement, 1)
        if settlement.status is Status.STORED:
            self._kinesis_records_stored += 1
            self._bytes_stored += size
            self._user_bytes_stored += user_size

    def on_resumed(self, settlement: Settlement) -> None:
        """An entry that was given up is sent once more: it has no outcome after all."""
        self._count(settlement, -1)

    def _count(self, settlement: Settlement, sign: int) -> None:
        count = sign * settlement.entry.user_record_count
        self._user_records[settlement.status] += count
        if settlement.error_code == EXPIRED:
            self._expired += count

    def stats(self, inbox: Inbox, scheduler: Scheduler, put_at: Sequence[float], now: float, *, shards: bool) -> Stats:
        """Return the counts, with what there is now. ``put_at`` are the times of what has left the inbox."""
        stored, failed, unknown = (self._user_records[status] for status in Status)
        put = inbox.next_token  # read after: there are no more outcomes than records
        since = inbox.since
        oldest = min(put_at, default=now)
        return Stats(
            user_records_put=put,
            user_records_stored=stored,
            user_records_failed=failed,
            user_records_expired=self._expired,
            user_records_unknown=unknown,
            user_records_pending=put - stored - failed - unknown,
            kinesis_records_sent=self._sent,
            kinesis_records_stored=self._kinesis_records_stored,
            bytes_stored=self._bytes_stored,
            user_bytes_stored=self._user_bytes_stored,
            requests=self._requests,
            requests_in_flight=scheduler.requests_in_flight,
            retries=self._retries,
            errors=MappingProxyType(self._errors.copy()),
            buffered_bytes=inbox.buffered,
            max_buffered_bytes=inbox.max_buffered,
            oldest_record_age_s=max(0.0, now - min(oldest, oldest if since is None else since)),
            limited_s=scheduler.limited_s,
            stage_s=self.stage.snapshot(),
            linger_s=self.linger.snapshot(),
            queue_s=self.queue.snapshot(),
            request_s=self.request.snapshot(),
            shards=tuple(shard_stats(lane, now) for lane in scheduler.lanes()) if shards else (),
        )


def shard_stats(lane: Lane, now: float) -> ShardStats:
    """Return what a lane has seen of its shard."""
    allowance = lane.allowance
    size, records = allowance.took(now)
    most_bytes, most_records = allowance.rates
    return ShardStats(
        lane.shard_id,
        size,
        records,
        allowance.throttles,
        max(
            size / min(SHARD_BYTES_PER_SECOND, most_bytes or SHARD_BYTES_PER_SECOND),
            records / min(SHARD_RECORDS_PER_SECOND, most_records or SHARD_RECORDS_PER_SECOND),
        ),
    )
