"""The unbroken prefix of what is stored, whatever the order in which that is told."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from shardpack.cli.prefix import Position, Prefix


@st.composite
def runs(draw):
    """Sizes of batches as they are put, and the order in which Kinesis records of them are stored."""
    count = draw(st.integers(1, 60))
    groups = draw(st.lists(st.integers(0, 5), min_size=count, max_size=count))
    order = draw(st.permutations(sorted(set(groups))))
    stored = [[number for number, group in enumerate(groups) if group == which] for which in order]
    return count, draw(st.integers(1, count)), stored


@given(runs(), st.integers(0, 3))
def test_it_ends_before_the_first_that_is_not_stored(run, later):
    count, step, stored = run
    prefix = Prefix(Position(5, 100))
    lines = [10 + 2 * number for number in range(count)]
    told: set[int] = set()
    known = 0

    def check():
        first = next((number for number in range(count) if number not in told), count)
        first = min(first, known)
        expected = Position(lines[first - 1], 1000 + first) if first else Position(5, 100)
        assert prefix.position == expected

    for first in range(0, count, step):
        numbers = range(first, min(first + step, count))
        if later and stored and stored[-1][-1] < numbers[-1] + 1:  # before it is noted here that they were put
            told.update(stored[-1])
            prefix.stored(array("Q", stored.pop()))
        prefix.put([lines[number] for number in numbers], [1001 + number for number in numbers])
        known = numbers[-1] + 1
        check()
    for numbers in stored:
        told.update(numbers)
        prefix.stored(array("Q", numbers))
        check()
    prefix.read(Position(500, 5000))
    assert prefix.position == Position(500, 5000)


def test_what_is_no_user_record_is_passed_only_when_all_before_is_stored():
    prefix = Prefix(Position())
    prefix.read(Position(3, 30))
    assert prefix.position == Position(3, 30)
    prefix.put([4, 6], [40, 60])
    prefix.read(Position(9, 90))
    assert prefix.position == Position(3, 30)
    prefix.stored(array("Q", [0]))
    assert prefix.position == Position(4, 40)
    prefix.stored(array("Q", [1]))
    assert prefix.position == Position(9, 90)
