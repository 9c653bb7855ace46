"""The producer of event loops, by who makes its calls: aiobotocore in the loop, or threads with boto3.

Each in a process of its own, with the botocore that aiobotocore asks for (``make build`` puts it into a folder).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import lru_cache
from itertools import cycle
from pathlib import Path

import pytest
from conftest import told

from shardpack.bench.producer_rows import SHARDS
from shardpack.bench.producing import kinesis

OF_PROCESSOR = "AsyncProducer, until it is stored, by record size; per second of processor time"
BY_CLOCK = "AsyncProducer, until it is stored, by record size; by the clock, one core"
LATE = "AsyncProducer at full load, by how much its loop is late with a timer, 99 % within, by record size"
FIGURES = {"cpu_seconds": OF_PROCESSOR, "seconds": BY_CLOCK, "late_seconds": LATE}
CALLS = {"aiobotocore": "calls by aiobotocore", "threads": "calls by threads, boto3"}

PACKAGES = Path(__file__).resolve().parents[1] / "build" / "aiobotocore"

pytestmark = pytest.mark.benchmark(timer=told)


@lru_cache
def delivered(calls, record_size, records, runs):
    """What each run told; measured once for all figures of it."""
    newest = max(PACKAGES.iterdir(), key=lambda folder: [*map(int, folder.name.split("."))])
    command = [sys.executable, "-m", "shardpack.bench.async_process", calls, kinesis(shards=SHARDS)]
    environment = {**os.environ, "PYTHONPATH": str(newest)}
    done = subprocess.run(
        [*command, str(record_size), str(records), str(runs)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    told_of_runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert [told["records"] for told in told_of_runs] == [records] * runs
    return told_of_runs


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("record_size", [100, 1_000])
@pytest.mark.parametrize("calls", CALLS)
def bench_async(measure_told, smoke, calls, record_size, figure):
    records = 50_000_000 // record_size // (100 if smoke else 1)
    runs = cycle(delivered(calls, record_size, records, 1 if smoke else 5))
    amount, unit = (1, "milliseconds") if figure == "late_seconds" else (records, "user records")
    where = {"group": FIGURES[figure], "contender": CALLS[calls], "at": record_size, "amount": amount, "unit": unit}
    measure_told(lambda: next(runs)[figure], **where)
