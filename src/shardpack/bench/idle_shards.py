"""What shards cost of which nothing comes: the processor time of a reader of 1,000 of them, in one process.

``python -m shardpack.bench.idle_shards`` has a canned Kinesis, in a process of its own, answer every GetRecords that
there is nothing; and counts calls and processor time once each shard has its iterator. It takes half a minute.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from dataclasses import dataclass
from typing import Any

from ..consume.stream import StreamReader
from .canned_kinesis import STREAM, canned_kinesis
from .producing import plain_client

SECONDS = 10.0
POLL_SECONDS = (1.0, 5.0)
LONGEST_BEGIN_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Idle:
    """What a reader did in so many seconds, in which nothing came."""

    shards: int
    poll_interval_s: float
    calls_per_second: float
    processor_share: float
    """Of one core."""

    @property
    def per_shard(self) -> float:
        """Processor seconds per shard and second."""
        return self.processor_share / self.shards

    @property
    def per_call(self) -> float:
        """Processor seconds of a call, with all that a reader does around it."""
        return self.processor_share / self.calls_per_second

    def __str__(self) -> str:
        return (
            f"{self.shards:,} idle shards, polled every {self.poll_interval_s:g} s: "
            f"{self.calls_per_second:,.0f} calls/s, {self.processor_share:.0%} of a core; "
            f"{self.per_shard * 1e6:,.0f} µs per shard and second, {self.per_call * 1e6:,.0f} µs per call"
        )


def measure(client: Any, shards: int, poll_interval_s: float, seconds: float) -> Idle:
    """Read for so long, once every shard was called for. Raises ``RuntimeError`` where that takes too long."""
    with StreamReader(STREAM, client=client, poll_interval_s=poll_interval_s) as reader:
        deadline = time.monotonic() + LONGEST_BEGIN_SECONDS
        while reader.stats().calls < shards:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{reader.stats().calls} of {shards} shards in {LONGEST_BEGIN_SECONDS:g} s")
            time.sleep(0.05)
        calls, began, processor = reader.stats().calls, time.monotonic(), time.process_time()
        time.sleep(seconds)
        took, used = time.monotonic() - began, time.process_time() - processor
        return Idle(shards, poll_interval_s, (reader.stats().calls - calls) / took, used / took)


def main() -> None:
    """Print what each interval costs."""
    parser = argparse.ArgumentParser(
        prog="python -m shardpack.bench.idle_shards", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each interval")
    arguments = parser.parse_args()
    if importlib.util.find_spec("boto3") is None:
        parser.error("needs boto3: pip install boto3")
    with canned_kinesis(shards=arguments.shards) as url:
        client = plain_client(url)
        for poll_interval_s in POLL_SECONDS:
            sys.stdout.write(f"{measure(client, arguments.shards, poll_interval_s, arguments.seconds)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
