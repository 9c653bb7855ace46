"""shardpack redrive: dead letters into their stream again."""

from __future__ import annotations

import json
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from ..consume import deaggregate
from ..errors import InvalidRecordError, abridged
from ..producer import redrive as library
from ..producer.dead_letters import DeadLetter, SQLiteDeadLetters, Tally
from ..producer.delivery import Delivery
from ..records import KinesisRecord
from ..transport import Failed
from .client import EndpointUrl, Profile, Region, make_client
from .inspect import visible
from .outcome import (
    FAILED,
    INTERRUPTED,
    BadInputError,
    Stdout,
    exit_on_error,
    fail,
    finish_on_interrupt,
    stderr,
    tell,
)

UserRecordContent = tuple[str | None, str | None, bytes]
"""Partition key, explicit hash key, data."""


def redrive(  # noqa: PLR0917 (typer calls it)
    path: Annotated[str, typer.Argument(metavar="PATH", help="File of dead letters, as SQLiteDeadLetters writes it.")],
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="Name of the stream they go to.")],
    origin: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="STREAM", help="Letters of this stream, name or ARN, not of the one they go to."
        ),
    ] = None,
    skip_maybe_stored: Annotated[
        bool, typer.Option("--skip-maybe-stored", help="Leave letters that may be in the stream already.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is there, by error code; send nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    profile: Profile = None,
) -> None:
    """Send dead letters again, in order; each is dropped only when it is stored.

    One that is refused holds back the later ones of its key. Interrupted by
    anything, run it again: it goes on with what is left. Exit code 1 means that
    letters of the stream are left. Those that may have been in the stream before,
    their reply was lost, are counted: they may be there twice now.

    \b
      shardpack redrive dead.db telemetry --dry-run
      shardpack redrive dead.db telemetry
      shardpack redrive dead.db telemetry-2 --from telemetry --skip-maybe-stored
    """
    with exit_on_error():
        if not Path(path).exists():  # it would be made
            raise BadInputError(f"{path}: no such file; PATH is a file of dead letters")
        with SQLiteDeadLetters(path) as letters:
            if dry_run:
                _show_what_is_there(letters, origin or stream, as_json=as_json)
            else:
                client = make_client(region, endpoint_url, profile)
                _redrive(
                    letters, client, stream, origin or stream, skip_maybe_stored=skip_maybe_stored, as_json=as_json
                )


def _redrive(
    letters: SQLiteDeadLetters, client: Any, stream: str, origin: str, *, skip_maybe_stored: bool, as_json: bool
) -> None:
    done = library.Redriven()
    error: BaseException | None = None
    total = _count(letters, origin)
    with _progress(total) as show, finish_on_interrupt() as interrupted:

        def on_progress(now: library.Redriven) -> None:
            nonlocal done
            done = now
            show(now)

        try:
            send = send_through_delivery(client, stream) if total else lambda _: iter(())
            done = library.redrive(
                letters,
                send,
                stream=origin,
                skip_maybe_stored=skip_maybe_stored,
                on_progress=on_progress,
                stopping=interrupted,
            )
        except BaseException as raised:  # noqa: BLE001 - after what was done is shown
            error = raised
    left = _count(letters, origin)
    if as_json:
        _print_json(asdict(done) | {"left": left, "interrupted": interrupted()})
    else:
        _show_done(done, left)
    if error is not None:
        raise error
    if interrupted():
        fail(f"interrupted: {left:,} letters are left, which another redrive sends", INTERRUPTED)
    if left:
        fail(f"{left:,} letters are left in {letters.path}")


def send_through_delivery(client: Any, stream: str) -> Callable[[Sequence[DeadLetter]], Iterator[library.Outcome]]:
    """Make what sends a batch of letters, aggregated; it gives an outcome for each before it raises."""
    stored: Counter[UserRecordContent] = Counter()
    delivery = Delivery(client, stream, lambda record: stored.update(_user_records(record)))

    def send(letters: Sequence[DeadLetter]) -> Iterator[library.Outcome]:
        stored.clear()
        sent: list[UserRecordContent | Failed] = []
        refused: set[str | None] = set()
        error: BaseException | None = None
        try:
            for letter in letters:
                if letter.partition_key in refused:
                    sent.append(Failed("HeldBack", "an earlier one of its key was refused"))
                    continue
                key = uuid.uuid4().hex if letter.partition_key is None else letter.partition_key
                hash_key = None if letter.explicit_hash_key is None else str(letter.explicit_hash_key)
                sent.append((key, hash_key, letter.data))
                try:
                    delivery.add_many([key], [letter.data], [hash_key])
                except InvalidRecordError as refusal:
                    sent[-1] = Failed(type(refusal).__name__, str(refusal).removeprefix("record 0: "))
                    refused.add(key)
            delivery.flush()
        except BaseException as raised:  # noqa: BLE001 - after what is stored is told
            error = raised
        for content in sent:
            if isinstance(content, Failed):
                yield content
            else:  # of equal ones the first are stored, since order is kept
                stored[content] -= 1
                yield stored[content] >= 0
        if error is not None:
            yield from [False] * (len(letters) - len(sent))
            raise error

    return send


def _user_records(record: KinesisRecord) -> Iterator[UserRecordContent]:
    found = deaggregate(record.data)
    if record.user_record_count == 1 and not found[0].aggregated:  # raw: its keys are the Kinesis record's
        yield record.partition_key, record.explicit_hash_key, record.data
        return
    for user_record in found:
        yield user_record.partition_key, user_record.explicit_hash_key, user_record.data


def _count(letters: SQLiteDeadLetters, stream: str) -> int:
    return sum(tally.letters for tally in letters.tally() if library.is_stream(tally.stream, stream))


@contextmanager
def _progress(total: int) -> Iterator[Callable[[library.Redriven], None]]:
    """Show on a terminal how many letters are done with, and how many of them are stored."""
    with Progress(
        TextColumn("Sending"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[stored]:,} letters stored"),
        console=stderr,
        transient=True,
        expand=True,
        disable=not stderr.is_terminal,
    ) as progress:
        task = progress.add_task("", total=total, stored=0)

        def show(done: library.Redriven) -> None:
            completed = done.stored + done.not_stored + done.held_back + done.skipped
            progress.update(task, completed=completed, stored=done.stored)

        yield show


def _show_done(done: library.Redriven, left: int) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    for what, count, always in (
        ("letters stored", done.stored, True),
        ("of them maybe stored before", done.stored_maybe_again, True),
        ("not stored", done.not_stored, False),
        ("held back by these", done.held_back, False),
        ("skipped, maybe stored before", done.skipped, False),
        ("stored out of order", done.out_of_order, False),
        ("of other streams", done.other_streams, False),
        ("left", left, True),
    ):
        if always or count:
            table.add_row(what, f"{count:,}")
    tell(table)
    for refusal in done.refusals:
        if refusal.error_code:
            why = f"{refusal.error_code}: {refusal.message}"
            tell(
                Text(visible(f"letter {refusal.id} (key {abridged(refusal.partition_key, 40)}): {why}")), soft_wrap=True
            )


def _show_what_is_there(letters: SQLiteDeadLetters, stream: str, *, as_json: bool) -> None:
    tallies = letters.tally()
    left = sum(tally.letters for tally in tallies if library.is_stream(tally.stream, stream))
    if as_json:
        _print_json({"left": left, "letters": [asdict(tally) for tally in tallies]})
    else:
        _print_tallies(tallies)
    if left:
        raise typer.Exit(FAILED)


def _print_tallies(tallies: list[Tally]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("stream", overflow="fold")
    table.add_column("error code", overflow="fold")
    for title in ("letters", "bytes", "maybe stored"):
        table.add_column(title, justify="right")
    table.add_column("first given up", no_wrap=True)
    for tally in tallies:
        table.add_row(
            Text(visible(tally.stream)),
            Text(visible(tally.error_code)),
            f"{tally.letters:,}",
            f"{tally.size:,}",
            f"{tally.maybe_stored:,}",
            _time(tally.first_given_up_at),
        )
    Stdout().print(table if tallies else "no letters")


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g}"


def _print_json(found: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(found).encode() + b"\n")
    sys.stdout.buffer.flush()
