"""shardpack inspect: what is inside one blob."""

from __future__ import annotations

import base64
import binascii
import json
import re
import sys
from collections import Counter
from enum import Enum
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..consume.dissection import DIGEST_BYTES, MAGIC, Dissection, dissect_blob
from .console import Stdout
from .outcome import FAILED, BadInputError, exit_on_error, os_error_text, until_reader_leaves
from .parameters import FILE, OneOf, argument, command, option

SHOWN = 20
PREVIEW_BYTES = 64
MAX_INPUT_BYTES = 64 * 1024 * 1024


class Form(str, Enum):
    """How a blob is written down."""

    AUTO = "auto"
    RAW = "raw"
    BASE64 = "base64"
    HEX = "hex"


@command
@argument("file", metavar="FILE", type=FILE, help="Raw bytes, base64 or hex text; - is stdin.")
@option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@option("--all", "show_all", is_flag=True, help=f"Show all rows, not the first {SHOWN} of a table.")
@option("--format", "form", type=OneOf(Form), default=Form.AUTO.value, help="What FILE holds, where guessing fails.")
def inspect(file: str, as_json: bool = False, show_all: bool = False, form: Form = Form.AUTO) -> None:
    """Take one Kinesis record apart: magic, checksum, keys, user records.

    Says why a blob is no aggregated record, and at which byte it goes wrong. Exit
    code 0 means that it is a well-formed aggregated record, 1 that it is not.

    \b
      shardpack inspect record.bin
      pbpaste | shardpack inspect -
      aws kinesis get-records --shard-iterator "$IT" \\
        --query 'Records[0].Data' | shardpack inspect -
    """
    with exit_on_error():
        name = "standard input" if file == "-" else file
        content = _content(file, name)
        try:
            blob, read_as = read_blob(content, form.value)
        except ValueError as error:
            raise BadInputError(f"{name}: not {form.value}: {error}; --format takes {', '.join(Form)}") from None
        dissection = dissect_blob(blob)
        with until_reader_leaves():  # the exit code is the verdict all the same
            if as_json:
                sys.stdout.buffer.write(json.dumps(_as_json(dissection, read_as), ensure_ascii=True).encode() + b"\n")
                sys.stdout.buffer.flush()
            else:
                _show(dissection, read_as, None if show_all else SHOWN)
        if dissection.reason is not None:
            raise SystemExit(FAILED)


def read_blob(content: bytes, form: str) -> tuple[bytes, str]:
    """Return the blob in ``content`` and the form it has. Raises ``ValueError`` unless it has the form asked for.

    With ``"auto"`` what starts with the magic is raw; text of hex digits, else of base64, is decoded.
    """
    if form == "raw" or (form == "auto" and content.startswith(MAGIC)):
        return content, "raw"
    text = b"".join(content.split()).strip(b'"')
    if form == "hex" or (form == "auto" and re.fullmatch(rb"(?:[0-9a-fA-F]{2})+", text)):
        return binascii.unhexlify(text), "hex"
    if form == "base64":
        return base64.b64decode(text, validate=True), "base64"
    try:
        decoded = base64.b64decode(text, validate=True)
    except binascii.Error:
        return content, "raw"
    return (decoded, "base64") if decoded else (content, "raw")


def _content(file: str, name: str) -> bytes:
    try:
        if file == "-":
            content = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                content = stream.read(MAX_INPUT_BYTES + 1)
    except FileNotFoundError:
        raise BadInputError(
            f"{file}: no such file; FILE is a file of raw bytes, base64 or hex text, or - for standard input"
        ) from None
    except OSError as error:
        raise BadInputError(f"{name}: {os_error_text(error)}") from None
    if len(content) > MAX_INPUT_BYTES:
        raise BadInputError(f"{name}: larger than {MAX_INPUT_BYTES:,} bytes; a Kinesis record has 10 MiB at most")
    return content


def _as_json(dissection: Dissection, read_as: str) -> dict[str, Any]:
    return {
        "read_as": read_as,
        "size": dissection.size,
        "well_formed": dissection.reason is None,
        "reason": dissection.reason,
        "error_offset": dissection.error_offset,
        "magic": dissection.has_magic,
        "stored_digest": dissection.stored_digest.hex() if dissection.stored_digest else None,
        "computed_digest": dissection.computed_digest.hex() if dissection.computed_digest else None,
        "message_size": dissection.message_size,
        "payload_size": dissection.payload_size,
        "overhead_size": dissection.size - dissection.payload_size,
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


def _show(dissection: Dissection, read_as: str, shown: int | None) -> None:
    console = Stdout()
    console.print(_summary(dissection, read_as))
    _show_keys(console, dissection, shown)
    _show_records(console, dissection, shown)
    console.print()
    if dissection.reason is None:
        count = len(dissection.records)
        verdict = Text(f"A well-formed aggregated record of {count:,} user record{'s' * (count != 1)}.", "green")
    else:
        verdict = Text(dissection.reason[0].upper() + dissection.reason[1:] + ".", "red")
    console.print(verdict)


def _summary(dissection: Dissection, read_as: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("size", f"{dissection.size:,} bytes (read as {read_as})")
    start = dissection.start.hex(" ").upper() or "nothing"
    table.add_row("magic", f"{start}, right" if dissection.has_magic else f"{start}, not {MAGIC.hex(' ').upper()}")
    if dissection.stored_digest is None or dissection.computed_digest is None:
        return table
    if dissection.stored_digest == dissection.computed_digest:
        table.add_row("checksum", f"{dissection.stored_digest.hex()}, right")
    else:
        table.add_row("checksum", f"{dissection.stored_digest.hex()} stored, wrong")
        table.add_row("", f"{dissection.computed_digest.hex()} computed")
    table.add_row("message", f"{dissection.message_size:,} bytes")
    if dissection.records:
        payload, overhead = dissection.payload_size, dissection.size - dissection.payload_size
        keys = sum(
            len(key.encode(errors="surrogateescape"))
            for key in (*dissection.partition_keys, *dissection.explicit_hash_keys)
        )
        framing = len(MAGIC) + DIGEST_BYTES
        table.add_row("payload", f"{payload:,} bytes, {payload / dissection.size:.1%}")
        table.add_row("overhead", f"{overhead:,} bytes, {overhead / dissection.size:.1%}:")
        table.add_row("", f"keys {keys:,}, magic and digest {framing}, fields {overhead - keys - framing:,}")
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
    if shown is not None and count > shown:
        console.print(f"… and {count - shown:,} more: --all shows them", style="dim")


def _key_text(index: int | None, entry: str | None) -> Text:
    if index is None:
        return Text()
    return Text(f"{index}: not in the table", "red") if entry is None else Text(visible(entry))


def visible(text: str) -> str:
    """Make one line of any text, with nothing that a terminal would take for a command."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
