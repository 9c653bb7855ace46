"""Sub-keys: one partition key as several, each in its own part of the hash range, in a form that can be undone.

Sub-key i of n is the key, ``~#`` and a number: the smallest one with which its MD5 lies in shard i of a new stream of n
equal shards. So n sub-keys lie evenly in the hash range, as n keys chosen by chance would not, and no explicit hash key
is needed. A key that looks like that itself gets a mark without a number where it is not split: what is undone is
always the last mark.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, overload

from .._native.md5 import hash_key
from ..errors import InvalidPartitionKeyError, abridged
from ..limits import whole_number
from ..shards import ShardMap
from .strategy import Key, Many

MARK = "~#"
MARK_BYTES = b"~#"

MOST_DIGITS = 6
"""Of the number of a sub-key. Of 256 sub-keys the largest has 4 or 5."""

MAX_SUB_KEYS = 256

MAX_KEY_CHARACTERS = 256 - len(MARK) - MOST_DIGITS
"""The longest key that can be split: 248 characters."""

MOST_KEPT = 65_536
"""How many sub-keys a strategy keeps in mind: 73 MB where all have 256 characters of four bytes, else 5 MB or so."""

TURNS = 8191
"""A prime: keys that come in turn themselves do not always meet the same sub-key."""


@overload
def unsalted(key: str) -> str: ...
@overload
def unsalted(key: bytes) -> bytes: ...
@overload
def unsalted(key: None) -> None: ...
def unsalted(key: str | bytes | None) -> str | bytes | None:
    """Return the key that ``salted``, `Salted`, `HotKeys` or ``escaped`` made ``key`` of; exactly, whatever it was.

    A key that does not end in ``~#`` and up to six digits is returned as it is. One that was put without any of these
    and ends so loses its end: use them for all keys of a stream, or for none.
    """
    if isinstance(key, str):
        base, mark, number = key.rpartition(MARK)
        return base if mark and base and _is_number(number) else key
    if isinstance(key, bytes):
        start, found, digits = key.rpartition(MARK_BYTES)
        return start if found and start and _is_number(digits) else key
    return key


def _is_number(text: str | bytes) -> bool:
    return len(text) <= MOST_DIGITS and (not text or (text.isascii() and text.isdigit()))


def escaped(key: Any) -> Any:
    """Return a key that ``unsalted`` gives back as it is: itself, or with ``~#`` behind it if it looks salted.

    Raises ``InvalidPartitionKeyError`` if that has more than 256 characters. `HotKeys` does so with what it does not
    split.
    """
    if not isinstance(key, (str, bytes)) or unsalted(key) is key:
        return key
    if len(key) + len(MARK) > 256 and _characters(key) + len(MARK) > 256:
        raise InvalidPartitionKeyError(
            f"partition key {abridged(key, 24)} looks salted, and with {MARK!r} to tell that it is not it exceeds 256 "
            "characters"
        )
    return key + MARK if isinstance(key, str) else key + MARK_BYTES


@overload
def sub_keys(key: str, n: int) -> tuple[str, ...]: ...
@overload
def sub_keys(key: bytes, n: int) -> tuple[bytes, ...]: ...
def sub_keys(key: str | bytes, n: int) -> tuple[str | bytes, ...]:
    """Return the ``n`` sub-keys of a key (1 to 256), the i-th in shard i of ``ShardMap.uniform(n)``.

    The same in every process. Those for a power of two are among those for twice as many. It takes 10 to 20 µs for 8 of
    them. Raises ``InvalidPartitionKeyError`` for a key of more than 248 characters, ``ValueError`` for another ``n``.
    """
    n = sub_key_count(n)
    hash_key(key)  # raises for what is no key
    if len(key) > MAX_KEY_CHARACTERS and (characters := _characters(key)) > MAX_KEY_CHARACTERS:
        raise InvalidPartitionKeyError(
            f"partition key of {characters} characters ({abridged(key, 40)}) leaves no room for a salt: one that is "
            f"split may have {MAX_KEY_CHARACTERS}"
        )
    found: list[str | bytes | None] = [None] * n
    shards, step = _uniform(n), n * (n.bit_length() + 1)
    start, missing = 0, n
    while missing:
        tried: list[str | bytes] = (
            [f"{key}{MARK}{j}" for j in range(start, start + step)]
            if isinstance(key, str)
            else [b"%b%b%d" % (key, MARK_BYTES, j) for j in range(start, start + step)]
        )
        for text, i in zip(tried, shards.assign(tried), strict=True):
            if found[i] is None:
                found[i] = text
                missing -= 1
        start += step
    return tuple(found)  # type: ignore[arg-type] # none is missing


def sub_key_count(n: int) -> int:
    """Return ``n`` as a number of sub-keys, or raise ``ValueError``."""
    if not 1 <= whole_number("a number of sub-keys", n) <= MAX_SUB_KEYS:
        raise ValueError(f"{abridged(n)} sub-keys: a key is split into 1 to {MAX_SUB_KEYS}")
    return whole_number("a number of sub-keys", n)


def _characters(key: str | bytes) -> int:
    return len(key) if isinstance(key, str) else len(key.decode("utf-8", "replace"))


_uniform = lru_cache(maxsize=16)(ShardMap.uniform)
_remembered = lru_cache(maxsize=1024)(sub_keys)


@overload
def salted(key: str, n: int, *, by: str | bytes | int | None = None) -> str: ...
@overload
def salted(key: bytes, n: int, *, by: str | bytes | int | None = None) -> bytes: ...
def salted(key: str | bytes, n: int, *, by: str | bytes | int | None = None) -> str | bytes:
    """Return one of the ``n`` sub-keys of a key (1 to 256), for keys that are fewer than shards, or too heavy for one.

    ``by``, a part of the record such as the id of a sensor, decides which: all records of that key and that part get
    the same, and keep their order. Without it, one at random, and only records of the same sub-key have an order.
    Consumers get the key back with ``unsalted``. Raises as ``sub_keys`` and for a part that is no partition key.
    """
    every = _remembered(key, n)
    return every[random.randrange(len(every)) if by is None else indexes_of([by], len(every))[0]]


def indexes_of(parts: Sequence[str | bytes | int], n: int) -> Sequence[int]:
    """Return which of n sub-keys each part of a record decides for: the shard of n that it would have as a key."""
    try:
        return _uniform(n).assign([str(part) if isinstance(part, int) else part for part in parts])
    except (InvalidPartitionKeyError, TypeError) as error:
        raise type(error)(f"what decides on a sub-key, as a partition key would be: {error}") from None


@lru_cache(maxsize=1)
def every_turn() -> list[int]:
    """Numbers from 0 to 8,190 once each, in an order that repeats in no pattern; the same in every process."""
    numbers = list(range(TURNS))
    random.Random(TURNS).shuffle(numbers)
    return numbers


def turns(start: int, count: int) -> list[int]:
    """Return so many turns, from the given one on: with n sub-keys, ``turn * n >> 13`` is the index of one."""
    every = every_turn()
    start %= TURNS
    if start + count <= TURNS:
        return every[start : start + count]
    return (every * ((start + count) // TURNS + 1))[start : start + count]


class _SubKeys(dict[Any, tuple[Any, ...]]):
    """Keys and their n sub-keys, which are made when they are first asked for."""

    __slots__ = ("n",)

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def __missing__(self, key: Any) -> tuple[Any, ...]:
        made = (None,) * self.n if key is None else sub_keys(key, self.n)
        if (len(self) + 1) * self.n > MOST_KEPT:
            self.clear()
        self[key] = made
        return made


class Salted:
    """A key strategy that splits every key into ``n`` sub-keys: see ``salted``. For few keys, each of much data.

    ``by(key, data)`` returns what of a record decides on its sub-key; without it they are given in turn. A record
    without a key stays without. With n at least the number of shards all shards of a stream get about as much of every
    key. Of up to 65,536 sub-keys it keeps in mind what they are; with more keys it has to work them out again, which
    takes 10 to 20 µs for n = 8. Any thread may use it.
    """

    def __init__(self, n: int, *, by: Callable[[Any, Any], str | bytes | int] | None = None) -> None:
        self.n = sub_key_count(n)
        self._by = by
        self._sub_keys = _SubKeys(self.n)
        self._turn = random.randrange(TURNS)  # two threads may have the same one, which does no harm

    def __call__(self, key: Any, data: Any) -> Key:
        """Return the key to put a user record with."""
        if key is None:
            return None
        every: tuple[Key, ...] = self._sub_keys[key]
        if self._by is None:
            self._turn = turn = (self._turn + 1) % TURNS
            return every[every_turn()[turn] * self.n >> 13]
        return every[indexes_of([self._by(key, data)], self.n)[0]]

    def many(self, keys: Sequence[Any], datas: Sequence[Any]) -> Many:
        """Return the keys to put user records with."""
        n, every = self.n, self._sub_keys
        if self._by is None:
            start, self._turn = self._turn, (self._turn + len(keys)) % TURNS
            return [every[key][turn * n >> 13] for key, turn in zip(keys, turns(start, len(keys)), strict=True)], None
        if None in keys:
            return list(map(self, keys, datas)), None
        parts = list(map(self._by, keys, datas))
        return [every[key][i] for key, i in zip(keys, indexes_of(parts, n), strict=True)], None
