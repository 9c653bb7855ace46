"""The user records of entries: in buckets until they have their outcome."""

from __future__ import annotations

from dataclasses import dataclass

from .._native.inbox import Inbox
from .._native.router import Bucket
from ..records import KinesisRecord
from ..shards import Shard, ShardMap
from .entries import Entry


@dataclass(slots=True, eq=False)
class Lot:
    """The user records of an entry, and the Kinesis record once it was sealed: a compressed one is from the start."""

    inbox: Inbox
    bucket: Bucket
    offered_at: float
    record: KinesisRecord | None = None
    sent: bool = False
    """Whether some request had it."""

    def lie_in(self, shard: Shard) -> bool:
        return self.inbox.lie_in(self.bucket, shard.starting_hash_key, shard.ending_hash_key)


class _Settled:
    """The contents of an entry that has its outcome: a receipt that is kept does not keep the user records."""

    def lie_in(self, _shard: Shard) -> bool:
        raise AssertionError("what has its outcome is nowhere any more")


SETTLED = _Settled()


def new_entry(
    inbox: Inbox, sealed: tuple[Bucket, KinesisRecord | None], shard_map: ShardMap, now: float, expires_at: float
) -> Entry:
    """Return the entry of a bucket that is offered now, and of its Kinesis record if that is compressed."""
    bucket, compressed = sealed
    return Entry(
        shard_id=shard_map[bucket.shard_index].shard_id,
        size=bucket.request_size if compressed is None else compressed.request_size,
        user_record_count=len(bucket),
        expires_at=expires_at,
        contents=Lot(inbox, bucket, now, compressed),
        aggregated=bucket.aggregated or compressed is not None,
        compressed=compressed is not None,
    )


def lot_of(entry: Entry) -> Lot:
    """Return the user records of an entry that has no outcome yet."""
    assert isinstance(entry.contents, Lot)
    return entry.contents


def sealed_of(entry: Entry) -> KinesisRecord:
    """Return the Kinesis record of an entry that was sealed."""
    record = lot_of(entry).record
    assert record is not None
    return record
