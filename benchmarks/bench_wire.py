"""What goes over the wire: bodies, requests and responses by their size, and where the time goes from end to end.

Everything is exchanged with a server in another process. Figures are of this process's time, see ``told``.
"""

from __future__ import annotations

from functools import lru_cache, partial

import pytest
from conftest import told

from shardpack.bench import peers, producing
from shardpack.bench.corpus import synthetic
from shardpack.bench.end_to_end import (
    PUT,
    PUT_BYTES,
    RECEIVED,
    RECEIVED_BYTES,
    RECORD_SIZES,
    STAGES,
    put_by_stage,
    received_by_stage,
)
from shardpack.bench.producing import BOTO3, kinesis
from shardpack.bench.row import OURS
from shardpack.bench.wire_rows import SHA_256, SHARDS, body_contenders, entries, read_contenders

REQUEST = "PutRecords by what is in a request"
BODY = "the body of a PutRecords request by what is in it, and the hash of it"
RESPONSE = "GetRecords of 10 MB by record size; per second of processor time"
TITLES = {
    PUT: "where the time goes, from a put until it is stored, by record size",
    RECEIVED: "where the time goes, from GetRecords to user records, by record size",
}
SECONDS = 2.0

REQUESTS = {
    "5 × 1 MB": (5, 1_000_000),  # noqa: RUF001
    "20 × 250 KB": (20, 250_000),  # noqa: RUF001
    "500 × 10 KB": (500, 10_000),  # noqa: RUF001
    "500 × 1 KB": (500, 1_000),  # noqa: RUF001
    "500 × 100 B": (500, 100),  # noqa: RUF001
    "1 × 100 B": (1, 100),  # noqa: RUF001
}

pytestmark = pytest.mark.benchmark(timer=told)


@pytest.mark.parametrize("request_of", REQUESTS)
@pytest.mark.parametrize("contender", [OURS, BOTO3])
def bench_requests(measure_delivery, smoke, contender, request_of):
    records = entries(*REQUESTS[request_of])
    put = producing.put_requests if contender == OURS else producing.put_requests_of_boto3
    times = 1 if smoke else 5
    run = put(records, kinesis(shards=SHARDS), times)
    measure_delivery(run, times, group=REQUEST, contender=contender, at=request_of, unit="requests")


@pytest.mark.parametrize("request_of", REQUESTS)
@pytest.mark.parametrize("contender", [OURS, SHA_256])
def bench_bodies(measure_told, contender, request_of):
    size, contenders = body_contenders(entries(*REQUESTS[request_of]))
    run = contenders[contender].make()
    assert contenders[contender].is_right(run())
    times = max(1, 1_000_000 // size)
    measure_told(
        lambda: sum(run()[1] for _ in range(times)) / times,
        group=BODY,
        contender=contender,
        at=request_of,
        amount=size,
        unit="bytes",
    )


READERS = read_contenders()


@pytest.mark.parametrize("record_size", [100, 1_000, 10_000])
@pytest.mark.parametrize("contender", READERS)
def bench_responses(measure_told, count, contender, record_size):
    corpus = synthetic(count(RECEIVED_BYTES // record_size), record_size)
    try:
        run = READERS[contender](corpus).make()
    except peers.NotInstalledError as how:
        pytest.skip(str(how))
    assert READERS[contender](corpus).is_right(run())
    measure_told(lambda: run()[1], group=RESPONSE, contender=contender, at=record_size, amount=len(corpus))


@lru_cache
def by_stage(way, records, record_size, seconds):
    """Nanoseconds; measured once for all that is told of them."""
    measured = {PUT: put_by_stage, RECEIVED: received_by_stage}[way](synthetic(records, record_size), seconds)
    return {stage.name: stage.nanoseconds for stage in measured.stages} | {"everything": measured.nanoseconds}


@pytest.mark.parametrize(
    ("way", "stage"), [(way, stage) for way, stages in STAGES.items() for stage in [*stages, "everything"]]
)
@pytest.mark.parametrize("record_size", RECORD_SIZES)
def bench_stages(measure_told, count, way, stage, record_size):
    full = {PUT: PUT_BYTES, RECEIVED: RECEIVED_BYTES}[way] // record_size
    records = count(full)
    found = by_stage(way, records, record_size, SECONDS * records / full)
    measure_told(
        partial(lambda taken: taken / 1e9, found[stage]),
        group=TITLES[way],
        contender=stage,
        at=record_size,
        amount=1,
        unit="nanoseconds",
    )
