"""Who makes a producer's calls, and brings their answers: threads, or the event loop of a client whose calls are
coroutines. What is called, when, and how many at once, is the pump's alone.
"""

from __future__ import annotations

import os
import threading
from asyncio import AbstractEventLoop, CancelledError, Task
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol

from .entries import CallError, Fault
from .faults import call_error

LOOP_ENDED = "EventLoopEnded"
"""The error code of what no event loop is there for any more."""

Tell = Callable[[Callable[[float], None]], None]
"""Have something done by the pump, with the time."""

Answered = Callable[[Any, float], None]
Failed = Callable[[CallError, float], None]


class Callers(Protocol):
    """Make calls for a pump."""

    def submit(self, call: Callable[[], Any], answered: Answered, failed: Failed) -> None:
        """Make a call. The pump is told once: what to do with the answer, or with the error. Does not raise."""
        ...

    def look(self, *, closing: bool = False) -> float | None:
        """Tell of calls that will never have an answer. Returns the seconds until the next look; ``None`` for none.

        ``closing``: who could make calls has to be there now.
        """
        ...

    def stop(self) -> None:
        """Make no call any more."""
        ...


class Hands:
    """Up to ``most`` threads, which are started as they are needed; of one producer, or of many.

    They are daemons: what is left at the end is the producer's to wait for. Not an executor of ``concurrent.futures``:
    those end before ``atexit`` has run, and a producer that still holds records delivers them there.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = 0
        self._free = threading.Semaphore(0)  # threads that wait for a task
        self._starting = threading.Lock()

    def do(self, task: Callable[[], None]) -> None:
        """Do it on a thread; later where all are busy.

        Where no thread can be started (an interpreter that ends starts none), those that there are have to do. If there
        is none, it is done here.
        """
        if not self._free.acquire(blocking=False):
            with self._starting:
                if self._threads < self._most:
                    name = f"shardpack-call-{self._threads + 1}"
                    try:
                        threading.Thread(target=self._run, name=name, daemon=True).start()
                    except RuntimeError:
                        if not self._threads:
                            task()
                            return
                    else:
                        self._threads += 1
        self._tasks.put(task)

    def stop(self) -> None:
        """Let each thread end when it has done what it does."""
        for _ in range(self._threads):
            self._tasks.put(None)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
            del task  # while it waits, it holds nothing
            self._free.release()


class Threads:
    """Make calls that block, each on a thread."""

    def __init__(self, hands: Hands, tell: Tell, *, shared: bool = False) -> None:
        self._hands, self._tell, self._shared = hands, tell, shared

    def submit(self, call: Callable[[], Any], answered: Answered, failed: Failed) -> None:
        """Make it on a thread."""
        self._hands.do(partial(self._make, call, answered, failed))

    def look(self, *, closing: bool = False) -> float | None:  # noqa: ARG002
        """A thread always comes back."""
        return None

    def stop(self) -> None:
        """Let threads end, unless others have calls for them."""
        if not self._shared:
            self._hands.stop()

    def _make(self, call: Callable[[], Any], answered: Answered, failed: Failed) -> None:
        try:
            self._tell(partial(answered, call()))
        except BaseException as error:  # noqa: BLE001 - whatever a client raises is an outcome of its records
            self._tell(partial(failed, call_error(error)))


@dataclass(slots=True, eq=False)
class _Call:
    make: Callable[[], Coroutine[Any, Any, Any]]
    answered: Answered
    failed: Failed
    begun: bool = False
    task: Task[None] | None = None
    told: bool = False


class TasksOfLoop:
    """Make calls that are coroutines, each a task of an event loop, which may be on any thread.

    A task that is cancelled may have stored what it carried, as one whose answer was lost. Once the loop is closed no
    call can be made: all that waits is given up, and what was under way may have been stored.
    """

    LOOK_S = 1.0
    """How often it is looked whether the loop still is, while calls are under way: no loop says that it is closed."""

    def __init__(self, loop: AbstractEventLoop, tell: Tell) -> None:
        self._loop = loop
        self._tell = tell
        self._under_way: dict[_Call, None] = {}  # only the pump changes it: what it is told first of a call holds
        self._to_begin: deque[_Call] = deque()  # the loop's
        self._ended = False
        self._process = os.getpid()

    def submit(self, call: Callable[[], Any], answered: Answered, failed: Failed) -> None:
        """Make it a task, once the loop gets to it."""
        each = _Call(call, answered, failed)
        self._under_way[each] = None
        try:
            if not self._ended:
                self._loop.call_soon_threadsafe(self._take, each)
        except RuntimeError:  # it is closed
            self._ended = True
        if self._ended:
            self._give_up(each)

    def look(self, *, closing: bool = False) -> float | None:
        """Give up what is under way if the loop was closed meanwhile; or, for good, if it does not run now."""
        self._ended = self._ended or self._loop.is_closed() or (closing and not self._loop.is_running())
        if self._ended:
            for each in self._under_way:
                self._give_up(each)
        return self.LOOK_S if self._under_way else None

    def stop(self) -> None:
        """Cancel what is under way: it has its outcome."""
        self._ended = True
        for each in self._under_way:
            self._cancel(each)
        self._under_way.clear()

    # --- in the loop ---

    def _take(self, each: _Call) -> None:
        self._to_begin.append(each)
        if len(self._to_begin) == 1:
            self._loop.call_soon(self._begin_next)

    def _begin_next(self) -> None:
        """Begin one call in a turn of the loop: its body takes milliseconds, and others want their turn in between."""
        each = self._to_begin.popleft()
        if self._to_begin:
            self._loop.call_soon(self._begin_next)
        self._begin(each)

    def _begin(self, each: _Call) -> None:
        each.begun = True  # who has it ended looks at this after that, and here it is the other way round
        if not self._ended and os.getpid() == self._process:  # a loop that was forked has the turns of the parent's
            each.task = self._loop.create_task(self._make(each), name="shardpack-call")
            each.task.add_done_callback(partial(self._done, each))

    async def _make(self, each: _Call) -> None:
        try:
            self._answer(each, partial(each.answered, await each.make()))
        except BaseException as error:  # whatever a client raises is an outcome of its records
            self._answer(each, partial(each.failed, call_error(error)))
            if not isinstance(error, Exception):
                raise

    def _done(self, each: _Call, _task: Task[None]) -> None:
        """A task that is cancelled before its first step has sent nothing."""
        if not each.told:
            error = CallError(Fault.TRANSIENT, CancelledError.__name__, "the call was cancelled before it began")
            self._answer(each, partial(each.failed, error))

    def _answer(self, each: _Call, what: Callable[[float], None]) -> None:
        self._tell(partial(self._on_answer, each, what))
        each.told = True

    # --- by the pump ---

    def _give_up(self, each: _Call) -> None:
        message = "the event loop that makes the calls has ended"
        error = CallError(Fault.FATAL, LOOP_ENDED, message, maybe_stored=each.begun)
        self._answer(each, partial(each.failed, error))
        self._cancel(each)

    def _cancel(self, each: _Call) -> None:
        """Have no call go on that has its outcome. One that begins this moment does, and was told to have begun."""
        if each.task is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(each.task.cancel)

    def _on_answer(self, each: _Call, what: Callable[[float], None], now: float) -> None:
        if each in self._under_way:
            del self._under_way[each]
            what(now)
