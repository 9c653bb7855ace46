"""What a tenant may have, and what it has had."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from ..errors import abridged
from ..limits import whole_number
from ..producer.entries import Status
from ..producer.stats import Histogram, Times
from .fair import Account, Rate
from .slices import HashSlice

EVERYTHING = HashSlice()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """What a tenant may have.

    ``weight`` (1): its part of a shard, against those that want more than there is. ``bytes_per_second``: of keys and
    data, a second's worth at once; what comes faster waits. ``max_buffered_bytes``: what it may have waiting and under
    way, keys, data and what each record takes beside; without it as much as is free. ``hash_slice``: the hash keys that
    its records are placed in, so that they are only in shards that have some of these.

    Raises ``ValueError`` or ``TypeError`` for what is none of these.
    """

    weight: float = 1.0
    bytes_per_second: float | None = None
    max_buffered_bytes: int | None = None
    hash_slice: HashSlice = EVERYTHING

    def __post_init__(self) -> None:
        _check_number("weight", self.weight, 1e-6)
        if self.bytes_per_second is not None:
            _check_number("bytes_per_second", self.bytes_per_second, 1)
        if self.max_buffered_bytes is not None and whole_number("max_buffered_bytes", self.max_buffered_bytes) < 1:
            raise ValueError(f"max_buffered_bytes of {abridged(self.max_buffered_bytes)} is below 1")
        if not isinstance(self.hash_slice, HashSlice):
            raise TypeError(f"hash_slice is a HashSlice, not {abridged(self.hash_slice)}")


def _check_number(name: str, given: object, least: float) -> None:
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise TypeError(f"{name} is a number, not {abridged(given)}")
    if not least <= given < inf:
        raise ValueError(f"{name} of {given} is not between {least:,} and what can be counted")


@dataclass(frozen=True, slots=True)
class TenantStats:
    """What a tenant has put, and what became of it. Bytes are of data and of partition keys with the prefix."""

    user_records_put: int = 0
    bytes_put: int = 0
    user_records_stored: int = 0
    bytes_stored: int = 0
    user_records_failed: int = 0
    """Not stored, for certain."""
    user_records_unknown: int = 0
    """Given up, but perhaps stored."""
    user_records_queued: int = 0
    """That wait for their turn."""
    bytes_queued: int = 0
    buffered_bytes: int = 0
    """What it holds: of all that has no outcome, with what each record takes beside."""
    wait_s: Histogram = field(default_factory=Histogram)
    """How long user records have waited for their turn, each that had it; to that comes what ``Stats`` tells."""


class Known:
    """A tenant that was put for: its prefix, what it may have, and what is counted of it."""

    __slots__ = ("account", "counts", "prefix", "put", "put_bytes", "sizes", "tenant", "wait")

    def __init__(self, prefix: str, tenant: Tenant) -> None:
        self.prefix, self.tenant = prefix, tenant
        rate = None if tenant.bytes_per_second is None else Rate(tenant.bytes_per_second)
        most = inf if tenant.max_buffered_bytes is None else tenant.max_buffered_bytes
        self.account = Account(tenant.weight, rate, most)
        self.put = self.put_bytes = 0
        self.counts = dict.fromkeys(Status, 0)
        self.sizes = dict.fromkeys(Status, 0)
        self.wait = Times()

    def is_idle(self, now: float) -> bool:
        """Whether it holds nothing, and may have something at once."""
        account = self.account
        return not account.held and (account.rate is None or account.rate.ready_at(now) <= now)

    def stats(self) -> TenantStats:
        account, counts = self.account, self.counts
        return TenantStats(
            user_records_put=self.put,
            bytes_put=self.put_bytes,
            user_records_stored=counts[Status.STORED],
            bytes_stored=self.sizes[Status.STORED],
            user_records_failed=counts[Status.NOT_STORED],
            user_records_unknown=counts[Status.UNKNOWN],
            user_records_queued=account.waiting,
            bytes_queued=account.queued,
            buffered_bytes=account.held,
            wait_s=self.wait.snapshot(),
        )
