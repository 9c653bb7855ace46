"""Keys made of several parts, and short keys made of long ones."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any

from ..errors import InvalidPartitionKeyError, abridged
from .strategy import Key, Many

HASHED_CHARACTERS = 24


def hashed(key: str | bytes) -> str | bytes:
    """Return a key of at most 24 characters: a key of fewer than 24 itself, any other hashed.

    The hash is the URL-safe base64 of the first 18 bytes of the SHA-256 of the key's UTF-8: 24 characters, the same
    everywhere. Nobody can find two keys with one hash, as they can with MD5. Keys may be longer than 256 characters.
    The shard is that of the MD5 of the new key, as for any key: another one than the long key would have. Consumers see
    the short key; what they need of the long one has to be in the data.
    """
    if len(key) < HASHED_CHARACTERS:
        return key
    try:
        text = key.encode() if isinstance(key, str) else key
    except UnicodeEncodeError as error:
        raise InvalidPartitionKeyError(
            f"partition key {abridged(key, 24)} has a lone surrogate at character {error.start}"
        ) from None
    return urlsafe_b64encode(sha256(text).digest()[:18]).decode()


class Hashed:
    """A key strategy that makes long keys short: see ``hashed``. Any thread may use it."""

    def __call__(self, key: Any, data: Any) -> Key:  # noqa: ARG002
        """Return the key to put a user record with."""
        return None if key is None else hashed(key)

    def many(self, keys: Sequence[Any], datas: Sequence[Any]) -> Many:  # noqa: ARG002
        """Return the keys to put user records with; each different key is hashed once."""
        made = {key: None if key is None else hashed(key) for key in set(keys)}
        return [made[key] for key in keys], None


def calculated(*parts: str | int) -> str:
    """Return a key made of several parts, another one for any other parts: ``calculated("a", "bc")`` is ``a/bc``.

    A ``/`` stands between parts; in a part ``~`` becomes ``~0`` and ``/`` becomes ``~1``, as in JSON Pointer, RFC 6901.
    Of an ``int`` the digits count, so 7 and ``"7"`` are one part. ``parts_of`` undoes it. No such key looks salted.
    Raises ``InvalidPartitionKeyError`` for a key that is empty or has more than 256 characters, and ``TypeError`` for
    other parts.
    """
    key = "/".join([_part(part) for part in parts])
    if not key:
        raise InvalidPartitionKeyError("a key of no parts, or of one empty part, is empty")
    if len(key) > 256:
        raise InvalidPartitionKeyError(
            f"the key of {len(parts)} parts ({abridged(key, 40)}) has {len(key):,} characters, which exceeds 256: "
            "hashed() makes it short"
        )
    return key


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part.replace("~", "~0").replace("/", "~1")
    if isinstance(part, int) and not isinstance(part, bool):
        return str(part)
    raise TypeError(f"a part of a key is str or int, not {abridged(part)}")


def parts_of(key: str) -> tuple[str, ...]:
    """Return the parts that ``calculated`` made a key of, each as text."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in key.split("/"))


class Calculated:
    """A key strategy that composes the key of parts: ``parts(key, data)`` returns them. See ``calculated``.

    It calls ``parts`` for each user record, from whatever thread puts.
    """

    def __init__(self, parts: Callable[[Any, Any], Iterable[str | int]]) -> None:
        self._parts = parts

    def __call__(self, key: Any, data: Any) -> Key:
        """Return the key to put a user record with."""
        return calculated(*self._parts(key, data))

    def many(self, keys: Sequence[Any], datas: Sequence[Any]) -> Many:
        """Return the keys to put user records with."""
        return [calculated(*parts) for parts in map(self._parts, keys, datas)], None
