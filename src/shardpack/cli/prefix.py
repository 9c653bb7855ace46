"""How far a row of user records is stored without a gap, while what is behind may be stored too."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock


@dataclass(frozen=True, slots=True)
class Position:
    """Between two lines: how many are before, and how many bytes."""

    line: int = 0
    offset: int = 0


class Prefix:
    """The unbroken prefix of what one thread reads and puts, while another says what is stored.

    User records are numbered as they are put, from 0.
    """

    def __init__(self, begin: Position) -> None:
        self._read = self._unbroken = begin
        self._lines, self._ends = array("Q"), array("Q")  # of user records that are put, and are not in the prefix
        self._first = 0  # the number of the first of them
        self._stored = bytearray()  # whether they are stored, from the same one on
        self._lock = Lock()

    def put(self, lines: Sequence[int], ends: Sequence[int]) -> None:
        """These were put: the number of each one's line, and the byte that it ends before."""
        self._lines.extend(lines)
        self._ends.extend(ends)
        self._read = Position(lines[-1], ends[-1])

    def read(self, position: Position) -> None:
        """All up to there was put, or is no user record."""
        self._read = position

    def stored(self, numbers: array[int]) -> None:
        """Note that these user records are stored; they are in order. Any thread may."""
        with self._lock:
            first, last = numbers[0] - self._first, numbers[-1] - self._first
            missing = last + 1 - len(self._stored)
            if missing > 0:
                self._stored += bytes(missing)
            if last - first + 1 == len(numbers):
                self._stored[first : last + 1] = b"\1" * len(numbers)
                return
            for number in numbers:
                self._stored[number - self._first] = 1

    @property
    def position(self) -> Position:
        """The end of the prefix. For the thread that reads."""
        with self._lock:
            count = self._stored.find(0)
            if count < 0:
                count = len(self._stored)
            count = min(count, len(self._lines))  # some may be stored before it is noted that they are put
            del self._stored[:count]
            self._first += count
        if count:
            self._unbroken = Position(self._lines[count - 1], self._ends[count - 1])
            del self._lines[:count], self._ends[:count]
        if not self._lines:
            self._unbroken = self._read
        return self._unbroken
