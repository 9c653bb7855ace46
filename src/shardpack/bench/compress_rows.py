"""The rows of the headline table about compression: fewer bytes, and what they cost, beside what guides tell to do."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from .. import Aggregator, ShardMap, deaggregate
from ..codec import zstd
from . import ours, pairs, received
from .corpus import Corpus, flights
from .row import OURS, CannotMeasureError, Contender, Row, Scale

GZIP = "gzip(JSON) per key"
"""A batch's records grouped by key, the JSON array of each group through gzip as Python has it, put raw."""

PLAIN = "not compressed"

SHARDS, MAX_BYTES = 4, 256 * 1024
BATCH = 5_000
"""Records that come at a time: what a tenth of a second brings at 50,000 a second."""


def gzip_per_key(batches: list[tuple[list[str], list[bytes]]], level: int = 9) -> list[tuple[str, bytes]]:
    """Return partition key and data of each Kinesis record. Records are JSON already, so nothing is encoded."""
    sent = []
    for keys, datas in batches:
        groups: dict[str, list[bytes]] = defaultdict(list)
        for key, data in zip(keys, datas, strict=True):
            groups[key].append(data)
        sent += [(key, gzip.compress(b"[" + b",".join(group) + b"]", level)) for key, group in groups.items()]
    return sent


def aggregator(compression: str | None = "zstd", level: int = 1, max_bytes: int = MAX_BYTES) -> Aggregator:
    """Make one like a producer's, for some shards."""
    if compression is not None:
        try:
            zstd.library()
        except ImportError as how:
            raise CannotMeasureError(str(how)) from None
    options: dict[str, Any] = {} if compression is None else {"compression": compression, "compression_level": level}
    return Aggregator(ShardMap.uniform(SHARDS), max_bytes=max_bytes, **options)


def bytes_sent(sent: list[Any]) -> int:
    """Count what the stream's limits count: data and partition keys."""
    return sum(
        len(record[0].encode()) + len(record[1]) if isinstance(record, tuple) else record.size for record in sent
    )


def compress_contenders(corpus: Corpus, batch: int = BATCH) -> dict[str, Contender]:
    """Whoever makes Kinesis records of a corpus that comes so many at a time."""
    batches = ours.batches(corpus, batch)

    def aggregated(compression: str | None) -> Contender:
        return Contender(
            lambda: partial(ours.add_many_and_take, aggregator(compression), batches),
            lambda sealed: pairs.in_kinesis_records(sealed) == sorted(corpus.pairs()),
        )

    return {
        OURS: aggregated("zstd"),
        GZIP: Contender(lambda: partial(gzip_per_key, batches), lambda sent: _agree(sent, corpus)),
        PLAIN: aggregated(None),
    }


def _agree(sent: list[tuple[str, bytes]], corpus: Corpus) -> bool:
    expected: dict[str, list[Any]] = defaultdict(list)
    for key, data in corpus.pairs():
        expected[key].append(json.loads(data))
    found: dict[str, list[Any]] = defaultdict(list)
    for key, group in _unpacked(sent):
        found[key] += group
    return found == expected


def _unpacked(sent: list[tuple[str, bytes]]) -> Iterator[tuple[str, list[Any]]]:
    return ((key, json.loads(gzip.decompress(data))) for key, data in sent)


def compress_row(scale: Scale) -> Row:
    corpus = flights(scale(50_000))
    return Row(
        "`Aggregator` with zstd, flights",
        f"{round(corpus.data_size / len(corpus))} B, {BATCH:,} at a time, {SHARDS} shards, 256 KiB",
        "user records",
        len(corpus),
        compress_contenders(corpus),
    )


def bytes_row(scale: Scale) -> Row:
    corpus = flights(scale(50_000))

    def sent_each(sent: list[Any]) -> float:
        return bytes_sent(sent) / len(corpus)

    return Row(
        "… bytes sent, fewer is better",
        "data and partition keys of the Kinesis records, for each user record",
        "bytes each",
        1,
        {name: replace(each, seconds=sent_each) for name, each in compress_contenders(corpus).items()},
    )


def _received(corpus: Corpus, compression: str | None) -> list[dict[str, Any]]:
    return received.get_records(ours.add_many(aggregator(compression), corpus))


def _read_row(scale: Scale, title: str, call: Callable[[list[dict[str, Any]]], Any]) -> Row:
    corpus = flights(scale(50_000))

    def is_right(_: Any) -> bool:
        both = (deaggregate(_received(corpus, compression)) for compression in ("zstd", None))
        return all(sorted(pairs.of_user_records(found)) == sorted(corpus.pairs()) for found in both)

    def reader(compression: str | None) -> Contender:
        return Contender(lambda: partial(call, _received(corpus, compression)), is_right)

    detail = f"GetRecords with compressed aggregates of 256 KiB, level 1, and with plain ones, {SHARDS} shards"
    return Row(title, detail, "user records", len(corpus), {OURS: reader("zstd"), PLAIN: reader(None)})


def deaggregate_row(scale: Scale) -> Row:
    return _read_row(scale, "`deaggregate`, flights with zstd, no field read", deaggregate)


def read_row(scale: Scale) -> Row:
    return _read_row(scale, "… `data` and `partition_key` of each read", ours.read)


COMPRESS_ROWS: dict[str, Callable[[Scale], Row]] = {
    "compress": compress_row,
    "compress-bytes": bytes_row,
    "compress-deaggregate": deaggregate_row,
    "compress-read": read_row,
}
