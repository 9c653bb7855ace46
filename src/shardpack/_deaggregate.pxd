from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint32_t

from ._keys cimport sp_hash_key, sp_slice


cdef extern from "hash_key.h" nogil:
    bint sp_hash_key_less(sp_hash_key a, sp_hash_key b)


cdef extern from "deaggregate.h" nogil:
    enum: SP_MAGIC_SIZE
    uint32_t SP_NO_INDEX
    ctypedef struct sp_message_counts:
        uint32_t partition_keys
        uint32_t explicit_hash_keys
        uint32_t records
    ctypedef struct sp_span:
        pass
    sp_slice sp_span_of(sp_slice message, sp_span span)
    ctypedef struct sp_wire_record:
        sp_span data
        uint32_t partition_key_index
        uint32_t explicit_hash_key_index
        uint32_t tag_count
    ctypedef struct sp_wire_tag:
        sp_slice key
        sp_slice value
        bint has_value
    ctypedef enum sp_verdict:
        SP_WELL_FORMED
        SP_BAD_FIELD
        SP_MISSING_PARTITION_KEY_INDEX
        SP_MISSING_DATA
        SP_MISSING_TAG_KEY
        SP_PARTITION_KEY_INDEX_RANGE
        SP_EXPLICIT_HASH_KEY_INDEX_RANGE
        SP_BAD_EXPLICIT_HASH_KEY
    ctypedef struct sp_finding:
        sp_verdict verdict
        size_t offset
        size_t record
    bint sp_frame(sp_slice blob, sp_slice *message)
    bint sp_message_count(sp_slice message, sp_message_counts *counts, sp_finding *finding)
    bint sp_message_index(
        sp_slice message, sp_span *partition_keys, sp_span *explicit_hash_keys, sp_wire_record *records,
        sp_finding *finding)
    void sp_record_tags(sp_slice message, const sp_wire_record *record, sp_wire_tag *tags)


cdef enum:
    VERIFY_BATCH = 64  # Kinesis records whose checksums are computed together


cdef inline bytes to_bytes(sp_slice view):
    return PyBytes_FromStringAndSize(<const char *>view.data, <Py_ssize_t>view.size)


cdef inline str to_text(sp_slice view):
    return PyUnicode_DecodeUTF8(<const char *>view.data, <Py_ssize_t>view.size, "surrogateescape")


cdef class ReceivedRecord:
    cdef readonly bytes data
    cdef readonly object source
    cdef object shape  # reads the origin out of the source
    cdef object _origin
    # of the one user record, where it is all there is: a raw or malformed record, or one that was pickled
    cdef str explicit_hash_key
    cdef tuple tags
    cdef object error
    cdef bint aggregated
    # of an aggregated record
    cdef sp_slice message
    cdef sp_message_counts counts
    cdef sp_span *partition_key_spans
    cdef sp_span *explicit_hash_key_spans
    cdef sp_wire_record *records
    cdef list partition_keys  # text, or None until somebody asks
    cdef list explicit_hash_keys

    cdef void forget_index(self) noexcept
    cdef sp_slice blob(self) noexcept
    cdef int index(self, sp_slice message, sp_finding *finding) except -1
    cdef str partition_key_at(self, Py_ssize_t i)
    cdef str explicit_hash_key_at(self, Py_ssize_t i)
    cdef tuple tags_at(self, Py_ssize_t i)
    cdef bint all_in_range(self, sp_hash_key low, sp_hash_key high) except -1


cdef int index_batch(list received) except -1
cdef int index_malformed(ReceivedRecord received) except -1
