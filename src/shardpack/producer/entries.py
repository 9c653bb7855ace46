"""A Kinesis record on its way: what a call carries, how calls go, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from ..limits import MAX_REQUEST_RECORDS
from ..shards import Shard
from ..transport import Stored


class Contents(Protocol):
    """The user records of an entry, of which only this is asked."""

    def lie_in(self, shard: Shard) -> bool:
        """Whether the hash keys of all of them are the shard's."""
        ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call that did not bring an entry where it belongs: when it was answered, and with which error code."""

    at: float
    error_code: str


@dataclass(slots=True, eq=False)
class Entry:
    """A Kinesis record that is to be delivered. ``size`` is what it takes of a request, in bytes."""

    shard_id: str
    size: int
    user_record_count: int
    expires_at: float
    contents: Contents
    aggregated: bool = True
    """Whether readers pass it over in a shard that has not the hash keys of all its user records."""
    compressed: bool = False
    """Whether it is aggregated for that alone, and a lone user record of it could be sent raw."""
    attempts: list[Attempt] = field(default_factory=list)
    maybe_stored: bool = False
    """Some call that carried it was never answered, or it was stored in another shard than it was meant for."""
    stored: Stored | None = None
    """That other shard."""
    crowd: int = MAX_REQUEST_RECORDS
    """How many entries its next request may have: fewer each time that one was refused as a whole."""


@dataclass(slots=True, eq=False)
class Request:
    """One PutRecords call."""

    entries: list[Entry]
    sent_at: float


class Status(Enum):
    """The three outcomes, never mixed."""

    STORED = "stored"
    NOT_STORED = "not stored"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome of an entry: where it is stored, or why it is not, or may not be."""

    entry: Entry
    status: Status
    at: float
    shard_id: str | None = None
    sequence_number: str | None = None
    error_code: str | None = None
    message: str = ""


class Fault(Enum):
    """Why a whole call failed, as far as what to do next depends on it."""

    THROTTLED = "throttled"
    TRANSIENT = "transient"
    INVALID = "invalid"
    """The request was refused as it is: one of its entries may be why."""
    TOO_LARGE = "too large"
    """The request was refused for its size; a smaller one may be taken."""
    NO_STREAM = "no stream"
    FATAL = "fatal"
    """No later call will do better."""


@dataclass(frozen=True, slots=True)
class CallError:
    """A call that failed as a whole. ``maybe_stored`` unless it is known that the service took nothing of it."""

    fault: Fault
    error_code: str
    message: str
    maybe_stored: bool = False
