"""What every benchmark shares: sizes, kernels, one core, and how a figure is taken."""

from __future__ import annotations

import time

import pytest

from shardpack._native import md5
from shardpack.bench.corpus import flights, synthetic
from shardpack.bench.interleave import one_core

RECORD_SIZES = (10, 100, 1_000, 10_000, 100_000)
KEY_CARDINALITIES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
SHARD_COUNTS = (1, 8, 100, 1_000, 10_000)

CORPUS_BYTES = 8_000_000
CORPUS_RECORDS = 50_000
"""A corpus by record size has so many records, or as many as make so many bytes, whichever is less."""

SECONDS_A_BENCHMARK = 0.15


@pytest.fixture(scope="session", autouse=True)
def _on_one_core():
    with one_core():
        yield


@pytest.fixture(scope="session")
def smoke(request) -> bool:
    """Whether benchmarks only show that they work: each once, on a few records."""
    return request.config.option.benchmark_disable


@pytest.fixture(scope="session")
def sized(smoke):
    """Records of a size, their keys drawn from 4,000."""

    def make(record_size: int):
        records = min(CORPUS_RECORDS, CORPUS_BYTES // record_size)
        return synthetic(max(records // 50, 20) if smoke else records, record_size)

    return make


@pytest.fixture(scope="session")
def flight_events(smoke):
    return flights(1_000 if smoke else CORPUS_RECORDS)


@pytest.fixture
def count(smoke):
    """A number of things, or few of them in a smoke run."""
    return lambda full: max(full // 100, 100) if smoke else full


@pytest.fixture(params=md5._kernels())
def kernel(request):
    """Every MD5 kernel that this machine can run, in use while the benchmark runs."""
    before = md5._kernel()
    md5._set_kernel(request.param)
    assert md5._kernel() == request.param
    yield request.param
    md5._set_kernel(before)


class Told:
    """A clock that goes by what runs say they took: seconds, or whatever else there is to tell."""

    now = 0.0


def told():
    """What benchmarks that are told go by: ``pytestmark = pytest.mark.benchmark(timer=told)``."""
    return Told.now


@pytest.fixture
def measure_told(measure):
    """Measure a run by what it tells: a figure, whatever it is of."""

    def measure_run(run, **where):
        def tell():
            Told.now += run()

        Told.now = 0.0  # beside bytes, nanoseconds would be lost
        measure(tell, **where)

    return measure_run


@pytest.fixture
def measure_delivery(measure_told):
    """Measure a run that delivers so much, by a figure of it."""

    def measure_run(run, amount, figure="cpu_seconds", **where):
        def tell():
            delivered = run()
            assert delivered.records == amount
            return getattr(delivered, figure)

        measure_told(tell, amount=amount, **where)

    return measure_run


@pytest.fixture
def measure(benchmark):
    """Time ``run``, which moves ``amount`` of ``unit``: ``contender`` does it, ``at`` is where on the group's axis."""

    def time_run(run, *, group: str, contender: str, at: int | str, amount: float, unit: str = "user records") -> None:
        benchmark.group = group
        benchmark.extra_info.update(contender=contender, at=at, amount=amount, unit=unit)
        began = time.perf_counter()
        run()
        rounds = int(SECONDS_A_BENCHMARK / (time.perf_counter() - began))
        benchmark.pedantic(run, rounds=min(max(rounds, 3), 200))

    return time_run
