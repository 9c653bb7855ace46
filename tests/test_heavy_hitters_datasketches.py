"""The heaviest partition keys, beside the frequent items of Apache DataSketches."""

from __future__ import annotations

import random

import datasketches
import pytest
from test_heavy_hitters import error_of, found, new_inbox, take, zipf

KEPT = 12
"""Its table has 2**12 places, as many as there are keys in ours."""


@pytest.mark.parametrize("distinct", [100, 5000, 200_000])
def test_the_same_keys_are_heavy_and_the_bounds_of_both_agree(distinct):
    rng = random.Random(distinct)
    keys = zipf(rng, 300_000, distinct)
    datas = [bytes(rng.randrange(600)) for _ in keys]
    theirs = datasketches.frequent_strings_sketch(KEPT)
    inbox = new_inbox()
    for key, data in zip(keys, datas, strict=True):
        theirs.update(key, len(key) + len(data))
    take(inbox, keys, datas)
    ours = found(inbox)
    total = theirs.total_weight
    frequent = theirs.get_frequent_items(datasketches.frequent_items_error_type.NO_FALSE_POSITIVES, total // 50)
    heavy = {item[0] for item in frequent}
    assert heavy
    assert heavy <= set(sorted(ours, key=ours.get)[-2 * len(heavy) :])
    for key in heavy:
        least, most = ours[key]
        slack = error_of(theirs.get_upper_bound(key))
        assert least - slack <= theirs.get_upper_bound(key)
        assert most + slack >= theirs.get_lower_bound(key)
