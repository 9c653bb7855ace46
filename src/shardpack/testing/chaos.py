"""A producer while everything fails that can and the stream is resharded: what is in it, against what was told.

    make chaos RECORDS=1000000 SEED=1      python -m shardpack.testing.chaos

Threads put records, each a counter of its own, under keys whose order is to be kept. Calls go through a proxy that
refuses entries, loses requests and answers, and tells of other shards late; meanwhile the stream is split, merged and
scaled. Then every shard is read as the KCL reads it, and compared with what the receipts say (`history`).
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from ..errors import DeliveryError
from ..producer.producer import Producer
from ..records import KinesisRecord
from ..shards import HASH_KEYS
from ..transport import StreamDescription
from ..transport.boto3 import Boto3Transport
from . import history
from .fault_proxy import FaultProxy
from .faults import Cut, Error, Fault, RefuseEntries, Reset, StaleShards
from .local_kinesis import LocalKinesis, wait_until_active

MIB = 2**20
PUT = "PutRecords"
SHARD_COUNTS = (8, 16, 6, 11, 4)
"""What the stream begins with, and is scaled to one after the other. Between two of them a shard is split, or two are
merged."""

FAULTS: tuple[Fault, ...] = (
    RefuseEntries(share=0.3, operations=PUT),
    RefuseEntries(share=0.02, code="InternalFailure", operations=PUT),
    Reset("before", probability=0.02, operations=PUT),
    Reset("after", probability=0.02, operations=PUT),
    Cut(probability=0.01, operations=PUT),
    Error("InternalFailure", probability=0.02, operations=PUT),
    Error("ExpiredTokenException", probability=0.01, operations=PUT),
    Error("LimitExceededException", probability=0.2, operations="ListShards"),
    Error("InternalFailure", probability=0.1, operations="DescribeStreamSummary"),
    StaleShards(probability=0.5, seconds=0.5),
)

MOST_SECONDS = 1800.0
"""How long the stream may take for all."""

PUT_AT_ONCE = 64
"""User records of a ``put_many``: every other thread uses it."""


@dataclass(slots=True)
class Chaos:
    """One run: what it came to. ``holds`` says whether every promise was kept."""

    records: int
    seed: int
    auto: bool = False
    report: history.Report = field(default_factory=history.Report)
    outcomes: Counter[str] = field(default_factory=Counter)
    """What the receipts said."""
    settled: int = 0
    """User records that ``on_settled`` was told of."""
    kinesis_records: int = 0
    most_attempts: int = 0
    reshardings: list[str] = field(default_factory=list)
    shards: int = 0
    """In the end, with those that were closed."""
    requests: Counter[str] = field(default_factory=Counter)
    injected: Counter[str] = field(default_factory=Counter)
    put_seconds: float = 0.0
    seconds: float = 0.0
    most_buffered: int = 0
    """Bytes, as far as was looked."""
    rss_before: int = 0
    """Bytes of this process, the proxy among it, before the first put."""
    rss_peak: int = 0
    """The most until everything was stored."""

    @property
    def defects(self) -> dict[str, int]:
        """What is wrong, and how often. Where the service spreads records itself, no order is promised."""
        defects = dict(self.report.defects)
        if self.auto:
            defects.pop("out_of_order", None)
        if self.settled != self.records:
            defects["not told of"] = self.records - self.settled
        if stray := self.records - self.outcomes["stored"]:
            defects["not told to be stored"] = stray
        return defects

    def __str__(self) -> str:
        counts = [f"{what} {number:,}" for what, number in sorted(self.injected.items())]
        calls = [f"{what} {number:,}" for what, number in sorted(self.requests.items())]
        switched = ", AUTO switched" if self.auto else ""
        took = f"put in {self.put_seconds:.1f} s, stored in {self.seconds:.1f} s"
        attempts = f"{self.most_attempts} attempts at most"
        more = f"{(self.rss_peak - self.rss_before) / MIB:.0f} more at most"
        lines = [
            f"{self.records:,} user records, seed {self.seed}{switched}: {took}",
            f"reshardings: {', '.join(self.reshardings)}; {self.shards} shards in the end",
            f"calls: {', '.join(calls)}",
            f"faults: {', '.join(counts)}",
            f"settled: {self.settled:,} in {self.kinesis_records:,} Kinesis records; {attempts}",
            f"memory: {self.rss_before / MIB:.0f} MiB before, {more}; {self.most_buffered / MIB:.1f} buffered at most",
            f"receipts: {dict(self.outcomes)}",
            str(self.report),
            f"DEFECTS: {self.defects}" if self.defects else "No defects.",
        ]
        return "\n".join(lines)


def run(
    kinesis: LocalKinesis,
    *,
    records: int,
    seed: int,
    threads: int = 4,
    auto: bool = False,
    faults: Sequence[Fault] = FAULTS,
    shard_counts: Sequence[int] = SHARD_COUNTS,
    **options: Any,
) -> Chaos:
    """Put so many user records while everything fails, and compare. ``options`` are the producer's.

    ``auto``: AUTO distribution is switched on and off meanwhile; no local Kinesis knows it, so it is the transport here
    that spreads the records. Raises what a thread's ``put`` raised.
    """
    stream, client = f"chaos-{uuid.uuid4()}", kinesis.client()
    kinesis.create_stream(stream, shard_counts[0])
    chaos = Chaos(records // threads * threads, seed, auto)
    with FaultProxy(kinesis.endpoint_url, seed=seed, faults=faults) as proxy:
        transport = _Spreading(proxy.client(max_pool_connections=16), stream, Random(f"auto {seed}"))

        def on_settled(settled: Sequence[Any]) -> None:
            chaos.settled += sum(each.user_record_count for each in settled)
            chaos.kinesis_records += len(settled)

        producer = Producer(
            stream,
            transport=transport,
            on_settled=on_settled,
            **{"linger_ms": 50, "record_ttl_ms": 600_000, "max_buffered_bytes": 10 * records, **options},
        )
        with producer:
            putting = _Putting(producer, chaos.records // threads, threads, seed)
            chaos.rss_before, began = _rss(), time.monotonic()
            putting.start()
            _reshard(client, shard_counts, putting, chaos, transport)
            putting.join()
            chaos.put_seconds = time.monotonic() - began
            producer.flush(MOST_SECONDS)
        chaos.seconds = time.monotonic() - began
        chaos.rss_peak, chaos.most_buffered = _rss("VmHWM"), putting.most_buffered
        chaos.requests, chaos.injected = proxy.requests, proxy.injected
        contents = history.read_all(client, stream, kcl_rule=True)
        chaos.shards = len(contents)
        chaos.report = history.check(_puts(putting, chaos), contents, unanswered=proxy.unanswered(stream))
    return chaos


class _Spreading(Boto3Transport):
    """A stream that may be switched to AUTO distribution: each record goes to any shard then, whatever its key."""

    def __init__(self, client: Any, stream_name: str, rng: Random) -> None:
        super().__init__(client, stream_name)
        self.stream_name, self.auto = stream_name, False
        self._rng = rng

    def put_records(self, entries: Sequence[KinesisRecord]) -> list[Any]:
        if not self.auto:
            return super().put_records(entries)
        return super().put_records(
            [
                KinesisRecord(
                    entry.partition_key,
                    str(self._rng.randrange(HASH_KEYS)),
                    entry.data,
                    entry.shard_index,
                    entry.user_record_count,
                    entry.size,
                )
                for entry in entries
            ]
        )

    def describe(self) -> StreamDescription:
        described = super().describe()
        return StreamDescription(
            described.stream_name,
            described.stream_arn,
            described.status,
            described.open_shard_count,
            described.limits,
            self.auto,
        )


class _Putting:
    """Threads that put: counters under 60 keys each, every tenth with an explicit hash key of its key's own."""

    def __init__(self, producer: Producer, each: int, threads: int, seed: int) -> None:
        self.receipts: list[list[Any]] = [[] for _ in range(threads)]
        """By thread: of its records, in order; or of so many in one ``Receipts``."""
        self.most_buffered = 0
        self._producer, self._each, self._seed = producer, each, seed
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    @property
    def failed(self) -> bool:
        """Whether a thread has ended before its time."""
        return bool(self._errors)

    def record(self, number: int, i: int) -> tuple[str, bytes, int | None]:
        """Return the i-th record of a thread: key, data, explicit hash key."""
        key = i * 7 % 60
        return f"{number}-{key}", b"%d/%d/" % (number, i) + b"." * (i % 40), key << 122 if key % 10 == 0 else None

    def _work(self, number: int) -> None:
        rng, producer, receipts = Random(f"{self._seed} {number}"), self._producer, self.receipts[number]
        try:
            for first in range(0, self._each, PUT_AT_ONCE):
                batch = [self.record(number, i) for i in range(first, min(first + PUT_AT_ONCE, self._each))]
                if number % 2:
                    receipts.append(producer.put_many(*zip(*batch, strict=True)))
                else:
                    receipts.extend(producer.put(*each) for each in batch)
                self.most_buffered = max(self.most_buffered, producer.stats(shards=False).buffered_bytes)
                if rng.random() < 0.1:
                    time.sleep(rng.random() * 0.02)
        except BaseException as error:  # noqa: BLE001 - raised by join
            self._errors.append(error)


def _reshard(client: Any, shard_counts: Sequence[int], putting: _Putting, chaos: Chaos, transport: _Spreading) -> None:
    """Scale, split and merge as records are stored, in equal steps; and switch AUTO distribution."""
    rng, stream = Random(f"reshard {chaos.seed}"), transport.stream_name
    deadline = time.monotonic() + MOST_SECONDS
    steps: list[int] = []
    for count in shard_counts[1:]:
        steps += (count, 0)
    for number, count in enumerate(steps, 1):
        while chaos.settled < chaos.records * number / (len(steps) + 1) and not putting.failed:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{chaos.settled:,} of {chaos.records:,} user records in {MOST_SECONDS:g} s")
            time.sleep(0.01)
        wait_until_active(client, stream)
        if chaos.auto:
            transport.auto = not transport.auto
        if count:
            client.update_shard_count(StreamName=stream, TargetShardCount=count, ScalingType="UNIFORM_SCALING")
            chaos.reshardings.append(f"to {count}")
        else:
            chaos.reshardings.append(split_or_merge(client, stream, rng))


def split_or_merge(client: Any, stream: str, rng: Random) -> str:
    """Split a shard, or merge two; return which."""
    shards = sorted(
        client.list_shards(StreamName=stream, ShardFilter={"Type": "AT_LATEST"})["Shards"],
        key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]),
    )
    at = rng.randrange(len(shards))
    shard = shards[at]
    if rng.random() < 0.5 and at + 1 < len(shards):
        client.merge_shards(
            StreamName=stream, ShardToMerge=shard["ShardId"], AdjacentShardToMerge=shards[at + 1]["ShardId"]
        )
        return "merge"
    low, high = (int(shard["HashKeyRange"][f"{end}HashKey"]) for end in ("Starting", "Ending"))
    client.split_shard(
        StreamName=stream, ShardToSplit=shard["ShardId"], NewStartingHashKey=str(rng.randrange(low + 2, high))
    )
    return "split"


def _puts(putting: _Putting, chaos: Chaos) -> list[history.Put]:
    puts = []
    for number, receipts in enumerate(putting.receipts):
        i = 0
        for one_or_more in receipts:
            for receipt in one_or_more if number % 2 else (one_or_more,):
                key, data, explicit = putting.record(number, i)
                puts.append(history.Put(key, data, _told(receipt, chaos), explicit))
                i += 1
    return puts


def _told(receipt: Any, chaos: Chaos) -> history.Outcome:
    try:
        outcome = receipt.result(0)
    except TimeoutError:
        chaos.outcomes["none"] += 1
        return None
    except DeliveryError as error:
        chaos.outcomes["unknown" if error.maybe_stored else error.error_code] += 1
        return history.UNKNOWN if error.maybe_stored else history.NOT_STORED
    chaos.outcomes["stored"] += 1
    chaos.most_attempts = max(chaos.most_attempts, len(outcome.attempts))
    return history.Position(outcome.shard_id, outcome.sequence_number, outcome.sub_sequence_number)


def _rss(name: str = "VmRSS") -> int:
    """Return the resident memory of this process in bytes; 0 where /proc does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m shardpack.testing.chaos", description="Deliver through faults and reshardings, and compare."
    )
    parser.add_argument("--records", type=int, default=1_000_000, help="how many user records (1,000,000)")
    parser.add_argument("--seed", type=int, help="of faults and threads; without it another one each time")
    parser.add_argument("--threads", type=int, default=4, help="how many put (4)")
    parser.add_argument("--auto", action="store_true", help="switch AUTO distribution on and off meanwhile")
    parser.add_argument("--aggregate", type=int, default=1000, help="user records of an aggregated record (1,000)")
    parser.add_argument("--compression", choices=["zstd"], help="send compressed aggregates")
    arguments = parser.parse_args()
    seed = time.time_ns() % 2**32 if arguments.seed is None else arguments.seed
    with LocalKinesis() as kinesis:
        chaos = run(
            kinesis,
            records=arguments.records,
            seed=seed,
            threads=arguments.threads,
            auto=arguments.auto,
            max_aggregate_records=arguments.aggregate,
            compression=arguments.compression,
        )
    sys.stdout.write(f"{chaos}\n")
    return int(bool(chaos.defects))


if __name__ == "__main__":
    sys.exit(main())
