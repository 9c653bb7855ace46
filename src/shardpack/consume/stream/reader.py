"""Every user record of a stream, shard by shard, through splits and merges, from checkpoints on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from ...errors import ShardpackError
from ...transport import BrokenAnswerError, has_coroutines
from ...transport.list_shards import list_all_shards
from ..reading import read_records
from .base import BaseReader, Idle, ReaderStats
from .batch import StreamBatch
from .schedule import Cursor, ListCall
from .shards import ListedShard
from .subscriptions import Subscriptions

if TYPE_CHECKING:
    from typing_extensions import Self

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
    ``max_subscriptions``, and an event of each in memory besides ``max_buffer_bytes``. Where nothing comes of a shard all
    of which is handled, its checkpoint moves on, once per minute.

    ``stop`` may be called by any thread and by signal handlers. One thread iterates. Raises ``CheckpointsInUseError``
    when another reader has the checkpoints.
    """

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
        shard_id = cursor.shard.shard_id
        if cursor.iterator is None:
            response = self.client.get_shard_iterator(
                ShardId=shard_id, **self._parameters, **cursor.iterator_parameters()
            )
            self._began(cursor, response)
        self._take_reply(
            cursor,
            read_records(self.client, shard_id=shard_id, ShardIterator=cursor.iterator, **self._beside_iterator),
        )

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
