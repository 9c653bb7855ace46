"""Compressed aggregates of flights: beside gzip of each key's records, by how many come at a time; and by level."""

from __future__ import annotations

import time
from functools import partial

import pytest
from conftest import told

from shardpack.bench import ours
from shardpack.bench.compress_rows import GZIP, PLAIN, aggregator, bytes_sent, compress_contenders
from shardpack.bench.row import OURS

pytestmark = pytest.mark.benchmark(timer=told)

BATCHES = (500, 5_000, 50_000)
LEVELS = (1, 3, 6, 9, 12, 19)
RATES, SIZES = "compressed flights by records at a time", "bytes sent by records at a time"
COSTS, RATIOS = "CPU by level of zstd", "bytes by level of zstd"


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("contender", [OURS, GZIP, PLAIN])
@pytest.mark.parametrize("group", [RATES, SIZES])
def bench_compress(measure_told, flight_events, batch, contender, group):
    one = compress_contenders(flight_events, batch)[contender]
    run = one.make()
    assert one.is_right(run())

    def tell():
        began = time.process_time()
        sent = run()
        return time.process_time() - began if group == RATES else bytes_sent(sent)

    records = len(flight_events)
    unit = "user records" if group == RATES else "bytes each"
    measure_told(tell, group=group, contender=contender, at=batch, amount=records, unit=unit)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("group", [COSTS, RATIOS])
def bench_level(measure_told, flight_events, count, level, group):
    corpus = flight_events.first(count(20_000))
    run = partial(ours.add_many_and_take, aggregator("zstd", level), ours.batches(corpus, 5_000))

    def tell():
        began = time.process_time()
        sent = run()
        return time.process_time() - began if group == COSTS else bytes_sent(sent) / corpus.data_size

    amount, unit = (corpus.data_size / 1e6, "megabytes") if group == COSTS else (1, "multiples")
    measure_told(tell, group=group, contender="zstd", at=level, amount=amount, unit=unit)
