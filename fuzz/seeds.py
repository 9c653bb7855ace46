"""Write the seed corpus: tests/data/kpl.jsonl with and without frame, and groups at the limit of depth."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import wire

VECTORS = Path(__file__).parents[1] / "tests" / "data" / "kpl.jsonl"
FRAME = 4 + 16
LONGEST = 4096
"""Seeds are at most this long: a fuzzer gets more out of many short messages than of few long ones."""


def nested_groups() -> list[bytes]:
    """Groups as deep as they may be and one deeper, in every kind of message; mutations hardly ever get there."""
    seeds = []
    for depth in (97, 98, 99, 100, 101):
        groups = b"\x2b" * depth + b"\x2c" * depth
        seeds.append(groups)
        seeds.append(wire.content(1, b"k") + wire.record(0, b"d", None, groups))
        seeds.append(
            wire.content(1, b"k") + wire.record(0, b"d", None, wire.content(4, wire.content(1, b"t") + groups))
        )
    return seeds


def write_seeds(directory: Path) -> int:
    """Write every seed up to LONGEST bytes, named by its content, as libFuzzer does. Returns how many."""
    directory.mkdir(parents=True, exist_ok=True)
    seeds = set(nested_groups())
    for line in VECTORS.read_text().splitlines():
        blob = bytes.fromhex(json.loads(line)["blob"])
        seeds |= {blob, blob[4:-16]} if len(blob) > FRAME else {blob}
    short = [seed for seed in seeds if len(seed) <= LONGEST]
    for seed in short:
        (directory / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
    return len(short)


if __name__ == "__main__":
    print(write_seeds(Path(sys.argv[1])))
