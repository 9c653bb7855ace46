"""Dictionaries, and data that they are for."""

from __future__ import annotations

import json
import random
from functools import cache

from shardpack.codec import train


def event(number: int) -> bytes:
    """Return an event of a device, as JSON of about 150 bytes."""
    numbers = random.Random(number)
    return json.dumps(
        {
            "device": f"device-{number % 500}",
            "celsius": round(numbers.gauss(21, 4), 2),
            "humidity": numbers.randrange(101),
            "firmware": numbers.choice(["2.1.0", "2.1.1", "3.0.0-beta"]),
            "state": numbers.choice(["idle", "heating", "cooling"]),
            "at": f"2026-01-{number % 28 + 1:02}T03:{number % 60:02}:00Z",
        }
    ).encode()


@cache
def dictionary(number: int | None = None) -> bytes:
    """Return a dictionary of such events, of 4 KiB at most."""
    return train([event(i) for i in range(2_000)], 4 * 1024, dictionary_id=number)
