from datetime import datetime
from typing import Any, SupportsIndex, final

from ..errors import MalformedRecordError
from .deaggregate import ReceivedRecord

@final
class Columns:
    """The user records of some Kinesis records, a column for each field; row i of each is user record i.

    Read-only buffers, which ``numpy.asarray`` takes without a copy: ``data`` (uint8), all payloads behind one another,
    row i from ``offsets[i]`` to ``offsets[i + 1]`` (int64, n + 1); ``partition_key_indices`` into ``partition_keys``,
    and ``explicit_hash_key_indices`` into ``explicit_hash_keys`` (int32; -1 for none); ``sub_sequence_numbers``
    (int32); ``parents`` (int32): the Kinesis record of row i, an index into the lists ``sequence_numbers``,
    ``approximate_arrival_timestamps``, ``shard_ids``, ``sources``, ``aggregated`` and ``errors``, with an entry for
    each.

    The key lists hold the tables of the Kinesis records behind one another: a key that several have is there several
    times. ``left_out`` counts the user records that ``hash_range`` kept back. ``columns[a:b]`` are those of some rows:
    ``offsets`` may begin anywhere in ``data`` then.
    """

    @property
    def data(self) -> memoryview:
        """All payloads behind one another: uint8. Row i is from ``offsets[i]`` to ``offsets[i + 1]``."""
    @property
    def offsets(self) -> memoryview:
        """Where each row's payload begins in ``data``: int64, n + 1."""
    @property
    def partition_key_indices(self) -> memoryview:
        """The partition key of row i, an index into ``partition_keys``: int32; -1 for none."""
    @property
    def explicit_hash_key_indices(self) -> memoryview:
        """The explicit hash key of row i, an index into ``explicit_hash_keys``: int32; -1 for none."""
    @property
    def sub_sequence_numbers(self) -> memoryview:
        """The place of row i in its Kinesis record, from 0: int32."""
    @property
    def parents(self) -> memoryview:
        """The Kinesis record of row i, an index into the lists that have an entry for each: int32."""
    @property
    def left_out(self) -> int:
        """How many user records ``hash_range`` kept back."""
    @property
    def partition_keys(self) -> list[str]:
        """The partition keys that ``partition_key_indices`` points into; one of several Kinesis records is there
        several times.
        """
    @property
    def explicit_hash_keys(self) -> list[str]:
        """The explicit hash keys that ``explicit_hash_key_indices`` points into."""
    @property
    def sequence_numbers(self) -> list[str | None]:
        """The sequence number of each Kinesis record, ``None`` where its source has none."""
    @property
    def approximate_arrival_timestamps(self) -> list[datetime | None]:
        """When each Kinesis record arrived: aware ``datetime`` or ``None``."""
    @property
    def shard_ids(self) -> list[str | None]:
        """The shard of each Kinesis record, where its source tells; else ``None``."""
    @property
    def sources(self) -> list[Any]:
        """Each Kinesis record, as it was given."""
    @property
    def aggregated(self) -> list[bool]:
        """Whether each Kinesis record was taken apart."""
    @property
    def errors(self) -> list[MalformedRecordError | None]:
        """Why each Kinesis record came back whole; ``None`` for those that did not."""
    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice[SupportsIndex | None, SupportsIndex | None, SupportsIndex | None], /) -> Columns:
        """Return the columns of these rows; they share the buffers, and what there is of each Kinesis record."""

def columns_of_received(
    received: list[ReceivedRecord], hash_range: tuple[int, int] | None, strict: bool, viewed: bool = False
) -> Columns: ...
