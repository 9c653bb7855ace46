"""Columns of some rows, against those of all."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardpack import Aggregator, ShardMap, UserRecord, deaggregate, deaggregate_arrow, deaggregate_columns
from shardpack._native.arrow import batch_of_columns

pytestmark = pytest.mark.native


def kinesis_records():
    """Four: two aggregated records with a raw one between, and one without data behind."""
    records = []
    for number, sizes in enumerate(([3, 0, 5, 20], None, [7], [1, 1, 1])):
        if sizes is None:
            data = b"raw"
        else:
            aggregator = Aggregator(ShardMap.uniform(1))
            aggregator.add_many(
                [f"key-{i % 2}" for i in range(len(sizes))],
                [bytes([65 + i]) * size for i, size in enumerate(sizes)],
                [None if i % 2 else i for i in range(len(sizes))],
            )
            data = bytes(aggregator.flush()[0].data)
        records.append({"Data": data, "PartitionKey": "key-0", "SequenceNumber": str(number)})
    return [*records, {"Data": b"", "PartitionKey": "é", "SequenceNumber": "9"}]


RECORDS = kinesis_records()
ROWS = deaggregate(RECORDS)


def as_rows(columns) -> list[tuple[object, ...]]:
    data, offsets = bytes(columns.data), list(columns.offsets)
    explicit = [None if i < 0 else columns.explicit_hash_keys[i] for i in columns.explicit_hash_key_indices]
    return [
        (
            data[offsets[row] : offsets[row + 1]],
            columns.partition_keys[columns.partition_key_indices[row]],
            explicit[row],
            columns.sub_sequence_numbers[row],
            columns.sequence_numbers[columns.parents[row]],
            columns.aggregated[columns.parents[row]],
        )
        for row in range(len(columns))
    ]


def expected(rows: list[UserRecord]) -> list[tuple[object, ...]]:
    return [
        (
            row.data,
            row.partition_key,
            row.explicit_hash_key,
            row.sub_sequence_number,
            row.sequence_number,
            row.aggregated,
        )
        for row in rows
    ]


SLICES = [slice(a, b) for a in (None, *range(-11, 12)) for b in (None, *range(-11, 12))]


@pytest.mark.parametrize("rows", SLICES, ids=str)
def test_columns_of_some_rows(rows):
    part = deaggregate_columns(RECORDS)[rows]  # the whole is gone
    assert len(part) == len(ROWS[rows])
    assert as_rows(part) == expected(ROWS[rows])
    assert np.asarray(part.offsets).dtype == np.int64
    assert len(part.offsets) == len(part) + 1


@given(st.slices(9).filter(lambda rows: rows.step in (None, 1)), st.slices(9), st.booleans())
@settings(max_examples=300)
def test_arrow_of_some_rows_of_some(first, second, zero_copy):
    second = slice(second.start, second.stop)
    whole = deaggregate_arrow(RECORDS, zero_copy=zero_copy)
    part = pa.record_batch(batch_of_columns(whole.columns[first][second]))
    part.validate(full=True)
    assert part.to_pylist() == pa.record_batch(whole).to_pylist()[first][second]


def test_what_they_are_not():
    columns = deaggregate_columns(RECORDS)
    with pytest.raises(TypeError, match=r"columns\[a:b\]"):
        columns[1]
    with pytest.raises(ValueError, match="without a step of 2"):
        columns[::2]
    with pytest.raises(ValueError, match="without a step of -1"):
        columns[::-1]
    assert columns[2:].left_out == columns.left_out == 0
    assert len(deaggregate_columns([])[3:]) == 0
