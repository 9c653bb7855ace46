"""Threads that make a producer's calls. They are daemons: what is left at the end is the producer's to wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any


class Callers:
    """Run functions on up to ``most`` threads, which are started as they are needed.

    Not an executor of ``concurrent.futures``: those end before ``atexit`` has run, and a producer that still holds
    records delivers them there.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._tasks: SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None] = SimpleQueue()
        self._threads = 0
        self._free = threading.Semaphore(0)  # threads that wait for a task

    def submit(self, function: Callable[..., None], *arguments: Any) -> None:
        """Run it on a thread; later where all are busy. It must not raise.

        Where no thread can be started (an interpreter that ends starts none), those that there are have to do. If there
        is none, it is run here.
        """
        if not self._free.acquire(blocking=False) and self._threads < self._most:
            try:
                threading.Thread(target=self._run, name=f"shardpack-call-{self._threads + 1}", daemon=True).start()
            except RuntimeError:
                if not self._threads:
                    function(*arguments)
                    return
            else:
                self._threads += 1
        self._tasks.put((function, arguments))

    def stop(self) -> None:
        """Let each thread end when it has done what it does."""
        for _ in range(self._threads):
            self._tasks.put(None)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            function, arguments = task
            function(*arguments)
            del task, function, arguments  # while it waits, it holds nothing
            self._free.release()
