import array

cimport cython
from cpython cimport array
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int32_t, uint8_t

from .keys cimport (
    KEY_CHUNK, NO_POSITION, SHORT_WORK, KeyBytes, PySequence_Fast_GET_ITEM, PySequence_Fast_GET_SIZE, demand_length,
    demand_one_for_one, keep_key_bytes, read_explicit_hash_key, sequence_of, sp_hash_key_from_bytes, sp_slice,
    take_key_bytes, view_keys,
)
from .md5 cimport md5_many


cdef enum:
    ASSIGNING = 12  # nanoseconds for a key, about

cdef array.array INT32 = array.array("i")


@cython.final
cdef class ShardTable:
    """The lookup behind ShardMap: ordered first hash keys of shards that cover everything."""

    def __cinit__(self, list starts):
        cdef Py_ssize_t i, n = len(starts)
        cdef size_t prefixes
        if not 0 < n < 2**31:
            raise ValueError(f"a shard table has 1 to 2**31 - 1 shards, not {n}")
        prefixes = sp_shard_table_prefix_count(<uint32_t>n)
        self.starts = <sp_hash_key *>PyMem_Malloc(<size_t>n * sizeof(sp_hash_key))
        self.prefixes = <uint32_t *>PyMem_Malloc(prefixes * sizeof(uint32_t))
        if self.starts == NULL or self.prefixes == NULL:
            raise MemoryError
        for i in range(n):
            read_explicit_hash_key(starts[i], &self.starts[i], NO_POSITION)
        self.table = sp_shard_table_make(self.starts, <uint32_t>n, self.prefixes)

    def __dealloc__(self):
        PyMem_Free(self.starts)
        PyMem_Free(self.prefixes)

    def find(self, hash_key):
        cdef sp_hash_key key
        read_explicit_hash_key(hash_key, &key, NO_POSITION)
        return sp_shard_table_find(&self.table, key)

    def assign(self, keys, explicit_hash_keys=None):
        cdef object sequence = sequence_of(keys, "partition keys", "str or bytes")
        cdef object explicit = None
        cdef Py_ssize_t n = PySequence_Fast_GET_SIZE(sequence), start = 0, stop, i
        cdef KeyBytes run = take_key_bytes()
        cdef array.array result = array.clone(INT32, n, False)
        cdef int32_t *out = <int32_t *>result.data.as_ints
        cdef sp_hash_key given
        if explicit_hash_keys is not None:
            explicit = sequence_of(explicit_hash_keys, "explicit hash keys", "int, str or None")
            demand_one_for_one(sequence, explicit, "partition keys and explicit hash keys")
        while start < n:
            stop = run.fill(sequence, start, n)
            if run.count * ASSIGNING < SHORT_WORK:
                self.assign_run(run, out + start)
            else:
                with nogil:
                    self.assign_run(run, out + start)
            start = stop
        keep_key_bytes(run)
        if explicit is not None:
            for i in range(n):
                demand_length(explicit, n)
                value = <object>PySequence_Fast_GET_ITEM(explicit, i)
                if value is not None:
                    read_explicit_hash_key(value, &given, i)
                    out[i] = <int32_t>sp_shard_table_find(&self.table, given)
        return result

    cdef void assign_run(self, KeyBytes run, int32_t *out) noexcept nogil:
        cdef sp_slice[KEY_CHUNK] slices
        cdef uint8_t[16 * KEY_CHUNK] digests
        cdef const uint8_t *data = run.data
        cdef Py_ssize_t start = 0, n, i
        while start < run.count:
            n = view_keys(&data, run.sizes + start, run.count - start, slices)
            md5_many(slices, <size_t>n, digests)
            for i in range(n):
                out[start + i] = <int32_t>sp_shard_table_find(
                    &self.table, sp_hash_key_from_bytes(digests + 16 * i))
            start += n
