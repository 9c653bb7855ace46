"""The corpora that every benchmark reads: user records as two lists, partition keys and data."""

from __future__ import annotations

import json
import lzma
import random
from dataclasses import dataclass
from importlib.resources import files

import pytest


@dataclass(frozen=True, slots=True)
class Corpus:
    name: str
    keys: list[str]
    datas: list[bytes]

    @property
    def size(self) -> int:
        return sum(map(len, self.datas))


def synthetic(records: int, data_size: int, distinct_keys: int) -> Corpus:
    rng = random.Random(7)
    keys = [f"device-{rng.randrange(distinct_keys)}" for _ in range(records)]
    return Corpus(f"{data_size} B", keys, [rng.randbytes(data_size) for _ in range(records)])


def flights(records: int) -> Corpus:
    with lzma.open(files("shardpack.cli") / "flights.ndjson.xz") as lines:
        datas = [next(lines).rstrip(b"\n") for _ in range(records)]
    return Corpus("flights", [json.loads(data)["tailnum"] or "unknown" for data in datas], datas)


@pytest.fixture(scope="session", params=["100 B", "flights"])
def corpus(request):
    return synthetic(50_000, 100, 4_000) if request.param == "100 B" else flights(50_000)
