"""The rows of the headline table: what runs, against what, and the proof that all of them do the same work.

A row is made when its turn comes. Everything in it is proved once, before a clock starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import shardpack

from ... import Aggregator, ShardMap, deaggregate, hash_keys
from ..._md5 import _md5_many
from . import cold_start, ways
from .corpus import Corpus, flights, synthetic
from .interleave import CORES
from .ways import AIOKPL, AWS, MIB, NotInstalledError

OURS = "shardpack"
FLOOR = "memcpy + MD5"


class NotHereError(Exception):
    """This row cannot be measured here; its text says why."""


class UnlikeError(Exception):
    """A way does other work than ours: there is nothing to compare."""


@dataclass(frozen=True, slots=True)
class Peer:
    """What stands beside ours. ``make`` raises ``NotInstalledError``; ``same_work`` judges what a run returned."""

    make: Callable[[], Callable[[], Any]]
    same_work: Callable[[Any], bool] = lambda _: True
    amount: float | None = None
    """What a run moves, where that is not what ours does."""


@dataclass(slots=True)
class Row:
    """Something that ours does, proved to be right, and who else does it. A run moves ``amount`` in ``unit``."""

    title: str
    detail: str
    unit: str
    amount: float
    ours: Callable[[], object]
    peers: dict[str, Peer] = field(default_factory=dict)

    def installed(self) -> tuple[dict[str, Callable[[], object]], dict[str, str]]:
        """Return the ways there are, ours first and each peer proved to do the same; and how to install the rest."""
        ways: dict[str, Callable[[], object]] = {OURS: self.ours}
        missing = {}
        for name, peer in self.peers.items():
            try:
                way = peer.make()
            except NotInstalledError as how:
                missing[name] = str(how)
                continue
            if not peer.same_work(way()):
                raise UnlikeError(f"{self.title}: {name} does other work")
            ways[name] = way
        return ways, missing

    def amount_of(self, way: str) -> float:
        peer = self.peers.get(way)
        return self.amount if peer is None or peer.amount is None else peer.amount


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything: 1 for figures, less to see that it works."""

    share: float = 1.0

    def __call__(self, full: int) -> int:
        return max(int(full * self.share), 64)


def _prove(holds: bool, title: str) -> None:
    if not holds:
        raise UnlikeError(f"{title}: what went in did not come out")


# --- MD5 ---


def hash_keys_row(scale: Scale) -> Row:
    keys = [f"device-{i}" for i in range(scale(1_000_000))]
    digests = hash_keys(keys).tobytes()
    peer = Peer(
        lambda: partial(ways.hashlib_hash_keys, keys),
        lambda found: b"".join(key.to_bytes(16, "big") for key in found) == digests,
    )
    return Row(
        "`hash_keys`", f"{len(keys):,} short keys", "keys", len(keys), lambda: hash_keys(keys), {"hashlib": peer}
    )


def md5_row(scale: Scale) -> Row:
    messages = [bytes([i]) * scale(MIB) for i in range(32)]
    peer = Peer(lambda: partial(ways.hashlib_md5, messages), _md5_many(messages).__eq__)
    detail = f"32 messages of {len(messages[0]) / MIB:.2g} MiB"
    return Row("MD5", detail, "bytes", 32 * len(messages[0]), lambda: _md5_many(messages), {"hashlib": peer})


# --- aggregate ---


def _aggregate_row(title: str, corpus: Corpus, ours: Callable[[Aggregator, Corpus], list[Any]]) -> Row:
    size = round(corpus.data_size / len(corpus))
    aggregator = Aggregator(ShardMap.uniform(8))
    _prove(ways.stored_pairs(ours(aggregator, corpus)) == sorted(corpus.pairs()), title)
    return Row(
        title,
        f"{size} B, 8 shards",
        "user records",
        len(corpus),
        lambda: ours(aggregator, corpus),
        {
            AWS: Peer(
                lambda: partial(ways.aws_aggregate(), corpus),
                lambda sealed: ways.stored_pairs(sealed) == sorted(corpus.pairs()),
            ),
            AIOKPL: Peer(
                lambda: partial(ways.aiokpl_aggregate(), corpus),
                lambda sealed: ways.stored_pairs(sealed) == sorted(corpus.pairs()),
            ),
        },
    )


def aggregate_row(scale: Scale) -> Row:
    return _aggregate_row("`add_many` + `flush`", synthetic(scale(100_000), 100), ways.add_many)


def aggregate_flights_row(scale: Scale) -> Row:
    corpus = flights(scale(50_000))
    return _aggregate_row("`add_many` + `flush`, flights", corpus, ways.add_many)


def aggregate_singly_row(scale: Scale) -> Row:
    return _aggregate_row("`add` + `flush`", synthetic(scale(100_000), 100), ways.add)


def many_shards_row(scale: Scale) -> Row:
    corpus = synthetic(scale(1_000_000), 100, 100_000)
    batches = ways.batches(corpus)
    few, many = (Aggregator(ShardMap.uniform(count)) for count in (8, 10_000))
    title = "`add_many` + `flush`, 10,000 shards"
    some = corpus.first(50_000)
    for aggregator in (few, many):
        _prove(ways.stored_pairs(ways.add_many(aggregator, some)) == sorted(some.pairs()), title)
    peers = {"8 shards": Peer(lambda: partial(ways.add_many_in_batches, few, batches))}
    return Row(title, "100 B", "user records", len(corpus), lambda: ways.add_many_in_batches(many, batches), peers)


def floor_row(scale: Scale) -> Row:
    corpus = synthetic(scale(32 * 1024), 1024)
    aggregator = Aggregator(ShardMap.uniform(8))
    title = "`add_many` + `flush`, 1 KiB"
    _prove(ways.stored_pairs(ways.add_many(aggregator, corpus)) == sorted(corpus.pairs()), title)
    peers = {FLOOR: Peer(lambda: ways.floor(corpus.datas))}
    return Row(title, "8 shards", "bytes", corpus.data_size, lambda: ways.add_many(aggregator, corpus), peers)


def two_threads_row(scale: Scale) -> Row:
    if len(CORES) < 2:
        raise NotHereError("needs two cores")
    corpora = [synthetic(scale(50_000), 100, distinct_keys) for distinct_keys in (4_000, 4_001)]
    aggregators = [Aggregator(ShardMap.uniform(8)) for _ in range(2)]
    threads = ThreadPoolExecutor(2)  # its threads end with the process
    times = 5

    def work(i: int) -> int:
        os.sched_setaffinity(0, {CORES[i]})
        return sum(len(ways.add_many(aggregators[i], corpora[i])) for _ in range(times))

    def on(count: int) -> list[int]:
        return list(threads.map(work, range(count)))

    title = "… in two threads"
    amount = times * sum(map(len, corpora))
    peer = Peer(lambda: lambda: on(1), amount=times * len(corpora[0]))
    return Row(title, "100 B, an `Aggregator` each", "user records", amount, lambda: on(2), {"one thread": peer})


# --- deaggregate ---


def _received(scale: Scale) -> tuple[Corpus, list[dict[str, Any]]]:
    """A GetRecords response of 10 MB, its Kinesis records as large as the KPL makes them."""
    corpus = synthetic(scale(100_000), 100)
    return corpus, ways.get_records(ways.kinesis_records(corpus, ways.KPL_AGGREGATE))


def _readers(corpus: Corpus, records: list[dict[str, Any]]) -> dict[str, Peer]:
    return {
        AWS: Peer(
            lambda: partial(ways.aws_deaggregate("Boto3"), records),
            lambda found: ways.aws_pairs(found) == corpus.pairs(),
        ),
        AIOKPL: Peer(
            lambda: partial(ways.aiokpl_deaggregate(), records),
            lambda found: ways.pairs(found) == corpus.pairs(),
        ),
    }


def deaggregate_row(scale: Scale) -> Row:
    corpus, records = _received(scale)
    title = "`deaggregate`"
    _prove(ways.pairs(deaggregate(records)) == corpus.pairs(), title)
    return Row(
        title,
        "to `UserRecord`s, 100 B, GetRecords with KPL aggregates",
        "user records",
        len(corpus),
        lambda: deaggregate(records),
        _readers(corpus, records),
    )


def read_row(scale: Scale) -> Row:
    corpus, records = _received(scale)
    title = "… and read each"
    peers = {
        AWS: Peer(lambda: partial(ways.aws_read("Boto3"), records)),
        AIOKPL: Peer(lambda: partial(ways.aiokpl_read(), records)),
    }
    return Row(title, "its `data` and `partition_key`", "user records", len(corpus), lambda: ways.read(records), peers)


def columns_row(scale: Scale) -> Row:
    deaggregate_columns = getattr(shardpack, "deaggregate_columns", None)
    if deaggregate_columns is None:
        raise NotHereError("this version has no deaggregate_columns")
    corpus, records = _received(scale)
    title = "`deaggregate_columns`"
    _prove(ways.column_pairs(deaggregate_columns(records)) == corpus.pairs(), title)
    return Row(
        title,
        "100 B, GetRecords with KPL aggregates",
        "user records",
        len(corpus),
        lambda: deaggregate_columns(records),
        _readers(corpus, records)
        | {FLOOR: Peer(lambda: ways.floor([record["Data"] for record in records], ways.KPL_AGGREGATE))},
    )


def arrow_row(scale: Scale) -> Row:
    deaggregate_arrow = getattr(shardpack, "deaggregate_arrow", None)
    if deaggregate_arrow is None:
        raise NotHereError("this version has no deaggregate_arrow")
    corpus, records = _received(scale)
    title = "`deaggregate_arrow`"
    _prove(ways.column_pairs(deaggregate_arrow(records).columns) == corpus.pairs(), title)
    return Row(
        title,
        "an Arrow record batch of the same",
        "user records",
        len(corpus),
        lambda: deaggregate_arrow(records),
        _readers(corpus, records),
    )


def event_row(scale: Scale) -> Row:
    corpus = synthetic(scale(40_000), 100)  # a function is given 6 MB at most
    event = {"Records": ways.lambda_records(ways.kinesis_records(corpus, ways.KPL_AGGREGATE))}
    title = "`deaggregate`, an event of Lambda"
    _prove(ways.pairs(deaggregate(event)) == corpus.pairs(), title)
    peer = Peer(
        lambda: partial(ways.aws_deaggregate(None), event["Records"]),
        lambda found: ways.aws_pairs(found) == corpus.pairs(),
    )
    return Row(title, "100 B, to `UserRecord`s", "user records", len(corpus), lambda: deaggregate(event), {AWS: peer})


def _drop_in_row(title: str, corpus: Corpus, records: list[dict[str, Any]], data_format: str | None) -> Row:
    deaggregate_records = ways.compat_deaggregate(data_format)
    expected = deaggregate_records(records)
    _prove(ways.aws_pairs(expected) == corpus.pairs(), title)
    peer = Peer(lambda: partial(ways.aws_deaggregate(data_format), records), expected.__eq__)
    return Row(
        title, "100 B, to dictionaries", "user records", len(corpus), lambda: deaggregate_records(records), {AWS: peer}
    )


def drop_in_events_row(scale: Scale) -> Row:
    corpus = synthetic(scale(40_000), 100)  # what a function is given at most
    records = ways.lambda_records(ways.kinesis_records(corpus, ways.KPL_AGGREGATE))
    return _drop_in_row("the drop-in's `deaggregate_records`, an event of Lambda", corpus, records, None)


def drop_in_boto3_row(scale: Scale) -> Row:
    corpus = synthetic(scale(40_000), 100)
    records = ways.get_records(ways.kinesis_records(corpus, ways.KPL_AGGREGATE))
    return _drop_in_row("… from GetRecords", corpus, records, "Boto3")


def cold_start_row(_: Scale) -> Row:
    event = cold_start.first_event(100)
    ours = cold_start.ours(event)
    found = ours()
    title = "Cold start"
    _prove(found.count("(") == 100, title)
    peers = {
        AWS: Peer(lambda: cold_start.aws(event), found.__eq__),
        cold_start.BARE: Peer(lambda: cold_start.bare(event)),
    }
    return Row(title, "a fresh Python, `import` and a first Lambda event", "starts", 1, ours, peers)


ROWS: dict[str, Callable[[Scale], Row]] = {
    "hash-keys": hash_keys_row,
    "md5": md5_row,
    "aggregate": aggregate_row,
    "threads": two_threads_row,
    "aggregate-singly": aggregate_singly_row,
    "aggregate-flights": aggregate_flights_row,
    "shards": many_shards_row,
    "floor": floor_row,
    "deaggregate": deaggregate_row,
    "deaggregate-read": read_row,
    "deaggregate-columns": columns_row,
    "deaggregate-arrow": arrow_row,
    "deaggregate-event": event_row,
    "drop-in-events": drop_in_events_row,
    "drop-in-boto3": drop_in_boto3_row,
    "cold-start": cold_start_row,
}
