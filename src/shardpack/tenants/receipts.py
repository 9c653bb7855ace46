"""The receipt of a tenant's record, which waits for its turn before a producer has it."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import suppress
from time import monotonic
from typing import Any

from ..errors import DeliveryError
from ..producer.pump import Pump
from ..producer.receipts import Outcome, Receipts
from .fair import Flow
from .tenant import Known


class TenantReceipt:
    """The outcome of one user record of a tenant: asked for, waited for, or awaited. As a ``Receipt``.

    ``result`` and ``await`` give an ``Outcome``, or raise ``DeliveryError`` (``RecordExpiredError`` where its time was
    over), whose ``maybe_stored`` says whether the record may be stored all the same.
    """

    __slots__ = (
        "_error",
        "_index",
        "_pump",
        "_receipts",
        "_waiters",
        "data",
        "explicit_hash_key",
        "flow",
        "key",
        "known",
        "number",
        "put_at",
        "size",
    )

    def __init__(self, known: Known, pump: Pump, key: str, data: bytes, explicit_hash_key: Any, *, size: int) -> None:
        self.known, self.key, self.data, self.explicit_hash_key, self.size = known, key, data, explicit_hash_key, size
        self.number = 0
        self.put_at = 0.0
        self.flow: Flow | None = None
        self._pump = pump
        self._receipts: Receipts | None = None
        self._index = 0
        self._error: str | None = None
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] | None = None

    def done(self) -> bool:
        """Whether there is an outcome, of whatever kind."""
        if self._receipts is None:
            return self._error is not None
        return self._receipts[self._index].done()

    def result(self, timeout: float | None = None) -> Outcome:
        """Wait for the outcome. Raises ``TimeoutError`` when there is none after so many seconds."""
        deadline = None if timeout is None else monotonic() + timeout
        if self._receipts is None and self._pump.room.wait(self._ask, timeout) is None:
            raise TimeoutError("the user record has no outcome yet")
        assert self._receipts is not None
        outcome: Outcome = self._receipts[self._index].result(
            None if deadline is None else max(0.0, deadline - monotonic())
        )
        return outcome

    def __await__(self) -> Generator[Any, None, Outcome]:
        return self._wait_in_loop().__await__()

    async def _wait_in_loop(self) -> Outcome:
        while self._ask() is None:
            waiter = asyncio.get_running_loop(), asyncio.Event()
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
            if self._ask() is None:  # nor was it handed over meanwhile
                await waiter[1].wait()
        assert self._receipts is not None
        outcome: Outcome = await self._receipts[self._index]
        return outcome

    def _ask(self) -> bool | None:
        """Whether a producer has it. Raises where none ever will."""
        if self._receipts is None and (self._error is not None or self._pump.ended):
            raise DeliveryError(
                self._error or "the producer ended before it had an outcome", error_code="ProducerEnded"
            )
        return True if self._receipts is not None else None

    # --- whoever hands it over ---

    def handed_over(self, receipts: Receipts | None, index: int) -> None:
        """The producer has it, and what it holds of it."""
        self.key, self.data, self.explicit_hash_key = "", b"", None
        self._index = index
        self._receipts = receipts
        self._wake()

    def refused(self, why: str) -> None:
        """No producer will have it."""
        self._error = why
        self._wake()

    def _wake(self) -> None:
        for loop, event in self._waiters or ():
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(event.set)
        self._waiters = None
