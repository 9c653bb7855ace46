"""Objects as JSON, by orjson or msgspec where one is there, with one result whichever it is.

A time is ``{"$time": "2026-01-02T03:04:05.000006+00:00"}``, bytes are ``{"$bytes": "base64"}``; an object of the user's
own with just such a key has one ``$`` more there.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import datetime
from math import isfinite
from operator import is_
from typing import Any

from ..errors import abridged
from .objects import MAX_DEPTH, base_of, in_utc

_AS_IT_IS = {str, bool, int, type(None)}
_TAG = re.compile(r"\$+(?:time|bytes)").fullmatch

_DIGITS = bytes(0x30 if byte in b"0123456789" else 0x20 for byte in range(256))
_LONG = b"0" * 19


def _is_common(data: bytes) -> bool:
    """Whether all libraries read some JSON alike: without long numbers, tags and escapes, that is.

    Of whole numbers beyond 64 bits some make floats; tags may be escaped, and so may halves of characters.
    """
    return not (
        (b"$" in data and b'"$' in data) or (b"\\" in data and b"\\u" in data) or _LONG in data.translate(_DIGITS)
    )


def _fast() -> tuple[Callable[[Any], bytes] | None, Callable[[bytes], Any] | None]:
    try:
        import orjson  # noqa: PLC0415 - one of them, if it is there
    except ImportError:
        pass
    else:
        return orjson.dumps, orjson.loads
    try:
        import msgspec  # noqa: PLC0415
    except ImportError:
        return None, None
    return msgspec.json.encode, msgspec.json.decode


class Json:
    """JSON, and in it times and bytes. Any thread may use it."""

    def __init__(self) -> None:
        self._dumps, self._loads = _fast()

    def encode(self, obj: Any) -> bytes:
        """Return UTF-8. Raises ``ValueError`` or ``TypeError`` for what would not come back as it was."""
        plain = _plain(obj, MAX_DEPTH)
        if self._dumps is not None:
            try:
                return self._dumps(plain)
            except (TypeError, ValueError, OverflowError):  # a number of more than 64 bits, perhaps
                pass
        return _encode(plain).encode()

    def decode(self, data: bytes) -> Any:
        """Return the object. Raises ``ValueError`` or ``RecursionError``."""
        if self._loads is not None and _is_common(data):
            return self._loads(data)
        return _decode(data.decode())


CODEC = Json()


def _plain(value: Any, depth: int) -> Any:
    """Return what JSON has of a value: the value itself, where nothing of it is written otherwise."""
    kind = type(value)
    if kind in _AS_IT_IS:
        return value
    if kind is float:
        if not isfinite(value):
            raise ValueError(f"{value} is no number of JSON: msgpack has it")
        return value
    if not depth:
        raise ValueError(f"it is more than {MAX_DEPTH} lists and dicts deep, or holds itself")
    return _plain_dict(value, depth - 1) if isinstance(value, dict) else _plain_other(value, depth - 1)


def _plain_other(value: Any, depth: int) -> Any:
    if isinstance(value, (list, tuple)):
        found = [_plain(each, depth) for each in value]
        same = type(value) is list and all(map(is_, found, value))
        return value if same else found
    if isinstance(value, datetime):
        return {"$time": in_utc(value).isoformat()}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$bytes": b64encode(value).decode()}
    return _plain(base_of(value, "JSON"), depth)


def _plain_dict(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    changed: dict[Any, Any] | None = None if type(value) is dict else dict(value)
    for key, each in value.items():
        if type(key) is not str:
            raise TypeError(f"JSON has strings for keys, and none that is {type(key).__name__}: {abridged(key)}")
        if type(each) not in _AS_IT_IS:
            found = _plain(each, depth)
            if found is not each:
                if changed is None:
                    changed = dict(value)
                changed[key] = found
    found_dict: dict[str, Any] = value if changed is None else changed
    if len(value) == 1:
        [(key, each)] = found_dict.items()
        if _TAG(key):
            return {"$" + key: each}
    return found_dict


def _restored(found: dict[str, Any]) -> Any:
    if len(found) == 1:
        [(name, value)] = found.items()
        if name[:1] == "$" and _TAG(name):
            if name[1] == "$":
                return {name[1:]: value}
            if not isinstance(value, str):
                raise ValueError(f"{name} of {abridged(value)} is none")
            if name == "$bytes":
                return b64decode(value, validate=True)
            time = datetime.fromisoformat(value)
            if time.utcoffset() is None:
                raise ValueError(f"$time of {abridged(value)} has no time zone")
            return time
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text:.40} is too large for a float")
    return number


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")).encode
_decode = json.JSONDecoder(object_hook=_restored, parse_float=_finite, parse_constant=_refuse).decode
