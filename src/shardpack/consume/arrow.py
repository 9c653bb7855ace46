"""User records for Arrow: pyarrow, polars, DuckDB and whatever else reads its PyCapsule interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._native.arrow import UserRecordBatch, batch_of_columns
from .deaggregation import read_columns

if TYPE_CHECKING:
    from .deaggregation import HashRange


def deaggregate_arrow(
    records: Any,
    *,
    hash_range: HashRange | None = None,
    strict: bool = False,
    zero_copy: bool = False,
    shard_id: str | None = None,
) -> UserRecordBatch:
    """Take Kinesis records apart into an Arrow record batch with a row for each user record.

    Takes what ``deaggregate`` takes, and means the same by it: a malformed record comes back whole, and its row's
    ``error`` says why. No Python object is made for a user record, no payload copied a second time, and no Arrow
    library needed: give the result to the one you use. Its columns: see ``UserRecordBatch``.

    With ``zero_copy`` payloads stay where they are: ``data`` is Arrow's binary_view instead of large_binary, and what
    is made of it keeps the data of all these Kinesis records. For readers that know views, as polars, DuckDB and
    pyarrow do; some of pyarrow's functions do not take them yet. A Kinesis record of 2 GiB is an ``OverflowError``.

    An arrival time is what ``UserRecord.approximate_arrival_timestamp`` is: null where nothing tells a time.

    ``shard_id`` is put into the column of that name where a Kinesis record does not tell its shard, as with GetRecords.

    Raises what ``deaggregate`` raises.
    """
    return batch_of_columns(read_columns(records, hash_range, strict, shard_id, viewed=zero_copy))
