cdef class Columns:
    cdef readonly object data
    cdef readonly object offsets
    cdef readonly object partition_key_indices
    cdef readonly object explicit_hash_key_indices
    cdef readonly object sub_sequence_numbers
    cdef readonly object parents
    cdef readonly Py_ssize_t left_out
    cdef list _received
    cdef list _partition_keys
    cdef list _explicit_hash_keys
