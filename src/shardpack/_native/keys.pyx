cimport cython
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_Check, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from cpython.list cimport PyList_CheckExact
from cpython.long cimport PyLong_Check
from cpython.number cimport PyNumber_Index
from cpython.tuple cimport PyTuple_CheckExact
from cpython.unicode cimport PyUnicode_AsUTF8String, PyUnicode_Check, PyUnicode_FromObject
from libc.stdlib cimport free
from libc.string cimport memmove

from ..errors import InvalidHashKeyError, InvalidPartitionKeyError, abridged


cdef extern from "Python.h":
    bint PyUnicode_CheckExact(object)
    bint PyUnicode_IS_COMPACT_ASCII(object)
    bint PyBool_Check(object)


cdef extern from "growth.h" nogil:
    void *sp_grown(void *memory, size_t *capacity, size_t count, size_t size, size_t least)


cdef extern from "utf8.h" nogil:
    bint sp_is_utf8(sp_slice text)


cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    enum { LISTS_HOLD_STILL = 0 };
    #else
    enum { LISTS_HOLD_STILL = 1 }; /* from one item to the next, while nothing of Python's runs */
    #endif

    /* 16 bytes of a number, big-endian, from its digits, whatever a subclass says: 0, or -1 with an OverflowError. */
    static int long_as_bytes(PyObject *value, unsigned char *bytes) {
    #if PY_VERSION_HEX >= 0x030D0000
        Py_ssize_t size = PyLong_AsNativeBytes(value, bytes, 16, Py_ASNATIVEBYTES_BIG_ENDIAN |
                                               Py_ASNATIVEBYTES_UNSIGNED_BUFFER | Py_ASNATIVEBYTES_REJECT_NEGATIVE);
        if (size > 16 || (size < 0 && PyErr_ExceptionMatches(PyExc_ValueError))) { /* which it says of negative ones */
            PyErr_SetString(PyExc_OverflowError, "out of range");
        }
        return size < 0 || size > 16 ? -1 : 0;
    #else
        return _PyLong_AsByteArray((PyLongObject *)value, bytes, 16, 0, 0);
    #endif
    }

    static inline size_t utf8_characters(sp_slice text) {
        size_t n = 0;
        for (size_t i = 0; i < text.size; i++) n += (text.data[i] & 0xc0) != 0x80;
        return n;
    }
    """
    bint LISTS_HOLD_STILL
    int long_as_bytes(object value, unsigned char *data) except -1
    size_t utf8_characters(sp_slice text) noexcept nogil


cdef enum:
    FEWEST_KEYS = 64
    KEPT_KEY_BYTES = 1 << 22


cdef str name_record(Py_ssize_t position):
    return "" if position == NO_POSITION else f"record {position}: "


cdef object encode_partition_key(object key, Py_ssize_t position):
    """The key's UTF-8 as bytes of its own, or itself where it is bytes already."""
    cdef object encoded
    cdef sp_slice view
    cdef size_t characters
    if PyUnicode_Check(key):
        try:
            encoded = PyUnicode_AsUTF8String(PyUnicode_FromObject(key))  # of a subclass, what it holds
        except UnicodeEncodeError as error:
            raise InvalidPartitionKeyError(
                f"{name_record(position)}partition key {abridged(error.object, 24)} has a lone surrogate at character "
                f"{error.start}"
            ) from None
    elif PyBytes_Check(key):
        encoded = key
        if not PyBytes_CheckExact(key):
            encoded = PyBytes_FromStringAndSize(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        if not sp_is_utf8(view_bytes(<PyObject *>encoded)):
            try:
                str(encoded, "utf-8")
            except UnicodeDecodeError as error:
                raise InvalidPartitionKeyError(
                    f"{name_record(position)}partition key {abridged(encoded, 40)} is not UTF-8: {error.reason} at "
                    f"byte {error.start}"
                ) from None
    else:
        raise TypeError(f"{name_record(position)}a partition key is str or UTF-8 bytes, not {type(key).__name__}")
    view = view_bytes(<PyObject *>encoded)
    if view.size == 0:
        raise InvalidPartitionKeyError(f"{name_record(position)}the partition key is empty")
    characters = utf8_characters(view)
    if characters > MAX_PARTITION_KEY_CHARACTERS:
        raise InvalidPartitionKeyError(
            f"{name_record(position)}partition key of {characters} characters "
            f"({abridged(encoded[:164].decode(errors='ignore'), 40)}) exceeds {MAX_PARTITION_KEY_CHARACTERS}"
        )
    return encoded


cdef int read_explicit_hash_key(object value, sp_hash_key *hash_key, Py_ssize_t position) except -1:
    cdef unsigned char[16] number
    cdef bytes digits
    if PyUnicode_Check(value):
        value = PyUnicode_FromObject(value)  # of a subclass, what it holds
        digits = value.encode("utf-8", "replace")
        if len(digits) > 1 and digits[0] == c"0":
            raise InvalidHashKeyError(
                f"{name_record(position)}explicit hash key {abridged(value, 40)} has a leading zero")
        if sp_hash_key_parse(<const uint8_t *>PyBytes_AS_STRING(digits), <size_t>len(digits), hash_key) < 0:
            raise InvalidHashKeyError(
                f"{name_record(position)}explicit hash key {abridged(value, 40)} is not a decimal number in "
                "0 … 2**128 - 1"
            )
        return 0
    if not PyLong_Check(value) or PyBool_Check(value):
        try:
            value = PyNumber_Index(None if PyBool_Check(value) else value)  # numpy's
        except TypeError:
            raise TypeError(
                f"{name_record(position)}an explicit hash key is int or str, not {type(value).__name__}") from None
    try:
        long_as_bytes(value, number)
    except (OverflowError, ValueError):  # too large, or negative (3.13)
        value = int(hex(value), 16)  # of a subclass, what it holds
        shown = f"{value:#x}" if value.bit_length() < 256 else f"of {value.bit_length():,} bits"
        raise InvalidHashKeyError(
            f"{name_record(position)}explicit hash key {shown} is not in 0 … 2**128 - 1") from None
    hash_key[0] = sp_hash_key_from_bytes(number)
    return 0


cdef str format_hash_key(sp_hash_key hash_key):
    cdef uint8_t[SP_HASH_KEY_MAX_DIGITS] text
    cdef size_t size = sp_hash_key_format(hash_key, text)
    return (<char *>text)[:size].decode("ascii")


cdef object sequence_of(object items, str names, str one):
    """What a caller gave many of, as a list or tuple. A list may still be changed by whatever code runs meanwhile."""
    if PyTuple_CheckExact(items) or (LISTS_HOLD_STILL and PyList_CheckExact(items)):
        return items
    if isinstance(items, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"{names} come as an iterable of {one}, not as one {type(items).__name__}")
    try:
        iterator = iter(items)
    except TypeError:
        raise TypeError(f"{names} come as an iterable of {one}, not {type(items).__name__}") from None
    return tuple(iterator)


cdef int demand_one_for_one(object first, object second, str names) except -1:
    if PySequence_Fast_GET_SIZE(first) != PySequence_Fast_GET_SIZE(second):
        raise ValueError(f"{len(first)} and {len(second)} {names}: one for one is needed")
    return 0


cdef int refuse_length() except -1:
    raise RuntimeError("a list changed its length while it was read; nothing of it was taken")


@cython.final
cdef class KeyBytes:
    """Partition keys that were checked: the bytes of all of them, behind one another, and how many each takes.

    A key is short and in the cache when it is checked: a copy costs less than to hold it and to come back to it twice.
    """

    def __dealloc__(self):
        self.drop()

    cdef Py_ssize_t fill(self, object keys, Py_ssize_t start, Py_ssize_t n) except -1:
        """Replace what is here by the next keys of a list or tuple of n: a run of them. Returns where it ends."""
        cdef Py_ssize_t i, stop = min(n, start + KEY_RUN)
        self.count, self.size = 0, 0
        self.reserve(stop - start)
        for i in range(start, stop):
            demand_length(keys, n)
            if i + PREFETCHED < n:
                prefetch_object(PySequence_Fast_ITEMS(keys)[i + PREFETCHED])
            key = take_partition_key(<object>PySequence_Fast_GET_ITEM(keys, i), i)
            append_key(self, view_key(<PyObject *>key))
            if self.size >= KEY_RUN_BYTES:
                return i + 1
        return stop

    cdef int reserve(self, Py_ssize_t more) except -1:
        """Room for so many more sizes."""
        cdef size_t capacity = self.sizes_capacity
        cdef void *sizes
        if <size_t>(self.count + more) <= capacity:
            return 0
        sizes = sp_grown(self.sizes, &capacity, <size_t>(self.count + more), sizeof(uint16_t), FEWEST_KEYS)
        if sizes == NULL:
            raise MemoryError
        self.sizes, self.sizes_capacity = <uint16_t *>sizes, capacity
        return 0

    cdef int grow(self, size_t size) except -1:
        cdef void *data = sp_grown(self.data, &self.capacity, self.size + size, 1, FEWEST_KEYS * 16)
        if data == NULL:
            raise MemoryError
        self.data = <uint8_t *>data
        return 0

    cdef void cut(self, Py_ssize_t count) noexcept:
        """Forget the last ones, so that this many are left."""
        while self.count > count:
            self.count -= 1
            self.size -= self.sizes[self.count]

    cdef void shift(self, Py_ssize_t count, size_t size) noexcept:
        """Forget the first ones, which have this size together."""
        self.count -= count
        self.size -= size
        if self.count:
            if self.size:
                memmove(self.data, self.data + size, self.size)
            memmove(self.sizes, &self.sizes[count], <size_t>self.count * sizeof(uint16_t))

    cdef void drop(self) noexcept:
        """Forget all, and the memory too."""
        free(self.data)
        free(self.sizes)
        self.data, self.sizes = NULL, NULL
        self.count, self.size, self.capacity, self.sizes_capacity = 0, 0, 0, 0


# One, for the next call: fresh memory costs as much in page faults as hashing what is put there. Whoever takes it has
# it alone.
cdef list KEPT = [KeyBytes()]


cdef KeyBytes take_key_bytes():
    try:
        return <KeyBytes>KEPT.pop()
    except IndexError:  # another thread is at work with it
        return KeyBytes()


cdef int keep_key_bytes(KeyBytes keys) except -1:
    """Keep it for the next call, of at most 4.5 MiB."""
    if keys.capacity <= KEPT_KEY_BYTES and not KEPT:
        KEPT.append(keys)
    return 0


cdef Py_ssize_t view_keys(
    const uint8_t **data, const uint16_t *sizes, Py_ssize_t count, sp_slice *slices
) noexcept nogil:
    """Show up to KEY_CHUNK keys as slices. Returns how many; ``data`` moves behind them."""
    cdef const uint8_t *at = data[0]
    cdef Py_ssize_t i, n = min(count, KEY_CHUNK)
    for i in range(n):
        slices[i].data, slices[i].size = at, sizes[i]
        at += sizes[i]
    data[0] = at
    return n
