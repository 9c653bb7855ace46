"""The rows of the headline table: what runs, and against what."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import shardpack

from .. import Aggregator, ShardMap, deaggregate, hash_keys
from .._native.md5 import _md5_many
from . import cold_start, ours, pairs, peers, received
from .combine_rows import COMBINE_ROWS
from .compress_rows import COMPRESS_ROWS
from .corpus import Corpus, flights, synthetic
from .interleave import CORES
from .payload_rows import PAYLOAD_ROWS
from .peers import AIOKPL, AWS
from .producer_rows import PRODUCER_ROWS
from .received import MIB
from .row import ALONE, BESIDE, FLOOR, OURS, CannotMeasureError, Contender, Row, Scale, prove
from .stream_rows import STREAM_ROWS
from .wire_rows import WIRE_ROWS

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
            OURS: Contender(lambda: partial(hash_keys, keys), lambda found: is_right(found.tobytes())),
            "hashlib": Contender(
                lambda: partial(peers.hashlib_hash_keys, keys),
                lambda found: is_right(b"".join(key.to_bytes(16, "big") for key in found)),
            ),
        },
    )


def md5_row(scale: Scale) -> Row:
    messages = [bytes([i]) * scale(MIB) for i in range(32)]

    def is_right(digests: list[bytes]) -> bool:
        return digests == peers.hashlib_md5(messages)

    return Row(
        "MD5",
        f"32 messages of {len(messages[0]) / MIB:.2g} MiB",
        "bytes",
        32 * len(messages[0]),
        {
            OURS: Contender(lambda: partial(_md5_many, messages), is_right),
            "hashlib": Contender(lambda: partial(peers.hashlib_md5, messages), is_right),
        },
    )


# --- aggregate ---


def _holds(corpus: Corpus) -> Callable[[list[Any]], bool]:
    """Judge aggregated records, of any shards, by the user records in them."""
    return lambda sealed: pairs.in_kinesis_records(sealed) == sorted(corpus.pairs())


def _aggregate_row(title: str, corpus: Corpus, call: Callable[[Aggregator, Corpus], list[Any]]) -> Row:
    size = round(corpus.data_size / len(corpus))
    return Row(
        title,
        f"{size} B, 8 shards",
        "user records",
        len(corpus),
        {
            OURS: Contender(lambda: partial(call, Aggregator(ShardMap.uniform(8)), corpus), _holds(corpus)),
            AWS: Contender(lambda: partial(peers.aws_aggregate(), corpus), _holds(corpus)),
            AIOKPL: Contender(lambda: partial(peers.aiokpl_aggregate(), corpus), _holds(corpus)),
        },
    )


def aggregate_row(scale: Scale) -> Row:
    return _aggregate_row("`add_many` + `flush`", synthetic(scale(100_000), 100), ours.add_many)


def aggregate_flights_row(scale: Scale) -> Row:
    corpus = flights(scale(50_000))
    return _aggregate_row("`add_many` + `flush`, flights", corpus, ours.add_many)


def aggregate_singly_row(scale: Scale) -> Row:
    return _aggregate_row("`add` + `flush`", synthetic(scale(100_000), 100), ours.add)


def aggregate_arrow_row(scale: Scale) -> Row:
    if not hasattr(Aggregator, "add_arrow"):
        raise CannotMeasureError("this version has no add_arrow")
    if importlib.util.find_spec("pyarrow") is None:
        raise CannotMeasureError("needs pyarrow: pip install pyarrow")
    corpus = synthetic(scale(100_000), 100)
    batch = ours.record_batch(corpus)

    def contender(call: Callable[[Aggregator, Any], list[Any]], given: Any) -> Contender:
        return Contender(lambda: partial(call, Aggregator(ShardMap.uniform(8)), given), _holds(corpus))

    return Row(
        "`add_arrow` + `flush`",
        "100 B, 8 shards, a record batch of pyarrow",
        "user records",
        len(corpus),
        {
            OURS: contender(ours.add_arrow, batch),
            "add_many": contender(ours.add_many, corpus),
            "to_pylist, add_many": contender(ours.add_pylists, batch),
        },
    )


def many_shards_row(scale: Scale) -> Row:
    corpus = synthetic(scale(1_000_000), 100, 100_000)
    batches = ours.batches(corpus)
    some = corpus.first(50_000)
    title = "`add_many` + `flush`, 10,000 shards"

    def over(shards: int) -> Callable[[], object]:
        aggregator = Aggregator(ShardMap.uniform(shards))
        prove(_holds(some)(ours.add_many(aggregator, some)), title)
        return partial(ours.add_many_in_batches, aggregator, batches)

    return Row(
        title,
        "100 B",
        "user records",
        len(corpus),
        {OURS: Contender(lambda: over(10_000)), "8 shards": Contender(lambda: over(8))},
    )


def aggregate_beside_busy_thread_row(scale: Scale) -> Row:
    corpus = synthetic(scale(100_000), 100)
    return _beside_busy_thread_row(
        "100 B, 8 shards",
        corpus,
        Contender(lambda: partial(ours.add_many, Aggregator(ShardMap.uniform(8)), corpus), _holds(corpus)),
        Contender(lambda: partial(peers.aws_aggregate(), corpus), _holds(corpus)),
    )


def _beside_busy_thread_row(detail: str, corpus: Corpus, call: Contender, peer: Contender) -> Row:
    """Ours and the peer's call, each beside a thread in a loop of plain Python; and ours with nobody beside it."""
    return Row(
        f"… {BESIDE}",
        detail,
        "user records",
        len(corpus),
        {
            OURS: replace(call, beside_busy_thread=True),
            AWS: replace(peer, beside_busy_thread=True),
            ALONE: call,
        },
    )


def floor_row(scale: Scale) -> Row:
    corpus = synthetic(scale(32 * 1024), 1024)
    return Row(
        "`add_many` + `flush`, 1 KiB",
        "8 shards",
        "bytes",
        corpus.data_size,
        {
            OURS: Contender(lambda: partial(ours.add_many, Aggregator(ShardMap.uniform(8)), corpus), _holds(corpus)),
            FLOOR: Contender(lambda: peers.floor(corpus.datas)),
        },
    )


def two_threads_row(scale: Scale) -> Row:
    if len(CORES) < 2:
        raise CannotMeasureError("needs two cores")
    corpora = [synthetic(scale(50_000), 100, distinct_keys) for distinct_keys in (4_000, 4_001)]
    aggregators = [Aggregator(ShardMap.uniform(8)) for _ in range(2)]
    threads = ThreadPoolExecutor(2)  # its threads end with the process
    times = 5

    def work(i: int) -> int:
        os.sched_setaffinity(0, {CORES[i]})
        return sum(len(ours.add_many(aggregators[i], corpora[i])) for _ in range(times))

    def on(count: int) -> list[int]:
        return list(threads.map(work, range(count)))

    amount = times * sum(map(len, corpora))
    return Row(
        "… in two threads",
        "100 B, an `Aggregator` each",
        "user records",
        amount,
        {
            OURS: Contender(lambda: partial(on, 2)),
            "one thread": Contender(lambda: partial(on, 1), amount=times * len(corpora[0])),
        },
    )


# --- deaggregate ---


def _received(scale: Scale) -> tuple[Corpus, list[dict[str, Any]]]:
    """A GetRecords response of 10 MB, its Kinesis records as large as the KPL makes them."""
    corpus = synthetic(scale(100_000), 100)
    return corpus, received.get_records(received.kinesis_records(corpus, received.KPL_AGGREGATE))


def _readers(corpus: Corpus, records: list[dict[str, Any]]) -> dict[str, Contender]:
    return {
        AWS: Contender(
            lambda: partial(peers.aws_deaggregate("Boto3"), records),
            lambda found: pairs.of_dictionaries(found) == corpus.pairs(),
        ),
        AIOKPL: Contender(
            lambda: partial(peers.aiokpl_deaggregate(), records),
            lambda found: pairs.of_user_records(found) == corpus.pairs(),
        ),
    }


def deaggregate_row(scale: Scale) -> Row:
    corpus, records = _received(scale)
    return Row(
        "`deaggregate`, no field read",
        "100 B, GetRecords with KPL aggregates, to `UserRecord`s",
        "user records",
        len(corpus),
        {
            OURS: Contender(
                lambda: partial(deaggregate, records), lambda found: pairs.of_user_records(found) == corpus.pairs()
            ),
            **_readers(corpus, records),
        },
    )


def read_row(scale: Scale) -> Row:
    corpus, records = _received(scale)
    return Row(
        "`deaggregate`, `data` and `partition_key` of each read",
        "100 B, GetRecords with KPL aggregates",
        "user records",
        len(corpus),
        {
            OURS: Contender(lambda: partial(ours.read, records)),
            AWS: Contender(lambda: partial(peers.aws_read("Boto3"), records)),
            AIOKPL: Contender(lambda: partial(peers.aiokpl_read(), records)),
        },
    )


def deaggregate_beside_busy_thread_row(scale: Scale) -> Row:
    corpus, records = _received(scale)
    return _beside_busy_thread_row(
        "no field read, 100 B, GetRecords with KPL aggregates",
        corpus,
        Contender(lambda: partial(deaggregate, records), lambda found: pairs.of_user_records(found) == corpus.pairs()),
        _readers(corpus, records)[AWS],
    )


def columns_row(scale: Scale) -> Row:
    deaggregate_columns = getattr(shardpack, "deaggregate_columns", None)
    if deaggregate_columns is None:
        raise CannotMeasureError("this version has no deaggregate_columns")
    corpus, records = _received(scale)
    return Row(
        "`deaggregate_columns`",
        "100 B, GetRecords with KPL aggregates",
        "user records",
        len(corpus),
        {
            OURS: Contender(
                lambda: partial(deaggregate_columns, records),
                lambda columns: pairs.of_columns(columns) == corpus.pairs(),
            ),
            **_readers(corpus, records),
            FLOOR: Contender(lambda: peers.floor([record["Data"] for record in records], received.KPL_AGGREGATE)),
        },
    )


def arrow_row(scale: Scale) -> Row:
    deaggregate_arrow = getattr(shardpack, "deaggregate_arrow", None)
    if deaggregate_arrow is None:
        raise CannotMeasureError("this version has no deaggregate_arrow")
    corpus, records = _received(scale)
    return Row(
        "`deaggregate_arrow`",
        "100 B, GetRecords with KPL aggregates, to an Arrow record batch",
        "user records",
        len(corpus),
        {
            OURS: Contender(
                lambda: partial(deaggregate_arrow, records),
                lambda batch: pairs.of_columns(batch.columns) == corpus.pairs(),
            ),
            **_readers(corpus, records),
        },
    )


def pyarrow_row(scale: Scale) -> Row:
    if not hasattr(shardpack, "deaggregate_arrow"):
        raise CannotMeasureError("this version has no deaggregate_arrow")
    if importlib.util.find_spec("pyarrow") is None:
        raise CannotMeasureError("needs pyarrow: pip install pyarrow")
    corpus, records = _received(scale)

    def is_right(batch: Any) -> bool:
        return pairs.of_batch(batch) == corpus.pairs()

    return Row(
        "… to a pyarrow record batch",
        "the peer's dictionaries made into one",
        "user records",
        len(corpus),
        {
            OURS: Contender(lambda: partial(ours.arrow_to_pyarrow(), records), is_right),
            AWS: Contender(lambda: partial(peers.aws_to_pyarrow("Boto3"), records), is_right),
        },
    )


def event_row(scale: Scale) -> Row:
    corpus = synthetic(scale(40_000), 100)  # a function is given 6 MB at most
    event = {"Records": received.lambda_records(received.kinesis_records(corpus, received.KPL_AGGREGATE))}
    return Row(
        "`deaggregate` of a Lambda event, no field read",
        "100 B, to `UserRecord`s",
        "user records",
        len(corpus),
        {
            OURS: Contender(
                lambda: partial(deaggregate, event), lambda found: pairs.of_user_records(found) == corpus.pairs()
            ),
            AWS: Contender(
                lambda: partial(peers.aws_deaggregate(None), event["Records"]),
                lambda found: pairs.of_dictionaries(found) == corpus.pairs(),
            ),
        },
    )


def _drop_in_row(title: str, corpus: Corpus, records: list[dict[str, Any]], data_format: str | None) -> Row:
    def is_right(found: list[dict[str, Any]]) -> bool:
        return pairs.of_dictionaries(found) == corpus.pairs()

    return Row(
        title,
        "100 B, to dictionaries",
        "user records",
        len(corpus),
        {
            OURS: Contender(lambda: partial(ours.drop_in_deaggregate(data_format), records), is_right),
            AWS: Contender(lambda: partial(peers.aws_deaggregate(data_format), records), is_right),
        },
    )


def drop_in_events_row(scale: Scale) -> Row:
    corpus = synthetic(scale(40_000), 100)  # what a function is given at most
    records = received.lambda_records(received.kinesis_records(corpus, received.KPL_AGGREGATE))
    return _drop_in_row("`deaggregate_records` of the drop-in, a Lambda event", corpus, records, None)


def drop_in_boto3_row(scale: Scale) -> Row:
    corpus = synthetic(scale(40_000), 100)
    records = received.get_records(received.kinesis_records(corpus, received.KPL_AGGREGATE))
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
            OURS: Contender(lambda: cold_start.ours(event), expected.__eq__),
            AWS: Contender(lambda: cold_start.aws(event), expected.__eq__),
            cold_start.BARE: Contender(lambda: cold_start.bare(event)),
        },
    )


ROWS: dict[str, Callable[[Scale], Row]] = {
    "hash-keys": hash_keys_row,
    "md5": md5_row,
    "aggregate": aggregate_row,
    "aggregate-arrow": aggregate_arrow_row,
    "threads": two_threads_row,
    "aggregate-busy-thread": aggregate_beside_busy_thread_row,
    "aggregate-singly": aggregate_singly_row,
    "aggregate-flights": aggregate_flights_row,
    **COMPRESS_ROWS,
    "shards": many_shards_row,
    "floor": floor_row,
    "deaggregate-read": read_row,
    "deaggregate": deaggregate_row,
    "deaggregate-busy-thread": deaggregate_beside_busy_thread_row,
    "deaggregate-columns": columns_row,
    "deaggregate-arrow": arrow_row,
    "deaggregate-pyarrow": pyarrow_row,
    "deaggregate-event": event_row,
    "drop-in-events": drop_in_events_row,
    "drop-in-boto3": drop_in_boto3_row,
    "cold-start": cold_start_row,
    **PRODUCER_ROWS,
    **WIRE_ROWS,
    **STREAM_ROWS,
    **COMBINE_ROWS,
    **PAYLOAD_ROWS,
}
