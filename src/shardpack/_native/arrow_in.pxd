"""User records out of Arrow arrays: csrc/arrow_in, and who frees what."""

from libc.stdint cimport int64_t

from .intake cimport Intake
from .keys cimport sp_slice


cdef extern from "arrow_abi.h" nogil:
    struct ArrowSchema:
        const char *format
        const char *name
        int64_t n_children
        ArrowSchema **children
        ArrowSchema *dictionary
        void (*release)(ArrowSchema *) noexcept nogil
    struct ArrowArray:
        int64_t length
        int64_t offset
        int64_t n_children
        ArrowArray **children
        void (*release)(ArrowArray *) noexcept nogil
    struct ArrowArrayStream:
        int (*get_schema)(ArrowArrayStream *, ArrowSchema *out) noexcept nogil
        int (*get_next)(ArrowArrayStream *, ArrowArray *out) noexcept nogil
        const char *(*get_last_error)(ArrowArrayStream *) noexcept nogil
        void (*release)(ArrowArrayStream *) noexcept nogil


cdef extern from "arrow_in.h" nogil:
    ctypedef enum sp_arrow_layout:
        SP_LAYOUT_NULLS
        SP_LAYOUT_INTEGER
    ctypedef enum sp_rows_fault:
        SP_ROWS_TAKEN
        SP_ROWS_NO_MEMORY
        SP_ROWS_BAD_KEY
        SP_ROWS_NO_DATA
        SP_ROWS_TOO_LARGE
        SP_ROWS_BAD_EXPLICIT_HASH_KEY
        SP_ROWS_KEY_MALFORMED
        SP_ROWS_DATA_MALFORMED
        SP_ROWS_EXPLICIT_HASH_KEY_MALFORMED
    ctypedef struct sp_arrow_type:
        sp_arrow_layout layout
        bint is_signed
        bint is_text
    ctypedef struct sp_arrow_column:
        pass
    ctypedef struct sp_arrow_chunk:
        int64_t rows
        bint has_key
        bint has_explicit_hash_key
        sp_arrow_column key
        sp_arrow_column data
        sp_arrow_column explicit_hash_key
        void *owner
        size_t size


cdef class ArrowChunk:
    cdef ArrowArray whole  # until it was taken
    cdef ArrowArray data  # then only this column of it
    cdef sp_arrow_chunk c
    cdef int64_t waiting  # rows that are not settled

    cdef int keep_data(self, int64_t column) except -1
    cdef size_t settle(self, bint again) noexcept


cdef class ArrowRows:
    cdef list names
    cdef int64_t key, data, explicit_hash_key  # columns; -1 for none
    cdef sp_arrow_type key_type, data_type, explicit_type
    cdef list chunks
    cdef Intake checked  # once they were
    cdef readonly int64_t count

    cdef int take(self, Intake intake) except -1
    cdef Intake check(self, size_t max_record_bytes)
    cdef int read_schema(self, ArrowSchema *schema, object key, object data, object explicit_hash_key) except -1
    cdef int64_t column(self, object given) except -1
    cdef str shown(self)
    cdef int read_type(self, object column, ArrowSchema *schema, sp_arrow_type *type, str needed) except -1
    cdef int read_array(self, object capsule) except -1
    cdef int read_stream(self, ArrowArrayStream *stream, object key, object data, object explicit_hash_key) except -1
    cdef int add_chunk(self, ArrowArray *whole) except -1
    cdef int open(self, ArrowChunk chunk, int64_t before) except -1
    cdef int open_column(
        self, ArrowChunk chunk, int64_t number, const sp_arrow_type *type, sp_arrow_column *column) except -1
    cdef int refuse(self, sp_rows_fault fault, Py_ssize_t which, int64_t row, Intake intake) except -1
    cdef object explicit_of(self, ArrowChunk chunk, int64_t row)
    cdef int check_size(self, ArrowChunk chunk, int64_t row, sp_slice key, sp_slice data, Intake intake) except -1
