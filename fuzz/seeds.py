"""Write the seed corpora: tests/data/kpl.jsonl with and without frame, and groups at the limit of depth; and bodies of
GetRecords responses, which hold the same, for hardly any mutation makes all the members of a record; and compressed."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import wire
import zstandard
from answers import body_of, record

VECTORS = Path(__file__).parents[1] / "tests" / "data" / "kpl.jsonl"
FRAME = 4 + 16
LONGEST = 4096
"""Seeds are at most this long: a fuzzer gets more out of many short messages than of few long ones."""


PADDING = b"\x50\x2a\x4d\x18\x03\0\0\0any"


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


def messages() -> set[bytes]:
    seeds = set(nested_groups())
    for line in VECTORS.read_text().splitlines():
        blob = bytes.fromhex(json.loads(line)["blob"])
        seeds |= {blob, blob[4:-16]} if len(blob) > FRAME else {blob}
    return seeds


def replies() -> set[bytes]:
    blobs = [bytes.fromhex(json.loads(line)["blob"]) for line in VECTORS.read_text().splitlines()]
    numbers = [
        "1545084650.987",
        "1.545084650987E9",
        "0",
        "1545084650",
        "0.0000005",
        "15e+8",
        "150.5e-1",
        "9999999999.5",
    ]
    one = body_of(record(b"raw", EncryptionType="KMS", PartitionKey="\u00e9\n"))
    bodies = {body_of(record(blob), record(b"")) for blob in blobs}
    return {body_of(), *bodies, *(one.replace(numbers[0].encode(), number.encode()) for number in numbers)}


def compressed_records() -> set[bytes]:
    """What follows magic and version: sizes and frames of zstandard, with and without padding."""
    compressor = zstandard.ZstdCompressor(write_checksum=True)
    seeds = set()
    for message in messages():
        if message:
            frame = compressor.compress(message)
            seeds |= {len(message).to_bytes(4, "little") + frame + more for more in (b"", PADDING)}
    return seeds


def write_seeds(directory: Path, seeds: set[bytes]) -> int:
    """Write every seed up to LONGEST bytes, named by its content, as libFuzzer does. Returns how many."""
    directory.mkdir(parents=True, exist_ok=True)
    short = [seed for seed in seeds if len(seed) <= LONGEST]
    for seed in short:
        (directory / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
    return len(short)


if __name__ == "__main__":
    print(write_seeds(Path(sys.argv[1]), messages()))
