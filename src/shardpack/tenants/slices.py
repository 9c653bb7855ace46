"""Slices of the hash range: a tenant's records only in the shards of one, so that one consumer reads those alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .._native.md5 import hash_key
from ..errors import InvalidHashKeyError, abridged
from ..limits import whole_number
from ..shards import HASH_KEYS, Shard


@dataclass(frozen=True, slots=True)
class HashSlice:
    """The hash keys ``first`` to ``last``, both included. Raises ``ValueError`` for none, or those that there are not.

    It is a range of hash keys and not of shards, so it stays what it is when the stream is resharded.
    """

    first: int = 0
    last: int = HASH_KEYS - 1

    def __post_init__(self) -> None:
        first, last = whole_number("first", self.first), whole_number("last", self.last)
        if not 0 <= first <= last < HASH_KEYS:
            raise ValueError(f"{abridged(first)} to {abridged(last)} is no slice of the hash keys 0 to 2**128 - 1")

    @classmethod
    def of(cls, index: int, count: int) -> HashSlice:
        """Return one of ``count`` even slices. Of a stream of as many even shards it is shard ``index``'s range."""
        index, count = whole_number("index", index), whole_number("count", count)
        if not 0 <= index < count <= 2**31 - 1:
            raise ValueError(f"there is no slice {abridged(index)} of {abridged(count)}")
        width = HASH_KEYS // count
        return cls(index * width, HASH_KEYS - 1 if index + 1 == count else (index + 1) * width - 1)

    def __contains__(self, hash_key: int) -> bool:
        return self.first <= hash_key <= self.last

    @property
    def is_everything(self) -> bool:
        """Whether it has every hash key."""
        return self.last - self.first == HASH_KEYS - 1

    def place(self, partition_key: str) -> int:
        """Return the explicit hash key of a partition key: its MD5, scaled into the slice.

        ``first + (MD5 * (last - first + 1) >> 128)``, so keys are as even in the slice as they were in the whole range.
        Raises as ``hash_key``.
        """
        return self.first + (hash_key(partition_key) * (self.last - self.first + 1) >> 128)

    def demand(self, explicit_hash_key: int | str) -> None:
        """Raise ``InvalidHashKeyError`` for a hash key that was asked for and is not in the slice."""
        if hash_key("-", explicit_hash_key) not in self:
            raise InvalidHashKeyError(
                f"explicit hash key {explicit_hash_key} is not in its tenant's slice, {self.first} to {self.last}"
            )


def tenant_shards(shards: Iterable[Shard], hash_slice: HashSlice) -> list[Shard]:
    """Return the shards that have records of a slice: of a ``ShardMap``, or of any shards, closed ones too.

    Reading those is reading all of the tenant's records; ``for_tenant`` leaves out what else is in them.
    """
    return [
        shard
        for shard in shards
        if shard.starting_hash_key <= hash_slice.last and shard.ending_hash_key >= hash_slice.first
    ]
