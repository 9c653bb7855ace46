"""Keys that outgrow a shard are split while they do: found by a sample of the bytes, in bounded memory."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import inf, log
from random import random, randrange
from time import monotonic
from typing import Any

from ..errors import abridged
from ..limits import KIB, MIB
from .salt import MARK, MAX_KEY_CHARACTERS, TURNS, escaped, every_turn, indexes_of, sub_key_count, sub_keys, turns
from .strategy import Key, Many, size_of, sizes_of

logger = logging.getLogger("shardpack.keys")

WINDOW_SECONDS = 5.0
"""A rate is of the bytes of so many seconds; the next ones count anew."""

BYTES_A_PICK = 16 * KIB
"""One byte of so many is looked at, at random."""

MOST_KEYS = 2048
"""How many keys are told apart."""

MOST_HOT_KEYS = 256
"""How many keys are split at a time."""


_Change = tuple[str, int, float]


@dataclass(frozen=True, slots=True)
class SaltedKey:
    """A key that is split now."""

    partition_key: str
    sub_keys: tuple[str, ...]
    bytes_per_second: float
    """Of data, in the last window that ended, or in the one in which it began."""
    since: float
    """When it began, by the clock of its ``HotKeys``."""
    warm_at: float
    """When it last had more than ``cool_bytes_per_second``."""


class HotKeys:
    """A key strategy that splits only keys that outgrow their share of a shard, and only while they do.

    A key with at least ``hot_bytes_per_second`` of data (512 KiB: half of what a shard takes) gets sub-keys as of
    `Salted`: as many as leave each of them half of that at most, a power of two, up to ``max_sub_keys``, and more if
    it grows. When it had less than ``cool_bytes_per_second`` (half of the other) for ``min_seconds``, it is whole
    again. Each change is logged and told to ``on_change(partition_key, number of sub-keys, 1 for none)``, on the thread
    that puts; ``salted_keys`` lists them. ``by(key, data)`` decides on the sub-key as for `Salted`.

    Order holds per sub-key, and per key while it is not split. Across a change there is none: what was put before may
    be stored after what is put then, for it goes to another shard. A key changes to more sub-keys at most once in 5
    seconds, and back at most once in ``min_seconds``. Consumers use ``unsalted`` on every key.

    Rates are estimates from one byte of 16,384, over 5 seconds: 8% wrong at 512 KiB/s, two times in three. 2,048 keys
    are told apart; if there are more, a key may seem to have up to a 1,024th of all bytes less. 256 keys are split at a
    time. So it keeps 2.9 MB for rates and 18 MB for sub-keys at most, where every key has 248 characters of four bytes;
    with ids of 20 characters, 0.4 and 1.6 MB. Each producer has its own view: with several, divide the limits by their
    number. Any thread may use it; a record takes no lock unless a byte of it is looked at.
    """

    def __init__(
        self,
        *,
        hot_bytes_per_second: float = MIB / 2,
        cool_bytes_per_second: float | None = None,
        min_seconds: float = 60.0,
        max_sub_keys: int = 64,
        by: Callable[[Any, Any], str | bytes | int] | None = None,
        on_change: Callable[[str, int], object] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        cool = hot_bytes_per_second / 2 if cool_bytes_per_second is None else cool_bytes_per_second
        if not 0 <= cool <= hot_bytes_per_second < inf or hot_bytes_per_second < 1:
            raise ValueError(
                f"a key is hot from {hot_bytes_per_second} bytes per second and cool below {cool}: the first is 1 or "
                "more, the second not above it"
            )
        if not 0 <= min_seconds < inf:
            raise ValueError(f"min_seconds of {min_seconds} is below 0, or no bound")
        self._hot, self._cool, self._min_seconds = hot_bytes_per_second, cool, min_seconds
        self._max_sub_keys = 1 << sub_key_count(max_sub_keys).bit_length() - 1
        self._by, self._on_change, self._clock = by, on_change, clock
        self._turn = randrange(TURNS)
        self._lock = threading.Lock()  # of what follows, but for reading the two mappings, which are never changed
        self._bytes: dict[str, float] = {}  # of this window
        self._window_began = clock()
        self._full = False
        self._salted: Mapping[str, SaltedKey] = {}
        self._sub_keys: Mapping[Any, tuple[str, ...]] = {}
        _alive.add(self)

    @property
    def salted_keys(self) -> dict[str, SaltedKey]:
        """The keys that are split now."""
        return dict(self._salted)

    def __call__(self, key: Any, data: Any) -> Key:
        """Return the key to put a user record with."""
        size, chance = size_of(data), random()
        if chance * BYTES_A_PICK < size and (gap := -log(1 - chance) * BYTES_A_PICK) < size:
            self._count({key: size - gap + BYTES_A_PICK})
        return self._placed(key, data)

    def many(self, keys: Sequence[Any], datas: Sequence[Any]) -> Many:
        """Return the keys to put user records with."""
        if picks := _picked(keys, datas):
            self._count(picks)
        try:
            plain = MARK not in "\0".join(keys)
        except TypeError:  # bytes, or None
            plain = False
        split = self._sub_keys
        if not plain or (self._by is not None and split):
            return list(map(self._placed, keys, datas)), None
        if not split or split.keys().isdisjoint(keys):
            return keys, None
        start, self._turn = self._turn, (self._turn + len(keys)) % TURNS
        get = split.get
        return [
            key if (every := get(key)) is None else every[turn * len(every) >> 13]
            for key, turn in zip(keys, turns(start, len(keys)), strict=True)
        ], None

    def _placed(self, key: Any, data: Any) -> Key:
        every = self._sub_keys.get(_text(key)) if self._sub_keys else None
        if every is None:
            return escaped(key)  # type: ignore[no-any-return]
        if self._by is None:
            self._turn = turn = (self._turn + 1) % TURNS
            made = every[every_turn()[turn] * len(every) >> 13]
        else:
            made = every[indexes_of([self._by(key, data)], len(every))[0]]
        return made.encode() if isinstance(key, bytes) else made

    # --- what is hot ---

    def _count(self, picks: Mapping[Any, float]) -> None:
        changes: list[_Change] = []
        now = self._clock()
        with self._lock:
            if now - self._window_began >= WINDOW_SECONDS:
                changes += self._end_window(now)
            for key, size in picks.items():
                text = _text(key)
                if not 0 < len(text) <= MAX_KEY_CHARACTERS:
                    continue  # no key, or one that cannot be split
                counted = self._bytes[text] = self._bytes.get(text, 0.0) + size
                if counted >= self._hot * WINDOW_SECONDS and text not in self._salted:
                    changes += self._split(text, counted / max(1.0, now - self._window_began), now)
                if len(self._bytes) > MOST_KEYS:
                    self._thin_out()
        for change in changes:
            self._tell(*change)

    def _thin_out(self) -> None:
        """Take the median off all counts, and forget half of the keys."""
        off = sorted(self._bytes.values())[MOST_KEYS // 2]
        self._bytes = {key: size - off for key, size in self._bytes.items() if size > off}

    def _end_window(self, now: float) -> list[_Change]:
        """Look at the rates of a window, and begin the next."""
        seconds = now - self._window_began
        rates = {key: size / seconds for key, size in self._bytes.items()}
        self._bytes, self._window_began = {}, now
        changes: list[_Change] = []
        salted = dict(self._salted)
        for key, state in self._salted.items():
            rate = rates.get(key, 0.0)
            if rate >= self._cool:
                salted[key] = replace(state, bytes_per_second=rate, warm_at=now)
            elif now - state.warm_at >= self._min_seconds:
                del salted[key]
                changes.append((key, 1, rate))
            else:
                salted[key] = replace(state, bytes_per_second=rate)
        self._keep(salted)
        for key, state in salted.items():
            if state.bytes_per_second > self._hot / 2 * len(state.sub_keys):
                changes += self._split(key, state.bytes_per_second, now)
        return changes

    def _split(self, key: str, rate: float, now: float) -> list[_Change]:
        """Split a key so that each sub-key has half of what is hot at most; return whether that is a change."""
        before = self._salted.get(key)
        n = 2
        while n < self._max_sub_keys and rate > self._hot / 2 * n:
            n *= 2
        n = min(n, self._max_sub_keys)
        if before is None and len(self._salted) >= MOST_HOT_KEYS:
            if not self._full:
                self._full = True
                logger.warning("%d keys are split, as many as may: %s is not", MOST_HOT_KEYS, abridged(key, 40))
            return []
        if before is not None and n <= len(before.sub_keys):
            return []
        state = SaltedKey(key, sub_keys(key, n), rate, now if before is None else before.since, now)
        self._keep({**self._salted, key: state})
        return [(key, n, rate)]

    def _keep(self, salted: Mapping[str, SaltedKey]) -> None:
        self._salted = salted
        self._sub_keys = {key: state.sub_keys for key, state in salted.items()}
        self._full = self._full and len(salted) >= MOST_HOT_KEYS

    def _tell(self, key: str, n: int, rate: float) -> None:
        what = "is whole again" if n == 1 else f"is split into {n} sub-keys"
        logger.info("partition key %s, %s bytes per second, %s", abridged(key, 40), f"{rate:,.0f}", what)
        if self._on_change is not None:
            try:
                self._on_change(key, n)
            except Exception:
                logger.exception("on_change failed")


def _text(key: Any) -> str:
    """Return a key as text; of what is none, as it is told later, nothing."""
    if isinstance(key, bytes):
        return key.decode("utf-8", "replace")
    return key if isinstance(key, str) else ""


def _picked(keys: Sequence[Any], datas: Sequence[Any]) -> dict[Any, float]:
    """Return the keys of the bytes that are looked at, and how many bytes each stands for.

    That is a byte of 16,384, with gaps of an exponential distribution, which begin anew with each call, and what of its
    record is behind it: no bias, and large records are counted almost to the byte.
    """
    ends = list(accumulate(sizes_of(datas)))
    picks: dict[Any, float] = {}
    total = ends[-1] if ends else 0
    at = -log(1 - random()) * BYTES_A_PICK
    while at < total:
        i = bisect_right(ends, at)
        picks[keys[i]] = picks.get(keys[i], 0.0) + ends[i] - at + BYTES_A_PICK
        at = ends[i] - log(1 - random()) * BYTES_A_PICK
    return picks


_alive: weakref.WeakSet[HotKeys] = weakref.WeakSet()


def _free_locks() -> None:
    """A process that was forked off has no thread that would give a lock back."""
    for each in _alive:
        each._lock = threading.Lock()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_locks)
