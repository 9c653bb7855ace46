"""A tenant that offers a hundred times its part, and how long the others' records take: with it and without, in turns.

pytest benchmarks/bench_tenants.py -s
"""

from __future__ import annotations

from functools import lru_cache
from itertools import cycle

import pytest
from conftest import told

from shardpack.bench import tenants

GROUP = "put to stored of tenants within their part, 99 % within, beside one that offers 100 times its own"
SECONDS = 4.0
TURNS = 3

pytestmark = pytest.mark.benchmark(timer=told)


@lru_cache
def measured(smoke: bool) -> dict[bool, list[float]]:
    """The 99th percentile of each turn, in seconds: with a flood and without."""
    found: dict[bool, list[float]] = {False: [], True: []}
    with tenants.limited_kinesis() as client:
        for turn in range(2 if smoke else 2 * TURNS):
            times = tenants.latencies(client, tenants.TENANT_PRODUCER, 0.3 if smoke else SECONDS, flooded=turn % 2 == 1)
            found[turn % 2 == 1].append(tenants.percentile(times, 0.99))
    return found


@pytest.mark.parametrize("flooded", [False, True])
def bench_tenants(measure_told, smoke, flooded):
    turns = cycle(measured(smoke)[flooded])
    contender = "with a tenant that floods" if flooded else "without"
    measure_told(lambda: next(turns), group=GROUP, contender=contender, at="p99", amount=1, unit="milliseconds")
