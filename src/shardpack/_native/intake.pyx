cimport cython
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_Check, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.unicode cimport PyUnicode_Check
from libc.stdint cimport UINT64_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove, memset

from .keys cimport (
    NO_POSITION, PREFETCHED, SP_HASH_KEY_MAX_DIGITS, KeyBytes, PySequence_Fast_GET_ITEM, PySequence_Fast_GET_SIZE,
    PySequence_Fast_ITEMS, append_key, demand_length, name_record, prefetch_object, read_explicit_hash_key,
    is_plain_key, sp_copy_short, sp_hash_key_format, take_partition_key, view_bytes, view_key,
)

from ..errors import InvalidPartitionKeyError, RecordTooLargeError, abridged


cdef extern from "growth.h" nogil:
    void *sp_grown(void *memory, size_t *capacity, size_t count, size_t size, size_t least)


cdef extern from "aggregate.h" nogil:
    bint sp_looks_aggregated(sp_slice data)
    size_t sp_aggregate_size_of_one(size_t key_size, size_t digits, size_t data_size)


cdef extern from *:
    """
    #include "compiler.h"

    /* What giving a reference back reads and writes. */
    static inline void prefetch_count(void *object) {
        SP_PREFETCH_WRITE(object);
    }
    """
    void prefetch_count(void *object) noexcept nogil


cdef enum:
    FEWEST = 64
    MOST_AROUND_ONE = 1024  # bytes, more than enough, of an aggregated record around its only user record
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
        raise ValueError(f"{name_record(position)}data cannot be read: {abridged(str(error))}") from None
    raise TypeError(f"{name_record(position)}data is bytes or a buffer of them, not {type(data).__name__}")


@cython.final
@cython.no_gc  # it refers to bytes and arrays of Arrow's alone, and reads what it holds to the end
cdef class Intake:
    """User records that wait: the bytes of their keys, where their data lies, and a reference to its owner.

    The owner is a bytes object, for each its own, or the array of Arrow's that many lie in. Each holds a reference to
    it, through buckets, until it is sealed and settled. There are as many references to an array as there are rows of
    it: a count that stays in the cache, where a count of our own for every batch and bucket would be one more thing to
    be right, and would save a nanosecond a row.

    Room for 262,144 records and 8 MiB of keys is kept (18 MiB in all, with explicit hash keys), for more while they
    wait.
    """

    def __cinit__(self, size_t max_record_bytes, bint takes_keyless=False):
        self.max_record_bytes, self.takes_keyless = max_record_bytes, takes_keyless
        self.keys = KeyBytes()

    def __dealloc__(self):
        self.drop_from(0)
        free(self.data_sizes)
        free(self.datas)
        free(self.owners)
        free(self.has_explicit_hash_key)
        free(self.explicit_hash_keys)

    cdef int add(self, object partition_key, object data, object explicit_hash_key) except -1:
        self.reserve(1)
        return self.take(partition_key, data, explicit_hash_key, NO_POSITION)

    cdef int add_many(self, object keys, object datas, object explicit) except -1:
        """Take n user records of lists or tuples, all or none. Code that runs meanwhile may change a list."""
        cdef Py_ssize_t n = PySequence_Fast_GET_SIZE(keys), before = self.count, i
        cdef PyObject *key
        cdef PyObject *data
        cdef object key_held, data_held, hash_key = None
        self.reserve(n)
        try:
            for i in range(n):
                demand_length(keys, n)
                demand_length(datas, n)
                if i + PREFETCHED < n:
                    prefetch_object(PySequence_Fast_ITEMS(keys)[i + PREFETCHED])
                    prefetch_count(PySequence_Fast_ITEMS(datas)[i + PREFETCHED])
                key, data = PySequence_Fast_GET_ITEM(keys, i), PySequence_Fast_GET_ITEM(datas, i)
                if explicit is None:
                    if self.take_plain(key, data):
                        continue
                else:
                    demand_length(explicit, n)
                    hash_key = <object>PySequence_Fast_GET_ITEM(explicit, i)
                key_held, data_held = <object>key, <object>data
                self.take(key_held, data_held, hash_key, i)
        except BaseException:
            self.drop_from(before)
            raise
        return 0

    cdef int append(self, Intake other) except -1:
        """Take what waits in another one over, none of which was routed. Nothing changes where memory runs out."""
        cdef Py_ssize_t n = other.count, i = self.count
        self.reserve(n)
        if other.keys.size > self.keys.capacity - self.keys.size:
            self.keys.grow(other.keys.size)
        if self.explicit_capacity or other.explicit_capacity:
            self.reserve_explicit()
            if other.explicit_capacity:
                memcpy(&self.has_explicit_hash_key[i], other.has_explicit_hash_key, <size_t>n)
                memcpy(&self.explicit_hash_keys[i], other.explicit_hash_keys, <size_t>n * sizeof(sp_hash_key))
            else:
                memset(&self.has_explicit_hash_key[i], 0, <size_t>n)
        if n:
            if other.keys.size:  # all may be keyless
                memcpy(self.keys.data + self.keys.size, other.keys.data, other.keys.size)
            memcpy(&self.keys.sizes[i], other.keys.sizes, <size_t>n * sizeof(uint16_t))
            memcpy(&self.data_sizes[i], other.data_sizes, <size_t>n * sizeof(uint32_t))
            memcpy(&self.datas[i], other.datas, <size_t>n * sizeof(uint8_t *))
            memcpy(&self.owners[i], other.owners, <size_t>n * sizeof(PyObject *))
        self.keys.size += other.keys.size
        self.size += other.size
        self.keyless += other.keyless
        self.count = self.keys.count = i + n
        other.count, other.size, other.keyless, other.keys.count, other.keys.size = 0, 0, 0, 0, 0
        return 0

    cdef inline bint take_plain(self, PyObject *key, PyObject *data) noexcept:
        """Hold a user record of the common kind, of which nothing is left to check. False for any other."""
        cdef KeyBytes keys = self.keys
        cdef Py_ssize_t i = self.count
        cdef sp_slice view
        cdef size_t size
        if not PyBytes_CheckExact(<object>data) or self.explicit_capacity:
            return False
        if is_plain_key(key):
            view = view_key(key)
        elif <object>key is None and self.takes_keyless:
            view.size = 0
            self.keyless += 1  # taken back below, should it not fit
        else:
            return False
        size = view_bytes(data).size
        if view.size + size + MOST_AROUND_ONE > self.max_record_bytes or view.size > keys.capacity - keys.size:
            self.keyless -= view.size == 0
            return False
        sp_copy_short(keys.data + keys.size, view)
        keys.size += view.size
        keys.sizes[i] = <uint16_t>view.size
        keys.count = i + 1
        self.hold(data, size)
        return True

    cdef inline int take(self, object key, object data, object explicit_hash_key, Py_ssize_t position) except -1:
        """Check one user record and hold it. There is room."""
        cdef sp_hash_key hash_key
        cdef const sp_hash_key *hash_key_or_none = NULL
        cdef sp_slice key_view, data_view
        cdef Py_ssize_t i = self.count
        cdef bint keyless = key is None and self.takes_keyless
        if not keyless:
            key = take_partition_key(key, position)
        elif explicit_hash_key is not None:
            raise InvalidPartitionKeyError(
                f"{name_record(position)}an explicit hash key needs a partition key beside it, not None")
        if not PyBytes_CheckExact(data):
            data = copy_data(data, position)
        if explicit_hash_key is not None:
            read_explicit_hash_key(explicit_hash_key, &hash_key, position)
            hash_key_or_none = &hash_key
        data_view = view_bytes(<PyObject *>data)
        if keyless:
            self.check_keyless_size(data_view, position)
            key_view.size = 0
        else:
            key_view = view_key(<PyObject *>key)
            if key_view.size + data_view.size + MOST_AROUND_ONE > self.max_record_bytes:
                self.check_size(key_view, data_view, hash_key_or_none, position)
        if hash_key_or_none != NULL or self.explicit_capacity:
            self.reserve_explicit()
            self.has_explicit_hash_key[i] = hash_key_or_none != NULL
            if hash_key_or_none != NULL:
                self.explicit_hash_keys[i] = hash_key
        append_key(self.keys, key_view)
        self.keyless += keyless
        self.hold(<PyObject *>data, data_view.size)
        return 0

    cdef inline void hold(self, PyObject *data, size_t size) noexcept:
        """The data of a user record whose key is held."""
        cdef Py_ssize_t i = self.count
        Py_INCREF(<object>data)
        self.owners[i], self.datas[i] = data, bytes_start(data)
        self.data_sizes[i] = <uint32_t>size
        self.size += size
        self.count = i + 1

    cdef int check_keyless_size(self, sp_slice data, Py_ssize_t position) except -1:
        """It will have the shortest key, and an explicit hash key, perhaps of the most digits."""
        cdef sp_hash_key hash_key
        cdef sp_slice key
        key.data, key.size = <const uint8_t *>"-", 1
        hash_key.high = hash_key.low = UINT64_MAX
        return self.check_size(key, data, &hash_key, position)

    cdef int check_size(
        self, sp_slice key, sp_slice data, const sp_hash_key *explicit_hash_key, Py_ssize_t position
    ) except -1:
        cdef uint8_t[SP_HASH_KEY_MAX_DIGITS] digits
        cdef size_t size = key.size + data.size, wrapped, explicit_size = 0
        cdef str why = ""
        if size <= self.max_record_bytes and not sp_looks_aggregated(data):
            return 0
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
            f"{name_record(position)}record of {size:,} bytes (key {abridged(key.data[:key.size].decode(), 40)}) "
            f"exceeds the stream's {self.max_record_bytes:,}{why}"
        )

    # --- memory ---

    cdef int reserve(self, Py_ssize_t more) except -1:
        cdef size_t capacity = self.capacity, sizes_capacity = self.capacity, owners_capacity = self.capacity
        cdef void *data_sizes
        cdef void *datas
        cdef void *owners
        self.keys.reserve(more)
        if <size_t>(self.count + more) <= self.capacity:
            return 0
        data_sizes = sp_grown(
            self.data_sizes, &sizes_capacity, <size_t>(self.count + more), sizeof(uint32_t), FEWEST)
        if data_sizes != NULL:
            self.data_sizes = <uint32_t *>data_sizes
        datas = sp_grown(self.datas, &capacity, <size_t>(self.count + more), sizeof(uint8_t *), FEWEST)
        if datas != NULL:
            self.datas = <const uint8_t **>datas
        owners = sp_grown(self.owners, &owners_capacity, <size_t>(self.count + more), sizeof(PyObject *), FEWEST)
        if owners != NULL:
            self.owners = <PyObject **>owners
        if data_sizes == NULL or datas == NULL or owners == NULL:
            raise MemoryError
        self.capacity = capacity
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
        cdef const uint8_t *key = self.keys.data + self.routed_keys_size
        for i in range(n):
            at = self.routed + i
            stage.partition_keys[i].data, stage.partition_keys[i].size = key, self.keys.sizes[at]
            key += self.keys.sizes[at]
            stage.datas[i].data, stage.datas[i].size = self.datas[at], self.data_sizes[at]
            stage.owners[i] = self.owners[at]
            stage.tokens[i] = self.first_token + <uint64_t>at
        if self.explicit_capacity == 0:
            memset(stage.has_explicit_hash_key, 0, <size_t>n)
        else:
            for i in range(n):
                stage.has_explicit_hash_key[i] = self.has_explicit_hash_key[self.routed + i]
                stage.hash_keys[i] = self.explicit_hash_keys[self.routed + i]
        stage.count = <uint32_t>n

    cdef void note_routed(self, const sp_stage *stage, uint32_t n) noexcept nogil:
        """The first n of the stage are in buckets, and so are the references to their data."""
        cdef uint32_t i
        for i in range(n):
            self.size -= stage.datas[i].size
            self.routed_keys_size += self.keys.sizes[self.routed + i]
            self.keyless -= self.keys.sizes[self.routed + i] == 0
        self.routed += n

    cdef void forget_routed(self) noexcept:
        """Close the gap that those leave that were routed, and give back the room that only they needed."""
        cdef Py_ssize_t left = self.count - self.routed
        if left:
            memmove(self.data_sizes, &self.data_sizes[self.routed], <size_t>left * sizeof(uint32_t))
            memmove(self.datas, &self.datas[self.routed], <size_t>left * sizeof(uint8_t *))
            memmove(self.owners, &self.owners[self.routed], <size_t>left * sizeof(PyObject *))
            if self.explicit_capacity:
                memmove(self.has_explicit_hash_key, &self.has_explicit_hash_key[self.routed], <size_t>left)
                memmove(
                    self.explicit_hash_keys, &self.explicit_hash_keys[self.routed], <size_t>left * sizeof(sp_hash_key))
        elif self.capacity > KEPT:
            free(self.data_sizes)
            free(self.datas)
            free(self.owners)
            self.data_sizes, self.datas, self.owners = NULL, NULL, NULL
            self.capacity = 0
        if left == 0 and (self.explicit_capacity > KEPT or self.capacity == 0):
            free(self.has_explicit_hash_key)
            free(self.explicit_hash_keys)
            self.has_explicit_hash_key, self.explicit_hash_keys = NULL, NULL
            self.explicit_capacity = 0
        self.first_token += <uint64_t>self.routed
        self.keys.shift(self.routed, self.routed_keys_size)
        if left == 0 and (self.keys.sizes_capacity > KEPT or self.keys.capacity > KEPT_KEY_BYTES):
            self.keys.drop()
        self.count, self.routed, self.routed_keys_size = left, 0, 0

    cdef void drop_from(self, Py_ssize_t count) noexcept:
        """Forget all from this one on. None of them was routed."""
        cdef Py_ssize_t i
        for i in range(count, self.count):
            self.size -= self.data_sizes[i]
            self.keyless -= self.keys.sizes[i] == 0
            Py_DECREF(<object>self.owners[i])
        self.count = count
        self.keys.cut(count)
