"""What stands before a producer: tenants' records wait here for their turn, and are handed over a window at a time.

There is no thread for it: whoever puts hands over what may be, and so does the producer's thread when something has its
outcome. One that waits is begun where tenants have rates, for then nobody else may come when their time has.
"""

from __future__ import annotations

import atexit
import os
import random
import threading
import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from math import inf
from time import monotonic
from typing import Any, cast

from ..errors import (
    BufferFullError,
    InvalidPartitionKeyError,
    InvalidRecordError,
    InvalidTenantError,
    ProducerClosedError,
    RecordTooLargeError,
    abridged,
)
from ..limits import KIB
from ..producer.base import BaseProducer
from ..producer.entries import Status
from ..producer.pump import Pump
from ..producer.receipts import Receipts
from ..producer.settling import SettledRecord
from ..shards import ShardMap
from .fair import FairQueue
from .keys import MAX_KEY_CHARACTERS, tenant_prefix, too_long
from .receipts import TenantReceipt
from .tenant import Known, Tenant, TenantStats

WINDOW_BYTES = 100 * KIB
"""What is handed over for a shard and has no outcome, at most: a tenth of a second of what it takes.

As it is stored: where records are compressed, or keys stored once, as many more bytes of user records.
"""

AROUND = 448
RECEIPT = 64
"""Bytes that a record is counted with beside its key and data, and those more where there are receipts."""

MAX_TENANTS = 10_000
"""Whose counts are kept; beyond it those that were idle longest are forgotten."""

AGAIN_SECONDS = 0.1
"""How long after memory ran out it is tried again."""


class Front:
    """The queue before one producer, and what is known of its tenants. Any thread may use it."""

    def __init__(
        self,
        tenants: Mapping[str, Tenant],
        default: Tenant | None,
        max_buffered_bytes: int,
        *,
        receipts: bool,
        stops: bool,
    ) -> None:
        self.producer: BaseProducer
        self._tenants, self._default = tenants, default
        self._most = max_buffered_bytes
        self._around = AROUND + RECEIPT if receipts else AROUND
        self._stops = stops
        self._closed = self._leaving = False
        self._begin()
        _alive.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # for the thread that waits
        self._queue = FairQueue(self._most, self._around)
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._shards: tuple[ShardMap | None, bool] = (None, True)
        self._window = WINDOW_BYTES
        self._number = 0
        self._unhanded: list[TenantReceipt] = []  # that memory has run out for
        self._in_flight: dict[int, TenantReceipt] = {}  # by the producer's number
        self._given_up: dict[int, tuple[TenantReceipt, Status]] = {}  # that may be sent once more
        self._flushes: list[list[int]] = []  # up to which number, and how many of those wait
        self._due = inf
        self._thread: threading.Thread | None = None

    # --- records, before they are taken ---

    def record(self, tenant: str, key: Any, data: Any, explicit_hash_key: Any) -> list[TenantReceipt]:
        """Return the one record of a tenant, checked by itself.

        Raises ``RecordTooLargeError`` where the stream's limit, as far as it is known, is passed.
        """
        pump, known = self._for(tenant)
        if self.producer._doors:  # noqa: SLF001
            key, data, explicit_hash_key = self.producer._through_doors(key, data, explicit_hash_key)  # noqa: SLF001
        return [_record(known, pump, key, data, explicit_hash_key)]

    def records(
        self, tenant: str, keys: list[Any], datas: list[Any], explicit_hash_keys: list[Any] | None
    ) -> list[TenantReceipt]:
        """Return many, or none. Raises as ``record``, and names the one that is at fault."""
        pump, known = self._for(tenant)
        keys, datas, explicit_hash_keys = self.producer._all_through_doors(keys, datas, explicit_hash_keys)  # noqa: SLF001
        explicit = [None] * len(keys) if explicit_hash_keys is None else explicit_hash_keys
        if not len(keys) == len(datas) == len(explicit):
            raise ValueError(f"{len(keys):,} partition keys, {len(datas):,} datas and {len(explicit):,} hash keys")
        records = []
        for number, (key, data, hash_key) in enumerate(zip(keys, datas, explicit, strict=True)):
            try:
                records.append(_record(known, pump, key, data, hash_key))
            except (InvalidRecordError, TypeError) as error:
                raise type(error)(f"record {number}: {error}") from None
        return records

    def _for(self, tenant: str) -> tuple[Pump, Known]:
        self._check_open()
        pump = self.producer._pump or self.producer._started()  # noqa: SLF001
        with self._lock:
            return pump, self._know(tenant)

    def _know(self, name: str) -> Known:
        known = self._known.get(name)
        if known is not None:
            self._known.move_to_end(name)
            return known
        prefix = tenant_prefix(name)
        tenant = self._tenants.get(name, self._default)
        if tenant is None:
            raise InvalidTenantError(
                f"there is no tenant {abridged(name)}, and no default for those that are not named"
            )
        known = self._known[name] = Known(prefix, tenant)
        now = monotonic()
        for _ in range(min(8, len(self._known) - MAX_TENANTS)):
            oldest = next(iter(self._known))
            if self._known[oldest].is_idle(now) and oldest != name:
                del self._known[oldest]
            else:
                self._known.move_to_end(oldest)
        return known

    # --- taking them ---

    def take(self, records: list[TenantReceipt]) -> bool | None:
        """Take all of these, or none where there is no room: ``None``. Raises where waiting is of no use."""
        if not records:
            return True
        producer = self.producer
        pump = producer._pump or producer._started()  # noqa: SLF001
        known = records[0].known
        with self._lock:
            self._check_open()
            queue = self._queue
            if queue.has_room(known.account):
                now = monotonic()
                self._look_at_shards(pump)
                places = self._places(records)  # which checks keys, too
                for record, (shard_id, window) in zip(records, places, strict=True):
                    self._number += 1
                    record.number, record.put_at = self._number, now
                    queue.put(known.account, shard_id, window, record)
                    known.put_bytes += record.size
                known.put += len(records)
                self._hand_over(pump, now)
                return True
        pump.check_running()
        return None

    def full(self, records: list[TenantReceipt]) -> BufferFullError:
        account = records[0].known.account
        return BufferFullError(
            f"{account.held:,} bytes of this tenant wait and {self._queue.held:,} of all, as many as may; nothing was "
            "taken"
        )

    def _look_at_shards(self, pump: Pump) -> None:
        shards = pump.shards
        window = WINDOW_BYTES * max(1.0, pump.meter.user_bytes_in_a_byte)
        self._window = max(1, min(int(window), self._most // 2 // len(shards[0])))
        if shards[0] is self._shards[0] and shards[1] == self._shards[1]:
            return
        self._shards = shards
        self._queue.line_up_anew(self._places)

    def _places(self, records: Sequence[Any]) -> list[tuple[str, int]]:
        """Return where each record waits: before its shard, or before all where keys do not decide."""
        shard_map, by_key = self._shards
        assert shard_map is not None
        indexes = shard_map.assign([record.key for record in records], [record.explicit_hash_key for record in records])
        if not by_key:
            return [("", self._window * len(shard_map))] * len(records)
        return [(shard_map[index].shard_id, self._window) for index in indexes]

    # --- handing them over ---

    def _hand_over(self, pump: Pump, now: float) -> None:
        """Hand over what may be. With the lock."""
        taken = cast("list[TenantReceipt]", self._queue.take(now))
        if taken or self._unhanded:
            self._unhanded += taken
            self._hand_over_these(pump, now)
        due = now + AGAIN_SECONDS if self._unhanded else self._queue.next_time()
        if due < inf and (due < self._due or self._thread is None):
            self._due = due
            if self._thread is None:
                self._thread = threading.Thread(target=self._wait, name="shardpack-tenants", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _hand_over_these(self, pump: Pump, now: float) -> None:
        records, self._unhanded = self._unhanded, []
        try:
            told = _put(pump, records)
        except MemoryError:
            told = None
        except InvalidRecordError:  # the stream takes no longer what it took
            for record in records:
                try:
                    self._note(pump, [record], _put(pump, [record]), now)
                except InvalidRecordError as error:
                    self._refuse(record, str(error))
            return
        self._note(pump, records, told, now)

    def _note(self, pump: Pump, records: list[TenantReceipt], told: tuple[int, int, Any] | None, now: float) -> None:
        """Note what a producer has taken, by its numbers."""
        if told is None:  # it had no memory, or has ended
            if pump.ended:
                for record in records:
                    self._refuse(record, "the producer ended before it had an outcome")
            else:
                self._unhanded += records
            return
        first = told[0]
        receipts = None if pump.register is None else Receipts(pump.register, *told)
        for number, record in enumerate(records):
            self._in_flight[first + number] = record
            record.known.wait.add(now - record.put_at)
            record.handed_over(receipts, number)
        if self._flushes:
            for flush in self._flushes:
                flush[1] -= sum(record.number <= flush[0] for record in records)
            pump.room.notify()

    def _refuse(self, record: TenantReceipt, why: str) -> None:
        record.known.counts[Status.NOT_STORED] += 1
        record.known.sizes[Status.NOT_STORED] += record.size
        self._queue.settled([record])
        record.refused(why)
        for flush in self._flushes:
            flush[1] -= record.number <= flush[0]

    def on_settled(self, settled: Sequence[SettledRecord]) -> None:
        """These have their outcome: others may go. On the producer's thread."""
        pump = self.producer._pump  # noqa: SLF001
        if pump is None:  # it was forked off just now
            return
        with self._lock:
            for each in settled:
                status = each.settlement.status
                records = []
                for number in each.numbers():
                    record = self._in_flight.pop(number, None)
                    if record is not None:
                        records.append(record)
                        known = record.known
                    else:  # given up before, and sent once more
                        record, before = self._given_up.pop(number)
                        known = record.known
                        known.counts[before] -= 1
                        known.sizes[before] -= record.size
                    known.counts[status] += 1
                    known.sizes[status] += record.size
                    if status is not Status.STORED and self._stops:
                        self._given_up[number] = record, status
                self._queue.settled(records)
                for record in records:
                    record.flow = None
            self._look_at_shards(pump)
            self._hand_over(pump, monotonic())
            leaves = self._leaving and not self.waiting
        pump.room.notify()
        if leaves:
            pump.let_go()

    def let_go(self) -> None:
        """Take nothing more, have what is there delivered, and end; without waiting for it."""
        pump = self.producer._pump  # noqa: SLF001
        with self._lock:
            self._closed = self._leaving = True
            if pump is None or pump.ended:
                return
            self._queue.hurry()
            self._hand_over(pump, monotonic())
            waits = self.waiting
            self._due = monotonic()  # for the thread that waits, which then ends
            self._changed.notify()
        if not waits:
            pump.let_go()

    def forget_given_up(self) -> None:
        """What was given up is not sent again."""
        with self._lock:
            self._given_up.clear()

    def _wait(self) -> None:
        """Hand over what rates hold back, when its time has come."""
        with self._lock:
            changed = self._changed
            while self._changed is changed:  # it is another one's after a fork
                pump = self.producer._pump  # noqa: SLF001
                if pump is None or pump.ended:
                    self._thread = None
                    return
                now = monotonic()
                if self._due <= now:
                    self._due = inf
                    self._hand_over(pump, now)
                if self._closed and self._due == inf:  # rates hold no longer
                    self._thread = None
                    return
                changed.wait(None if self._due == inf else max(0.0, self._due - monotonic()))

    # --- waiting, and the end ---

    def flushing(self) -> list[int]:
        """Return the mark of a flush: once its second number is 0, what was put before has been handed over."""
        with self._lock:
            mark = [self._number, self._queue.waiting + len(self._unhanded)]
            self._flushes.append(mark)
            return mark

    def flushed(self, mark: list[int]) -> None:
        with self._lock:
            self._flushes = [each for each in self._flushes if each is not mark]

    @property
    def waiting(self) -> int:
        """How many records were not handed over."""
        return self._queue.waiting + len(self._unhanded)

    def stop(self, timeout: float) -> None:
        """Take nothing more, hand over what is there for so many seconds, the rest then, and have it delivered."""
        producer = self.producer
        with self._lock:
            self._closed = True
        pump = producer._pump  # noqa: SLF001
        if pump is None:
            producer._refuse()  # noqa: SLF001
            return
        deadline = monotonic() + timeout
        with self._lock:
            self._queue.hurry()
            self._hand_over(pump, monotonic())
        pump.room.notify()  # none will come
        if not pump.is_current:  # on_settled waits for nothing
            pump.room.wait(lambda: True if not self.waiting or pump.ended else None, timeout)
        with self._lock:
            self._unhanded += cast("list[TenantReceipt]", self._queue.take_all())
            self._hand_over(pump, monotonic())
            self._due = inf
            self._changed.notify()
        producer._stop(max(0.0, deadline - monotonic()))  # noqa: SLF001
        with self._lock:
            self._changed.notify()

    def _check_open(self) -> None:
        if self._closed:
            raise ProducerClosedError("the producer was closed")

    # --- what it tells ---

    def stats(self, name: str) -> TenantStats:
        with self._lock:
            known = self._known.get(name)
            return TenantStats() if known is None else known.stats()

    def names(self) -> list[str]:
        with self._lock:
            return list(self._known)


def _record(known: Known, pump: Pump, key: Any, data: Any, explicit_hash_key: Any) -> TenantReceipt:
    """Return a record of a tenant as it is put: with its prefix, and placed in its slice."""
    hash_slice = known.tenant.hash_slice
    whole = _whole_key(known.prefix, key)
    if explicit_hash_key is not None:
        hash_slice.demand(explicit_hash_key)
    elif key is None:
        explicit_hash_key = random.randint(hash_slice.first, hash_slice.last)
    elif not hash_slice.is_everything:
        explicit_hash_key = hash_slice.place(whole)
    if type(data) is not bytes:
        if isinstance(data, str):
            raise TypeError("data is bytes, not str")
        data = bytes(memoryview(data))
    size = len(data) + len(whole if whole.isascii() else whole.encode("utf-8", "surrogatepass"))
    if size > pump.inbox.max_record_bytes:
        raise RecordTooLargeError(
            f"record of {size:,} bytes (key {abridged(key, 40)}) exceeds the stream's {pump.inbox.max_record_bytes:,}"
        )
    return TenantReceipt(known, pump, whole, data, explicit_hash_key, size=size)


def _whole_key(prefix: str, key: Any) -> str:
    if key is None:
        return prefix
    if isinstance(key, bytes):
        try:
            key = key.decode()
        except UnicodeDecodeError:
            raise InvalidPartitionKeyError(f"partition key {abridged(key)} is not UTF-8") from None
    if not isinstance(key, str):
        raise TypeError(f"a partition key is str or bytes, not {abridged(key)}")
    if not key:
        raise InvalidPartitionKeyError("the partition key is empty")
    if len(prefix) + len(key) > MAX_KEY_CHARACTERS:
        raise too_long(prefix, key)
    return prefix + key


def _put(pump: Pump, records: list[TenantReceipt]) -> tuple[int, int, Any] | None:
    return pump.inbox.put_many(
        [record.key for record in records],
        [record.data for record in records],
        [record.explicit_hash_key for record in records],
    )


_alive: weakref.WeakSet[Front] = weakref.WeakSet()


def _close_all() -> None:
    """At the end of the interpreter, before producers are closed: what waits here is theirs to deliver."""
    for front in list(_alive):
        front.stop(front.producer._close_timeout)  # noqa: SLF001


def _forget_all() -> None:
    for front in list(_alive):
        front._begin()  # noqa: SLF001


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
