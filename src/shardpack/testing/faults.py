"""What can go wrong between a client and Kinesis: the faults that a ``FaultProxy`` injects, and when.

Each fault is a value. ``probability`` says how often it comes, ``operations`` which calls it may meet
(``"PutRecords"``, or several; none are all). A *schedule* decides by itself: any callable that takes a ``Request`` and
returns a fault or ``None``; ``Script`` is one that goes by a list.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal, TypeAlias

from ..errors import abridged
from .http_exchange import parsed

__all__ = [
    "Chance",
    "Cut",
    "Error",
    "Latency",
    "Plan",
    "RefuseEntries",
    "Request",
    "Reset",
    "Script",
    "ShardLimits",
    "StaleShards",
    "Trickle",
    "plan",
]

When: TypeAlias = Literal["before", "after"]
"""Before the request is passed on (nothing is stored), or after the service has answered (it is)."""

MOST_PIECES = 1000
THROTTLED = "ProvisionedThroughputExceededException"
INTERNAL = "InternalFailure"

KNOWN_ERRORS: Mapping[str, tuple[int, str]] = {
    THROTTLED: (400, "Rate exceeded for shard in stream {stream} under account 000000000000."),
    "LimitExceededException": (400, "Rate exceeded for stream {stream} under account 000000000000."),
    "ThrottlingException": (400, "Rate exceeded"),
    "KMSThrottlingException": (400, "The request was denied due to request throttling by AWS KMS."),
    "ResourceNotFoundException": (400, "Stream {stream} under account 000000000000 not found."),
    "ResourceInUseException": (400, "Stream {stream} under account 000000000000 is not ACTIVE."),
    "AccessDeniedException": (400, "User is not authorized to perform this operation on stream {stream}"),
    "ExpiredTokenException": (400, "The security token included in the request is expired"),
    "UnrecognizedClientException": (400, "The security token included in the request is invalid."),
    "ExpiredNextTokenException": (400, "The pagination token passed to the operation is expired."),
    "ExpiredIteratorException": (400, "Iterator expired."),
    INTERNAL: (500, "The request processing has failed because of an unknown error, exception or failure."),
    "ServiceUnavailable": (503, "The request has failed due to a temporary failure of the server."),
}
"""Status and message by code. Source: API reference of Kinesis Data Streams, and its common errors."""

ENTRY_MESSAGES: Mapping[str, str] = {
    THROTTLED: "Rate exceeded for shard {shard} in stream {stream} under account 000000000000.",
    INTERNAL: "Internal service failure.",
}
"""What the answer to PutRecords says of an entry. Source: its API reference."""


class Request:
    """One call on its way: what schedules decide by."""

    __slots__ = ("_json", "body", "number", "operation")

    def __init__(self, number: int, operation: str, body: bytes) -> None:
        self.number = number
        """Counted from 1 over all calls of the proxy, in the order in which they arrived."""
        self.operation = operation
        """The name of the call: ``"PutRecords"``."""
        self.body = body
        self._json: dict[str, Any] | None = None

    @property
    def json(self) -> dict[str, Any]:
        """The call's parameters, ``Data`` in base64; read when first asked for. Not to be changed."""
        if self._json is None:
            self._json = parsed(self.body) or {}  # the service is to say so
        return self._json

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The ``Records`` of a PutRecords call, the one that PutRecord has; of other calls, none."""
        if self.operation == "PutRecord":
            return [self.json]
        records = self.json.get("Records") if self.operation == "PutRecords" else None
        return records if isinstance(records, list) and all(isinstance(entry, dict) for entry in records) else []

    @property
    def stream(self) -> str:
        """The name of the stream, also where the call gives its ARN; empty where it gives neither."""
        named = self.json.get("StreamName") or self.json.get("StreamARN") or ""
        return str(named).rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """How often a fault comes, and which calls it may meet."""

    probability: float = 1.0
    operations: str | tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_share("probability", self.probability)
        _check(self)

    def meets(self, request: Request, chance: Random) -> bool:
        """Whether this call meets the fault; one number is drawn where that is left to chance."""
        named = (self.operations,) if isinstance(self.operations, str) else self.operations
        if named and request.operation not in named:
            return False
        return self.probability >= 1 or chance.random() < self.probability


@dataclass(frozen=True, slots=True)
class Latency(Chance):
    """The call takes longer: ``seconds``, and up to ``jitter_s`` more. Several add up.

    ``"after"`` keeps back the answer to what is done already: a client that waits less long loses it.
    """

    seconds: float = 0.0
    jitter_s: float = 0.0
    when: When = "before"

    @property
    def label(self) -> str:
        return f"latency {self.when}"


@dataclass(frozen=True, slots=True)
class Reset(Chance):
    """The connection is reset: before the call is passed on, or after it was answered, with the answer lost."""

    when: When = "before"

    @property
    def label(self) -> str:
        return f"reset {self.when}"


@dataclass(frozen=True, slots=True)
class Cut(Chance):
    """The connection ends when this share of the answer's body has arrived; the call itself was done."""

    at: float = 0.5

    @property
    def label(self) -> str:
        return "cut"


@dataclass(frozen=True, slots=True)
class Trickle(Chance):
    """The answer's body arrives in ``pieces`` (1 to 1,000), a pause before each, all of them ``seconds`` long.

    A client that waits less long for a piece gives up in the middle of the answer; the call itself was done.
    """

    seconds: float = 1.0
    pieces: int = 10

    def __post_init__(self) -> None:
        Chance.__post_init__(self)
        if not isinstance(self.pieces, int) or not 1 <= self.pieces <= MOST_PIECES:
            raise ValueError(f"pieces is from 1 to {MOST_PIECES:,}, not {abridged(self.pieces)}")

    @property
    def label(self) -> str:
        return "trickle"


@dataclass(frozen=True, slots=True)
class Error(Chance):
    """The service answers with an error, in the wire form of AWS, instead of doing the call or after it was done.

    ``status`` and ``message`` are those of the code where it is in ``KNOWN_ERRORS``; of any other, 400 and nothing.
    """

    code: str = INTERNAL
    when: When = "before"
    status: int | None = None
    message: str | None = None

    @property
    def label(self) -> str:
        return f"{self.code} {self.when}"


@dataclass(frozen=True, slots=True)
class RefuseEntries(Chance):
    """Entries of PutRecords are refused, the others are passed on: ``share`` of them by chance, or ``positions``."""

    share: float = 1.0
    code: str = THROTTLED
    positions: tuple[int, ...] | None = None

    @property
    def label(self) -> str:
        return f"entries {self.code}"

    def refused(self, count: int, chance: Random) -> list[int]:
        """Return which of ``count`` entries are refused; a number is drawn for each unless they are named."""
        if self.positions is not None:
            return sorted({position for position in self.positions if 0 <= position < count})
        return [position for position in range(count) if chance.random() < self.share]


@dataclass(frozen=True, slots=True)
class ShardLimits(Chance):
    """Each shard takes so much: PutRecords entries and PutRecord calls beyond it are throttled, the others are not.

    A token bucket for each shard holds what it takes in ``burst_s`` seconds. Bytes are data and partition keys. A
    record that is larger than a whole bucket goes when the bucket is full, and is then paid off.
    """

    records_per_s: float = 1000.0
    bytes_per_s: float = 1024.0 * 1024.0
    burst_s: float = 1.0

    @property
    def label(self) -> str:
        return "shard limit"


@dataclass(frozen=True, slots=True)
class StaleShards(Chance):
    """ListShards tells of a change only ``seconds`` after the proxy first saw it; until then, the old answer again."""

    seconds: float = 1.0

    @property
    def label(self) -> str:
        return "stale ListShards"


Fault: TypeAlias = Latency | Reset | Cut | Trickle | Error | RefuseEntries | ShardLimits | StaleShards
Schedule: TypeAlias = Callable[[Request], Fault | None]


class Script:
    """A schedule by list: the calls of ``operation`` meet ``faults`` in turn, ``None`` is none; then nothing more."""

    def __init__(self, operation: str, faults: Iterable[Fault | None]) -> None:
        self.operation = operation
        self._faults = deque(faults)
        for fault in self._faults:
            if fault is not None and not isinstance(fault, Chance):
                raise TypeError(f"a Script is made of faults and None, not of {abridged(fault)}")

    @property
    def left(self) -> int:
        """How many no call has met yet."""
        return len(self._faults)

    def __call__(self, request: Request) -> Fault | None:
        return self._faults.popleft() if request.operation == self.operation and self._faults else None


@dataclass(slots=True)
class Plan:
    """What one call is to meet."""

    latencies: list[Latency] = field(default_factory=list)
    before: Reset | Error | None = None
    after: Reset | Error | Cut | None = None
    trickle: Trickle | None = None
    refusals: list[RefuseEntries] = field(default_factory=list)
    limits: list[ShardLimits] = field(default_factory=list)
    stale: StaleShards | None = None


def checked(faults: Iterable[Fault | Schedule]) -> tuple[Fault | Schedule, ...]:
    """Return the faults and schedules; raises ``TypeError`` for what is neither."""
    if isinstance(faults, Chance) or not isinstance(faults, Iterable):
        raise TypeError(f"faults is a list of faults and schedules, not {abridged(faults)}")
    rules = tuple(faults)
    for rule in rules:
        if isinstance(rule, type) or not (isinstance(rule, Chance) or callable(rule)):
            raise TypeError(f"faults are those of shardpack.testing.faults, or callables, not {abridged(rule)}")
    return rules


def plan(rules: Iterable[Fault | Schedule], request: Request, chance: Random) -> Plan:
    """Decide what a call meets. Rules are asked in order; of two that end the call, the first holds."""
    planned = Plan()
    for fault in _met(rules, request, chance):
        match fault:
            case Latency():
                planned.latencies.append(fault)
            case RefuseEntries():
                planned.refusals.append(fault)
            case ShardLimits():
                planned.limits.append(fault)
            case Trickle():
                planned.trickle = planned.trickle or fault
            case StaleShards():
                planned.stale = planned.stale or fault
            case Reset(when="before") | Error(when="before"):
                planned.before = planned.before or fault
            case Reset() | Error() | Cut():
                planned.after = planned.after or fault
    return planned


def _met(rules: Iterable[Fault | Schedule], request: Request, chance: Random) -> Iterator[Fault]:
    for rule in rules:
        fault = rule if isinstance(rule, Chance) else rule(request)
        if fault is None:
            continue
        if not isinstance(fault, Chance):
            raise TypeError(f"a schedule returned {abridged(fault)}, which is no fault")
        if fault.meets(request, chance):
            yield fault


def _check_share(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"{name} is from 0 to 1, not {abridged(share)}")


def _check(fault: Chance) -> None:
    """Refuse numbers that mean nothing, where the fault is made."""
    for name in ("share", "at"):
        if hasattr(fault, name):
            _check_share(name, getattr(fault, name))
    for name in ("seconds", "jitter_s"):
        if hasattr(fault, name) and not 0 <= getattr(fault, name) < math.inf:
            raise ValueError(f"{name} is a number of seconds from 0, not {abridged(getattr(fault, name))}")
    for name in ("records_per_s", "bytes_per_s", "burst_s"):
        if hasattr(fault, name) and not 0 < getattr(fault, name) < math.inf:
            raise ValueError(f"{name} is above 0, not {abridged(getattr(fault, name))}")
    if getattr(fault, "when", "before") not in ("before", "after"):
        raise ValueError(f"when is 'before' or 'after', not {abridged(getattr(fault, 'when', None))}")
