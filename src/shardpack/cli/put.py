"""shardpack put: lines of JSON into a stream."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Literal, get_args

import click

from ..errors import DeliveryError, FlushTimeoutError
from ..limits import Limits
from ..producer.doors import Door
from ..producer.entries import Settlement
from ..producer.faults import call_error
from ..producer.producer import Producer
from ..producer.stats import Stats
from ..transport.boto3 import Boto3Transport
from .client import aws_options, make_client, stream_argument
from .ndjson import BadLineError, KeyFields
from .outcome import (
    INTERRUPTED,
    BadInputError,
    exit_on_error,
    fail,
    finish_on_interrupt,
    os_error_text,
    print_json,
    tell,
)
from .parameters import FILE, argument, command, option
from .prefix import Position, Prefix
from .put_lines import LONGEST_WAIT_SECONDS, LinePutter
from .put_progress import Tally, live_table, report
from .put_rows import Form, ParquetRows, RowPutter
from .resume import StateFile
from .skipped_lines import SkippedLines
from .source import Source

REQUESTS_IN_FLIGHT = 8

YEAR_MS = 365 * 24 * 3600 * 1000
"""The events' time to live: it is not their age that ends a put, but that nothing is stored any more."""

SECONDS_AFTER_FAILURE = 5.0
"""Once an event was given up, the others have so long from one that is stored to the next."""


@command
@stream_argument
@argument(
    "file",
    metavar="FILE",
    type=FILE,
    required=False,
    help="One JSON object per line; gzip, bzip2, xz and zstd are unpacked; - is stdin. Or --parquet.",
)
@option(
    "--key",
    metavar="FIELD",
    help="Field that holds the partition key; a.b is in the object a. Without it, lines go as they are, in no "
    "order, to whatever shard has room.",
)
@option("--default-key", metavar="TEXT", help="Partition key of events whose field is null or missing.")
@option("--explicit-hash-key", metavar="FIELD", help="Field that holds an explicit hash key, if any.")
@option(
    "--resume",
    metavar="STATE",
    type=FILE,
    help="Keep in this file how much is stored without a gap, and go on from there, after kill -9 too.",
)
@option("--skip-bad", metavar="FILE", type=FILE, help="Append bad lines to this file, with the reason, and go on.")
@option(
    "--parquet",
    metavar="FILE",
    type=FILE,
    panel="Parquet",
    help="Send the rows of a Parquet file; fields are columns then. Needs pyarrow.",
)
@option(
    "--data",
    metavar="COLUMN",
    multiple=True,
    panel="Parquet",
    help="Column of bytes or strings that is the data as it is; of others, of several, or of all columns, each "
    "row becomes an object.",
)
@option(
    "--as",
    "form",
    type=click.Choice(get_args(Form)),
    panel="Parquet",
    help="Make an object of each row, in this form; else JSON where need be.",
)
@option(
    "--linger-ms",
    type=click.IntRange(min=0),
    default=100,
    metavar="MS",
    help="Longest wait of an event for others of its shard.",
)
@option(
    "--compression",
    type=click.Choice(["zstd"]),
    help="Send compressed aggregates, a fraction of the bytes, for readers that use shardpack.",
)
@option(
    "--dictionary",
    metavar="FILE",
    type=FILE,
    help="Compress each line alone with this dictionary, as `shardpack train` makes it, for readers that have it.",
)
@option(
    "--give-up-after",
    type=click.FloatRange(min=0),
    default=60,
    metavar="S",
    help="End when nothing was stored for so many seconds.",
)
@option("--quiet", "-q", is_flag=True, help="Say nothing but what went wrong.")
@option("--json", "as_json", is_flag=True, help="Print what was done as one JSON object.")
@aws_options
def put(  # noqa: PLR0917 (click calls it)
    stream: str,
    file: str | None,
    key: str | None,
    default_key: str | None,
    explicit_hash_key: str | None,
    resume: str | None,
    skip_bad: str | None,
    parquet: str | None,
    data: tuple[str, ...],
    form: Form | None,
    linger_ms: int,
    compression: Literal["zstd"] | None,
    dictionary: str | None,
    give_up_after: float,
    quiet: bool,
    as_json: bool,
    region: str | None,
    endpoint_url: str | None,
    profile: str | None,
) -> None:
    """Send lines of JSON, or rows of Parquet, aggregated, until the service has every one.

    The bytes of a line are the data of a user record. Each key keeps its order,
    through throttling and resharding. A bad line stops the command; what precedes
    it is stored. Ctrl-C and SIGTERM end the reading; what was read is stored. A
    second one stops at once.

    \b
      shardpack put flights flights.ndjson.gz --key tailnum --default-key unknown
      shardpack put flights big.ndjson.zst --key meta.id --resume big.state
      tail -f app.log | shardpack put logs - --key host --skip-bad bad.ndjson
      shardpack put flights --parquet flights.parquet --key tailnum --data event
      shardpack put flights a.ndjson --key id --endpoint-url http://127.0.0.1:5070
    """
    with exit_on_error(), ExitStack() as opened:
        if key is None and (default_key is not None or explicit_hash_key is not None):
            raise BadInputError("--default-key and --explicit-hash-key need --key")
        if parquet is not None and (file is not None or skip_bad is not None):
            raise BadInputError("FILE and --skip-bad are for lines, not for --parquet")
        if parquet is not None and dictionary is not None:
            raise BadInputError("--dictionary is for lines, not for --parquet")
        payload_codec = None if dictionary is None else _codec(dictionary)
        fields = KeyFields(key, default_key, explicit_hash_key)
        source = _lines(file, data, form) if parquet is None else ParquetRows(parquet, fields, list(data), form)
        opened.callback(source.close)
        client = make_client(region, endpoint_url, profile, calls_once=REQUESTS_IN_FLIGHT + 2)
        transport = Boto3Transport(client, stream)
        limits = _limits(transport)
        state = None if resume is None else StateFile(resume, stream)
        skipped = None if skip_bad is None else SkippedLines(skip_bad)
        if skipped is not None:
            opened.callback(skipped.close)
        with finish_on_interrupt() as interrupted:
            begin = Position() if state is None else _begin(state, source, interrupted)
            if begin is None:
                fail("interrupted: nothing was sent", INTERRUPTED)
            done = _Put(
                transport,
                source,
                fields,
                begin,
                limits=limits,
                linger_ms=linger_ms,
                compression=compression,
                payload_codec=payload_codec,
                give_up_after_s=give_up_after,
                state=state,
                skipped=skipped,
                stopping=interrupted,
            )
            done.run(quiet=quiet)
            done.end(quiet=quiet, as_json=as_json)


def _codec(path: str) -> Door:
    """Return the codec of a dictionary in a file."""
    from ..codec import DictionaryCodec  # noqa: PLC0415 - where there is one

    try:
        return DictionaryCodec(path)
    except OSError as error:
        raise BadInputError(f"{path}: {os_error_text(error)}") from None
    except (ImportError, ValueError) as error:
        raise BadInputError(f"{path}: {error}") from None


def _lines(file: str | None, data: tuple[str, ...], form: Form | None) -> Source:
    if file is None:
        raise BadInputError("give a FILE, or --parquet FILE")
    if data or form is not None:
        raise BadInputError("--data and --as are for --parquet: the data of a line is the line")
    return Source(file)


def _begin(state: StateFile, source: Source | ParquetRows, stopping: Callable[[], bool]) -> Position | None:
    """Return where to go on; ``None`` if it was to end before."""
    return state.row_of(source) if isinstance(source, ParquetRows) else state.go_to_position(source, stopping)


def _limits(transport: Boto3Transport) -> Limits:
    """Ask for the stream's limits: what no later call would do better with ends the command before it has begun."""
    from ..transport.transient import is_transient  # noqa: PLC0415 (loads botocore, which help does without)

    for wait in (0.1, 0.4, 1.6, None):
        try:
            return transport.describe().limits
        except Exception as error:
            if call_error(error).error_code in {"AccessDeniedException", "AccessDenied"}:
                break  # a producer does without
            if wait is None or not is_transient(error):
                raise
            time.sleep(wait)
    return Limits()


def _reason(failure: Settlement) -> str:
    return f"{failure.error_code}: {failure.message}"


class _Put:
    """One run of the command: reads, puts, waits for the outcomes, keeps the state, and says what came of it."""

    def __init__(
        self,
        transport: Boto3Transport,
        source: Source | ParquetRows,
        fields: KeyFields,
        begin: Position,
        *,
        limits: Limits,
        linger_ms: int,
        compression: Literal["zstd"] | None,
        payload_codec: Door | None,
        give_up_after_s: float,
        state: StateFile | None,
        skipped: SkippedLines | None,
        stopping: Callable[[], bool],
    ) -> None:
        self._source, self._begin, self._state, self._skipped = source, begin, state, skipped
        self._give_up_after, self._interrupted = give_up_after_s, stopping
        self._prefix = Prefix(begin)
        self._tally = Tally(self._prefix)
        self._producer = Producer(
            transport=transport,
            linger_ms=linger_ms,
            compression=compression,
            payload_codec=payload_codec,
            record_ttl_ms=YEAR_MS,
            max_requests_in_flight=REQUESTS_IN_FLIGHT,
            after_failure="stop",  # whoever resumes behind a failure finds nothing of its key stored already
            receipts=False,
            on_settled=self._tally.settled,
            close_timeout_s=0,  # whatever was put has been waited for, or nobody wants to wait
        )
        self._fields, self._max_record_bytes = fields, limits.max_record_bytes
        self._error: BaseException | None = None
        self._stats = Stats()
        self._began = time.monotonic()

    def run(self, *, quiet: bool) -> None:
        """Put everything, or up to what ends it; what was put is waited for."""
        logging.getLogger("shardpack.producer.settling").setLevel(logging.ERROR)  # what is given up is told at the end
        try:
            with live_table(self._source, self._producer, quiet=quiet):
                try:
                    self._read()
                except BadInputError as error:
                    self._error = error
                self._drain()
        except BaseException as error:  # noqa: BLE001 - after what was done is told
            self._error = error
        self._producer.close()
        self._stats = self._producer.stats(shards=False)
        if self._state is not None:
            self._save(self._state, at_once=True)

    def _read(self) -> None:
        """Put what there is, up to what ends it."""
        source = self._source
        if isinstance(source, ParquetRows):
            rows = RowPutter(self._producer, self._prefix, on_turn=self._on_turn, stopping=self._stopping)
            rows.put_rows(source, self._begin)
            return
        lines = LinePutter(
            self._producer,
            self._fields,
            self._prefix,
            max_record_bytes=self._max_record_bytes,
            on_bad_line=self._on_bad_line,
            on_turn=self._on_turn,
            stopping=self._stopping,
        )
        lines.put_lines(source, self._begin)

    def _stopping(self) -> bool:
        return self._interrupted() or self._tally.failure is not None

    def end(self, *, quiet: bool, as_json: bool) -> None:
        """Say what was done, and end the command if that is not all."""
        error = self._error
        tally, line, unit = self._tally, self._prefix.position.line, self._source.unit
        lost = tally.not_stored + tally.maybe_stored
        if error is None and tally.failure is not None:
            error = DeliveryError(_reason(tally.failure))
        if as_json:
            self._print_json(error)
        elif not quiet and (tally.stored or error is None):
            tell(report(tally, self._stats, 0 if self._skipped is None else self._skipped.count, unit))
        so_far = f"{tally.stored:,} events before it are stored"
        if lost:
            maybe = f", {tally.maybe_stored:,} may be" if tally.maybe_stored else ""
            unbroken = f"unbroken to {unit} {line:,}"
            so_far = f"{tally.stored:,} events are stored, {unbroken}; {tally.not_stored:,} are not{maybe}"
        if isinstance(error, BadInputError):
            raise BadInputError(f"{error} ({so_far})")
        if isinstance(error, DeliveryError):
            raise DeliveryError(f"{error} ({so_far})")
        if isinstance(error, KeyboardInterrupt):
            fail(f"interrupted twice: {so_far}", INTERRUPTED)
        if error is not None:
            raise error
        if self._interrupted():
            fail(f"interrupted: what was read is stored, up to {unit} {line:,}; the rest was not read", INTERRUPTED)

    def _drain(self) -> None:
        while True:
            try:
                self._producer.flush(LONGEST_WAIT_SECONDS)
            except FlushTimeoutError:
                self._on_turn()
                continue
            return

    def _on_turn(self) -> None:
        if self._state is not None:
            self._save(self._state)
        now, tally = time.monotonic(), self._tally
        stats = self._producer.stats(shards=False)
        if not stats.user_records_pending:
            tally.changed_at = now
        patience = self._give_up_after if tally.failure is None else min(SECONDS_AFTER_FAILURE, self._give_up_after)
        if now - tally.changed_at <= patience:
            return
        if tally.failure is not None:
            raise DeliveryError(_reason(tally.failure))
        last = max(stats.errors, key=lambda code: stats.errors[code], default="no answer")
        raise DeliveryError(f"nothing was stored for {patience:g} s: {last}")

    def _save(self, state: StateFile, *, at_once: bool = False) -> None:
        if self._skipped is not None:
            self._skipped.sync()
        state.save(self._prefix.position, self._source.head, at_once=at_once)

    def _on_bad_line(self, error: BadLineError) -> None:
        if self._skipped is None:
            raise error
        self._skipped.add(error)

    def _print_json(self, error: BaseException | None) -> None:
        tally, stats, position = self._tally, self._stats, self._prefix.position
        found: dict[str, Any] = {
            "stored": tally.stored,
            "not_stored": tally.not_stored,
            "maybe_stored": tally.maybe_stored,
            f"unbroken_to_{self._source.unit}": position.line,
            **({"unbroken_to_byte": position.offset} if isinstance(self._source, Source) else {}),
            "skipped_lines": 0 if self._skipped is None else self._skipped.count,
            "kinesis_records": stats.kinesis_records_stored,
            "requests": stats.requests,
            "bytes": stats.bytes_stored,
            "payload_units": tally.payload_units,
            "resent_entries": stats.retries,
            "seconds": round(time.monotonic() - self._began, 3),
            "interrupted": self._interrupted(),
            "error": None if error is None else str(error) or type(error).__name__,
        }
        print_json(found)
