"""``TenantProducer`` and ``AsyncTenantProducer``: many tenants share one stream, and none delays another."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..errors import FlushTimeoutError, RecordTooLargeError, abridged
from ..limits import KIB, MIB
from ..producer.aio import AsyncProducer
from ..producer.base import BaseProducer
from ..producer.hot_shards import HotShard
from ..producer.producer import Producer
from ..producer.settling import SettledRecord
from ..producer.stats import Stats
from .front import Front
from .receipts import TenantReceipt
from .tenant import Tenant, TenantStats

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..producer.options import ProducerOptions

AGGREGATE_BYTES = 50 * KIB
SHARD_BYTES_PER_SECOND = 1_000_000
NO_TENANTS: Mapping[str, Tenant] = MappingProxyType({})
ANY_TENANT = Tenant()

P = TypeVar("P", bound=BaseProducer)


class _Shared(Generic[P]):
    """What both share: one producer, the queue before it, and what can be asked of them."""

    _kind: type[P]

    def __init__(
        self,
        stream_name: str | None = None,
        *,
        tenants: Mapping[str, Tenant] = NO_TENANTS,
        default: Tenant | None = ANY_TENANT,
        **options: Unpack[ProducerOptions],
    ) -> None:
        if not isinstance(tenants, Mapping):
            raise TypeError(f"tenants is a mapping of ids to Tenants, not {abridged(tenants)}")
        for tenant in (*tenants.values(), *(() if default is None else (default,))):
            if not isinstance(tenant, Tenant):
                raise TypeError(f"what a tenant may have is a Tenant, not {abridged(tenant)}")
        stops = options.get("after_failure") == "stop"
        front = Front(
            tenants,
            default,
            options.get("max_buffered_bytes", 64 * MIB),
            receipts=options.get("receipts", True),
            stops=stops,
        )
        options.setdefault("max_aggregate_bytes", AGGREGATE_BYTES)
        options.setdefault("shard_bytes_per_second", SHARD_BYTES_PER_SECOND)
        options["on_settled"] = _both(front.on_settled, options.get("on_settled"))
        self._receipts = options.get("receipts", True)
        self._close_timeout = options.get("close_timeout_s", 30.0)
        self._producer: P = self._kind(stream_name, **options)
        front.producer = self._producer
        self._front = front
        weakref.finalize(self, front.let_go).atexit = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} before {self._producer!r}>"

    def tenant_stats(self, tenant: str) -> TenantStats:
        """Return what a tenant has put, and what became of it. Any thread may ask.

        Counts are kept of 10,000 tenants, and of all that hold something; beyond it those that were idle longest begin
        anew.
        """
        return self._front.stats(tenant)

    def tenants(self) -> list[str]:
        """Return the tenants that counts are kept of, the one that put last at the end."""
        return self._front.names()

    def stats(self, *, shards: bool = True) -> Stats:
        """Return what ``Producer.stats`` does: of all tenants together, from the end of their wait on."""
        return self._producer.stats(shards=shards)

    def hot_shards(self, *, min_utilisation: float = 0.8, max_keys: int = 10) -> list[HotShard]:
        """Return what ``Producer.hot_shards`` does; partition keys are with their tenant's prefix."""
        return self._producer.hot_shards(min_utilisation=min_utilisation, max_keys=max_keys)

    @property
    def held_shards(self) -> tuple[str, ...]:
        """The shards whose records wait for ``resume`` or ``skip``, as those of ``Producer``."""
        return self._producer.held_shards

    def resume(self) -> None:
        """Send once more what was given up, and then what it held back, as ``Producer.resume``."""
        self._producer.resume()

    def skip(self) -> None:
        """Go on without what was given up, as ``Producer.skip``."""
        self._producer.skip()
        self._front.forget_given_up()


class TenantProducer(_Shared[Producer]):
    """Deliver user records of many tenants to one stream: in the order of their keys, and none delays another.

    ``tenants`` says what each may have (`Tenant`); one that is not in there may have what ``default`` says, or is
    refused with ``default=None``. The mapping is asked when a tenant comes first, and again when it was forgotten.
    All other options are those of ``Producer``, of which it makes one; ``max_aggregate_bytes`` (50 KiB) and
    ``shard_bytes_per_second`` (1,000,000) are lower, so that a shard is never so busy that it throttles, nor its queue
    long. Use it in a ``with`` block, or ``close`` it. Any thread may call it.

    A tenant's records have its prefix before their partition key (`tenant_key`), which ``for_tenant`` strips. They wait
    for their turn: of each shard a tenant gets its ``weight``'s part where more is wanted than there is. No more than
    100 KiB of a shard, as they are stored, are ahead of that queue, and at most half of ``max_buffered_bytes`` for all
    shards together. ``max_buffered_bytes`` (64 MiB) bounds what waits and what is under way, each record with 448 bytes
    beside (512 with receipts). One tenant may have as much of it as is free: one that floods leaves half.

    The time to live of a record begins when its turn has come. Raises ``ValueError`` or ``TypeError`` for options that
    are none.
    """

    _kind = Producer

    def put(
        self,
        tenant: str,
        partition_key: str | bytes | None,
        data: object,
        explicit_hash_key: int | str | None = None,
        *,
        timeout: float | None = None,
    ) -> TenantReceipt | Any:
        """Take one user record of a tenant; returns its receipt, or ``None`` with ``receipts=False``.

        Partition key and tenant's prefix have 256 characters at most. ``None`` for a partition key: the record goes to
        any shard that the tenant's may go to, in no order; ``for_tenant`` gives ``None`` again. Waits where the tenant
        holds what it may, ``timeout`` seconds at most (0: not at all). Raises ``InvalidTenantError``, and as
        ``Producer.put``; ``InvalidHashKeyError`` also for a hash key outside the tenant's slice.
        """
        front = self._front
        taken = self._take(lambda: front.record(tenant, partition_key, data, explicit_hash_key), timeout)
        return taken[0] if self._receipts else None

    def put_object(
        self,
        tenant: str,
        partition_key: str | bytes | None,
        obj: object,
        explicit_hash_key: int | str | None = None,
        *,
        timeout: float | None = None,
    ) -> TenantReceipt | Any:
        """Take an object as one user record of a tenant, by the ``codec``; as ``Producer.put_object``."""
        data = self._producer._encode_object(partition_key, obj)  # noqa: SLF001
        return self.put(tenant, partition_key, data, explicit_hash_key, timeout=timeout)

    def put_many(
        self,
        tenant: str,
        partition_keys: Iterable[str | bytes | None],
        datas: Iterable[object],
        explicit_hash_keys: Iterable[int | str | None] | None = None,
        *,
        timeout: float | None = None,
    ) -> list[TenantReceipt] | Any:
        """Take n user records of a tenant, all or none; returns their receipts. Waits and raises as ``put``."""
        given = _lists(partition_keys, datas, explicit_hash_keys)
        taken = self._take(lambda: self._front.records(tenant, *given), timeout)
        return taken if self._receipts else None

    def _take(self, make: Callable[[], list[TenantReceipt]], timeout: float | None) -> list[TenantReceipt]:
        front, producer = self._front, self._producer
        try:
            records = make()
        except RecordTooLargeError:
            if not producer._started().room.wait(producer._limits_told(), timeout):  # noqa: SLF001
                raise
            records = make()
        if front.take(records) is None:
            room = producer._started().room  # noqa: SLF001
            if timeout == 0 or room.wait(lambda: front.take(records), timeout) is None:
                raise front.full(records)
        return records

    def flush(self, timeout: float | None = None) -> None:
        """Return when every user record put before has its outcome, whatever it is.

        Those whose tenant's rate holds them back, too. Raises ``FlushTimeoutError``, which names how many have none,
        after ``timeout`` seconds.
        """
        front, pump = self._front, self._producer._pump  # noqa: SLF001
        if pump is None:
            return
        if pump.is_current:
            raise RuntimeError("on_settled cannot wait for a flush: it would wait for itself")
        deadline = None if timeout is None else monotonic() + timeout
        mark = front.flushing()
        try:
            if pump.room.wait(lambda: True if mark[1] <= 0 or pump.ended else None, timeout) is None:
                raise _late(mark[1] + pump.unsettled, timeout)
        finally:
            front.flushed(mark)
        self._producer.flush(None if deadline is None else max(0.0, deadline - monotonic()))

    def close(self) -> None:
        """Deliver what is there, within ``close_timeout_s``, rates or not; what is left is settled as not stored."""
        self._front.stop(self._close_timeout)

    def __enter__(self) -> TenantProducer:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class AsyncTenantProducer(_Shared[AsyncProducer]):
    """A ``TenantProducer`` whose calls are awaited, over an ``AsyncProducer``; receipts can be awaited too.

    The options are the same; ``client`` and ``transport`` as ``AsyncProducer`` takes them. It is one event loop's.
    """

    _kind = AsyncProducer

    async def put(
        self, tenant: str, partition_key: str | bytes | None, data: object, explicit_hash_key: int | str | None = None
    ) -> TenantReceipt | Any:
        """Take one user record of a tenant, as soon as it may have more; as ``TenantProducer.put``.

        Where it was cancelled, the record was not taken.
        """
        taken = await self._take(lambda: self._front.record(tenant, partition_key, data, explicit_hash_key))
        return taken[0] if self._receipts else None

    async def put_object(
        self,
        tenant: str,
        partition_key: str | bytes | None,
        obj: object,
        explicit_hash_key: int | str | None = None,
    ) -> TenantReceipt | Any:
        """Take an object as one user record of a tenant, by the ``codec``; as ``Producer.put_object``."""
        data = self._producer._encode_object(partition_key, obj)  # noqa: SLF001
        return await self.put(tenant, partition_key, data, explicit_hash_key)

    async def put_many(
        self,
        tenant: str,
        partition_keys: Iterable[str | bytes | None],
        datas: Iterable[object],
        explicit_hash_keys: Iterable[int | str | None] | None = None,
    ) -> list[TenantReceipt] | Any:
        """Take n user records of a tenant, all or none; returns their receipts. Waits and raises as ``put``."""
        given = _lists(partition_keys, datas, explicit_hash_keys)
        taken = await self._take(lambda: self._front.records(tenant, *given))
        return taken if self._receipts else None

    async def _take(self, make: Callable[[], list[TenantReceipt]]) -> list[TenantReceipt]:
        front, producer = self._front, self._producer
        if producer._pump is None:  # noqa: SLF001
            front._check_open()  # noqa: SLF001
            await producer._begun()  # noqa: SLF001
        try:
            records = make()
        except RecordTooLargeError:
            await producer._wait_for_limits()  # noqa: SLF001
            records = make()
        if front.take(records) is None:
            assert producer._pump is not None  # noqa: SLF001
            await producer._pump.room.wait_in_loop(lambda: front.take(records))  # noqa: SLF001
        return records

    async def flush(self, timeout: float | None = None) -> None:
        """Return when every user record put before has its outcome; as ``TenantProducer.flush``."""
        front, pump = self._front, self._producer._pump  # noqa: SLF001
        if pump is None:
            return
        deadline = None if timeout is None else monotonic() + timeout
        mark = front.flushing()
        try:
            handed = pump.room.wait_in_loop(lambda: True if mark[1] <= 0 or pump.ended else None)
            await asyncio.wait_for(handed, timeout)
        except asyncio.TimeoutError:
            raise _late(mark[1] + pump.unsettled, timeout) from None
        finally:
            front.flushed(mark)
        await self._producer.flush(None if deadline is None else max(0.0, deadline - monotonic()))

    async def close(self) -> None:
        """Deliver what is there, within ``close_timeout_s``, rates or not; what is left is settled as not stored."""
        await asyncio.to_thread(self._front.stop, self._close_timeout)

    async def __aenter__(self) -> AsyncTenantProducer:
        await self._producer._begun()  # noqa: SLF001
        return self

    async def __aexit__(self, *_error: object) -> None:
        await asyncio.shield(self.close())


def _lists(
    keys: Iterable[Any], datas: Iterable[Any], explicit_hash_keys: Iterable[Any] | None
) -> tuple[list[Any], list[Any], list[Any] | None]:
    for name, given in (("partition keys", keys), ("datas", datas)):
        if isinstance(given, (str, bytes)):
            raise TypeError(f"{name} come as many, not as one {type(given).__name__}")
    return list(keys), list(datas), None if explicit_hash_keys is None else list(explicit_hash_keys)


def _both(
    first: Callable[[Sequence[SettledRecord]], None], then: Callable[[Sequence[SettledRecord]], None] | None
) -> Callable[[Sequence[SettledRecord]], None]:
    if then is None:
        return first

    def both(settled: Sequence[SettledRecord]) -> None:
        first(settled)
        then(settled)

    return both


def _late(left: int, timeout: float | None) -> FlushTimeoutError:
    return FlushTimeoutError(f"{left:,} user records have no outcome after {timeout:g} s", left)
