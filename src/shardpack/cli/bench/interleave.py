"""Time several ways of doing one thing so that a noisy machine is noisy for all of them.

Ways take turns in one process, round after round; the order turns round as well. In its turn each way runs for about
the same time, so that a fast one does not get more chances of a quiet moment than a slow one. The figure is the ratio
of the best turns; its spread is the lowest and the highest ratio within one round, between which it always lies.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

MIN_ROUNDS = 3
SHORTEST_TURN = 0.05
LONGEST_TURN = 0.3
"""Seconds a turn lasts, unless one run of a way takes longer: that of the slowest way, within these bounds."""

CORES = tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()
"""The cores this process may use, as it started; empty where the system does not say."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast one way is as another: by their best turns; in no round less than low, more than high."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Turns:
    """Seconds a run of each way took, one figure a round."""

    seconds: Mapping[str, tuple[float, ...]]

    @property
    def rounds(self) -> int:
        return len(next(iter(self.seconds.values())))

    def best(self, way: str) -> float:
        return min(self.seconds[way])

    def ratio(self, way: str, peer: str, work: float = 1.0) -> Ratio:
        """Return how many times as fast ``way`` is as ``peer``, when its run is ``work`` times that of the peer."""
        pairs = [theirs / ours for ours, theirs in zip(self.seconds[way], self.seconds[peer], strict=True)]
        return Ratio(work * self.best(peer) / self.best(way), work * min(pairs), work * max(pairs))


def interleave(
    ways: Mapping[str, Callable[[], object]],
    seconds: float,
    *,
    min_rounds: int = MIN_ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> Turns:
    """Run the ways in turns for about so many seconds, and ``min_rounds`` at least. Results are dropped.

    Every way runs once before the clock starts. The cycle collector stays on, as in a program: those who make objects
    by the million pay for what it does with them. It does not see what lived before.
    """
    began = clock()
    runs = _runs_a_turn(ways, clock)
    found: dict[str, list[float]] = {way: [] for way in ways}
    order = list(ways)
    longest_round = 0.0
    with _frozen():
        while len(found[order[0]]) < min_rounds or clock() - began + longest_round < seconds:
            round_began = clock()
            for way in order:
                gc.collect()
                found[way].append(_time(ways[way], runs[way], clock))
            longest_round = max(longest_round, clock() - round_began)
            order.append(order.pop(0))
    return Turns({way: tuple(values) for way, values in found.items()})


def _runs_a_turn(ways: Mapping[str, Callable[[], object]], clock: Callable[[], float]) -> dict[str, int]:
    once = {}
    for way, run in ways.items():
        once[way] = _time(run, 1, clock)  # pays for caches, lazy imports and memory that is kept
        if once[way] < SHORTEST_TURN:
            once[way] = max(_time(run, 1, clock), 1e-9)
    turn = min(max(SHORTEST_TURN, *once.values()), LONGEST_TURN)
    return {way: max(1, round(turn / seconds)) for way, seconds in once.items()}


def _time(run: Callable[[], object], times: int, clock: Callable[[], float]) -> float:
    began = clock()
    for _ in range(times):
        run()
    return (clock() - began) / times


@contextmanager
def _frozen() -> Iterator[None]:
    """Keep the cycle collector from going through corpora, modules and all else that is there already."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this thread on one core, where the system allows that."""
    if not CORES:
        yield
        return
    os.sched_setaffinity(0, CORES[-1:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, CORES)
