"""Processor time by stage, without a hook in the library: threads have clocks of their own, and calls have events.

Within a call botocore's documented events lie between the stages, so whoever listens to them first and last can read
the thread's clock there. That is a dozen readings for a request of thousands of user records.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from .row import CannotMeasureError

BOTO3 = "boto3's own"

# What has gone by when an event is told of, first of all its listeners or last: the library's are in between.
PUT_RECORDS = (
    ("before-parameter-build", "first", "body"),
    ("before-parameter-build", "last", "body"),
    ("before-call", "first", BOTO3),
    ("before-call", "last", "body"),
    ("before-sign", "first", BOTO3),
    ("before-send", "first", "sign"),
    ("before-parse", "first", "send"),
)
GET_RECORDS = (("before-parse", "first", "receive"),)


class CallMarks:
    """Adds up what the calls of one operation take of their threads, by stage.

    Listen before anybody else does, then ``listen_last``.
    """

    def __init__(self, client: Any, operation: str, marks: tuple[tuple[str, str, str], ...], last: str) -> None:
        self.nanoseconds: Counter[str] = Counter()
        self.calls = 0
        self.hashes = False
        """Whether each body is hashed once more, just before boto3 does: timed apart, but the call takes longer."""
        self.hashed = 0
        self._events = client.meta.events
        self._operation, self._marks, self._last = operation, marks, last
        self._before = threading.local()
        self._lock = threading.Lock()
        self._listen("first")
        self._events.register_last(f"before-sign.kinesis.{operation}", self._hash)

    def listen_last(self) -> None:
        """Listen after whoever has been told of the client meanwhile."""
        self._listen("last")

    def _listen(self, place: str) -> None:
        register = getattr(self._events, f"register_{place}")
        for event, where, stage in self._marks:
            if where == place:
                register(f"{event}.kinesis.{self._operation}", partial(self._mark, stage))

    @contextmanager
    def call(self) -> Iterator[None]:
        """Mark where a call begins and ends."""
        self._before.at = time.thread_time_ns()
        try:
            yield
            self._mark(self._last)
        finally:
            del self._before.at
        with self._lock:
            self.calls += 1

    def reset(self) -> None:
        with self._lock:
            self.nanoseconds.clear()
            self.calls = self.hashed = 0

    def _mark(self, stage: str, **_: Any) -> None:
        before = getattr(self._before, "at", None)
        if before is None:  # a call that nobody asked about
            return
        now = time.thread_time_ns()
        with self._lock:
            self.nanoseconds[stage] += now - before
        self._before.at = time.thread_time_ns()

    def _hash(self, request: Any, **_: Any) -> None:
        if self.hashes and hasattr(self._before, "at"):
            taken = timed(lambda: hashlib.sha256(request.data))
            with self._lock:
                self.hashed += taken
            self._before.at = time.thread_time_ns()


class ThreadClocks:
    """What the threads of this process have taken since this was made, by how their names begin."""

    def __init__(self) -> None:
        if not hasattr(time, "pthread_getcpuclockid"):
            raise CannotMeasureError("this system has no clocks of threads")
        self._before = self._now()

    @staticmethod
    def _now() -> dict[tuple[str, int], int]:
        return {
            (thread.name, thread.ident): time.clock_gettime_ns(time.pthread_getcpuclockid(thread.ident))
            for thread in threading.enumerate()
            if thread.ident is not None
        }

    def nanoseconds(self, prefix: str) -> int:
        now = self._now()
        return sum(taken - self._before.get(thread, 0) for thread, taken in now.items() if thread[0].startswith(prefix))


def repeat(work: Callable[[], object], seconds: float) -> None:
    """Do something for so long, and three times at least."""
    until = time.perf_counter() + seconds
    times = 0
    while times < 3 or time.perf_counter() < until:
        work()
        times += 1


def least(work: Callable[[], int], seconds: float) -> int:
    """Do something for so long, and return the least of what it returned."""
    found: list[int] = []
    repeat(lambda: found.append(work()), seconds)
    return min(found)


def timed(work: Callable[[], object]) -> int:
    """Return the nanoseconds that something takes of this thread."""
    began = time.thread_time_ns()
    work()
    return time.thread_time_ns() - began
