"""``Producer``: everything in, in order, nothing lost, bounded."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any, Literal

from .._native.inbox import Inbox
from .._native.receipt import Receipt
from ..errors import BufferFullError, FlushTimeoutError, ProducerClosedError
from ..transport import Transport
from .dead_letters import DeadLetterSink
from .pump import Pump, SettledRecord, Totals
from .receipts import Receipts, Register

KIB, MIB = 1024, 1024 * 1024


class Producer:
    """Deliver user records to one stream: at least once, in the order of their keys, or tell what became of them.

    Give the stream's name or ARN, and perhaps a boto3 ``client``; or a ``transport``. A thread aggregates what was put
    for each shard and sends it; it begins with the first ``put``. Use it in a ``with`` block, or ``close`` it: both
    deliver what is there.

    ``linger_ms`` (100): how long a user record may wait for others of its shard. Less for latency, more for larger
    aggregated records. ``max_aggregate_bytes`` (256 KiB), ``max_aggregate_records``: bounds of an aggregated record;
    with 1 nothing is aggregated. ``max_buffered_bytes`` (64 MiB): at this bound, of keys, data and 64 bytes for each
    record, ``put`` waits for room; one call may pass it. ``record_ttl_ms`` (30,000): after that a record is given up.
    More rides out longer outages. ``max_requests_in_flight`` (4): more for many shards that are far away.
    ``ordering="none"`` lets several Kinesis records of a shard be in flight. ``after_failure="stop"``: a record given
    up holds back what follows it in its shard. ``aggregate_on_auto``: aggregate though the stream distributes records
    itself; for streams that no KCL reads. ``receipts=False``: ``put`` returns nothing, which is faster.
    ``dead_letters`` keeps what was given up. ``on_settled`` is called with the Kinesis records that have their outcome,
    on the producer's thread. ``close_timeout_s`` (30): how long closing may take.
    """

    def __init__(
        self,
        stream_name: str | None = None,
        *,
        stream_arn: str | None = None,
        client: Any = None,
        transport: Transport | None = None,
        linger_ms: float = 100,
        max_aggregate_bytes: int = 256 * KIB,
        max_aggregate_records: int | None = None,
        max_buffered_bytes: int = 64 * MIB,
        record_ttl_ms: float = 30_000,
        max_requests_in_flight: int = 4,
        ordering: Literal["shard", "none"] = "shard",
        after_failure: Literal["continue", "stop"] = "continue",
        aggregate_on_auto: bool = False,
        receipts: bool = True,
        dead_letters: DeadLetterSink | None = None,
        on_settled: Callable[[Sequence[SettledRecord]], None] | None = None,
        close_timeout_s: float = 30.0,
    ) -> None:
        def begin() -> Pump:
            return Pump(
                transport or _transport(stream_name, stream_arn, client, max_requests_in_flight),
                stream=stream_arn or stream_name or "",
                max_aggregate_bytes=max_aggregate_bytes,
                max_aggregate_records=max_aggregate_records,
                max_buffered_bytes=max_buffered_bytes,
                linger_s=linger_ms / 1000,
                record_ttl_s=record_ttl_ms / 1000,
                max_requests_in_flight=max_requests_in_flight,
                ordering=ordering,
                after_failure=after_failure,
                aggregate_on_auto=aggregate_on_auto,
                dead_letters=dead_letters,
                on_settled=on_settled,
                register=Register() if receipts else None,
            )

        self._begin = begin
        self._close_timeout = close_timeout_s
        self._closed = False
        self._starting = threading.Lock()
        self._pump: Pump | None = None
        self._inbox: Inbox | _NoInbox = _NoInbox(self)
        _alive.add(self)

    def put(
        self,
        partition_key: str | bytes,
        data: object,
        explicit_hash_key: int | str | None = None,
        *,
        timeout: float | None = None,
    ) -> Receipt | None:
        """Take one user record; returns its receipt, or ``None`` with ``receipts=False``.

        Waits for room where the buffer is full, ``timeout`` seconds at most (0: not at all).
        Raises ``InvalidPartitionKeyError``, ``InvalidHashKeyError``, ``RecordTooLargeError`` or ``TypeError`` for what
        can never be sent, ``BufferFullError``, ``ProducerClosedError``; then the record was not taken.
        """
        if self._closed:
            raise ProducerClosedError("the producer was closed")
        receipt: Any = self._inbox.put(partition_key, data, explicit_hash_key)
        if receipt is None:
            receipt = self._when_room(lambda: self._inbox.put(partition_key, data, explicit_hash_key), timeout)
        return None if receipt is True else receipt

    def put_many(
        self,
        partition_keys: Iterable[str | bytes],
        datas: Iterable[object],
        explicit_hash_keys: Iterable[int | str | None] | None = None,
        *,
        timeout: float | None = None,
    ) -> Receipts | None:
        """Take n user records, all or none; returns their receipts. Waits and raises as ``put``."""
        if self._closed:
            raise ProducerClosedError("the producer was closed")
        keys, values = list(partition_keys), list(datas)
        explicit = None if explicit_hash_keys is None else list(explicit_hash_keys)
        taken: Any = self._inbox.put_many(keys, values, explicit)
        if taken is None:
            taken = self._when_room(lambda: self._inbox.put_many(keys, values, explicit), timeout)
        first, blocks = taken
        register = None if self._pump is None else self._pump.register
        return None if register is None else Receipts(register, first, blocks, len(keys))

    def flush(self, timeout: float | None = None) -> None:
        """Return when every user record put before has its outcome, whatever it is.

        Raises ``FlushTimeoutError``, which names how many have none, after ``timeout`` seconds.
        """
        left = 0 if self._pump is None else self._pump.flush(timeout)
        if left:
            raise FlushTimeoutError(f"{left:,} user records have no outcome after {timeout:g} s", left)

    def close(self) -> None:
        """Deliver what is there, within ``close_timeout_s``; what is left then is settled as not stored, or unknown."""
        with self._starting:
            closed, self._closed = self._closed, True
        if not closed and self._pump is not None:
            self._pump.stop(self._close_timeout)

    @property
    def totals(self) -> Totals:
        """What has become of everything so far."""
        return Totals() if self._pump is None else self._pump.totals

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _started(self) -> Pump:
        """The pump: made with the first record, and again in a process that was forked off."""
        with self._starting:
            if self._closed:
                raise ProducerClosedError("the producer was closed")
            if self._pump is None:
                self._pump = self._begin()
                self._inbox = self._pump.inbox
                self._pump.start()
            return self._pump

    def _forget(self) -> None:
        """Be as if nothing had been put: what was put is the parent process's to deliver."""
        self._starting = threading.Lock()
        self._pump, self._inbox = None, _NoInbox(self)

    def _when_room(self, put: Callable[[], Any], timeout: float | None) -> Any:
        deadline = None if timeout is None else monotonic() + timeout
        pump = self._started()
        room = pump.room
        while True:
            with room:
                taken = put()
                if taken is not None:
                    return taken
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    raise BufferFullError(f"{self._inbox.buffered:,} bytes wait, as many as may; nothing was taken")
                if self._closed or pump.ended:
                    raise ProducerClosedError("the producer was closed")
                room.wait(left)


def _transport(stream_name: str | None, stream_arn: str | None, client: Any, requests_in_flight: int) -> Transport:
    from ..transport.boto3 import Boto3Transport, new_client  # noqa: PLC0415 - a client library, only where it is used

    if client is None:
        client = new_client(requests_in_flight)
    return Boto3Transport(client, stream_name, stream_arn=stream_arn)


class _NoInbox:
    """Where records go before there is a pump: the first one starts it."""

    def __init__(self, producer: Producer) -> None:
        self._producer = weakref.ref(producer)

    def put(self, *record: Any) -> Any:
        return self._begin().put(*record)

    def put_many(self, *records: Any) -> Any:
        return self._begin().put_many(*records)

    @property
    def buffered(self) -> int:
        return 0

    def _begin(self) -> Inbox:
        producer = self._producer()
        assert producer is not None
        return producer._started().inbox  # noqa: SLF001 - it is the producer's own


_alive: weakref.WeakSet[Producer] = weakref.WeakSet()


def _close_all() -> None:
    for producer in list(_alive):
        producer.close()


def _forget_all() -> None:
    for producer in list(_alive):
        producer._forget()  # noqa: SLF001


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
