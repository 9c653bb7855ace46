"""What changes user records before a producer takes them: key strategies, codecs of payloads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..errors import abridged
from ..keys.strategy import KeyStrategy


class Door(Protocol):
    """One such change. It runs in the thread that puts, which may be any, and raises where it cannot be made."""

    def one(self, key: Any, data: Any, explicit_hash_key: Any) -> tuple[Any, Any, Any]:
        """Return the user record as it is to be taken."""
        ...

    def many(
        self, keys: Sequence[Any], datas: Sequence[Any], explicit_hash_keys: Sequence[Any] | None
    ) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any] | None]:
        """Return many user records as they are to be taken; as many as there were, in their order."""
        ...


class KeyDoor:
    """Asks a key strategy. An explicit hash key that was put with a record stays, whatever the strategy gives."""

    def __init__(self, strategy: KeyStrategy) -> None:
        if isinstance(strategy, type) or not callable(strategy):
            raise TypeError(
                f"key_strategy is called with partition key and data, so it is a function or a strategy that was made, "
                f"not {abridged(strategy)}"
            )
        self._strategy = strategy
        self._many = getattr(strategy, "many", self._each)

    def one(self, key: Any, data: Any, explicit_hash_key: Any) -> tuple[Any, Any, Any]:
        """Return the user record with its new key."""
        key, place = _pair(self._strategy(key, data))
        return key, data, place if explicit_hash_key is None else explicit_hash_key

    def many(
        self, keys: Sequence[Any], datas: Sequence[Any], explicit_hash_keys: Sequence[Any] | None
    ) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any] | None]:
        """Return many with their new keys."""
        if len(datas) != len(keys):
            raise ValueError(f"{len(keys)} and {len(datas)} partition keys and datas: one for one is needed")
        new_keys, places = self._many(keys, datas)
        if len(new_keys) != len(keys) or (places is not None and len(places) != len(keys)):
            raise ValueError(f"a key_strategy gave {len(new_keys)} keys for {len(keys)} records: one for one is needed")
        if explicit_hash_keys is None or places is None:
            return new_keys, datas, places if explicit_hash_keys is None else explicit_hash_keys
        if len(explicit_hash_keys) != len(keys):  # without places it is said where they are taken
            lengths = f"{len(keys)} and {len(explicit_hash_keys)}"
            raise ValueError(f"{lengths} partition keys and explicit hash keys: one for one is needed")
        both = zip(explicit_hash_keys, places, strict=True)
        return new_keys, datas, [place if given is None else given for given, place in both]

    def _each(self, keys: Sequence[Any], datas: Sequence[Any]) -> tuple[list[Any], list[Any] | None]:
        """Ask a strategy that has no ``many``."""
        placed = list(map(self._strategy, keys, datas))
        if not any(isinstance(one, tuple) for one in placed):
            return placed, None
        pairs = list(map(_pair, placed))
        return [key for key, _ in pairs], [place for _, place in pairs]


def _pair(placed: Any) -> tuple[Any, Any]:
    if not isinstance(placed, tuple):
        return placed, None
    if len(placed) != 2:
        raise TypeError(f"a key_strategy returns a key, or a key and an explicit hash key, not {abridged(placed)}")
    return placed[0], placed[1]
