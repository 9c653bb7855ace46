from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from .columns cimport Columns
from .deaggregate cimport sp_span
from .keys cimport sp_slice


cdef extern from "arrow.h" nogil:
    ctypedef struct sp_arrow_field:
        const char *name
        const char *format
        const char *dictionary_format
        bint nullable
    ctypedef struct sp_arrow_rows:
        int64_t length
        int64_t null_count
        int64_t n_buffers
        const void *buffers[3]
        const void **many
    ctypedef struct sp_arrow_column:
        sp_arrow_rows rows
        sp_arrow_rows dictionary


cdef extern from "arrow_rows.h" nogil:
    void sp_rows_starts(const int32_t *parent_of, size_t n, size_t parents, int64_t *starts)
    void sp_rows_fill_int32(const int64_t *starts, const int32_t *values, size_t parents, int32_t *out)
    void sp_rows_fill_int64(const int64_t *starts, const int64_t *values, size_t parents, int64_t *out)
    void sp_rows_fill_bits(const int64_t *starts, const uint8_t *values, size_t parents, uint8_t *out)
    void sp_rows_map(const int32_t *indices, size_t n, const int32_t *places, int32_t *out)
    size_t sp_rows_group(
        const int32_t *indices, const int32_t *places, size_t n, uint32_t *known, int32_t *groups, int32_t *place_of,
        int32_t *last, int32_t *sizes)
    size_t sp_rows_validity(const int32_t *indices, size_t n, uint8_t *out)


cdef extern from "dictionary.h" nogil:
    ctypedef struct sp_seed:
        uint64_t first
        uint64_t last
    ctypedef struct sp_dictionary:
        int64_t *offsets
        uint8_t *bytes
        uint32_t count
        bint exact
    sp_dictionary sp_dictionary_make(sp_seed seed)
    bint sp_dictionary_add(sp_dictionary *dictionary, sp_slice text, int32_t *index)
    bint sp_dictionary_add_table(
        sp_dictionary *dictionary, sp_slice message, const sp_span *spans, uint32_t n, int32_t *indices)
    bint sp_dictionary_close(sp_dictionary *dictionary)
    void sp_dictionary_free(sp_dictionary *dictionary)


cdef enum:
    PARTITION_KEY
    EXPLICIT_HASH_KEY
    DATA
    SEQUENCE_NUMBER
    SUB_SEQUENCE_NUMBER
    ARRIVAL
    SHARD_ID
    AGGREGATED
    ERROR
    COLUMNS


cdef class Buffers:
    cdef const sp_arrow_field *fields
    cdef sp_arrow_column[COLUMNS] columns
    cdef int64_t rows
    cdef Py_ssize_t parent_count
    cdef list kept
    cdef sp_dictionary[COLUMNS] dictionaries  # of those columns that have one

    cdef const void *borrow(self, object buffer) except NULL
    cdef void *allocate(self, size_t size) except NULL
    cdef const void *zeros(self) except NULL
    cdef void put(self, int column, const void *values) noexcept
    cdef void put_nulls(self, int column, int64_t count, const void *bits) noexcept
    cdef int put_nothing(self, int column) except -1
    cdef int put_views(self, Columns columns) except -1
    cdef int put_dictionary(self, int column) except -1


cdef Buffers buffers_of_columns(Columns columns)
