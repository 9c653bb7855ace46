"""User records to the buckets of their shards, and buckets to Kinesis records: csrc/router and csrc/bucket."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from .heavy_hitters cimport HeavyHitters
from .intake cimport Intake, sp_seed, sp_stage
from .keys cimport sp_hash_key, sp_slice
from .outputs cimport Outputs
from .shard_table cimport ShardTable, sp_shard_table


cdef extern from "router.h" nogil:
    ctypedef struct sp_held_record:
        const uint8_t *data
        void *owner
        uint32_t size
        uint32_t token
    ctypedef struct sp_bucket:
        sp_held_record *records
        size_t record_count
        uint32_t shard_index
        uint64_t first_token
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
        size_t place_count
        size_t places_passed
        sp_bucket_limits limits
        sp_bucket_stack full
        size_t full_size
        sp_stage stage


cdef class Router:
    cdef ShardTable table
    cdef Outputs outputs
    cdef list ready  # Kinesis records
    cdef sp_router *c
    cdef HeavyHitters heavy_hitters  # of what is gathered, or None
    cdef Py_ssize_t max_records
    cdef size_t most_full_bytes  # of full buckets, before they are to be sealed

    cdef int route(self, Intake intake) except -1
    cdef int fill(self, Intake intake, size_t max_bytes) except -1
    cdef int place_keyless(self, Intake intake) except -1
    cdef int gather(self, Intake intake) except -1
    cdef int detach(self) except -1
    cdef int seal(self) except -1
    cdef list take_ready(self)
    cdef int work(self, Intake intake, size_t sealing) except -1
    cdef bint is_full(self) noexcept
    cdef bytes output(self, const sp_bucket *bucket)
    cdef bint seal_and_route(self, Intake intake, size_t sealing, uint8_t **outs) noexcept nogil
    cdef int collect(self, list datas) except -1
    cdef bint route_all(self, Intake intake) noexcept nogil
    cdef list hand_over(self)
    cdef int detach_before(self, uint64_t token) except -1
    cdef int reroute(self, Bucket bucket) except -1
    cdef bint copy(self, Bucket bucket, size_t *done) noexcept
    cdef int place(self, list hash_keys) except -1


cdef class Bucket:
    cdef sp_bucket c
    cdef size_t moved  # so many of its first user records are another router's


cdef list seal_buckets(list buckets, Outputs outputs)
cdef bint lies_in(Router router, Bucket bucket, first, last) except -1
