"""What user records are on the wire: each by itself, aggregated, or aggregated and compressed. It is measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from .._native.aggregate import Aggregator
from ..limits import KIB, Limits, put_payload_units
from ..shards import ShardMap
from .sample import Block, Sample

RAW, AGGREGATED, COMPRESSED = "raw", "aggregated", "compressed"


@dataclass(slots=True)
class Measured:
    """What was made of the kept user records in one way: by shard, and in all."""

    bytes: list[int]
    """Of Kinesis records, data and partition keys, by shard."""
    records: list[int]
    """Kinesis records, by shard."""
    payload_units: int = 0
    billed_bytes: int = 0
    """As an on-demand stream bills: each Kinesis record rounded up to 1 KiB."""

    def take(self, shard: int, size: int) -> None:
        self.bytes[shard] += size
        self.records[shard] += 1
        self.payload_units += put_payload_units(size)
        self.billed_bytes += -(-size // KIB) * KIB


@dataclass(slots=True)
class Measurement:
    """Every way, of the same user records."""

    user_bytes: int = 0
    user_records: int = 0
    ways: dict[str, Measured] = field(default_factory=dict)


def measure(sample: Sample, shard_map: ShardMap, records_at_once: int, limits: Limits) -> Measurement:
    """Aggregate what the sample kept for these shards, so many user records together, plainly and compressed.

    ``records_at_once`` is what comes in the time that a producer lets a record linger. There is no way ``compressed``
    where no library for zstd is.
    """
    aggregators = {AGGREGATED: Aggregator(shard_map, limits=limits)}
    with suppress(ImportError):
        aggregators[COMPRESSED] = Aggregator(shard_map, limits=limits, compression="zstd")
    found = Measurement()
    for way in (RAW, *aggregators):
        found.ways[way] = Measured([0] * len(shard_map), [0] * len(shard_map))
    for number, piece in enumerate(_pieces(sample, max(1, records_at_once))):
        # without a key the producer fills one shard after the other
        keyless = shard_map[number % len(shard_map)].starting_hash_key
        keys = ["-" if key is None else key for key in piece.keys]
        explicit = [
            keyless if key is None else given for key, given in zip(piece.keys, piece.explicit_hash_keys, strict=True)
        ]
        raw = found.ways[RAW]
        for shard, key, data in zip(shard_map.assign(keys, explicit), keys, piece.datas, strict=True):
            size = len(data) + len(key.encode())
            raw.take(shard, size)
            found.user_bytes += size
        found.user_records += len(keys)
        for way, aggregator in aggregators.items():
            aggregator.add_many(keys, piece.datas, explicit)
            for record in aggregator.flush():
                found.ways[way].take(record.shard_index, record.size)
    return found


def _pieces(sample: Sample, records_at_once: int) -> Iterator[Block]:
    """Yield the kept user records, so many at a time."""
    piece = Block()
    for block in sample.blocks():
        begin = 0
        while begin < len(block.datas):
            end = begin + records_at_once - len(piece.datas)
            piece.keys += block.keys[begin:end]
            piece.datas += block.datas[begin:end]
            piece.explicit_hash_keys += block.explicit_hash_keys[begin:end]
            begin = end
            if len(piece.datas) >= records_at_once:
                yield piece
                piece = Block()
    if piece.datas:
        yield piece
