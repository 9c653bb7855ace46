"""shardpack put: lines of JSON into a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..producer.delivery import Delivery
from ..producer.send import DeliveryReport
from .client import EndpointUrl, Profile, Region, make_client
from .ndjson import KeyFields
from .outcome import INTERRUPTED, BadInputError, exit_on_error, fail, finish_on_interrupt, stderr, tell
from .put_lines import put_lines
from .source import Source


def put(  # noqa: PLR0917 (typer calls it)
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="Name of the stream.")],
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="One JSON object a line; gzip, bzip2, xz and zstd are unpacked; - is stdin."
        ),
    ],
    key: Annotated[str, typer.Option("--key", metavar="FIELD", help="Field that holds the partition key.")],
    default_key: Annotated[
        str | None,
        typer.Option("--default-key", metavar="TEXT", help="Partition key of events whose field is null or missing."),
    ] = None,
    explicit_hash_key: Annotated[
        str | None,
        typer.Option("--explicit-hash-key", metavar="FIELD", help="Field that holds an explicit hash key, if any."),
    ] = None,
    linger_ms: Annotated[
        int,
        typer.Option("--linger-ms", min=0, metavar="MS", help="Longest wait of an event from a pipe for others."),
    ] = 100,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    profile: Profile = None,
) -> None:
    """Send lines of JSON, aggregated, until the service has every one.

    The bytes of a line are the data of a user record. Each key keeps its order,
    through throttling and resharding. A bad line stops the command; what precedes
    it is stored. Ctrl-C ends the reading; what was read is stored.

    \b
      shardpack put flights flights.ndjson.gz --key tailnum --default-key unknown
      tail -f app.log | shardpack put logs - --key host --linger-ms 500
      shardpack put flights a.ndjson --key id --endpoint-url http://127.0.0.1:5070
    """
    with exit_on_error():
        fields = KeyFields(key, default_key, explicit_hash_key)
        source = Source(file)
        try:
            _put(make_client(region, endpoint_url, profile), stream, source, fields, linger_ms / 1000)
        finally:
            source.close()


def _put(client: Any, stream: str, source: Source, fields: KeyFields, linger_s: float) -> None:
    with _progress(source) as (on_read, on_stored), finish_on_interrupt() as interrupted:
        delivery = Delivery(client, stream, lambda record: on_stored(record.user_record_count))
        bad_input = None
        try:
            put_lines(source, fields, delivery, linger_s=linger_s, on_read=on_read, stopping=interrupted)
        except BadInputError as error:
            bad_input = error
        except BaseException:
            _show_report(delivery.report)
            raise
    _show_report(delivery.report)
    if bad_input is not None:
        raise BadInputError(f"{bad_input} ({delivery.report.user_records:,} events before it are stored)")
    if interrupted():
        fail("interrupted: what was read is stored, the rest was not read", INTERRUPTED)


@contextmanager
def _progress(source: Source) -> Iterator[tuple[Callable[[], None], Callable[[int], None]]]:
    """Show on a terminal how far the input is read and what is stored."""
    with Progress(
        TextColumn("Sending"),
        BarColumn(bar_width=None),
        TaskProgressColumn() if source.size is not None else TimeElapsedColumn(),
        TextColumn("{task.fields[stored]:,} events stored"),
        console=stderr,
        transient=True,
        expand=True,
        disable=not stderr.is_terminal,
    ) as progress:
        task = progress.add_task("", total=source.size, stored=0)
        stored = 0

        def on_stored(events: int) -> None:
            nonlocal stored
            stored += events
            progress.update(task, stored=stored)

        yield lambda: progress.update(task, completed=source.position), on_stored


def _show_report(report: DeliveryReport) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    for what, figure in (
        ("events stored", report.user_records),
        ("Kinesis records", report.kinesis_records),
        ("requests", report.requests),
        ("bytes (data and keys)", report.size),
        ("PUT payload units", report.payload_units),
        ("resent entries", report.resent_entries),
    ):
        table.add_row(what, f"{figure:,}")
    tell(table)
