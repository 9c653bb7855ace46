"""Bodies of PutRecords: Kinesis records as JSON or CBOR, in one allocation of the exact size."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from .base64 cimport base64_encode
from .keys cimport SHORT_WORK, name_record, sp_slice, take_partition_key, view_bytes, view_key
from .outputs cimport Outputs
from .slices cimport slice_of_bytes


cdef extern from "body.h" nogil:
    ctypedef struct sp_put_record:
        sp_slice data
        sp_slice partition_key
        sp_slice explicit_hash_key
    size_t sp_body_size(const sp_put_record *records, size_t n)
    uint8_t *sp_body_write(
        const sp_put_record *records, size_t n, void (*to_base64)(const uint8_t *, size_t, uint8_t *) noexcept nogil,
        uint8_t *out)


cdef extern from "body_cbor.h" nogil:
    size_t sp_body_cbor_size(const sp_put_record *records, size_t n)
    uint8_t *sp_body_cbor_write(const sp_put_record *records, size_t n, uint8_t *out)


cdef enum:
    BYTES_A_NANOSECOND = 4  # of a body, about: from memory to memory
    KEPT_BYTES = 1 << 25  # of bodies that are used again, for each transport


cdef bytes take_data(object data, Py_ssize_t position):
    """Data as bytes that nobody changes; of what is none but has a buffer, a copy."""
    if type(data) is bytes:
        return <bytes>data
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"{name_record(position)}data is bytes, not {type(data).__name__}")


cdef bytes take_text(object text, Py_ssize_t position):
    if not isinstance(text, str):
        raise TypeError(f"{name_record(position)}an explicit hash key is str, not {type(text).__name__}")
    return (<str>text).encode()


@cython.final
cdef class BodyWriter:
    """Writes bodies, in JSON or CBOR, and uses the memory of those again that nobody holds any more."""

    cdef Outputs outputs
    cdef readonly bint cbor

    def __cinit__(self, bint cbor=False):
        self.outputs, self.cbor = Outputs(KEPT_BYTES), cbor

    def write(self, tuple records not None, bytes before not None, bytes behind not None):
        """Return ``before``, the array of the records, and ``behind`` as one bytes object.

        ``records`` are like ``KinesisRecord``: ``data``, ``partition_key`` and ``explicit_hash_key`` are read of each.
        What takes a millisecond runs without the GIL. Raises ``InvalidPartitionKeyError``, or ``TypeError``, with the
        position of the record at fault.
        """
        cdef Py_ssize_t n = len(records), i
        cdef list held = []  # what the slices below borrow from
        cdef sp_put_record *slices = <sp_put_record *>malloc(<size_t>(n + 1) * sizeof(sp_put_record))
        cdef size_t head = <size_t>len(before), tail = <size_t>len(behind), size
        cdef bytes body
        cdef uint8_t *out
        if slices == NULL:
            raise MemoryError
        try:
            for i in range(n):
                take_record(records[i], i, &slices[i], held)
            size = sp_body_cbor_size(slices, <size_t>n) if self.cbor else sp_body_size(slices, <size_t>n)
            body = self.outputs.take(<Py_ssize_t>(head + size + tail))
            out = <uint8_t *>PyBytes_AS_STRING(body)
            memcpy(out, PyBytes_AS_STRING(before), head)
            if size < <size_t>SHORT_WORK * BYTES_A_NANOSECOND:
                out = write_records(slices, <size_t>n, self.cbor, out + head)
            else:
                with nogil:
                    out = write_records(slices, <size_t>n, self.cbor, out + head)
            memcpy(out, PyBytes_AS_STRING(behind), tail)
        finally:
            free(slices)
        return body


cdef inline uint8_t *write_records(const sp_put_record *records, size_t n, bint cbor, uint8_t *out) noexcept nogil:
    return sp_body_cbor_write(records, n, out) if cbor else sp_body_write(records, n, base64_encode, out)


cdef int take_record(object record, Py_ssize_t position, sp_put_record *slices, list held) except -1:
    """Read a record once: from now on, nobody changes what was read."""
    cdef bytes data = take_data(record.data, position)
    cdef object key = take_partition_key(record.partition_key, position)
    cdef object explicit_hash_key = record.explicit_hash_key
    held.append(data)
    held.append(key)
    slices.data, slices.partition_key = slice_of_bytes(data), view_key(<PyObject *>key)
    slices.explicit_hash_key.data, slices.explicit_hash_key.size = NULL, 0
    if explicit_hash_key is not None:
        explicit_hash_key = take_text(explicit_hash_key, position)
        held.append(explicit_hash_key)
        slices.explicit_hash_key = view_bytes(<PyObject *>explicit_hash_key)
    return 0
