"""Objects as data of user records. JSON and msgpack tell themselves apart by the first byte.

No text of JSON begins with a byte of 80 or above. Of msgpack only the numbers 0 to 127 do not; those are written as
``CC`` and a byte, which is msgpack too.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ObjectError, PayloadError, abridged
from .payload import MAGIC

if TYPE_CHECKING:
    from .._native.deaggregate import UserRecord

MAX_DEPTH = 256
"""So deep may lists and dicts of an object lie in one another."""

NAMES = ("json", "msgpack", "raw")


class Codec(Protocol):
    """What makes data of objects and objects of data. Any thread may call it. ``json`` and others are such.

    It raises ``ValueError`` or ``TypeError`` for what it cannot do.
    """

    def encode(self, obj: Any) -> bytes:
        """Return the data of an object."""
        ...

    def decode(self, data: bytes) -> Any:
        """Return the object of some data."""
        ...


class Raw:
    """Bytes as they are."""

    def encode(self, obj: Any) -> bytes:
        return obj if type(obj) is bytes else bytes(memoryview(obj))

    def decode(self, data: bytes) -> bytes:
        return data


def codec_of(given: Codec | str) -> Codec:
    """Return a codec, which may be named: ``json``, ``msgpack`` or ``raw``.

    Raises ``ValueError`` or ``TypeError`` for what is none, ``ImportError`` for msgpack where it is not installed.
    """
    if isinstance(given, str):
        if given not in NAMES:
            raise ValueError(f"codec is one of {', '.join(NAMES)}, or has encode() and decode(); not {given!r}")
        if given == "raw":
            return Raw()
        found: Codec = import_module(f".{given}_objects", __package__).CODEC
        return found
    if not (callable(getattr(given, "encode", None)) and callable(getattr(given, "decode", None))):
        raise TypeError(f"codec is one of {', '.join(NAMES)}, or has encode() and decode(); not {abridged(given)}")
    return given


def encoder_of(given: Codec | str) -> Callable[[Any, Any], bytes]:
    """Return what makes the data of an object that is put with a key. Its errors name the key. Raises as `codec_of`."""
    codec = (
        None if given == "json" else codec_of(given)
    )  # which is there, and need not be loaded by those who put bytes

    def encoded(key: Any, obj: Any) -> bytes:
        nonlocal codec
        if codec is None:
            codec = codec_of(given)
        try:
            return codec.encode(obj)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise ObjectError(f"object of key {abridged(key)}: {error or type(error).__name__}") from error

    return encoded


def object_of(record: UserRecord, codec: Codec | str | None = None) -> Any:
    """Return the object in a user record's data."""
    return object_in(record.data, None if codec is None else codec_of(codec), record)


def object_in(data: bytes, codec: Codec | None, record: UserRecord | bytes) -> Any:
    """Return the object in some data, as a user record has them. Raises ``ObjectError``, which names the record."""
    try:
        return (codec or _codec_by(data)).decode(data)
    except PayloadError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        place = getattr(record, "sequence_number", None)
        named = "" if isinstance(record, bytes) else f" of key {abridged(record.partition_key)}"
        named += "" if place is None else f" at {place}/{record.sub_sequence_number}"  # type: ignore[union-attr]
        reason = str(error) or type(error).__name__
        raise ObjectError(f"data of {len(data):,} bytes{named} are no object: {reason}") from error


def _codec_by(data: bytes) -> Codec:
    """Return the codec that the first byte tells."""
    if data.startswith(MAGIC):
        raise PayloadError("a compressed payload: shardpack.codec.PayloadReader reads it")
    return codec_of("json" if not data or data[0] < 0x80 else "msgpack")


def base_of(value: Any, form: str) -> str | int | float:
    """Return a value of an enumeration, say, as the plain one it is. Raises ``TypeError`` for others."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise TypeError(f"{type(value).__name__} has no form in {form}: {abridged(value)}")


def in_utc(time: datetime) -> datetime:
    """Return a time as one in UTC. Raises ``ValueError`` for one without a zone, or finer than a microsecond."""
    if time.utcoffset() is None:
        raise ValueError(f"{time} has no time zone")
    date = (time.year, time.month, time.day)
    plain = datetime(*date, time.hour, time.minute, time.second, time.microsecond, tzinfo=time.tzinfo, fold=time.fold)
    if plain != time:
        raise ValueError(f"{time} is finer than a microsecond")
    return plain.astimezone(timezone.utc)
