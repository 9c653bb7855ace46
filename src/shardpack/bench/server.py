"""Servers that are measured against: each a module run in a process of its own, which ends with whoever started it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .interleave import CORES, on_cores


@contextmanager
def served_elsewhere(module: str, *arguments: str) -> Iterator[int]:
    """Run a module that prints its port, on another core than who is measured where there are two. Yields the port."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with on_cores(CORES[:1]):
        process = subprocess.Popen(  # noqa: S603 (our own)
            [sys.executable, "-m", module, *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()  # which ends it
            process.stdout.close()


def until_parent_ends(port: int) -> None:
    """Print the port, and wait until whoever started this process is gone, or wants it no longer."""
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    sys.stdin.read()
