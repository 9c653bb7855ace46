"""A fresh process up to the user records of its first Lambda event: ours beside aws_kinesis_agg and bare Python.

The contenders take turns: before each start that is timed, the others start once, so that a busy second is everybody's.
"""

from __future__ import annotations

import pytest

from shardpack.bench import cold_start, peers

GROUP = "cold start: import and the first Lambda event, by its user records"
ROUNDS = 20
CONTENDERS = {"deaggregate": cold_start.ours, peers.AWS: cold_start.aws, cold_start.BARE: cold_start.bare}


@pytest.mark.parametrize("user_records", [1, 1_000])
@pytest.mark.parametrize("contender", CONTENDERS)
def bench_cold_start(benchmark, contender, user_records):
    event = cold_start.first_event(user_records)
    try:
        starts = {name: make(event) for name, make in CONTENDERS.items()}
    except peers.NotInstalledError as how:
        pytest.skip(str(how))
    for reader in ("deaggregate", peers.AWS):
        assert starts[reader]() == cold_start.printed(user_records)

    def others():
        for name, start in starts.items():
            if name != contender:
                start()

    benchmark.group = GROUP
    benchmark.extra_info.update(contender=contender, at=user_records, amount=1, unit="starts")
    benchmark.pedantic(starts[contender], setup=others, rounds=ROUNDS)
