"""The producer while everything fails that can, and the stream is resharded: a small run of `make chaos`."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from shardpack.testing import chaos, history


@pytest.mark.parametrize("seed", [2])
def test_nothing_is_lost_nor_out_of_order_nor_told_wrongly(local_kinesis, seed):
    done = chaos.run(local_kinesis, records=12_000, seed=seed, max_aggregate_records=150)
    assert not done.defects, str(done)
    assert done.report.puts == done.settled == done.outcomes["stored"] == 12_000
    assert done.injected["entries ProvisionedThroughputExceededException"] > 20
    assert len(done.reshardings) == 8
    assert done.most_buffered < 12_000 * 10 + 4 * chaos.PUT_AT_ONCE * 200


def test_nor_where_it_is_compressed(local_kinesis):
    """Without a bound of user records, so that what was offered is split where it came out too large."""
    done = chaos.run(local_kinesis, records=12_000, seed=5, compression="zstd", max_aggregate_bytes=1500)
    assert not done.defects, str(done)
    assert done.report.puts == done.settled == done.outcomes["stored"] == 12_000
    assert done.kinesis_records > 100
    assert len(done.reshardings) == 8


def test_auto_distribution_that_is_switched_on_and_off_loses_nothing(local_kinesis):
    done = chaos.run(local_kinesis, records=1_000, seed=3, auto=True, max_aggregate_records=20, shard_counts=(4, 6, 3))
    assert not done.defects, str(done)
    assert done.settled == 1_000


def test_so_it_does_where_it_is_compressed(local_kinesis):
    done = chaos.run(
        local_kinesis,
        records=1_000,
        seed=4,
        auto=True,
        compression="zstd",
        max_aggregate_records=20,
        shard_counts=(4, 6, 3),
    )
    assert not done.defects, str(done)
    assert done.settled == 1_000


def test_what_would_be_told():
    done = chaos.Chaos(records=10, seed=7, settled=9, outcomes=Counter(stored=8, none=2))
    done.report = history.Report(puts=10, unsettled=2, out_of_order=1)
    assert done.defects == {"out_of_order": 1, "unsettled": 2, "not told of": 1, "not told to be stored": 2}
    assert str(done).endswith(f"DEFECTS: {done.defects}")
    done.auto = True
    assert "out_of_order" not in done.defects
    done = chaos.Chaos(records=10, seed=7, settled=10, outcomes=Counter(stored=10))
    assert str(done).endswith("No defects.")


def test_the_command():
    command = [
        sys.executable,
        "-m",
        "shardpack.testing.chaos",
        "--records",
        "1500",
        "--seed",
        "1",
        "--aggregate",
        "100",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1,500 user records, seed 1: ")
    assert done.stdout.endswith("No defects.\n")
