"""The open shards of a stream, and which of them a record goes to."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ._native.shard_table import ShardTable
from .errors import ShardMapError, abridged
from .limits import whole_number

HASH_KEYS = 2**128
"""How many hash keys there are: 0 to 2**128 - 1."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard and the hash keys it holds, both ends included."""

    shard_id: str
    starting_hash_key: int
    ending_hash_key: int

    def __contains__(self, hash_key: int) -> bool:
        return self.starting_hash_key <= hash_key <= self.ending_hash_key


class ShardMap:
    """The open shards of a stream in the order of their hash ranges; immutable, safe to share between threads.

    Raises ``ShardMapError`` unless the ranges cover every hash key exactly once; the error names the shards between
    which a gap or an overlap lies; ``TypeError`` for what is no ``Shard``. ``from_shards`` takes what ListShards
    returns.
    """

    __slots__ = ("_shards", "_table")

    def __init__(self, shards: Iterable[Shard]) -> None:
        if isinstance(shards, Mapping) or not isinstance(shards, Iterable):
            raise TypeError(f"a ShardMap is made of Shards, not of {abridged(shards)}: {_ASK_FOR}")
        given = list(shards)
        for shard in given:
            if not isinstance(shard, Shard):
                raise TypeError(f"a ShardMap is made of Shards, not of {abridged(shard)}: {_ASK_FOR}")
            whole_number(f"the starting hash key of {abridged(shard.shard_id)}", shard.starting_hash_key)
            whole_number(f"the ending hash key of {abridged(shard.shard_id)}", shard.ending_hash_key)
        ordered = sorted(given, key=lambda shard: (shard.starting_hash_key, shard.ending_hash_key))
        _check_cover(ordered)
        self._shards = tuple(ordered)
        self._table = ShardTable([shard.starting_hash_key for shard in ordered])

    @classmethod
    def from_shards(cls, shards: Iterable[Mapping[str, Any]] | Mapping[str, Any]) -> ShardMap:
        """Make the map from ``Shards`` of ListShards (or DescribeStream), or from that whole response.

        Closed shards among them are left out: those whose ``SequenceNumberRange`` has an ``EndingSequenceNumber``.
        Raises ``ShardMapError`` for a response that is one page of several, ``TypeError`` for what is no such shard.
        """
        return cls(_shard(shard) for shard in _listed(shards) if not _is_closed(shard))

    @classmethod
    def uniform(cls, count: int) -> ShardMap:
        """Make the map of a new stream of ``count`` shards, as the service splits it."""
        count = whole_number("a number of shards", count)
        if not 1 <= count <= 2**31 - 1:
            raise ShardMapError(f"a stream has from 1 to {2**31 - 1:,} shards, not {abridged(count)}")
        width = HASH_KEYS // count
        return cls(
            Shard(f"shardId-{i:012d}", i * width, (i + 1) * width - 1 if i + 1 < count else HASH_KEYS - 1)
            for i in range(count)
        )

    def assign(
        self,
        keys: Iterable[str | bytes],
        explicit_hash_keys: Iterable[int | str | None] | None = None,
    ) -> array[int]:
        """Return the shard index of every record: an ``array("i")`` of n int32, which numpy.asarray takes uncopied.

        ``explicit_hash_keys`` has an entry for each key; ``None`` means that the partition key decides.
        Raises ``InvalidPartitionKeyError``, ``InvalidHashKeyError`` or ``TypeError`` that name the record.
        """
        return self._table.assign(keys, explicit_hash_keys)

    def index_of(self, hash_key: int) -> int:
        """Return the index of the shard that holds ``hash_key``."""
        return self._table.find(hash_key)

    def __getitem__(self, index: int) -> Shard:
        return self._shards[index]

    def __len__(self) -> int:
        return len(self._shards)

    def __iter__(self) -> Iterator[Shard]:
        return iter(self._shards)

    def __eq__(self, other: object) -> bool:
        return self._shards == other._shards if isinstance(other, ShardMap) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._shards)

    def __repr__(self) -> str:
        return f"<ShardMap of {len(self)} shards>"

    def __reduce__(self) -> tuple[type[ShardMap], tuple[tuple[Shard, ...]]]:
        return ShardMap, (self._shards,)


_ASK_FOR = (
    "ShardMap.from_shards takes what ListShards returns, and Boto3Transport.list_shards makes the map of a stream"
)


def _listed(shards: Iterable[Mapping[str, Any]] | Mapping[str, Any]) -> Iterable[Any]:
    """Return the shards of a response of ListShards or DescribeStream, or those that were given themselves."""
    if isinstance(shards, Mapping):
        page = shards.get("StreamDescription", shards)
        if not isinstance(page, Mapping) or "Shards" not in page:
            raise TypeError(f"expected Shards of ListShards, or its response, not {abridged(shards)}: it has no Shards")
        if page.get("NextToken") or page.get("HasMoreShards"):
            raise ShardMapError("this response is one page of several: Boto3Transport.list_shards follows them all")
        shards = page["Shards"]
    if isinstance(shards, (str, bytes)) or not isinstance(shards, Iterable):
        raise TypeError(f"expected Shards of ListShards, or its response, not {abridged(shards)}")
    return shards


def _is_closed(shard: Any) -> bool:
    return isinstance(shard, Mapping) and "EndingSequenceNumber" in (shard.get("SequenceNumberRange") or {})


def _shard(shard: Any) -> Shard:
    if isinstance(shard, Shard):
        return shard
    try:
        hash_range = shard["HashKeyRange"]
        return Shard(shard["ShardId"], int(hash_range["StartingHashKey"]), int(hash_range["EndingHashKey"]))
    except (KeyError, TypeError, ValueError):
        raise TypeError(
            f"expected a shard of ListShards, with ShardId and HashKeyRange, not {abridged(shard)}"
        ) from None


def _check_cover(ordered: list[Shard]) -> None:
    if not ordered:
        raise ShardMapError("no open shard")
    expected, before = 0, "the first hash key"
    for shard in ordered:
        start, end = shard.starting_hash_key, shard.ending_hash_key
        if not 0 <= start <= end < HASH_KEYS:
            raise ShardMapError(f"{shard.shard_id} has no hash range: {abridged(start)} to {abridged(end)}")
        if start > expected:
            raise ShardMapError(f"gap between {before} and {shard.shard_id}: {expected} to {start - 1} has no shard")
        if start < expected:
            raise ShardMapError(f"{before} and {shard.shard_id} overlap: both hold {start}")
        expected, before = end + 1, shard.shard_id
    if expected != HASH_KEYS:
        raise ShardMapError(f"gap after {before}: {expected} to {HASH_KEYS - 1} has no shard")
