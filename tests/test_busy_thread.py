"""The busy thread that benchmarks measure beside: it runs all the while, and is gone afterwards."""

from __future__ import annotations

import os
import threading

import pytest

from shardpack.bench.busy_thread import NAME, beside_busy_thread
from shardpack.bench.interleave import CORES, one_core, take_turn
from shardpack.bench.process import ContenderProcess
from shardpack.bench.rows import OURS, ROWS, Contender, Row, Scale


def busy_threads():
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def wait_for_a_lap(busy):
    """Run Python code until the busy thread got on; if it did not run, this would never end."""
    before = busy.laps
    while busy.laps == before:
        assert busy.is_alive()


def test_busy_thread_runs_beside_the_block_and_ends_with_it():
    before = threading.active_count()
    with beside_busy_thread() as busy:
        assert busy_threads() == [busy]
        for _ in range(3):
            wait_for_a_lap(busy)
    assert not busy.is_alive()
    assert threading.active_count() == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_busy_thread_ends_when_the_measured_call_raises(error):
    def fail():
        wait_for_a_lap(*busy_threads())
        raise error

    with pytest.raises(error), beside_busy_thread() as busy:
        take_turn(fail, 1)
    assert not busy.is_alive()
    assert busy_threads() == []


def test_busy_thread_ends_when_its_block_is_given_up():
    block = beside_busy_thread()
    busy = block.__enter__()
    del block  # never left
    busy.join(60)
    assert not busy.is_alive()


@pytest.mark.skipif(len(CORES) < 2, reason="needs two cores")
def test_busy_thread_has_a_core_of_its_own():
    with one_core():
        measuring = os.sched_getaffinity(0)
        with beside_busy_thread() as busy:
            assert os.sched_getaffinity(busy.native_id) == {CORES[0]}
            assert os.sched_getaffinity(0) == measuring == {CORES[-1]}


def test_row_runs_beside_it_only_where_it_says_so():
    found = []
    run = lambda: found.append(len(busy_threads()))  # noqa: E731
    row = Row(
        "a row",
        "",
        "keys",
        1,
        {OURS: Contender(lambda: run, beside_busy_thread=True), "alone": Contender(lambda: run)},
    )
    for name in row.contenders:
        turn = row.turn(name)  # proves it, with nobody beside it
        turn(2)
    assert found == [0, 1, 1, 0, 0, 0]
    assert busy_threads() == []


@pytest.mark.parametrize("name", [name for name in ROWS if name.endswith("-busy-thread")])
def test_rows_of_the_headline_compare_ours_beside_it_with_peers_beside_it_and_with_ours_alone(name):
    contenders = ROWS[name](Scale(0.001)).contenders
    assert {name: contender.beside_busy_thread for name, contender in contenders.items()} == {
        OURS: True,
        "aws_kinesis_agg": True,
        "alone": False,
    }
    with ContenderProcess(name, Scale(0.001)) as process:
        process.summary()
        assert process.turn(1) > 0
