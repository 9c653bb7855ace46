from typing import final

from .columns import Columns

@final
class UserRecordBatch:
    r"""The user records of some Kinesis records as an Arrow record batch, for whatever reads the PyCapsule interface.

    ``pyarrow.record_batch(batch)``, ``pyarrow.table(batch)``, ``polars.DataFrame(batch)``, and DuckDB by name in SQL.
    A row for each user record:

    - ``partition_key``, ``explicit_hash_key``: dictionary<int32, large_utf8>, nullable. Bytes that are not UTF-8 are
      escaped, ``\xff`` for each, as Python's ``backslashreplace`` does.
    - ``data``: large_binary; with ``zero_copy`` binary_view.
    - ``sequence_number``, ``shard_id``: dictionary<int32, large_utf8>, null where the shape does not carry them.
    - ``sub_sequence_number``: int32.
    - ``approximate_arrival_timestamp``: timestamp[us, UTC], nullable.
    - ``aggregated``: bool. ``error``: dictionary<int32, large_utf8>: why a malformed aggregated record came whole, or
      null.

    The values of a dictionary are distinct. ``columns`` are the ``Columns`` that this was made of; ``left_out`` counts
    the user records that ``hash_range`` kept back. Read-only, thread-safe, exported as often as you like; what was
    exported outlives this object.
    """

    @property
    def columns(self) -> Columns:
        """The columns that the batch was made of."""
    @property
    def left_out(self) -> int:
        """How many user records ``hash_range`` kept back."""
    def __len__(self) -> int: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

def batch_of_columns(columns: Columns) -> UserRecordBatch: ...
