"""User records out of a Spark DataFrame of Kinesis records, batch or streaming: on executors, Arrow to Arrow.

Needs pyspark and pyarrow, which Spark's executors have, and shardpack installed on the executors too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from .._native.arrow import batch_of_columns
from .._native.columns import columns_of_received
from .._native.deaggregate import ReceivedRecord
from ..codec.compressed import MAGIC as COMPRESSED_MAGIC
from ..codec.compressed import unpacked_size
from .shapes import Origin

__all__ = ["deaggregate", "deaggregate_batch"]

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

MAX_INPUT_BYTES = 32 << 20
"""Data of Kinesis records, unpacked, that becomes one Arrow batch: Spark counts rows, and 10,000 can be 10 GB."""


MAGIC = b"\xf3\x89\x9a\xc2"
"""What an aggregated record starts with."""


class Names(NamedTuple):
    """What the columns are called."""

    data: str
    partition_key: str
    explicit_hash_key: str
    sub_sequence_number: str
    error: str

    @property
    def added(self) -> tuple[str, str, str]:
        return self.explicit_hash_key, self.sub_sequence_number, self.error


def deaggregate(
    df: DataFrame,
    *,
    data: str = "data",
    partition_key: str = "partitionKey",
    explicit_hash_key: str = "explicitHashKey",
    sub_sequence_number: str = "subSequenceNumber",
    error: str = "error",
    strict: bool = False,
) -> DataFrame:
    """Take the Kinesis records of a DataFrame apart: a row for each user record.

    ``df`` has a row for each Kinesis record, its blob in the binary column ``data``; batch or streaming. In the result
    ``data`` and ``partition_key`` are the user record's (the latter is added where ``df`` has no such column, and then
    null for raw records). ``explicit_hash_key`` (string, nullable), ``sub_sequence_number`` (int, from 0) and ``error``
    (string: why a malformed aggregated record came whole, else null) are new columns under these names; all others are
    repeated for each user record. Raw records, and rows whose data is null, stay as they are; so nothing changes where
    a connector has taken records apart already. Order within a partition is kept. Keys that are not UTF-8 are escaped
    as in ``deaggregate_arrow``.

    ``strict`` fails the task with ``MalformedRecordError`` instead of setting ``error``. Raises ``ValueError`` for a
    column that is missing or in the way, ``TypeError`` for data that is not binary or keys that are no text. Executors
    need shardpack installed.
    """
    from pyspark.sql.types import BinaryType, IntegerType, StringType, StructField, StructType  # noqa: PLC0415

    names = Names(data, partition_key, explicit_hash_key, sub_sequence_number, error)
    if len(set(names)) < len(names):
        raise ValueError(f"columns need different names, not {', '.join(names)}")
    if data not in df.columns:
        raise ValueError(f"no column {data!r} among {', '.join(df.columns)}")
    if not isinstance(df.schema[data].dataType, BinaryType):
        raise TypeError(f"column {data!r} is binary, not {df.schema[data].dataType.simpleString()}")
    there = {name.lower(): name for name in df.columns}  # all that Spark tells columns apart by
    key_column = there.get(partition_key.lower(), partition_key)
    if key_column != partition_key:
        raise ValueError(
            f"column {key_column!r} and {partition_key!r} are one to Spark: say partition_key={key_column!r}"
        )
    if partition_key in df.columns and not isinstance(df.schema[partition_key].dataType, StringType):
        found = df.schema[partition_key].dataType.simpleString()
        raise TypeError(f"column {partition_key!r} is string, not {found}")
    if in_the_way := [there[name.lower()] for name in names.added if name.lower() in there]:
        raise ValueError(f"column {in_the_way[0]!r} is there already: give the new one another name")
    key_field = StructField(partition_key, StringType())
    fields = [key_field if field.name == partition_key else field for field in df.schema.fields]
    if partition_key not in df.columns:
        fields.append(key_field)
    fields += [
        StructField(explicit_hash_key, StringType()),
        StructField(sub_sequence_number, IntegerType(), nullable=False),
        StructField(error, StringType()),
    ]

    def take_apart(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield from deaggregate_batch(batch, names, strict)

    return df.mapInArrow(take_apart, StructType(fields))


def deaggregate_batch(batch: pa.RecordBatch, names: Names, strict: bool) -> Iterator[pa.RecordBatch]:
    """Yield the user records of a batch of Kinesis records, those of some 32 MiB of data at a time."""
    import pyarrow.compute as pc  # noqa: PLC0415

    blobs = batch.column(names.data)
    some_compressed = pc.any(pc.starts_with(blobs, pattern=COMPRESSED_MAGIC)).as_py()
    if not some_compressed and not pc.any(pc.starts_with(blobs, pattern=MAGIC)).as_py():
        yield _arranged(batch, _of_raw_records(batch, names), batch)
        return
    start = 0
    offsets, content = _buffers(blobs)
    views = [content[offsets[i] : offsets[i + 1]] for i in range(batch.num_rows)]
    ends = list(accumulate(map(unpacked_size, views), initial=0)) if some_compressed else offsets
    while start < batch.num_rows:
        stop = max(bisect_right(ends, ends[start] + MAX_INPUT_BYTES) - 1, start + 1)
        yield _user_records(batch.slice(start, stop - start), views[start:stop], names, strict)
        start = stop


def _of_raw_records(batch: pa.RecordBatch, names: Names) -> dict[str, Any]:
    """Make the columns of records none of which is aggregated: as they are, without a look at each."""
    import pyarrow as pa  # noqa: PLC0415

    n, text = batch.num_rows, _text_type(batch, names)
    nothing = pa.nulls(n, text)
    outer_keys = batch.column(names.partition_key) if names.partition_key in batch.schema.names else nothing
    numbers = pa.repeat(pa.scalar(0, pa.int32()), n)
    return dict(zip(names, (batch.column(names.data), outer_keys, nothing, numbers, nothing), strict=True))


def _text_type(batch: pa.RecordBatch, names: Names) -> pa.DataType:
    """Return Spark's type for text: of 64 bits where that for data is."""
    import pyarrow as pa  # noqa: PLC0415

    return pa.large_string() if pa.types.is_large_binary(batch.schema.field(names.data).type) else pa.string()


def _arranged(given: pa.RecordBatch, made: dict[str, Any], repeated: pa.RecordBatch) -> pa.RecordBatch:
    """Put made columns in the place of those that were given, new ones behind all, and the others as they repeat."""
    import pyarrow as pa  # noqa: PLC0415

    order = [*given.schema.names, *(name for name in made if name not in given.schema.names)]
    return pa.RecordBatch.from_arrays([made[name] if name in made else repeated.column(name) for name in order], order)


def _buffers(blobs: pa.Array) -> tuple[memoryview, memoryview]:
    """Return where each value of a binary array starts, one more for the end, and the bytes of all."""
    import pyarrow as pa  # noqa: PLC0415

    _, offsets, content = blobs.buffers()
    starts = memoryview(offsets if offsets is not None else bytes(8)).cast("B")
    starts = starts.cast("q") if pa.types.is_large_binary(blobs.type) else starts.cast("i")
    return starts[blobs.offset : blobs.offset + len(blobs) + 1], memoryview(content if content is not None else b"")


def _user_records(batch: pa.RecordBatch, blobs: list[memoryview], names: Names, strict: bool) -> pa.RecordBatch:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    has_keys = names.partition_key in batch.schema.names
    outer_keys = batch.column(names.partition_key).to_pylist() if has_keys else [None] * len(blobs)

    def origin(row: int) -> Origin:
        return Origin(outer_keys[row])

    received = [ReceivedRecord(blob, origin, row) for row, blob in enumerate(blobs)]
    columns = columns_of_received(received, None, strict)
    found = pa.record_batch(batch_of_columns(columns))
    parents = pa.Array.from_buffers(pa.int32(), len(columns), [None, pa.py_buffer(columns.parents)])
    text_type = _text_type(batch, names)

    def text(name: str) -> pa.Array:
        column = found.column(name)
        return column.dictionary.cast(text_type).take(column.indices)

    blob_type = batch.schema.field(names.data).type
    data = found.column("data").cast(blob_type)
    if batch.column(names.data).null_count:
        data = pc.if_else(batch.column(names.data).is_valid().take(parents), data, pa.scalar(None, blob_type))
    numbers = found.column("sub_sequence_number")
    made = zip(names, (data, text("partition_key"), text("explicit_hash_key"), numbers, text("error")), strict=True)
    others = [name for name in batch.schema.names if name not in names]
    repeated = pa.RecordBatch.from_arrays([batch.column(name).take(parents) for name in others], others)
    return _arranged(batch, dict(made), repeated)
