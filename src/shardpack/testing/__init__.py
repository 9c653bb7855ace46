"""For tests, ours and users': ``LocalKinesis``, a Kinesis of one's own on a loopback port.

Its names are loaded when they are first used; they need boto3 and a server: ``pip install 'shardpack[demo]'``.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .local_kinesis import LocalKinesis, LocalKinesisError

__all__ = ["LocalKinesis", "LocalKinesisError"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(".local_kinesis", __name__)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"boto3", "botocore"}:
            raise
        raise ModuleNotFoundError(
            f"{__name__}.{name} needs {error.name}: pip install 'shardpack[demo]'", name=error.name
        ) from error
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
