from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from .keys cimport sp_hash_key, sp_slice


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
    void sp_record_tags(sp_slice message, const sp_wire_record *record, sp_wire_tag *tags)
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
        sp_span *partition_keys
        sp_span *explicit_hash_keys
        sp_message_counts found
    ctypedef struct sp_binary_view:
        pass
    ctypedef struct sp_columns:
        int32_t *partition_key_indices
        int32_t *sub_sequence_numbers
        int32_t *parents
        uint8_t *data
        size_t count
        size_t size


cdef extern from "contents.h" nogil:
    ctypedef enum sp_kind:
        SP_RAW
        SP_MALFORMED
        SP_AGGREGATED
        SP_LEFT_OUT
    ctypedef struct sp_contents:
        sp_kind kind
        sp_walk walk
        sp_wire_record *records
        sp_finding finding
    ctypedef struct sp_received:
        sp_slice data
        sp_slice message
        bint deaggregated
        bint has_explicit_hash_key
    ctypedef struct sp_hash_range:
        sp_hash_key low
        sp_hash_key high
    ctypedef void sp_md5_many_fn(const sp_slice *messages, size_t n, uint8_t *digests) noexcept nogil
    bint sp_contents_read(
        const sp_received *received, size_t n, sp_md5_many_fn *md5_many, const sp_hash_range *range,
        sp_contents *contents)
    bint sp_contents_read_message(sp_slice message, sp_contents *contents)
    void sp_contents_free(sp_contents *contents)
    sp_contents *sp_contents_publish(sp_contents **place, sp_contents *made)
    sp_contents *sp_contents_at(sp_contents **place)


cdef extern from "columns.h" nogil:
    ctypedef enum sp_filled:
        SP_FILLED
        SP_NO_MEMORY
        SP_TOO_MANY_ROWS
        SP_TOO_MANY_KEYS
    ctypedef struct sp_filling:
        sp_columns columns
        uint8_t *rows
        size_t capacity
        bint viewed
    sp_filled sp_columns_fill(
        sp_filling *filling, const sp_received *received, size_t n, sp_md5_many_fn *md5_many,
        const sp_hash_range *range, sp_contents *contents)
    size_t sp_where_size(const sp_filling *filling)


# What many Kinesis records lie in, and what is known of each by its place there.
cdef class SharedMemory:
    cdef object source_of(self, ReceivedRecord record)
    cdef object origin_of(self, ReceivedRecord record)
    cdef int64_t arrival_of(self, ReceivedRecord record) noexcept


cdef class ReceivedRecord:
    cdef sp_slice content  # its data: in `_data`, or in `memory`
    cdef bytes message  # what it unpacked to, where it is a compressed aggregate; or None
    cdef bytes _data  # None until somebody asks, where it lies in memory
    cdef SharedMemory memory  # or None
    cdef Py_ssize_t place  # in it
    cdef object _source  # the same
    cdef object shape  # reads the origin out of the source
    cdef object _origin
    cdef str shard_id  # where the origin tells none; or None
    cdef bint deaggregated  # a user record of an aggregated record already: data that looks like one is data
    # of the one user record, where it is all there is: a raw or malformed record, or one that was pickled
    cdef str explicit_hash_key
    cdef tuple tags
    cdef tuple error_arguments  # of one that was pickled, and of a compressed aggregate that does not unpack
    cdef bint was_aggregated  # it, too
    cdef sp_contents *_contents  # published once, and what it points to never changes; of a raw record, NULL
    cdef list partition_keys  # text, or None until somebody asks
    cdef list explicit_hash_keys

    cdef inline const sp_contents *contents(self) noexcept:
        return sp_contents_at(&self._contents)

    cdef inline object owner(self):  # who keeps the content
        return self._data if self.memory is None else self.memory

    cdef inline object owner_of_message(self):  # and who what the user records are in
        return self.owner() if self.message is None else self.message

    cdef tuple error_arguments_in(self, const sp_contents *contents)
    cdef bint is_aggregated(self) noexcept
    cdef int keep(self, sp_contents *contents) except -1
    cdef str partition_key_at(self, Py_ssize_t i)
    cdef str explicit_hash_key_at(self, Py_ssize_t i)


cdef ReceivedRecord record_in_memory(SharedMemory memory, Py_ssize_t place, sp_slice content)
cdef tuple kinesis_records(list received)
cdef sp_received *received_by_c(tuple held) except NULL
cdef int unpack(tuple held) except -1
cdef sp_contents *room_for_contents(size_t n) except NULL
cdef void free_contents(sp_contents *contents, size_t n) noexcept
cdef int read_hash_range(tuple hash_range, sp_hash_range *out) except -1
cdef int index_all(tuple held) except -1
cdef bint read_unverified(ReceivedRecord record, sp_contents *contents) except -1
cdef sp_filled fill_columns(
    sp_filling *filling, const sp_received *received, size_t n, const sp_hash_range *hash_range, sp_contents *contents
) noexcept
cdef tuple tags_of(const sp_contents *contents, Py_ssize_t i)
cdef tuple error_arguments_of(const sp_finding *finding, bint unpacked=*)
cdef object error_with_place(ReceivedRecord record, object error)
