from libc.stdint cimport uint8_t

from .keys cimport sp_slice


# MD5 of many messages with the kernel in use: csrc/md5.h. Other extensions call it through here, so that the
# choice of the kernel exists once.
cdef void md5_many(const sp_slice *messages, size_t n, uint8_t *digests) noexcept nogil
