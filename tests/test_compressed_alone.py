"""csrc/compressed under sanitizers: the fuzz target over its seeds and some changes to them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from alone import build, run

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))

from seeds import compressed_records, write_seeds


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    sources = ["tests/compressed_alone.c", "fuzz/compressed_invariants.c", "csrc/compressed.c"]
    return build(tmp_path_factory.mktemp("compressed") / "alone", sources)


def test_the_seeds_are_sound_and_no_change_breaks_a_promise(program, tmp_path):
    seeds = compressed_records()
    write_seeds(tmp_path, seeds)
    sound, runs = map(int, run(program, *sorted(tmp_path.iterdir())).split())
    assert sound > 100
    assert runs > 4_000
