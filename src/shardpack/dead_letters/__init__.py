"""Dead letters: user records that a producer or a consumer gave up, where they are kept, and how they are sent again.

The names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .letter import DeadLetter, DeadLetterError, DeadLetterSink
    from .redriving import Redriven, Refusal, redrive
    from .sqlite import SQLiteDeadLetters, Tally

__all__ = [
    "DeadLetter",
    "DeadLetterError",
    "DeadLetterSink",
    "Redriven",
    "Refusal",
    "SQLiteDeadLetters",
    "Tally",
    "redrive",
]

_MODULES = {
    "DeadLetter": "letter",
    "DeadLetterError": "letter",
    "DeadLetterSink": "letter",
    "Redriven": "redriving",
    "Refusal": "redriving",
    "SQLiteDeadLetters": "sqlite",
    "Tally": "sqlite",
    "redrive": "redriving",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
