"""A Kinesis stream that is simulated: its shards and what they hold, throttling, resharding, AUTO distribution."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ...shards import HASH_KEYS, Shard, ShardMap
from ...transport import Failed, Stored

THROTTLED = Failed("ProvisionedThroughputExceededException", "too much for this shard")
INTERNAL = Failed("InternalFailure", "try again")


@dataclass(frozen=True, slots=True)
class Put:
    """A user record as it is put: the number counts those of its key."""

    key: str
    hash_key: int
    number: int


@dataclass(frozen=True, slots=True)
class Contents:
    """The user records of an entry."""

    records: tuple[Put, ...]

    def lie_in(self, shard: Shard) -> bool:
        """Whether the hash keys of all of them are the shard's."""
        low, high = shard.starting_hash_key, shard.ending_hash_key
        return all(low <= record.hash_key <= high for record in self.records)


@dataclass(slots=True, eq=False)
class SimulatedShard:
    """A shard, open or closed, and what it holds."""

    shard: Shard
    held: list[tuple[Contents, bool]] = field(default_factory=list)  # and whether it is aggregated
    tokens: float = 0.0
    filled_at: float = 0.0


class SimulatedStream:
    """Takes entries by their first hash key, as the service does. It is told the time.

    ``records_per_second`` is what a shard takes, with as much in reserve. It remembers how the shards were, for calls
    of ListShards that are told old news.
    """

    def __init__(self, shard_count: int, records_per_second: float, rng: random.Random) -> None:
        self.auto_distribution = False
        self.exists = True
        self.incarnations: list[list[SimulatedShard]] = []
        self._records_per_second = records_per_second
        self._rng = rng
        self._open: list[SimulatedShard] = []  # by their hash keys
        self._maps: list[tuple[float, ShardMap]] = []
        self.create(shard_count, 0.0)

    def create(self, shard_count: int, now: float) -> None:
        """Begin anew. Nobody is told of the shards before."""
        self.exists = True
        self.incarnations.append([])
        self._open = self._new_shards(_bounds(shard_count), now)
        self._maps = []
        self._remember(now)

    def delete(self) -> None:
        """Nobody finds it any more. What it held is kept for the checks."""
        self.exists = False

    @property
    def shard_map(self) -> ShardMap:
        """The open shards."""
        return self._maps[-1][1]

    @property
    def shard_maps(self) -> list[ShardMap]:
        """How the open shards were since it was created."""
        return [known for _, known in self._maps]

    def shard_map_at(self, time: float) -> ShardMap:
        """The open shards as they were, if it existed then."""
        return next((known for since, known in reversed(self._maps) if since <= time), self._maps[0][1])

    def split(self, now: float) -> None:
        """Split any shard anywhere."""
        index = self._rng.randrange(len(self._open))
        parent = self._open[index].shard
        if parent.ending_hash_key - parent.starting_hash_key < 2:
            return
        middle = self._rng.randint(parent.starting_hash_key + 1, parent.ending_hash_key)
        halves = [(parent.starting_hash_key, middle - 1), (middle, parent.ending_hash_key)]
        self._open[index : index + 1] = self._new_shards(halves, now)
        self._remember(now)

    def merge(self, now: float) -> None:
        """Merge any two neighbours."""
        if len(self._open) < 2:
            return
        index = self._rng.randrange(len(self._open) - 1)
        left, right = self._open[index].shard, self._open[index + 1].shard
        whole = [(left.starting_hash_key, right.ending_hash_key)]
        self._open[index : index + 2] = self._new_shards(whole, now)
        self._remember(now)

    def update_shard_count(self, count: int, now: float) -> None:
        """Close all, and open others."""
        self._open = self._new_shards(_bounds(count), now)
        self._remember(now)

    def put(self, contents: Contents, *, aggregated: bool, now: float) -> Stored | Failed:
        """Store an entry, or throttle it."""
        shard = self._rng.choice(self._open) if self.auto_distribution else self._find(contents.records[0].hash_key)
        rate = self._records_per_second
        shard.tokens = min(shard.tokens + rate * (now - shard.filled_at), rate)
        shard.filled_at = now
        if shard.tokens < 1:
            return THROTTLED
        shard.tokens -= 1
        shard.held.append((contents, aggregated))
        return Stored(shard.shard.shard_id, str(len(shard.held)))

    def read(self, *, like_the_kcl: bool) -> Iterator[Put]:
        """Read every shard, parents before their children; the KCL passes over what is not the shard's."""
        for shards in self.incarnations:
            for shard in shards:  # in the order in which they came to be
                for contents, aggregated in shard.held:
                    if not like_the_kcl or not aggregated or contents.lie_in(shard.shard):
                        yield from contents.records

    def _find(self, hash_key: int) -> SimulatedShard:
        return next(shard for shard in self._open if hash_key in shard.shard)

    def _new_shards(self, ranges: Sequence[tuple[int, int]], now: float) -> list[SimulatedShard]:
        shards = self.incarnations[-1]
        fresh = []
        for low, high in ranges:
            shard = SimulatedShard(Shard(f"shardId-{len(shards):012d}", low, high))
            shard.tokens, shard.filled_at = self._records_per_second, now
            shards.append(shard)
            fresh.append(shard)
        return fresh

    def _remember(self, now: float) -> None:
        self._maps.append((now, ShardMap(shard.shard for shard in self._open)))


def _bounds(count: int) -> list[tuple[int, int]]:
    width = HASH_KEYS // count
    return [(i * width, (i + 1) * width - 1 if i + 1 < count else HASH_KEYS - 1) for i in range(count)]
