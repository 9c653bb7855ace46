"""The heaviest partition keys of what an inbox takes, beside exact counts and the datasketches package."""

from __future__ import annotations

import random
import threading
from collections import Counter
from time import monotonic

import pytest

from shardpack import ShardMap, hash_key
from shardpack._native.inbox import Inbox

pytestmark = pytest.mark.native

MIB = 1024 * 1024
KEYS = 4096
PICK = 4096.5
"""What csrc/heavy_hitters.h says: keys that are kept, and bytes that one which was picked stands for."""

AT_ONCE = 0.0
"""A time before everything, so that rates are sums."""


def new_inbox(shards=4):
    return Inbox(ShardMap.uniform(shards)._table, max_record_bytes=2 * MIB, max_bytes=MIB)


def take(inbox, keys, datas):
    for i in range(0, len(keys), 20_000):
        inbox.put_many(keys[i : i + 20_000], datas[i : i + 20_000])
        inbox.gather()
        inbox.take(2**64 - 1)


def found(inbox, now=AT_ONCE):
    return {key: (least, most) for key, _, least, most in inbox.heavy_hitters.keys(now)}


def zipf(rng, n, distinct):
    weights = [1 / (i + 1) for i in range(distinct)]
    return rng.choices([f"device-{i}" for i in range(distinct)], weights, k=n)


def error_of(size):
    """Six standard deviations of an estimate that bytes were picked for one by one; gaps being bounded, it is less."""
    return 6 * (size * PICK) ** 0.5


def test_estimates_are_near_the_bytes_that_were_put():
    rng = random.Random(5)
    keys = zipf(rng, 200_000, 1000)
    datas = [bytes(rng.randrange(300)) for _ in keys]
    inbox = new_inbox()
    take(inbox, keys, datas)
    exact = Counter()
    for key, data in zip(keys, datas, strict=True):
        exact[key] += len(key) + len(data)
    estimates = found(inbox)
    for key, size in exact.items():
        least, most = estimates.get(key, (0, 0))
        assert least == most  # there is room for all of them
        assert abs(least - size) <= error_of(size) + PICK
    assert sum(least for least, _ in estimates.values()) == pytest.approx(exact.total(), rel=0.02)


@pytest.mark.parametrize("sizes", [(20, 20), (20, 100_000), (4096 - 1, 1), (8192, 8193), (MIB, 100)])
def test_records_of_all_sizes_count_by_their_bytes(sizes):
    """Even where they come in step with the gaps between what is looked at."""
    n = 40 * MIB // sum(sizes)
    inbox = new_inbox()
    take(inbox, ["a", "b"] * n, [bytes(sizes[0] - 1), bytes(sizes[1] - 1)] * n)
    estimates = found(inbox)
    for key, size in zip("ab", sizes, strict=True):
        assert abs(estimates.get(key, (0, 0))[0] - n * size) <= error_of(n * size) + PICK


def test_many_keys_leave_the_heavy_ones_known():
    """Ten keys have a third of the bytes, 300,000 have the rest; the bounds hold but for the error of sampling."""
    rng = random.Random(6)
    heavy = [f"heavy-{i}" for i in range(10)]
    keys = [rng.choice(heavy) if rng.random() < 1 / 3 else f"light-{rng.randrange(300_000)}" for _ in range(300_000)]
    data = bytes(400)
    inbox = new_inbox()
    take(inbox, keys, [data] * len(keys))
    exact = Counter(keys)
    estimates = found(inbox)
    assert len(estimates) <= KEYS
    assert set(sorted(estimates, key=estimates.get)[-10:]) == set(heavy)
    total = sum(len(key) + len(data) for key in keys)
    for key in heavy:
        size = exact[key] * (len(key) + len(data))
        least, most = estimates[key]
        assert least - error_of(size) <= size <= most + error_of(size)
        assert most - least <= total * 4 / KEYS


def test_what_it_owns_is_bounded():
    """The longest keys there are, each another one, more than are kept."""
    inbox = new_inbox()
    most = 0
    for start in range(0, 20_000, 1000):
        keys = [f"{i:06}".rjust(256, "\U0001f4e1") for i in range(start, start + 1000)]
        take(inbox, keys, [bytes(8000)] * len(keys))
        most = max(most, inbox.heavy_hitters.memory)
        assert len(inbox.heavy_hitters.keys(AT_ONCE)) <= KEYS
    assert 3_500_000 < most <= 4_500_000


def test_keys_are_as_they_were_put():
    inbox = new_inbox()
    keys = ["device-7", "gerät-8", "\U0001f4e1", "x" * 256]
    take(inbox, keys * 10, [bytes(10_000)] * 40)
    assert {key: place for key, place, _, _ in inbox.heavy_hitters.keys(AT_ONCE)} == {
        key: hash_key(key) for key in keys
    }


def test_an_explicit_hash_key_is_where_the_bytes_go():
    inbox = new_inbox()
    inbox.put_many(["k"] * 20, [bytes(100_000)] * 20, [5] * 10 + [2**127] * 10)
    inbox.gather()
    assert {(key, place) for key, place, _, _ in inbox.heavy_hitters.keys(AT_ONCE)} == {("k", 5), ("k", 2**127)}


def test_keyless_records_have_no_key_to_name():
    inbox = new_inbox()
    take(inbox, [None, "k"] * 10, [bytes(100_000)] * 20)
    assert list(found(inbox)) == ["k"]


def test_what_is_routed_anew_is_not_counted_again():
    inbox = new_inbox()
    inbox.put_many(["k"] * 10, [bytes(100_000)] * 10)
    inbox.gather()
    before = found(inbox)
    inbox.reroute([], ShardMap.uniform(9)._table)
    inbox.gather()
    assert found(inbox) == before


def test_what_was_heavy_half_a_minute_ago_counts_an_eighth():
    inbox = new_inbox()
    start = monotonic()
    take(inbox, ["old"] * 100, [bytes(100_000)] * 100)
    ((before, _),) = found(inbox).values()
    inbox.heavy_hitters.age(start + 9)
    assert found(inbox)["old"][0] == before
    inbox.heavy_hitters.age(start + 35)
    assert found(inbox)["old"][0] == before / 8
    inbox.heavy_hitters.age(start + 1e6)
    assert found(inbox) == {}


def test_an_even_rate_is_told_as_it_is():
    """1 MB a second for a minute, ten seconds at once; and half of it a while later, when nothing more has come."""
    inbox = new_inbox()
    start = monotonic() + 1  # the sketch is a little older
    for second in range(0, 60, 10):
        inbox.heavy_hitters.age(start + second)
        take(inbox, ["k"] * 100, [bytes(100_000 - 1)] * 100)
    least, most = found(inbox, start + 59)["k"]
    assert least == most == pytest.approx(1e6, rel=0.2)


def test_it_is_read_while_it_is_written():
    inbox = new_inbox()
    stop = threading.Event()
    seen = []

    def read():
        while not stop.is_set():
            seen.append(found(inbox))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for start in range(0, 60_000, 6000):
        take(inbox, [f"device-{i}" for i in range(start, start + 6000)], [bytes(2000)] * 6000)
        inbox.heavy_hitters.age(monotonic() + start)
    stop.set()
    for reader in readers:
        reader.join()
    assert all(key.startswith("device-") and 0 <= least <= most for each in seen for key, (least, most) in each.items())
