"""csrc/router and csrc/bucket by themselves, against a plain model: fuzz/router_invariants.c with random programs."""

from __future__ import annotations

import pytest
from alone import WATCH_MALLOC, build, run

MIB = 2**20
SPARE = 48 * MIB
"""What csrc/router.h allows it to keep."""

SOURCES = ["tests/router_alone.c", "fuzz/router_invariants.c", "fuzz/failing_malloc.c"]
SOURCES += [f"csrc/{name}.c" for name in ("router", "bucket", "shard_table", "md5_portable")]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return build(tmp_path_factory.mktemp("router") / "alone", SOURCES, *WATCH_MALLOC)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_leaves_in_order_and_encoded_as_the_rules_say(program, seed):
    run(program, "programs", seed, 250)


def test_a_failed_allocation_loses_nothing_and_leaks_nothing(program):
    """Each third one of a long program, one at a time."""
    assert int(run(program, "failures", 3)) > 100


def test_few_records_after_a_burst_are_not_served_by_what_it_left_large(program):
    """Their buckets own some kilobytes each again, which stay in the caches."""
    assert int(run(program, "fitting")) <= 64 * 1024


def test_what_is_kept_after_bursts_is_bounded(program):
    """Wherever they came: buckets that wait for nothing own nothing."""
    kept = int(run(program, "kept"))
    assert SPARE / 2 < kept < SPARE + MIB, f"{kept:,} bytes"
