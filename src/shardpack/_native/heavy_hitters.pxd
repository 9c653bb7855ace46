from libc.stdint cimport uint8_t, uint32_t, uint64_t

from .intake cimport sp_seed, sp_stage
from .keys cimport sp_hash_key


cdef extern from "heavy_hitters.h" nogil:
    ctypedef struct sp_heavy_hitter:
        double picks
        sp_hash_key hash_key
        uint32_t key_offset
        uint32_t key_size
    ctypedef struct sp_heavy_keys:
        sp_heavy_hitter *items
        uint32_t count
        const uint8_t *keys
        double offset
        double seconds
        double aged_at
    ctypedef struct sp_heavy_hitters:
        sp_heavy_keys keys


cdef class HeavyHitters:
    cdef sp_heavy_hitters *c

    cdef void add(self, const sp_stage *stage, uint32_t count) noexcept nogil
