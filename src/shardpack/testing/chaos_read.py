"""A reader that is killed again and again, while everything fails and the stream is resharded: what it handled.

    make chaos-read RECORDS=1000000 SEED=1      python -m shardpack.testing.chaos_read --handlers 3

A process reads a stream with checkpoints in SQLite, through a proxy that throttles, loses requests and answers, has
iterators expire and tells of other shards late. It is killed (SIGKILL) at random and begun again; meanwhile the stream
is written, split, merged and scaled. What it handled, and which checkpoints were kept, it notes in a file; so does each
handler, where it is a ``fan_out`` of several at different paces. Of each file: nothing is missing, first copies are in
order per key, and nothing comes again of which a checkpoint was kept.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Thread
from typing import TYPE_CHECKING, Any

from ..producer.producer import Producer
from .chaos import split_or_merge
from .fault_proxy import FaultProxy
from .faults import Cut, Error, Fault, Reset, StaleShards
from .local_kinesis import LocalKinesis, wait_until_active

if TYPE_CHECKING:
    from .._native.deaggregate import UserRecord
    from ..consume.stream import StreamBatch, StreamReader

KEYS = 240
SHARD_COUNTS = (8, 16, 6)
READ, ITERATOR = "GetRecords", "GetShardIterator"
FAULTS: tuple[Fault, ...] = (
    Error("ProvisionedThroughputExceededException", probability=0.05, operations=READ),
    Error("ExpiredIteratorException", probability=0.02, operations=READ),
    Error("InternalFailure", probability=0.02),
    Reset("before", probability=0.01, operations=(READ, ITERATOR)),
    Reset("after", probability=0.02, operations=READ),
    Cut(probability=0.02, operations=READ),
    Error("LimitExceededException", probability=0.1, operations="ListShards"),
    StaleShards(probability=0.3, seconds=0.5),
)
KILL_SECONDS = (1.5, 5.0)
MOST_SECONDS = 600.0
"""How long the last reader may take to catch up."""


@dataclass(slots=True)
class ChaosRead:
    """One run: what it came to."""

    records: int
    seed: int
    handlers: int = 0
    """Of a ``fan_out``; a reader that is iterated over where 0."""
    kills: int = 0
    reshardings: list[str] = field(default_factory=list)
    injected: Counter[str] = field(default_factory=Counter)
    put_seconds: float = 0.0
    seconds: float = 0.0
    batches: int = 0
    checkpoints: int = 0
    handled: int = 0
    """User records, with those that came again."""
    defects: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        counts = [f"{what} {number:,}" for what, number in sorted(self.injected.items())]
        took = f"put in {self.put_seconds:.1f} s, read in {self.seconds:.1f} s"
        again = self.handled - self.records * max(1, self.handlers) + self.defects["lost"]
        by = f", {self.handlers} handlers" if self.handlers else ""
        lines = [
            f"{self.records:,} user records, seed {self.seed}{by}: {took}",
            f"reshardings: {', '.join(self.reshardings)}; {self.kills} kills",
            f"faults: {', '.join(counts)}",
            f"handled: {self.handled:,} in {self.batches:,} batches, {again:,} again; {self.checkpoints:,} checkpoints",
            f"DEFECTS: {dict(self.defects)}" if self.defects else "No defects.",
        ]
        return "\n".join(lines)


def run(
    kinesis: LocalKinesis,
    *,
    records: int,
    seed: int,
    put_s: float,
    handlers: int = 0,
    kill_s: tuple[float, float] = KILL_SECONDS,
    faults: Sequence[Fault] = FAULTS,
) -> ChaosRead:
    """Put so many user records in about ``put_s`` seconds, read them meanwhile, and compare."""
    stream, done, rng = f"chaos-read-{uuid.uuid4()}", ChaosRead(records, seed, handlers), Random(seed)
    kinesis.create_stream(stream, SHARD_COUNTS[0])
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, FaultProxy(kinesis.endpoint_url, seed=seed, faults=faults) as proxy:
        command = [sys.executable, "-m", "shardpack.testing.chaos_read", "--read", proxy.endpoint_url, stream, folder]
        command += ["--handlers", str(handlers)]
        putting = _Putting(kinesis, stream, done, put_s)
        putting.start()
        while putting.is_alive():
            reader = subprocess.Popen(command)  # noqa: S603 - our own
            try:
                reader.wait(rng.uniform(*kill_s))
            except subprocess.TimeoutExpired:
                reader.kill()
                reader.wait()
                done.kills += 1
            else:
                raise RuntimeError(f"a reader ended by itself: {reader.returncode}")
        putting.finish()
        subprocess.run([*command, "--until-latest"], check=True, timeout=MOST_SECONDS)  # noqa: S603
        done.seconds = time.monotonic() - began
        done.injected = proxy.injected
        for number in range(max(1, handlers)):
            _check(Path(folder, f"notes-{number}").read_text().splitlines(), done)
    done.defects = +done.defects
    return done


class _Putting(Thread):
    """Puts counters under 240 keys, and changes the shards in equal steps."""

    def __init__(self, kinesis: LocalKinesis, stream: str, done: ChaosRead, put_s: float) -> None:
        super().__init__(name="putting", daemon=True)
        self._client, self._stream, self._done, self._put_s = (
            kinesis.client(retries={"total_max_attempts": 1}),
            stream,
            done,
            put_s,
        )
        self._error: BaseException | None = None

    def finish(self) -> None:
        self.join()
        if self._error is not None:
            raise self._error

    def run(self) -> None:
        try:
            self._put()
        except BaseException as error:  # noqa: BLE001 - raised by finish
            self._error = error

    def _put(self) -> None:
        records, began, rng = self._done.records, time.monotonic(), Random(f"reshard {self._done.seed}")
        steps: list[int] = [step for count in SHARD_COUNTS[1:] for step in (0, count, 0)]
        parts = 20 * (len(steps) + 1)
        with Producer(self._stream, client=self._client, linger_ms=50, max_aggregate_records=100) as producer:
            for part in range(parts):
                numbers = range(records * part // parts, records * (part + 1) // parts)
                keys = [str(i % KEYS) for i in numbers]
                receipts = producer.put_many(keys, [b"%d/%d" % (i % KEYS, i // KEYS) for i in numbers])
                if part % 20 == 19 and steps:
                    producer.flush()
                    self._reshard(steps.pop(0), rng)
                time.sleep(max(0.0, began + self._put_s * (part + 1) / parts - time.monotonic()))
                del receipts
            producer.flush()
        self._done.put_seconds = time.monotonic() - began

    def _reshard(self, count: int, rng: Random) -> None:
        wait_until_active(self._client, self._stream)
        if count:
            self._client.update_shard_count(
                StreamName=self._stream, TargetShardCount=count, ScalingType="UNIFORM_SCALING"
            )
        what = f"to {count}" if count else split_or_merge(self._client, self._stream, rng)
        self._done.reshardings.append(what)


def _check(lines: Iterable[str], done: ChaosRead) -> None:
    """Go through what was noted, in order."""
    kept: set[str] = set()
    since: defaultdict[str, list[str]] = defaultdict(list)  # the last checkpoint, by shard
    seen: set[str] = set()
    last: dict[str, int] = {}
    for line in lines:
        try:
            noted = json.loads(line or "0")
        except ValueError:
            continue  # cut off by a kill: it was not handled
        if not noted:
            since.clear()  # another life, which begins at the checkpoints
            continue
        shard_id, datas = noted
        if datas is None:
            done.checkpoints += 1
            kept.update(since.pop(shard_id, ()))
            continue
        done.batches += 1
        done.handled += len(datas)
        since[shard_id] += datas
        done.defects["again, though a checkpoint was kept"] += sum(data in kept for data in datas)
        for data in datas:
            if data in seen:
                continue
            seen.add(data)
            key, _, number = data.partition("/")
            done.defects["out of order"] += int(number) <= last.get(key, -1)
            last[key] = int(number)
    expected = {f"{i % KEYS}/{i // KEYS}" for i in range(done.records)}
    done.defects["lost"] += len(expected - seen)
    done.defects["never put"] += len(seen - expected)


class _Notes:
    """What was handled, and that a checkpoint was kept, a line each, by shard. An empty line is where a life begins."""

    def __init__(self, folder: Path, number: int) -> None:
        self._file = (folder / f"notes-{number}").open("ab", buffering=0)
        self._file.write(b"\n\n")  # after what was cut off

    def handled(self, shard_id: str, records: Sequence[UserRecord]) -> None:
        self._write([shard_id, [record.data.decode() for record in records]])

    def kept(self, shard_id: str) -> None:
        self._write([shard_id, None])

    def _write(self, noted: list[Any]) -> None:
        self._file.write(b"%b\n" % json.dumps(noted).encode())


def read(endpoint_url: str, stream: str, folder: Path, *, handlers: int, until: Any) -> None:
    """Read and note, until killed."""
    from ..consume.stream import SQLiteCheckpoints, StreamReader  # noqa: PLC0415 - who only checks does without

    kinesis = LocalKinesis()
    kinesis.endpoint_url = endpoint_url
    client = kinesis.client(retries={"total_max_attempts": 1}, max_pool_connections=16)
    store = SQLiteCheckpoints(folder / "checkpoints.db")
    reader = StreamReader(stream, client=client, checkpoints=store, until=until, poll_interval_s=0.2)
    if handlers:
        reader.fan_out({f"handler-{number}": _noting(_Notes(folder, number), number) for number in range(handlers)})
    else:
        _iterate(reader, _Notes(folder, 0))


def _iterate(reader: StreamReader, notes: _Notes) -> None:
    rng = Random()
    with reader:
        for batch in reader:
            records = batch.records
            cut = rng.randint(1, len(records)) if records and rng.random() < 0.5 else len(records)
            for part in (records[:cut], records[cut:]):
                if part:
                    notes.handled(batch.shard_id, part)
                if part and rng.random() < 0.5:
                    batch.checkpoint(part[-1])
                    notes.kept(batch.shard_id)


def _noting(notes: _Notes, number: int) -> Callable[[StreamBatch], None]:
    """Return a handler; each is slower than the one before."""
    before: str | None = None

    def handle(batch: StreamBatch) -> None:
        nonlocal before
        if before is not None:
            notes.kept(before)  # a batch comes once the checkpoint of the one before is kept
        time.sleep(0.02 * number)
        notes.handled(batch.shard_id, batch.records)
        before = batch.shard_id

    return handle


def main() -> None:
    """Print what a run came to; exit with 1 where something is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m shardpack.testing.chaos_read", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--put-seconds", type=float, default=120.0)
    parser.add_argument("--handlers", type=int, default=0, help="of a fan_out; 0: one that iterates")
    parser.add_argument("--read", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--until-latest", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        endpoint_url, stream, folder = arguments.read
        until = "latest" if arguments.until_latest else None
        read(endpoint_url, stream, Path(folder), handlers=arguments.handlers, until=until)
        return
    seed = Random().randrange(2**32) if arguments.seed is None else arguments.seed
    with LocalKinesis() as kinesis:
        done = run(
            kinesis,
            records=arguments.records,
            seed=seed,
            put_s=arguments.put_seconds,
            handlers=arguments.handlers,
        )
    sys.stdout.write(f"{done}\n")
    sys.exit(bool(done.defects))


if __name__ == "__main__":
    main()
