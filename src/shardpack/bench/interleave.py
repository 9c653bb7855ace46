"""Time several contenders at one thing so that a noisy machine is noisy for all of them.

Contenders take turns, round after round; the order turns round as well. In its turn each runs for about the same time,
so that a fast one does not get more chances of a quiet moment than a slow one. The figure is the ratio of the best
turns; its spread is the lowest and the highest ratio within one round, between which it always lies.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

MIN_ROUNDS = 3
SHORTEST_TURN = 0.05
LONGEST_TURN = 0.3
"""Seconds a turn lasts, unless one run takes longer: that of the slowest contender, within these bounds."""

CORES = tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()
"""The cores this process may use, as it started; empty where the system does not say."""


Turn = Callable[[int], float]
"""Runs something so many times; returns the seconds that one took."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast one is as another: by their best turns; in no round less than low, more than high."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Turns:
    """Seconds a run of each contender took, one figure a round."""

    seconds: Mapping[str, tuple[float, ...]]

    @property
    def rounds(self) -> int:
        return len(next(iter(self.seconds.values())))

    def best(self, contender: str) -> float:
        return min(self.seconds[contender])

    def ratio(self, contender: str, peer: str, work: float = 1.0) -> Ratio:
        """Return how many times as fast it is as ``peer``, when its run is ``work`` times that of the peer."""
        pairs = [theirs / ours for ours, theirs in zip(self.seconds[contender], self.seconds[peer], strict=True)]
        return Ratio(work * self.best(peer) / self.best(contender), work * min(pairs), work * max(pairs))


def interleave(contenders: Mapping[str, Turn], seconds: float, *, min_rounds: int = MIN_ROUNDS) -> Turns:
    """Have the contenders take turns for about so many seconds, and ``min_rounds`` at least.

    Each runs once or twice before that, which tells how long it takes.
    """
    began = time.perf_counter()
    runs = _runs_a_turn(contenders)
    found: dict[str, list[float]] = {contender: [] for contender in contenders}
    order = list(contenders)
    longest_round = 0.0
    while len(found[order[0]]) < min_rounds or time.perf_counter() - began + longest_round < seconds:
        round_began = time.perf_counter()
        for contender in order:
            found[contender].append(contenders[contender](runs[contender]))
        longest_round = max(longest_round, time.perf_counter() - round_began)
        order.append(order.pop(0))
    return Turns({contender: tuple(values) for contender, values in found.items()})


def _runs_a_turn(contenders: Mapping[str, Turn]) -> dict[str, int]:
    once = {}
    for contender, turn in contenders.items():
        once[contender] = turn(1)  # pays for caches, lazy imports and memory that is kept
        if once[contender] < SHORTEST_TURN:
            once[contender] = max(turn(1), 1e-9)
    length = min(max(SHORTEST_TURN, *once.values()), LONGEST_TURN)
    return {contender: max(1, round(length / seconds)) for contender, seconds in once.items()}


def take_turn(run: Callable[[], object], times: int) -> float:
    """Run so many times, results dropped; return the seconds that one took.

    The cycle collector stays on, as in a program: those who make objects by the million pay for what it does with them.
    """
    gc.collect()
    began = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - began) / times


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this thread, and those that it starts, on one core, where the system allows that."""
    with on_cores(CORES[-1:]):
        yield


@contextmanager
def on_cores(cores: Sequence[int]) -> Iterator[None]:
    """Keep this thread, and whatever it starts, threads and processes, on these cores, where the system allows that."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
