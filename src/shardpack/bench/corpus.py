"""What is measured on: user records as two lists, partition keys and data."""

from __future__ import annotations

import json
import lzma
import random
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

FLIGHTS_FILE = Path(__file__).with_name("flights.ndjson.xz")


@dataclass(frozen=True, slots=True)
class Corpus:
    """n user records."""

    keys: list[str]
    datas: list[bytes]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def data_size(self) -> int:
        return sum(map(len, self.datas))

    def first(self, records: int) -> Corpus:
        return Corpus(self.keys[:records], self.datas[:records])

    def pairs(self) -> list[tuple[str, bytes]]:
        """Return partition keys and data in pairs, in order."""
        return list(zip(self.keys, self.datas, strict=True))


@lru_cache(maxsize=4)
def synthetic(records: int, data_size: int, distinct_keys: int = 4_000) -> Corpus:
    """Make records of random bytes, their keys drawn evenly from so many ``device-…``; the same on every call."""
    rng = random.Random(7)
    keys = [f"device-{rng.randrange(distinct_keys)}" for _ in range(records)]
    return Corpus(keys, [rng.randbytes(data_size) for _ in range(records)])


@lru_cache(maxsize=1)
def flights(records: int) -> Corpus:
    """Read real flight events, keyed by aircraft."""
    with lzma.open(FLIGHTS_FILE) as lines:
        datas = [line.rstrip(b"\n") for line in islice(lines, records)]
    return Corpus([json.loads(data)["tailnum"] or "unknown" for data in datas], datas)
