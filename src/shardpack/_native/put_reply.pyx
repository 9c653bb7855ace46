"""What became of a Kinesis record that was stored, and the replies that say so of all of a request."""

cimport cython
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp

from .keys cimport sp_slice
from .slices cimport slice_of_bytes


cdef extern from "put_reply.h" nogil:
    ctypedef struct sp_stored:
        sp_slice shard_id
        sp_slice sequence_number
    bint sp_put_reply_read(sp_slice reply, sp_stored *stored, size_t count, sp_slice *array)


cdef enum:
    KNOWN = 16  # shards whose names are one object each in a reply


@cython.final
@cython.freelist(512)
cdef class Stored:
    """The service has the Kinesis record. Immutable; equal to one of the same shard and sequence number."""

    cdef readonly str shard_id
    cdef readonly str sequence_number

    __match_args__ = ("shard_id", "sequence_number")

    def __cinit__(self, str shard_id not None, str sequence_number not None):
        self.shard_id, self.sequence_number = shard_id, sequence_number

    def __eq__(self, other):
        if type(other) is not Stored:
            return NotImplemented
        return (
            self.shard_id == (<Stored>other).shard_id and self.sequence_number == (<Stored>other).sequence_number
        )

    def __hash__(self):
        return hash((self.shard_id, self.sequence_number))

    def __repr__(self):
        return f"Stored(shard_id={self.shard_id!r}, sequence_number={self.sequence_number!r})"

    def __reduce__(self):
        return Stored, (self.shard_id, self.sequence_number)


cdef inline str text_of(sp_slice text):
    return PyUnicode_DecodeUTF8(<const char *>text.data, <Py_ssize_t>text.size, NULL)


cdef list records_of(const sp_stored *found, Py_ssize_t count):
    """Dictionaries as botocore makes them, in which the name of a shard is one object."""
    cdef list records = []
    cdef list names = []
    cdef Py_ssize_t[KNOWN] whose
    cdef Py_ssize_t i, k
    cdef str name
    for i in range(count):
        name = None
        for k in range(len(names)):
            if (found[whose[k]].shard_id.size == found[i].shard_id.size
                    and memcmp(found[whose[k]].shard_id.data, found[i].shard_id.data, found[i].shard_id.size) == 0):
                name = names[k]
                break
        if name is None:
            name = text_of(found[i].shard_id)
            if len(names) < KNOWN:
                whose[len(names)] = i
                names.append(name)
        records.append({"SequenceNumber": text_of(found[i].sequence_number), "ShardId": name})
    return records


def read_put_reply(bytes reply not None, Py_ssize_t count):
    """Return the ``Records`` of a reply, so many, and the reply with an empty array in their place.

    ``None`` unless the reply says of each that it was stored, and nothing unforeseen.
    """
    cdef sp_stored *found
    cdef sp_slice whole = slice_of_bytes(reply), array
    cdef Py_ssize_t start, end
    if count <= 0 or count > len(reply):  # so that a number cannot cost memory
        return None
    found = <sp_stored *>malloc(<size_t>count * sizeof(sp_stored))
    if found == NULL:
        raise MemoryError
    try:
        if not sp_put_reply_read(whole, found, <size_t>count, &array):
            return None
        start = array.data - whole.data
        end = start + <Py_ssize_t>array.size
        return records_of(found, count), reply[:start] + b"[]" + reply[end:]
    finally:
        free(found)


def all_stored(list records not None):
    """Return what became of each of a reply's ``Records``; ``None`` unless each is a shard and a sequence number."""
    cdef list outcomes = []
    for record in tuple(records):
        if type(record) is not dict or len(<dict>record) != 2:
            return None
        shard_id, sequence_number = (<dict>record).get("ShardId"), (<dict>record).get("SequenceNumber")
        if type(shard_id) is not str or type(sequence_number) is not str:
            return None
        outcomes.append(Stored(shard_id, sequence_number))
    return outcomes
