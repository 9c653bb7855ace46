from cpython.object cimport PyObject


cdef enum:
    REUSABLE = 64  # outputs that may be filled again once the caller has dropped them, at most
    REUSABLE_BYTES = 1 << 26  # so many, and these bytes of them, unless fewer were asked for
    REUSABLE_STEP = 1 << 16  # their capacity is a multiple of this; smaller outputs are left to the allocator


cdef class Outputs:
    cdef PyObject *held[REUSABLE]
    cdef Py_ssize_t[REUSABLE] capacities
    cdef Py_ssize_t oldest, total, most

    cdef bytes take(self, Py_ssize_t size)
    cdef void drop(self, Py_ssize_t i) noexcept
