"""Python's bytes and text as C reads them, and what C found as Python's."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t

from .keys cimport sp_slice


# Borrowed: the caller keeps the object, which is not None.
cdef inline sp_slice slice_of_bytes(bytes content) noexcept:
    cdef sp_slice out
    out.data = <const uint8_t *>PyBytes_AS_STRING(content)
    out.size = <size_t>PyBytes_GET_SIZE(content)
    return out


cdef inline bytes bytes_of_slice(sp_slice content):
    return PyBytes_FromStringAndSize(<const char *>content.data, <Py_ssize_t>content.size)


# Bytes that are not UTF-8 become lone surrogates.
cdef inline str text_of_slice(sp_slice content):
    return PyUnicode_DecodeUTF8(<const char *>content.data, <Py_ssize_t>content.size, "surrogateescape")
