"""Entries, shards and answers for the tests of the scheduler."""

from __future__ import annotations

from dataclasses import dataclass

from shardpack.producer.scheduler import CallError, Entry, Fault, Request, Scheduler, Wish
from shardpack.shards import HASH_KEYS, Shard, ShardMap
from shardpack.transport import Failed, Stored

THROTTLED = Failed("ProvisionedThroughputExceededException", "slow down")
INTERNAL = Failed("InternalFailure", "try again")
REFUSED = Failed("InvalidArgumentException", "never")
TIMEOUT = CallError(Fault.TRANSIENT, "ReadTimeout", "no reply", maybe_stored=True)
EXPIRED_TOKEN = CallError(Fault.TRANSIENT, "ExpiredToken", "expired")
SLOW_DOWN = CallError(Fault.THROTTLED, "LimitExceededException", "slow down")
INVALID = CallError(Fault.INVALID, "ValidationException", "refused")
TOO_LARGE = CallError(Fault.TOO_LARGE, "InvalidArgumentException", "Records size exceeds 5 MB limit")
NO_STREAM = CallError(Fault.NO_STREAM, "ResourceNotFoundException", "no such stream")
DENIED = CallError(Fault.FATAL, "AccessDeniedException", "not yours")


@dataclass(frozen=True)
class HashKeys:
    """An entry's contents as far as the scheduler sees them."""

    hash_keys: tuple[int, ...]

    def lie_in(self, shard: Shard) -> bool:
        return all(hash_key in shard for hash_key in self.hash_keys)


def name(index: int) -> str:
    return f"shardId-{index:012d}"


def shards(*bounds: tuple[int, float, float]) -> ShardMap:
    """Make a map of (index, from, to) in parts of the whole."""
    return ShardMap(Shard(name(i), int(low * HASH_KEYS), int(high * HASH_KEYS) - 1) for i, low, high in bounds)


HALVES = shards((0, 0, 0.5), (1, 0.5, 1))
FIRST_SPLIT = shards((2, 0, 0.25), (3, 0.25, 0.5), (1, 0.5, 1))
MERGED = shards((2, 0, 1))


def entry(shard: int, *places: float, size: int = 100, expires_at: float = 1000.0, aggregated: bool = True) -> Entry:
    """Make an entry whose user records lie at these places of the whole, 0 to 1."""
    places = places or ((0.1, 0.6)[shard],)
    contents = HashKeys(tuple(int(place * HASH_KEYS) for place in places))
    return Entry(name(shard), size, max(2, len(places)), expires_at, contents, aggregated)


def scheduler(shard_map: ShardMap = HALVES, **options) -> Scheduler:
    """Make one that was told at 0 that the stream is not AUTO."""
    made = Scheduler(shard_map, **options)
    described(made, 0.0, auto_distribution=False)
    return made


def described(made: Scheduler, now: float, *, auto_distribution: bool | None) -> None:
    assert Wish.DESCRIPTION in made.wishes(now)
    made.on_described(now, auto_distribution)


def send(made: Scheduler, now: float = 0.0) -> list[Request]:
    return list(made.requests(now))


def store(made: Scheduler, request: Request, now: float = 0.0, *elsewhere: int) -> None:
    """Answer that all are stored where they should, or else where it says."""
    where = [name(i) for i in elsewhere] or [entry.shard_id for entry in request.entries]
    made.on_reply(request, [Stored(shard_id, "1") for shard_id in where], now)


def fail(made: Scheduler, request: Request, failure: Failed = THROTTLED, now: float = 0.0) -> None:
    made.on_reply(request, [failure] * len(request.entries), now)


def outcomes(made: Scheduler) -> list[tuple[Entry, str]]:
    return [(settlement.entry, settlement.status.value) for settlement in made.settlements()]


def reshard(made: Scheduler, shard_map: ShardMap, now: float, *, auto_distribution: bool | None = False) -> list[Entry]:
    """Answer what it asks, and return what it wants to have routed."""
    for wish in made.wishes(now):
        if wish is Wish.SHARDS:
            made.on_shards(shard_map, now)
        else:
            made.on_described(now, auto_distribution)
    assert send(made, now) == []
    taken = made.take_reroute()
    assert taken is not None
    assert taken[1] == shard_map
    return taken[0]


def offer(made, *entries, now=0.0):
    for each in entries:
        made.offer(each, now)
    return entries


def entry_of(index, size=100):
    made = entry(0, size=size)
    made.shard_id = name(index)
    return made
