"""Rows by key, and what is made of those of one key: the latest, how many, a sum.

Rows come in three forms, and each function takes all of them: ``Columns``, whose partition keys are grouped natively;
anything with the Arrow PyCapsule interface, which pyarrow's compute functions work through; any other iterable, of
user records or of what was made of them. Nothing is kept between calls.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..._native.columns import Columns
from ...errors import abridged

if TYPE_CHECKING:
    import pyarrow as pa

Row = TypeVar("Row")
Rows = TypeVar("Rows", "pa.RecordBatch", "pa.Table")

partition_key_of = attrgetter("partition_key")


@dataclass(frozen=True, slots=True)
class KeyGroups:
    """The rows of columns by partition key; a group for each distinct key, in the order of their first rows.

    Buffers of int32, which ``numpy.asarray`` takes without a copy: 16 bytes a row as long as one of them is kept.
    """

    keys: list[str | None]
    """The key of each group, once; ``None`` for rows that have none."""
    of_rows: memoryview
    """The group of each row, an index into ``keys``."""
    last_rows: memoryview
    """The last row of each group."""
    counts: memoryview
    """How many rows each group has."""


def group_by_key(columns: Columns) -> KeyGroups:
    """Return the rows of columns by partition key. Keys are compared by all their bytes, UTF-8 or not."""
    from ..._native.arrow_rows import group_rows  # noqa: PLC0415 - as the columns themselves: rarely needed

    if not isinstance(columns, Columns):
        raise TypeError(
            f"groups are those of Columns (deaggregate_columns, batch.columns()), not of {abridged(columns)}"
        )
    return KeyGroups(*group_rows(columns))


@overload
def latest(rows: Columns, *, by: Sequence[Any] | None = None) -> list[int]: ...
@overload
def latest(rows: Rows, *, by: str | None = None, key: str | Sequence[str] = "partition_key") -> Rows: ...
@overload
def latest(
    rows: Iterable[Row], *, by: Callable[[Row], Any] | None = None, key: Callable[[Row], Hashable] = partition_key_of
) -> list[Row]: ...
def latest(rows: Any, *, by: Any = None, key: Any = None) -> Any:
    """Return one row for each key: the last one, or the last of those with the greatest ``by``; in their order.

    Of records, ``by`` and ``key`` are functions of one (default key: its partition key), and a list of records is
    returned. Of Arrow batches and tables they are names of columns, and the same form is returned. Of ``Columns`` the
    key is the partition key, ``by`` has a value for each row, and the row numbers are returned. ``None`` and NaN are
    before every other value of ``by``.
    """
    if isinstance(rows, Columns):
        _no_key(key)
        groups = group_by_key(rows)
        return sorted(groups.last_rows if by is None else _greatest(groups.of_rows, _for_all(by, "by", rows)))
    if _is_arrow(rows):
        from .arrow_folding import latest_of_table  # noqa: PLC0415 - pyarrow is the user's

        return latest_of_table(rows, by, key)
    kept = list(rows)
    keys = map(partition_key_of if key is None else key, kept)
    if by is None:
        return [kept[i] for i in sorted({each: i for i, each in enumerate(keys)}.values())]
    return [kept[i] for i in sorted(_greatest(keys, map(by, kept)))]


@overload
def count(rows: Columns) -> dict[str | None, int]: ...
@overload
def count(rows: pa.RecordBatch | pa.Table, *, key: str | Sequence[str] = "partition_key") -> dict[Any, int]: ...
@overload
def count(rows: Iterable[Row], *, key: Callable[[Row], Hashable] = partition_key_of) -> dict[Any, int]: ...
def count(rows: Any, *, key: Any = None) -> dict[Any, int]:
    """Return how many rows each key has, in the order of their first rows. ``rows`` and ``key`` as of `latest`."""
    if isinstance(rows, Columns):
        _no_key(key)
        groups = group_by_key(rows)
        return dict(zip(groups.keys, groups.counts, strict=True))
    if _is_arrow(rows):
        from .arrow_folding import count_of_table  # noqa: PLC0415 - pyarrow is the user's

        return count_of_table(rows, key)
    counts: dict[Any, int] = {}
    for each in map(partition_key_of if key is None else key, rows):
        counts[each] = counts.get(each, 0) + 1
    return counts


@overload
def sum(rows: Columns, values: Sequence[Any]) -> dict[str | None, Any]: ...  # noqa: A001 - read as combine.sum
@overload
def sum(  # noqa: A001
    rows: pa.RecordBatch | pa.Table, values: str, *, key: str | Sequence[str] = "partition_key"
) -> dict[Any, Any]: ...
@overload
def sum(  # noqa: A001
    rows: Iterable[Row], values: Callable[[Row], Any], *, key: Callable[[Row], Hashable] = partition_key_of
) -> dict[Any, Any]: ...
def sum(rows: Any, values: Any, *, key: Any = None) -> dict[Any, Any]:  # noqa: A001
    """Return the sum of a value over the rows of each key, in the order of their first rows.

    ``values`` is given as ``by`` of `latest` is, ``rows`` and ``key`` as there. ``None`` adds nothing. Integers and
    decimals are summed exactly, however large they become; of Arrow up to 38 digits.
    """
    if isinstance(rows, Columns):
        _no_key(key)
        groups = group_by_key(rows)
        totals = _added(groups.of_rows, _for_all(values, "values", rows))
        return {each: totals[group] for group, each in enumerate(groups.keys)}
    if _is_arrow(rows):
        from .arrow_folding import sum_of_table  # noqa: PLC0415 - pyarrow is the user's

        return sum_of_table(rows, values, key)
    kept = list(rows)
    return _added(map(partition_key_of if key is None else key, kept), map(values, kept))


def _greatest(keys: Iterable[Any], values: Iterable[Any]) -> Iterable[int]:
    """Return for each key the last row among those with the greatest value."""
    found: dict[Any, tuple[Any, int]] = {}
    for i, (key, value) in enumerate(zip(keys, values, strict=True)):
        known = found.get(key)
        if value is None or value != value:  # noqa: PLR0124 - NaN
            if known is None or known[0] is None:
                found[key] = None, i
        elif known is None or known[0] is None or value >= known[0]:
            found[key] = value, i
    return (i for _, i in found.values())


def _added(keys: Iterable[Any], values: Iterable[Any]) -> dict[Any, Any]:
    totals: dict[Any, Any] = {}
    for key, value in zip(keys, values, strict=True):
        totals[key] = totals.get(key, 0) + (0 if value is None else value)
    return totals


def _is_arrow(rows: Any) -> bool:
    return hasattr(rows, "__arrow_c_array__") or hasattr(rows, "__arrow_c_stream__")


def _no_key(key: Any) -> None:
    if key is not None:
        raise TypeError("Columns are grouped by partition key; another key takes records, or an Arrow batch with it")


def _for_all(values: Any, name: str, rows: Columns) -> Sequence[Any]:
    if callable(values) or len(values) != len(rows):
        given = "a function" if callable(values) else f"{len(values)} values"
        raise ValueError(f"{name}, of columns, has a value for each of their {len(rows)} rows, not {given}")
    # numpy's own scalars are not Python's: those of an array are taken at once
    found: Sequence[Any] = values.tolist() if hasattr(values, "tolist") else values
    return found
