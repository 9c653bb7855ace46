"""How Kinesis records reach the service: the ``Transport`` protocol and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Protocol, TypeGuard

from .._native.put_reply import Stored as Stored
from ..errors import ShardpackError, abridged
from ..limits import Limits
from ..records import KinesisRecord
from ..shards import ShardMap

__all__ = ["AsyncTransport", "BrokenAnswerError", "Failed", "Stored", "StreamDescription", "Transport"]

THROTTLED = frozenset(
    {
        "KMSThrottlingException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""Source: API reference of GetRecords, GetShardIterator and ListShards; common errors of AWS services."""


class BrokenAnswerError(ShardpackError):
    """An answer without what it must have: cut off on its way, which boto3 takes for an answer that has nothing."""

    def __init__(self, operation: str, missing: str) -> None:
        super().__init__(f"{operation}: the answer was cut off on its way: {missing} is missing")


@dataclass(frozen=True, slots=True)
class Failed:
    """The service refused this one entry of a request; the others are not affected."""

    error_code: str
    message: str

    @property
    def retryable(self) -> bool:
        """Whether the same entry may succeed later. Source: API reference of PutRecords."""
        return self.error_code in ("ProvisionedThroughputExceededException", "InternalFailure")


@dataclass(frozen=True, slots=True)
class StreamDescription:
    """What a producer, or a reader, asks of a stream before it starts."""

    stream_name: str
    stream_arn: str
    status: str
    open_shard_count: int
    limits: Limits
    auto_distribution: bool
    """Whether the service ignores keys and spreads records itself (on-demand streams, ``AUTO``)."""
    retention_s: float | None = None
    """How long records are kept; ``None`` where the service does not tell."""


class Transport(Protocol):
    """One stream, reached somehow. Calls block; they raise what their client raises when a whole call fails."""

    def put_records(self, entries: Sequence[KinesisRecord]) -> list[Stored | Failed]:
        """Send one request. Returns an outcome for each entry, by position."""
        ...

    def list_shards(self) -> ShardMap:
        """Return the open shards as they are now."""
        ...

    def describe(self) -> StreamDescription:
        """Return the stream's limits and state."""
        ...


class AsyncTransport(Protocol):
    """The same of an event loop: its calls are coroutines, for ``AsyncProducer``."""

    async def put_records(self, entries: Sequence[KinesisRecord]) -> list[Stored | Failed]:
        """Send one request. Returns an outcome for each entry, by position."""
        ...

    async def list_shards(self) -> ShardMap:
        """Return the open shards as they are now."""
        ...

    async def describe(self) -> StreamDescription:
        """Return the stream's limits and state."""
        ...


def is_async(transport: Transport | AsyncTransport) -> TypeGuard[AsyncTransport]:
    """Whether a transport's calls are coroutines."""
    return iscoroutinefunction(getattr(transport, "put_records", None))


def check_client(client: object) -> None:
    """Raise ``TypeError`` for what cannot be a client of Kinesis, saying how one is made."""
    if not callable(getattr(client, "put_records", None)):
        raise no_client(client)


def no_client(given: object) -> TypeError:
    """Return the error for something that was given as a client."""
    return TypeError(
        f"expected a Kinesis client, as boto3.client('kinesis') makes one, not {abridged(given)}; "
        "of a session it is session.client('kinesis'), of a resource it is resource.meta.client, and aiobotocore's is "
        "what `async with` gives"
    )


def has_coroutines(client: object) -> bool:
    """Whether a client is aiobotocore's: who has it has entered it, as ``async with`` does."""
    return hasattr(type(client), "__aenter__")
