"""Measure the shardpack of one folder with the rows of this checkout; prints the fastest seconds of each as JSON.

python benchmarks/compare_worker.py LIB [ROW,ROW…]
"""

# ruff: noqa: T201 (a command)

from __future__ import annotations

import importlib
import json
import sys
import timeit
import types
from pathlib import Path

SECONDS_A_ROW = 0.2
MIN_RUNS = 5
LEFT_OUT = {
    "threads",
    "aggregate-busy-thread",
    "deaggregate-busy-thread",
    "producer",
    "producer-1k",
    "producer-receipts",
    "producer-boto3",
    "producer-boto3-clock",
    "producer-far",
    "put-records-large",
    "put-records-many",
    "get-records",
    "get-records-arrow",
    "get-records-arrow-answered",
}  # a second core, and who else uses it, decides


def main(lib: str, wanted: str) -> None:
    sys.path.insert(0, lib)
    import shardpack  # noqa: PLC0415 (of that folder)

    if not Path(shardpack.__file__).is_relative_to(lib):
        sys.exit(f"{lib} has no shardpack; found {shardpack.__file__}")
    # ours judges both: its rows, with that folder's library beneath them
    bench = sys.modules["shardpack.bench"] = types.ModuleType("shardpack.bench")
    bench.__path__ = [str(Path(__file__).resolve().parents[1] / "src" / "shardpack" / "bench")]
    if not (Path(lib) / "shardpack" / "_native").is_dir():  # a revision from before it had a folder of its own
        native = sys.modules["shardpack._native"] = types.ModuleType("shardpack._native")
        for name in ("md5", "aggregate", "deaggregate", "columns"):
            module = sys.modules[f"shardpack._native.{name}"] = importlib.import_module(f"shardpack._{name}")
            setattr(native, name, module)
    from shardpack.bench.interleave import one_core  # noqa: PLC0415
    from shardpack.bench.row import OURS, CannotMeasureError, Scale  # noqa: PLC0415
    from shardpack.bench.rows import ROWS  # noqa: PLC0415

    found = {}
    with one_core():
        for name in wanted.split(",") if wanted else [name for name in ROWS if name not in LEFT_OUT]:
            try:
                row = ROWS[name](Scale(0.2))
                ours = row.proved(OURS)
            except CannotMeasureError:
                continue
            timer = timeit.Timer(ours)
            with row.conditions(OURS):
                runs = max(MIN_RUNS, int(SECONDS_A_ROW / timer.timeit(1)))
                found[name] = min(timer.repeat(runs, 1))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
