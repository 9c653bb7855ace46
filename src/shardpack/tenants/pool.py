"""A stream for each tenant: many producers, of which those that were used last are there."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from .._native.receipt import Receipt
from ..errors import BufferFullError, ProducerClosedError
from ..limits import MIB, whole_number
from ..producer.callers import Hands
from ..producer.producer import Producer
from ..producer.receipts import Receipts
from ..shards import ShardMap
from ..transport import Failed, Stored, StreamDescription
from ..transport.boto3 import Boto3Transport, ClientSettings

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..producer.options import ProducerOptions
    from ..records import KinesisRecord

BUFFERED_BYTES = 4 * MIB
KEPT_SECONDS = 300.0
"""How long what is known of a stream serves its next producer; as long as a producer itself goes by it."""
MOST_KNOWN = 100_000


class ProducerPool:
    """Deliver to many streams, a producer for each that is in use: for a stream for every tenant.

    ``put`` makes a stream's producer as it is needed. There are ``max_producers`` (100) at most: beyond that the one
    that was used longest ago is flushed and closed, and a ``put`` waits until it is. One that was not used for
    ``idle_s`` (60) seconds is closed when the pool is used next. A stream that nobody puts to costs nothing but what is
    remembered of it, its shards and limits, so that to open it anew within 300 seconds asks the service nothing; of
    100,000 streams at most.

    All share ``client`` (one with ``max_pool_connections`` for the calls at one time; without it one is made of the
    environment, with 50) and the threads that make calls, of which there are as many as calls at one time. Each
    producer that is there has a thread of its own. ``options`` are those of ``Producer``, for each of them;
    ``max_buffered_bytes`` is 4 MiB, if they have none. Use it in a ``with`` block, or ``close`` it. Any thread may call
    it; to close it while others put makes theirs raise ``ProducerClosedError``.

    Raises ``ValueError`` or ``TypeError`` for options that are none.
    """

    def __init__(
        self,
        client: Any = None,
        /,
        *,
        max_producers: int = 100,
        idle_s: float = 60.0,
        **options: Unpack[ProducerOptions],
    ) -> None:
        if not 1 <= whole_number("max_producers", max_producers) <= 10_000:
            raise ValueError(f"max_producers of {max_producers:,} is not between 1 and 10,000")
        client = options.pop("client", client)
        if {"transport", "stream_arn"} & set(options):
            raise TypeError("a pool has one client, and streams by their names")
        if idle_s < 0:
            raise ValueError(f"idle_s of {idle_s} is below 0")
        options.setdefault("max_buffered_bytes", BUFFERED_BYTES)
        self._wire = options.pop("wire", "json")
        self._options = options
        self._client = client
        self._most, self._idle_s = max_producers, idle_s
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._closed = False
        self._begin()
        Producer("-", client=client, wire=self._wire, **options)  # type: ignore[misc] # to raise; it never begins
        self._own_client = client is None
        _alive.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._opening = threading.Condition(self._lock)  # something was closed, or is used no longer
        self._live: OrderedDict[str, _Live] = OrderedDict()
        self._hands = Hands(self._most * (self._options.get("max_requests_in_flight", 4) + 2))

    def put(
        self,
        stream_name: str,
        partition_key: str | bytes | None,
        data: object,
        explicit_hash_key: int | str | None = None,
        *,
        timeout: float | None = None,
    ) -> Receipt | Any:
        """Take one user record for a stream; as ``Producer.put``. Waits for a producer, too, ``timeout`` seconds."""
        with self._using(stream_name, timeout) as producer:
            return producer.put(partition_key, data, explicit_hash_key, timeout=timeout)

    def put_many(
        self,
        stream_name: str,
        partition_keys: Iterable[str | bytes | None],
        datas: Iterable[object],
        explicit_hash_keys: Iterable[int | str | None] | None = None,
        *,
        timeout: float | None = None,
    ) -> Receipts | Any:
        """Take n user records for a stream, all or none; as ``Producer.put_many``."""
        with self._using(stream_name, timeout) as producer:
            return producer.put_many(partition_keys, datas, explicit_hash_keys, timeout=timeout)

    def streams(self) -> list[str]:
        """Return the streams that have a producer now, the one that was used last at the end."""
        with self._lock:
            return list(self._live)

    def flush(self, timeout: float | None = None) -> None:
        """Return when every user record put before has its outcome; as ``Producer.flush``."""
        deadline = None if timeout is None else monotonic() + timeout
        with self._lock:
            live = list(self._live.values())
        for each in live:
            each.producer.flush(None if deadline is None else max(0.0, deadline - monotonic()))

    def close(self) -> None:
        """Deliver what is there, within ``close_timeout_s`` for all together, as ``Producer.close``."""
        with self._lock:
            self._closed = True
            live, self._live = list(self._live.values()), OrderedDict()
            self._opening.notify_all()
        for each in live:  # so that they take their time side by side
            each.producer._refuse()  # noqa: SLF001
            if each.producer._pump is not None:  # noqa: SLF001
                each.producer._pump.let_go()  # noqa: SLF001
        deadline = monotonic() + self._options.get("close_timeout_s", 30.0)
        for each in live:
            each.producer._stop(max(0.0, deadline - monotonic()))  # noqa: SLF001
        self._hands.stop()

    def __enter__(self) -> ProducerPool:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _using(self, stream_name: str, timeout: float | None) -> _Live:
        """Return the producer of a stream, which is not closed before its ``with`` block ends."""
        deadline = None if timeout is None else monotonic() + timeout
        with self._lock:
            while True:
                if self._closed:
                    raise ProducerClosedError("the pool was closed")
                now = monotonic()
                live = self._live.get(stream_name)
                if live is not None and not live.closing:
                    break
                if live is None:
                    if len(self._live) < self._most:
                        live = self._live[stream_name] = _Live(self, self._new(stream_name))
                        break
                    self._close_one(deadline)
                    continue
                self._opening.wait(None if deadline is None else max(0.0, deadline - now))
                if deadline is not None and monotonic() >= deadline:
                    raise BufferFullError(f"the producer of {stream_name} is being closed; nothing was taken")
            live.users += 1
            live.used_at = now
            self._live.move_to_end(stream_name)
            self._close_idle(now)
            return live

    def _new(self, stream_name: str) -> Producer:
        if self._client is None:
            self._client = ClientSettings().client(50)
        known = self._known.get(stream_name)
        if known is None:
            known = self._known[stream_name] = _Known()
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(stream_name)
        transport = _Remembering(Boto3Transport(self._client, stream_name, wire=self._wire), known)
        producer = Producer(stream_name, transport=transport, **self._options)  # type: ignore[misc] # it has none
        producer._hands = self._hands  # noqa: SLF001
        return producer

    def _close_one(self, deadline: float | None) -> None:
        """Close the producer that was used longest ago, without the lock meanwhile; or wait until one may be."""
        free = [name for name, live in self._live.items() if not live.users and not live.closing]
        if not free:
            if not self._opening.wait(None if deadline is None else max(0.0, deadline - monotonic())):
                raise BufferFullError(f"{len(self._live):,} producers are in use, as many as may; nothing was taken")
            return
        name, live = free[0], self._live[free[0]]
        live.closing = True
        self._lock.release()
        try:
            late = False
            try:
                live.producer.flush(None if deadline is None else max(0.0, deadline - monotonic()))
            except TimeoutError:
                late = True
            if not late:
                live.producer.close()
        finally:
            self._lock.acquire()
            live.closing = False
            self._opening.notify_all()
        if late:
            raise BufferFullError(f"{name} has records without an outcome, and there are {self._most:,} producers")
        if self._live.get(name) is live:
            del self._live[name]

    def _close_idle(self, now: float) -> None:
        """Close those that were not used for long, and hold nothing; a few at a time."""
        for name, live in list(self._live.items())[:4]:
            if live.users or live.closing or now - live.used_at < self._idle_s or live.holds_something:
                return
            del self._live[name]
            live.producer.close()  # at once: nothing is there


class _Live:
    """A producer that is there, and those that are about to put to it."""

    __slots__ = ("closing", "pool", "producer", "used_at", "users")

    def __init__(self, pool: ProducerPool, producer: Producer) -> None:
        self.pool, self.producer = pool, producer
        self.users = 0
        self.used_at = 0.0
        self.closing = False

    @property
    def holds_something(self) -> bool:
        pump = self.producer._pump  # noqa: SLF001
        return pump is not None and bool(pump.unsettled)

    def __enter__(self) -> Producer:
        return self.producer

    def __exit__(self, *_error: object) -> None:
        pool = self.pool
        with pool._lock:  # noqa: SLF001
            self.users -= 1
            if not self.users:
                pool._opening.notify_all()  # noqa: SLF001


class _Known:
    """What is known of a stream, and since when."""

    __slots__ = ("at", "description", "shard_map")

    def __init__(self) -> None:
        self.shard_map: ShardMap | None = None
        self.description: StreamDescription | None = None
        self.at = 0.0


class _Remembering:
    """A transport whose first questions are answered from memory; when it is asked again, it asks the service."""

    def __init__(self, transport: Boto3Transport, known: _Known) -> None:
        self._transport, self._known = transport, known
        fresh = monotonic() < known.at + KEPT_SECONDS
        self._shard_map = known.shard_map if fresh else None
        self._description = known.description if fresh else None

    def put_records(self, entries: Sequence[KinesisRecord]) -> list[Stored | Failed]:
        return self._transport.put_records(entries)

    def list_shards(self) -> ShardMap:
        found, self._shard_map = self._shard_map, None
        if found is None:
            found = self._known.shard_map = self._transport.list_shards()
            self._known.at = monotonic()
        return found

    def describe(self) -> StreamDescription:
        found, self._description = self._description, None
        if found is None:
            found = self._known.description = self._transport.describe()
        return found


_alive: weakref.WeakSet[ProducerPool] = weakref.WeakSet()


def _forget_all() -> None:
    """In a process that was forked off: producers and connections are the parent process's."""
    for pool in list(_alive):
        pool._begin()  # noqa: SLF001
        if pool._own_client:  # noqa: SLF001
            pool._client = None  # noqa: SLF001
        elif hasattr(pool._client, "close"):  # noqa: SLF001
            pool._client.close()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
