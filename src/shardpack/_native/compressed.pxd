from .keys cimport sp_slice


cdef extern from "compressed.h" nogil:
    bint sp_is_compressed(sp_slice data)


cdef list messages_of(const sp_slice *records, size_t n)
