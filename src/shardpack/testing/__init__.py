"""For tests, ours and users': a Kinesis of one's own, a proxy before it that fails as told, a checker of histories.

The names are loaded when they are first used. ``LocalKinesis`` needs boto3 and a server:
``pip install 'shardpack[demo]'``.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import faults, history
    from .fault_proxy import FaultProxy
    from .local_kinesis import LocalKinesis, LocalKinesisError

__all__ = ["FaultProxy", "LocalKinesis", "LocalKinesisError", "faults", "history"]

_MODULES = {"FaultProxy": "fault_proxy", "LocalKinesis": "local_kinesis", "LocalKinesisError": "local_kinesis"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f".{_MODULES.get(name, name)}", __name__)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"boto3", "botocore"}:
            raise
        raise ModuleNotFoundError(
            f"{__name__}.{name} needs {error.name}: pip install 'shardpack[demo]'", name=error.name
        ) from error
    value = globals()[name] = getattr(module, name) if name in _MODULES else module
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
