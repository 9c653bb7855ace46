from .deaggregate cimport sp_contents


cdef class Columns:
    cdef readonly object partition_key_indices
    cdef readonly object explicit_hash_key_indices
    cdef readonly object sub_sequence_numbers
    cdef readonly object parents
    cdef readonly Py_ssize_t left_out
    cdef object _views  # of 16 bytes a row, where payloads stay in their Kinesis records; or the next two
    cdef object _data
    cdef object _offsets
    cdef bint _is_part
    cdef Columns _whole  # which has the contents, where this is a part of it
    cdef tuple _received  # the parents
    cdef sp_contents *_contents  # of each
    cdef list _partition_keys
    cdef list _explicit_hash_keys

    cdef object _copied(self, object buffer)
