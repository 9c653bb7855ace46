"""What a put shows while it runs, and what it has done in the end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..errors import abridged
from ..limits import put_payload_units
from ..producer.entries import Settlement
from ..producer.hot_shards import HotShard
from ..producer.producer import Producer
from ..producer.settling import SettledRecord
from ..producer.stats import Stats
from ..transport import THROTTLED
from .console import stderr
from .inspect import visible
from .prefix import Prefix
from .put_rows import ParquetRows
from .source import Source

RATE_SECONDS = 3.0
"""Rates are those of so long."""

MOST_HOT_SHARDS = 3
MEGABYTE = 1_000_000


@dataclass(slots=True)
class Tally:
    """Counts what has its outcome; the producer's thread tells it. Bytes count data and partition keys."""

    prefix: Prefix
    stored: int = 0
    not_stored: int = 0
    maybe_stored: int = 0
    payload_units: int = 0
    failure: Settlement | None = None
    """The first that was given up."""
    changed_at: float = field(default_factory=time.monotonic)

    def settled(self, records: Sequence[SettledRecord]) -> None:
        for record in records:
            count, settlement = record.user_record_count, record.settlement
            if record.stored:
                self.prefix.stored(record.numbers())
                self.stored += count
                self.payload_units += put_payload_units(settlement.entry.size)
                self.changed_at = time.monotonic()
                continue
            if record.maybe_stored:
                self.maybe_stored += count
            else:
                self.not_stored += count
            if self.failure is None:
                self.failure = settlement


class Rates:
    """How much was stored a second, lately."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, int]] = deque([(time.monotonic(), 0, 0)])

    def of(self, stats: Stats) -> tuple[float, float]:
        """Return user records and their bytes a second."""
        now = time.monotonic()
        seen = self._seen
        seen.append((now, stats.user_records_stored, stats.user_bytes_stored))
        while len(seen) > 2 and seen[1][0] <= now - RATE_SECONDS:
            seen.popleft()
        since, records, size = seen[0]
        seconds = max(now - since, 0.001)
        return (stats.user_records_stored - records) / seconds, (stats.user_bytes_stored - size) / seconds


class LiveTable:
    """How much of the input is stored, and what the producer does."""

    def __init__(self, source: Source | ParquetRows, producer: Producer) -> None:
        self._source, self._producer, self._rates = source, producer, Rates()
        self._begin = source.position
        known = source.size is not None
        self._progress = Progress(
            TextColumn("Sending"),
            BarColumn(bar_width=None),
            *((TaskProgressColumn(), TimeRemainingColumn()) if known else (TimeElapsedColumn(),)),
            expand=True,
            auto_refresh=False,
            console=stderr,
        )
        self._task = self._progress.add_task("", total=source.size)

    def __rich__(self) -> RenderableType:
        stats = self._producer.stats(shards=False)
        share = stats.user_records_stored / stats.user_records_put if stats.user_records_put else 0
        read = self._source.position - self._begin
        self._progress.update(self._task, completed=self._begin + share * read)  # what waits here is not done
        return Group(
            self._progress.get_renderable(),
            figures(stats, *self._rates.of(stats)),
            *map(hot_shard_text, self._producer.hot_shards(max_keys=1)[:MOST_HOT_SHARDS]),
        )


def figures(stats: Stats, records_per_second: float, bytes_per_second: float) -> Table:
    throttles = sum(count for code, count in stats.errors.items() if code in THROTTLED)
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False)
    shown = (
        ("stored", f"{stats.user_records_stored:,}"),
        ("records/s", f"{records_per_second:,.0f}"),
        ("MB/s", f"{bytes_per_second / MEGABYTE:,.2f}"),
        ("in flight", f"{stats.user_records_pending:,}"),
        ("throttles", f"{throttles:,}"),
    )
    for title, _ in shown:
        table.add_column(title, justify="right", header_style="dim", min_width=9, no_wrap=True)
    table.add_row(*(figure for _, figure in shown))
    return table


def hot_shard_text(hot: HotShard) -> Text:
    stats = hot.stats
    parts = [f"hot: {visible(stats.shard_id)}", f"{stats.utilisation:.0%} used", f"{stats.throttles:,} throttles"]
    if hot.keys:
        key = hot.keys[0]
        parts.append(f"key {visible(abridged(key.partition_key, 20))} {key.bytes_per_second / MEGABYTE:,.2f} MB/s")
    return Text(" · ".join(parts), "yellow", no_wrap=True, overflow="ellipsis")


@contextmanager
def live_table(source: Source | ParquetRows, producer: Producer, *, quiet: bool) -> Iterator[None]:
    """Show it on a terminal, and leave nothing of it there."""
    if quiet or not stderr.is_terminal:
        yield
        return
    with Live(
        LiveTable(source, producer),
        console=stderr,
        transient=True,
        refresh_per_second=4,
        redirect_stdout=False,
        redirect_stderr=False,
    ):
        yield


def report(tally: Tally, stats: Stats, skipped: int, unit: str) -> Table:
    """Say what was stored."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    lost = tally.not_stored + tally.maybe_stored > 0
    for what, figure, shown in (
        ("events stored", tally.stored, True),
        (f"unbroken to {unit}", tally.prefix.position.line, lost),
        ("not stored", tally.not_stored, tally.not_stored > 0),
        ("maybe stored", tally.maybe_stored, tally.maybe_stored > 0),
        ("bad lines skipped", skipped, skipped > 0),
        ("Kinesis records", stats.kinesis_records_stored, True),
        ("requests", stats.requests, True),
        ("bytes (data and keys)", stats.bytes_stored, True),
        ("PUT payload units", tally.payload_units, True),
        ("resent entries", stats.retries, True),
    ):
        if shown:
            table.add_row(what, f"{figure:,}")
    return table
