"""What ``StreamReader`` and ``AsyncStreamReader`` share: the state of a reading, without the waiting and the calls."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from ..._native.deaggregate import deaggregate_received
from ...errors import ShardpackError, abridged
from ...limits import MIB
from ...transport import BrokenAnswerError, check_client
from ...transport.answers import description_of
from ...transport.boto3 import ClientSettings
from ...transport.naming import beside_iterator, name_or_arn, stream_parameters
from ...transport.transient import error_code
from .batch import Contents, Gap, StreamBatch
from .checkpoints import (
    AT_TIMESTAMP,
    LATEST,
    SHARD_END,
    TRIM_HORIZON,
    Checkpoint,
    CheckpointError,
    CheckpointStore,
    MemoryCheckpoints,
)
from .progress import Progress
from .schedule import Cursor, ListCall, Schedule, is_latest, logger
from .shards import ListedShard
from .stats import ReaderStats

if TYPE_CHECKING:
    from ..._native.deaggregate import ReceivedRecord, UserRecord
    from ..reading import RecordsReply

GIVE_UP_SECONDS = 300.0
MOST_OF_A_READ = 10 * MIB
"""What one GetRecords may bring: so much room is kept for each that is under way."""

Start = Literal["trim_horizon", "latest"] | datetime | Mapping[str, str]


Idle = tuple[str, Checkpoint]
"""A shard of which nothing came, and how far: a checkpoint where all before it is handled."""


class Clock:
    """Time as it passes; tests have another."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    @staticmethod
    def wait(condition: threading.Condition, seconds: float | None) -> None:
        """Wait for a notice, or for so long."""
        condition.wait(seconds)


class BaseReader:
    """What was read, handed out and kept of a stream. Every method that is not said to block returns at once."""

    _batch: type[StreamBatch] = StreamBatch

    def __init__(
        self,
        stream: str,
        *,
        client: Any = None,
        start: Start = "trim_horizon",
        until: datetime | Literal["latest"] | None = None,
        checkpoints: CheckpointStore | None = None,
        owner: str | None = None,
        max_buffer_bytes: int = 128 * MIB,
        max_concurrent_calls: int = 8,
        poll_interval_s: float = 1.0,
        shard_bytes_per_second: float = 2 * MIB,
        range_rule: bool = True,
        give_up_after_s: float = GIVE_UP_SECONDS,
        mode: Literal["polling", "fan-out"] = "polling",
        consumer: str | None = None,
        max_subscriptions: int = 100,
        _clock: Any = Clock,
    ) -> None:
        self.stream: str = name_or_arn(stream, None)
        _check(max_buffer_bytes, max_concurrent_calls, poll_interval_s, shard_bytes_per_second, max_subscriptions)
        if mode not in ("polling", "fan-out"):
            raise ValueError(f'mode is "polling" or "fan-out", not {abridged(mode)}')
        if (mode == "fan-out") != (consumer is not None):
            raise ValueError('consumer= names the registered consumer of mode="fan-out": give both, or none')
        self.consumer: str | None = consumer
        self._max_subscriptions = max_subscriptions
        if client is None:
            client = ClientSettings().client(max_concurrent_calls if consumer is None else max_subscriptions + 2)
        self._refuse(client)
        check_client(client)
        self.client: Any = client
        self.owner: str = owner or f"{socket.gethostname()}:{os.getpid()}"
        self._start, self._starts = _position(start)
        self._until = _end(until)
        self._parameters = stream_parameters(self.stream)
        self._beside_iterator: dict[str, Any] = dict(beside_iterator(self._parameters))
        self._store = MemoryCheckpoints() if checkpoints is None else checkpoints
        self._max_buffer_bytes = max_buffer_bytes
        self._calls_wanted = max_concurrent_calls
        self._pace = {"poll_interval_s": poll_interval_s, "shard_bytes_per_second": shard_bytes_per_second}
        self._range_rule = range_rule
        self._give_up_after_s = give_up_after_s
        self._retention_s: float | None = None
        self._opened_at: float | None = None  # by the service's clock, where it told
        self._clock = _clock
        self._lock = threading.RLock()  # a signal handler may call stop while its thread has it
        self._schedule: Schedule | None = None
        self._progress: dict[str, Progress] = {}
        self._ready: deque[tuple[StreamBatch, int] | ListedShard | Idle] = deque()
        self._buffered = 0
        self._under_way = 0
        self._entering = False  # shards in the store: no call is made before they are there
        self._gap_before: dict[str, Gap] = {}  # a shard's next batch
        self._lost: dict[str, Gap] = {}  # shards that left the stream, until their children are listed
        self._options: dict[str, Any] = {
            "start": start,
            "until": until,
            "give_up_after_s": give_up_after_s,
            "_clock": _clock,
            **self._pace,
        }
        self._counts = [0, 0, 0, 0, 0]  # calls, failed calls, Kinesis records, bytes, gaps
        self._error: BaseException | None = None
        self._stopping = self._closed = False
        self._prepare()

    def stop(self) -> None:
        """End the iteration after the batch in hand. Returns at once; nothing that was read ahead is handled."""
        with self._lock:
            self._stopping = True
            self._notify_all()

    def stats(self) -> ReaderStats:
        """Return what was done so far. Any thread may ask."""
        with self._lock:
            calls, failed, kinesis_records, size, gaps = self._counts
            cursors = list(self._schedule.cursors.values()) if self._schedule is not None else []
            behind = max((cursor.millis_behind or 0 for cursor in cursors), default=0)
            return ReaderStats(calls, failed, kinesis_records, size, self._buffered, len(cursors), behind, gaps)

    def _refuse(self, client: Any) -> None:
        """Raise for a client or a mode that this form of reader does not take."""

    def _prepare(self) -> None:
        """Make what this form of reader waits by."""

    def _notify_all(self) -> None:
        """Wake all that wait."""
        raise NotImplementedError

    def _notify_room(self) -> None:
        """Wake those that wait for room."""
        raise NotImplementedError

    # --- the beginning ---

    def _describe(self) -> None:
        """Learn what ``_described`` takes, where that may be asked. Blocks."""
        try:
            self._described(self.client.describe_stream_summary(**self._parameters))
        except (ClientError, BotoCoreError, BrokenAnswerError) as error:
            self._undescribed(error)

    def _described(self, response: Mapping[str, Any]) -> None:
        """Note how long records are kept, and whether the stream distributes them itself."""
        description = description_of(response)
        self._opened_at = answered_time(response, self._clock)
        self._retention_s = description.retention_s
        if description.auto_distribution:
            self._range_rule = False

    def _undescribed(self, error: Exception) -> None:
        if error_code(error) == "ResourceNotFoundException":
            raise error
        self._opened_at = answered_time(getattr(error, "response", {}), self._clock)
        logger.info("%s: whether records expire unread is not known: %s", self.stream, error)

    def _claim(self) -> dict[str, Checkpoint]:
        """Take the checkpoints, and return them. Blocks."""
        if self._closed:
            raise ShardpackError(f"the reader of {self.stream} is closed")
        known = self._store.claim(self.stream, self.owner)
        self._schedule = Schedule(
            self.stream,
            self._start,
            {**self._starts, **known},
            self._starts.keys() - known.keys(),
            until=self._until if self._until == "latest" else None,
            began_at=self._clock.time(),
            opened_at=self._clock.time() if self._opened_at is None else self._opened_at,
            give_up_after_s=self._give_up_after_s,
            **self._pace,
        )
        return known

    # --- what is handed out ---

    def _pop(self) -> StreamBatch | ListedShard | Idle | None:
        """Return what comes next, with the lock held; ``None`` when there is nothing yet."""
        if not self._ready:
            return None
        item = self._ready.popleft()
        if isinstance(item, ListedShard) or isinstance(item[0], str):
            return item
        batch, size = item
        self._buffered -= size
        self._notify_room()
        self._progress[batch.shard_id].hand_out(batch._contents.last_sequence_number)  # noqa: SLF001
        return batch

    def _settle(self, item: ListedShard | Idle) -> None:
        """Keep that a shard was read to its end, or that nothing came of it. Blocks."""
        if isinstance(item, ListedShard):
            self._progress[item.shard_id].end()
        else:
            self._progress[item[0]].advance(item[1])

    # --- what is called ---

    def _next_call(self) -> ListCall | Cursor | float | None:
        """Return what ``Schedule.next`` does, with the lock held; room is kept for what the call brings."""
        assert self._schedule is not None
        if self._entering:
            return None
        room = self._max_buffer_bytes - self._buffered - self._under_way
        call = self._schedule.next(self._clock.monotonic(), may_read=room >= MOST_OF_A_READ)
        if isinstance(call, Cursor):
            self._under_way += MOST_OF_A_READ
        return call

    def _failed(self, call: ListCall | Cursor, error: Exception, *, passes: bool = False) -> None:
        """Note a failed call, or raise its error again."""
        assert self._schedule is not None
        with self._lock:
            self._counts[1] += 1
            self._schedule.failed(call, error, self._clock.monotonic(), passes=passes)

    def _called(self, call: ListCall | Cursor) -> None:
        """Give up the room that was kept for a call."""
        with self._lock:
            if isinstance(call, Cursor):
                self._under_way -= MOST_OF_A_READ

    def _listed(self, listed_shards: list[dict[str, Any]]) -> None:
        """Take a list of all shards. Blocks."""
        schedule = self._schedule
        assert schedule is not None
        shards = [ListedShard.of(shard) for shard in listed_shards]
        with self._lock:
            self._entering = True
            listed = schedule.listed(shards, self._clock.monotonic())
            for shard in shards:
                kept = listed.begun.get(shard) or schedule.position_of(shard.shard_id)
                if kept is not None and shard.shard_id not in self._progress:
                    self._progress[shard.shard_id] = Progress(shard.shard_id, kept, self._store)
        for cursor in listed.vanished:
            self._note_lost(cursor.shard.shard_id, cursor.read_up_to, "has left the stream")
        for shard_id, kept in listed.gone.items():
            if kept.sequence_number != SHARD_END:
                self._note_lost(shard_id, kept.read_up_to, "is gone, and was not read to its end")
        self._tell_children(shards)
        if listed.begun:  # all of them before one is read: a later reader takes one that is not there for a new one
            self._in_store(self._store.begin, listed.begun)
        if listed.gone:
            self._in_store(self._store.forget, listed.gone)
        with self._lock:
            self._ready.extend(listed.ended)  # their children are entered now
            self._entering = False
            self._notify_all()  # from a thread that is not the loop's, too

    def _began(self, cursor: Cursor, response: Mapping[str, Any]) -> None:
        """Take the answer of GetShardIterator. Blocks where ``is_latest`` of the cursor's position."""
        if "ShardIterator" not in response:
            raise BrokenAnswerError("GetShardIterator", "ShardIterator")
        cursor.iterator = response["ShardIterator"]
        if is_latest(cursor.position):
            self._begin_now(cursor, answered_time(response, self._clock))

    def _begin_now(self, cursor: Cursor, answered_at: float) -> None:
        """Note that a shard is read from this moment on. Blocks."""
        assert self._schedule is not None
        with self._lock:
            self._schedule.began(cursor, answered_at)
        self._in_store(self._store.write, {cursor.shard.shard_id: cursor.position})

    def _in_store(self, change: Callable[[Any], None], what: Any) -> None:
        """Change the checkpoints. What their client raises is no call for records that failed, to be made again."""
        try:
            change(what)
        except (ClientError, BotoCoreError) as error:
            raise CheckpointError(f"{self.stream}: checkpoints cannot be kept: {error}") from error

    def _take_reply(self, cursor: Cursor, reply: RecordsReply) -> None:
        """Take what GetRecords brought."""
        answered_at = answered_time(reply.response, self._clock)
        self._take_records(cursor, reply.received, answered_at, reply.millis_behind_latest, reply.next_shard_iterator)

    def _take_records(
        self,
        cursor: Cursor,
        read: list[ReceivedRecord],
        answered_at: float,
        millis_behind: int | None,
        next_iterator: str | None,
        *,
        goes_on: bool = False,
        free: bool = False,
        late_ms: int = 0,
    ) -> bool:
        """Take what was read of a shard; return whether it is read as far as it is to be.

        Of what was there without a call (``free``), ``late_ms`` is how much later than its answer it is taken.
        """
        schedule, shard = self._schedule, cursor.shard
        assert schedule is not None
        read_up_to = None if millis_behind is None else answered_at - millis_behind / 1000
        behind = None if millis_behind is None else millis_behind + late_ms
        gap = self._gap(cursor, answered_at)
        received, first = self._unhandled(cursor, read)
        received, reached = self._before_until(received, read_up_to, any_read=bool(read))
        last = read[-1].origin.sequence_number if read else None
        size = sum(record.size for record in read)
        with self._lock:
            if not free:
                for count, more in enumerate((1, 0, len(read), size)):
                    self._counts[count] += more
            if gap is not None:
                self._counts[4] += 1
                self._gap_before[shard.shard_id] = gap
            ended = schedule.read(
                cursor,
                None if last is None else Checkpoint(last, read_up_to=read_up_to),
                read_up_to,
                size=size,
                last_arrived=_arrival(read[-1]) if read else None,
                millis_behind=behind,
                next_iterator=next_iterator,
                reached=reached,
                now=self._clock.monotonic(),
                goes_on=goes_on,
                free=free,
            )
            if received:
                batch = self._batch(
                    shard,
                    Contents(received, self._range_of(shard), read_up_to),
                    self._progress[shard.shard_id].keep,
                    first=first,
                    millis_behind=behind,
                    gap=self._gap_before.pop(shard.shard_id, None),
                )
                self._ready.append((batch, size))
                self._buffered += size
        return ended

    def _range_of(self, shard: ListedShard) -> tuple[int, int] | None:
        return (shard.starting_hash_key, shard.ending_hash_key) if self._range_rule else None

    def _unhandled(self, cursor: Cursor, received: list[ReceivedRecord]) -> tuple[list[ReceivedRecord], int]:
        """Leave out what was handled before this reader began; return how many user records of the first one, too."""
        position = cursor.position
        if cursor.whole or not received or received[0].origin.sequence_number != position.sequence_number:
            return received, 0
        found: list[UserRecord] = []
        deaggregate_received(received[:1], self._range_of(cursor.shard), False, found)
        handled = position.sub_sequence_number + 1
        return (received[1:], 0) if len(found) <= handled else (received, handled)

    def _before_until(
        self, received: list[ReceivedRecord], read_up_to: float | None, *, any_read: bool
    ) -> tuple[list[ReceivedRecord], bool]:
        """Return the Kinesis records that came before the time until which to read, and whether it was reached."""
        until = self._until
        if not isinstance(until, float):
            return received, False
        if not any_read:
            return received, read_up_to is not None and read_up_to >= until
        kept = list(itertools.takewhile(lambda record: (_arrival(record) or 0.0) < until, received))
        return kept, len(kept) < len(received)

    def _gap(self, cursor: Cursor, answered_at: float) -> Gap | None:
        since = cursor.read_up_to
        if self._retention_s is None or since is None or answered_at - since <= self._retention_s:
            return None
        moments = _utc(since), _utc(answered_at - self._retention_s)
        gap = Gap(cursor.shard.shard_id, *moments)
        logger.warning(
            "%s: records of %s that came from %s to %s may have expired before they were read",
            self.stream,
            gap.shard_id,
            *(moment.isoformat(timespec="seconds") for moment in moments),
        )
        return gap

    def _note_lost(self, shard_id: str, since: float | None, why: str) -> None:
        """Tell of a shard that the stream has no longer, and that was not read to its end: what was left is gone."""
        until = max(since or 0.0, self._clock.time() - (self._retention_s or 0.0))
        gap = Gap(shard_id, None if since is None else _utc(since), _utc(until))
        with self._lock:
            self._counts[4] += 1
            self._lost[shard_id] = gap
        logger.warning(
            "%s: %s %s: its records that came after %s have expired before they were read",
            self.stream,
            shard_id,
            why,
            "its beginning" if gap.since is None else gap.since.isoformat(timespec="seconds"),
        )

    def _tell_children(self, shards: list[ListedShard]) -> None:
        """Let the next batch of each child of a lost shard tell of it."""
        told = set()
        with self._lock:
            for shard in shards:
                for parent in shard.parents:
                    if parent in self._lost:
                        self._gap_before.setdefault(shard.shard_id, self._lost[parent])
                        told.add(parent)
            for parent in told:
                del self._lost[parent]

    def _is_over(self) -> bool:
        return self._stopping or self._error is not None


def _check(
    max_buffer_bytes: int,
    max_concurrent_calls: int,
    poll_interval_s: float,
    shard_bytes_per_second: float,
    max_subscriptions: int,
) -> None:
    if max_buffer_bytes < 2 * MOST_OF_A_READ:
        raise ValueError(f"max_buffer_bytes of {max_buffer_bytes:,} is less than two reads: {2 * MOST_OF_A_READ:,}")
    if max_concurrent_calls < 1:
        raise ValueError(f"max_concurrent_calls of {max_concurrent_calls} is less than 1")
    if poll_interval_s < 0:
        raise ValueError(f"poll_interval_s of {poll_interval_s} is less than 0")
    if not shard_bytes_per_second > 0:
        raise ValueError(f"shard_bytes_per_second of {shard_bytes_per_second} is not more than 0")
    if max_subscriptions < 1:
        raise ValueError(f"max_subscriptions of {max_subscriptions} is less than 1")


def _position(start: object) -> tuple[Checkpoint, dict[str, Checkpoint]]:
    """Return where shards begin, and where those begin that are named."""
    if start in ("trim_horizon", "latest"):
        return Checkpoint(TRIM_HORIZON if start == "trim_horizon" else LATEST), {}
    if isinstance(start, datetime):
        return Checkpoint(AT_TIMESTAMP, read_up_to=_seconds("start", start)), {}
    if isinstance(start, Mapping):
        for shard_id, number in start.items():
            if not (isinstance(shard_id, str) and isinstance(number, str) and number.isdecimal()):
                raise ValueError(
                    f"start has sequence numbers by shard id, not {abridged(number)} by {abridged(shard_id)}"
                )
        return Checkpoint(TRIM_HORIZON), {shard_id: Checkpoint(number, -1) for shard_id, number in start.items()}
    raise ValueError(
        f'start is "trim_horizon", "latest", a time, or sequence numbers by shard id, not {abridged(start)}'
    )


def _seconds(name: str, moment: datetime) -> float:
    if moment.utcoffset() is None:
        raise ValueError(f"{name} has no time zone: {moment.isoformat()}")
    return moment.timestamp()


def _end(until: object) -> float | Literal["latest"] | None:
    """Return when reading ends."""
    if isinstance(until, datetime):
        return _seconds("until", until)
    if until is None or until == "latest":
        return "latest" if until else None
    raise ValueError(f'until is a time or "latest", not {abridged(until)}')


def _arrival(record: ReceivedRecord) -> float | None:
    arrived: datetime | None = record.origin.approximate_arrival_timestamp
    return None if arrived is None else arrived.timestamp()


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def answered_time(response: Mapping[str, Any], clock: Any) -> float:
    """Return the time of an answer by the service's clock, in whole seconds; by ours where it does not tell."""
    date = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    seconds: float = parsedate_to_datetime(date).timestamp() if date else clock.time()
    return seconds
