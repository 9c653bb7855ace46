"""The producer's rows of the headline table."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from . import producing
from .corpus import Corpus, synthetic
from .interleave import CORES
from .producing import BOTO3, CONFLUENT, Delivered, kinesis
from .row import OURS, CannotMeasureError, Contender, Row, Scale

SHARDS = 64
BUFFERED = 350_000
"""So many user records of 100 B fill a buffer of 64 MiB nearly."""


def _corpus(scale: Scale, records: int, size: int = 100) -> Corpus:
    if importlib.util.find_spec("boto3") is None:
        raise CannotMeasureError("needs boto3: pip install boto3")
    if importlib.util.find_spec("shardpack.producer.producer") is None:
        raise CannotMeasureError("this version has no Producer")
    return synthetic(scale(records), size)


def _contender(corpus: Corpus, make: Callable[[], Callable[[], Delivered]], *, by_clock: bool = False) -> Contender:
    """Whoever delivers all of a corpus; measured by processor time, or by the clock."""
    return Contender(
        make,
        lambda delivered: delivered.records == len(corpus),
        amount=len(corpus),
        seconds=lambda delivered: delivered.seconds if by_clock else delivered.cpu_seconds,
    )


def put_row(scale: Scale) -> Row:
    corpus = _corpus(scale, BUFFERED)

    def put(how: Callable[..., object], **options: bool) -> Contender:
        return _contender(corpus, lambda: producing.put_until_full(corpus, how, **options), by_clock=True)

    return Row(
        "`Producer.put`",
        "100 B, `receipts=False`, until the buffer is full",
        "user records",
        len(corpus),
        {
            OURS: put(producing.put_each, receipts=False),
            "a receipt each": put(producing.put_each),
            "put_many of 500": put(producing.put_batches, receipts=False),
        },
    )


def delivered_row(scale: Scale) -> Row:
    corpus = _corpus(scale, 500_000)
    ours = partial(producing.produce, corpus, put=producing.put_each, receipts=False)
    return Row(
        "`Producer.put`, until it is stored",
        "100 B, 64 shards, per second of processor time",
        "user records",
        len(corpus),
        {
            OURS: _contender(corpus, lambda: ours(kinesis(shards=SHARDS))),
            CONFLUENT: _confluent(corpus, callbacks=False),
        },
    )


def receipts_row(scale: Scale) -> Row:
    corpus = _corpus(scale, 500_000)
    ours = partial(producing.produce, corpus, put=producing.put_each)
    return Row(
        "… with receipts and `on_settled`",
        "and a callback for each message",
        "user records",
        len(corpus),
        {
            OURS: _contender(corpus, lambda: ours(kinesis(shards=SHARDS))),
            CONFLUENT: _confluent(corpus, callbacks=True),
        },
    )


def large_row(scale: Scale) -> Row:
    corpus = _corpus(scale, 50_000, 1_000)
    ours = partial(producing.produce, corpus, put=producing.put_each, receipts=False)

    def by_bytes(contender: Contender) -> Contender:
        return replace(contender, amount=corpus.data_size)

    return Row(
        "… records of 1 KB",
        "64 shards, bytes of data per second of processor time",
        "bytes",
        corpus.data_size,
        {
            OURS: by_bytes(_contender(corpus, lambda: ours(kinesis(shards=SHARDS)))),
            CONFLUENT: by_bytes(_confluent(corpus, callbacks=False)),
        },
    )


def _confluent(corpus: Corpus, *, callbacks: bool) -> Contender:
    return _contender(corpus, lambda: producing.produce_to_broker(corpus, producing.broker(), callbacks=callbacks))


def _beside_boto3(title: str, detail: str, scale: Scale, *, by_clock: bool) -> Row:
    corpus = _corpus(scale, 1_000_000)
    fewer = corpus.first(len(corpus) // 20)
    cores = CORES if by_clock else ()
    ours = partial(producing.produce, corpus, put=producing.put_batches, cores=cores, receipts=False)
    return Row(
        title,
        detail,
        "user records",
        len(corpus),
        {
            OURS: _contender(corpus, lambda: ours(kinesis(shards=SHARDS)), by_clock=by_clock),
            BOTO3: _contender(
                fewer, lambda: producing.put_records_of_boto3(fewer, kinesis(shards=SHARDS)), by_clock=by_clock
            ),
        },
    )


def boto3_row(scale: Scale) -> Row:
    return _beside_boto3("`put_many` of 500, until it is stored", "per second of processor time", scale, by_clock=False)


def boto3_by_clock_row(scale: Scale) -> Row:
    return _beside_boto3("… by the clock", "all cores", scale, by_clock=True)


def far_row(scale: Scale) -> Row:
    corpus = _corpus(scale, 500_000)
    times = 5  # long enough for what begins and ends it to count for little
    repeated = Corpus(corpus.keys * times, corpus.datas * times)

    def at(latency_ms: float) -> Contender:
        url = partial(kinesis, shards=SHARDS, latency_ms=latency_ms)
        make = partial(producing.produce, repeated, put=producing.put_batches, receipts=False)
        return _contender(repeated, lambda: make(url()), by_clock=True)

    return Row(
        "… 20 ms away",
        "by the clock, one core",
        "user records",
        len(repeated),
        {OURS: at(20), "0 ms away": at(0)},
    )


PRODUCER_ROWS: dict[str, Callable[[Scale], Row]] = {
    "producer-put": put_row,
    "producer": delivered_row,
    "producer-1k": large_row,
    "producer-receipts": receipts_row,
    "producer-boto3": boto3_row,
    "producer-boto3-clock": boto3_by_clock_row,
    "producer-far": far_row,
}
