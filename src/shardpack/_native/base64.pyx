"""Base64: what JSON carries bytes as."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t


cdef extern from "base64.h" nogil:
    ctypedef struct sp_base64_kernel:
        const char *name
        int supported()
    const sp_base64_kernel sp_base64_kernels[]
    const size_t sp_base64_kernel_count
    void sp_base64_encode(const uint8_t *data, size_t n, uint8_t *out)
    size_t sp_base64_decode(const uint8_t *text, size_t n, uint8_t *out)
    const char *sp_base64_kernel_name()
    int sp_base64_set_kernel(const char *name)


cdef void base64_encode(const uint8_t *data, size_t n, uint8_t *out) noexcept nogil:
    sp_base64_encode(data, n, out)


cdef size_t base64_decode(const uint8_t *text, size_t n, uint8_t *out) noexcept nogil:
    return sp_base64_decode(text, n, out)


def _kernel():
    """Return the name of the kernel in use."""
    return sp_base64_kernel_name().decode()


def _kernels():
    """Return the names of the kernels that this machine can run, fastest first."""
    return [
        sp_base64_kernels[i].name.decode() for i in range(sp_base64_kernel_count) if sp_base64_kernels[i].supported()
    ]


def _set_kernel(str name):
    """Use the kernel of this name, in the whole process. Raises ``ValueError`` when this machine cannot run it."""
    if sp_base64_set_kernel(name.encode()) < 0:
        raise ValueError(f"base64 kernel {name!r} is not available here; there are: {', '.join(_kernels())}")


def _encode(bytes data not None):
    """Return the base64 of ``data``: what the tests and benchmarks of the kernels call, as they call ``_decode``."""
    cdef size_t n = <size_t>len(data)
    cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>sp_base64_size(n))
    sp_base64_encode(<uint8_t *>PyBytes_AS_STRING(data), n, <uint8_t *>PyBytes_AS_STRING(out))
    return out


def _decode(bytes text not None):
    """Return the bytes that ``text`` stands for, or ``None`` where it is no base64."""
    cdef size_t n = <size_t>len(text), size
    cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(n // 4 * 3))
    size = sp_base64_decode(<uint8_t *>PyBytes_AS_STRING(text), n, <uint8_t *>PyBytes_AS_STRING(out))
    return None if size == <size_t>-1 else out[:<Py_ssize_t>size]
