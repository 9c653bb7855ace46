"""The native tests against the package that is installed: run by cibuildwheel and by `make dist-check`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import shardpack

TESTS = Path(__file__).resolve().parent


def files() -> list[Path]:
    """Those that have native tests and need the core wheel alone: `shardpack.testing` is in that of the tools."""
    texts = {path: path.read_text() for path in sorted(TESTS.glob("test_*.py"))}
    return [path for path, text in texts.items() if "pytest.mark.native" in text and "shardpack.testing" not in text]


if __name__ == "__main__":
    place = Path(shardpack.__file__)
    if "site-packages" not in place.parts and "dist-packages" not in place.parts:
        sys.exit(f"shardpack is not installed: it comes from {place.parent}")
    sys.stdout.write(f"{sys.version}\n{place.parent}\n")
    sys.exit(pytest.main(["-m", "native", "-p", "no:cacheprovider", *sys.argv[1:], *map(str, files())]))
