"""User records in, Kinesis records out: the Aggregator around an intake and a router."""

cimport cython
from libc.stdint cimport UINT32_MAX

from .arrow_in cimport ArrowRows
from .intake cimport Intake
from .keys cimport demand_one_for_one, sequence_of
from .router cimport Router
from .shard_table cimport ShardTable

from ..errors import abridged
from ..limits import LARGEST_RECORD_BYTES, MAX_RECORD_BYTES, Limits, whole_number
from ..shards import ShardMap


cdef extern from *:
    """
    #include "compiler.h"

    /* One call at a time, with or without a GIL. */
    static inline int take_flag(int *flag) {
        return !SP_EXCHANGE_ACQUIRE(flag, 1);
    }

    static inline void give_flag(int *flag) {
        SP_STORE_RELEASE(flag, 0);
    }
    """
    bint take_flag(int *flag) noexcept
    void give_flag(int *flag) noexcept


cdef enum:
    # User records that wait before they are hashed and routed together, or bytes of their data: some milliseconds of
    # work, for which the GIL is released once.
    MOST_STAGED = 32_768
    MOST_STAGED_BYTES = 16 << 20


cdef Py_ssize_t bounded(str name, given, Py_ssize_t largest) except -1:
    """A bound that a caller gave, read once: a subclass of int may say what it likes."""
    cdef Py_ssize_t value = 0
    try:
        value = whole_number(name, given)
    except OverflowError:
        pass
    if not 1 <= value <= largest:
        shown = f"{value:,}" if value else abridged(given)
        raise ValueError(f"{name} of {shown} is not between 1 and {largest:,}")
    return value


@cython.final
@cython.no_gc_clear  # what it holds is read in C to the end
cdef class Aggregator:
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

    cdef readonly object shard_map
    cdef readonly object limits
    cdef readonly Py_ssize_t max_bytes
    cdef readonly Py_ssize_t max_records
    cdef object _sealer  # of compressed aggregates, or None
    cdef list _buckets  # that are full, and to be compressed
    cdef list _compressed  # Kinesis records
    cdef Intake _intake
    cdef Router _router
    cdef Py_ssize_t _held  # user records that were taken, and not returned
    cdef int _busy  # a call is under way

    def __cinit__(
        self, shard_map=None, *, limits=None, max_bytes=None, max_records=None, compression=None, compression_level=1
    ):
        cdef Py_ssize_t largest
        if not isinstance(shard_map, ShardMap):
            given = "" if shard_map is None else f", not {type(shard_map).__name__}"
            raise TypeError(
                f"an Aggregator is made for a ShardMap{given}: ShardMap.from_shards(client.list_shards(…)), "
                "Boto3Transport(client, stream).list_shards(), or ShardMap.uniform(4) of a new stream")
        if not (limits is None or isinstance(limits, Limits)):
            raise TypeError(f"limits are a Limits, not {type(limits).__name__}")
        self.limits = Limits() if limits is None else limits
        largest = bounded("max_record_bytes", self.limits.max_record_bytes, LARGEST_RECORD_BYTES)
        self.shard_map = shard_map
        table = <ShardTable?>shard_map._table
        if max_bytes is None:
            max_bytes = min(largest, <Py_ssize_t>MAX_RECORD_BYTES)
        self.max_bytes = bounded("max_bytes", max_bytes, largest)
        self.max_records = UINT32_MAX if max_records is None else bounded("max_records", max_records, UINT32_MAX)
        self._intake = Intake(largest)
        self._router = Router(table, self.max_bytes, self.max_records)
        self._buckets, self._compressed = [], []
        if compression is not None:
            from ..codec.sealing import AT_ONCE, sealer_of
            self._sealer = sealer_of(compression, self.max_bytes, compression_level)
            self._router.most_full_bytes = AT_ONCE

    def __repr__(self):
        return (
            f"<Aggregator for {len(self.shard_map)} shards, of at most {self.max_bytes:,} bytes, "
            f"with {self._held:,} user records>")

    def __len__(self):
        """How many user records were taken that no Kinesis record was returned of yet."""
        return self._held

    def add(self, partition_key, data, explicit_hash_key=None):
        """Take one user record.

        ``partition_key`` is ``str`` or UTF-8 ``bytes``, 1 to 256 characters; ``data`` is ``bytes`` or another
        buffer; ``explicit_hash_key`` is an int, or its decimal form, below 2**128.
        Raises ``InvalidPartitionKeyError``, ``InvalidHashKeyError``, ``RecordTooLargeError`` or ``TypeError``, and then
        the record was not taken.
        """
        cdef Py_ssize_t before
        self._enter()
        try:
            before = self._intake.count
            self._intake.add(partition_key, data, explicit_hash_key)
            self._held += self._intake.count - before
            self._route_many()
        finally:
            give_flag(&self._busy)

    def add_many(self, partition_keys, datas, explicit_hash_keys=None):
        """Take n user records: an iterable of each field, equally long. All of them, or none.

        Entries are as for ``add``; ``None`` among ``explicit_hash_keys`` means that the partition key decides.
        Raises what ``add`` raises, with the position of the record at fault, or ``ValueError`` when lengths differ; in
        either case nothing was taken. All are checked before any is routed, which runs with the GIL released; a list
        that other code shortens or lengthens while it is read causes ``RuntimeError``.
        """
        cdef object keys = sequence_of(partition_keys, "partition keys", "str or bytes")
        cdef object values = sequence_of(datas, "datas", "bytes")
        cdef object explicit = None
        demand_one_for_one(keys, values, "partition keys and datas")
        if explicit_hash_keys is not None:
            explicit = sequence_of(explicit_hash_keys, "explicit hash keys", "int, str or None")
            demand_one_for_one(keys, explicit, "partition keys and explicit hash keys")
        cdef Py_ssize_t before
        self._enter()
        try:
            before = self._intake.count
            self._intake.add_many(keys, values, explicit)
            self._held += self._intake.count - before
            self._route_many()
        finally:
            give_flag(&self._busy)

    def add_arrow(self, batch, *, key, data, explicit_hash_key=None):
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
        cdef ArrowRows rows = ArrowRows(batch, key, data, explicit_hash_key)
        cdef Py_ssize_t before
        self._enter()
        try:
            before = self._intake.count
            rows.take(self._intake)
            self._held += self._intake.count - before
            self._route_many()
        finally:
            give_flag(&self._busy)

    def take(self):
        """Return the Kinesis records that are full, in the order of their shards' records; they are the caller's."""
        self._enter()
        try:
            self._route()
            self._seal()
            return self._give()
        finally:
            give_flag(&self._busy)

    def flush(self):
        """Return everything taken so far as Kinesis records. The aggregator is empty then, and can go on."""
        self._enter()
        try:
            self._route()
            self._router.detach()
            self._seal()
            return self._give()
        finally:
            give_flag(&self._busy)

    cdef list _give(self):
        cdef list ready
        if self._sealer is None:
            ready = self._router.take_ready()
        else:
            ready, self._compressed = self._compressed, []
        for record in ready:
            self._held -= record.user_record_count
        return ready

    cdef int _route(self) except -1:
        """Move every user record that waits to its shard's bucket, and seal full ones on the way where there are many.

        What does not fit in memory stays where it is.
        """
        if self._sealer is None:
            return self._router.route(self._intake)
        while self._intake.count:
            if self._router.is_full():
                self._seal()
            self._router.fill(self._intake, self._sealer.bucket_bytes)
        return 0

    cdef int _seal(self) except -1:
        """Turn the full buckets into Kinesis records, in order."""
        cdef list compressed
        if self._sealer is None:
            return self._router.seal()
        while self._buckets or self._router.c.full.count:
            if not self._buckets:
                self._buckets = self._router.hand_over()
            compressed = self._compressed + self._sealer.records(self._buckets)
            self._buckets, self._compressed = [], compressed
        return 0

    cdef int _enter(self) except -1:
        """Keep other threads out, and code of the caller's that runs inside a call: methods of odd arguments."""
        if not take_flag(&self._busy):
            raise RuntimeError("an Aggregator serves one thread at a time; give each its own, or use a lock")
        return 0

    cdef inline int _route_many(self) except -1:
        """Route once enough wait. They are taken whatever happens here: what memory runs out for waits on."""
        if self._intake.count < MOST_STAGED and self._intake.size < MOST_STAGED_BYTES:
            return 0
        try:
            self._route()
            if self._router.is_full():
                self._seal()
        except MemoryError:
            pass
        return 0
