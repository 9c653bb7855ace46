from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_AsUTF8AndSize

from ..errors import InvalidHashKeyError, InvalidPartitionKeyError


cdef str name_record(Py_ssize_t position):
    return "" if position == NO_POSITION else f"record {position}: "


cdef object view_other_partition_key(object key, sp_slice *view, Py_ssize_t position):
    cdef str text
    cdef Py_ssize_t size = 0
    if isinstance(key, str):
        text = key if PyUnicode_CheckExact(key) else str.__str__(key)
    elif isinstance(key, bytes):
        try:
            text = str(key, "utf-8")
        except UnicodeDecodeError as error:
            raise InvalidPartitionKeyError(
                f"{name_record(position)}partition key {key!r} is not UTF-8: {error.reason} at byte {error.start}"
            ) from None
    else:
        raise TypeError(
            f"{name_record(position)}a partition key is str or UTF-8 bytes, not {type(key).__name__}"
        )
    if not text:
        raise InvalidPartitionKeyError(f"{name_record(position)}the partition key is empty")
    if len(text) > MAX_PARTITION_KEY_CHARACTERS:
        raise InvalidPartitionKeyError(
            f"{name_record(position)}partition key of {len(text)} characters ({text[:24]!r}…) "
            f"exceeds {MAX_PARTITION_KEY_CHARACTERS}"
        )
    if PyBytes_CheckExact(key):
        view.data = <const uint8_t *>PyBytes_AS_STRING(key)
        view.size = <size_t>PyBytes_GET_SIZE(key)
        return key
    try:
        view.data = <const uint8_t *>PyUnicode_AsUTF8AndSize(text, &size)  # kept inside the str for the next time
    except UnicodeEncodeError as error:
        raise InvalidPartitionKeyError(
            f"{name_record(position)}partition key {text!r} has a lone surrogate at character {error.start}"
        ) from None
    view.size = <size_t>size
    return text


cdef int read_explicit_hash_key(object value, sp_hash_key *hash_key, Py_ssize_t position) except -1:
    cdef bytes digits
    if isinstance(value, int) and not isinstance(value, bool):
        value = int.__add__(value, 0)  # a subclass may say what it likes
        if not 0 <= value < 2**128:
            raise InvalidHashKeyError(f"{name_record(position)}explicit hash key {value} is not in 0 … 2**128 - 1")
        digits = value.to_bytes(16, "big")
        hash_key[0] = sp_hash_key_from_bytes(<const uint8_t *>PyBytes_AS_STRING(digits))
        return 0
    if not isinstance(value, str):
        raise TypeError(f"{name_record(position)}an explicit hash key is int or str, not {type(value).__name__}")
    digits = value.encode("utf-8", "replace")
    if len(digits) > 1 and digits[0] == c"0":
        raise InvalidHashKeyError(f"{name_record(position)}explicit hash key {value!r} has a leading zero")
    if sp_hash_key_parse(<const uint8_t *>PyBytes_AS_STRING(digits), <size_t>len(digits), hash_key) < 0:
        raise InvalidHashKeyError(
            f"{name_record(position)}explicit hash key {value!r} is not a decimal number in 0 … 2**128 - 1"
        )
    return 0


cdef str format_hash_key(sp_hash_key hash_key):
    cdef uint8_t[SP_HASH_KEY_MAX_DIGITS] text
    cdef size_t size = sp_hash_key_format(hash_key, text)
    return (<char *>text)[:size].decode("ascii")


cdef object check_pair_lengths(object first, object second, str names):
    if PySequence_Fast_GET_SIZE(first) != PySequence_Fast_GET_SIZE(second):
        raise ValueError(f"{len(first)} and {len(second)} {names}: one for one is needed")


cdef class KeyBatch:
    def __dealloc__(self):
        self.release()

    cdef int fill(self, object keys, Py_ssize_t start) except -1:
        """Take up to KEY_BATCH keys of a list or tuple from ``start`` on; replaces what was held."""
        cdef Py_ssize_t i
        cdef object owner
        self.release()
        for i in range(KEY_BATCH):
            if start + i >= PySequence_Fast_GET_SIZE(keys):  # asked each time: a list can change under us
                break
            owner = view_partition_key(<object>PySequence_Fast_GET_ITEM(keys, start + i), &self.slices[i], start + i)
            Py_INCREF(owner)
            self.owners[i] = <PyObject *>owner
            self.count = i + 1
        return 0

    cdef void release(self) noexcept:
        cdef Py_ssize_t i
        for i in range(self.count):
            Py_XDECREF(self.owners[i])
        self.count = 0
