"""The rows of readers of whole streams: a GetRecords response of each shard, to user records or columns.

Responses are there already: who reads sockets how is what the rows of GetRecords tell.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any

from . import ours, pairs, peers, producing
from .canned_kinesis import SHARD_ITERATOR, STREAM
from .corpus import Corpus, synthetic
from .peers import AWS
from .producing import kinesis
from .row import OURS, Contender, Row, Scale
from .wire_rows import RECEIVED, by_processor_time, needs

SHARDS = 4

Way = tuple[Callable[[Any], Callable[[int], list[Any]]], Callable[[Any], list[Any]]]
"""What reads a response of each of so many shards through a client, and what was found in one, as pairs."""


def _loop_of(make: Callable[[], Callable[[Any], Any]]) -> Callable[[Any], Callable[[int], list[Any]]]:
    """Call ``get_records`` for one shard after the other, as programs without a reader do."""

    def through(client: Any) -> Callable[[int], list[Any]]:
        read = make()
        return lambda shards: [read(client.get_records(ShardIterator=SHARD_ITERATOR)["Records"]) for _ in range(shards)]

    return through


def _aws_read() -> Callable[[Any], list[dict[str, Any]]]:
    deaggregate_records = peers.aws_deaggregate("Boto3")

    def read(records: Any) -> list[dict[str, Any]]:
        found = deaggregate_records(records)
        for record in found:
            base64.b64decode(record["kinesis"]["data"])
            record["kinesis"]["partitionKey"]
        return found

    return read


def _reader(way: Way, corpus: Corpus) -> Contender:
    make, pairs_of = way

    def make_run() -> Callable[[], Any]:
        url = kinesis(shards=SHARDS, user_records=len(corpus), record_size=len(corpus.datas[0]))
        client = producing.plain_client(url)
        producing.answer_itself(client, SHARD_ITERATOR)
        return partial(make(client), SHARDS)

    def is_right(found: list[Any]) -> bool:
        return [*chain.from_iterable(map(pairs_of, found))] == corpus.pairs() * SHARDS

    return by_processor_time(make_run, is_right)


def _row(scale: Scale, title: str, detail: str, ways: dict[str, Way]) -> Row:
    needs("boto3", "pip install boto3")
    corpus = synthetic(scale(RECEIVED), 100)
    contenders = {name: _reader(way, corpus) for name, way in ways.items()}
    return Row(title, detail, "user records", SHARDS * len(corpus), contenders)


def columns_row(scale: Scale) -> Row:
    ways: dict[str, Way] = {
        OURS: (ours.read_whole_stream(STREAM, lambda batch: batch.columns()), pairs.of_columns),
        AWS: (_loop_of(partial(peers.aws_deaggregate, "Boto3")), pairs.of_dictionaries),
    }
    detail = "10 MB of each of 4 shards, 100 B; the peer: a loop of `get_records`; responses in memory"
    return _row(scale, "`StreamReader` to columns", detail, ways)


def user_records_row(scale: Scale) -> Row:
    ways: dict[str, Way] = {
        OURS: (ours.read_whole_stream(STREAM, lambda batch: ours.fields_of(batch.records)), pairs.of_user_records),
        AWS: (_loop_of(_aws_read), pairs.of_dictionaries),
    }
    return _row(scale, "… to `UserRecord`s, data and key read", "the same", ways)


STREAM_ROWS: dict[str, Callable[[Scale], Row]] = {
    "stream-columns": columns_row,
    "stream-user-records": user_records_row,
}
