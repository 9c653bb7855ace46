from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from .keys cimport sp_hash_key, sp_slice


cdef extern from "Python.h":
    bint PyGC_Enable()
    bint PyGC_Disable()


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
    ctypedef struct sp_walk:
        sp_slice message
        size_t walked
        sp_span *partition_keys
        sp_span *explicit_hash_keys
        sp_message_counts found
        sp_message_counts room
    ctypedef enum sp_outcome:
        SP_WALKED
        SP_NO_ROOM
        SP_FAULT
    sp_outcome sp_walk_records(sp_walk *walk, sp_wire_record *records, sp_finding *finding)
    ctypedef struct sp_binary_view:
        pass
    sp_binary_view sp_binary_view_of(sp_slice data, int32_t buffer, size_t offset)
    enum: SP_COPY_SLACK
    ctypedef struct sp_columns:
        sp_binary_view *views
        int64_t *offsets
        int32_t *partition_key_indices
        int32_t *explicit_hash_key_indices
        int32_t *sub_sequence_numbers
        int32_t *parents
        uint8_t *data
        size_t count
        size_t size
        int32_t first_partition_key
        int32_t first_explicit_hash_key
        int32_t parent
    sp_outcome sp_walk_columns(sp_walk *walk, sp_columns *columns, sp_finding *finding)
    void sp_record_tags(sp_slice message, const sp_wire_record *record, sp_wire_tag *tags)


cdef enum:
    # Kinesis records whose checksums are computed together: at least two vectors of lanes, where there are as many, and
    # then as few as it takes to find them in the second-level cache again
    FEWEST_VERIFIED = 32
    MOST_VERIFIED = 256
    VERIFIED_BYTES = 1 << 20


# Kinesis records from `start` to `stop`, and of which of them the checksum is that of an aggregated record.
cdef struct Batch:
    Py_ssize_t start
    Py_ssize_t stop
    sp_slice[MOST_VERIFIED] messages
    bint[MOST_VERIFIED] verified


cdef inline bytes to_bytes(sp_slice view):
    return PyBytes_FromStringAndSize(<const char *>view.data, <Py_ssize_t>view.size)


cdef inline str to_text(sp_slice view):
    return PyUnicode_DecodeUTF8(<const char *>view.data, <Py_ssize_t>view.size, "surrogateescape")


cdef class ReceivedRecord:
    cdef readonly bytes data
    cdef readonly object source
    cdef object shape  # reads the origin out of the source
    cdef object _origin
    cdef bint deaggregated  # a user record of an aggregated record already: data that looks like one is data
    # of the one user record, where it is all there is: a raw or malformed record, or one that was pickled
    cdef str explicit_hash_key
    cdef tuple tags
    cdef tuple fault  # of a malformed record: what its error is made of. An error that was raised holds frames, which
    # may hold this: kept here, neither would ever be freed
    cdef bint aggregated
    cdef bint is_left_out  # by a hash range
    # of an aggregated record
    cdef sp_walk walk
    cdef sp_wire_record *records
    cdef list partition_keys  # text, or None until somebody asks
    cdef list explicit_hash_keys

    cdef sp_slice blob(self) noexcept
    cdef int begin(self, sp_slice message) except -1
    cdef int make_room(self) except -1
    cdef void forget(self) noexcept
    cdef sp_outcome walk_into(self, sp_columns *columns, sp_finding *finding) noexcept
    cdef int index(self, sp_slice message, sp_finding *finding) except -1
    cdef str partition_key_at(self, Py_ssize_t i)
    cdef str explicit_hash_key_at(self, Py_ssize_t i)
    cdef tuple tags_at(self, Py_ssize_t i)
    cdef bint all_in_range(self, sp_hash_key low, sp_hash_key high) except -1


cdef object named(ReceivedRecord record)
cdef int read_hash_range(tuple hash_range, sp_hash_key *low, sp_hash_key *high) except -1
cdef void verify(list received, Batch *batch) noexcept
cdef int index_record(ReceivedRecord record, sp_slice message) except -1
cdef int index_all(list received) except -1
cdef int index_malformed(ReceivedRecord received) except -1
