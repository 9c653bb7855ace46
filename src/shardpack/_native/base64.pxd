from libc.stdint cimport uint8_t


cdef extern from "base64.h" nogil:
    size_t sp_base64_size(size_t n)


# Base64 with the kernel in use: csrc/base64.h. Other extensions call it through here, so that the choice of the kernel
# exists once.
cdef void base64_encode(const uint8_t *data, size_t n, uint8_t *out) noexcept nogil
cdef size_t base64_decode(const uint8_t *text, size_t n, uint8_t *out) noexcept nogil
