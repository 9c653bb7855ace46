"""Strategies that keep the key and choose the place by an explicit hash key."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

from .._native.md5 import hash_key
from ..limits import KIB, whole_number
from ..shards import HASH_KEYS, ShardMap
from .strategy import HashKey, Key, Many, size_of, sizes_of

GOLDEN = 210306068529402873165736369884012333109
"""2**128 divided by the golden ratio: the places so far apart, one after the other, always lie evenly."""

AROUND_A_RECORD = 24
"""About what a user record takes in an aggregated record, beside its data."""


class Spread:
    """A key strategy for records that need no order: they keep their keys for consumers, and go anywhere.

    All records go to one place in the hash range until ``run_bytes`` of them (240 KiB, which about fills an aggregated
    record of 256 KiB) went there, then to another; the places lie evenly. So aggregated records are full though there
    are many shards, and all shards get about as much, whatever the keys. A record without a key stays without, which
    does the same and also minds which shards have room. There is no order among records, also of one key. Each
    aggregated record has an explicit hash key in it, which takes some 42 bytes, and 2 for each of its records. Any
    thread may use it; several at once may make a run longer.
    """

    def __init__(self, *, run_bytes: int = 240 * KIB) -> None:
        if whole_number("run_bytes", run_bytes) < 1:
            raise ValueError(f"run_bytes of {run_bytes} is less than 1")
        self._run_bytes = run_bytes
        self._run = (random.getrandbits(128), run_bytes)  # the place, and what is left of the run

    def __call__(self, key: Any, data: Any) -> tuple[Key, HashKey] | None:
        """Return the key to put a user record with, and the explicit hash key."""
        if key is None:
            return None
        place, left = self._run
        if left <= 0:
            place, left = (place + GOLDEN) % HASH_KEYS, self._run_bytes
        self._run = place, left - size_of(data) - AROUND_A_RECORD
        return key, place

    def many(self, keys: Sequence[Any], datas: Sequence[Any]) -> Many:
        """Return the keys to put user records with, and their explicit hash keys."""
        if None in keys:
            placed = list(map(self, keys, datas))
            return keys, [None if each is None else each[1] for each in placed]
        place, left = self._run
        ends = list(accumulate([size + AROUND_A_RECORD for size in sizes_of(datas)]))
        at, size, places = 0, 0, list[HashKey]()
        while at < len(ends):
            if left <= 0:
                place, left = (place + GOLDEN) % HASH_KEYS, self._run_bytes
            stop = min(bisect_left(ends, size + left, at) + 1, len(ends))  # behind the record that ends the run
            places += [place] * (stop - at)
            left -= ends[stop - 1] - size
            at, size = stop, ends[stop - 1]
        self._run = place, left
        return keys, places


def for_shard(shard_map: ShardMap, i: int, key: str | bytes | None = None) -> int:
    """Return an explicit hash key in shard ``i`` of a map: ``producer.put(key, data, for_shard(shard_map, 3, key))``.

    With a key it is the key's own, and lies in the shard as the key's MD5 does in the whole range: when the shard is
    split, the two new ones divide its keys. Without, it is the middle of the shard. The number decides for ever, not
    the shard: after resharding its records go to the shard that has the number then, all to the same one, in order.
    Raises ``IndexError`` where there is no such shard.
    """
    if not 0 <= whole_number("the index of a shard", i) < len(shard_map):
        raise IndexError(f"shard {i} of a map of {len(shard_map):,}, which are counted from 0")
    shard = shard_map[i]
    width = shard.ending_hash_key - shard.starting_hash_key + 1
    return shard.starting_hash_key + (width >> 1 if key is None else hash_key(key) * width >> 128)


class ForShard:
    """A key strategy that chooses the shard: ``choose(key, data)`` returns its index in a map. See ``for_shard``.

    Records keep their keys, and their order per key as long as one key has one shard. The map is not looked up again:
    after resharding the same numbers decide, so what is chosen are parts of the hash range, whatever their shards are.
    It calls ``choose`` for each user record, from whatever thread puts.
    """

    def __init__(self, shard_map: ShardMap, choose: Callable[[Any, Any], int]) -> None:
        self._shard_map = shard_map
        self._choose = choose

    def __call__(self, key: Any, data: Any) -> tuple[Key, HashKey]:
        """Return the key to put a user record with, and the explicit hash key; ``-`` stands for no key."""
        return "-" if key is None else key, for_shard(self._shard_map, self._choose(key, data), key)

    def many(self, keys: Sequence[Any], datas: Sequence[Any]) -> Many:
        """Return the keys to put user records with, and their explicit hash keys."""
        places = [
            for_shard(self._shard_map, i, key) for i, key in zip(map(self._choose, keys, datas), keys, strict=True)
        ]
        return ["-" if key is None else key for key in keys] if None in keys else keys, places
