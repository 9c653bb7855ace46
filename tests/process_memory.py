"""How much memory this process has: not ``getrusage``, whose peak a process inherits from the one that began it."""

from __future__ import annotations

import gc
from pathlib import Path


def memory(name: str = "VmRSS") -> int:
    """Return bytes: ``VmRSS`` of now, ``VmHWM`` the most that it was."""
    gc.collect()
    with Path("/proc/self/status").open() as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))
