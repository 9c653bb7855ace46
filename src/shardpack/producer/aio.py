"""``AsyncProducer``: a producer for event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from .._native.arrow_in import ArrowRows
from .._native.inbox import Inbox
from .._native.receipt import Receipt
from ..errors import FlushTimeoutError, RecordTooLargeError
from .base import BaseProducer, many
from .pump import Pump
from .receipts import Receipts


class AsyncProducer(BaseProducer):
    """A ``Producer`` whose calls are awaited instead of blocking; receipts can be awaited too.

    The options are the same, and ``client`` may be aiobotocore's, or the ``transport`` one whose methods are
    coroutines: then calls are tasks of the event loop, and otherwise threads make them. It is one event loop's, in
    which it has to be closed. A ``put`` that finds room takes no turn of the loop; one that is cancelled while it waits
    for room has taken nothing, and changes nothing for others. Nothing is handed to another thread record by record.

    Once the loop has ended, calls that are tasks cannot be made: what has no outcome then is given up, and ``close``
    raises ``EventLoopEndedError``, as does a ``put`` in a process that was forked off.
    """

    _awaits = True
    _turn: asyncio.Lock | None = None  # of those that wait for room: the first one asks, the others wait for it

    async def put(
        self, partition_key: str | bytes | None, data: object, explicit_hash_key: int | str | None = None
    ) -> Receipt | Any:
        """Take one user record, as soon as there is room; returns its receipt, or ``None`` with ``receipts=False``.

        Raises as ``Producer.put``; then, or when it was cancelled, the record was not taken.
        """
        receipt: Any = None
        if self._doors:
            partition_key, data, explicit_hash_key = self._through_doors(partition_key, data, explicit_hash_key)
        try:
            if self._inbox is not None and not self._closed and (self._turn is None or not self._turn.locked()):
                receipt = self._inbox.put(partition_key, data, explicit_hash_key)
        except RecordTooLargeError:
            await self._wait_for_limits()
        if receipt is None:
            receipt = await self._when_room(lambda inbox: inbox.put(partition_key, data, explicit_hash_key))
        return None if receipt is True else receipt

    async def put_object(
        self, partition_key: str | bytes | None, obj: object, explicit_hash_key: int | str | None = None
    ) -> Receipt | Any:
        """Take an object as one user record, by the ``codec``; as ``Producer.put_object``."""
        return await self.put(partition_key, self._encode_object(partition_key, obj), explicit_hash_key)

    async def put_many(
        self,
        partition_keys: Iterable[str | bytes | None],
        datas: Iterable[object],
        explicit_hash_keys: Iterable[int | str | None] | None = None,
    ) -> Receipts | Any:
        """Take n user records, all or none; returns their receipts. Waits and raises as ``put``."""
        keys, values = many(partition_keys), many(datas)
        explicit = None if explicit_hash_keys is None else many(explicit_hash_keys)
        keys, values, explicit = self._all_through_doors(keys, values, explicit)
        try:
            taken = await self._when_room(lambda inbox: inbox.put_many(keys, values, explicit))
        except RecordTooLargeError:
            await self._wait_for_limits()
            taken = await self._when_room(lambda inbox: inbox.put_many(keys, values, explicit))
        return self._receipts(taken)

    async def put_arrow(
        self, batch: object, *, key: str | int | None, data: str | int, explicit_hash_key: str | int | None = None
    ) -> Receipts | Any:
        """Take the rows of an Arrow record batch, table or stream, all or none; as ``Producer.put_arrow``.

        A stream is read at once, in the loop.
        """
        self._refuse_arrow()
        rows = ArrowRows(batch, key, data, explicit_hash_key)
        try:
            taken = await self._when_room(lambda inbox: inbox.put_arrow(rows))
        except RecordTooLargeError:
            await self._wait_for_limits()
            taken = await self._when_room(lambda inbox: inbox.put_arrow(rows))
        return self._receipts(taken)

    async def flush(self, timeout: float | None = None) -> None:
        """Return when every user record put before has its outcome, whatever it is.

        Raises ``FlushTimeoutError``, which names how many have none, after ``timeout`` seconds.
        """
        pump = self._pump
        if pump is None:
            return
        try:
            await asyncio.wait_for(pump.settled.wait_in_loop(pump.flushing()), timeout)
        except asyncio.TimeoutError:
            left = pump.unsettled
            raise FlushTimeoutError(f"{left:,} user records have no outcome after {timeout:g} s", left) from None

    async def close(self) -> None:
        """Deliver what is there, within ``close_timeout_s``; what is left then is settled as not stored, or unknown."""
        await asyncio.to_thread(self._stop)

    async def __aenter__(self) -> AsyncProducer:
        await self._begun()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await asyncio.shield(self.close())

    async def _begun(self) -> Pump:
        """Begin in this loop. A client may have to be made, which takes its time."""
        if self._pump is None:
            self._loop = asyncio.get_running_loop()
        return await asyncio.to_thread(self._started)

    async def _wait_for_limits(self) -> None:
        await self._begun()
        told = self._limits_told()
        assert self._pump is not None
        await self._pump.room.wait_in_loop(told)

    async def _when_room(self, put: Callable[[Inbox], Any]) -> Any:
        self._check_open()
        pump = self._pump
        if pump is None:
            pump = await self._begun()
        if self._turn is None:
            self._turn = asyncio.Lock()
        async with self._turn:
            return await pump.room.wait_in_loop(self._asking(pump, lambda: put(pump.inbox)))
