from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_Check, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from cpython.list cimport PyList_CheckExact
from cpython.long cimport PyLong_Check
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.number cimport PyIndex_Check, PyNumber_Index
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.tuple cimport PyTuple_CheckExact
from cpython.unicode cimport PyUnicode_AsUTF8String, PyUnicode_Check, PyUnicode_FromObject

from ..errors import InvalidHashKeyError, InvalidPartitionKeyError


cdef extern from "Python.h":
    bint PyUnicode_CheckExact(object)
    bint PyUnicode_IS_COMPACT_ASCII(object)
    bint PyBool_Check(object)


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


cdef str name_record(Py_ssize_t position):
    return "" if position == NO_POSITION else f"record {position}: "


cdef str cut(object text):
    """The start of a text that a caller gave: errors are read by people."""
    return repr(text) if len(text) <= 40 else f"{text[:40]!r}…"


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
                f"{name_record(position)}partition key {cut(error.object)} has a lone surrogate at character "
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
                    f"{name_record(position)}partition key {cut(encoded)} is not UTF-8: {error.reason} at byte "
                    f"{error.start}"
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
            f"({cut(encoded[:164].decode(errors='ignore'))}) exceeds {MAX_PARTITION_KEY_CHARACTERS}"
        )
    return encoded


cdef int read_explicit_hash_key(object value, sp_hash_key *hash_key, Py_ssize_t position) except -1:
    cdef unsigned char[16] number
    cdef bytes digits
    if PyUnicode_Check(value):
        digits = PyUnicode_FromObject(value).encode("utf-8", "replace")
        if len(digits) > 1 and digits[0] == c"0":
            raise InvalidHashKeyError(f"{name_record(position)}explicit hash key {cut(value)} has a leading zero")
        if sp_hash_key_parse(<const uint8_t *>PyBytes_AS_STRING(digits), <size_t>len(digits), hash_key) < 0:
            raise InvalidHashKeyError(
                f"{name_record(position)}explicit hash key {cut(value)} is not a decimal number in 0 … 2**128 - 1"
            )
        return 0
    if PyBool_Check(value) or not (PyLong_Check(value) or PyIndex_Check(value)):
        raise TypeError(f"{name_record(position)}an explicit hash key is int or str, not {type(value).__name__}")
    if not PyLong_Check(value):
        value = PyNumber_Index(value)  # numpy's
    try:
        long_as_bytes(value, number)
    except OverflowError:
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


cdef int demand_length(object sequence, Py_ssize_t n) except -1:
    """Lists are read while other code may run, and may change."""
    if PySequence_Fast_GET_SIZE(sequence) != n:
        raise RuntimeError("a list changed its length while it was read; nothing of it was taken")
    return 0


cdef class KeyRun:
    """Keys of a list or tuple, a run at a time: checked and held with the GIL, read without it."""

    def __dealloc__(self):
        self.release()
        PyMem_Free(self.owners)

    cdef int fill(self, object keys, Py_ssize_t start, Py_ssize_t n) except -1:
        """Hold the next keys of a sequence of n; replaces what was held."""
        cdef Py_ssize_t i, stop = min(n - start, KEY_RUN)
        cdef object owner
        self.release()
        if self.capacity < stop:
            PyMem_Free(self.owners)
            self.capacity = 0
            self.owners = <PyObject **>PyMem_Malloc(<size_t>stop * sizeof(PyObject *))
            if self.owners == NULL:
                raise MemoryError
            self.capacity = stop
        for i in range(stop):
            demand_length(keys, n)
            if start + i + PREFETCHED < n:
                prefetch_object(PySequence_Fast_ITEMS(keys)[start + i + PREFETCHED])
            owner = <object>PySequence_Fast_GET_ITEM(keys, start + i)
            owner = take_partition_key(owner, start + i)
            Py_INCREF(owner)
            self.owners[i] = <PyObject *>owner
            self.count = i + 1
        return 0

    cdef Py_ssize_t view(self, Py_ssize_t start) noexcept nogil:
        """Put the keys from ``start`` on into ``slices``. Returns how many."""
        cdef Py_ssize_t i, n = min(self.count - start, KEY_CHUNK)
        for i in range(n):
            if start + i + PREFETCHED < self.count:
                prefetch_object(self.owners[start + i + PREFETCHED])
            self.slices[i] = view_key(self.owners[start + i])
        return n

    cdef void release(self) noexcept:
        cdef Py_ssize_t i
        for i in range(self.count):
            Py_DECREF(<object>self.owners[i])
        self.count = 0
