"""What a reader takes of memory while nobody asks it for more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shardpack.bench.canned_kinesis import canned_kinesis
from shardpack.limits import MIB

BOUND = 64 * MIB
READ = 10 * MIB
TEXT = 48 * MIB
"""Of one answer of 10 MiB while it is read: its body in base64, twice where it came in pieces, and its data."""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("calls", [1, 4])
@pytest.mark.parametrize(("user_records", "size"), [(87_000, 100), (1, READ - 64)], ids=["small", "one of 10 MiB"])
def test_a_reader_that_stands_still_stays_within_its_bound(calls, user_records, size):
    program = Path(__file__).parent / "stand_still.py"
    with canned_kinesis(shards=32, user_records=user_records, record_size=size) as url:
        command = [sys.executable, program, url, str(BOUND), str(calls)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    made, buffered, most = map(int, done.stdout.split())
    assert made < 12  # of the 32 shards
    assert BOUND - 2 * READ < buffered <= BOUND
    assert most <= BOUND + READ + calls * TEXT  # READ is the batch in hand
