"""shardpack demo: real events through a local Kinesis and back, with proof."""

from __future__ import annotations

import json
import lzma
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from itertools import islice
from math import inf
from typing import Any

import click
from rich.bar import Bar
from rich.console import Group
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from .._native.deaggregate import UserRecord
from ..bench.corpus import FLIGHTS_FILE
from ..limits import MIB, put_payload_units
from ..producer.producer import Producer
from ..producer.settling import SettledRecord
from ..producer.stats import Stats
from ..testing import history
from .console import Stdout, stderr
from .cost import Cost, WireMeter, cost_unaggregated
from .outcome import FAILED, exit_on_error, print_json, until_reader_leaves
from .parameters import OneOf, command, option

STREAM = "flights"
EVENTS = 120_000
DEFAULT_KEY = "unknown"
LINGER_MS = 10_000


class KeyField(str, Enum):
    """What the demo's events may be keyed by."""

    TAILNUM = "tailnum"
    CARRIER = "carrier"


@dataclass(slots=True)
class Sent:
    """What went into the stream, as the producer told of it."""

    stats: Stats = field(default_factory=Stats)
    outcomes: dict[bytes, history.Outcome] = field(default_factory=dict)
    """By the data of the events."""
    payload_units: int = 0


@dataclass(slots=True)
class Received:
    """What came back out of the stream."""

    records: dict[str, list[UserRecord]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    size_by_shard: Counter[str] = field(default_factory=Counter)


@command
@option(
    "--key",
    type=OneOf(KeyField),
    default=KeyField.TAILNUM.value,
    help="4,000 aircraft spread evenly; 16 carriers make hot shards.",
)
@option("--shards", type=click.IntRange(1, 200), default=8, metavar="N", help="Shards of the stream.")
@option("--events", type=click.IntRange(1, EVENTS), default=EVENTS, metavar="N", help="How many events to send.")
@option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def demo(key: KeyField, shards: int, events: int, as_json: bool) -> None:
    """Send real flight events through a local Kinesis and back, with proof.

    Needs no AWS account and no network: the stream is a server on a free port of
    this machine, gone when the command ends. Sends through a Producer, reads as
    tail does, and compares what came back with what was sent, key by key, and
    with where the producer said that it is.

    \b
      shardpack demo
      shardpack demo --key carrier
    """
    from ..testing.local_kinesis import LocalKinesis  # noqa: PLC0415 (loads boto3, which help does without)

    with exit_on_error():
        console = Stdout()
        with LocalKinesis() as kinesis:
            kinesis.create_stream(STREAM, shards)
            if not as_json:
                console.print(
                    Text.assemble(
                        (f"{events:,} flight events", "bold"),
                        f", keyed by {key.value}, to {shards} shards of a local Kinesis and back",
                    )
                )
            client = kinesis.client(retries={"total_max_attempts": 1})  # the producer tries again itself
            meter = WireMeter(client)
            with _progress() as progress:
                began = time.perf_counter()
                sent = send(client, key.value, events, progress)
                send_seconds = time.perf_counter() - began
                began = time.perf_counter()
                received = receive(client, STREAM, events, progress)
                read_seconds = time.perf_counter() - began
        put = list(sent_events(key.value, events))
        cost = Cost(sent.stats.kinesis_records_stored, meter.requests, meter.wire_bytes, sent.payload_units)
        unaggregated = cost_unaggregated(put, STREAM)
        holds, statement = proof(put, sent, received)
        if as_json:
            print_json(
                {
                    "events": events,
                    "key": key.value,
                    "shards": shards,
                    "aggregated": asdict(cost),
                    "one_record_per_event": asdict(unaggregated),
                    "bytes_by_shard": dict(sorted(received.size_by_shard.items())),
                    "resent_entries": sent.stats.retries,
                    "send_seconds": round(send_seconds, 3),
                    "read_seconds": round(read_seconds, 3),
                    "proved": holds,
                    "statement": statement,
                }
            )
        else:
            with until_reader_leaves():  # the exit code is the verdict all the same
                console.print()
                console.print(cost_table(events, cost, unaggregated))
                console.print()
                console.print(shard_chart(received.size_by_shard, shards))
                console.print()
                console.print(speed(events, sent.stats, send_seconds, read_seconds), style="dim")
                console.print()
                console.print(Text(statement, "bold green" if holds else "bold red"))
        if not holds:
            raise SystemExit(FAILED)


def sent_events(key_field: str, events: int) -> Iterator[tuple[str, bytes]]:
    """Yield key and data of the bundled events."""
    with lzma.open(FLIGHTS_FILE) as lines:
        for line in islice(lines, events):
            data = line.rstrip(b"\n")
            yield json.loads(data)[key_field] or DEFAULT_KEY, data


def send(client: Any, key_field: str, events: int, progress: Progress) -> Sent:
    """Put the bundled events; they wait until a Kinesis record is full."""
    task = progress.add_task("Sending", total=events)
    sent = Sent()

    def on_settled(records: Sequence[SettledRecord]) -> None:
        for record in records:
            settlement = record.settlement
            outcome: history.Outcome = history.UNKNOWN if record.maybe_stored else history.NOT_STORED
            for place, (_, data, _) in enumerate(record.user_records()):
                if record.stored:
                    outcome = history.Position(settlement.shard_id or "", settlement.sequence_number or "", place)
                sent.outcomes[data] = outcome
            if record.stored:
                sent.payload_units += put_payload_units(settlement.entry.size)
                progress.advance(task, record.user_record_count)

    with Producer(
        STREAM, client=client, linger_ms=LINGER_MS, max_aggregate_bytes=MIB, receipts=False, on_settled=on_settled
    ) as producer:
        for key, data in sent_events(key_field, events):
            producer.put(key, data)
    sent.stats = producer.stats()
    return sent


def receive(client: Any, stream_name: str, events: int, progress: Progress) -> Received:
    """Read everything back as `shardpack tail` does; keep only what the KCL would, by its shard's hash range."""
    from ..consume.stream.reader import StreamReader  # noqa: PLC0415 (loads botocore)

    task = progress.add_task("Reading", total=events)
    received = Received()
    with StreamReader(stream_name, client=client, until="latest", shard_bytes_per_second=inf) as batches:
        for batch in batches:
            found = batch.records
            received.records.setdefault(batch.shard_id, []).extend(found)
            received.left_out[batch.shard_id] += found.left_out
            received.size_by_shard[batch.shard_id] += sum(
                len(record["Data"]) + len(record["PartitionKey"].encode()) for record in batch.kinesis_records()
            )
            progress.advance(task, len(found))
    return received


def proof(put: list[tuple[str, bytes]], sent: Sent, received: Received) -> tuple[bool, str]:
    """Say whether every event came back once, with its key, in the order of its key, where the producer said it is."""
    report = history.check(
        [history.Put(key, data, sent.outcomes.get(data)) for key, data in put],
        [
            history.ShardContents(shard_id, records, left_out=received.left_out[shard_id])
            for shard_id, records in received.records.items()
        ],
    )
    if not report.holds or report.found != len(put) or report.duplicates or report.left_out:
        return False, str(report)
    keys = len({key for key, _ in put})
    return True, (
        f"Every one of the {len(put):,} events came back exactly once, with its key, "
        f"and in the order of its key ({keys:,} keys compared)."
    )


def cost_table(events: int, cost: Cost, unaggregated: Cost) -> Group:
    """Compare what was sent with one Kinesis record per event."""
    table = Table(box=None, padding=(0, 3, 0, 0))
    table.add_column("", style="dim")
    for title in ("aggregated", "one record per event", "ratio"):
        table.add_column(title, justify="right")
    table.add_row("events", f"{events:,}", f"{events:,}", "")
    for what, ours, theirs in (
        ("Kinesis records", cost.kinesis_records, unaggregated.kinesis_records),
        ("requests", cost.requests, unaggregated.requests),
        ("bytes on the wire", cost.wire_bytes, unaggregated.wire_bytes),
        ("PUT payload units", cost.payload_units, unaggregated.payload_units),
    ):
        ratio = theirs / ours
        table.add_row(what, f"{ours:,}", f"{theirs:,}", f"{ratio:,.2f} : 1" if ratio < 10 else f"{ratio:,.0f} : 1")
    note = (
        "On the wire: HTTP bodies of the PutRecords calls, measured. One record per event\n"
        "is computed: up to 500 entries and 5 MiB a request, 25 KB a payload unit."
    )
    return Group(table, Text(note, "dim"))


def shard_chart(size_by_shard: dict[str, int], shards: int) -> Group:
    """Draw the bytes of every shard."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, expand=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(ratio=1)
    largest = max(size_by_shard.values(), default=0)
    for i in range(shards):
        shard_id = f"shardId-{i:012d}"
        size = size_by_shard.get(shard_id, 0)
        table.add_row(shard_id, f"{size:,}", Bar(largest or 1, 0, size, color="cyan"))
    return Group(Text("Bytes per shard", "bold"), table)


def speed(events: int, stats: Stats, send_seconds: float, read_seconds: float) -> str:
    """Say how fast it was, server and all."""
    resent = f", {stats.retries:,} entries sent again" if stats.retries else ""
    return (
        f"Sent {events / send_seconds:,.0f} events/s{resent}, read {events / read_seconds:,.0f} events/s, "
        "the server's time included"
    )


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} events"),
        console=stderr,
        transient=True,
        expand=True,
        disable=not stderr.is_terminal,
    )
