"""shardpack redrive: dead letters into their stream again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from functools import cache, partial
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from ..dead_letters import DeadLetter, Drained, SQLiteDeadLetters, Tally
from ..dead_letters import redriving as library
from ..errors import abridged
from ..producer.sending_again import Send, sending_to
from ..transport.boto3 import Boto3Transport
from .client import aws_options, make_client
from .console import Stdout, stderr
from .inspect import visible
from .outcome import (
    FAILED,
    INTERRUPTED,
    exit_on_error,
    fail,
    finish_on_interrupt,
    print_json,
    tell,
    until_reader_leaves,
)
from .parameters import FILE, argument, command, option
from .redrive_source import HANDLER, Wanted, check_source, count, handler_named, of_stream, opened, tallies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..dead_letters import DeadLetterStore, S3DeadLetters


MOST_HANDLED = 50
"""Letters of a batch for a handler, which may take its time for each."""


@command
@argument("source", metavar="FROM", type=FILE, help="A file of dead letters, s3://BUCKET/PREFIX or kinesis://STREAM.")
@argument("target", metavar="TO", help="The stream they go to, name or ARN; or handler:MODULE:FUNCTION.")
@option("--from", "origin", metavar="STREAM", help="Letters of this stream, name or ARN, not of the one they go to.")
@option("--since", metavar="TIME", help="Letters given up then or later: ISO 8601, or epoch seconds.")
@option(
    "--where",
    metavar="NAME=VALUE",
    multiple=True,
    help="Letters whose error (code), key, shard, handler or stream is this; of several for a NAME, one of them.",
)
@option("--via", metavar="FILE", type=FILE, help="Of kinesis://, the file that letters go through. Keep it.")
@option("--skip-maybe-stored", is_flag=True, help="Leave letters that may be in the stream already.")
@option("--dry-run", is_flag=True, help="Say what is there, by error code; send nothing.")
@option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@aws_options
def redrive(  # noqa: PLR0917 (click calls it)
    source: str,
    target: str,
    origin: str | None,
    since: str | None,
    where: tuple[str, ...],
    via: str | None,
    skip_maybe_stored: bool,
    dry_run: bool,
    as_json: bool,
    region: str | None,
    endpoint_url: str | None,
    profile: str | None,
) -> None:
    """Send dead letters again, in order; each is dropped only when it is stored.

    One that is refused holds back the later ones of its key. Interrupted by
    anything, run it again: it goes on with what is left. Exit code 1 means that
    letters that were asked for are left. Those that may have been in the stream before,
    their reply was lost, are counted: they may be there twice now.

    To a handler, a function of one letter, those of all streams go; what it raises
    is the letter's new reason.

    \b
      shardpack redrive dead.db telemetry --dry-run
      shardpack redrive dead.db telemetry
      shardpack redrive dead.db telemetry-2 --from telemetry --skip-maybe-stored
      shardpack redrive s3://bucket/dead telemetry --where error=ValueError
      shardpack redrive kinesis://dead telemetry --via dead.db --since 2026-01-31
      shardpack redrive dead.db handler:app.alerts:handle --where handler=alerts
    """

    @cache
    def client(service: str) -> Any:
        return make_client(region, endpoint_url if service == "kinesis" else None, profile, service=service)

    taken = Drained()
    with exit_on_error():
        handler = handler_named(target) if target.startswith(HANDLER) else None
        wanted = Wanted.of(target if handler is None else None, origin, since, where)
        check_source(source, via)
        if dry_run:
            with opened(source, via, client, taken, lambda: False) as letters:
                _show_what_is_there(letters, wanted, as_json=as_json)
            return
        to = partial(_to_handler, handler) if handler is not None else partial(_to_stream, target, client("kinesis"))
        with finish_on_interrupt() as interrupted, opened(source, via, client, taken, interrupted) as letters:
            _redrive(
                letters,
                to,
                wanted,
                taken,
                interrupted,
                most=MOST_HANDLED if handler is not None else library.MAX_LETTERS,
                became="stored" if handler is None else "handled",
                skip_maybe_stored=skip_maybe_stored,
                as_json=as_json,
                where=source if via is None else via,
            )


def _redrive(
    letters: SQLiteDeadLetters | S3DeadLetters,
    to: Callable[[bool], AbstractContextManager[Send]],
    wanted: Wanted,
    taken: Drained,
    interrupted: Callable[[], bool],
    *,
    most: int,
    became: str,
    skip_maybe_stored: bool,
    as_json: bool,
    where: str,
) -> None:
    store: DeadLetterStore[Any] = letters
    done = library.Redriven()
    error: BaseException | None = None
    counted = isinstance(letters, SQLiteDeadLetters)  # at once; elsewhere everything is read for it
    total = count(letters, wanted) if counted or stderr.is_terminal else None
    with _progress(total, became) as show:

        def on_progress(now: library.Redriven) -> None:
            nonlocal done
            done = now
            show(now)

        try:
            with to(total != 0) as send:
                done = library.redrive(
                    store,
                    send,
                    stream=wanted.stream,
                    since=wanted.since,
                    where=wanted.holds,
                    skip_maybe_stored=skip_maybe_stored,
                    max_letters=most,
                    on_progress=on_progress,
                    stopping=interrupted,
                )
        except BaseException as raised:  # noqa: BLE001 - after what was done is shown
            error = raised
    if counted or error is not None or done.ended_early:
        left = count(letters, wanted)
    else:
        left = done.not_stored + done.held_back + done.skipped
    if as_json:
        about = {"taken": taken.letters, "others": taken.others, "left": left, "interrupted": interrupted()}
        print_json(asdict(done) | about)
    else:
        _show_done(done, taken, left, became, getattr(error, "error_code", ""))
    if error is not None:
        raise error
    if interrupted():
        fail(f"interrupted: {left:,} letters are left, which another redrive sends", INTERRUPTED)
    if left:
        fail(f"{left:,} letters are left in {where}")


@contextmanager
def _to_stream(stream: str, client: Any, any_letters: bool) -> Iterator[Send]:
    transport = Boto3Transport(client, stream)
    if any_letters:
        transport.describe()  # what is wrong with the stream or the client is told at once
        transport.list_shards()  # without them a producer sends in no order
    with sending_to(transport=transport) as send:
        yield send


@contextmanager
def _to_handler(handler: Callable[[DeadLetter], object], _any_letters: bool) -> Iterator[Send]:
    yield library.one_by_one(handler)


@contextmanager
def _progress(total: int | None, became: str) -> Iterator[Callable[[library.Redriven], None]]:
    """Show on a terminal how many letters are done with, and how many of them are stored, or handled."""
    with Progress(
        TextColumn("Sending"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn(f"{{task.fields[stored]:,}} letters {became}"),
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


def _show_done(done: library.Redriven, taken: Drained, left: int, became: str, ended_by: str) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    for what, number, always in (
        ("taken out of the stream", taken.letters, False),
        ("no dead letters there", taken.others, False),
        (f"letters {became}", done.stored, True),
        ("of them maybe stored before", done.stored_maybe_again, True),
        (f"not {became}", done.not_stored, False),
        ("held back by these", done.held_back, False),
        ("skipped, maybe stored before", done.skipped, False),
        (f"{became} out of order", done.out_of_order, False),
        ("of other streams", done.other_streams, False),
        ("not asked for", done.not_selected, False),
        ("left", left, True),
    ):
        if always or number:
            table.add_row(what, f"{number:,}")
    tell(table)
    for refusal in done.refusals:
        if refusal.error_code not in ("", ended_by):  # which is told once, at the end
            why = f"{refusal.error_code}: {refusal.message}"
            tell(
                Text(visible(f"letter {refusal.id} (key {abridged(refusal.partition_key, 40)}): {why}")), soft_wrap=True
            )


def _show_what_is_there(letters: SQLiteDeadLetters | S3DeadLetters, wanted: Wanted, *, as_json: bool) -> None:
    there = tallies(letters, wanted)
    left = of_stream(there, wanted.stream)
    if as_json:
        print_json({"left": left, "letters": [asdict(tally) for tally in there]})
    else:
        _print_tallies(there)
    if left:
        raise SystemExit(FAILED)


def _print_tallies(there: list[Tally]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("stream", overflow="fold")
    table.add_column("error code", overflow="fold")
    for title in ("letters", "bytes", "maybe stored"):
        table.add_column(title, justify="right")
    table.add_column("first given up", no_wrap=True)
    for tally in there:
        table.add_row(
            Text(visible(tally.stream)),
            Text(visible(tally.error_code)),
            f"{tally.letters:,}",
            f"{tally.size:,}",
            f"{tally.maybe_stored:,}",
            _time(tally.first_given_up_at),
        )
    with until_reader_leaves():  # the exit code says what is left all the same
        Stdout().print(table if there else "no letters")


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g}"
