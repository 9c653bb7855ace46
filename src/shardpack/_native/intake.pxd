"""User records at the door of an Aggregator: checked, and held until they are routed."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from .keys cimport KeyBytes, sp_hash_key, sp_slice


cdef extern from "text_table.h" nogil:
    ctypedef struct sp_seed:
        uint64_t first
        uint64_t last


cdef extern from "stage.h" nogil:
    enum: SP_STAGE_SIZE
    ctypedef struct sp_stage:
        uint32_t count
        sp_slice *partition_keys
        sp_slice *datas
        void **owners
        uint64_t *tokens
        uint8_t *has_explicit_hash_key
        sp_hash_key *hash_keys


cdef class Intake:
    cdef size_t max_record_bytes
    cdef Py_ssize_t count  # user records that wait; the first `routed` of them are in buckets already
    cdef Py_ssize_t routed
    cdef bint takes_keyless  # None as a partition key; it is held as an empty one
    cdef Py_ssize_t keyless  # how many of those that wait
    cdef size_t size  # bytes of their data
    cdef uint64_t first_token  # the number of the first one; the others' follow
    cdef KeyBytes keys
    cdef size_t routed_keys_size
    cdef uint32_t *data_sizes
    cdef const uint8_t **datas
    cdef PyObject **owners  # bytes objects whose content they are, or arrays of Arrow's that they lie in
    cdef uint8_t *has_explicit_hash_key  # these two only once a record came with one
    cdef sp_hash_key *explicit_hash_keys
    cdef size_t capacity
    cdef size_t explicit_capacity

    cdef int add(self, object partition_key, object data, object explicit_hash_key) except -1
    cdef int add_many(self, object keys, object datas, object explicit) except -1
    cdef int append(self, Intake other) except -1
    cdef int reserve(self, Py_ssize_t more) except -1
    cdef int reserve_explicit(self) except -1
    cdef void hold(self, PyObject *data, size_t size) noexcept
    cdef inline bint take_plain(self, PyObject *key, PyObject *data) noexcept
    cdef inline int take(self, object key, object data, object explicit_hash_key, Py_ssize_t position) except -1
    cdef int check_keyless_size(self, sp_slice data, Py_ssize_t position) except -1
    cdef int check_size(
        self, sp_slice key, sp_slice data, const sp_hash_key *explicit_hash_key, Py_ssize_t position) except -1
    cdef void fill(self, sp_stage *stage) noexcept nogil
    cdef void note_routed(self, const sp_stage *stage, uint32_t n) noexcept nogil
    cdef void forget_routed(self) noexcept
    cdef void drop_from(self, Py_ssize_t count) noexcept


cdef extern from *:
    """
    /* Where the content of a bytes object is, which is not looked at. */
    static inline const uint8_t *bytes_start(PyObject *bytes) {
        return (const uint8_t *)((PyBytesObject *)bytes)->ob_sval;
    }
    """
    const uint8_t *bytes_start(PyObject *data) noexcept nogil


# Whether a payload's owner is the bytes object that it is: told by where it lies, without a look at the owner.
cdef inline bint is_bytes(const uint8_t *data, void *owner) noexcept nogil:
    return data == bytes_start(<PyObject *>owner)
