from collections.abc import Iterable
from typing import Literal, final

from typing_extensions import Buffer

from ..limits import Limits
from ..records import KinesisRecord
from ..shards import ShardMap

@final
class Aggregator:
    """Turn user records into Kinesis records, each for one shard and aggregated in the KPL's format.

    A user record goes to the bucket of its shard; a bucket becomes a Kinesis record when the next user record would
    pass ``max_bytes`` or ``max_records``, or at ``flush``. Sizes are exact and count the outer partition key. A user
    record too large to share travels raw; so does one that is alone in its bucket, unless its data starts with the
    format's magic. User records of one shard leave in the order they came in.

    ``max_bytes`` (default ``limits.max_record_bytes``, but 1 MiB at most: consumers such as Lambda take no larger ones)
    and ``max_records`` (no limit) bound an aggregated record. Up to 32,768 user records or 16 MiB wait by reference (a
    ``bytearray`` or ``memoryview`` is copied at once) to be hashed and routed together, and in their buckets until up
    to 32 MiB of full ones are sealed together. Memory serves again, that of Kinesis records once the caller has dropped
    them: 128 MiB at most are kept, however many user records there were.
    Not to be shared between threads: a call that meets another one at work raises ``RuntimeError``.

    ``compression="zstd"`` makes compressed aggregates, which only shardpack reads, where that is fewer bytes: of
    ``max_bytes`` compressed, and as much before as it learns to fit, up to 16 times that and 64 MiB. What does not fit
    is split, in order. ``compression_level`` is zstd's, 1 (default) to 19. Full buckets then wait until they are 4 MiB;
    17 MiB more of memory are kept, or the largest message, and 80 MiB beside that at level 19.

    Raises ``TypeError`` for a shard map or limits that are none, ``ValueError`` for bounds that the limits exclude and
    for another compression or level, ``ImportError`` with what to install where no library has zstd.
    Format: https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md
    """

    @property
    def shard_map(self) -> ShardMap:
        """The shards that records are routed to."""
    @property
    def limits(self) -> Limits:
        """The stream's limits."""
    @property
    def max_bytes(self) -> int:
        """The most bytes of an aggregated record, its partition key counted."""
    @property
    def max_records(self) -> int:
        """The most user records of an aggregated record."""
    def __new__(
        cls,
        shard_map: ShardMap,
        *,
        limits: Limits | None = None,
        max_bytes: int | None = None,
        max_records: int | None = None,
        compression: Literal["zstd"] | None = None,
        compression_level: int = 1,
    ) -> Aggregator: ...
    def __len__(self) -> int: ...
    def add(self, partition_key: str | bytes, data: Buffer, explicit_hash_key: int | str | None = None) -> None:
        """Take one user record.

        ``partition_key`` is ``str`` or UTF-8 ``bytes``, 1 to 256 characters; ``data`` is ``bytes`` or another
        buffer; ``explicit_hash_key`` is an int, or its decimal form, below 2**128.
        Raises ``InvalidPartitionKeyError``, ``InvalidHashKeyError``, ``RecordTooLargeError`` or ``TypeError``, and then
        the record was not taken.
        """
    def add_many(
        self,
        partition_keys: Iterable[str | bytes],
        datas: Iterable[Buffer],
        explicit_hash_keys: Iterable[int | str | None] | None = None,
    ) -> None:
        """Take n user records: an iterable of each field, equally long. All of them, or none.

        Entries are as for ``add``; ``None`` among ``explicit_hash_keys`` means that the partition key decides.
        Raises what ``add`` raises, with the position of the record at fault, or ``ValueError`` when lengths differ; in
        either case nothing was taken. All are checked before any is routed, which runs with the GIL released; a list
        that other code shortens or lengthens while it is read causes ``RuntimeError``.
        """
    def add_arrow(
        self, batch: object, *, key: str | int | None, data: str | int, explicit_hash_key: str | int | None = None
    ) -> None:
        """Take the rows of an Arrow record batch, table or stream as user records. All of them, or none.

        ``batch`` is anything with ``__arrow_c_array__`` or ``__arrow_c_stream__``: of pyarrow, polars, DuckDB or
        nanoarrow. A stream is read to its end before any row is taken; give what does not fit in memory batch by batch.
        ``key``, ``data`` and ``explicit_hash_key`` are columns, by name or counted from 0. A partition key is a string
        or its UTF-8; data bytes or a string, taken as its UTF-8: of any layout, large, viewed, of a fixed size, or in a
        dictionary. An explicit hash key is an integer or a decimal string. With a null key, or
        ``None`` for the column, a record fills the aggregated record of one shard after the other: its key is ``-``
        then, and its explicit hash key the first one of the shard. A null explicit hash key means that the partition
        key decides.

        No row becomes an object. The column with the data stays where it is until all rows of its chunk are sealed;
        all else is copied, and released at once. Whoever writes to it meanwhile changes what is sealed.
        Raises what ``add`` raises, with the number of the row, counted through all chunks, and its column;
        ``InvalidRecordError`` for null data; ``ValueError`` for a column that is not there, and for arrays that are
        malformed as far as that can be seen: the interface tells no lengths of buffers. ``TypeError`` for columns of
        other types; ``OSError`` for a stream that fails. In all cases nothing was taken.
        """
    def take(self) -> list[KinesisRecord]:
        """Return the Kinesis records that are full, in the order of their shards' records; they are the caller's."""
    def flush(self) -> list[KinesisRecord]:
        """Return everything taken so far as Kinesis records. The aggregator is empty then, and can go on."""
