"""Many seeds, and what they come to."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

from .run import Simulation


class Totals:
    """What many runs come to."""

    def __init__(self) -> None:
        self.runs = self.requests = self.records = 0
        self.hours = 0.0
        self.faults: Counter[str] = Counter()
        self.findings: list[tuple[int, str]] = []

    def add(self, simulation: Simulation) -> None:
        """Count a run."""
        self.runs += 1
        self.requests += simulation.requests
        self.records += simulation.put_count
        self.hours += simulation.now / 3600
        self.faults += simulation.faults

    def __str__(self) -> str:
        faults = ", ".join(f"{kind} {number:,}" for kind, number in sorted(self.faults.items()))
        return (
            f"{self.runs:,} runs, {self.hours:,.1f} simulated hours, {self.records:,} user records, "
            f"{self.requests:,} requests, {len(self.findings)} findings\nfaults: {faults}"
        )


def simulate(seeds: Iterable[int], *, seconds: float | None = None, most_findings: int = 5) -> Totals:
    """Run seeds, for so long at most, or until so many have shown something."""
    totals = Totals()
    ends = None if seconds is None else time.monotonic() + seconds
    for seed in seeds:
        simulation = Simulation(seed)
        try:
            simulation.run()
        except Exception as error:  # noqa: BLE001 - whatever is raised is a finding
            totals.findings.append((seed, f"{type(error).__name__}: {error}"))
        totals.add(simulation)
        if len(totals.findings) >= most_findings or (ends is not None and time.monotonic() >= ends):
            break
    return totals


def schedule_of(seed: int) -> str:
    """Return what happens with a seed, a line for each event."""
    lines: list[str] = []
    simulation = Simulation(seed, lines)
    try:
        simulation.run()
    except Exception as error:  # noqa: BLE001 - it ends the schedule
        lines.append(f"{simulation.now:12.6f}  FOUND {type(error).__name__}: {error}")
    return "\n".join([f"seed {seed}", str(simulation.plan), *lines])
