"""Drop-ins for other libraries."""

from __future__ import annotations

import sys
from importlib import import_module

__all__ = ["install"]

ORIGINAL = "aws_kinesis_agg"
MODULES = ("", ".deaggregator", ".aggregator")


def install() -> None:
    """Make ``import aws_kinesis_agg`` resolve to ``shardpack.compat.aws_kinesis_agg`` in this process.

    To be called before anything imports the original, which need not be installed; again does nothing. Its generated
    protobuf modules (``messages_pb2``, ``config_pb2``) have no counterpart: importing them raises
    ``ModuleNotFoundError``. Raises ``RuntimeError``, and changes nothing, when the original was imported already: code
    that took names from it would go on with them.
    """
    ours = {ORIGINAL + name: import_module(f".{ORIGINAL}{name}", __name__) for name in MODULES}
    for name, module in list(sys.modules.items()):  # others may import meanwhile
        is_part = name == ORIGINAL or name.startswith(f"{ORIGINAL}.")
        if is_part and module is not None and module is not ours.get(name):
            raise RuntimeError(f"{name} was imported before shardpack.compat.install(): call that first")
    sys.modules.update(ours)
