"""Something that threads and event loops wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Condition
from time import monotonic
from typing import TypeVar

T = TypeVar("T")


class Signal:
    """Notified when what is asked for may be there now; whoever waits asks again.

    Who notifies never waits for those who wait, and runs no code of theirs.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
            loops, self._loops = self._loops, []
        for loop, event in loops:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # the loop is closed
                continue

    def wait(self, ask: Callable[[], T | None], timeout: float | None = None) -> T | None:
        """Ask until the answer is not ``None``, on a thread. ``None`` after the time."""
        answer = ask()
        if answer is not None or timeout == 0:
            return answer
        deadline = None if timeout is None else monotonic() + timeout
        with self._changed:
            while (answer := ask()) is None:
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    return None
                self._changed.wait(left)
        return answer

    async def wait_in_loop(self, ask: Callable[[], T | None]) -> T:
        """Ask until the answer is not ``None``, in an event loop. Nothing is awaited once it is there."""
        while True:
            answer = ask()
            if answer is not None:
                return answer
            event = asyncio.Event()
            with self._changed:
                answer = ask()
                if answer is not None:
                    return answer
                self._loops.append((asyncio.get_running_loop(), event))
            try:
                await event.wait()
            except BaseException:
                with self._changed:
                    self._loops = [each for each in self._loops if each[1] is not event]
                raise
