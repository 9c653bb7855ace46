from libc.stdint cimport uint64_t


cpdef enum:
    BLOCK = 4096  # user records


cdef class Block:
    cdef readonly list settled
    cdef public Py_ssize_t count  # of user records that have their outcome


cdef class Receipt:
    cdef Block block
    cdef object register
    cdef uint64_t token


cdef Receipt new_receipt(Block block, object register, uint64_t token)
