"""``python -m shardpack.testing.simulation``, which is ``make simulate``."""

from __future__ import annotations

import argparse
import sys
import time

from .many import schedule_of, simulate


def main() -> int:
    """Simulate as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m shardpack.testing.simulation", description="Simulate the delivery of a stream."
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--seed", type=int, help="run this seed alone, and print its schedule")
    parser.add_argument("--first", type=int, help="the first seed; without it they are others each time")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        schedule = schedule_of(arguments.seed)
        sys.stdout.write(schedule + "\n")
        return int("FOUND" in schedule.rpartition("\n")[2])
    first = time.time_ns() % 2**40 if arguments.first is None else arguments.first
    totals = simulate(range(first, first + 2**40), seconds=arguments.seconds)
    for seed, finding in totals.findings:
        sys.stdout.write(f"{schedule_of(seed)}\nagain: make simulate SEED={seed}   # {finding}\n\n")
    sys.stdout.write(f"seeds from {first}: {totals}\n")
    return int(bool(totals.findings))


if __name__ == "__main__":
    sys.exit(main())
