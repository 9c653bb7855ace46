"""The producer: what a user record costs until it is stored, how far away, in how many shards, and how long it takes.

Everything is delivered to a server in another process. Runs tell themselves what they took, see ``told``.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from functools import lru_cache, partial
from pathlib import Path

import pytest
from conftest import told

from shardpack import ShardMap
from shardpack.bench import peers, producing
from shardpack.bench.busy_thread import beside_busy_thread
from shardpack.bench.corpus import Corpus, synthetic
from shardpack.bench.interleave import CORES
from shardpack.bench.producer_process import measured
from shardpack.bench.producer_rows import BUFFERED, SHARDS
from shardpack.bench.producing import BOTO3, CONFLUENT, kinesis
from shardpack.bench.row import BESIDE
from shardpack.producer.scheduler import Entry, Scheduler
from shardpack.transport import Stored

PUT = "producer, put until the buffer is full, 100 B"
DELIVERED = "producer, until it is stored, by record size; per second of processor time"
CLOCK = "producer, until it is stored, 100 B; by the clock"
AWAY = "producer, until it is stored, 64 shards, by the round trip"
SCHEDULED = "producer, the scheduler alone, by shard count"
KEYED = "producer, until it is stored, 100 B, by shard count; per second of processor time"
LATENCY = "producer, from the put of a lone record to its outcome, by its linger"
MEMORY = "producer, memory over the baseline at a standstill, as a multiple of max_buffered_bytes"
IDLE = "producer, processor time of ten idle seconds"

AIOKPL_PYTHON = Path(__file__).resolve().parents[1] / "build" / "bench" / "aiokpl" / "bin" / "python"
MAX_BUFFERED = 64 * 1024 * 1024


pytestmark = pytest.mark.benchmark(timer=told)


def put_with_receipts_kept(producer, corpus):
    return [*map(producer.put, corpus.keys, corpus.datas)]


@pytest.mark.parametrize(
    ("contender", "put", "receipts"),
    [
        ("put, receipts=False", producing.put_each, False),
        ("put", producing.put_each, True),
        ("put, receipts kept", put_with_receipts_kept, True),
        ("put_many of 500, receipts=False", producing.put_batches, False),
        ("put_many of 500", producing.put_batches, True),
    ],
)
def bench_put(measure_delivery, count, contender, put, receipts):
    corpus = synthetic(count(BUFFERED), 100)
    run = producing.put_until_full(corpus, put, receipts=receipts)
    measure_delivery(run, len(corpus), "seconds", group=PUT, contender=contender, at="until full")


OURS = {
    "put, receipts=False": {"put": producing.put_each, "receipts": False},
    "put": {"put": producing.put_each},
    "put, each receipt asked": {"put": producing.put_and_ask_each},
    "put_many of 500, receipts=False": {"put": producing.put_batches, "receipts": False},
    "put_many of 500": {"put": producing.put_batches},
}

PUT_ARROW = "put_arrow of 10,000, receipts=False"


@pytest.mark.parametrize("record_size", [100, 1_000])
@pytest.mark.parametrize("contender", [*OURS, PUT_ARROW, CONFLUENT, f"{CONFLUENT}, a callback each", BOTO3])
def bench_delivered(measure_delivery, count, contender, record_size):
    corpus = synthetic(count(20_000_000 // record_size), record_size)
    try:
        if contender in OURS:
            run = producing.produce(corpus, kinesis(shards=SHARDS), **OURS[contender])
        elif contender == PUT_ARROW:
            put = producing.put_arrow_batches(corpus)
            run = producing.produce(corpus, kinesis(shards=SHARDS), put=put, receipts=False)
        elif contender == BOTO3:
            corpus = corpus.first(max(len(corpus) // 20, 100))
            run = producing.put_records_of_boto3(corpus, kinesis(shards=SHARDS))
        else:
            run = producing.produce_to_broker(corpus, producing.broker(), callbacks="callback" in contender)
    except peers.NotInstalledError as how:
        pytest.skip(str(how))
    measure_delivery(run, len(corpus), group=DELIVERED, contender=contender, at=record_size)


@pytest.mark.parametrize("conditions", ["one core", "all cores", BESIDE])
@pytest.mark.parametrize("contender", ["put, receipts=False", "put", "put_many of 500, receipts=False"])
def bench_by_the_clock(measure_delivery, count, contender, conditions):
    corpus = synthetic(count(300_000), 100)
    cores = CORES if conditions == "all cores" else ()
    run = producing.produce(corpus, kinesis(shards=SHARDS), cores=cores, **OURS[contender])
    if conditions == BESIDE:
        alone = run

        def run():
            with beside_busy_thread():
                return alone()

    measure_delivery(run, len(corpus), "seconds", group=CLOCK, contender=contender, at=conditions)


@pytest.mark.parametrize("latency_ms", [0, 5, 20, 100])
@pytest.mark.parametrize("contender", ["put_many of 500", BOTO3])
def bench_far_away(measure_delivery, count, contender, latency_ms):
    url = kinesis(shards=SHARDS, latency_ms=latency_ms)
    corpus = synthetic(count(500_000), 100)
    if contender == BOTO3:
        corpus = corpus.first(max(len(corpus) // 100, 100))
        run = producing.put_records_of_boto3(corpus, url)
    else:
        corpus = Corpus(corpus.keys * 2, corpus.datas * 2)
        run = producing.produce(corpus, url, put=producing.put_batches, receipts=False)
    measure_delivery(run, len(corpus), "seconds", group=AWAY, contender=contender, at=f"{latency_ms} ms")


# --- shards ---


class Anything:
    """User records, which are nobody's concern here."""

    def lie_in(self, _shard):
        return True


@pytest.mark.parametrize("shards", [8, 10_000])
def bench_scheduler(measure_told, count, shards):
    shard_map = ShardMap.uniform(shards)
    shard_ids = [shard.shard_id for shard in shard_map]
    entries = count(20_000)
    contents = Anything()

    scheduler = Scheduler(shard_map)
    scheduler.on_described(0.0, False)

    def schedule():
        for i in range(entries):
            scheduler.offer(Entry(shard_ids[i % shards], 5_000, 50, 1e9, contents), 0.0)
        settled = 0
        while requests := list(scheduler.requests(0.0)):
            for request in requests:
                outcomes = [Stored(entry.shard_id, "1") for entry in request.entries]
                scheduler.on_reply(request, outcomes, 0.0)
            settled += len(scheduler.settlements())
        assert settled == entries

    def run():
        began = time.perf_counter()
        schedule()
        return time.perf_counter() - began

    measure_told(run, group=SCHEDULED, contender="scheduler", at=shards, amount=entries, unit="Kinesis records")


@pytest.mark.parametrize("shards", [8, 64, 1_000, 10_000])
def bench_shards(measure_delivery, count, shards):
    corpus = synthetic(count(500_000), 100, 100_000)
    run = producing.produce(corpus, kinesis(shards=shards), put=producing.put_batches, receipts=False)
    measure_delivery(run, len(corpus), group=KEYED, contender="put_many of 500", at=shards)


# --- latency ---


@lru_cache
def latencies(contender, linger_ms, records):
    """Seconds; measured once for all that is told of them."""
    url = kinesis(shards=8)
    if contender != "aiokpl":
        return producing.lone_latencies(url, linger_ms, records)
    if not AIOKPL_PYTHON.exists():
        pytest.skip("needs aiokpl in an environment of its own: make bench")
    command = [AIOKPL_PYTHON, Path(__file__).with_name("aiokpl_latency.py"), url, str(linger_ms), str(records)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)


@lru_cache
def latencies_at_full_load(records):
    return producing.latencies_at_full_load(kinesis(shards=SHARDS), synthetic(records, 100))


PERCENTILES = {"half of them within": 50, "99 % within": 99}


def percentile(seconds, percent):
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1]


@pytest.mark.parametrize("linger_ms", [5, 100])
@pytest.mark.parametrize("contender", ["shardpack", "aiokpl"])
@pytest.mark.parametrize("within", PERCENTILES)
def bench_lone_put(measure_told, smoke, contender, linger_ms, within):
    found = latencies(contender, linger_ms, 5 if smoke else 6_000 // (linger_ms + 20))
    run = partial(percentile, found, PERCENTILES[within])
    measure_told(
        run, group=LATENCY, contender=f"{contender}, {within}", at=f"{linger_ms} ms", amount=1, unit="milliseconds"
    )


@pytest.mark.parametrize("within", PERCENTILES)
def bench_put_at_full_load(measure_told, count, within):
    run = partial(percentile, latencies_at_full_load(count(2_000_000)), PERCENTILES[within])
    measure_told(
        run, group=LATENCY, contender=f"shardpack, {within}", at="100 ms, at full load", amount=1, unit="milliseconds"
    )


# --- what it takes of a process ---


@pytest.mark.parametrize("record_size", [100, 1_024])
@pytest.mark.parametrize("receipts", ["receipts=False", "receipts kept"])
def bench_standstill(measure_told, record_size, receipts):
    url = kinesis(shards=8, throttled=True)
    given = ["receipts"] if receipts == "receipts kept" else []
    (took,) = measured("standstill", url, str(record_size), *given)

    measure_told(
        lambda: took / MAX_BUFFERED, group=MEMORY, contender=receipts, at=record_size, amount=1, unit="multiples"
    )


def bench_idle(measure_told, smoke):
    seconds = 0.2 if smoke else 5
    took, switches = measured("idle", kinesis(shards=8), str(seconds))
    where = {"group": IDLE, "at": "of ten seconds", "amount": 1, "unit": "milliseconds"}
    measure_told(lambda: took * 10 / seconds, contender=f"producer, {switches:.0f} context switches", **where)
