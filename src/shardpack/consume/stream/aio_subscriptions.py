"""Enhanced fan-out in an event loop: as in ``subscriptions.py``, each subscription followed by a task."""

# ruff: noqa: SLF001 - a part of AsyncStreamReader, in a file of its own

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from botocore.eventstream import ParserError
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from ...errors import ShardpackError
from ...transport import BrokenAnswerError
from .aio import errors_of_botocore
from .schedule import Cursor, is_latest
from .subscriptions import BaseSubscriptions, received_of_event

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from .aio import AsyncStreamReader

OTHER_CALLS = 2
"""Connections beside those of subscriptions: one that lists, one that subscribes again."""


class AsyncSubscriptions(BaseSubscriptions):
    """Those of an ``AsyncStreamReader`` with aiobotocore's client."""

    _reader: AsyncStreamReader

    def check(self) -> None:
        """Raise also where the client has fewer connections: the others would wait for ever."""
        super().check()
        reader = self._reader
        assert reader._schedule is not None
        wanted, most = len(reader._schedule.cursors), reader.client.meta.config.max_pool_connections
        if wanted + OTHER_CALLS > most:
            raise ShardpackError(
                f"{reader.stream} has {wanted:,} shards to be read, a connection each: make the client with "
                f"AioConfig(max_pool_connections={wanted + OTHER_CALLS}) or more, it has {most}"
            )

    async def register(self) -> None:
        """Register the consumer, if its name is not, and wait until it is active."""
        reader, steps = self._reader, self._registering()
        try:
            call = next(steps)
            while True:
                if call is None:
                    await reader._wait(1.0)
                    call = next(steps)
                    continue
                name, parameters = call
                try:
                    answer = await reader._call(name, **parameters)
                except (ClientError, BotoCoreError) as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(answer)
        except StopIteration:
            return

    async def follow(self, cursor: Cursor) -> None:
        """Subscribe to a shard and take what comes, until that ends."""
        try:
            await self._follow(cursor)
        except (ClientError, BotoCoreError, BrokenAnswerError) as error:
            self._failed(cursor, error)

    async def _follow(self, cursor: Cursor) -> None:
        reader = self._reader
        began = reader._clock.monotonic()
        stream, ahead = self._answered(await reader._call("subscribe_to_shard", **self._request(cursor)))
        try:
            if is_latest(cursor.position):
                await asyncio.to_thread(reader._begin_now, cursor, time.time() + ahead)
            any_came = False
            async with aclosing(events_of(stream)) as events:
                async for event in events:
                    any_came = True
                    received = received_of_event(cursor, event)
                    while not reader._is_over() and not self._has_room(received):
                        await reader._wait(None)
                    if reader._is_over():
                        return
                    over = self._take(cursor, event, received, time.time() + ahead)
                    reader._wake()
                    if over:
                        return
        finally:
            stream.close()
        self._ended(cursor, began, any_came=any_came)


async def events_of(stream: Any) -> AsyncGenerator[Mapping[str, Any], None]:
    """Yield the events of a subscription; a connection that breaks is botocore's error, as in other calls."""
    try:
        with errors_of_botocore():
            async for event in stream:
                if "SubscribeToShardEvent" in event:
                    yield event["SubscribeToShardEvent"]
    except (ParserError, OSError) as error:
        raise HTTPClientError(error=error) from error
