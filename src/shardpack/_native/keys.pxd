"""Partition keys and explicit hash keys at the door: types, bounds, UTF-8, and what to say when they are wrong."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint64_t


cdef extern from "slice.h" nogil:
    ctypedef struct sp_slice:
        const uint8_t *data
        size_t size


cdef extern from "hash_key.h" nogil:
    enum: SP_HASH_KEY_MAX_DIGITS
    ctypedef struct sp_hash_key:
        uint64_t high
        uint64_t low
    sp_hash_key sp_hash_key_from_bytes(const uint8_t *data)
    int sp_hash_key_parse(const uint8_t *text, size_t size, sp_hash_key *value)
    size_t sp_hash_key_format(sp_hash_key key, uint8_t *text)


cdef extern from "Python.h":
    bint PyUnicode_CheckExact(object)
    bint PyUnicode_IS_COMPACT_ASCII(object)
    Py_ssize_t PyUnicode_GET_LENGTH(object)
    const uint8_t *PyUnicode_1BYTE_DATA(object)
    object PySequence_Fast(object, const char *)
    Py_ssize_t PySequence_Fast_GET_SIZE(object)
    PyObject *PySequence_Fast_GET_ITEM(object, Py_ssize_t)
    PyObject **PySequence_Fast_ITEMS(object)


cdef enum:
    MAX_PARTITION_KEY_CHARACTERS = 256
    NO_POSITION = -1  # the record at fault came alone

# The object that owns the key's UTF-8 bytes, and those bytes. Anything but a short ASCII str goes the long way.
cdef inline object view_partition_key(object key, sp_slice *view, Py_ssize_t position):
    if (
        PyUnicode_CheckExact(key)
        and PyUnicode_IS_COMPACT_ASCII(key)
        and 0 < PyUnicode_GET_LENGTH(key) <= MAX_PARTITION_KEY_CHARACTERS
    ):
        view.data = PyUnicode_1BYTE_DATA(key)
        view.size = <size_t>PyUnicode_GET_LENGTH(key)
        return key
    return view_other_partition_key(key, view, position)

cdef object view_other_partition_key(object key, sp_slice *view, Py_ssize_t position)
cdef int read_explicit_hash_key(object value, sp_hash_key *hash_key, Py_ssize_t position) except -1
cdef str name_record(Py_ssize_t position)
cdef str format_hash_key(sp_hash_key hash_key)
cdef object check_pair_lengths(object first, object second, str names)


# A run of partition keys borrowed from a sequence, held so that their bytes stay while the GIL is away.
cdef enum:
    KEY_BATCH = 1024

cdef class KeyBatch:
    cdef sp_slice slices[KEY_BATCH]
    cdef PyObject *owners[KEY_BATCH]
    cdef Py_ssize_t count

    cdef int fill(self, object keys, Py_ssize_t start) except -1
    cdef void release(self) noexcept
