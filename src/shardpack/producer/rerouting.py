"""Resharding, as far as user records are concerned: which bucket goes where, when the shards are others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .._native.inbox import Inbox
from .._native.router import Bucket
from .._native.shard_table import ShardTable
from ..records import KinesisRecord
from .entries import Entry
from .lots import lot_of, new_entry
from .offering import Offering
from .scheduler import Scheduler
from .settling import Outstanding

EVERYTHING = 2**64 - 1


@dataclass(slots=True)
class _Step:
    """User records on their way to other shards, and how far they have come: memory may run out at each step."""

    entries: list[Entry]
    buckets: list[Bucket]
    """Theirs."""
    table: ShardTable
    max_records: int | None
    bucketed: list[Bucket] | None = None
    """What was in the inbox."""
    waiting: list[Bucket] | None = None
    """All that was not offered; it goes behind."""
    routed: bool = False
    fresh: list[Bucket] | None = None
    """What the entries have become, and the same sealed."""
    sealed: list[tuple[Bucket, KinesisRecord | None]] | None = None
    handed_back: bool = False


class Rerouting:
    """Routes what the scheduler hands back, and behind it all that waits in the inbox, to the shards as they are now.

    Where memory runs out it stops, and goes on there the next time, before anything else is routed.
    """

    def __init__(self, inbox: Inbox, outstanding: Outstanding, offering: Offering, max_records: int | None) -> None:
        self.max_records = max_records
        """How many user records an aggregated record may have, unless the stream is AUTO."""
        self._inbox, self._outstanding, self._offering = inbox, outstanding, offering
        self._step: _Step | None = None

    def go_on(self, scheduler: Scheduler, now: float) -> bool:
        """Route anew, if the shards are others. Returns whether they are."""
        step = self._step
        if step is None:
            taken = scheduler.take_reroute()
            if taken is None:
                return False
            entries, shard_map = taken
            max_records = 1 if scheduler.auto_distribution else self.max_records
            buckets = [lot_of(entry).bucket for entry in entries]
            step = self._step = _Step(entries, buckets, shard_map._table, max_records)  # noqa: SLF001
        if step.bucketed is None:
            step.bucketed = self._inbox.take(EVERYTHING)
        if step.waiting is None:
            step.waiting = self._offering.buckets() + step.bucketed
            self._offering.clear()
        if not step.handed_back:
            if not step.routed:
                self._route(step, step.buckets)
                step.routed = True
            if step.fresh is None:
                step.fresh = self._inbox.take(EVERYTHING)
            if step.sealed is None:
                step.sealed = self._offering.seal(step.fresh, scheduler)
            self._hand_back(scheduler, step.entries, step.sealed, now)
            step.handed_back = True
        self._route(step, step.waiting)
        self._step = None
        return True

    def _route(self, step: _Step, buckets: list[Bucket]) -> None:
        if self._inbox.is_rerouting:
            self._inbox.go_on_rerouting()
        else:
            self._inbox.reroute(buckets, step.table, step.max_records)

    def _hand_back(
        self,
        scheduler: Scheduler,
        entries: Sequence[Entry],
        sealed: Sequence[tuple[Bucket, KinesisRecord | None]],
        now: float,
    ) -> None:
        """Give the scheduler what its entries have become, unless they have got their outcome meanwhile."""
        if scheduler.take_reroute() is None:
            return
        longest = max((entry.attempts for entry in entries), key=len, default=[])
        expires_at = min((entry.expires_at for entry in entries), default=now)
        fresh = []
        for each in sealed:
            entry = new_entry(self._inbox, each, scheduler.shard_map, now, expires_at)
            entry.maybe_stored = any(before.maybe_stored for before in entries)
            entry.attempts = list(longest)
            fresh.append(entry)
        for entry in entries:
            self._outstanding.remove(entry)
        for entry in fresh:
            self._outstanding.add(entry)
        scheduler.on_rerouted(fresh, now)
