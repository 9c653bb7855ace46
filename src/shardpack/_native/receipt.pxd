from libc.stdint cimport uint16_t, uint32_t, uint64_t


cpdef enum:
    BLOCK = 4096  # user records


cdef class Index:
    cdef uint16_t[BLOCK] which  # of `settled`, counted from 1; 0 where there is none yet
    cdef uint32_t[BLOCK] places
    cdef list settled
    cdef Py_ssize_t seen  # so many of the block's are in here

    cdef int look_at(self, list settled, uint64_t first) except -1


cdef class Block:
    cdef Index index  # once somebody has asked
    cdef readonly list settled
    cdef public Py_ssize_t count  # of user records that have their outcome


cdef class Receipt:
    cdef Block block
    cdef object register
    cdef uint64_t token


cdef Receipt new_receipt(Block block, object register, uint64_t token)
