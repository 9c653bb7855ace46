"""What a row of the headline table is: whoever does its work, and the proof that all of them do the same.

A row is made anew in each process that runs a contender of it, which is proved there before a clock starts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from .busy_thread import beside_busy_thread
from .interleave import Turn, take_turn

OURS = "shardpack"
FLOOR = "memcpy + MD5"
ALONE, BESIDE = "alone", "beside a busy thread"


class CannotMeasureError(Exception):
    """This row cannot be measured here; its text says why."""


class WrongResultError(Exception):
    """A contender made something else of what went in: there is nothing to compare."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Whoever does a row's work: ours, a peer, or ours under other conditions.

    ``make`` gets it ready, which may raise ``NotInstalledError``. ``is_right`` judges what a run returned.
    """

    make: Callable[[], Callable[[], Any]]
    is_right: Callable[[Any], bool] = lambda _: True
    amount: float | None = None
    """What a run moves, where that is not what ours does."""
    beside_busy_thread: bool = False
    """Whether another thread of the process computes in plain Python all the while."""
    seconds: Callable[[Any], float] | None = None
    """What a run took, where what it returned tells, and not the clock around it."""


@dataclass(frozen=True, slots=True)
class Row:
    """Something that ours does, and who else does it; ours is the first. A run moves ``amount`` in ``unit``."""

    title: str
    detail: str
    unit: str
    amount: float
    contenders: dict[str, Contender]

    def proved(self, name: str) -> Callable[[], Any]:
        """Return what runs a contender that did the work once. Raises ``NotInstalledError`` or ``WrongResultError``."""
        contender = self.contenders[name]
        run = contender.make()
        prove(contender.is_right(run()), f"{self.title}: {name}")
        return run

    def turn(self, name: str) -> Turn:
        """Return what times runs of a proved contender, under its conditions. Raises as ``proved`` does."""
        run = self.proved(name)

        seconds = self.contenders[name].seconds

        def turn(times: int) -> float:
            with self.conditions(name):
                return take_turn(run, times) if seconds is None else sum(seconds(run()) for _ in range(times)) / times

        return turn

    def conditions(self, name: str) -> AbstractContextManager[object]:
        """Return the context in which a contender is timed."""
        return beside_busy_thread() if self.contenders[name].beside_busy_thread else nullcontext()

    def amount_of(self, name: str) -> float:
        amount = self.contenders[name].amount
        return self.amount if amount is None else amount


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything: 1 for figures, less to see that it works."""

    share: float = 1.0

    def __call__(self, full: int) -> int:
        return max(int(full * self.share), 64)


def prove(holds: bool, what: str) -> None:
    if not holds:
        raise WrongResultError(f"{what}: what went in did not come out")
