"""Partition keys for balance, order and length: functions, and strategies for ``Producer(key_strategy=…)``.

``salted`` and `Salted` split a key into sub-keys, which ``unsalted`` undoes; `HotKeys` does so only with keys that
outgrow a shard. `Spread` puts records wherever there is room, with their keys. ``hashed`` shortens, ``calculated``
composes, ``for_shard`` chooses the shard.

A strategy is called with partition key and data and returns the key to put, or that and an explicit hash key. It does
no I/O and needs no producer: ``strategy(key, data)``, or ``strategy.many(keys, datas)`` for a sequence of each, which
returns keys and explicit hash keys (``None`` for none at all) as ``ShardMap.assign`` takes them.
"""

from __future__ import annotations

from .composed import Calculated, Hashed, calculated, hashed, parts_of
from .hot import HotKeys, SaltedKey
from .placed import ForShard, Spread, for_shard
from .salt import Salted, escaped, salted, sub_keys, unsalted
from .strategy import BatchStrategy, KeyStrategy

__all__ = [
    "BatchStrategy",
    "Calculated",
    "ForShard",
    "Hashed",
    "HotKeys",
    "KeyStrategy",
    "Salted",
    "SaltedKey",
    "Spread",
    "calculated",
    "escaped",
    "for_shard",
    "hashed",
    "parts_of",
    "salted",
    "sub_keys",
    "unsalted",
]
