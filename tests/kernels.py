"""Every kernel of a concept in turn, whichever this machine would choose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def in_use(module: ModuleType, name: str) -> Iterator[str]:
    """Force one compiled kernel of ``md5`` or ``base64``, and give back the one that was in use."""
    before = module._kernel()
    module._set_kernel(name)
    try:
        assert module._kernel() == name
        yield name
    finally:
        module._set_kernel(before)
