cimport cython
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_Check, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_Check
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove, memset

from .keys cimport (
    NO_POSITION, PREFETCHED, SP_HASH_KEY_MAX_DIGITS, PySequence_Fast_GET_ITEM, PySequence_Fast_GET_SIZE,
    PySequence_Fast_ITEMS, cut, demand_length, name_record, prefetch_object, read_explicit_hash_key, sp_hash_key_format,
    take_partition_key, view_bytes, view_key,
)

from ..errors import RecordTooLargeError


cdef extern from "aggregate.h" nogil:
    bint sp_starts_with_magic(sp_slice data)
    size_t sp_aggregate_size_of_one(size_t key_size, size_t digits, size_t data_size)


cdef extern from *:
    """
    /* What giving a reference back reads and writes. */
    static inline void prefetch_count(void *object) {
        __builtin_prefetch(object, 1);
    }
    """
    void prefetch_count(void *object) noexcept


cdef enum:
    FEWEST = 64
    FEWEST_KEY_BYTES = 4096
    KEPT = 1 << 18  # records for which the arrays keep room
    KEPT_KEY_BYTES = 1 << 23


cdef bytes copy_data(object data, Py_ssize_t position):
    """A copy of data that is no bytes object, and so may change."""
    if PyUnicode_Check(data):
        raise TypeError(f"{name_record(position)}data is bytes, not str: encode it")
    if PyBytes_Check(data):  # of a subclass, what it holds
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    try:
        view = memoryview(data)
        codes = "".join(view.format.split(":")[::2])  # without the names of fields
        if "O" not in codes:  # addresses of objects, as numpy has them
            return bytes(view)
    except TypeError:
        pass
    except (BufferError, ValueError) as error:  # closed, or released
        raise ValueError(f"{name_record(position)}data cannot be read: {cut(str(error))}") from None
    raise TypeError(f"{name_record(position)}data is bytes or a buffer of them, not {type(data).__name__}")


@cython.final
cdef class Intake:
    """User records that wait: the bytes of their keys, and a reference to their data.

    A key is short and in the cache when it was checked: a copy costs less than to come back to it twice. Room for
    262,144 records and 8 MiB of keys is kept (13 MiB in all, with explicit hash keys), for more while they wait.
    """

    def __cinit__(self, size_t max_record_bytes):
        self.max_record_bytes = max_record_bytes

    def __dealloc__(self):
        self.drop_from(0)
        free(self.keys)
        free(self.key_sizes)
        free(self.datas)
        free(self.has_explicit_hash_key)
        free(self.explicit_hash_keys)

    cdef int add(self, object partition_key, object data, object explicit_hash_key) except -1:
        self.reserve(1)
        return self.take(partition_key, data, explicit_hash_key, NO_POSITION)

    cdef int add_many(self, object keys, object datas, object explicit) except -1:
        """Take n user records of lists or tuples, all or none. Code that runs meanwhile may change a list."""
        cdef Py_ssize_t n = PySequence_Fast_GET_SIZE(keys), before = self.count, i
        cdef object key, data, hash_key = None
        self.reserve(n)
        try:
            for i in range(n):
                demand_length(keys, n)
                demand_length(datas, n)
                if i + PREFETCHED < n:
                    prefetch_object(PySequence_Fast_ITEMS(keys)[i + PREFETCHED])
                    prefetch_object(PySequence_Fast_ITEMS(datas)[i + PREFETCHED])
                key = <object>PySequence_Fast_GET_ITEM(keys, i)
                data = <object>PySequence_Fast_GET_ITEM(datas, i)
                if explicit is not None:
                    demand_length(explicit, n)
                    hash_key = <object>PySequence_Fast_GET_ITEM(explicit, i)
                self.take(key, data, hash_key, i)
        except BaseException:
            self.drop_from(before)
            raise
        return 0

    cdef inline int take(self, object key, object data, object explicit_hash_key, Py_ssize_t position) except -1:
        """Check one user record and hold it. There is room."""
        cdef sp_hash_key hash_key
        cdef const sp_hash_key *hash_key_or_none = NULL
        cdef sp_slice key_view, data_view
        cdef Py_ssize_t i = self.count
        key = take_partition_key(key, position)
        if not PyBytes_CheckExact(data):
            data = copy_data(data, position)
        if explicit_hash_key is not None:
            read_explicit_hash_key(explicit_hash_key, &hash_key, position)
            hash_key_or_none = &hash_key
        key_view, data_view = view_key(<PyObject *>key), view_bytes(<PyObject *>data)
        if key_view.size + data_view.size > self.max_record_bytes or sp_starts_with_magic(data_view):
            self.check_size(key_view, data_view, hash_key_or_none, position)
        if hash_key_or_none != NULL or self.explicit_capacity:
            self.reserve_explicit()
            self.has_explicit_hash_key[i] = hash_key_or_none != NULL
            if hash_key_or_none != NULL:
                self.explicit_hash_keys[i] = hash_key
        if key_view.size > self.keys_capacity - self.keys_size:
            self.reserve_key(key_view.size)
        memcpy(self.keys + self.keys_size, key_view.data, key_view.size)
        self.keys_size += key_view.size
        self.key_sizes[i] = <uint16_t>key_view.size
        Py_INCREF(data)
        self.datas[i] = <PyObject *>data
        self.size += data_view.size
        self.count = i + 1
        return 0

    cdef int check_size(
        self, sp_slice key, sp_slice data, const sp_hash_key *explicit_hash_key, Py_ssize_t position
    ) except -1:
        cdef uint8_t[SP_HASH_KEY_MAX_DIGITS] digits
        cdef size_t size = key.size + data.size, wrapped, explicit_size = 0
        cdef str why = ""
        if size <= self.max_record_bytes:
            # it starts with the magic and is never sent raw, so alone it must fit as an aggregated record of one
            if explicit_hash_key != NULL:
                explicit_size = sp_hash_key_format(explicit_hash_key[0], digits)
            wrapped = key.size + sp_aggregate_size_of_one(key.size, explicit_size, data.size)
            if wrapped <= self.max_record_bytes:
                return 0
            why = (
                ": its data starts with the magic of an aggregated record, so it is wrapped in one, which takes "
                f"{wrapped - size} bytes"
            )
            size = wrapped
        raise RecordTooLargeError(
            f"{name_record(position)}record of {size:,} bytes (key {cut(key.data[:key.size].decode())}) exceeds the "
            f"stream's {self.max_record_bytes:,}{why}"
        )

    # --- memory ---

    cdef int reserve(self, Py_ssize_t more) except -1:
        cdef size_t capacity = self.capacity if self.capacity else FEWEST
        cdef void *key_sizes
        cdef void *datas
        if <size_t>(self.count + more) <= self.capacity:
            return 0
        while capacity < <size_t>(self.count + more):
            capacity *= 2
        key_sizes = realloc(self.key_sizes, capacity * sizeof(uint16_t))
        if key_sizes != NULL:
            self.key_sizes = <uint16_t *>key_sizes
        datas = realloc(self.datas, capacity * sizeof(PyObject *))
        if datas != NULL:
            self.datas = <PyObject **>datas
        if key_sizes == NULL or datas == NULL:
            raise MemoryError
        self.capacity = capacity
        return 0

    cdef int reserve_key(self, size_t size) except -1:
        cdef size_t capacity = self.keys_capacity if self.keys_capacity else FEWEST_KEY_BYTES
        cdef void *keys
        while capacity - self.keys_size < size:
            capacity *= 2
        keys = realloc(self.keys, capacity)
        if keys == NULL:
            raise MemoryError
        self.keys, self.keys_capacity = <uint8_t *>keys, capacity
        return 0

    cdef int reserve_explicit(self) except -1:
        """Room for explicit hash keys, as much as for the rest."""
        cdef void *flags
        cdef void *hash_keys
        if self.explicit_capacity >= self.capacity:
            return 0
        flags = realloc(self.has_explicit_hash_key, self.capacity)
        if flags != NULL:
            if self.explicit_capacity == 0:
                memset(flags, 0, <size_t>self.count)
            self.has_explicit_hash_key = <uint8_t *>flags
        hash_keys = realloc(self.explicit_hash_keys, self.capacity * sizeof(sp_hash_key))
        if hash_keys != NULL:
            self.explicit_hash_keys = <sp_hash_key *>hash_keys
        if flags == NULL or hash_keys == NULL:
            raise MemoryError
        self.explicit_capacity = self.capacity
        return 0

    # --- routing: read without the GIL, given back with it ---

    cdef void fill(self, sp_stage *stage) noexcept nogil:
        """Show the stage as many of those that wait as it takes."""
        cdef Py_ssize_t i, at, n = min(self.count - self.routed, <Py_ssize_t>SP_STAGE_SIZE)
        cdef const uint8_t *key = self.keys + self.routed_keys_size
        for i in range(n):
            at = self.routed + i
            if at + PREFETCHED < self.count:
                prefetch_object(self.datas[at + PREFETCHED])
            stage.partition_keys[i].data, stage.partition_keys[i].size = key, self.key_sizes[at]
            key += self.key_sizes[at]
            stage.datas[i] = view_bytes(self.datas[at])
            stage.owners[i] = self.datas[at]
        if self.explicit_capacity == 0:
            memset(stage.has_explicit_hash_key, 0, <size_t>n)
        else:
            for i in range(n):
                stage.has_explicit_hash_key[i] = self.has_explicit_hash_key[self.routed + i]
                stage.hash_keys[i] = self.explicit_hash_keys[self.routed + i]
        stage.count = <uint32_t>n

    cdef void note_routed(self, const sp_stage *stage, uint32_t n) noexcept nogil:
        """The first n of the stage are in buckets, which have taken some references over."""
        cdef uint32_t i
        for i in range(n):
            self.size -= stage.datas[i].size
            self.routed_keys_size += stage.partition_keys[i].size
            self.datas[self.routed + i] = <PyObject *>stage.owners[i]
        self.routed += n

    cdef void let_go(self) noexcept:
        """Give back the references of those that were routed, and the room that only they needed."""
        cdef Py_ssize_t i, left = self.count - self.routed
        for i in range(self.routed):
            if i + PREFETCHED < self.routed:
                prefetch_count(self.datas[i + PREFETCHED])
            Py_XDECREF(self.datas[i])
        if left:
            memmove(self.keys, self.keys + self.routed_keys_size, self.keys_size - self.routed_keys_size)
            memmove(self.key_sizes, &self.key_sizes[self.routed], <size_t>left * sizeof(uint16_t))
            memmove(self.datas, &self.datas[self.routed], <size_t>left * sizeof(PyObject *))
            if self.explicit_capacity:
                memmove(self.has_explicit_hash_key, &self.has_explicit_hash_key[self.routed], <size_t>left)
                memmove(
                    self.explicit_hash_keys, &self.explicit_hash_keys[self.routed], <size_t>left * sizeof(sp_hash_key))
        elif self.capacity > KEPT or self.keys_capacity > KEPT_KEY_BYTES:
            free(self.keys)
            free(self.key_sizes)
            free(self.datas)
            self.keys, self.key_sizes, self.datas = NULL, NULL, NULL
            self.capacity = self.keys_capacity = 0
        if left == 0 and (self.explicit_capacity > KEPT or self.capacity == 0):
            free(self.has_explicit_hash_key)
            free(self.explicit_hash_keys)
            self.has_explicit_hash_key, self.explicit_hash_keys = NULL, NULL
            self.explicit_capacity = 0
        self.count, self.routed = left, 0
        self.keys_size -= self.routed_keys_size
        self.routed_keys_size = 0

    cdef void drop_from(self, Py_ssize_t count) noexcept:
        """Forget all from this one on. None of them was routed."""
        cdef Py_ssize_t i
        for i in range(count, self.count):
            self.size -= view_bytes(self.datas[i]).size
            self.keys_size -= self.key_sizes[i]
            Py_DECREF(<object>self.datas[i])
        self.count = count
