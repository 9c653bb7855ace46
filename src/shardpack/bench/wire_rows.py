"""The rows of the headline table that go over the wire: requests out, responses in, and what bodies are made at."""

from __future__ import annotations

import hashlib
import importlib.util
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .. import KinesisRecord, ShardMap, deaggregate
from . import ours, pairs, peers, producing
from .canned_kinesis import SHARD_ITERATOR
from .corpus import Corpus, synthetic
from .peers import AWS
from .producing import BOTO3, Delivered, kinesis
from .row import OURS, CannotMeasureError, Contender, Row, Scale

SHARDS = 64
RECEIVED = 87_000
"""So many user records of 100 B make a GetRecords response of 10 MB."""

SHA_256 = "SHA-256"
BOTO3_PARSER = "boto3's parser"
"""``get_records`` of a client as it is, then ours."""


def needs(module: str, how: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise CannotMeasureError(f"needs {module}: {how}")


def by_processor_time(make: Callable[[], Callable[[], Any]], is_right: Callable[[Any], bool]) -> Contender:
    """Whoever does something in this process, measured by what that takes of the processor."""

    def clocked() -> Callable[[], tuple[Any, float]]:
        work = make()

        def run() -> tuple[Any, float]:
            began = time.process_time()
            found = work()
            return found, time.process_time() - began

        return run

    return Contender(clocked, lambda found: is_right(found[0]), seconds=lambda found: found[1])


def entries(count: int, size: int) -> list[KinesisRecord]:
    """Make Kinesis records of so many random bytes, their hash keys spread over the shards as a producer's are."""
    rng = random.Random(7)
    shards = ShardMap.uniform(SHARDS)
    starts = [shards[i % SHARDS].starting_hash_key for i in range(count)]
    return [
        KinesisRecord(f"device-{i}", str(start), rng.randbytes(size), i % SHARDS, 1, size + len(f"device-{i}"))
        for i, start in enumerate(starts)
    ]


# --- requests ---


def _requests_row(title: str, detail: str, records: list[KinesisRecord], times: int) -> Row:
    needs("boto3", "pip install boto3")

    def contender(make: Callable[[Sequence[KinesisRecord], str, int], Callable[[], Delivered]]) -> Contender:
        return Contender(
            lambda: make(records, kinesis(shards=SHARDS), times),
            lambda delivered: delivered.records == times,
            seconds=lambda delivered: delivered.cpu_seconds,
        )

    return Row(
        title,
        detail,
        "requests",
        times,
        {OURS: contender(producing.put_requests), BOTO3: contender(producing.put_requests_of_boto3)},
    )


def large_entries_row(scale: Scale) -> Row:
    detail = "5 entries of 1 MB, processor time"
    return _requests_row("`put_records`", detail, entries(5, scale(1_000_000)), 5)


def many_entries_row(scale: Scale) -> Row:
    return _requests_row("`put_records`", "500 entries of 1 KB, processor time", entries(500, scale(1_000)), 20)


def body_contenders(records: list[KinesisRecord]) -> tuple[int, dict[str, Contender]]:
    """Return the size of a body, and who writes it and who hashes it."""
    write = ours.body()
    body = write(records)
    expected = [(record.partition_key, record.data) for record in records]
    return len(body), {
        OURS: by_processor_time(lambda: partial(write, records), lambda found: pairs.in_body(found) == expected),
        SHA_256: by_processor_time(lambda: partial(hashlib.sha256, body), lambda _: True),
    }


def body_row(scale: Scale) -> Row:
    if importlib.util.find_spec("shardpack._native.body") is None:
        raise CannotMeasureError("this version writes no bodies natively")
    size, contenders = body_contenders(entries(20, scale(250_000)))
    return Row(
        "The body of a request", "20 entries of 250 KB, and the hash of it; processor time", "bytes", size, contenders
    )


# --- responses ---


def _get_records_first(make: Callable[[], Callable[[Any], Any]]) -> Callable[[Any], Callable[[str], Any]]:
    """Hand somebody the Kinesis records of plain ``get_records``."""

    def through(client: Any) -> Callable[[str], Any]:
        run = make()
        return lambda iterator: run(client.get_records(ShardIterator=iterator)["Records"])

    return through


Ways = dict[str, tuple[Callable[[Any], Callable[[str], Any]], Callable[[Any], list[Any]]]]
"""How each reads through a client, given a shard iterator, and what it found as pairs."""

TO_USER_RECORDS: Ways = {
    OURS: (ours.read_stream, pairs.of_user_records),
    BOTO3_PARSER: (_get_records_first(lambda: deaggregate), pairs.of_user_records),
}
TO_ARROW: Ways = {
    OURS: (ours.read_arrow, pairs.of_batch),
    AWS: (_get_records_first(partial(peers.aws_to_pyarrow, "Boto3")), pairs.of_batch),
}


def read_contenders() -> dict[str, Callable[[Corpus], Contender]]:
    """Return all who read, and what makes them read a corpus."""
    found = {f"{name}, to UserRecords": ways for name, ways in TO_USER_RECORDS.items()}
    found |= {f"{name}, to pyarrow": ways for name, ways in TO_ARROW.items()}
    return {name: partial(_reader, *ways) for name, ways in found.items()}


def _reader(
    make: Callable[[Any], Callable[[str], Any]],
    pairs_of: Callable[[Any], Any],
    corpus: Corpus,
    *,
    answered: bool = False,
) -> Contender:
    """Whoever reads a corpus through a client, given a shard iterator; measured by processor time.

    ``answered``: the client has its answer already, and nothing goes over the wire.
    """

    def make_run() -> Callable[[], Any]:
        url = kinesis(user_records=len(corpus), record_size=len(corpus.datas[0]))
        client = producing.plain_client(url)
        if answered:
            producing.answer_itself(client, SHARD_ITERATOR)
        return partial(make(client), SHARD_ITERATOR)

    return by_processor_time(make_run, lambda found: pairs_of(found) == corpus.pairs())


def _received_row(scale: Scale, title: str, detail: str, ways: Ways, *, answered: bool = False) -> Row:
    needs("boto3", "pip install boto3")
    corpus = synthetic(scale(RECEIVED), 100)
    contenders = {name: _reader(*way, corpus, answered=answered) for name, way in ways.items()}
    return Row(title, detail, "user records", len(corpus), contenders)


def get_records_row(scale: Scale) -> Row:
    detail = "10 MB, 100 B, per second of processor time"
    return _received_row(scale, "GetRecords to `UserRecord`s, no field read", detail, TO_USER_RECORDS)


def get_records_arrow_row(scale: Scale) -> Row:
    needs("pyarrow", "pip install pyarrow")
    detail = "the peer: `get_records`, dictionaries, pyarrow"
    return _received_row(scale, "… to a pyarrow record batch", detail, TO_ARROW)


def answered_arrow_row(scale: Scale) -> Row:
    needs("pyarrow", "pip install pyarrow")
    detail = "neither side uses the network"
    return _received_row(scale, "… from a response in memory", detail, TO_ARROW, answered=True)


WIRE_ROWS: dict[str, Callable[[Scale], Row]] = {
    "put-records-large": large_entries_row,
    "put-records-many": many_entries_row,
    "body": body_row,
    "get-records": get_records_row,
    "get-records-arrow": get_records_arrow_row,
    "get-records-arrow-answered": answered_arrow_row,
}
