"""Is the working tree slower than another revision? Runs both in turns and fails only when that is clear of the noise.

    python benchmarks/compare.py BASE [--tolerance 0.10] [--pairs 9] [--rows aggregate,deaggregate]

Exit codes: 0 no regression, 1 regression, 2 a revision could not be built or run.
"""

# ruff: noqa: T201 (a command)

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "compare"
WORKING_TREE = "working-tree"  # as long as the name of a commit below: paths end up in memory layouts
SOURCES = ("csrc", "src", "setup.py", "pyproject.toml", "README.md", "LICENSE")
MIN_PAIRS = 7
REGRESSION, CANNOT = 1, 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row's time in the working tree as a multiple of the base's: quartiles over the pairs of processes."""

    row: str
    low: float
    median: float
    high: float
    tolerance: float

    @property
    def slower(self) -> bool:
        return self.low > 1 + self.tolerance

    @property
    def faster(self) -> bool:
        return self.high < 1 / (1 + self.tolerance)

    def __str__(self) -> str:
        word = "SLOWER" if self.slower else "faster" if self.faster else ""
        return f"{self.row:<20} {self.median:5.2f}  {self.low:5.2f} to {self.high:<5.2f} {word}".rstrip()


def judge(pairs: Iterable[tuple[Mapping[str, float], Mapping[str, float]]], tolerance: float) -> list[Verdict]:
    """Compare pairs of (base's seconds, working tree's seconds) by row. Rows that either lacks are left out."""
    ratios: dict[str, list[float]] = {}
    for base, head in pairs:
        for row in head:
            if row in base:
                ratios.setdefault(row, []).append(head[row] / base[row])
    verdicts = []
    for row, values in ratios.items():
        low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
        verdicts.append(Verdict(row, low, median, high, tolerance))
    return verdicts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="the revision to compare with")
    parser.add_argument("--tolerance", type=float, default=0.10, help="what is no regression yet, as a share (0.10)")
    parser.add_argument("--pairs", type=int, default=9, help=f"pairs of processes, {MIN_PAIRS} at least (9)")
    parser.add_argument("--rows", help="only these, separated by commas")
    arguments = parser.parse_args()
    rows = arguments.rows.split(",") if arguments.rows else None
    pairs = max(arguments.pairs, MIN_PAIRS)
    try:
        base, head = build_commit(arguments.base), build_working_tree()
        print(f"{arguments.base} ({base.parent.name}) against the working tree, {pairs} pairs: time as a multiple")
        measured = run_pairs(base, head, pairs, rows)
        verdicts = judge(measured, arguments.tolerance)
        print(*verdicts, sep="\n")
        suspects = [verdict.row for verdict in verdicts if verdict.slower]
        again = []
        if suspects:
            print("\nOnce more, only what looks slower:")
            again = judge(run_pairs(base, head, pairs, suspects), arguments.tolerance)
            print(*again, sep="\n")
    except subprocess.CalledProcessError as error:
        print(error.stderr or error, file=sys.stderr)
        return CANNOT
    slower = [verdict.row for verdict in again if verdict.slower]
    (FOLDER / "result.json").write_text(
        json.dumps(
            {
                "base": base.parent.name,
                "tolerance": arguments.tolerance,
                "pairs": measured,
                "verdicts": [asdict(verdict) for verdict in verdicts],
                "again": [asdict(verdict) for verdict in again],
                "slower": slower,
            },
            indent=1,
        )
    )
    allowed = f"{arguments.tolerance:.0%}"
    print(f"\nSlower by more than {allowed}: {', '.join(slower)}" if slower else f"\nNo regression beyond {allowed}.")
    return REGRESSION if slower else 0


# --- build ---


def build_commit(revision: str) -> Path:
    """Build a revision, once; returns the folder to import it from."""
    commit = run("git", "rev-parse", "--verify", f"{revision}^{{commit}}", cwd=ROOT).strip()
    tree = FOLDER / commit[: len(WORKING_TREE)]
    if not (tree / "built").exists():
        shutil.rmtree(tree, ignore_errors=True)
        run("git", "clone", "--quiet", "--shared", "--no-checkout", str(ROOT), str(tree), cwd=ROOT)
        run("git", "checkout", "--quiet", "--detach", commit, cwd=tree)
        build(tree)
        (tree / "built").touch()
    return tree / "lib"


def build_working_tree() -> Path:
    """Build a copy of the working tree's sources, in the same way; what did not change is not compiled again."""
    tree = FOLDER / WORKING_TREE
    tree.mkdir(parents=True, exist_ok=True)
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *SOURCES, cwd=ROOT)
    wanted = {name for name in listed.split("\0") if name and (ROOT / name).exists()}
    for name in (str(path.relative_to(tree)) for top in ("csrc", "src") for path in (tree / top).rglob("*")):
        if (tree / name).is_file() and name not in wanted:
            (tree / name).unlink()
    for name in wanted:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name)
    shutil.rmtree(tree / "lib", ignore_errors=True)
    build(tree)
    return tree / "lib"


def build(tree: Path) -> None:
    run(sys.executable, "setup.py", "--quiet", "build", "--build-base", "objects", "--build-lib", "lib", cwd=tree)


def run(*command: str, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


# --- run ---


def run_pairs(
    base: Path, head: Path, pairs: int, rows: Sequence[str] | None
) -> list[tuple[dict[str, float], dict[str, float]]]:
    """Run a process of each, so many times; who goes first changes."""
    measured = []
    for i in range(pairs):
        first, second = (base, head) if i % 2 else (head, base)
        found = {first: seconds(first, rows), second: seconds(second, rows)}
        measured.append((found[base], found[head]))
    return measured


def seconds(lib: Path, rows: Sequence[str] | None) -> dict[str, float]:
    """Measure one build in a process of its own: the fastest run of each row."""
    worker = Path(__file__).with_name("compare_worker.py")
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    output = run(sys.executable, str(worker), str(lib), ",".join(rows or ()), cwd=lib, environment=environment)
    found: dict[str, float] = json.loads(output)
    return found


if __name__ == "__main__":
    sys.exit(main())
