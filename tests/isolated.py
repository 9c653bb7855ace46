"""Python code in a process of its own: for what would take the test run with it if it went wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=_with_tests(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def python_with_pipes(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start Python to write to and to read from."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=_with_tests(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _with_tests(environment: dict[str, str]) -> dict[str, str]:
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **environment}


def run(code: str, **environment: str) -> str:
    """Run ``code`` to its good end; return what it printed."""
    done = python("-X", "faulthandler", "-c", code, **environment)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout
