import array

cimport cython
from cpython cimport array
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int32_t, uint8_t

from .keys cimport (
    KEY_BATCH, NO_POSITION, KeyBatch, PySequence_Fast, PySequence_Fast_GET_SIZE, check_pair_lengths,
    read_explicit_hash_key, sp_hash_key_from_bytes,
)
from .md5 cimport md5_many


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
        cdef object sequence = PySequence_Fast(keys, "partition keys come as an iterable of str or bytes")
        cdef object explicit = None
        cdef Py_ssize_t n = PySequence_Fast_GET_SIZE(sequence), start = 0, i
        cdef KeyBatch batch = KeyBatch()
        cdef uint8_t[KEY_BATCH * 16] digests
        cdef sp_hash_key[KEY_BATCH] hash_keys
        cdef array.array result = array.clone(INT32, n, False)
        cdef int32_t *out = <int32_t *>result.data.as_ints
        if explicit_hash_keys is not None:
            explicit = PySequence_Fast(explicit_hash_keys, "explicit hash keys come as an iterable of int, str or None")
            check_pair_lengths(sequence, explicit, "partition keys and explicit hash keys")
        while start < n:
            batch.fill(sequence, start)
            with nogil:
                md5_many(batch.slices, <size_t>batch.count, digests)
                for i in range(batch.count):
                    hash_keys[i] = sp_hash_key_from_bytes(digests + 16 * i)
            if explicit is not None:
                for i in range(batch.count):
                    value = explicit[start + i]
                    if value is not None:
                        read_explicit_hash_key(value, &hash_keys[i], start + i)
            if PySequence_Fast_GET_SIZE(sequence) != n:
                raise RuntimeError("the list of partition keys changed while it was read")
            with nogil:
                for i in range(batch.count):
                    out[start + i] = <int32_t>sp_shard_table_find(&self.table, hash_keys[i])
            start += batch.count
        return result
