"""A fresh process up to the user records of its first Lambda event: ours beside aws_kinesis_agg and bare Python.

The ways take turns: before each start that is timed, the others start once, so that a busy second is everybody's.
"""

from __future__ import annotations

import pytest

from shardpack.bench import cold_start, ways

GROUP = "cold start: import and the first Lambda event, by its user records"
ROUNDS = 20
WAYS = {"deaggregate": cold_start.ours, ways.AWS: cold_start.aws, cold_start.BARE: cold_start.bare}


@pytest.mark.parametrize("user_records", [1, 1_000])
@pytest.mark.parametrize("way", WAYS)
def bench_cold_start(benchmark, way, user_records):
    event = cold_start.first_event(user_records)
    try:
        starts = {name: make(event) for name, make in WAYS.items()}
    except ways.NotInstalledError as how:
        pytest.skip(str(how))
    for reader in ("deaggregate", ways.AWS):
        assert starts[reader]() == cold_start.printed(user_records)

    def others():
        for name, start in starts.items():
            if name != way:
                start()

    benchmark.group = GROUP
    benchmark.extra_info.update(way=way, at=user_records, amount=1, unit="starts")
    benchmark.pedantic(starts[way], setup=others, rounds=ROUNDS)
