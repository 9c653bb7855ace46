"""Every user record of a stream, shard by shard, through splits and merges, from checkpoints on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from ...errors import ShardpackError
from ...transport import BrokenAnswerError, has_coroutines
from ...transport.list_shards import list_all_shards
from ...transport.transient import error_code
from ..reading import read_records
from .base import MOST_OF_A_READ, BaseReader, Idle, answered_time
from .batch import StreamBatch
from .checkpoints import SHARD_END, Checkpoint
from .schedule import Cursor, ListCall, is_latest
from .shards import ListedShard
from .shared_reads import Answer, Served, SharedReads, Turn, place_of
from .stats import ReaderStats
from .subscriptions import Subscriptions

if TYPE_CHECKING:
    from typing_extensions import Self

    from .fan_out import FanOut
    from .handlers import DeadLetterPoison, Handler

__all__ = ["ReaderStats", "StreamReader"]

CLOSE_SECONDS = 5.0


class StreamReader(BaseReader):
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

    ``mode="fan-out"`` has records pushed to the registered ``consumer``, a name (registered if it is not; it stays, and
    costs money) or an ARN: a connection and a thread for each shard being read, of which there may be up to
    ``max_subscriptions``, and an event of each in memory besides ``max_buffer_bytes``. Where nothing comes of a shard
    all of which is handled, its checkpoint moves on, once per minute.

    ``run`` and ``fan_out`` iterate for you and call functions with the batches.

    ``stop`` may be called by any thread and by signal handlers. One thread iterates. Raises ``CheckpointsInUseError``
    when another reader has the checkpoints.
    """

    _shared: SharedReads | None = None  # of several readers, of which this is one
    _number = 0  # which of them
    _own_reads = 0
    _fan_out: FanOut | None = None

    def _prepare(self) -> None:
        self._came = threading.Condition(self._lock)  # what the thread that iterates waits for
        self._work = threading.Condition(self._lock)  # what those that read wait for
        self._ending = threading.Condition(self._lock)  # what the one that renews waits for
        self._wakes_at = float("inf")  # when the first of them looks again
        self._threads: list[threading.Thread] = []
        self._subscriptions = Subscriptions(self, self.consumer) if self.consumer is not None else None

    def _refuse(self, client: Any) -> None:
        if has_coroutines(client):
            raise TypeError("the calls of aiobotocore's client are coroutines: AsyncStreamReader takes it")

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
        while (item := self._take()) is not None:
            if isinstance(item, StreamBatch):
                return item
            self._settle(item)
        raise StopIteration

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
        if self._subscriptions is not None:
            raise ShardpackError('fan_out shares GetRecords calls, which mode="fan-out" makes none of')
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
        super().stop()
        if self._fan_out is not None:
            self._fan_out.stop()

    def close(self) -> None:
        """Stop, wait up to 5 s for calls that are under way, and give up the checkpoints. May be called again."""
        self.stop()
        if self._subscriptions is not None:
            self._subscriptions.end()
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
        return super().stats() if self._fan_out is None else self._fan_out.stats()

    # --- the thread that iterates ---

    def _open(self) -> None:
        if self._schedule is not None:
            if self._closed:
                raise ShardpackError(f"the reader of {self.stream} is closed")
            return
        self._describe()
        if self._subscriptions is not None:
            self._subscriptions.register()
        self._claim()
        self._begin_to_read()

    def _begin_to_read(self) -> None:
        targets = [self._read_on] * (self._calls_wanted if self._subscriptions is None else 1)
        if self._store.renew_s is not None:
            targets.append(self._renew)
        for target in targets:
            self._start_thread(target)

    def _start_thread(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, name="shardpack-read", daemon=True)
        self._threads = [other for other in self._threads if other.is_alive()] + [thread]
        thread.start()

    def _take(self) -> StreamBatch | ListedShard | Idle | None:
        """Wait for what comes next; ``None`` is the end."""
        with self._lock:
            while not self._stopping:
                if (item := self._pop()) is not None:
                    return item
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

    def _notify_room(self) -> None:
        if self._subscriptions is None:
            self._work.notify()
        else:
            self._work.notify_all()

    def _make_a_call(self) -> bool:
        """Make one call when it is due; return whether there may be more."""
        with self._lock:
            while True:
                assert self._schedule is not None
                if self._is_over() or self._schedule.done:
                    self._notify_all()
                    return False
                call = self._next_call()
                if call is not None and not isinstance(call, float):
                    break
                self._wait_for_work(call, self._clock.monotonic())
            self._work.notify()  # one that looks when the next is due
        if isinstance(call, Cursor) and self._subscriptions is not None:
            self._called(call)
            self._start_thread(self._subscriptions.follow, call)
            return True
        try:
            if isinstance(call, ListCall):
                self._listed(list_all_shards(self.client, self._parameters))
                if self._subscriptions is not None:
                    self._subscriptions.check()
            else:
                self._read(call)
        except (ClientError, BotoCoreError, BrokenAnswerError) as error:
            self._failed(call, error)
        finally:
            self._called(call)
            with self._lock:
                self._came.notify()
        return True

    def _read(self, cursor: Cursor) -> None:
        shared = self._shared
        if shared is None:
            self._take_answer(cursor, self._call(cursor))
            return
        if is_latest(cursor.position) and (latest := shared.latest(cursor.shard.shard_id)):
            cursor.iterator = latest[0]
            self._begin_now(cursor, latest[1])
        found = shared.find(self._number, cursor, self._clock.monotonic())
        if isinstance(found, float):
            assert self._schedule is not None
            with self._lock:
                self._schedule.put_off(cursor, found)
        elif isinstance(found, Served):
            self._take_answer(cursor, found.answer, found)
        else:
            self._take_answer(cursor, self._call_for_all(cursor, shared, found))

    def _call_for_all(self, cursor: Cursor, shared: SharedReads, turn: Turn) -> Answer:
        shard_id = cursor.shard.shard_id
        try:
            answer = self._call(cursor, turn.limit)
        except BaseException as error:
            soon = error_code(error) == "ExpiredIteratorException"
            shared.failed(shard_id, turn, self._clock.monotonic(), soon=soon)
            raise
        shared.made(self._number, shard_id, turn, answer, self._clock.monotonic())
        with self._lock:
            self._own_reads += turn.alone
        return answer

    def _call(self, cursor: Cursor, limit: int | None = None) -> Answer:
        shard_id = cursor.shard.shard_id
        if cursor.iterator is None:
            response = self.client.get_shard_iterator(
                ShardId=shard_id, **self._parameters, **cursor.iterator_parameters()
            )
            if self._shared is not None and is_latest(cursor.position) and "ShardIterator" in response:
                self._shared.keep_latest(shard_id, response["ShardIterator"], answered_time(response, self._clock))
            self._began(cursor, response)
        place = place_of(cursor)
        arguments = self._beside_iterator if limit is None else {**self._beside_iterator, "Limit": limit}
        reply = read_records(self.client, shard_id=shard_id, ShardIterator=cursor.iterator, **arguments)
        return Answer(
            place,
            reply.received,
            sum(record.size for record in reply.received),
            reply.millis_behind_latest,
            reply.next_shard_iterator,
            answered_time(reply.response, self._clock),
        )

    def _take_answer(self, cursor: Cursor, answer: Answer, served: Served | None = None) -> None:
        """Take what a call brought, or another's call."""
        late_ms = 0
        if served is not None and not served.newest:
            late_ms = max(1, int((self._clock.monotonic() - answer.came_at) * 1000))
        with self._lock:  # no other call for this shard begins before its position is known
            is_over = self._take_records(
                cursor,
                answer.received if served is None else served.received,
                answer.answered_at,
                answer.millis_behind,
                answer.next_iterator,
                free=served is not None,
                late_ms=late_ms,
            )
            position = Checkpoint(SHARD_END) if is_over else cursor.position
        if self._shared is not None:
            self._shared.took(self._number, cursor.shard.shard_id, position)

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
                max_concurrent_calls=-(-self._calls_wanted // len(names)),
                range_rule=self._range_rule,
                **self._options,
            )
            one._shared, one._number = shared, number
            readers.append(one)
        return shared, readers

    def _as_described(self, other: StreamReader) -> None:
        self._retention_s, self._range_rule = other._retention_s, other._range_rule
        self._opened_at = other._opened_at

    def _arrivals_waiting(self) -> list[float | None]:
        """Return when the first of each batch arrived that is read and not handed out."""
        with self._lock:
            items = [item[0] for item in self._ready if isinstance(item, tuple)]
            return [item.arrived for item in items if isinstance(item, StreamBatch)]

    def _pause(self, seconds: float) -> bool:
        """Wait, in the thread that iterates; return whether the reading goes on."""
        with self._lock:
            until = self._clock.monotonic() + seconds
            while not self._is_over() and (left := until - self._clock.monotonic()) > 0:
                self._clock.wait(self._ending, left)
            return not self._is_over()

    def _wait_for_work(self, due: float | None, now: float) -> None:
        """Wait until the next call is due, or for a notice; of those that wait, only the first looks at the clock."""
        if due is None or due >= self._wakes_at:
            self._clock.wait(self._work, None)
            return
        self._wakes_at = due
        self._clock.wait(self._work, due - now)
        if self._wakes_at == due:
            self._wakes_at = float("inf")

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
