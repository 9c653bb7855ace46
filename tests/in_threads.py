"""One call from many threads at once."""

from __future__ import annotations

import threading


def in_threads(count, call):
    """Return what ``call`` returned in each; they start together."""
    barrier, out = threading.Barrier(count), []

    def run():
        barrier.wait()
        out.append(call())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(out) == count
    return out
