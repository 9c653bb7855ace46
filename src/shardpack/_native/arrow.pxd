from libc.stdint cimport int64_t

from .arrow_rows cimport sp_arrow_column, sp_arrow_field


cdef extern from "arrow_abi.h" nogil:
    struct ArrowSchema:
        void (*release)(ArrowSchema *) noexcept nogil
    struct ArrowArray:
        void (*release)(ArrowArray *) noexcept nogil
    struct ArrowArrayStream:
        void (*release)(ArrowArrayStream *) noexcept nogil


cdef extern from "arrow.h" nogil:
    ctypedef struct sp_arrow_owner:
        void (*let_go)(void *keeper) noexcept nogil
        void *keeper
    bint sp_arrow_export_schema(const sp_arrow_field *fields, size_t n, ArrowSchema *out)
    bint sp_arrow_export_array(
        const sp_arrow_field *fields, const sp_arrow_column *columns, size_t n, int64_t rows, sp_arrow_owner owner,
        ArrowArray *out)
    bint sp_arrow_export_stream(
        const sp_arrow_field *fields, const sp_arrow_column *columns, size_t n, int64_t rows, sp_arrow_owner owner,
        ArrowArrayStream *out)
