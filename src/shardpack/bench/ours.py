"""How ours is called, each call as its documentation shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .. import Aggregator, KinesisRecord, deaggregate
from .corpus import Corpus
from .peers import add_user_records


def add_many(aggregator: Aggregator, corpus: Corpus) -> list[KinesisRecord]:
    """Aggregate in one call. The aggregator is long-lived, as a producer's is."""
    aggregator.add_many(corpus.keys, corpus.datas)
    return aggregator.flush()


def batches(corpus: Corpus, size: int = 10_000) -> list[tuple[list[str], list[bytes]]]:
    """Cut a corpus into what comes at a time."""
    return [(corpus.keys[i : i + size], corpus.datas[i : i + size]) for i in range(0, len(corpus), size)]


def add_many_in_batches(aggregator: Aggregator, batches: Iterable[tuple[list[str], list[bytes]]]) -> int:
    """Aggregate batch by batch, and take what is full after each, as a producer does. Returns how many were sealed."""
    sealed = 0
    for keys, datas in batches:
        aggregator.add_many(keys, datas)
        sealed += len(aggregator.take())
    return sealed + len(aggregator.flush())


def add_many_and_take(aggregator: Aggregator, batches: Iterable[tuple[list[str], list[bytes]]]) -> list[KinesisRecord]:
    """Aggregate batch by batch, and keep what is full after each."""
    sealed = []
    for keys, datas in batches:
        aggregator.add_many(keys, datas)
        sealed += aggregator.take()
    return sealed + aggregator.flush()


def add(aggregator: Aggregator, corpus: Corpus) -> list[KinesisRecord]:
    """Aggregate record by record."""
    add_one = aggregator.add
    for key, data in zip(corpus.keys, corpus.datas, strict=True):
        add_one(key, data)
    return aggregator.flush()


def record_batch(corpus: Corpus) -> Any:
    """Return a corpus as a record batch of pyarrow, of a string and a binary column."""
    from pyarrow import RecordBatch, array, binary, string  # noqa: PLC0415 (not everybody has it)

    columns = {"key": array(corpus.keys, string()), "data": array(corpus.datas, binary())}
    return RecordBatch.from_pydict(columns)


def add_arrow(aggregator: Any, batch: Any) -> list[KinesisRecord]:
    """Aggregate the rows of a record batch."""
    aggregator.add_arrow(batch, key="key", data="data")
    sealed: list[KinesisRecord] = aggregator.flush()
    return sealed


def add_pylists(aggregator: Aggregator, batch: Any) -> list[KinesisRecord]:
    """Aggregate the rows of a record batch without ``add_arrow``."""
    aggregator.add_many(batch["key"].to_pylist(), batch["data"].to_pylist())
    return aggregator.flush()


def read(records: Any) -> None:
    """Deaggregate, and ask every user record for its data and partition key."""
    for record in deaggregate(records):
        record.data  # noqa: B018 (made when asked for)
        record.partition_key  # noqa: B018


def read_stream(client: Any) -> Callable[[str], list[Any]]:
    """GetRecords of a shard iterator, to user records."""
    from .. import read_records  # noqa: PLC0415 (older versions lack it)

    return lambda shard_iterator: read_records(client, ShardIterator=shard_iterator).user_records()


def read_arrow(client: Any) -> Callable[[str], Any]:
    """GetRecords of a shard iterator, to a pyarrow record batch."""
    from pyarrow import record_batch  # noqa: PLC0415 (not everybody has it)

    from .. import read_records  # noqa: PLC0415 (older versions lack it)

    return lambda shard_iterator: record_batch(read_records(client, ShardIterator=shard_iterator).arrow())


def read_whole_stream(stream: str, read: Callable[[Any], Any]) -> Callable[[Any], Callable[[int], list[Any]]]:
    """Take a batch of each of so many shards from a reader that is made for it."""

    def through(client: Any) -> Callable[[int], list[Any]]:
        from ..consume.stream import StreamReader  # noqa: PLC0415 (older versions lack it)

        def run(shards: int) -> list[Any]:
            with StreamReader(stream, client=client, range_rule=False, max_concurrent_calls=1) as reader:
                return [read(next(reader)) for _ in range(shards)]

        return run

    return through


def fields_of(records: Any) -> Any:
    """Ask every user record for its data and partition key."""
    for record in records:
        record.data  # noqa: B018 (made when asked for)
        record.partition_key  # noqa: B018
    return records


def body() -> Callable[[Sequence[KinesisRecord]], bytes]:
    """Write the body of a PutRecords request."""
    from .._native.body import BodyWriter  # noqa: PLC0415 (older versions lack it)

    writer = BodyWriter()
    return lambda records: writer.write(tuple(records), b'{"Records":', b',"StreamName":"canned"}')


def drop_in_deaggregate(data_format: str | None) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """Our drop-in for aws_kinesis_agg: the same call, the same dictionaries."""
    from ..compat.aws_kinesis_agg.deaggregator import deaggregate_records  # noqa: PLC0415 (older versions lack it)

    return lambda records: deaggregate_records(records, data_format)


def drop_in_aggregate() -> Callable[[Corpus], list[bytes]]:
    """Aggregate with our drop-in for aws_kinesis_agg, record by record."""
    from ..compat.aws_kinesis_agg.aggregator import RecordAggregator  # noqa: PLC0415 (older versions lack it)

    return lambda corpus: add_user_records(RecordAggregator(), corpus)


def arrow_to_pyarrow() -> Callable[[Any], Any]:
    """Deaggregate into an Arrow record batch, and have pyarrow read it."""
    from pyarrow import record_batch  # noqa: PLC0415 (not everybody has it)

    from .. import deaggregate_arrow  # noqa: PLC0415 (older versions lack it)

    return lambda records: record_batch(deaggregate_arrow(records))
