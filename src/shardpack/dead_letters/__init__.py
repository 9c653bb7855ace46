"""Dead letters: user records that a producer or a consumer gave up, where they are kept, and how they are sent again.

The names are loaded when they are first used. ``S3DeadLetters``, ``KinesisDeadLetters`` and ``drain`` need the extra
``stream``.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .letter import CallbackDeadLetters, DeadLetter, DeadLetterError, DeadLetterSink, DeadLetterStore
    from .redriving import Redriven, Refusal, one_by_one, redrive
    from .remote.draining import Drained, drain
    from .remote.kinesis import KinesisDeadLetters
    from .remote.s3 import S3DeadLetters
    from .sqlite import SQLiteDeadLetters, Tally

__all__ = [
    "CallbackDeadLetters",
    "DeadLetter",
    "DeadLetterError",
    "DeadLetterSink",
    "DeadLetterStore",
    "Drained",
    "KinesisDeadLetters",
    "Redriven",
    "Refusal",
    "S3DeadLetters",
    "SQLiteDeadLetters",
    "Tally",
    "drain",
    "one_by_one",
    "redrive",
]

_MODULES = {
    "CallbackDeadLetters": "letter",
    "DeadLetter": "letter",
    "DeadLetterError": "letter",
    "DeadLetterSink": "letter",
    "DeadLetterStore": "letter",
    "Drained": "remote.draining",
    "KinesisDeadLetters": "remote.kinesis",
    "Redriven": "redriving",
    "Refusal": "redriving",
    "S3DeadLetters": "remote.s3",
    "SQLiteDeadLetters": "sqlite",
    "Tally": "sqlite",
    "drain": "remote.draining",
    "one_by_one": "redriving",
    "redrive": "redriving",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = globals()[name] = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(f"{__name__}.remote"):
            raise
        raise ImportError(f"{__name__}.{name} needs pip install 'shardpack[stream]'") from None
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
