"""How long user records wait for a handler: alone, and as one of three of which one stands still.

``python -m shardpack.bench.fan_out`` puts records of 25 kB into four shards of a local Kinesis, 80 a second (2 MB/s, in
a process of its own), and reads them in turns: ``run`` with one handler, then ``fan_out`` with three. Of these one
stays in its first batch: what it leaves unread fills its part of the buffer. The
lag of a record is the time from its put to its handler. It takes less than a minute.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..consume.stream import StreamReader
from ..limits import MIB
from ..testing import LocalKinesis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ..consume.stream import ReaderStats, StreamBatch

STREAM = "fan-out"
SHARDS = 4
SIZE = 25_000
TICKS_PER_SECOND = 20
BUFFER = 80 * MIB
"""20 MiB for each of three handlers, and as much for what they share: full after some ten seconds each."""
ALONE_S, TOGETHER_S, ROUNDS = 6.0, 13.0, 2


class Lags:
    """A handler that notes how long ago each record was put; ``gate``, if any, holds it up."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.seconds: list[float] = []
        self.gate = gate

    def __call__(self, batch: StreamBatch) -> None:
        now = time.time()
        self.seconds += [now - struct.unpack_from("<d", record.data)[0] for record in batch.records]
        if self.gate is not None:
            self.gate.wait()


def put_until_killed(endpoint_url: str) -> None:
    """Put one record into each shard, again and again, at times that keep step with no reader."""
    kinesis = LocalKinesis()
    kinesis.endpoint_url = endpoint_url
    client = kinesis.client()
    hash_keys = [str(2**128 // SHARDS * shard) for shard in range(SHARDS)]
    rest = os.urandom(SIZE - 8)
    while True:
        time.sleep(random.uniform(0.5, 1.5) / TICKS_PER_SECOND)
        data = struct.pack("<d", time.time()) + rest
        entries = [{"PartitionKey": "k", "ExplicitHashKey": key, "Data": data} for key in hash_keys]
        client.put_records(StreamName=STREAM, Records=entries)


@contextmanager
def putting(kinesis: LocalKinesis) -> Iterator[None]:
    """Put from another process meanwhile."""
    process = subprocess.Popen([sys.executable, "-m", __spec__.name, "--put", kinesis.endpoint_url])  # noqa: S603
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def stopped_after(reader: StreamReader, seconds: float, gate: threading.Event) -> Iterator[None]:
    """Stop a reader, and let go of what stands still."""

    def stop() -> None:
        reader.stop()
        gate.set()

    timer = threading.Timer(seconds, stop)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def alone(client: Any, seconds: float) -> list[float]:
    """Return the lags of a handler that has a reader to itself."""
    handler = Lags()
    reader = StreamReader(STREAM, client=client, start="latest", max_buffer_bytes=BUFFER)
    with stopped_after(reader, seconds, threading.Event()):
        reader.run(handler)
    return handler.seconds


def beside_one_asleep(client: Any, seconds: float) -> tuple[list[float], ReaderStats]:
    """Return the lags of two handlers beside one that stands still, and what the reader says before that goes on."""
    gate = threading.Event()
    handlers = {"asleep": Lags(gate), "first": Lags(), "second": Lags()}
    reader = StreamReader(STREAM, client=client, start="latest", max_buffer_bytes=BUFFER)
    said: list[ReaderStats] = []
    timer = threading.Timer(seconds - 0.2, lambda: said.append(reader.stats()))
    timer.start()
    with stopped_after(reader, seconds, gate):
        reader.fan_out(handlers)
    timer.join()
    return handlers["first"].seconds + handlers["second"].seconds, said[0]


def main() -> None:
    """Print the lags of both, and their ratio."""
    parser = argparse.ArgumentParser(
        prog="python -m shardpack.bench.fan_out", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--put", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.put:
        put_until_killed(arguments.put)
    lags: dict[str, list[float]] = {"alone": [], "beside one asleep": []}
    with LocalKinesis() as kinesis:
        kinesis.create_stream(STREAM, SHARDS)
        client = kinesis.client(max_pool_connections=16)
        with putting(kinesis):
            for _ in range(ROUNDS):
                lags["alone"] += alone(client, ALONE_S)
                together, stats = beside_one_asleep(client, TOGETHER_S)
                lags["beside one asleep"] += together
    means = {name: statistics.fmean(seconds) for name, seconds in lags.items()}
    for name, seconds in lags.items():
        percentiles = statistics.quantiles(seconds, n=100)
        sys.stdout.write(
            f"{name:18}{len(seconds):6} records: {means[name] * 1e3:4.0f} ms on average, "
            f"median {percentiles[49] * 1e3:4.0f} ms, 99 % within {percentiles[98] * 1e3:4.0f} ms\n"
        )
    waiting = stats.handlers["asleep"].buffered_bytes / MIB
    sys.stdout.write(
        f"{means['beside one asleep'] / means['alone']:.2f} times the lag; {waiting:.1f} MiB wait for the one asleep, "
        f"{stats.buffered_bytes / MIB:.1f} of {BUFFER / MIB:.0f} MiB are kept in all\n"
    )


if __name__ == "__main__":
    main()
