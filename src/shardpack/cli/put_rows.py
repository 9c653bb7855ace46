"""Rows of a Parquet file into a producer."""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from datetime import date, time, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import Any, Literal
from uuid import UUID

from ..errors import BufferFullError, InvalidRecordError, abridged
from ..producer.producer import Producer
from .ndjson import KeyFields
from .outcome import BadInputError, os_error_text
from .prefix import Position, Prefix
from .put_lines import LONGEST_WAIT_SECONDS
from .source import HEAD_BYTES

MOST_ROWS = 10_000
MOST_BYTES = 8 << 20
"""Of rows that are read at a time, as far as the file tells their size."""

Form = Literal["json", "msgpack"]


class BadRowError(ValueError):
    """A row that can be no user record: its number in its batch, and why."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row, self.reason = row, reason


class ParquetRows:
    """The rows of a Parquet file as user records: columns for their keys and for their data.

    One column of bytes or strings is the data as it is; others, or all where none is named, are an object for each row,
    as are those with a ``form``. Integers may be keys. Raises ``BadInputError`` for files and columns that cannot.
    """

    unit = "row"

    def __init__(self, path: str, fields: KeyFields, data: list[str], form: Form | None) -> None:
        try:
            import pyarrow as pa  # noqa: PLC0415
            import pyarrow.parquet as pq  # noqa: PLC0415
        except ImportError:
            raise BadInputError("--parquet needs pyarrow: pip install pyarrow") from None
        self.name, self._pa = path, pa
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - as the user wrote it
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - HEAD_BYTES))
                self.head = file.read()
                """How the file ends: where all its columns are, and what is known of them."""
            self._file = pq.ParquetFile(path)
        except OSError as error:
            raise BadInputError(f"{path}: {os_error_text(error)}") from None
        except (pa.ArrowException, ValueError) as error:
            raise BadInputError(f"{path}: no Parquet file that can be read: {error}") from None
        self._key, self._default_key, self._explicit = fields.key, fields.default_key, fields.explicit_hash_key
        self._datas = data or list(self._file.schema_arrow.names)
        self._check_columns()
        self._encode_row = self._encoder(form)
        self.size = int(self._file.metadata.num_rows)
        self.position = 0
        """How many rows were read."""

    def close(self) -> None:
        self._file.close()

    def batches(self, first: int) -> Iterator[tuple[int, Any]]:
        """Yield record batches of all rows from that one on, each with the number of its first row."""
        known = self._file.metadata
        groups = [known.row_group(i) for i in range(known.num_row_groups)]
        ends = list(accumulate(group.num_rows for group in groups))
        group = bisect_right(ends, first)
        at = ends[group - 1] if group else 0
        largest = max((each.total_byte_size // max(1, each.num_rows) for each in groups), default=0)
        columns = [name for name in (self._key, self._explicit, *self._datas) if name is not None]
        try:
            for batch in self._file.iter_batches(
                max(1, min(MOST_ROWS, MOST_BYTES // max(1, largest))),
                row_groups=range(group, len(groups)),
                columns=list(dict.fromkeys(columns)),
            ):
                rest = batch.slice(max(0, first - at))
                at += len(batch)
                self.position = at
                if len(rest):
                    yield at - len(rest), rest
        except (self._pa.ArrowException, OSError) as error:
            raise BadInputError(f"{self.name}: behind row {at:,}: {error}") from None

    def user_records(self, batch: Any) -> Any:
        """Return a batch of partition keys, data and explicit hash keys, under their columns' names."""
        columns, names = [], []
        if self._key is not None:
            columns.append(self._keys(batch.column(self._key)))
            names.append(self._key)
        columns.append(self._data(batch))
        names.append(",".join(self._datas))
        if self._explicit is not None:
            columns.append(batch.column(self._explicit))
            names.append(self._explicit)
        return self._pa.record_batch(columns, names)

    @property
    def columns(self) -> dict[str, int | None]:
        """Where they are in that batch, as ``put_arrow`` is told."""
        key = None if self._key is None else 0
        data = 0 if self._key is None else 1
        return {"key": key, "data": data, "explicit_hash_key": None if self._explicit is None else data + 1}

    def _check_columns(self) -> None:
        schema = self._file.schema_arrow
        for name in (self._key, self._explicit, *self._datas):
            if name is not None and schema.names.count(name) != 1:
                there = ", ".join(abridged(each, 40) for each in schema.names)
                raise BadInputError(f"{self.name}: there is not one column {abridged(name, 40)}, but {there}")
        if self._key is not None:
            kind = schema.field(self._key).type
            if not (_is_text(self._pa, kind) or self._pa.types.is_integer(kind)):
                raise BadInputError(f"{self.name}: column {self._key!r} is {kind}, neither strings nor integers")

    def _keys(self, keys: Any) -> Any:
        pa = self._pa
        if self._pa.types.is_integer(keys.type):
            keys = keys.cast(pa.string())
        if keys.null_count and self._default_key is not None:
            if pa.types.is_dictionary(keys.type):
                keys = keys.dictionary_decode()
            keys = keys.fill_null(self._default_key)
        if keys.null_count:
            row = keys.is_null().to_pylist().index(True)
            raise BadRowError(row, f"no value in the column {self._key!r}, and no --default-key given")
        return keys

    def _encoder(self, form: Form | None) -> Callable[[Any], bytes] | None:
        if form is None and len(self._datas) == 1:
            kind = self._file.schema_arrow.field(self._datas[0]).type
            if _is_text(self._pa, kind) or self._pa.types.is_fixed_size_binary(kind):
                return None
        if form != "msgpack":
            return _json_of
        try:
            import msgpack  # noqa: PLC0415
        except ImportError:
            raise BadInputError("--as msgpack needs msgpack: pip install 'shardpack[codec]'") from None

        def pack(row: Any) -> bytes:
            packed: bytes = msgpack.packb(row, default=_plain)
            return packed

        return pack

    def _data(self, batch: Any) -> Any:
        if self._encode_row is None:
            return batch.column(self._datas[0])
        encoded = []
        for number, row in enumerate(batch.select(self._datas).to_pylist()):
            try:
                encoded.append(self._encode_row(row))
            except (TypeError, ValueError, OverflowError) as error:
                raise BadRowError(number, str(error)) from None
        return self._pa.array(encoded, self._pa.large_binary())


class RowPutter:
    """Puts the rows of a file into a producer, and says of what it puts which row it was.

    A bad row ends the reading: all that precedes it is put then. ``on_turn`` is called ten times a second at least,
    whatever is waited for. ``stopping`` ends the reading early.
    """

    def __init__(
        self, producer: Producer, prefix: Prefix, *, on_turn: Callable[[], None], stopping: Callable[[], bool]
    ) -> None:
        self._producer, self._prefix = producer, prefix
        self._on_turn, self._stopping = on_turn, stopping

    def put_rows(self, rows: ParquetRows, begin: Position) -> None:
        """Put every row from there on. Raises ``BadInputError`` for one that cannot be put."""
        for first, batch in rows.batches(begin.line):
            self._on_turn()
            if self._stopping() or not self._put(rows, first, batch):
                return

    def _put(self, rows: ParquetRows, first: int, batch: Any) -> bool:
        """Put a batch, or what of it precedes a bad row. Returns whether it was put before it was to end."""
        try:
            return self._put_at_once(rows.user_records(batch), rows.columns, first)
        except BadRowError as bad:
            if bad.row and not self._put(rows, first, batch.slice(0, bad.row)):
                return False
            raise BadInputError(f"{rows.name}: row {first + bad.row + 1:,}: {bad.reason}") from None

    def _put_at_once(self, records: Any, columns: dict[str, Any], first: int) -> bool:
        while True:
            try:
                self._producer.put_arrow(records, **columns, timeout=LONGEST_WAIT_SECONDS)
            except BufferFullError:
                if self._stopping():
                    return False
                self._on_turn()
                continue
            except InvalidRecordError as error:
                if error.row is None:
                    raise
                raise BadRowError(error.row, str(error).partition(", ")[2]) from None
            numbers = range(first + 1, first + len(records) + 1)
            self._prefix.put(numbers, numbers)
            return True


def _is_text(pa: Any, kind: Any) -> bool:
    """Whether a column holds strings or bytes."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    texts = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
    return str(kind) in texts


def _json_of(row: Any) -> bytes:
    return json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode()


def _plain(value: object) -> object:
    """Return what JSON and msgpack have of a value that they do not know."""
    if isinstance(value, (date, time)):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON: choose columns with --data, or --as msgpack")
