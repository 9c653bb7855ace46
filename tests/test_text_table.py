"""csrc/text_table by itself: how long a search takes that a stranger made long, and whose seed it is."""

from __future__ import annotations

import pytest
from alone import build, run
from isolated import run as run_python


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return build(tmp_path_factory.mktemp("text_table") / "alone", ["tests/text_table_alone.c"])


@pytest.mark.parametrize("kind", ["equal-halves", "high-halves", "low-halves", "middle"])
def test_regular_texts_are_found_at_once(program, kind):
    """Explicit hash keys of two equal halves among them: what tables found through their bits must not depend on."""
    for steps in map(int, run(program, "chosen", kind).split()):
        assert steps < 2000, "thousandths of a step for each"


@pytest.mark.parametrize("kind", ["chosen-8", "chosen-16", "chosen-40"])
def test_texts_chosen_against_one_seed_are_found_at_once_under_another(program, kind):
    known, *secret = map(int, run(program, "chosen", kind).split())
    assert known > 500_000, "they were chosen well"
    assert max(secret) < 1200


def test_each_of_very_many_is_found_and_no_other(program):
    assert int(run(program, "grown")) > 190_000


def test_few_texts_in_a_large_table_are_cleared_one_by_one(program):
    run(program, "cleared")


def test_every_process_has_seeds_of_its_own():
    run_python("""
import os

asked, real = [], os.urandom

def urandom(size):
    asked.append(size)
    return real(size)

os.urandom = urandom
from shardpack import Aggregator, ShardMap, deaggregate_arrow

Aggregator(ShardMap.uniform(1)), deaggregate_arrow([b"data"])
assert asked.count(16) == 2, asked  # buckets, and Arrow's dictionaries
""")
