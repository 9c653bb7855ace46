from libc.stdint cimport int32_t, uint32_t

from .keys cimport KeyBytes, sp_hash_key


cdef extern from "shard_table.h" nogil:
    ctypedef struct sp_shard_table:
        uint32_t count
    size_t sp_shard_table_prefix_count(uint32_t count)
    sp_shard_table sp_shard_table_make(const sp_hash_key *starts, uint32_t count, uint32_t *prefixes)
    uint32_t sp_shard_table_find(const sp_shard_table *table, sp_hash_key key)


cdef class ShardTable:
    cdef sp_shard_table table
    cdef sp_hash_key *starts
    cdef uint32_t *prefixes

    cdef void assign_run(self, KeyBytes run, int32_t *out) noexcept nogil
