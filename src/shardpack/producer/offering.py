"""Buckets between the inbox and the scheduler: compressed on the way where that is wanted, a turn's worth at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .._native.inbox import Inbox
from .._native.router import Bucket
from ..records import KinesisRecord
from .scheduler import Scheduler

if TYPE_CHECKING:
    from ..codec.sealing import CompressedSealer


class Offering:
    """What was taken from the inbox and is not offered yet, in order. Where memory runs out it is as before."""

    def __init__(self, inbox: Inbox, sealer: CompressedSealer | None) -> None:
        self.taken: deque[Bucket] = deque()
        self.sealed: deque[tuple[Bucket, KinesisRecord | None]] = deque()
        """Before what is taken: with a Kinesis record where that is compressed."""
        self._inbox, self._sealer = inbox, sealer
        if sealer is not None:
            inbox.max_bytes = sealer.bucket_bytes

    def __bool__(self) -> bool:
        return bool(self.taken or self.sealed)

    def buckets(self) -> list[Bucket]:
        """Return all of it."""
        return [bucket for bucket, _ in self.sealed] + list(self.taken)

    def clear(self) -> None:
        """Forget all of it: it is somebody else's."""
        self.sealed.clear()
        self.taken.clear()

    def seal_some(self, scheduler: Scheduler, *, plain: bool) -> None:
        """Seal as much as is compressed in one turn, unless something is; all of it where it is to be ``plain``."""
        if self.sealed:
            return
        some = list(self.taken) if self._sealer is None or plain else self._sealer.first_of(self.taken)
        self.sealed = deque([(bucket, None) for bucket in some] if plain else self.seal(some, scheduler))
        for _ in some:
            self.taken.popleft()

    def seal(self, buckets: Sequence[Bucket], scheduler: Scheduler) -> list[tuple[Bucket, KinesisRecord | None]]:
        """Return buckets with their Kinesis records, where compressed; those of several records may be parts of others.

        A lone user record of a stream that spreads records itself goes as it is, for readers with a ``hash_range``.
        """
        lone = scheduler.auto_distribution and all(len(bucket) == 1 for bucket in buckets)
        if self._sealer is None or lone or scheduler.failed is not None:
            return [(bucket, None) for bucket in buckets]
        pairs = self._sealer.seal(buckets)
        # the buckets of all shards are to be half the buffer, or it is full before any of them
        most = self._inbox.max_buffered // (2 * len(scheduler.shard_map))
        self._inbox.max_bytes = max(self._sealer.max_bytes, min(self._sealer.bucket_bytes, most))
        return pairs
