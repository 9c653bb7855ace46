"""The rows of the headline table: what runs, against what, and the proof that all of them do the same work.

A row is made anew in each process that runs a way of it, and the way is proved there, before a clock starts.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import shardpack

from .. import Aggregator, ShardMap, deaggregate, hash_keys
from .._native.md5 import _md5_many
from . import cold_start, ways
from .corpus import Corpus, flights, synthetic
from .interleave import CORES
from .ways import AIOKPL, AWS, MIB

OURS = "shardpack"
FLOOR = "memcpy + MD5"


class NotHereError(Exception):
    """This row cannot be measured here; its text says why."""


class UnlikeError(Exception):
    """A way does other work than ours: there is nothing to compare."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of doing a row's work.

    ``make`` gets it ready, which may raise ``NotInstalledError``. ``is_right`` judges what a run returned.
    """

    make: Callable[[], Callable[[], Any]]
    is_right: Callable[[Any], bool] = lambda _: True
    amount: float | None = None
    """What a run moves, where that is not what ours does."""


@dataclass(frozen=True, slots=True)
class Row:
    """Something that ours does, and who else does it; ours is the first way. A run moves ``amount`` in ``unit``."""

    title: str
    detail: str
    unit: str
    amount: float
    ways: dict[str, Way]

    def proved(self, name: str) -> Callable[[], Any]:
        """Return a way that is ready, and did the work once. Raises ``NotInstalledError`` or ``UnlikeError``."""
        way = self.ways[name]
        run = way.make()
        _prove(way.is_right(run()), f"{self.title}: {name}")
        return run

    def amount_of(self, name: str) -> float:
        amount = self.ways[name].amount
        return self.amount if amount is None else amount


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything: 1 for figures, less to see that it works."""

    share: float = 1.0

    def __call__(self, full: int) -> int:
        return max(int(full * self.share), 64)


def _prove(holds: bool, what: str) -> None:
    if not holds:
        raise UnlikeError(f"{what}: what went in did not come out")


# --- MD5 ---


def hash_keys_row(scale: Scale) -> Row:
    keys = [f"device-{i}" for i in range(scale(1_000_000))]

    def is_right(digests: bytes) -> bool:
        return digests == b"".join(hashlib.md5(key.encode()).digest() for key in keys)

    return Row(
        "`hash_keys`",
        f"{len(keys):,} short keys",
        "keys",
        len(keys),
        {
            OURS: Way(lambda: partial(hash_keys, keys), lambda found: is_right(found.tobytes())),
            "hashlib": Way(
                lambda: partial(ways.hashlib_hash_keys, keys),
                lambda found: is_right(b"".join(key.to_bytes(16, "big") for key in found)),
            ),
        },
    )


def md5_row(scale: Scale) -> Row:
    messages = [bytes([i]) * scale(MIB) for i in range(32)]

    def is_right(digests: list[bytes]) -> bool:
        return digests == ways.hashlib_md5(messages)

    return Row(
        "MD5",
        f"32 messages of {len(messages[0]) / MIB:.2g} MiB",
        "bytes",
        32 * len(messages[0]),
        {
            OURS: Way(lambda: partial(_md5_many, messages), is_right),
            "hashlib": Way(lambda: partial(ways.hashlib_md5, messages), is_right),
        },
    )


# --- aggregate ---


def _holds(corpus: Corpus) -> Callable[[list[Any]], bool]:
    """Judge aggregated records, of any shards, by the user records in them."""
    return lambda sealed: ways.stored_pairs(sealed) == sorted(corpus.pairs())


def _aggregate_row(title: str, corpus: Corpus, ours: Callable[[Aggregator, Corpus], list[Any]]) -> Row:
    size = round(corpus.data_size / len(corpus))
    return Row(
        title,
        f"{size} B, 8 shards",
        "user records",
        len(corpus),
        {
            OURS: Way(lambda: partial(ours, Aggregator(ShardMap.uniform(8)), corpus), _holds(corpus)),
            AWS: Way(lambda: partial(ways.aws_aggregate(), corpus), _holds(corpus)),
            AIOKPL: Way(lambda: partial(ways.aiokpl_aggregate(), corpus), _holds(corpus)),
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
    some = corpus.first(50_000)
    title = "`add_many` + `flush`, 10,000 shards"

    def over(shards: int) -> Callable[[], object]:
        aggregator = Aggregator(ShardMap.uniform(shards))
        _prove(_holds(some)(ways.add_many(aggregator, some)), title)
        return partial(ways.add_many_in_batches, aggregator, batches)

    return Row(
        title,
        "100 B",
        "user records",
        len(corpus),
        {OURS: Way(lambda: over(10_000)), "8 shards": Way(lambda: over(8))},
    )


def floor_row(scale: Scale) -> Row:
    corpus = synthetic(scale(32 * 1024), 1024)
    return Row(
        "`add_many` + `flush`, 1 KiB",
        "8 shards",
        "bytes",
        corpus.data_size,
        {
            OURS: Way(lambda: partial(ways.add_many, Aggregator(ShardMap.uniform(8)), corpus), _holds(corpus)),
            FLOOR: Way(lambda: ways.floor(corpus.datas)),
        },
    )


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

    amount = times * sum(map(len, corpora))
    return Row(
        "… in two threads",
        "100 B, an `Aggregator` each",
        "user records",
        amount,
        {
            OURS: Way(lambda: partial(on, 2)),
            "one thread": Way(lambda: partial(on, 1), amount=times * len(corpora[0])),
        },
    )


# --- deaggregate ---


def _received(scale: Scale) -> tuple[Corpus, list[dict[str, Any]]]:
    """A GetRecords response of 10 MB, its Kinesis records as large as the KPL makes them."""
    corpus = synthetic(scale(100_000), 100)
    return corpus, ways.get_records(ways.kinesis_records(corpus, ways.KPL_AGGREGATE))


def _readers(corpus: Corpus, records: list[dict[str, Any]]) -> dict[str, Way]:
    return {
        AWS: Way(
            lambda: partial(ways.aws_deaggregate("Boto3"), records),
            lambda found: ways.aws_pairs(found) == corpus.pairs(),
        ),
        AIOKPL: Way(
            lambda: partial(ways.aiokpl_deaggregate(), records),
            lambda found: ways.pairs(found) == corpus.pairs(),
        ),
    }


def deaggregate_row(scale: Scale) -> Row:
    corpus, records = _received(scale)
    return Row(
        "`deaggregate`",
        "to `UserRecord`s, 100 B, GetRecords with KPL aggregates",
        "user records",
        len(corpus),
        {
            OURS: Way(lambda: partial(deaggregate, records), lambda found: ways.pairs(found) == corpus.pairs()),
            **_readers(corpus, records),
        },
    )


def read_row(scale: Scale) -> Row:
    corpus, records = _received(scale)
    return Row(
        "… and read each",
        "its `data` and `partition_key`",
        "user records",
        len(corpus),
        {
            OURS: Way(lambda: partial(ways.read, records)),
            AWS: Way(lambda: partial(ways.aws_read("Boto3"), records)),
            AIOKPL: Way(lambda: partial(ways.aiokpl_read(), records)),
        },
    )


def columns_row(scale: Scale) -> Row:
    deaggregate_columns = getattr(shardpack, "deaggregate_columns", None)
    if deaggregate_columns is None:
        raise NotHereError("this version has no deaggregate_columns")
    corpus, records = _received(scale)
    return Row(
        "`deaggregate_columns`",
        "100 B, GetRecords with KPL aggregates",
        "user records",
        len(corpus),
        {
            OURS: Way(
                lambda: partial(deaggregate_columns, records),
                lambda columns: ways.column_pairs(columns) == corpus.pairs(),
            ),
            **_readers(corpus, records),
            FLOOR: Way(lambda: ways.floor([record["Data"] for record in records], ways.KPL_AGGREGATE)),
        },
    )


def arrow_row(scale: Scale) -> Row:
    deaggregate_arrow = getattr(shardpack, "deaggregate_arrow", None)
    if deaggregate_arrow is None:
        raise NotHereError("this version has no deaggregate_arrow")
    corpus, records = _received(scale)
    return Row(
        "`deaggregate_arrow`",
        "an Arrow record batch of the same",
        "user records",
        len(corpus),
        {
            OURS: Way(
                lambda: partial(deaggregate_arrow, records),
                lambda batch: ways.column_pairs(batch.columns) == corpus.pairs(),
            ),
            **_readers(corpus, records),
        },
    )


def pyarrow_row(scale: Scale) -> Row:
    if not hasattr(shardpack, "deaggregate_arrow"):
        raise NotHereError("this version has no deaggregate_arrow")
    if importlib.util.find_spec("pyarrow") is None:
        raise NotHereError("needs pyarrow: pip install pyarrow")
    corpus, records = _received(scale)

    def is_right(batch: Any) -> bool:
        return ways.batch_pairs(batch) == corpus.pairs()

    return Row(
        "… as a pyarrow record batch",
        "which the peer's dictionaries are made into",
        "user records",
        len(corpus),
        {
            OURS: Way(lambda: partial(ways.arrow_to_pyarrow(), records), is_right),
            AWS: Way(lambda: partial(ways.aws_to_pyarrow("Boto3"), records), is_right),
        },
    )


def event_row(scale: Scale) -> Row:
    corpus = synthetic(scale(40_000), 100)  # a function is given 6 MB at most
    event = {"Records": ways.lambda_records(ways.kinesis_records(corpus, ways.KPL_AGGREGATE))}
    return Row(
        "`deaggregate`, an event of Lambda",
        "100 B, to `UserRecord`s",
        "user records",
        len(corpus),
        {
            OURS: Way(lambda: partial(deaggregate, event), lambda found: ways.pairs(found) == corpus.pairs()),
            AWS: Way(
                lambda: partial(ways.aws_deaggregate(None), event["Records"]),
                lambda found: ways.aws_pairs(found) == corpus.pairs(),
            ),
        },
    )


def _drop_in_row(title: str, corpus: Corpus, records: list[dict[str, Any]], data_format: str | None) -> Row:
    def is_right(found: list[dict[str, Any]]) -> bool:
        return ways.aws_pairs(found) == corpus.pairs()

    return Row(
        title,
        "100 B, to dictionaries",
        "user records",
        len(corpus),
        {
            OURS: Way(lambda: partial(ways.compat_deaggregate(data_format), records), is_right),
            AWS: Way(lambda: partial(ways.aws_deaggregate(data_format), records), is_right),
        },
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
    expected = cold_start.printed(100)
    return Row(
        "Cold start",
        "a fresh Python, `import` and a first Lambda event",
        "starts",
        1,
        {
            OURS: Way(lambda: cold_start.ours(event), expected.__eq__),
            AWS: Way(lambda: cold_start.aws(event), expected.__eq__),
            cold_start.BARE: Way(lambda: cold_start.bare(event)),
        },
    )


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
    "deaggregate-pyarrow": pyarrow_row,
    "deaggregate-event": event_row,
    "drop-in-events": drop_in_events_row,
    "drop-in-boto3": drop_in_boto3_row,
    "cold-start": cold_start_row,
}
