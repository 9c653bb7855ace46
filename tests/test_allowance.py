"""How fast a shard is sent to: against a shard that takes 1,000 records and 1 MiB a second, and by itself."""

from __future__ import annotations

import pytest

from shardpack.producer.allowance import (
    DECREASE,
    LEAST_BYTES_PER_SECOND,
    LEAST_RECORDS_PER_SECOND,
    MORE_BYTES_EACH_SECOND,
    MORE_RECORDS_EACH_SECOND,
    Allowance,
)

KIB = 1024
MIB = 1024 * KIB


def takes(allowance, size, count, seconds, since=0.0):
    """Let the shard take so many entries, evenly."""
    for i in range(count):
        now = since + i * seconds / count
        allowance.take(size, now)
        allowance.stored(size, now)


def test_there_is_no_limit_before_the_shard_throttles():
    allowance = Allowance()
    takes(allowance, MIB, 1000, 1.0)
    assert allowance.ready_at(1.0) == 1.0
    assert allowance.rates == (None, None)


def test_after_a_throttle_it_may_have_less_than_what_it_took():
    allowance = Allowance()
    takes(allowance, 10 * KIB, 100, 1.0)
    allowance.throttled(1.0)
    assert allowance.rates == (DECREASE * 1000 * KIB, DECREASE * 100)
    assert allowance.throttles == 1


def test_a_window_that_has_only_begun_is_no_measure():
    allowance = Allowance()
    takes(allowance, 10 * KIB, 100, 1.0)
    takes(allowance, 10 * KIB, 1, 0.1, since=1.0)
    allowance.throttled(1.01)
    assert allowance.rates == (DECREASE * 1000 * KIB, DECREASE * 100)


def test_what_was_taken_long_ago_is_no_measure():
    allowance = Allowance()
    takes(allowance, 10 * KIB, 100, 1.0)
    allowance.throttled(60.0)
    assert allowance.rates == (LEAST_BYTES_PER_SECOND, LEAST_RECORDS_PER_SECOND)


def test_many_throttles_at_once_count_once():
    allowance = Allowance()
    takes(allowance, 10 * KIB, 100, 1.0)
    for _ in range(300):
        allowance.throttled(1.0)
    assert allowance.rates == (DECREASE * 1000 * KIB, DECREASE * 100)
    assert allowance.throttles == 300
    allowance.throttled(1.25)
    assert allowance.rates[1] < DECREASE * 100


def test_it_never_falls_to_nothing():
    allowance = Allowance()
    for i in range(100):
        allowance.throttled(float(i * 0.3))
    assert allowance.rates[0] <= LEAST_BYTES_PER_SECOND + 0.3 * MORE_BYTES_EACH_SECOND
    assert allowance.rates[0] >= LEAST_BYTES_PER_SECOND
    assert allowance.rates[1] >= LEAST_RECORDS_PER_SECOND


def test_it_rises_by_as_much_each_second():
    allowance = Allowance()
    allowance.throttled(0.0)
    before = allowance.rates
    allowance.ready_at(4.0)
    assert allowance.rates[0] == before[0] + 4 * MORE_BYTES_EACH_SECOND
    assert allowance.rates[1] == before[1] + 4 * MORE_RECORDS_EACH_SECOND


def test_what_was_taken_in_advance_has_to_come_in():
    allowance = Allowance(most_bytes=100 * KIB)
    allowance.take(100 * KIB, 0.0)
    assert allowance.ready_at(0.0) == 1.0
    assert allowance.ready_at(0.75) == 1.0
    assert allowance.ready_at(1.0) == 1.0


def test_records_are_counted_as_bytes_are():
    allowance = Allowance(most_records=10)
    allowance.take(1, 0.0)
    assert allowance.ready_at(0.0) == pytest.approx(0.1)


def test_what_was_not_stored_is_given_back():
    allowance = Allowance(most_bytes=100 * KIB, most_records=10)
    allowance.take(100 * KIB, 0.0)
    allowance.give_back(100 * KIB)
    assert allowance.ready_at(0.0) == 0.0


def test_what_was_not_sent_is_kept_for_a_tenth_of_a_second():
    allowance = Allowance(most_records=100)
    allowance.take(1, 0.0)
    assert allowance.ready_at(60.0) == 60.0
    for _ in range(10):
        assert allowance.ready_at(60.0) == 60.0
        allowance.take(1, 60.0)
    allowance.take(1, 60.0)
    assert allowance.ready_at(60.0) == pytest.approx(60.01)


def test_the_most_is_never_passed():
    allowance = Allowance(most_bytes=500 * KIB, most_records=5)
    allowance.throttled(0.0)
    assert allowance.rates[1] == 5
    allowance.ready_at(1000.0)
    assert allowance.rates == (500 * KIB, 5)


def test_two_producers_find_what_one_shard_takes_and_share_it():
    """A shard of 1,000 records a second, with a second's reserve, and two that send as they may and back off 50 ms."""
    allowances, took, refused, not_before = [Allowance(), Allowance()], [0, 0], 0, [0.0, 0.0]
    tokens, step = 1000.0, 0.001
    for tick in range(120_000):
        now = tick * step
        tokens = min(tokens + 1000 * step, 1000)
        if tick == 60_000:
            took, refused = [0, 0], 0
        for i in (tick % 2, 1 - tick % 2):
            allowance = allowances[i]
            for _ in range(10):
                if max(not_before[i], allowance.ready_at(now)) > now:
                    break
                allowance.take(KIB, now)
                if tokens >= 1:
                    tokens -= 1
                    allowance.stored(KIB, now)
                    took[i] += 1
                    continue
                refused += 1
                allowance.throttled(now)
                allowance.give_back(KIB)
                not_before[i] = now + 0.05
    assert sum(took) > 0.8 * 60_000
    assert refused < 0.02 * 60_000
    assert 0.5 < took[0] / took[1] < 2.0
