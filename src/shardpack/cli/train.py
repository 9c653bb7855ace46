"""shardpack train: a dictionary for records like those in a file."""

from __future__ import annotations

import gzip
import os
import re
from heapq import heappop, heappush, heappushpop
from pathlib import Path
from random import Random
from typing import Any

import click
from rich.table import Table

from ..codec import DictionaryCodec, PayloadReader
from ..codec import train as library_train
from ..codec.zstd import MISSING
from ..limits import KIB, MIB
from .console import Stdout
from .ndjson import BadLineError, Lines
from .outcome import BadInputError, exit_on_error, os_error_text, print_json
from .parameters import FILE, argument, command, option
from .source import Source

SAMPLE_BYTES = 32 * MIB
"""Of lines that are kept, chosen at random, however long the files are; and each is counted with 100 bytes more."""

AROUND_A_LINE = 100
LONGEST_LINE = 10 * MIB
HELD_OUT = 10
"""One line of ten is not trained with, so that the figures are of lines that the dictionary has not seen."""

MOST_HELD_OUT = 10_000
UNITS = {"": 1, "B": 1, "KIB": KIB, "K": KIB, "MIB": MIB, "M": MIB}


def size_of(text: str) -> int:
    """Return a number of bytes, given as 65536, 64KiB or 1MiB."""
    found = re.fullmatch(r"(\d{1,12})\s*([A-Za-z]*)", text.strip())
    if found is None or found[2].upper() not in UNITS:
        raise click.BadParameter(f"{text!r} is no size: give bytes, or 64KiB or 1MiB")
    return int(found[1]) * UNITS[found[2].upper()]


@command
@argument(
    "files",
    metavar="FILE...",
    type=FILE,
    nargs=-1,
    required=True,
    help="Lines as `shardpack put` sends them; gzip, bzip2, xz and zstd are unpacked; - is stdin.",
)
@option("--out", metavar="FILE", type=FILE, required=True, help="Where the dictionary goes. It is replaced whole.")
@option("--size", metavar="BYTES", type=size_of, default="64KiB", help="Largest size of the dictionary.")
@option("--level", metavar="N", type=click.IntRange(-7, 22), default=3, help="zstd's level, of the figures shown.")
@option("--id", "number", metavar="N", type=click.IntRange(1, 2**32 - 1), help="Its id, where you keep a list of them.")
@option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
def train(  # noqa: PLR0917 (click names them)
    files: tuple[str, ...],
    out: str,
    size: int = 64 * KIB,
    level: int = 3,
    number: int | None = None,
    as_json: bool = False,
) -> None:
    """Make a dictionary for the payload codec from samples of your records.

    All lines are read, and 32 MiB of them are kept, chosen at random. Nine of ten
    train the dictionary; the others, up to 10,000, tell what it is worth.

    \b
      shardpack train events.ndjson.zst --out telemetry.dict
      shardpack train day-1.gz day-2.gz --size 16KiB --id 7 --out 7.dict
    """
    with exit_on_error():
        lines = Sample(SAMPLE_BYTES)
        for file in files:
            lines.read(file)
        samples = lines.chosen()
        held_out = samples[: min(MOST_HELD_OUT, len(samples) // HELD_OUT)]
        try:
            dictionary = library_train(samples[len(held_out) :], size, dictionary_id=number)
            codec = DictionaryCodec(dictionary, level=level)
        except ImportError:
            raise BadInputError(MISSING) from None
        except ValueError as error:
            raise BadInputError(str(error)) from None
        found = _figures(codec, held_out, lines.number)
        _write(out, dictionary)
        if as_json:
            print_json({"dictionary_id": codec.dictionary_id, "dictionary_bytes": len(dictionary), "out": out, **found})
        else:
            _show(out, codec, found)


class Sample:
    """Lines of files, chosen at random, of so many bytes."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._random = Random(20)  # so that the same files make the same dictionary
        self._kept: list[tuple[float, bytes]] = []  # a heap: the first is the one to go
        self.number = 0
        """How many lines there were."""

    def read(self, file: str) -> None:
        """Take the lines of a file. Raises ``BadInputError``."""
        source, lines = Source(file), Lines(LONGEST_LINE)
        try:
            chunk: bytes | None = None
            while chunk != b"":
                chunk = source.read(1.0)
                if chunk is None:
                    continue
                for _, _, line in lines.feed(chunk) if chunk else lines.finish():
                    self.take(line)
                try:
                    lines.check()
                except BadLineError as error:
                    raise BadInputError(f"{source.name}: line {error.line_number:,} is longer than 10 MiB") from None
        finally:
            source.close()

    def take(self, line: bytes) -> None:
        self.number += 1
        chance = self._random.random()
        size = len(line) + AROUND_A_LINE
        if self._bytes + size <= self._most:
            heappush(self._kept, (chance, line))
            self._bytes += size
        elif self._kept and chance > self._kept[0][0]:
            self._bytes += size - len(heappushpop(self._kept, (chance, line))[1]) - AROUND_A_LINE
            while self._bytes > self._most:
                self._bytes -= len(heappop(self._kept)[1]) + AROUND_A_LINE

    def chosen(self) -> list[bytes]:
        """Return the lines, in no order. They are kept no longer."""
        self._kept.sort()
        self._random.shuffle(self._kept)
        kept, self._kept = self._kept, []
        return [line for _, line in kept]


def _figures(codec: DictionaryCodec, held_out: list[bytes], lines: int) -> dict[str, Any]:
    payloads = codec.encode_many(held_out)
    reader = PayloadReader(codec.dictionary, max_bytes=LONGEST_LINE)
    assert [payload.data for payload in reader.read(payloads)] == held_out
    count = max(1, len(held_out))
    return {
        "lines": lines,
        "held_out": len(held_out),
        "bytes_per_record": round(sum(map(len, held_out)) / count, 1),
        "gzip_bytes_per_record": round(sum(len(gzip.compress(line)) for line in held_out) / count, 1),
        "payload_bytes_per_record": round(sum(map(len, payloads)) / count, 1),
        "level": codec.level,
    }


def _show(out: str, codec: DictionaryCodec, found: dict[str, Any]) -> None:
    console = Stdout()
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("dictionary", f"{out}, {len(codec.dictionary):,} bytes, id {codec.dictionary_id}")
    table.add_row("lines", f"{found['lines']:,}; figures are of {found['held_out']:,} that it was not trained with")
    before = found["bytes_per_record"]
    table.add_row("plain", f"{before:,} bytes a record")
    for name, key in (("gzip", "gzip_bytes_per_record"), ("with it", "payload_bytes_per_record")):
        table.add_row(name, f"{found[key]:,} bytes a record" + (f", {found[key] / before:.0%}" if before else ""))
    console.print(table)


def _write(out: str, dictionary: bytes) -> None:
    """Put the dictionary where it goes, whole: readers of the folder see all of it or nothing."""
    beside = Path(f"{out}.{os.getpid()}.part")
    try:
        beside.write_bytes(dictionary)
        beside.replace(out)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise BadInputError(f"{out}: {os_error_text(error)}") from None
