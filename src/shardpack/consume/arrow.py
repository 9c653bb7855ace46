"""User records for Arrow: pyarrow, polars, DuckDB and whatever else reads its PyCapsule interface."""

from __future__ import annotations

from typing import Any

from .._arrow import UserRecordBatch, batch_of_columns
from .deaggregate import deaggregate_columns


def deaggregate_arrow(
    records: Any, *, hash_range: tuple[int, int] | None = None, strict: bool = False
) -> UserRecordBatch:
    """Take Kinesis records apart into an Arrow record batch with a row for each user record.

    Takes what ``deaggregate`` takes, and means the same by it: a malformed record comes back whole, and its row's
    ``error`` says why. No Python object is made for a user record, no payload copied a second time, and no Arrow
    library needed: give the result to the one you use. Its columns: see ``UserRecordBatch``.

    Raises what ``deaggregate`` raises; ``TypeError`` for an arrival time that is not a ``datetime``.
    """
    return batch_of_columns(deaggregate_columns(records, hash_range=hash_range, strict=strict))
