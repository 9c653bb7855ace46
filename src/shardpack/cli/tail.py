"""shardpack tail: the user records of a stream, one a line."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import click
from rich.text import Text

from .._native.deaggregate import UserRecord
from .client import aws_options, make_client, stream_argument
from .console import stderr
from .outcome import BadInputError, exit_on_error, os_error_text, tell
from .parameters import FILE, command, moment, option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..codec import Payload, PayloadReader
    from ..consume.stream.batch import StreamBatch

    LineOf = Callable[[str, UserRecord, bytes, Exception | None], str]

# what would end a line or steer a terminal, shown as \x..
_VISIBLE = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code != ord("\t")}


@command
@stream_argument
@option(
    "--from",
    "start",
    metavar="WHERE",
    default="trim-horizon",
    help="trim-horizon (the oldest record), latest, or a time: ISO 8601 or epoch seconds.",
)
@option("--json", "as_json", is_flag=True, help="Print one JSON object per user record, each on a line.")
@option("--follow/--no-follow", default=True, help="Wait for more, or stop when every shard is caught up.")
@option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after N user records.")
@option(
    "--dictionary",
    metavar="PATH",
    type=FILE,
    help="Dictionary of compressed payloads, or a folder of them: their data are printed as they were put.",
)
@aws_options
def tail(  # noqa: PLR0917 (click calls it)
    stream: str,
    start: str,
    as_json: bool,
    follow: bool,
    limit: int | None,
    dictionary: str | None,
    region: str | None,
    endpoint_url: str | None,
    profile: str | None,
) -> None:
    """Print the user records of a stream: partition key, a space, data.

    Reads every shard, and those that appear when shards are split or merged;
    takes aggregates apart. Bytes that are no text and control characters print as
    \\xNN; --json keeps data exact, as text or base64.

    \b
      shardpack tail flights
      shardpack tail flights --from latest --json | jq .partition_key
      shardpack tail flights --from 2026-01-31T12:00:00Z --no-follow > day.txt
    """
    from ..consume.stream.reader import StreamReader  # noqa: PLC0415 (loads botocore, which help does without)

    with exit_on_error():
        position = starting_position(start)
        client = make_client(region, endpoint_url, profile)
        if follow and stderr.is_terminal:
            tell(Text(f"Reading {stream}; Ctrl-C stops.", "dim"))
        line_of = as_json_line if as_json else as_plain_line
        reader = None if dictionary is None else _reader(dictionary)
        with StreamReader(
            stream, client=client, start=position, until=None if follow else "latest", range_rule=False
        ) as batches:
            for batch in batches:
                printed = _print(batch, line_of, limit, reader)
                if limit is not None:
                    limit -= printed
                    if limit == 0:
                        break


def starting_position(text: str) -> datetime | Literal["trim_horizon", "latest"]:
    """Read the value of --from."""
    if text.lower() in ("trim-horizon", "latest"):
        return "latest" if text.lower() == "latest" else "trim_horizon"
    try:
        return moment(text)
    except ValueError:
        raise BadInputError(
            f"--from takes trim-horizon, latest, an ISO 8601 time or epoch seconds, not {text!r}"
        ) from None


def _reader(path: str) -> PayloadReader:
    from ..codec import PayloadReader  # noqa: PLC0415 - where there is a dictionary

    try:
        Path(path).stat()
    except OSError as error:
        raise BadInputError(f"{path}: {os_error_text(error)}") from None
    return PayloadReader(path)


def as_plain_line(_shard_id: str, record: UserRecord, data: bytes, _error: Exception | None) -> str:
    """Partition key, a space, data."""
    return f"{record.partition_key} {data.decode(errors='backslashreplace')}".translate(_VISIBLE)


def as_json_line(shard_id: str, record: UserRecord, data: bytes, error: Exception | None) -> str:
    """Everything that is known of a user record; what does not apply is null or left out."""
    arrived = record.approximate_arrival_timestamp
    fields: dict[str, str | int | None] = {
        "partition_key": record.partition_key,
        "explicit_hash_key": record.explicit_hash_key,
        "sequence_number": record.sequence_number,
        "sub_sequence_number": record.sub_sequence_number,
        "shard_id": shard_id,
        "approximate_arrival_timestamp": None if arrived is None else arrived.astimezone(timezone.utc).isoformat(),
        "aggregated": record.aggregated,
    }
    try:
        fields["data"] = data.decode()
    except UnicodeDecodeError:
        fields["data_base64"] = base64.b64encode(data).decode()
    if error is not None:
        fields["error"] = str(error)
    return json.dumps(fields, ensure_ascii=False)


def _print(batch: StreamBatch, line_of: LineOf, limit: int | None, reader: PayloadReader | None) -> int:
    """Print what one read brought, ``limit`` user records at most. Returns how many that was."""
    records = batch.records[:limit]
    found: Sequence[UserRecord | Payload] = records if reader is None else reader.read(records)
    for record, payload in zip(records, found, strict=True):
        line = line_of(batch.shard_id, record, payload.data, payload.error or record.error)
        # a key that was no UTF-8 holds surrogates: they become escapes, which JSON reads as the same
        sys.stdout.buffer.write(line.encode(errors="backslashreplace") + b"\n")
    sys.stdout.buffer.flush()
    return len(records)
