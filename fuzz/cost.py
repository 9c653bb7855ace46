"""Print what the costliest messages cost: peak memory for each byte, and time for a size, twice and four times it.

python fuzz/cost.py [--size BYTES]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from costly_messages import CALLS, MESSAGES, measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2**20, help="bytes of the smallest message")
    size = parser.parse_args().size
    sizes = [size, 2 * size, 4 * size]
    print(f"{'message':38}{'call':26}{'memory / byte of blob':^24}{'ms':^24}")
    print(" " * 64 + 2 * "".join(f"{n / 2**20:6.4g} M" for n in sizes))
    with TemporaryDirectory() as directory:
        for message in MESSAGES:
            for call in CALLS:
                costs = [measure(message, call, n, Path(directory)) for n in sizes]
                ratios = "".join(f"{cost.ratio:8.1f}" for cost in costs)
                times = "".join(f"{1000 * cost.seconds:8.1f}" for cost in costs)
                print(f"{message:38}{call:26}{ratios}{times}", flush=True)


if __name__ == "__main__":
    main()
