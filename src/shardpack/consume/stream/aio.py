"""``AsyncStreamReader``: a stream reader for event loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from ...errors import ShardpackError
from ...transport import BrokenAnswerError, has_coroutines
from ...transport.list_shards import list_all_shards, list_all_shards_async
from ..reading import read_records, read_records_async
from .base import BaseReader
from .batch import StreamBatch
from .schedule import Cursor, ListCall, is_latest

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..._native.deaggregate import UserRecord
    from .aio_subscriptions import AsyncSubscriptions

CLOSE_SECONDS = 5.0


class AsyncStreamBatch(StreamBatch):
    """A ``StreamBatch`` whose ``checkpoint`` is awaited."""

    __slots__ = ()

    async def checkpoint(self, record: UserRecord | None = None) -> None:  # type: ignore[override]
        """Do as ``StreamBatch.checkpoint``, in a thread. One that is cancelled may be kept or not."""
        await asyncio.to_thread(super().checkpoint, record)


class AsyncStreamReader(BaseReader):
    """Read a stream in an event loop, as ``StreamReader`` does; batches are iterated over with ``async for``.

        async with AsyncStreamReader("telemetry", client=client) as reader:
            async for batch in reader:
                await handle(batch.records)
                await batch.checkpoint()

    Options, bounds, order, failures and errors are those of ``StreamReader``. ``client`` is aiobotocore's, whose calls
    are tasks of the loop, or boto3's, whose calls the loop's default threads make; so are the calls of checkpoint
    stores. ``mode="fan-out"`` takes aiobotocore's alone, made with a connection for each shard and two more:
    ``AioConfig(max_pool_connections=…)``. It is one event loop's, and one task iterates; a task that is cancelled
    while it waits for a batch has taken none. ``stop`` may be called by any thread and by signal handlers.
    """

    _batch = AsyncStreamBatch

    def _prepare(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Event | None = None  # set, and replaced, whenever something did
        self._opening: asyncio.Task[None] | None = None
        self._background: list[asyncio.Task[None]] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._coroutines = has_coroutines(self.client)
        self._subscriptions: AsyncSubscriptions | None = None
        self._followed: set[asyncio.Task[None]] = set()
        if self.consumer is not None:
            from .aio_subscriptions import AsyncSubscriptions  # noqa: PLC0415 - who polls does without

            self._subscriptions = AsyncSubscriptions(self, self.consumer)

    def _refuse(self, client: Any) -> None:
        if self.consumer is not None and not has_coroutines(client):
            raise TypeError(
                'mode="fan-out" of AsyncStreamReader takes a client of aiobotocore; StreamReader takes boto3\'s'
            )

    # --- as its user sees it ---

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except asyncio.CancelledError:
            await asyncio.shield(self.close())
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.shield(self.close())

    def __aiter__(self) -> AsyncIterator[AsyncStreamBatch]:
        return self

    async def __anext__(self) -> AsyncStreamBatch:
        await self._open()
        while True:
            assert self._changed is not None
            assert self._schedule is not None
            changed = self._changed
            with self._lock:
                item = None if self._stopping else self._pop()
                ended = self._stopping or self._schedule.done
            if isinstance(item, AsyncStreamBatch):
                return item
            if item is not None:
                assert not isinstance(item, StreamBatch)
                await asyncio.shield(asyncio.to_thread(self._settle, item))
                continue
            if self._error is not None:
                raise self._error
            if ended:
                raise StopAsyncIteration
            await changed.wait()

    async def close(self) -> None:
        """Stop, wait up to 5 s for calls that are under way, and give up the checkpoints. May be called again."""
        self.stop()
        if self._opening is not None:
            await asyncio.wait({self._opening})
        for task in self._followed:
            task.cancel()  # the next event may be long in coming
        tasks = {*self._background, *self._calls, *self._followed}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
        with self._lock:
            closed, self._closed = self._closed, True
            self._ready.clear()
            self._buffered = 0
        if not closed and self._schedule is not None:
            await asyncio.to_thread(self._store.release)

    # --- tasks of the loop ---

    async def _open(self) -> None:
        if self._closed:
            raise ShardpackError(f"the reader of {self.stream} is closed")
        if self._opening is None:
            self._loop, self._changed = asyncio.get_running_loop(), asyncio.Event()
            self._opening = asyncio.create_task(self._open_now())
        if not self._opening.done() or self._schedule is None:
            await asyncio.shield(self._opening)

    async def _open_now(self) -> None:
        try:
            self._described(await self._call("describe_stream_summary", **self._parameters))
        except (ClientError, BotoCoreError, BrokenAnswerError) as error:
            self._undescribed(error)
        if self._subscriptions is not None:
            await self._subscriptions.register()
        await asyncio.to_thread(self._claim)
        self._background = [asyncio.create_task(self._guarded(self._dispatch))]
        if self._store.renew_s is not None:
            self._background.append(asyncio.create_task(self._guarded(self._renew)))

    async def _guarded(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Do this; an error is raised where somebody iterates."""
        try:
            await work(*arguments)
        except Exception as error:  # noqa: BLE001
            with self._lock:
                self._error = self._error or error
        finally:
            self._wake()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = asyncio.Event()

    def _notify_all(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _notify_room(self) -> None:
        self._wake()

    async def _wait(self, seconds: float | None) -> None:
        assert self._changed is not None
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    async def _dispatch(self) -> None:
        """Begin calls as they are due."""
        schedule = self._schedule
        assert schedule is not None
        while not self._is_over() and not schedule.done:
            with self._lock:
                call = self._next_call() if len(self._calls) < self._calls_wanted else None
            if isinstance(call, Cursor) and self._subscriptions is not None:
                self._called(call)
                task = asyncio.create_task(self._guarded(self._subscriptions.follow, call))
                self._followed.add(task)
                task.add_done_callback(self._followed.discard)
            elif isinstance(call, (ListCall, Cursor)):
                task = asyncio.create_task(self._guarded(self._make, call))
                self._calls.add(task)
                task.add_done_callback(self._made)
            else:
                await self._wait(None if call is None else max(0.0, call - self._clock.monotonic()))

    def _made(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        self._wake()

    async def _make(self, call: ListCall | Cursor) -> None:
        try:
            if isinstance(call, ListCall):
                listing = list_all_shards_async if self._coroutines else list_all_shards
                shards = await self._awaited(listing, self.client, self._parameters)
                await asyncio.to_thread(self._listed, shards)
                if self._subscriptions is not None:
                    self._subscriptions.check()
            else:
                await self._read(call)
        except (ClientError, BotoCoreError, BrokenAnswerError) as error:
            self._failed(call, error)
        finally:
            self._called(call)

    async def _read(self, cursor: Cursor) -> None:
        shard_id = cursor.shard.shard_id
        if cursor.iterator is None:
            where = {**self._parameters, **cursor.iterator_parameters()}
            response = await self._call("get_shard_iterator", ShardId=shard_id, **where)
            if is_latest(cursor.position):
                await asyncio.to_thread(self._began, cursor, response)
            else:
                self._began(cursor, response)
        reading = read_records_async if self._coroutines else read_records
        given = {"shard_id": shard_id, "ShardIterator": cursor.iterator, **self._beside_iterator}
        self._take_reply(cursor, await self._awaited(reading, self.client, **given))

    async def _call(self, name: str, **parameters: Any) -> Any:
        return await self._awaited(getattr(self.client, name), **parameters)

    async def _awaited(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call what is a coroutine with aiobotocore's client, and blocks with another."""
        if not self._coroutines:
            return await asyncio.to_thread(function, *arguments, **named)
        with errors_of_botocore():
            return await function(*arguments, **named)

    async def _renew(self) -> None:
        renew_s = self._store.renew_s
        assert renew_s is not None
        while not self._is_over():
            until = self._clock.monotonic() + renew_s
            while (left := until - self._clock.monotonic()) > 0 and not self._is_over():
                await self._wait(left)
            if not self._is_over():
                await asyncio.to_thread(self._store.renew)


@contextmanager
def errors_of_botocore() -> Iterator[None]:
    """Raise botocore's error for one of a connection that broke in a body, which aiobotocore lets through."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.startswith("aiohttp") or isinstance(error, asyncio.TimeoutError):
            raise HTTPClientError(error=error) from error
        raise
