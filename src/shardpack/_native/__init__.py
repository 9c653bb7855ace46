"""The native core: checks, buffers, references and exceptions over csrc/; no algorithms.

A module per concept, all of them in one extension file (why one: setup.py), where the finder below finds them.
"""

from __future__ import annotations

import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec, PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType


class _OneFile:
    """Finds each module of this package in the one extension file, by its ``PyInit_name``."""

    def __init__(self, path: str) -> None:
        self._path = path

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer for this package alone; a name that is not in the file is an ``ImportError`` of its loader."""
        if fullname.rpartition(".")[0] != __name__:
            return None
        spec = ModuleSpec(fullname, ExtensionFileLoader(fullname, self._path), origin=self._path)
        spec.has_location = True
        return spec


def _extension_file() -> str:
    spec = PathFinder.find_spec(f"{__name__}._modules", __path__)
    if spec is None or spec.origin is None:
        raise ImportError(
            f"the native core of shardpack is not built in {__path__[0]} for this Python: install a wheel, "
            "or `python setup.py build_ext --inplace` in a checkout"
        )
    return spec.origin


sys.meta_path.insert(0, _OneFile(_extension_file()))  # first: files that an older build left are not taken
