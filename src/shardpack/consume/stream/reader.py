"""Every user record of a stream, shard by shard, through splits and merges, from checkpoints on."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from ..._native.deaggregate import deaggregate_received
from ...errors import ShardpackError, abridged
from ...limits import MIB
from ...transport import BrokenAnswerError, check_client, has_coroutines
from ...transport.answers import description_of
from ...transport.boto3 import ClientSettings
from ...transport.list_shards import list_all_shards
from ...transport.naming import beside_iterator, name_or_arn, stream_parameters
from ...transport.transient import error_code
from ..reading import read_records
from .batch import Contents, Gap, StreamBatch
from .checkpoints import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON, Checkpoint, CheckpointStore, MemoryCheckpoints
from .progress import Progress
from .schedule import Cursor, ListCall, Schedule, logger
from .shards import ListedShard
from .shared_reads import Answer, Served, SharedReads, Turn, place_of
from .stats import ReaderStats

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..._native.deaggregate import ReceivedRecord, UserRecord
    from .fan_out import FanOut
    from .handlers import DeadLetterPoison, Handler

GIVE_UP_SECONDS = 300.0
CLOSE_SECONDS = 5.0
MOST_OF_A_READ = 10 * MIB
"""What one GetRecords may bring: so much room is kept for each that is under way."""

Start = Literal["trim_horizon", "latest"] | datetime | Mapping[str, str]


class Clock:
    """Time as it passes; tests have another."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    @staticmethod
    def wait(condition: threading.Condition, seconds: float | None) -> None:
        """Wait for a notice, or for so long."""
        condition.wait(seconds)


class StreamReader:
    """Read a stream: iterating gives a `StreamBatch` for what each read brought of a shard.

        with StreamReader("telemetry", checkpoints=SQLiteCheckpoints("ckpt.db")) as reader:
            for batch in reader:
                handle(batch.records)
                batch.checkpoint()

    ``stream`` is its name or its ARN, which also reaches streams of other accounts; ``client`` a boto3 Kinesis client,
    without which one is made. ``start`` is where a shard without a checkpoint begins: ``"trim_horizon"`` (the oldest
    record), ``"latest"``, an aware time, or sequence numbers by shard id. ``until`` is when reading ends: not at all,
    ``"latest"`` (when each shard was caught up with) or a time. ``checkpoints`` keeps how far each shard is handled;
    without it, nobody does. ``owner`` names this reader to others that want the same checkpoints.

    A shard's batches come in order; those of its children after all of its own. The KCL's rule holds (``range_rule``):
    an aggregated record with a user record outside its shard's range is left out whole, because its producer sent it
    again; not while the stream distributes records itself (AUTO). What expired before it was read is logged and is the
    next batch's ``gap``.

    Calls are made ahead, in up to ``max_concurrent_calls`` threads: at most five per second and shard, and
    ``shard_bytes_per_second``, the service's own limits, which all readers of a stream share; one per
    ``poll_interval_s`` of a shard that is at its tip. Read ahead, or being read, are at most ``max_buffer_bytes`` of
    data (20 MiB at least), besides the batch in hand. Calls that are throttled, that meet a fault of the service or a
    broken connection are made again, ever more slowly, until one has failed for ``give_up_after_s`` seconds in a row
    (a service that never answered is given up after 5 s). That error, and every other of the client, is raised.

    ``run`` and ``fan_out`` iterate for you and call functions with the batches.

    ``stop`` may be called by any thread and by signal handlers. One thread iterates. Raises ``CheckpointsInUseError``
    when another reader has the checkpoints.
    """

    _shared: SharedReads | None = None  # of several readers, of which this is one
    _number = 0  # which of them
    _own_reads = 0
    _fan_out: FanOut | None = None

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
        _clock: Any = Clock,
    ) -> None:
        self.stream: str = name_or_arn(stream, None)
        if max_buffer_bytes < 2 * MOST_OF_A_READ:
            raise ValueError(f"max_buffer_bytes of {max_buffer_bytes:,} is less than two reads: {2 * MOST_OF_A_READ:,}")
        if max_concurrent_calls < 1:
            raise ValueError(f"max_concurrent_calls of {max_concurrent_calls} is less than 1")
        if poll_interval_s < 0:
            raise ValueError(f"poll_interval_s of {poll_interval_s} is less than 0")
        if not shard_bytes_per_second > 0:
            raise ValueError(f"shard_bytes_per_second of {shard_bytes_per_second} is not more than 0")
        if client is None:
            client = ClientSettings().client(max_concurrent_calls)
        elif has_coroutines(client):
            raise TypeError("the calls of aiobotocore's client are coroutines: AsyncStreamReader takes it")
        check_client(client)
        self.client: Any = client
        self.owner: str = owner or f"{socket.gethostname()}:{os.getpid()}"
        self._start, self._starts = _position(start)
        self._until: float | Literal["latest"] | None
        if isinstance(until, datetime):
            self._until = _seconds("until", until)
        elif until in (None, "latest"):
            self._until = until
        else:
            raise ValueError(f'until is a time or "latest", not {abridged(until)}')
        self._parameters = stream_parameters(self.stream)
        self._beside_iterator: dict[str, Any] = dict(beside_iterator(self._parameters))
        self._store = MemoryCheckpoints() if checkpoints is None else checkpoints
        self._max_buffer_bytes = max_buffer_bytes
        self._threads_wanted = max_concurrent_calls
        self._pace = {"poll_interval_s": poll_interval_s, "shard_bytes_per_second": shard_bytes_per_second}
        self._range_rule = range_rule
        self._give_up_after_s = give_up_after_s
        self._retention_s: float | None = None
        self._clock = _clock
        self._lock = threading.RLock()  # a signal handler may call stop while its thread has it
        self._came = threading.Condition(self._lock)  # what the thread that iterates waits for
        self._work = threading.Condition(self._lock)  # what those that read wait for
        self._ending = threading.Condition(self._lock)  # what the one that renews waits for
        self._wakes_at = float("inf")  # when the first of them looks again
        self._schedule: Schedule | None = None
        self._progress: dict[str, Progress] = {}
        self._ready: deque[tuple[StreamBatch, int] | ListedShard] = deque()
        self._buffered = 0
        self._under_way = 0
        self._threads: list[threading.Thread] = []
        self._gap_before: dict[str, Gap] = {}
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

    # --- as its user sees it ---

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[StreamBatch]:
        return self

    def __next__(self) -> StreamBatch:
        self._open()
        while True:
            item = self._take()
            if isinstance(item, ListedShard):
                self._progress[item.shard_id].end()
                continue
            if item is None:
                raise StopIteration
            return item

    def run(
        self,
        handler: Handler,
        *,
        on_error: Literal["stop"] | DeadLetterPoison = "stop",
    ) -> None:
        """Call a function with every batch; keep the batch's checkpoint once it returns: all of it counts, or none.

        Returns when the reading ends or is stopped; the reader is closed then. ``on_error`` is what follows when the
        function raises: ``"stop"`` raises ``HandlerError``, which names shard and user record, and keeps nothing
        further; ``DeadLetterPoison`` tries again, finds the user records that fail and gives them to a sink. Raises
        ``TypeError`` for functions that are async or generators, and whatever iterating raises.
        """
        from .handlers import Handling  # noqa: PLC0415 - who iterates does without

        with self:
            Handling(self, handler, on_error).run()

    def fan_out(
        self,
        handlers: Mapping[str, Handler],
        *,
        on_error: Literal["stop"] | DeadLetterPoison | Mapping[str, Literal["stop"] | DeadLetterPoison] = "stop",
    ) -> None:
        """Let several handlers, by name, see every batch, each in a thread of its own, at its own pace.

        Each has checkpoints of its own, ``checkpoints.for_consumer(name)``, and each is called as by ``run``. One
        GetRecords call serves all. ``max_buffer_bytes`` is divided: a part for each handler, and one for what they
        share, 20 MiB at least each. A handler that is behind the shared part reads for itself, in one of the five
        calls a second, until it has caught up; it delays no other. ``on_error`` is one for all, or by name.

        Returns when the reading ends or is stopped; the reader is closed then. A handler that failed ends alone;
        the others go on, and ``FanOutError`` is raised in the end. Call it on a reader that has not begun to read.
        """
        from .fan_out import FanOut  # noqa: PLC0415 - as above

        if self._schedule is not None or self._fan_out is not None or self._closed:
            raise ShardpackError(f"the reader of {self.stream} reads already: fan_out begins without with or iteration")
        fan_out = FanOut(self, handlers, on_error)
        with self._lock:
            self._fan_out = fan_out
            stopped = self._stopping
        try:
            if not stopped:
                fan_out.run()
        finally:
            self.close()

    def stop(self) -> None:
        """End the iteration after the batch in hand. Returns at once; nothing that was read ahead is handled."""
        with self._lock:
            self._stopping = True
            self._notify_all()
        if self._fan_out is not None:
            self._fan_out.stop()

    def close(self) -> None:
        """Stop, wait up to 5 s for calls that are under way, and give up the checkpoints. May be called again."""
        self.stop()
        deadline = time.monotonic() + CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            closed, self._closed = self._closed, True
            self._ready.clear()
            self._buffered = 0
        if not closed and self._schedule is not None:
            self._store.release()

    def stats(self) -> ReaderStats:
        """Return what was done so far. Any thread may ask."""
        if self._fan_out is not None:
            return self._fan_out.stats()
        with self._lock:
            calls, failed, kinesis_records, size, gaps = self._counts
            cursors = list(self._schedule.cursors.values()) if self._schedule is not None else []
            behind = max((cursor.millis_behind or 0 for cursor in cursors), default=0)
            return ReaderStats(calls, failed, kinesis_records, size, self._buffered, len(cursors), behind, gaps)

    # --- the thread that iterates ---

    def _open(self) -> None:
        if self._schedule is not None:
            if self._closed:
                raise ShardpackError(f"the reader of {self.stream} is closed")
            return
        self._describe()
        self._claim()
        self._begin_to_read()

    def _claim(self) -> dict[str, Checkpoint]:
        """Take the checkpoints, and return them."""
        known = self._store.claim(self.stream, self.owner)
        self._schedule = Schedule(
            self.stream,
            self._start,
            {**self._starts, **known},
            until=self._until if self._until == "latest" else None,
            began_at=self._clock.time(),
            give_up_after_s=self._give_up_after_s,
            **self._pace,
        )
        return known

    def _begin_to_read(self) -> None:
        targets = [self._read_on] * self._threads_wanted
        if self._store.renew_s is not None:
            targets.append(self._renew)
        self._threads = [
            threading.Thread(target=target, name=f"shardpack-read-{number}", daemon=True)
            for number, target in enumerate(targets)
        ]
        for thread in self._threads:
            thread.start()

    def _describe(self) -> None:
        """Learn how long records are kept, and whether the stream distributes them itself, where that may be asked."""
        try:
            description = description_of(self.client.describe_stream_summary(**self._parameters))
        except (ClientError, BotoCoreError, BrokenAnswerError) as error:
            if error_code(error) == "ResourceNotFoundException":
                raise
            logger.info("%s: whether records expire unread is not known: %s", self.stream, error)
            return
        self._retention_s = description.retention_s
        if description.auto_distribution:
            self._range_rule = False

    def _take(self) -> StreamBatch | ListedShard | None:
        """Wait for what comes next; ``None`` is the end."""
        with self._lock:
            while not self._stopping:
                if self._ready:
                    item = self._ready.popleft()
                    if isinstance(item, ListedShard):
                        return item
                    batch, size = item
                    self._buffered -= size
                    self._work.notify()  # there is room
                    self._progress[batch.shard_id].hand_out(batch._contents.last_sequence_number)  # noqa: SLF001
                    return batch
                if self._error is not None:
                    raise self._error
                assert self._schedule is not None
                if self._schedule.done:
                    return None
                self._clock.wait(self._came, None)
        if self._error is not None:
            raise self._error
        return None

    # --- the threads that read ---

    def _read_on(self) -> None:
        try:
            while self._make_a_call():
                pass
        except BaseException as error:  # noqa: BLE001 - raised where somebody iterates
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._error = self._error or error
            self._notify_all()

    def _notify_all(self) -> None:
        for condition in (self._came, self._work, self._ending):
            condition.notify_all()

    def _make_a_call(self) -> bool:
        """Make one call when it is due; return whether there may be more."""
        schedule = self._schedule
        assert schedule is not None
        with self._lock:
            while True:
                if self._stopping or self._error is not None or schedule.done:
                    self._notify_all()
                    return False
                room = self._max_buffer_bytes - self._buffered - self._under_way
                now = self._clock.monotonic()
                call = schedule.next(now, may_read=room >= MOST_OF_A_READ)
                if call is None or isinstance(call, float):
                    self._wait_for_work(call, now)
                    continue
                break
            self._work.notify()  # one that looks when the next is due
            if isinstance(call, Cursor):
                self._under_way += MOST_OF_A_READ
        try:
            if isinstance(call, ListCall):
                self._list(schedule)
            else:
                self._read(schedule, call)
        except (ClientError, BotoCoreError, BrokenAnswerError) as error:
            with self._lock:
                self._counts[1] += 1
                schedule.failed(call, error, self._clock.monotonic())
        finally:
            with self._lock:
                if isinstance(call, Cursor):
                    self._under_way -= MOST_OF_A_READ
                self._came.notify()
        return True

    def _wait_for_work(self, due: float | None, now: float) -> None:
        """Wait until the next call is due, or for a notice; of those that wait, only the first looks at the clock."""
        if due is None or due >= self._wakes_at:
            self._clock.wait(self._work, None)
            return
        self._wakes_at = due
        self._clock.wait(self._work, due - now)
        if self._wakes_at == due:
            self._wakes_at = float("inf")

    def _list(self, schedule: Schedule) -> None:
        shards = [ListedShard.of(shard) for shard in list_all_shards(self.client, self._parameters)]
        with self._lock:
            listed = schedule.listed(shards, self._clock.monotonic())
            for shard in shards:
                kept = listed.begun.get(shard) or schedule.position_of(shard.shard_id)
                if kept is not None and shard.shard_id not in self._progress:
                    self._progress[shard.shard_id] = Progress(shard.shard_id, kept, self._store)
        begun = {shard: position for shard, position in listed.begun.items() if not _is_latest(position)}
        if begun:
            self._store.begin(begun)
        for shard_id, kept in listed.gone.items():
            if kept.sequence_number != SHARD_END:
                logger.warning("%s: %s is gone, and was not read to its end", self.stream, shard_id)
        if listed.gone:
            self._store.forget(listed.gone)
        with self._lock:  # the children of these are entered now
            self._ready.extend(listed.ended)

    def _read(self, schedule: Schedule, cursor: Cursor) -> None:
        shared = self._shared
        if shared is None:
            self._take_in(schedule, cursor, self._call(schedule, cursor))
            return
        if _is_latest(cursor.position) and (latest := shared.latest(cursor.shard.shard_id)):
            self._began(schedule, cursor, *latest)
        found = shared.find(self._number, cursor, self._clock.monotonic())
        if isinstance(found, float):
            with self._lock:
                schedule.put_off(cursor, found)
        elif isinstance(found, Served):
            self._take_in(schedule, cursor, found.answer, found)
        else:
            self._take_in(schedule, cursor, self._call_for_all(schedule, cursor, shared, found))

    def _call_for_all(self, schedule: Schedule, cursor: Cursor, shared: SharedReads, turn: Turn) -> Answer:
        shard_id = cursor.shard.shard_id
        try:
            answer = self._call(schedule, cursor, turn.limit)
        except BaseException as error:
            soon = error_code(error) == "ExpiredIteratorException"
            shared.failed(shard_id, turn, self._clock.monotonic(), soon=soon)
            raise
        shared.made(self._number, shard_id, turn, answer, self._clock.monotonic())
        with self._lock:
            self._own_reads += turn.alone
        return answer

    def _call(self, schedule: Schedule, cursor: Cursor, limit: int | None = None) -> Answer:
        if cursor.iterator is None:
            self._begin(schedule, cursor)
        place = place_of(cursor)
        arguments = self._beside_iterator if limit is None else {**self._beside_iterator, "Limit": limit}
        reply = read_records(self.client, shard_id=cursor.shard.shard_id, ShardIterator=cursor.iterator, **arguments)
        size = sum(record.size for record in reply.received)
        with self._lock:
            for count, more in enumerate((1, 0, len(reply), size)):
                self._counts[count] += more
        return Answer(
            place,
            reply.received,
            size,
            reply.millis_behind_latest,
            reply.next_shard_iterator,
            _answered_at(reply.response, self._clock),
        )

    def _take_in(self, schedule: Schedule, cursor: Cursor, answer: Answer, served: Served | None = None) -> None:
        """Note what came of a shard, by a call or ``served`` without one, and make a batch of it."""
        shard = cursor.shard
        came = answer.received if served is None else served.received
        millis_behind = answer.millis_behind
        read_up_to = None if millis_behind is None else answer.answered_at - millis_behind / 1000
        if served is not None and not served.newest and millis_behind is not None:
            millis_behind += max(1, int((self._clock.monotonic() - answer.came_at) * 1000))
        gap = self._gap(cursor, answer.answered_at)
        received, first = self._unhandled(cursor, came)
        received, reached = self._before_until(received, read_up_to, any_read=bool(came))
        last = answer.last
        size = sum(record.size for record in came)
        with self._lock:
            if gap is not None:
                self._counts[4] += 1
                self._gap_before[shard.shard_id] = gap
            is_over = schedule.read(
                cursor,
                None if last is None else Checkpoint(last, read_up_to=read_up_to),
                read_up_to,
                size=size,
                last_arrived=_arrival(came[-1]) if came else None,
                millis_behind=millis_behind,
                next_iterator=answer.next_iterator,
                reached=reached,
                now=self._clock.monotonic(),
                free=served is not None,
            )
            position = Checkpoint(SHARD_END) if is_over else cursor.position
            if received:
                batch = StreamBatch(
                    shard,
                    Contents(received, self._range_of(shard), read_up_to),
                    self._progress[shard.shard_id].keep,
                    first=first,
                    millis_behind=millis_behind,
                    gap=self._gap_before.pop(shard.shard_id, None),
                )
                self._ready.append((batch, size))
                self._buffered += size
        if self._shared is not None:
            self._shared.took(self._number, shard.shard_id, position)

    def _begin(self, schedule: Schedule, cursor: Cursor) -> None:
        response = self.client.get_shard_iterator(
            ShardId=cursor.shard.shard_id, **self._parameters, **cursor.iterator_parameters()
        )
        if "ShardIterator" not in response:
            raise BrokenAnswerError("GetShardIterator", "ShardIterator")
        if not _is_latest(cursor.position):
            cursor.iterator = response["ShardIterator"]
            return
        latest = response["ShardIterator"], _answered_at(response, self._clock)
        if self._shared is not None:
            self._shared.keep_latest(cursor.shard.shard_id, *latest)
        self._began(schedule, cursor, *latest)

    def _began(self, schedule: Schedule, cursor: Cursor, iterator: str, answered_at: float) -> None:
        cursor.iterator = iterator
        with self._lock:
            schedule.began(cursor, answered_at)
        self._store.begin({cursor.shard: cursor.position})

    # --- one of several ---

    def _hurry(self, shard_id: str) -> None:
        """Look for what came of a shard in another's call."""
        with self._lock:
            if self._schedule is not None:
                self._schedule.hurry(shard_id, self._clock.monotonic())
                self._work.notify()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _divided(self, names: list[str]) -> tuple[SharedReads, list[StreamReader]]:
        """Return a reader for each of these consumers, and what they share, within this reader's bounds."""
        share = self._max_buffer_bytes // (len(names) + 1)
        if share < 2 * MOST_OF_A_READ:
            raise ValueError(
                f"max_buffer_bytes of {self._max_buffer_bytes:,} is less than {2 * MOST_OF_A_READ:,} for each of "
                f"{len(names)} handlers and for what they share: {(len(names) + 1) * 2 * MOST_OF_A_READ:,}"
            )
        shared = SharedReads(share, **self._pace)
        readers = []
        for number, name in enumerate(names):
            one = StreamReader(
                self.stream,
                client=self.client,
                checkpoints=self._store.for_consumer(name),
                owner=self.owner,
                max_buffer_bytes=share,
                max_concurrent_calls=-(-self._threads_wanted // len(names)),
                range_rule=self._range_rule,
                **self._options,
            )
            one._shared, one._number = shared, number
            readers.append(one)
        return shared, readers

    def _as_described(self, other: StreamReader) -> None:
        self._retention_s, self._range_rule = other._retention_s, other._range_rule

    def _arrivals_waiting(self) -> list[float | None]:
        """Return when the first of each batch arrived that is read and not handed out."""
        with self._lock:
            return [item[0].arrived for item in self._ready if isinstance(item, tuple)]

    def _pause(self, seconds: float) -> bool:
        """Wait, in the thread that iterates; return whether the reading goes on."""
        with self._lock:
            until = self._clock.monotonic() + seconds
            while not self._is_over() and (left := until - self._clock.monotonic()) > 0:
                self._clock.wait(self._ending, left)
            return not self._is_over()

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
        gap = Gap(cursor.shard.shard_id, *(_utc(moment) for moment in (since, answered_at - self._retention_s)))
        logger.warning(
            "%s: records of %s that came from %s to %s may have expired before they were read",
            self.stream,
            gap.shard_id,
            gap.since.isoformat(timespec="seconds"),
            gap.until.isoformat(timespec="seconds"),
        )
        return gap

    # --- the thread that says that the reader lives ---

    def _renew(self) -> None:
        try:
            renew_s = self._store.renew_s
            assert renew_s is not None
            while True:
                with self._lock:
                    until = self._clock.monotonic() + renew_s
                    while (left := until - self._clock.monotonic()) > 0 and not self._is_over():
                        self._clock.wait(self._ending, left)
                    if self._is_over():
                        return
                self._store.renew()
        except BaseException as error:  # noqa: BLE001 - raised where somebody iterates
            self._fail(error)

    def _is_over(self) -> bool:
        return self._stopping or self._error is not None


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


def _is_latest(position: Checkpoint) -> bool:
    return position.sequence_number == LATEST and position.read_up_to is None


def _arrival(record: ReceivedRecord) -> float | None:
    arrived: datetime | None = record.origin.approximate_arrival_timestamp
    return None if arrived is None else arrived.timestamp()


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def _answered_at(response: Mapping[str, Any], clock: Any) -> float:
    """Return the time of an answer by the service's clock, in whole seconds; by ours where it does not tell."""
    date = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    seconds: float = parsedate_to_datetime(date).timestamp() if date else clock.time()
    return seconds
