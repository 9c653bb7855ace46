"""User records in, Kinesis records out: the Aggregator around an intake and a router.

What is accepted is intake.pyx; routing, buckets, sizes and bytes are csrc/router and csrc/bucket.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.stdint cimport UINT32_MAX, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

import os

from .intake cimport Intake, sp_seed, sp_stage
from .keys cimport (
    PREFETCHED, SHORT_WORK, demand_one_for_one, format_hash_key, prefetch_object, sequence_of, sp_hash_key, sp_slice,
)
from .md5 cimport md5_many
from .outputs cimport Outputs
from .shard_table cimport ShardTable, sp_shard_table

from ..errors import abridged
from ..limits import LARGEST_RECORD_BYTES, MAX_RECORD_BYTES, Limits, whole_number
from ..records import KinesisRecord
from ..shards import ShardMap


cdef extern from "router.h" nogil:
    ctypedef struct sp_held_record:
        void *owner
    ctypedef struct sp_bucket:
        sp_held_record *records
        size_t record_count
        uint32_t shard_index
        sp_hash_key first_hash_key
    ctypedef struct sp_bucket_limits:
        size_t max_size
        uint32_t max_records
        sp_seed seed
    ctypedef struct sp_bucket_stack:
        sp_bucket *buckets
        size_t count
    ctypedef struct sp_router:
        sp_bucket *buckets
        sp_bucket_stack full
        size_t full_size
        sp_stage stage
    bint sp_bucket_has_explicit_hash_key(const sp_bucket *bucket)
    sp_slice sp_bucket_first_key(const sp_bucket *bucket)
    bint sp_bucket_is_aggregate(const sp_bucket *bucket)
    size_t sp_bucket_sealed_size(const sp_bucket *bucket)
    bint sp_router_init(
        sp_router *router, const sp_shard_table *shards,
        void (*md5)(const sp_slice *, size_t, uint8_t *) noexcept nogil, sp_bucket_limits limits)
    uint32_t sp_router_route(sp_router *router)
    bint sp_router_detach(sp_router *router)
    void sp_router_seal(const sp_router *router, size_t count, uint8_t **outs)
    void sp_router_recycle(sp_router *router, size_t count)
    void sp_router_free(sp_router *router)


cdef extern from *:
    """
    /* One call at a time, with or without a GIL. */
    static inline int take_flag(int *flag) {
        return !__atomic_exchange_n(flag, 1, __ATOMIC_ACQUIRE);
    }

    static inline void give_flag(int *flag) {
        __atomic_store_n(flag, 0, __ATOMIC_RELEASE);
    }
    """
    bint take_flag(int *flag) noexcept
    void give_flag(int *flag) noexcept


cdef enum:
    # User records that wait before they are hashed and routed together, or bytes of their data: some milliseconds of
    # work, for which the GIL is released once.
    MOST_STAGED = 32_768
    MOST_STAGED_BYTES = 16 << 20
    # Full buckets that gather before they are sealed, or bytes of them: checksums fill the SIMD lanes with 32.
    MOST_FULL = 1_024
    MOST_FULL_BYTES = 32 << 20
    # Nanoseconds, about: to route a user record, and to seal so many bytes.
    ROUTING = 40
    SEALED_BYTES_A_NANOSECOND = 2

cdef sp_seed SEED
cdef bytes entropy = os.urandom(sizeof(SEED))
memcpy(&SEED, PyBytes_AS_STRING(entropy), sizeof(SEED))


cdef void give_owners_back(const sp_bucket *bucket) noexcept:
    cdef size_t i
    for i in range(bucket.record_count):
        if i + PREFETCHED < bucket.record_count:
            prefetch_object(<PyObject *>bucket.records[i + PREFETCHED].owner)
        Py_DECREF(<object>bucket.records[i].owner)


cdef object kinesis_record(const sp_bucket *bucket, bytes data):
    cdef sp_slice key = sp_bucket_first_key(bucket)
    cdef str explicit_hash_key = None
    if sp_bucket_is_aggregate(bucket) or sp_bucket_has_explicit_hash_key(bucket):
        explicit_hash_key = format_hash_key(bucket.first_hash_key)
    return KinesisRecord(
        key.data[:key.size].decode(), explicit_hash_key, data, bucket.shard_index, bucket.record_count,
        PyBytes_GET_SIZE(data) + <Py_ssize_t>key.size)


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

    Raises ``TypeError`` for a shard map or limits that are none, ``ValueError`` for bounds that the limits exclude.
    Format: https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md
    """

    cdef readonly object shard_map
    cdef readonly object limits
    cdef readonly Py_ssize_t max_bytes
    cdef readonly Py_ssize_t max_records
    cdef ShardTable _table
    cdef Intake _intake
    cdef sp_router *_router
    cdef Outputs _outputs
    cdef list _ready
    cdef int _busy  # a call is under way

    def __cinit__(self, shard_map, *, limits=None, max_bytes=None, max_records=None):
        cdef sp_bucket_limits bounds
        cdef Py_ssize_t largest
        if not isinstance(shard_map, ShardMap):
            raise TypeError(
                f"an Aggregator is made for a ShardMap, not {type(shard_map).__name__}: ShardMap(shards), "
                "ShardMap.from_shards(client.list_shards(…)) or transport.list_shards()")
        if not (limits is None or isinstance(limits, Limits)):
            raise TypeError(f"limits are a Limits, not {type(limits).__name__}")
        self.limits = Limits() if limits is None else limits
        largest = bounded("max_record_bytes", self.limits.max_record_bytes, LARGEST_RECORD_BYTES)
        self.shard_map = shard_map
        self._table = <ShardTable?>shard_map._table
        if max_bytes is None:
            max_bytes = min(largest, <Py_ssize_t>MAX_RECORD_BYTES)
        self.max_bytes = bounded("max_bytes", max_bytes, largest)
        self.max_records = UINT32_MAX if max_records is None else bounded("max_records", max_records, UINT32_MAX)
        bounds.max_size, bounds.max_records, bounds.seed = <size_t>self.max_bytes, <uint32_t>self.max_records, SEED
        self._ready = []
        self._outputs = Outputs()
        self._intake = Intake(largest)
        self._router = <sp_router *>calloc(1, sizeof(sp_router))
        if self._router == NULL or not sp_router_init(self._router, &self._table.table, md5_many, bounds):
            raise MemoryError

    def __dealloc__(self):
        cdef size_t i
        if self._router == NULL:
            return
        if self._router.buckets != NULL:
            for i in range(self._table.table.count):
                give_owners_back(&self._router.buckets[i])
        for i in range(self._router.full.count):
            give_owners_back(&self._router.full.buckets[i])
        sp_router_free(self._router)
        free(self._router)

    def __repr__(self):
        return f"<Aggregator for {len(self.shard_map)} shards, of at most {self.max_bytes:,} bytes>"

    def add(self, partition_key, data, explicit_hash_key=None):
        """Take one user record.

        ``partition_key`` is ``str`` or UTF-8 ``bytes``, 1 to 256 characters; ``data`` is ``bytes`` or another
        buffer; ``explicit_hash_key`` is an int, or its decimal form, below 2**128.
        Raises ``InvalidPartitionKeyError``, ``InvalidHashKeyError``, ``RecordTooLargeError`` or ``TypeError``, and then
        the record was not taken.
        """
        self._enter()
        try:
            self._intake.add(partition_key, data, explicit_hash_key)
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
        self._enter()
        try:
            self._intake.add_many(keys, values, explicit)
            self._route_many()
        finally:
            give_flag(&self._busy)

    def take(self):
        """Return the Kinesis records that are full, in the order of their shards' records; they are the caller's."""
        self._enter()
        try:
            self._route()
            self._seal()
            return self._hand_over()
        finally:
            give_flag(&self._busy)

    def flush(self):
        """Return everything taken so far as Kinesis records. The aggregator is empty then, and can go on."""
        self._enter()
        try:
            self._route()
            if not sp_router_detach(self._router):
                raise MemoryError
            self._seal()
            return self._hand_over()
        finally:
            give_flag(&self._busy)

    cdef int _enter(self) except -1:
        """Keep other threads out, and code of the caller's that runs inside a call: methods of odd arguments."""
        if not take_flag(&self._busy):
            raise RuntimeError("an Aggregator serves one thread at a time; give each its own, or use a lock")
        return 0

    cdef list _hand_over(self):
        cdef list ready
        ready, self._ready = self._ready, []
        return ready

    # --- route and seal: long work without the GIL ---

    cdef inline int _route_many(self) except -1:
        """Route once enough wait. They are taken whatever happens here: what memory runs out for waits on."""
        if self._intake.count < MOST_STAGED and self._intake.size < MOST_STAGED_BYTES:
            return 0
        try:
            self._route()
            if self._is_full():
                self._seal()
        except MemoryError:
            pass
        return 0

    cdef bint _is_full(self) noexcept:
        return self._router.full.count >= MOST_FULL or self._router.full_size >= MOST_FULL_BYTES

    cdef int _route(self) except -1:
        """Move every user record that waits to its shard's bucket, and seal full ones on the way where there are many.

        What does not fit in memory stays where it is.
        """
        while self._intake.count:
            if self._is_full():
                self._work(self._router.full.count)
            else:
                self._work(0)
        return 0

    cdef int _seal(self) except -1:
        """Turn the full buckets into Kinesis records, in order."""
        if self._router.full.count:
            self._work(self._router.full.count)
        return 0

    cdef int _work(self, size_t sealing) except -1:
        """Seal so many full buckets and route what waits, until there are many full ones again.

        What is long of it runs in one turn without the GIL.
        """
        cdef list datas = []
        cdef uint8_t **outs = <uint8_t **>malloc((sealing + 1) * sizeof(uint8_t *))
        cdef size_t i, routing, nanoseconds
        cdef bint routed
        if outs == NULL:
            raise MemoryError
        try:
            for i in range(sealing):
                data = self._output(&self._router.full.buckets[i])
                outs[i] = <uint8_t *>PyBytes_AS_STRING(data)
                datas.append(data)
            routing = min(<size_t>self._intake.count, <size_t>self.max_records * MOST_FULL)
            nanoseconds = routing * ROUTING + (self._router.full_size if sealing else 0) // SEALED_BYTES_A_NANOSECOND
            if nanoseconds < SHORT_WORK:
                routed = self._seal_and_route(sealing, outs)
            else:
                with nogil:
                    routed = self._seal_and_route(sealing, outs)
        finally:
            free(outs)
            self._intake.forget_routed()
        self._collect(datas)
        if not routed:
            raise MemoryError
        return 0

    cdef bytes _output(self, const sp_bucket *bucket):
        if sp_bucket_is_aggregate(bucket):
            return self._outputs.take(<Py_ssize_t>sp_bucket_sealed_size(bucket))
        return <bytes>bucket.records[0].owner  # raw: the very bytes

    cdef bint _seal_and_route(self, size_t sealing, uint8_t **outs) noexcept nogil:
        """False when memory ran out."""
        cdef sp_router *router = self._router
        cdef size_t size = 0, i
        cdef uint32_t routed
        sp_router_seal(router, sealing, outs)
        for i in range(sealing):
            size += sp_bucket_sealed_size(&router.full.buckets[i])
        while self._intake.routed < self._intake.count:
            if router.full.count - sealing >= MOST_FULL or router.full_size - size >= MOST_FULL_BYTES:
                break
            self._intake.fill(&router.stage)
            routed = sp_router_route(router)
            self._intake.note_routed(&router.stage, routed)
            if routed < router.stage.count:
                return False
        return True

    cdef int _collect(self, list datas) except -1:
        """Make Kinesis records of the first full buckets, which were sealed into these, and empty them."""
        cdef size_t count = <size_t>len(datas), i
        cdef list records = [kinesis_record(&self._router.full.buckets[i], datas[i]) for i in range(count)]
        if self._ready:
            self._ready += records
        else:  # an empty list that cannot grow would leak them: CPython 3.11's extend
            self._ready = records
        for i in range(count):
            give_owners_back(&self._router.full.buckets[i])
        sp_router_recycle(self._router, count)
        return 0
