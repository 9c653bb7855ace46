"""shardpack inspect: what is inside Kinesis records."""

from __future__ import annotations

import base64
import json
import sys
from collections import Counter
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._native.deaggregate import ReceivedRecord
from ..consume.dissection import DIGEST_BYTES, MAGIC, Dissection, dissect_blob
from .console import Stdout
from .inspected import Form, Inspected, inspected, name_of, read_input
from .outcome import FAILED, BadInputError, exit_on_error, fail, until_reader_leaves
from .parameters import FILE, OneOf, argument, command, option

SHOWN = 20
PREVIEW_BYTES = 64


@command
@argument("file", metavar="FILE", type=FILE, help="Raw bytes, base64 or hex text, or JSON; - is stdin.")
@option("--record", metavar="N", type=click.IntRange(0), help="Only record N of several; the first one is 0.")
@option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@option("--all", "show_all", is_flag=True, help=f"Show all rows and records, not the first {SHOWN}.")
@option("--format", "form", type=OneOf(Form), default=Form.AUTO.value, help="What FILE holds, where guessing fails.")
def inspect(
    file: str, record: int | None = None, as_json: bool = False, show_all: bool = False, form: Form = Form.AUTO
) -> None:
    """Take Kinesis records apart: magic, checksum, keys, user records.

    Says why a record is no aggregated record, and at which byte it goes wrong. Exit
    code 0 means that each is a well-formed aggregated record, 1 that one is not.

    FILE has up to 64 MiB: the data of one record, as it is or as text, or JSON: a
    Lambda event, the output of get-records, a Firehose or SubscribeToShard event,
    records of a queue, one record or many, behind one another or on a line each.

    \b
      shardpack inspect record.bin
      pbpaste | shardpack inspect -
      shardpack inspect event.json --record 3
      aws kinesis get-records --shard-iterator "$IT" | shardpack inspect -
    """
    with exit_on_error():
        name = name_of(file)
        content = read_input(file)
        try:
            found = inspected(content, form.value)
        except BadInputError as error:
            raise BadInputError(f"{name}: {error}") from None
        except ValueError as error:
            raise BadInputError(f"{name}: not {form.value}: {error}; --format takes {', '.join(Form)}") from None
        if record is not None:
            found = _only(found, record, name)
        if not found.records:
            fail(f"{name}: no Kinesis records are in it")
        shown = None if show_all else SHOWN
        if not (_print_json(found) if as_json else _show_all(found, shown)):
            raise SystemExit(FAILED)


def _only(found: Inspected, record: int, name: str) -> Inspected:
    if record >= len(found.records):
        raise BadInputError(f"{name}: no record {record}: it has {len(found.records):,}, and the first one is 0")
    return Inspected([found.records[record]], found.read_as, several=False)


def _print_json(found: Inspected) -> bool:
    """Print one object, record by record; return whether each is a well-formed aggregated record."""
    well_formed = True
    out = sys.stdout.buffer
    with until_reader_leaves():  # the exit code is the verdict all the same
        if found.several:
            out.write(b'{"read_as": %s, "kinesis_records": [' % json.dumps(found.read_as).encode())
    for place, record in enumerate(found.records):
        dissection = dissect_blob(record.data)
        well_formed = well_formed and dissection.reason is None
        members = {} if found.several else {"read_as": found.read_as}
        text = json.dumps({**members, **_origin(record), **_as_json(dissection)})
        with until_reader_leaves():
            out.write(b", " * (place > 0) + text.encode())
    with until_reader_leaves():
        out.write(b"]}\n" if found.several else b"\n")
        out.flush()
    return well_formed


def _origin(record: ReceivedRecord) -> dict[str, Any]:
    """Return what a Kinesis record says of itself; of data alone, nothing."""
    origin = record.origin
    known = {
        "partition_key": origin.partition_key,
        "sequence_number": origin.sequence_number,
        "shard_id": origin.shard_id,
        "record_id": origin.record_id,
    }
    return {name: value for name, value in known.items() if value is not None}


def _as_json(dissection: Dissection) -> dict[str, Any]:
    return {
        "size": dissection.size,
        "well_formed": dissection.reason is None,
        "reason": dissection.reason,
        "error_offset": dissection.error_offset,
        "magic": dissection.has_magic,
        "stored_digest": dissection.stored_digest.hex() if dissection.stored_digest else None,
        "computed_digest": dissection.computed_digest.hex() if dissection.computed_digest else None,
        "message_size": dissection.message_size,
        "payload_size": dissection.payload_size,
        "overhead_size": dissection.overhead_size,
        **({"compressed": True} if dissection.compressed else {}),
        "partition_keys": dissection.partition_keys,
        "explicit_hash_keys": dissection.explicit_hash_keys,
        "records": [
            {
                "partition_key": record.partition_key,
                "partition_key_index": record.partition_key_index,
                "explicit_hash_key": record.explicit_hash_key,
                "explicit_hash_key_index": record.explicit_hash_key_index,
                **_data(record.data),
                **({"tags": record.tags} if record.tags else {}),
            }
            for record in dissection.records
        ],
    }


def _data(data: bytes) -> dict[str, str]:
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(data).decode()}


def _show_all(found: Inspected, shown: int | None) -> bool:
    """Print all records, after a summary of several; return whether each is a well-formed aggregated record."""
    if not found.several:
        dissection = dissect_blob(found.records[0].data)
        with until_reader_leaves():
            _show(Stdout(), found.records[0], dissection, found.read_as, shown)
        return dissection.reason is None
    count = len(found.records)
    table = _table(f"Kinesis records: {count:,} (read as {found.read_as})")
    table.add_column("#", justify="right", style="dim")
    table.add_column("partition key", max_width=24, no_wrap=True, overflow="ellipsis")
    table.add_column("bytes", justify="right")
    table.add_column("user records", justify="right")
    table.add_column("aggregated record", ratio=1, no_wrap=True, overflow="ellipsis")
    well_formed = 0
    for place, record in enumerate(found.records):
        dissection = dissect_blob(record.data)
        well_formed += dissection.reason is None
        if shown is None or place < shown:
            key = "" if record.origin.partition_key is None else str(record.origin.partition_key)
            verdict = Text("well-formed", "green") if dissection.reason is None else Text(dissection.reason, "red")
            table.add_row(
                str(place), Text(visible(key)), f"{dissection.size:,}", f"{len(dissection.records):,}", verdict
            )
    with until_reader_leaves():
        console = Stdout()
        console.print(table)
        for place, record in enumerate(found.records[:shown]):
            console.print(f"\nKinesis record {place}", style="bold")
            _show(console, record, dissect_blob(record.data), found.read_as, shown)
        _print_more(console, count, shown, "; --record N shows one")
        console.print()
        console.print(
            f"{well_formed:,} of {count:,} are well-formed aggregated records.",
            style="green" if well_formed == count else "red",
        )
    return well_formed == count


def _show(console: Console, record: ReceivedRecord, dissection: Dissection, read_as: str, shown: int | None) -> None:
    console.print(_summary(record, dissection, read_as))
    _show_keys(console, dissection, shown)
    _show_records(console, dissection, shown)
    console.print()
    if dissection.reason is None:
        count = len(dissection.records)
        verdict = Text(f"A well-formed aggregated record of {count:,} user record{'s' * (count != 1)}.", "green")
    else:
        verdict = Text(dissection.reason[0].upper() + dissection.reason[1:] + ".", "red")
    console.print(verdict)


def _summary(record: ReceivedRecord, dissection: Dissection, read_as: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _origin(record).items():
        table.add_row(name.replace("_", " "), Text(visible(str(value))))
    table.add_row("size", f"{dissection.size:,} bytes (read as {read_as})")
    start = dissection.start.hex(" ").upper() or "nothing"
    table.add_row("magic", f"{start}, right" if dissection.has_magic else f"{start}, not {MAGIC.hex(' ').upper()}")
    if dissection.message_size is None:
        return table
    if dissection.compressed:
        table.add_row("compressed", f"zstd, {dissection.message_size / dissection.size:.1f} times smaller")
    elif dissection.stored_digest and dissection.stored_digest == dissection.computed_digest:
        table.add_row("checksum", f"{dissection.stored_digest.hex()}, right")
    elif dissection.stored_digest and dissection.computed_digest:
        table.add_row("checksum", f"{dissection.stored_digest.hex()} stored, wrong")
        table.add_row("", f"{dissection.computed_digest.hex()} computed")
    table.add_row("message", f"{dissection.message_size:,} bytes")
    if dissection.records:
        payload, overhead = dissection.payload_size, dissection.overhead_size
        whole = payload + overhead
        keys = sum(
            len(key.encode(errors="surrogateescape"))
            for key in (*dissection.partition_keys, *dissection.explicit_hash_keys)
        )
        framing = 0 if dissection.compressed else len(MAGIC) + DIGEST_BYTES
        frame = f"magic and digest {framing}, " if framing else ""
        table.add_row("payload", f"{payload:,} bytes, {payload / whole:.1%}")
        table.add_row("overhead", f"{overhead:,} bytes, {overhead / whole:.1%}:")
        table.add_row("", f"keys {keys:,}, {frame}fields {overhead - keys - framing:,}")
    return table


def _show_keys(console: Console, dissection: Dissection, shown: int | None) -> None:
    for title, keys, uses in (
        ("Partition keys", dissection.partition_keys, [record.partition_key_index for record in dissection.records]),
        (
            "Explicit hash keys",
            dissection.explicit_hash_keys,
            [record.explicit_hash_key_index for record in dissection.records],
        ),
    ):
        if not keys:
            continue
        used = Counter(uses)
        table = _table(f"{title}: {len(keys):,}")
        table.add_column("#", justify="right", style="dim")
        table.add_column("user records", justify="right")
        table.add_column("key", ratio=1, no_wrap=True, overflow="ellipsis")
        for i, key in enumerate(keys[:shown]):
            table.add_row(str(i), f"{used[i]:,}", Text(visible(key)))
        _print_table(console, table, len(keys), shown)


def _show_records(console: Console, dissection: Dissection, shown: int | None) -> None:
    if not dissection.records:
        return
    with_hash_keys = any(record.explicit_hash_key_index is not None for record in dissection.records)
    with_tags = any(record.tags for record in dissection.records)
    table = _table(f"User records: {len(dissection.records):,}")
    table.add_column("#", justify="right", style="dim")
    table.add_column("partition key", max_width=24, no_wrap=True, overflow="ellipsis")
    if with_hash_keys:
        table.add_column("explicit hash key", max_width=16, no_wrap=True, overflow="ellipsis")
    table.add_column("bytes", justify="right")
    if with_tags:
        table.add_column("tags", justify="right")
    table.add_column("data", ratio=1, no_wrap=True, overflow="ellipsis")
    for i, record in enumerate(dissection.records[:shown]):
        row = [Text(str(i)), _key_text(record.partition_key_index, record.partition_key)]
        if with_hash_keys:
            row.append(_key_text(record.explicit_hash_key_index, record.explicit_hash_key))
        row.append(Text(f"{len(record.data):,}"))
        if with_tags:
            row.append(Text(str(len(record.tags))))
        preview = record.data[:PREVIEW_BYTES]
        row.append(Text(visible(preview.decode(errors="backslashreplace"))))
        table.add_row(*row)
    _print_table(console, table, len(dissection.records), shown)


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0), expand=True)


def _print_table(console: Console, table: Table, count: int, shown: int | None) -> None:
    console.print()
    console.print(table)
    _print_more(console, count, shown)


def _print_more(console: Console, count: int, shown: int | None, also: str = "") -> None:
    if shown is not None and count > shown:
        console.print(f"… and {count - shown:,} more: --all shows them{also}", style="dim")


def _key_text(index: int | None, entry: str | None) -> Text:
    if index is None:
        return Text()
    return Text(f"{index}: not in the table", "red") if entry is None else Text(visible(entry))


def visible(text: str) -> str:
    """Make one line of any text, with nothing that a terminal would take for a command."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
