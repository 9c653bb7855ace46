"""A thread that computes in plain Python, as another part of a program does beside its producer or its consumer.

It never gives up the GIL before it is asked to, which is after the switch interval: 5 ms unless a program changes it.
So whoever lets go of the GIL waits that long to get it back, and whoever runs Python code has half of it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .interleave import CORES

NAME = "busy"


class BusyThread(threading.Thread):
    """Counts its laps for as long as it is wanted: on a core of its own, where there are two."""

    def __init__(self) -> None:
        super().__init__(name=NAME, daemon=True)
        self.laps = 0
        self.wanted = True
        self.running = threading.Event()

    def run(self) -> None:
        if CORES:
            os.sched_setaffinity(0, CORES[:1])  # this thread's; the one that measures is on the last: see one_core
        self.running.set()
        while self.wanted:
            self.laps += 1


@contextmanager
def beside_busy_thread() -> Iterator[BusyThread]:
    """Have a busy thread run from before the block until after it, however the block ends."""
    thread = BusyThread()
    thread.start()
    try:
        thread.running.wait()
        yield thread
    finally:
        thread.wanted = False
        thread.join()
