"""The same of Arrow batches and tables, by pyarrow's compute functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ...errors import abridged


def latest_of_table(rows: Any, by: str | None, key: str | Sequence[str] | None) -> Any:
    """Return the rows to keep, in the form they came in, or that pyarrow makes of it."""
    given = _arrow_of(rows)
    order = pc.cumulative_sum(pa.repeat(1, len(given)), start=-1)  # 0, 1, 2, …
    if by is not None:
        [value] = _columns(given, [by])
        if pa.types.is_floating(value.type):
            value = pc.if_else(pc.is_nan(value), pa.scalar(None, value.type), value)
        sorting = {"known": pc.is_valid(value), "value": value, "place": order}
        order = pc.sort_indices(pa.table(sorting), sort_keys=[(name, "ascending") for name in sorting])
    keys = _columns(given, _names(key))
    sorted_keys = keys if by is None else [each.take(order) for each in keys]
    last = _grouped(sorted_keys, order, "last").column("value_last")
    return given.take(last.take(pc.sort_indices(last)).combine_chunks())


def count_of_table(rows: Any, key: str | Sequence[str] | None) -> dict[Any, int]:
    """Return how many rows each key has."""
    given = _arrow_of(rows)
    return _by_key(_grouped(_columns(given, _names(key)), pa.nulls(len(given)), "count", pc.CountOptions(mode="all")))


def sum_of_table(rows: Any, values: str, key: str | Sequence[str] | None) -> dict[Any, Any]:
    """Return the sums by key; integers as decimals of 38 digits, which no sum of a table's exceeds."""
    given = _arrow_of(rows)
    [value] = _columns(given, [values])
    whole = pa.types.is_integer(value.type)
    if whole:
        value = value.cast(pa.decimal128(38, 0))
    sums = _by_key(_grouped(_columns(given, _names(key)), value, "sum"))
    return {each: 0 if total is None else int(total) if whole else total for each, total in sums.items()}


def _arrow_of(rows: Any) -> Any:
    if isinstance(rows, (pa.RecordBatch, pa.Table)):
        return rows
    return pa.record_batch(rows) if hasattr(rows, "__arrow_c_array__") else pa.table(rows)


def _names(key: str | Sequence[str] | None) -> list[str]:
    if key is None:
        return ["partition_key"]
    return [key] if isinstance(key, str) else list(key)


def _columns(given: Any, names: list[str]) -> list[Any]:
    missing = [name for name in names if name not in given.schema.names]
    if missing:
        raise KeyError(f"no column {abridged(missing[0])} among {abridged(given.schema.names)}")
    return [given.column(name) for name in names]


def _grouped(keys: list[Any], value: Any, function: str, options: Any = None) -> Any:
    """Return a table of the keys, in the order of their first rows, and behind them what the function makes of each."""
    names = [f"key {i}" for i in range(len(keys))]
    table = pa.table([*keys, value], [*names, "value"]).unify_dictionaries()
    return table.group_by(names, use_threads=False).aggregate([("value", function, options)])


def _by_key(grouped: Any) -> dict[Any, Any]:
    *keys, values = (column.to_pylist() for column in grouped.columns)
    return dict(zip(keys[0] if len(keys) == 1 else zip(*keys, strict=True), values, strict=True))
