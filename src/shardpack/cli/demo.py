"""shardpack demo: real events through a local Kinesis and back, with proof."""

from __future__ import annotations

import json
import lzma
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import Annotated, Any

import typer
from rich.bar import Bar
from rich.console import Group
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from ..bench.corpus import FLIGHTS_FILE
from ..consume import deaggregate
from ..consume.stream.reader import read_stream
from ..producer.delivery import Delivery
from ..producer.send import DeliveryReport
from ..testing.local_kinesis import LocalKinesis
from ..testing.proof import prove
from .cost import Cost, WireMeter, cost_unaggregated
from .ndjson import KeyFields
from .outcome import FAILED, Stdout, exit_on_error, stderr
from .put_lines import put_lines
from .source import Source

STREAM = "flights"
EVENTS = 120_000
DEFAULT_KEY = "unknown"


class KeyField(str, Enum):
    """What the demo's events may be keyed by."""

    TAILNUM = "tailnum"
    CARRIER = "carrier"


@dataclass(slots=True)
class Received:
    """What came back out of the stream."""

    events: list[tuple[str, bytes]] = field(default_factory=list)
    left_out: int = 0
    size_by_shard: dict[str, int] = field(default_factory=dict)


def demo(
    key: Annotated[
        KeyField, typer.Option("--key", help="4,000 aircraft spread evenly; 16 carriers make hot shards.")
    ] = KeyField.TAILNUM,
    shards: Annotated[int, typer.Option("--shards", min=1, max=200, metavar="N", help="Shards of the stream.")] = 8,
    events: Annotated[
        int, typer.Option("--events", min=1, max=EVENTS, metavar="N", help="How many events to send.")
    ] = EVENTS,
) -> None:
    """Send real flight events through a local Kinesis and back, with proof.

    Needs no AWS account and no network: the stream is a server on a free port of
    this machine, gone when the command ends. Sends as put does, reads as tail
    does, and compares what came back with what was sent, key by key.

    \b
      shardpack demo
      shardpack demo --key carrier
    """
    with exit_on_error():
        console = Stdout()
        with LocalKinesis() as kinesis:
            kinesis.create_stream(STREAM, shards)
            console.print(
                Text.assemble(
                    (f"{events:,} flight events", "bold"),
                    f", keyed by {key.value}, to {shards} shards of a local Kinesis and back",
                )
            )
            client = kinesis.client()
            meter = WireMeter(client)
            with _progress() as progress:
                began = time.perf_counter()
                report = send(client, key.value, events, progress)
                send_seconds = time.perf_counter() - began
                began = time.perf_counter()
                received = receive(client, STREAM, events, progress)
                read_seconds = time.perf_counter() - began
        sent = list(sent_events(key.value, events))
        proof = prove(sent, received.events, left_out=received.left_out)
        cost = Cost(report.kinesis_records, meter.requests, meter.wire_bytes, report.payload_units)
        console.print()
        console.print(cost_table(events, cost, cost_unaggregated(sent, STREAM)))
        console.print()
        console.print(shard_chart(received.size_by_shard, shards))
        console.print()
        console.print(speed(events, report, send_seconds, read_seconds), style="dim")
        console.print()
        console.print(Text(proof.statement(), "bold green" if proof.holds else "bold red"))
        if not proof.holds:
            raise typer.Exit(FAILED)


def sent_events(key_field: str, events: int) -> Iterator[tuple[str, bytes]]:
    """Yield key and data of the bundled events, read apart from what sends them."""
    with lzma.open(FLIGHTS_FILE) as lines:
        for line in islice(lines, events):
            data = line.rstrip(b"\n")
            yield json.loads(data)[key_field] or DEFAULT_KEY, data


def send(client: Any, key_field: str, events: int, progress: Progress) -> DeliveryReport:
    """Put the bundled events as `shardpack put` does."""
    task = progress.add_task("Sending", total=events)
    delivery = Delivery(client, STREAM, lambda record: progress.advance(task, record.user_record_count))
    source = Source(str(FLIGHTS_FILE))
    try:
        put_lines(source, KeyFields(key_field, DEFAULT_KEY), delivery, max_lines=events)
    finally:
        source.close()
    return delivery.report


def receive(client: Any, stream_name: str, events: int, progress: Progress) -> Received:
    """Read everything back as `shardpack tail` does; keep only what the KCL would, by its shard's hash range."""
    task = progress.add_task("Reading", total=events)
    received = Received()
    for read in read_stream(client, stream_name, follow=False):
        shard = read.shard
        found = deaggregate(read.records, hash_range=(shard.starting_hash_key, shard.ending_hash_key))
        received.left_out += found.left_out
        received.events += [(record.partition_key or "", record.data) for record in found]
        size = sum(len(record["Data"]) + len(record["PartitionKey"].encode()) for record in read.records)
        received.size_by_shard[shard.shard_id] = received.size_by_shard.get(shard.shard_id, 0) + size
        progress.advance(task, len(found))
    return received


def cost_table(events: int, cost: Cost, unaggregated: Cost) -> Group:
    """Compare what was sent with one Kinesis record an event."""
    table = Table(box=None, padding=(0, 3, 0, 0))
    table.add_column("", style="dim")
    for title in ("aggregated", "one record an event", "ratio"):
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
        "On the wire: HTTP bodies of the PutRecords calls, measured. One record an event\n"
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
    return Group(Text("Bytes a shard", "bold"), table)


def speed(events: int, report: DeliveryReport, send_seconds: float, read_seconds: float) -> str:
    """Say how fast it was, server and all."""
    resent = f", {report.resent_entries:,} entries sent again" if report.resent_entries else ""
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
