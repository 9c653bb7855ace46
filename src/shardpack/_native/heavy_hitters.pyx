"""The partition keys that most bytes come with: csrc/heavy_hitters."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

import os


cdef extern from "heavy_hitters.h" nogil:
    const double SP_BYTES_A_PICK
    bint sp_heavy_hitters_init(sp_heavy_hitters *hitters, sp_seed seed, double now)
    void sp_heavy_hitters_add(sp_heavy_hitters *hitters, const sp_stage *stage, uint32_t count)
    void sp_heavy_hitters_age(sp_heavy_hitters *hitters, double now)
    bint sp_heavy_hitters_copy(sp_heavy_hitters *hitters, sp_heavy_keys *out)
    void sp_heavy_keys_free(sp_heavy_keys *keys)
    size_t sp_heavy_hitters_memory(const sp_heavy_hitters *hitters)
    void sp_heavy_hitters_free(sp_heavy_hitters *hitters)


cdef double LEAST_SECONDS = 1.0  # a rate over less tells little


@cython.final
@cython.no_gc
cdef class HeavyHitters:
    """The 4,096 heaviest partition keys of what an ``Inbox`` takes, by bytes of keys and data, and how heavy they are.

    One byte of 4,096.5 is looked at, at random, so rates are estimates without bias: of 100 KB/s it is seldom more than
    a tenth wrong. What is older counts the less: half after 10 seconds. It owns 224 KiB and the keys, 1,024 bytes each
    at most, so at most 4.3 MB. Any thread may read it, one ages it.
    """

    def __cinit__(self, double now):
        cdef sp_seed seed
        cdef bytes entropy = os.urandom(sizeof(seed))
        memcpy(&seed, PyBytes_AS_STRING(entropy), sizeof(seed))
        self.c = <sp_heavy_hitters *>calloc(1, sizeof(sp_heavy_hitters))
        if self.c == NULL or not sp_heavy_hitters_init(self.c, seed, now):
            raise MemoryError

    def __dealloc__(self):
        if self.c != NULL:
            sp_heavy_hitters_free(self.c)
            free(self.c)

    cdef void add(self, const sp_stage *stage, uint32_t count) noexcept nogil:
        sp_heavy_hitters_add(self.c, stage, count)

    def age(self, double now):
        """Let it be so late, by the clock that it was made with."""
        sp_heavy_hitters_age(self.c, now)

    @property
    def memory(self):
        """Bytes that it owns."""
        return sp_heavy_hitters_memory(self.c)

    def keys(self, double now):
        """Return partition key, hash key, and bytes per second of each, at least and at most; in no order.

        A partition key that came with several explicit hash keys is there with each. The bounds leave the error of
        sampling out.
        """
        cdef sp_heavy_keys keys
        cdef sp_heavy_hitter *item
        cdef uint32_t i
        cdef double scale
        if not sp_heavy_hitters_copy(self.c, &keys):
            raise MemoryError
        try:
            scale = SP_BYTES_A_PICK / max(LEAST_SECONDS, keys.seconds + now - keys.aged_at)
            found = []
            for i in range(keys.count):
                item = &keys.items[i]
                found.append((
                    keys.keys[item.key_offset:item.key_offset + item.key_size].decode(),
                    (<object>item.hash_key.high << 64) | item.hash_key.low,
                    item.picks * scale,
                    (item.picks + keys.offset) * scale,
                ))
            return found
        finally:
            sp_heavy_keys_free(&keys)
