"""Where the processor's time goes between a put and its answer, and between GetRecords and user records.

The whole is measured as the producer's and consumer's rows are: to a Kinesis that only answers, in another process. Of
the run that took the least, threads and calls tell what each took; what one thread does in one go is taken apart by
doing one part of it alone, on the same user records. What nothing claims is a line of its own.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from .. import ShardMap, read_records
from .._native.inbox import Inbox
from .._native.md5 import _md5_many
from ..limits import KIB, MAX_RECORD_BYTES
from . import ours, pairs
from .canned_kinesis import SHARD_ITERATOR, STREAM
from .corpus import Corpus, synthetic
from .interleave import one_core
from .producing import kinesis, new_client, put_each
from .row import CannotMeasureError, Scale, prove
from .stages import BOTO3, GET_RECORDS, PUT_RECORDS, CallMarks, ThreadClocks, least, repeat, timed

SHARDS = 64
RECORD_SIZES = (100, 1_000)
PUT_BYTES = 50_000_000
RECEIVED_BYTES = 8_700_000
"""Of user records, which make a GetRecords response of 10 MB."""

ROUTED_AT_ONCE = 10_000
SEALED_AT_ONCE = 16

PUT, RECEIVED = "put", "received"
TITLES = {PUT: "Put until it is stored", RECEIVED: "GetRecords until there are user records"}

STAGES = {
    PUT: {
        "stage": "the thread that puts",
        "route": "alone, 10,000 at a time",
        "seal": "alone, 16 Kinesis records at a time",
        "body": "within calls, what is not boto3's before the signature",
        "sign: SHA-256 of the body": "once more just before, in runs of their own",
        "sign: the rest": "within calls",
        "send": "within calls, until the answer is there",
        "reply": "within calls, reading the answer",
        BOTO3: "within calls: parameters, endpoint, request",
        "schedule, settle": "what is left of the pump's thread",
        "hand over": "what is left of the threads that call",
        "the rest": "of the process",
    },
    RECEIVED: {
        "receive": "within read_records, until the body is there",
        "decode": "what is left of read_records: JSON, base64",
        "verify": "MD5, alone",
        "make": "user_records(), less the MD5",
    },
}
"""The stages of each way, and how it is known what they take."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage takes of the processor, in nanoseconds a user record; ``how`` that is known."""

    name: str
    nanoseconds: float
    how: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What user records of one size take from end to end, in nanoseconds each, and the stages that makes."""

    way: str
    record_size: int
    user_records: int
    nanoseconds: float
    stages: tuple[Stage, ...]

    @property
    def records_per_cpu_second(self) -> float:
        return 1e9 / self.nanoseconds

    @property
    def bytes_per_cpu_second(self) -> float:
        return self.record_size * self.records_per_cpu_second

    def share(self, stage: Stage) -> float:
        return stage.nanoseconds / self.nanoseconds

    def to_json(self) -> dict[str, Any]:
        stages = [{**asdict(stage), "share": self.share(stage)} for stage in self.stages]
        rates = {
            "records_per_cpu_second": self.records_per_cpu_second,
            "bytes_per_cpu_second": self.bytes_per_cpu_second,
        }
        return {**asdict(self), **rates, "stages": stages}


def measure_end_to_end(seconds: float, scale: Scale) -> Iterator[Taken]:
    """Measure both ways, each size for its share of about so many seconds. Raises ``CannotMeasureError``."""
    if importlib.util.find_spec("boto3") is None:
        raise CannotMeasureError("needs boto3: pip install boto3")
    each = seconds / (2 * len(RECORD_SIZES))
    with one_core():
        for record_size in RECORD_SIZES:
            yield put_by_stage(synthetic(scale(PUT_BYTES // record_size), record_size), each)
        for record_size in RECORD_SIZES:
            yield received_by_stage(synthetic(scale(RECEIVED_BYTES // record_size), record_size), each)


# --- put ---


def put_by_stage(corpus: Corpus, seconds: float) -> Taken:
    """Put one by one, without receipts, by a long-lived producer."""
    from ..producer.producer import Producer  # noqa: PLC0415 (needs boto3)
    from ..transport.boto3 import Boto3Transport  # noqa: PLC0415

    client = new_client(kinesis(shards=SHARDS))
    marks = CallMarks(client, "PutRecords", PUT_RECORDS, last="reply")

    class Marked(Boto3Transport):
        def put_records(self, entries: Sequence[Any]) -> Any:
            with marks.call():
                return super().put_records(entries)

    stored = 0

    def on_settled(batch: Sequence[Any]) -> None:
        nonlocal stored
        stored += sum(each.user_record_count for each in batch if each.stored)

    best = 0
    found: dict[str, int] = {}

    def deliver() -> None:
        nonlocal best, found, stored
        stored = 0
        marks.reset()
        clocks = ThreadClocks()
        began = time.process_time_ns()
        stage = timed(lambda: put_each(producer, corpus))
        producer.flush()
        taken = time.process_time_ns() - began
        prove(stored == len(corpus), "end to end")
        if not best or taken < best:
            best = taken
            found = {
                "stage": stage,
                "calls": clocks.nanoseconds("shardpack-call"),
                "pump": clocks.nanoseconds("shardpack-pump"),
                **marks.nanoseconds,
            }

    transport = Marked(client, STREAM)
    marks.listen_last()
    with Producer(transport=transport, on_settled=on_settled, receipts=False) as producer:
        deliver()  # connections, memory, lazy imports
        best = 0
        repeat(deliver, 0.6 * seconds)
        whole, spans = best, found
        marks.hashes = True

        def hashed() -> int:
            deliver()
            return marks.hashed

        digest = least(hashed, 0.2 * seconds)
    route, seal = _routed_and_sealed(corpus, 0.2 * seconds)
    in_calls = sum(spans[stage] for stage in ("body", BOTO3, "sign", "send", "reply"))
    spent = {
        "stage": spans["stage"],
        "route": route,
        "seal": seal,
        "body": spans["body"],
        "sign: SHA-256 of the body": digest,
        "sign: the rest": spans["sign"] - digest,
        "send": spans["send"],
        "reply": spans["reply"],
        BOTO3: spans[BOTO3],
        "schedule, settle": spans["pump"] - route - seal,
        "hand over": spans["calls"] - in_calls,
    }
    spent["the rest"] = whole - sum(spent.values())
    return _taken(PUT, corpus, whole, spent)


def _routed_and_sealed(corpus: Corpus, seconds: float) -> tuple[int, int]:
    """Return the nanoseconds of routing user records and of sealing them, each alone, at best."""
    shard_map = ShardMap.uniform(SHARDS)
    batches = ours.batches(corpus, ROUTED_AT_ONCE)
    inbox = Inbox(shard_map._table, max_record_bytes=MAX_RECORD_BYTES, max_bytes=256 * KIB)  # noqa: SLF001
    sealing: list[int] = []

    def route() -> int:
        taken = sealed = 0
        for keys, datas in batches:
            inbox.put_many(keys, datas)
            taken += timed(inbox.gather)
        began = time.thread_time_ns()
        buckets = inbox.take(inbox.next_token)
        taken += time.thread_time_ns() - began
        for i in range(0, len(buckets), SEALED_AT_ONCE):
            sealed += timed(partial(inbox.seal, buckets[i : i + SEALED_AT_ONCE]))
        sealing.append(sealed)
        return taken

    routing = least(route, seconds)
    return routing, min(sealing)


# --- received ---


def received_by_stage(corpus: Corpus, seconds: float) -> Taken:
    """Read GetRecords responses into user records."""
    client = new_client(kinesis(user_records=len(corpus), record_size=len(corpus.datas[0])))
    datas = [record["Data"] for record in client.get_records(ShardIterator=SHARD_ITERATOR)["Records"]]
    marks = CallMarks(client, "GetRecords", GET_RECORDS, last="decode")
    best = 0
    found: dict[str, int] = {}

    def receive() -> list[Any]:
        nonlocal best, found
        marks.reset()
        with marks.call():
            reply = read_records(client, ShardIterator=SHARD_ITERATOR)
        began = time.thread_time_ns()
        user_records = reply.user_records()
        marks.nanoseconds["make"] = time.thread_time_ns() - began
        taken = sum(marks.nanoseconds.values())
        if not best or taken < best:
            best, found = taken, dict(marks.nanoseconds)
        return user_records

    prove(pairs.of_user_records(receive()) == corpus.pairs(), "end to end")
    best = 0
    repeat(receive, 0.8 * seconds)
    verify = least(lambda: timed(partial(_md5_many, datas)), 0.2 * seconds)
    spent = {**found, "verify": verify, "make": found["make"] - verify}
    return _taken(RECEIVED, corpus, best, spent)


def _taken(way: str, corpus: Corpus, whole: int, spent: dict[str, int]) -> Taken:
    count = len(corpus)
    stages = tuple(Stage(name, spent[name] / count, how) for name, how in STAGES[way].items())
    return Taken(way, len(corpus.datas[0]), count, whole / count, stages)
