"""Shards as ListShards tells of them: with those that they came of, and whether they are closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...shards import Shard


@dataclass(frozen=True, slots=True)
class ListedShard(Shard):
    """A shard, open or closed. ``parents`` are the ids of those that it was split from or merged of."""

    parents: tuple[str, ...] = ()
    closed: bool = False

    @classmethod
    def of(cls, listed: Mapping[str, Any]) -> ListedShard:
        """Make it of an entry of ListShards' ``Shards``."""
        return cls(
            listed["ShardId"],
            int(listed["HashKeyRange"]["StartingHashKey"]),
            int(listed["HashKeyRange"]["EndingHashKey"]),
            tuple(listed[name] for name in ("ParentShardId", "AdjacentParentShardId") if name in listed),
            "EndingSequenceNumber" in listed["SequenceNumberRange"],
        )
