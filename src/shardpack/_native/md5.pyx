import os

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

cimport cython
from cpython.buffer cimport PyBUF_F_CONTIGUOUS
from cpython.object cimport PyObject
from libc.stdlib cimport free, malloc

from .keys cimport (
    KEY_CHUNK, KEY_RUN, NO_POSITION, KeyBytes, PySequence_Fast_GET_SIZE, keep_key_bytes, read_explicit_hash_key,
    sequence_of, sp_hash_key, take_key_bytes, take_partition_key, view_bytes, view_key, view_keys,
)


cdef extern from "md5.h" nogil:
    enum: SP_MD5_DIGEST_SIZE
    ctypedef struct sp_md5_kernel:
        const char *name
        int supported()
    const sp_md5_kernel sp_md5_kernels[]
    const size_t sp_md5_kernel_count
    void sp_md5_many(const sp_slice *messages, size_t n, uint8_t *digests)
    const char *sp_md5_kernel_name()
    int sp_md5_set_kernel(const char *name)
    void sp_md5_select_kernel()


cdef void md5_many(const sp_slice *messages, size_t n, uint8_t *digests) noexcept nogil:
    sp_md5_many(messages, n, digests)


def _kernel():
    """Return the name of the kernel in use."""
    return sp_md5_kernel_name().decode()


def _kernels():
    """Return the names of the kernels that this machine can run, fastest first."""
    return [
        sp_md5_kernels[i].name.decode() for i in range(sp_md5_kernel_count) if sp_md5_kernels[i].supported()
    ]


def _set_kernel(str name):
    """Use the kernel of this name, in the whole process. Raises ``ValueError`` when this machine cannot run it."""
    if sp_md5_set_kernel(name.encode()) < 0:
        raise ValueError(f"MD5 kernel {name!r} is not available here; there are: {', '.join(_kernels())}")


def _md5_many(messages):
    """Return the MD5 of every message, with the kernel in use: what the tests and benchmarks of the kernels call."""
    cdef tuple held = tuple(map(bytes, messages))
    cdef Py_ssize_t n = len(held), i
    cdef bytes digests = PyBytes_FromStringAndSize(NULL, 16 * n)
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(digests)
    cdef sp_slice *slices = <sp_slice *>malloc(<size_t>(n + 1) * sizeof(sp_slice))
    if slices == NULL:
        raise MemoryError
    for i in range(n):
        slices[i] = view_bytes(<PyObject *>held[i])
    with nogil:
        md5_many(slices, <size_t>n, out)
    free(slices)
    cdef list each = [None] * n
    for i in range(n):
        each[i] = digests[16 * i:16 * i + 16]
    return each


@cython.final
cdef class HashKeys:
    """The hash keys of n partition keys: a read-only buffer of 16 bytes per key, each row a big-endian number.

    ``numpy.asarray`` takes it without a copy, with shape (n, 16) and dtype uint8. Indexing gives ints.
    """

    cdef bytes _digests
    cdef Py_ssize_t _count
    cdef Py_ssize_t[2] _shape
    cdef Py_ssize_t[2] _strides

    def __cinit__(self):
        self._digests = b""
        self._shape[0], self._shape[1] = 0, 16
        self._strides[0], self._strides[1] = 16, 1

    def __init__(self):
        raise TypeError("HashKeys are made by hash_keys()")

    def __repr__(self):
        return f"<HashKeys of {self._count:,} partition keys>"

    def __len__(self):
        return self._count

    def __getitem__(self, Py_ssize_t i):
        if i < 0:
            i += self._count
        if not 0 <= i < self._count:
            raise IndexError("hash key index out of range")
        return int.from_bytes(self._digests[16 * i:16 * i + 16], "big")

    def tobytes(self):
        """Return the buffer as bytes; not copied."""
        return self._digests

    def __getbuffer__(self, Py_buffer *view, int flags):
        if flags & PyBUF_F_CONTIGUOUS == PyBUF_F_CONTIGUOUS and self._count > 1:
            raise BufferError("rows of hash keys lie behind one another (C order), not columns (Fortran order)")
        PyBuffer_FillInfo(view, self, PyBytes_AS_STRING(self._digests), 16 * self._count, 1, flags)
        if view.shape != NULL:  # asked for: rows of 16 bytes; else the plain run of bytes
            view.ndim = 2
            view.shape = self._shape
            view.strides = self._strides if view.strides != NULL else NULL


def hash_key(partition_key, explicit_hash_key=None):
    """Return the hash key that places a record on a shard.

    It is ``explicit_hash_key`` if given, else the MD5 of the UTF-8 partition key as a big-endian number.
    Raises ``InvalidPartitionKeyError``, ``InvalidHashKeyError`` or ``TypeError``.
    Source: API reference of PutRecord.
    """
    cdef sp_slice view
    cdef sp_hash_key given
    cdef uint8_t[16] digest
    owner = take_partition_key(partition_key, NO_POSITION)
    if explicit_hash_key is not None:
        read_explicit_hash_key(explicit_hash_key, &given, NO_POSITION)
        return (<object>given.high << 64) | given.low
    view = view_key(<PyObject *>owner)
    md5_many(&view, 1, digest)
    return int.from_bytes((<char *>digest)[:16], "big")


def hash_keys(keys):
    """Return the hash keys of many partition keys (an iterable of str or UTF-8 bytes).

    Of many, 262,144 at a time are hashed with the GIL released. Raises ``InvalidPartitionKeyError`` or ``TypeError``
    with the position of the key at fault.
    """
    cdef object sequence = sequence_of(keys, "partition keys", "str or bytes")
    cdef Py_ssize_t n = PySequence_Fast_GET_SIZE(sequence), start = 0, stop
    cdef HashKeys result = HashKeys.__new__(HashKeys)
    cdef bytes digests = PyBytes_FromStringAndSize(NULL, 16 * n)
    cdef KeyBytes run = take_key_bytes()
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(digests)
    while start < n:
        stop = run.fill(sequence, start, n)
        if run.count < KEY_RUN:
            hash_run(run, out + 16 * start)
        else:
            with nogil:
                hash_run(run, out + 16 * start)
        start = stop
    keep_key_bytes(run)
    result._digests, result._count, result._shape[0] = digests, n, n
    return result


cdef void hash_run(KeyBytes run, uint8_t *out) noexcept nogil:
    cdef sp_slice[KEY_CHUNK] slices
    cdef const uint8_t *data = run.data
    cdef Py_ssize_t start = 0, n
    while start < run.count:
        n = view_keys(&data, run.sizes + start, run.count - start, slices)
        md5_many(slices, <size_t>n, out + 16 * start)
        start += n


cdef str wanted = os.environ.get("SHARDPACK_MD5_KERNEL", "")
sp_md5_select_kernel()
if wanted:
    _set_kernel(wanted)
