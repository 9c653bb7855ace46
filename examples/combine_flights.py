"""A row for every aircraft in SQLite and in DuckDB: one write per flight, and one per aircraft and batch.

python combine_flights.py [--records 120000] [--picture combine.svg …]

Puts flights of a checkout's sample into a local Kinesis of its own, reads it with a StreamReader, and writes its
batches in both ways, which leave the same rows. Needs shardpack[stream,demo], duckdb and pyarrow; for the picture
matplotlib.
"""

from __future__ import annotations

import argparse
import json
import lzma
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from shardpack import Producer, UserRecord
from shardpack.consume import combine
from shardpack.consume.stream import StreamReader
from shardpack.testing import LocalKinesis

SAMPLE = Path(__file__).parents[1] / "src" / "shardpack" / "bench" / "flights.ndjson.xz"
NAMES = ("tailnum", "flights", "miles", "seen", "dest")
CREATE = "CREATE TABLE aircraft (tailnum VARCHAR PRIMARY KEY, flights BIGINT, miles BIGINT, seen VARCHAR, dest VARCHAR)"
UPSERT = """
INSERT INTO aircraft {rows} ON CONFLICT (tailnum) DO UPDATE SET
    flights = aircraft.flights + excluded.flights,
    miles = aircraft.miles + excluded.miles,
    dest = CASE WHEN excluded.seen >= aircraft.seen THEN excluded.dest ELSE aircraft.dest END,
    seen = CASE WHEN excluded.seen >= aircraft.seen THEN excluded.seen ELSE aircraft.seen END
"""
FEW = 30
"""DuckDB gets one by one as much of a batch as the first of so many parts: that takes it milliseconds each."""

Row = tuple[Any, ...]


# --- what is written ---


def one_per_flight(batch: Iterable[UserRecord]) -> list[Row]:
    """Return a row for each flight."""
    events = [(record.partition_key, json.loads(record.data)) for record in batch]
    return [(key, 1, event["distance"], event["time_hour"], event["dest"]) for key, event in events]


def one_per_aircraft(batch: Iterable[UserRecord]) -> list[Row]:
    """Return a row for each aircraft: how many flights, how far in all, when and where to the last of them was."""
    rows = one_per_flight(batch)
    counts = combine.count(rows, key=key_of)
    miles = combine.sum(rows, lambda row: row[2], key=key_of)
    newest = combine.latest(rows, key=key_of, by=lambda row: row[3])
    return [(key, counts[key], miles[key], seen, dest) for key, _, _, seen, dest in newest]


def key_of(row: Row) -> str:
    """Return the key of a row."""
    key: str = row[0]
    return key


# --- where to ---


class SQLite:
    """A file of SQLite, a transaction for each batch."""

    def __init__(self, folder: str) -> None:
        self.database = sqlite3.connect(Path(folder, "aircraft.sqlite"))
        self.database.execute(CREATE)

    def write(self, rows: list[Row]) -> None:
        """Upsert the rows."""
        with self.database:
            self.database.executemany(UPSERT.format(rows="VALUES (?, ?, ?, ?, ?)"), rows)

    def rows(self) -> list[Row]:
        """Return all there is."""
        return self.database.execute("SELECT * FROM aircraft ORDER BY tailnum").fetchall()


class DuckDB:
    """A file of DuckDB, a transaction for each batch."""

    def __init__(self, folder: str) -> None:
        self.database = duckdb.connect(Path(folder, "aircraft.duckdb"))
        self.database.execute(CREATE)

    def write(self, rows: list[Row]) -> None:
        """Upsert them with one statement, which takes no key twice; one by one, if there is such a key."""
        if len(set(map(key_of, rows))) == len(rows):
            self.database.register("batch", pa.table(dict(zip(NAMES, zip(*rows, strict=True), strict=True))))
            self.database.execute(UPSERT.format(rows="SELECT * FROM batch"))
            return
        self.database.begin()
        self.database.executemany(UPSERT.format(rows="VALUES (?, ?, ?, ?, ?)"), rows)
        self.database.commit()

    def rows(self) -> list[Row]:
        """Return all there is."""
        return self.database.execute("SELECT * FROM aircraft ORDER BY tailnum").fetchall()


# --- both ways, compared ---


def read_flights(records: int) -> list[list[UserRecord]]:
    """Put flights into a stream of four shards, and return the batches that a StreamReader brings."""
    with lzma.open(SAMPLE) as lines:
        datas = [line.rstrip(b"\n") for line in islice(lines, records)]
    keys = [json.loads(data)["tailnum"] or "unknown" for data in datas]
    with LocalKinesis() as kinesis:
        kinesis.create_stream("flights", 4)
        with Producer("flights", client=kinesis.client(retries={"total_max_attempts": 1})) as producer:
            producer.put_many(keys, datas)
        return [list(batch.records) for batch in StreamReader("flights", client=kinesis.client(), until="latest")]


def written(
    database: Callable[[str], SQLite | DuckDB],
    way: Callable[[Iterable[UserRecord]], list[Row]],
    batches: list[list[UserRecord]],
) -> tuple[int, float, list[Row]]:
    """Write all batches; return how many rows that took, CPU seconds, and what is there then."""
    with tempfile.TemporaryDirectory() as folder:
        table, writes, start = database(folder), 0, time.process_time()
        for batch in batches:
            rows = way(batch)
            table.write(rows)
            writes += len(rows)
        took = time.process_time() - start
        rows = table.rows()
        table.database.close()
        return writes, took, rows


def compare(batches: list[list[UserRecord]]) -> dict[str, tuple[float, float]]:
    """Print and return microseconds of CPU per flight in both ways, for each database."""
    found = {}
    print(f"{'':8}{'flights':>9}{'writes':>9}{'µs per flight':>15}")
    for database in (SQLite, DuckDB):
        some = batches if database is SQLite else [batch[: len(batch) // FEW] for batch in batches]
        times = []
        for way, given in ((one_per_flight, some), (one_per_aircraft, batches)):
            writes, took, rows = written(database, way, given)
            taken = sum(map(len, given))
            times.append(took / taken * 1e6)
            print(f"{database.__name__:8}{taken:9,}{writes:9,}{times[-1]:15.1f}")
            if given is some:
                _, _, expected = written(SQLite, one_per_flight, given)
                assert rows == expected
        assert rows == written(SQLite, one_per_flight, batches)[2]
        found[database.__name__] = times[0], times[1]
    return found


def writes_by_size(batches: list[list[UserRecord]], key: Callable[[UserRecord], object]) -> dict[int, float]:
    """Return how many writes a thousand flights take, by how many flights are combined at a time."""
    found = {}
    total = sum(map(len, batches))
    for size in (1, 10, 100, 1_000, 10_000, max(map(len, batches))):
        parts = (batch[i : i + size] for batch in batches for i in range(0, len(batch), size))
        found[size] = 1000 * sum(len(combine.count(part, key=key)) for part in parts) / total
    return found


def tailnum(record: UserRecord) -> object:
    """Return the aircraft of a flight."""
    return record.partition_key


def carrier(record: UserRecord) -> object:
    """Return the airline of a flight."""
    return json.loads(record.data)["carrier"]


def draw(batches: list[list[UserRecord]], times: dict[str, tuple[float, float]], files: list[str]) -> None:
    """Draw writes by batch size, and the time that they take."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - who wants no picture does without

    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, key, colour in (
        ("by tailnum (3,800 keys)", tailnum, "#0072b2"),
        ("by carrier (16 keys)", carrier, "#d55e00"),
    ):
        writes = writes_by_size(batches, key)
        left.loglog(list(writes), list(writes.values()), "o-", color=colour, label=name)
    left.set_title("Writes per 1,000 flights", loc="left", fontsize=11, fontweight="bold")
    left.set_xlabel("flights combined at a time")
    left.xaxis.set_major_formatter("{x:,g}")
    left.legend(frameon=False)
    for i, pair in enumerate(times.values()):
        for j, (way, colour) in enumerate((("one write per flight", "#9aa1a9"), ("per aircraft and batch", "#0072b2"))):
            right.bar(i + (j - 0.5) * 0.36, pair[j], 0.34, color=colour, label=None if i else way)
            right.text(i + (j - 0.5) * 0.36, pair[j], f"{pair[j]:,.1f}", ha="center", va="bottom", fontsize=9)
    right.set_yscale("log")
    right.set_ylim(1, 4 * max(map(max, times.values())))
    right.set_xticks(range(len(times)), list(times))
    right.set_title("CPU per flight, µs, JSON read", loc="left", fontsize=11, fontweight="bold")
    right.legend(frameon=False, loc="upper left")
    for axes in (left, right):
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#d9dde2")
        axes.set_axisbelow(True)
    for file in files:
        figure.savefig(file, dpi=144)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=120_000)
    parser.add_argument("--picture", nargs="+", help="files to draw: SVG, PNG", metavar="FILE")
    options = parser.parse_args()
    batches = read_flights(options.records)
    times = compare(batches)
    if options.picture:
        draw(batches, times, options.picture)


if __name__ == "__main__":
    main()
