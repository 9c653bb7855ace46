"""Answers in CBOR, said in JSON."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t

from .base64 cimport base64_encode
from .keys cimport sp_slice
from .slices cimport slice_of_bytes


cdef extern from "cbor_json.h" nogil:
    size_t sp_cbor_json_size(sp_slice cbor)
    void sp_cbor_json_write(
        sp_slice cbor, void (*to_base64)(const uint8_t *, size_t, uint8_t *) noexcept nogil, uint8_t *out)


def json_of_cbor(bytes cbor not None):
    """Return one CBOR item as JSON, UTF-8; bytes in it become base64. ``None`` for what is not one whole item.

    Nor for what answers do not have: numbers that are not whole, keys that are not text, tags but of times, bytes in
    several chunks, more than 16 items within each other.
    """
    cdef sp_slice item = slice_of_bytes(cbor)
    cdef size_t size = sp_cbor_json_size(item)
    cdef bytes out
    if not size:
        return None
    out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
    sp_cbor_json_write(item, base64_encode, <uint8_t *>PyBytes_AS_STRING(out))
    return out
