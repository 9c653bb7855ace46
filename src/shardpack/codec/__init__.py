"""Fewer bytes, and objects: compressed aggregates, payloads with a dictionary, codecs of objects, Glue's header."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import glue
    from .dictionaries import Dictionaries, DictionaryFiles
    from .dictionary import DictionaryCodec, train
    from .objects import Codec
    from .reading import Payload, PayloadReader

__all__ = [
    "Codec",
    "Dictionaries",
    "DictionaryCodec",
    "DictionaryFiles",
    "Payload",
    "PayloadReader",
    "glue",
    "train",
]

_MODULES = {
    "Codec": ".objects",
    "Dictionaries": ".dictionaries",
    "DictionaryCodec": ".dictionary",
    "DictionaryFiles": ".dictionaries",
    "Payload": ".reading",
    "PayloadReader": ".reading",
    "train": ".dictionary",
}


def __getattr__(name: str) -> object:
    if name == "glue":
        return import_module(".glue", __name__)
    if name in _MODULES:
        value = globals()[name] = getattr(import_module(_MODULES[name], __name__), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
