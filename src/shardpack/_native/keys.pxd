"""Partition keys and explicit hash keys at the door: types, bounds, UTF-8, and what to say when they are wrong."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint64_t


cdef extern from "slice.h" nogil:
    ctypedef struct sp_slice:
        const uint8_t *data
        size_t size
    void sp_copy_short(uint8_t *out, sp_slice content)


cdef extern from "hash_key.h" nogil:
    enum: SP_HASH_KEY_MAX_DIGITS
    ctypedef struct sp_hash_key:
        uint64_t high
        uint64_t low
    sp_hash_key sp_hash_key_from_bytes(const uint8_t *data)
    int sp_hash_key_parse(const uint8_t *text, size_t size, sp_hash_key *value)
    size_t sp_hash_key_format(sp_hash_key key, uint8_t *text)


cdef extern from "Python.h":
    Py_ssize_t PySequence_Fast_GET_SIZE(object)
    PyObject *PySequence_Fast_GET_ITEM(object, Py_ssize_t)
    PyObject **PySequence_Fast_ITEMS(object)


cdef extern from *:
    """
    /* A short ASCII str is a key as it stands, and so is bytes that was found to be one; both are immutable, and read
     * without the GIL while somebody holds them. */
    static inline int is_plain_key(PyObject *key) {
        return PyUnicode_CheckExact(key) && PyUnicode_IS_COMPACT_ASCII(key) && PyUnicode_GET_LENGTH(key) > 0 &&
               PyUnicode_GET_LENGTH(key) <= 256;
    }

    static inline sp_slice view_key(PyObject *key) {
        if (PyUnicode_CheckExact(key)) {
            return (sp_slice){(const uint8_t *)PyUnicode_1BYTE_DATA(key), (size_t)PyUnicode_GET_LENGTH(key)};
        }
        return (sp_slice){(const uint8_t *)PyBytes_AS_STRING(key), (size_t)PyBytes_GET_SIZE(key)};
    }

    static inline sp_slice view_bytes(PyObject *bytes) {
        return (sp_slice){(const uint8_t *)PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes)};
    }

    /* What the checks and the hashing read of a str or bytes: its header and the first bytes behind it. */
    static inline void prefetch_object(PyObject *object) {
        SP_PREFETCH_WRITE(object);
        SP_PREFETCH((char *)object + 40);
    }
    """
    bint is_plain_key(PyObject *key) noexcept nogil
    sp_slice view_key(PyObject *key) noexcept nogil
    sp_slice view_bytes(PyObject *data) noexcept nogil
    void prefetch_object(PyObject *object) noexcept nogil


cdef enum:
    MAX_PARTITION_KEY_CHARACTERS = 256
    NO_POSITION = -1  # the record at fault came alone
    PREFETCHED = 16  # how far ahead objects are brought into the cache: they lie all over the heap
    # Work below this many nanoseconds keeps the GIL: beside a busy thread it takes up to 5 ms to get it back, and
    # nobody who waits for it sees a millisecond.
    SHORT_WORK = 1_000_000


cdef inline object take_partition_key(object key, Py_ssize_t position):
    """The key as an object that view_key reads: itself, where it is a short ASCII str, else its UTF-8 as bytes."""
    return key if is_plain_key(<PyObject *>key) else encode_partition_key(key, position)

cdef object encode_partition_key(object key, Py_ssize_t position)
cdef int read_explicit_hash_key(object value, sp_hash_key *hash_key, Py_ssize_t position) except -1
cdef str name_record(Py_ssize_t position)
cdef str format_hash_key(sp_hash_key hash_key)
cdef object sequence_of(object items, str names, str one)
cdef int demand_one_for_one(object first, object second, str names) except -1
cdef int refuse_length() except -1


# Lists are read while other code may run, and may change.
cdef inline int demand_length(object sequence, Py_ssize_t n) except -1:
    return refuse_length() if PySequence_Fast_GET_SIZE(sequence) != n else 0


cdef enum:
    # Keys that are copied before they are hashed in one go, or bytes of them. Hashing as many takes a millisecond, for
    # which the GIL is released; fewer keep it.
    KEY_RUN = 1 << 18
    KEY_RUN_BYTES = 1 << 23
    KEY_CHUNK = 256  # hashed at a time


cdef class KeyBytes:
    cdef uint8_t *data
    cdef size_t size
    cdef size_t capacity
    cdef uint16_t *sizes
    cdef Py_ssize_t count
    cdef size_t sizes_capacity

    cdef int reserve(self, Py_ssize_t more) except -1
    cdef int grow(self, size_t size) except -1
    cdef Py_ssize_t fill(self, object keys, Py_ssize_t start, Py_ssize_t n) except -1
    cdef void cut(self, Py_ssize_t count) noexcept
    cdef void shift(self, Py_ssize_t count, size_t size) noexcept
    cdef void drop(self) noexcept


cdef KeyBytes take_key_bytes()
cdef int keep_key_bytes(KeyBytes keys) except -1


# A key that view_key reads, for which there is room among the sizes.
cdef inline int append_key(KeyBytes keys, sp_slice key) except -1:
    if key.size > keys.capacity - keys.size:
        keys.grow(key.size)
    sp_copy_short(keys.data + keys.size, key)
    keys.size += key.size
    keys.sizes[keys.count] = <uint16_t>key.size
    keys.count += 1
    return 0

cdef Py_ssize_t view_keys(
    const uint8_t **data, const uint16_t *sizes, Py_ssize_t count, sp_slice *slices) noexcept nogil
