"""What a seed draws before it begins, and the faults there are."""

from __future__ import annotations

import random
from typing import Literal

from ...limits import Limits
from ...producer.entries import CallError, Fault
from ...shards import HASH_KEYS
from ...transport import Failed

CALL_FAULTS: dict[str, CallError] = {
    "lost reply": CallError(Fault.TRANSIENT, "ReadTimeout", "no reply", maybe_stored=True),
    "cut reply": CallError(Fault.TRANSIENT, "BrokenAnswer", "cut off", maybe_stored=True),
    "reset before": CallError(Fault.TRANSIENT, "ConnectionReset", "reset", maybe_stored=True),
    "5xx": CallError(Fault.TRANSIENT, "ServiceUnavailable", "503", maybe_stored=True),
    "late commit": CallError(Fault.TRANSIENT, "ReadTimeout", "no reply", maybe_stored=True),
    "expired token": CallError(Fault.TRANSIENT, "ExpiredToken", "expired"),
    "throttled call": CallError(Fault.THROTTLED, "LimitExceeded", "slow down"),
}
NEVER_COMMITTED = ("reset before", "expired token", "throttled call")
TIMED_OUT = ("lost reply", "late commit")
OTHER_FAULTS = ("internal", "list fails", "describe fails")
INVALID = CallError(Fault.INVALID, "ValidationException", "refused")
TOO_LARGE = CallError(Fault.TOO_LARGE, "InvalidArgumentException", "Records size exceeds the limit")
NO_STREAM = CallError(Fault.NO_STREAM, "ResourceNotFoundException", "no such stream")
DENIED = CallError(Fault.FATAL, "AccessDeniedException", "not yours")
LIST_ERRORS = (
    CallError(Fault.THROTTLED, "LimitExceededException", "slow down"),
    CallError(Fault.TRANSIENT, "InternalFailure", "500"),
)
REFUSED = Failed("InvalidArgumentException", "refused for good")


class Plan:
    """What a seed draws before it begins."""

    def __init__(self, rng: random.Random) -> None:
        choice, chance = rng.choice, rng.random
        self.shard_count = choice((1, 2, 3, 4, 8))
        self.keys = [(f"key-{i}", rng.randrange(HASH_KEYS)) for i in range(choice((1, 3, 8, 16)))]
        self.seconds = choice((0.5, 3.0, 12.0))
        self.puts = rng.randint(1, 16)
        self.burst = choice((1, 3, 10))
        self.aggregate_records = choice((1, 2, 5, 20))
        self.linger = choice((0.0, 0.1))
        self.ttl = choice((2.0, 15.0, 60.0, 300.0))
        self.latency = choice((0.001, 0.02, 0.3))
        self.records_per_second = choice((1000.0, 1000.0, 20.0, 3.0))
        self.ordering: Literal["shard", "none"] = choice(("shard", "shard", "shard", "none"))
        self.after_failure: Literal["continue", "stop"] = choice(("continue", "continue", "stop"))
        self.requests_in_flight = choice((1, 2, 4, 16))
        few, small = Limits(max_request_records=3), Limits(max_record_bytes=2000, max_request_bytes=2500)
        self.limits = choice((Limits(), few, small))
        self.reshardings = choice((0, 0, 1, 3))
        self.recreated = chance() < 0.07
        self.list_denies_deleted = chance() < 0.2
        self.auto = choice((0, 0, 0, 0, 1, 3))
        self.list_denied = chance() < 0.03
        self.wraps = chance() < 0.1  # records that look like aggregated ones
        self.most_records_per_second = choice((None, None, None, None, 30.0))
        self.stale = choice((0.0, 0.0, 0.5, 5.0))
        self.description_denied = chance() < 0.1
        self.faults = {kind: choice((0.02, 0.1, 0.3)) for kind in (*CALL_FAULTS, *OTHER_FAULTS) if chance() < 0.3}
        if chance() < 0.3:
            self.faults = {}
        self.poison = choice((0, 0, 0, 0, 0, 1, 3))
        self.poisons_requests = chance() < 0.5
        self.denied = chance() < 0.03
        self.given_up = chance() < 0.05
        self.watched = chance() < 0.25
        if chance() < 0.2:
            self.faults["no memory"] = 0.5
        self.begins_unknown = chance() < 0.3 and not self.list_denied  # no shards are known to begin with
        large = chance() < 0.15
        self.record_bytes = 60_000 if large else 90
        self.largest_taken = choice((100_000, 400_000, 5 << 20)) if large else None  # request, whatever is documented
        if large:
            self.limits = choice((Limits(), Limits(max_request_bytes=10 << 20)))

    def __str__(self) -> str:
        keys = {key: f"{hash_key:032x}" for key, hash_key in self.keys}
        return "\n".join(f"  {name} = {value}" for name, value in (vars(self) | {"keys": keys}).items())
