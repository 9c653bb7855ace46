"""What is learned of how well messages compress."""

from __future__ import annotations

import random

from shardpack.codec.ratio import FIRST_RATIO, Ratio


def taught(ratios):
    ratio = Ratio()
    for each in ratios:
        ratio.saw(each)
    return ratio


def test_it_begins_with_care():
    assert Ratio().safe == FIRST_RATIO
    assert taught([8.0]).safe < 8.0 * 0.7


def test_what_is_alike_is_filled_to_the_brim():
    assert 7.9 < taught([8.0] * 30).safe <= 8.0


def test_what_varies_leaves_room():
    rng = random.Random(1)
    ratios = [rng.gauss(8, 0.4) for _ in range(2000)]
    ratio, missed = Ratio(), 0
    for each in ratios:
        missed += each < ratio.safe
        ratio.saw(each)
    assert missed < len(ratios) // 20
    assert ratio.safe > 5


def test_it_falls_at_once_and_rises_again():
    ratio = taught([8.0] * 30)
    ratio.saw(1.0, too_large=True)
    assert ratio.safe == 1.0
    for _ in range(40):
        ratio.saw(8.0)
    assert ratio.safe > 6


def test_it_never_counts_on_less_than_nothing():
    assert taught([0.9] * 20).safe == 1.0
    assert taught([1.0, 60.0] * 20).safe == 1.0
