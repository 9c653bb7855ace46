"""User records to the buckets of their shards, and buckets to Kinesis records, with or without the GIL."""

cimport cython
from cpython cimport array
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport UINT32_MAX, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

import os
import array

from .arrow_in cimport ArrowChunk
from .intake cimport is_bytes
from .keys cimport (
    NO_POSITION, PREFETCHED, SHORT_WORK, format_hash_key, prefetch_object, read_explicit_hash_key, sp_hash_key,
    sp_slice,
)
from .md5 cimport md5_many
from .outputs cimport Outputs
from .shard_table cimport ShardTable

from ..records import KinesisRecord


cdef extern from "router.h" nogil:
    bint sp_bucket_has_explicit_hash_key(const sp_bucket *bucket)
    sp_slice sp_bucket_first_key(const sp_bucket *bucket)
    sp_slice sp_bucket_partition_key(const sp_bucket *bucket, size_t i)
    bint sp_bucket_explicit_hash_key(const sp_bucket *bucket, size_t i, sp_hash_key *hash_key)
    bint sp_bucket_is_aggregate(const sp_bucket *bucket)
    size_t sp_bucket_sealed_size(const sp_bucket *bucket)
    sp_bucket sp_bucket_make(uint32_t shard_index)
    void sp_bucket_free(sp_bucket *bucket)
    bint sp_router_init(
        sp_router *router, const sp_shard_table *shards,
        void (*md5)(const sp_slice *, size_t, uint8_t *) noexcept nogil, sp_bucket_limits limits)
    uint32_t sp_router_route(sp_router *router)
    bint sp_router_place(sp_router *router, const sp_hash_key *places, size_t count)
    bint sp_router_detach(sp_router *router)
    bint sp_router_detach_one(sp_router *router, uint32_t shard)
    bint sp_router_reroute(sp_router *router, const sp_bucket *bucket, size_t *done)
    bint sp_router_lie_in(sp_router *router, const sp_bucket *bucket, sp_hash_key first, sp_hash_key last)
    void sp_router_seal(const sp_router *router, size_t count, uint8_t **outs)
    sp_slice sp_bucket_seal(const sp_bucket *bucket, uint8_t *out)
    void sp_seal_many(
        void (*md5)(const sp_slice *, size_t, uint8_t *) noexcept nogil, const sp_bucket **buckets, size_t count,
        uint8_t **outs)
    void sp_router_forget(sp_router *router, size_t count)
    void sp_router_recycle(sp_router *router, size_t count)
    void sp_router_free(sp_router *router)


cdef enum:
    # Full buckets that gather before they are sealed, or bytes of them: checksums fill the SIMD lanes with 32.
    MOST_FULL = 1_024
    MOST_FULL_BYTES = 32 << 20
    # Nanoseconds, about: to route a user record, and to seal so many bytes.
    ROUTING = 40
    SEALED_BYTES_A_NANOSECOND = 2

cdef array.array NO_TOKENS = array.array("Q")
cdef ShardTable ONE_SHARD = ShardTable([0])
cdef sp_seed SEED
cdef bytes entropy = os.urandom(sizeof(SEED))
memcpy(&SEED, PyBytes_AS_STRING(entropy), sizeof(SEED))


cdef void give_owners_back(const sp_bucket *bucket) noexcept:
    cdef size_t i
    for i in range(bucket.record_count):
        if i + PREFETCHED < bucket.record_count:
            prefetch_object(<PyObject *>bucket.records[i + PREFETCHED].owner)
        Py_DECREF(<object>bucket.records[i].owner)


cdef bytes data_of(const sp_held_record *record):
    """The data of a user record: the bytes object that was put, or a copy of what lies in an array of Arrow's."""
    if is_bytes(record.data, record.owner):
        return <bytes>record.owner
    return PyBytes_FromStringAndSize(<const char *>record.data, <Py_ssize_t>record.size)


cdef object kinesis_record(const sp_bucket *bucket, bytes data, bint compressed=False):
    cdef sp_slice key = sp_bucket_first_key(bucket)
    cdef str explicit_hash_key = None
    if compressed or sp_bucket_is_aggregate(bucket) or sp_bucket_has_explicit_hash_key(bucket):
        explicit_hash_key = format_hash_key(bucket.first_hash_key)
    return KinesisRecord(
        key.data[:key.size].decode(), explicit_hash_key, data, bucket.shard_index, bucket.record_count,
        PyBytes_GET_SIZE(data) + <Py_ssize_t>key.size)


@cython.final
@cython.no_gc_clear  # what it holds is read in C to the end
cdef class Router:
    """The buckets of the shards of a table, and the full ones. It keeps 48 MiB of emptied buckets at most."""

    def __cinit__(self, ShardTable table not None, Py_ssize_t max_bytes, Py_ssize_t max_records):
        cdef sp_bucket_limits bounds
        bounds.max_size, bounds.max_records, bounds.seed = <size_t>max_bytes, <uint32_t>max_records, SEED
        self.table, self.max_records, self.outputs, self.ready = table, max_records, Outputs(), []
        self.most_full_bytes = MOST_FULL_BYTES
        self.c = <sp_router *>calloc(1, sizeof(sp_router))
        if self.c == NULL or not sp_router_init(self.c, &table.table, md5_many, bounds):
            raise MemoryError

    def __dealloc__(self):
        cdef size_t i
        if self.c == NULL:
            return
        if self.c.buckets != NULL:
            for i in range(self.table.table.count):
                give_owners_back(&self.c.buckets[i])
        for i in range(self.c.full.count):
            give_owners_back(&self.c.full.buckets[i])
        sp_router_free(self.c)
        free(self.c)

    cdef int route(self, Intake intake) except -1:
        """Move every user record that waits to its shard's bucket, and seal full ones on the way where there are many.

        What does not fit in memory stays where it is.
        """
        self.place_keyless(intake)
        while intake.count:
            self.work(intake, self.c.full.count if self.is_full() else 0)
        return 0

    cdef int place_keyless(self, Intake intake) except -1:
        """Let keyless user records go to one shard after the other, unless it was said where they go."""
        if intake.keyless and self.c.place_count == 0:
            if not sp_router_place(self.c, self.table.starts, self.table.table.count):
                raise MemoryError
        return 0

    cdef bint is_full(self) noexcept:
        return self.c.full.count >= MOST_FULL or self.c.full_size >= self.most_full_bytes

    cdef int detach(self) except -1:
        """Queue up what buckets hold as full, in the order of their shards."""
        if not sp_router_detach(self.c):
            raise MemoryError
        return 0

    cdef list take_ready(self):
        """Return the Kinesis records that were sealed."""
        ready, self.ready = self.ready, []
        return ready

    cdef int seal(self) except -1:
        """Turn the full buckets into Kinesis records, in order."""
        if self.c.full.count:
            self.work(None, self.c.full.count)
        return 0

    cdef int work(self, Intake intake, size_t sealing) except -1:
        """Seal so many full buckets and route what waits, until there are many full ones again.

        What is long of it runs in one turn without the GIL.
        """
        cdef list datas = []
        cdef uint8_t **outs = <uint8_t **>malloc((sealing + 1) * sizeof(uint8_t *))
        cdef size_t i, routing = 0, nanoseconds
        cdef bint routed
        if outs == NULL:
            raise MemoryError
        try:
            for i in range(sealing):
                data = self.output(&self.c.full.buckets[i])
                outs[i] = <uint8_t *>PyBytes_AS_STRING(data)
                datas.append(data)
            if intake is not None:
                routing = min(<size_t>intake.count, <size_t>self.max_records * MOST_FULL)
            nanoseconds = routing * ROUTING + (self.c.full_size if sealing else 0) // SEALED_BYTES_A_NANOSECOND
            if nanoseconds < SHORT_WORK:
                routed = self.seal_and_route(intake, sealing, outs)
            else:
                with nogil:
                    routed = self.seal_and_route(intake, sealing, outs)
        finally:
            free(outs)
            if intake is not None:
                intake.forget_routed()
        self.collect(datas)
        if not routed:
            raise MemoryError
        return 0

    cdef bytes output(self, const sp_bucket *bucket):
        if sp_bucket_is_aggregate(bucket):
            return self.outputs.take(<Py_ssize_t>sp_bucket_sealed_size(bucket))
        return data_of(&bucket.records[0])  # raw: the very bytes

    cdef bint seal_and_route(self, Intake intake, size_t sealing, uint8_t **outs) noexcept nogil:
        """False when memory ran out."""
        cdef sp_router *router = self.c
        cdef size_t size = 0, i
        cdef uint32_t routed
        sp_router_seal(router, sealing, outs)
        for i in range(sealing):
            size += sp_bucket_sealed_size(&router.full.buckets[i])
        while intake is not None and intake.routed < intake.count:
            if router.full.count - sealing >= MOST_FULL or router.full_size - size >= self.most_full_bytes:
                break
            intake.fill(&router.stage)
            routed = sp_router_route(router)
            intake.note_routed(&router.stage, routed)
            if routed < router.stage.count:
                return False
        return True

    cdef int collect(self, list datas) except -1:
        """Make Kinesis records of the first full buckets, which were sealed into these, and empty them."""
        cdef size_t count = <size_t>len(datas), i
        cdef list records = [None] * <Py_ssize_t>count  # a comprehension that cannot grow gives a reference back twice
        for i in range(count):
            records[i] = kinesis_record(&self.c.full.buckets[i], datas[i])
        if self.ready:
            self.ready += records
        else:  # an empty list that cannot grow would leak them: CPython 3.11's extend
            self.ready = records
        for i in range(count):
            give_owners_back(&self.c.full.buckets[i])
        sp_router_recycle(self.c, count)
        return 0

    # --- buckets that leave as they are ---

    cdef int fill(self, Intake intake, size_t max_bytes) except -1:
        """Move user records to buckets of so many bytes at most, until there are many full ones or none waits."""
        self.c.limits.max_size = max_bytes
        self.place_keyless(intake)
        return self.work(intake, 0)

    cdef int gather(self, Intake intake) except -1:
        """Move every user record that waits to its shard's bucket. Full ones queue up, however many."""
        cdef bint routed
        if intake.count * ROUTING < SHORT_WORK:
            routed = self.route_all(intake)
        else:
            with nogil:
                routed = self.route_all(intake)
        intake.forget_routed()
        if not routed:
            raise MemoryError
        return 0

    cdef bint route_all(self, Intake intake) noexcept nogil:
        cdef uint32_t routed
        while intake.routed < intake.count:
            intake.fill(&self.c.stage)
            routed = sp_router_route(self.c)
            if self.heavy_hitters is not None:
                self.heavy_hitters.add(&self.c.stage, routed)
            intake.note_routed(&self.c.stage, routed)
            if routed < self.c.stage.count:
                return False
        return True

    cdef list hand_over(self):
        """Give the full buckets away, as objects."""
        cdef list buckets = [None] * <Py_ssize_t>self.c.full.count
        cdef Bucket bucket
        cdef size_t i
        for i in range(self.c.full.count):
            buckets[i] = Bucket.__new__(Bucket)
        i = 0
        for bucket in buckets:
            bucket.c = self.c.full.buckets[i]
            i += 1
        sp_router_forget(self.c, i)
        return buckets

    cdef int place(self, list hash_keys) except -1:
        """Say where keyless user records go when the bucket is full that they go to now."""
        cdef size_t n = <size_t>len(hash_keys), i = 0
        cdef sp_hash_key *places = <sp_hash_key *>malloc((n + 1) * sizeof(sp_hash_key))
        try:
            if places == NULL:
                raise MemoryError
            for i in range(n):
                read_explicit_hash_key(hash_keys[i], &places[i], NO_POSITION)
            if not sp_router_place(self.c, places, n):
                raise MemoryError
        finally:
            free(places)
        return 0

    cdef int detach_before(self, uint64_t token) except -1:
        """Queue up as full those buckets whose first user record came before this one."""
        cdef uint32_t i
        for i in range(<uint32_t>self.table.table.count):
            if self.c.buckets[i].record_count and self.c.buckets[i].first_token < token:
                if not sp_router_detach_one(self.c, i):
                    raise MemoryError
        return 0

    cdef int reroute(self, Bucket bucket) except -1:
        """Take a bucket's user records over. Where memory runs out, a further call goes on with the rest of them.

        The bucket keeps what it holds.
        """
        if not self.copy(bucket, &bucket.moved):
            raise MemoryError
        return 0

    cdef bint copy(self, Bucket bucket, size_t *done) noexcept:
        """Take user records of a bucket over, from this one on, and say how many are. False when memory ran out."""
        cdef bint all_done
        cdef size_t i = done[0]
        if (bucket.c.record_count - i) * ROUTING < SHORT_WORK:
            all_done = sp_router_reroute(self.c, &bucket.c, done)
        else:
            with nogil:
                all_done = sp_router_reroute(self.c, &bucket.c, done)
        for i in range(i, done[0]):
            Py_INCREF(<object>bucket.c.records[i].owner)
        return all_done


@cython.final
@cython.no_gc  # it refers to bytes and arrays of Arrow's alone
cdef class Bucket:
    """User records of one shard that are to become one Kinesis record."""

    def __init__(self):
        raise TypeError("a Bucket is made by an Inbox")

    def __dealloc__(self):
        give_owners_back(&self.c)
        sp_bucket_free(&self.c)

    def __len__(self):
        return <Py_ssize_t>self.c.record_count

    @property
    def shard_index(self):
        return self.c.shard_index

    @property
    def first_token(self):
        return self.c.first_token

    @property
    def aggregated(self):
        """Will it be an aggregated record?"""
        return sp_bucket_is_aggregate(&self.c)

    @property
    def request_size(self):
        """Bytes that it will take of a request, with its partition key and explicit hash key."""
        cdef size_t size = sp_bucket_first_key(&self.c).size
        if sp_bucket_is_aggregate(&self.c):
            size += sp_bucket_sealed_size(&self.c)
        else:
            size += self.c.records[0].size
        if sp_bucket_is_aggregate(&self.c) or sp_bucket_has_explicit_hash_key(&self.c):
            size += <size_t>len(format_hash_key(self.c.first_hash_key))
        return size

    @property
    def plain_size(self):
        """Bytes that it will take of the stream's record limit: its data and its partition key."""
        cdef size_t size = sp_bucket_first_key(&self.c).size
        if sp_bucket_is_aggregate(&self.c):
            return size + sp_bucket_sealed_size(&self.c)
        return size + self.c.records[0].size

    def message(self, Outputs outputs not None):
        """Return the message of its aggregated record, in a view of the memory of ``outputs``, used again later."""
        cdef size_t size = sp_bucket_sealed_size(&self.c)
        cdef bytes data = outputs.take(<Py_ssize_t>size)
        cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(data)
        cdef sp_slice message
        if size // SEALED_BYTES_A_NANOSECOND < SHORT_WORK:
            message = sp_bucket_seal(&self.c, out)
        else:
            with nogil:
                message = sp_bucket_seal(&self.c, out)
        first = message.data - out
        return memoryview(data)[first:first + <Py_ssize_t>message.size]

    def compressed_record(self, bytes data not None):
        """Return its Kinesis record, with its message compressed to this data."""
        return kinesis_record(&self.c, data, True)

    def split(self, Py_ssize_t max_bytes):
        """Return its user records in order, in buckets of so many bytes sealed at most. It keeps what it holds."""
        cdef Router router = Router(ONE_SHARD, max_bytes, UINT32_MAX)
        cdef size_t done = 0
        cdef Bucket part
        if not router.copy(self, &done):
            raise MemoryError
        router.detach()
        parts = router.hand_over()
        for part in parts:
            part.c.shard_index = self.c.shard_index
        return parts

    @property
    def user_size(self):
        """Bytes of the data and partition keys of its user records."""
        cdef size_t i, size = 0
        for i in range(self.c.record_count):
            size += sp_bucket_partition_key(&self.c, i).size + self.c.records[i].size
        return size

    def settled(self, bint again=False):
        """Return how many bytes no longer wait once these user records have their outcome: each is settled once.

        Those of an array of Arrow's wait until all of its rows are settled. ``again``: they have none after all, and
        so many bytes wait again.
        """
        cdef size_t i, size = 0
        for i in range(self.c.record_count):
            size += sp_bucket_partition_key(&self.c, i).size
            if is_bytes(self.c.records[i].data, self.c.records[i].owner):
                size += self.c.records[i].size
            else:
                size += (<ArrowChunk>self.c.records[i].owner).settle(again)
        return size

    def tokens(self):
        """Return the token of every user record, in order: an ``array("Q")``."""
        cdef size_t i
        cdef array.array tokens = array.clone(NO_TOKENS, <Py_ssize_t>self.c.record_count, zero=False)
        for i in range(self.c.record_count):
            tokens.data.as_ulonglongs[i] = self.c.first_token + self.c.records[i].token
        return tokens

    def user_records(self):
        """Return partition key, data and explicit hash key (an int, or ``None``) of every user record, in order."""
        cdef size_t i
        cdef sp_hash_key given
        cdef sp_slice key
        records = []
        for i in range(self.c.record_count):
            key = sp_bucket_partition_key(&self.c, i)
            explicit = None
            if sp_bucket_explicit_hash_key(&self.c, i, &given):
                explicit = (<object>given.high << 64) | given.low
            records.append((key.data[:key.size].decode(), data_of(&self.c.records[i]), explicit))
        return records


def sealed(list buckets not None, Outputs outputs not None):
    """Return the Kinesis record of each bucket, not compressed; the buckets keep their user records."""
    return seal_buckets(buckets, outputs)


cdef list seal_buckets(list buckets, Outputs outputs):
    """Kinesis records of the buckets, which keep their user records; one turn without the GIL where that is long."""
    cdef size_t n = <size_t>len(buckets), i, size = 0
    cdef const sp_bucket **bare = <const sp_bucket **>malloc((n + 1) * sizeof(sp_bucket *))
    cdef uint8_t **outs = <uint8_t **>malloc((n + 1) * sizeof(uint8_t *))
    cdef list datas = []
    cdef list records
    cdef Bucket bucket
    try:
        if bare == NULL or outs == NULL:
            raise MemoryError
        for i in range(n):
            bucket = <Bucket?>buckets[i]
            bare[i] = &bucket.c
            if sp_bucket_is_aggregate(&bucket.c):
                data = outputs.take(<Py_ssize_t>sp_bucket_sealed_size(&bucket.c))
            else:
                data = data_of(&bucket.c.records[0])
            size += <size_t>PyBytes_GET_SIZE(data)
            outs[i] = <uint8_t *>PyBytes_AS_STRING(data)
            datas.append(data)
        if size // SEALED_BYTES_A_NANOSECOND < SHORT_WORK:
            sp_seal_many(md5_many, bare, n, outs)
        else:
            with nogil:
                sp_seal_many(md5_many, bare, n, outs)
        records = [None] * <Py_ssize_t>n
        for i in range(n):
            records[i] = kinesis_record(bare[i], datas[i])
        return records
    finally:
        free(bare)
        free(outs)


cdef bint lies_in(Router router, Bucket bucket, first, last) except -1:
    """Are the hash keys of all its user records in first … last?"""
    cdef sp_hash_key low, high
    read_explicit_hash_key(first, &low, NO_POSITION)
    read_explicit_hash_key(last, &high, NO_POSITION)
    return sp_router_lie_in(router.c, &bucket.c, low, high)
