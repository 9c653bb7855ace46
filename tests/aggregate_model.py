"""What an Aggregator has to make of user records, said as plainly as the rules: the slow way, from sizes up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import wire

UserRecordIn = tuple[str | bytes, bytes, int | str | None]


@dataclass(frozen=True)
class Sealed:
    """A Kinesis record as it should come out."""

    partition_key: str
    explicit_hash_key: str | None
    data: bytes
    user_record_count: int
    size: int


def sealed_size(user_records: list[UserRecordIn]) -> int:
    """Bytes that the service counts for these user records in one aggregated record: data and outer key."""
    return len(wire.aggregate(user_records)) + len(wire.as_bytes(user_records[0][0]))


def seal(user_records: list[UserRecordIn]) -> Sealed:
    key, data, explicit_hash_key = user_records[0]
    outer = None if explicit_hash_key is None else str(int(explicit_hash_key))
    if len(user_records) > 1 or data.startswith((wire.MAGIC, wire.COMPRESSED_MAGIC)):
        data = wire.aggregate(user_records)
        outer = str(wire.hash_key(key, explicit_hash_key))
    key = wire.as_bytes(key)
    return Sealed(key.decode(), outer, data, len(user_records), len(data) + len(key))


def shard_of(user_record: UserRecordIn, shard_count: int) -> int:
    """The shard of a stream that the service split evenly."""
    key, _, explicit_hash_key = user_record
    return min(wire.hash_key(key, explicit_hash_key) // (2**128 // shard_count), shard_count - 1)


class Bucket:
    """The user records that go into one Kinesis record, and how large it becomes if it is aggregated."""

    def __init__(self, first: UserRecordIn) -> None:
        self.user_records: list[UserRecordIn] = []
        self.keys: dict[bytes, int] = {}
        self.hash_keys: dict[int, int] = {}
        self.size = len(wire.frame(b"")) + len(wire.as_bytes(first[0]))
        self.add(first)

    def growth(self, user_record: UserRecordIn) -> int:
        key, data, explicit_hash_key = user_record
        key = wire.as_bytes(key)
        growth = 0 if key in self.keys else len(wire.content(1, key))
        hash_index = None
        if explicit_hash_key is not None:
            hash_key = int(explicit_hash_key)
            growth += 0 if hash_key in self.hash_keys else len(wire.content(2, str(hash_key).encode()))
            hash_index = self.hash_keys.get(hash_key, len(self.hash_keys))
        return growth + len(wire.record(self.keys.get(key, len(self.keys)), data, hash_index))

    def add(self, user_record: UserRecordIn) -> None:
        key, _, explicit_hash_key = user_record
        self.size += self.growth(user_record)
        self.keys.setdefault(wire.as_bytes(key), len(self.keys))
        if explicit_hash_key is not None:
            self.hash_keys.setdefault(int(explicit_hash_key), len(self.hash_keys))
        self.user_records.append(user_record)

    def seal(self) -> Sealed:
        assert self.size == sealed_size(self.user_records)
        return seal(self.user_records)


def expected(
    user_records: Iterable[UserRecordIn], shard_count: int = 1, *, max_bytes: int = 2**20, max_records: int = 2**32
) -> dict[int, list[Sealed]]:
    """The Kinesis records of every shard, in order. A user record joins the open bucket whenever it fits."""
    buckets: dict[int, list[Bucket]] = defaultdict(list)
    for user_record in user_records:
        of_shard = buckets[shard_of(user_record, shard_count)]
        joins = (
            of_shard
            and len(of_shard[-1].user_records) < max_records
            and of_shard[-1].size + of_shard[-1].growth(user_record) <= max_bytes
        )
        if joins:
            of_shard[-1].add(user_record)
        else:
            of_shard.append(Bucket(user_record))
    return {shard: [bucket.seal() for bucket in of_shard] for shard, of_shard in buckets.items()}


def by_shard(kinesis_records) -> dict[int, list[Sealed]]:
    """What came out of an Aggregator, in the same terms."""
    found: dict[int, list[Sealed]] = defaultdict(list)
    for record in kinesis_records:
        found[record.shard_index].append(
            Sealed(record.partition_key, record.explicit_hash_key, record.data, record.user_record_count, record.size)
        )
    return dict(found)
