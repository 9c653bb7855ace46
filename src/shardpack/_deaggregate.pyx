"""Kinesis records in, user records out: verify checksums together, then validate, index and build.

What may be read, and what an odd message means, is csrc/deaggregate.
"""

cimport cython
from cpython.buffer cimport PyBUF_CONTIG_RO, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport UINT64_MAX, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp

from ._keys cimport (
    NO_POSITION, read_explicit_hash_key, sp_hash_key, sp_hash_key_from_bytes, sp_hash_key_parse, sp_slice,
)
from ._md5 cimport md5_many

from .errors import MalformedRecordError


cdef extern from "hash_key.h" nogil:
    bint sp_hash_key_less(sp_hash_key a, sp_hash_key b)


cdef extern from "deaggregate.h" nogil:
    enum: SP_MAGIC_SIZE
    ctypedef struct sp_message_counts:
        size_t partition_keys
        size_t explicit_hash_keys
        size_t records
    ctypedef struct sp_wire_record:
        sp_slice data
        sp_slice content
        uint64_t partition_key_index
        uint64_t explicit_hash_key_index
        size_t tag_count
    ctypedef struct sp_wire_tag:
        sp_slice key
        sp_slice value
        bint has_value
    ctypedef enum sp_verdict:
        SP_WELL_FORMED
        SP_BAD_FIELD
        SP_MISSING_PARTITION_KEY_INDEX
        SP_MISSING_DATA
        SP_MISSING_TAG_KEY
        SP_PARTITION_KEY_INDEX_RANGE
        SP_EXPLICIT_HASH_KEY_INDEX_RANGE
        SP_BAD_EXPLICIT_HASH_KEY
    ctypedef struct sp_finding:
        sp_verdict verdict
        size_t offset
        size_t record
    bint sp_frame(sp_slice blob, sp_slice *message)
    bint sp_message_count(sp_slice message, sp_message_counts *counts, sp_finding *finding)
    bint sp_message_index(
        sp_slice message, sp_slice *partition_keys, sp_slice *explicit_hash_keys, sp_wire_record *records,
        sp_finding *finding)
    void sp_record_tags(const sp_wire_record *record, sp_wire_tag *tags)


cdef enum:
    VERIFY_BATCH = 64  # Kinesis records whose checksums are computed together

cdef dict WHAT_IS_WRONG = {
    SP_BAD_FIELD: "a field does not parse",
    SP_MISSING_PARTITION_KEY_INDEX: "a record has no partition key index",
    SP_MISSING_DATA: "a record has no data",
    SP_MISSING_TAG_KEY: "a tag has no key",
    SP_PARTITION_KEY_INDEX_RANGE: "a partition key index is outside the table",
    SP_EXPLICIT_HASH_KEY_INDEX_RANGE: "an explicit hash key index is outside the table",
    SP_BAD_EXPLICIT_HASH_KEY: "an explicit hash key is not a decimal number below 2**128",
}


@cython.final
@cython.no_gc  # holds what its Kinesis record held; a record is not a place to build cycles in
@cython.freelist(1024)
cdef class ReceivedRecord:
    """A Kinesis record as a consumer got it: what all its user records share."""

    cdef readonly object data
    cdef readonly object partition_key
    cdef readonly object sequence_number
    cdef readonly object approximate_arrival_timestamp
    cdef readonly object source

    def __init__(self, data, partition_key=None, sequence_number=None, approximate_arrival_timestamp=None, source=None):
        self.data = data
        self.partition_key = partition_key
        self.sequence_number = sequence_number
        self.approximate_arrival_timestamp = approximate_arrival_timestamp
        self.source = source


@cython.final
@cython.no_gc  # as above; and a million of these must not set off the cycle collector
@cython.freelist(4096)
cdef class UserRecord:
    """A user record as its producer put it, and where it came from.

    ``data`` (bytes), ``partition_key`` and ``explicit_hash_key`` (str or None; bytes that are not UTF-8 decode with
    ``surrogateescape``), ``sub_sequence_number`` (its place in the Kinesis record, from 0), ``aggregated`` (False when
    it came back whole), ``tags`` (pairs of key and value or None), ``error`` (why a malformed aggregated record came
    back whole). Of the Kinesis record: ``sequence_number``, ``approximate_arrival_timestamp`` and ``source``, the
    record as it was given. Immutable; compares by value.
    """

    cdef readonly bytes data
    cdef readonly str partition_key
    cdef readonly str explicit_hash_key
    cdef readonly tuple tags
    cdef readonly object error
    cdef readonly Py_ssize_t sub_sequence_number
    cdef readonly bint aggregated
    cdef ReceivedRecord _received

    def __init__(self):
        raise TypeError("UserRecord objects are made by deaggregate()")

    @property
    def sequence_number(self):
        return self._received.sequence_number

    @property
    def approximate_arrival_timestamp(self):
        return self._received.approximate_arrival_timestamp

    @property
    def source(self):
        return self._received.source

    def _fields(self):
        return (
            self.data, self.partition_key, self.explicit_hash_key, self.tags, self.error, self.sub_sequence_number,
            bool(self.aggregated), self.sequence_number, self.approximate_arrival_timestamp, self.source,
        )

    def __eq__(self, other):
        return self._fields() == (<UserRecord>other)._fields() if isinstance(other, UserRecord) else NotImplemented

    def __hash__(self):
        return hash((self.data, self.partition_key, self.explicit_hash_key, self.sub_sequence_number))

    def __reduce__(self):
        return _restore_user_record, self._fields()

    def __repr__(self):
        data = self.data if len(self.data) <= 40 else self.data[:40] + b"..."
        return (
            f"<UserRecord {self.partition_key!r} {data!r} sequence_number={self.sequence_number!r} "
            f"sub_sequence_number={self.sub_sequence_number}{'' if self.aggregated else ' raw'}"
            f"{'' if self.error is None else f' error={self.error}'}>"
        )


def _restore_user_record(
    data, partition_key, explicit_hash_key, tags, error, sub_sequence_number, aggregated, sequence_number,
    approximate_arrival_timestamp, source,
):
    cdef UserRecord record = UserRecord.__new__(UserRecord)
    record.data, record.partition_key, record.explicit_hash_key, record.tags = (
        data, partition_key, explicit_hash_key, tags)
    record.error, record.sub_sequence_number, record.aggregated = error, sub_sequence_number, aggregated
    record._received = ReceivedRecord(data, partition_key, sequence_number, approximate_arrival_timestamp, source)
    return record


cdef inline bytes to_bytes(sp_slice view):
    return PyBytes_FromStringAndSize(<const char *>view.data, <Py_ssize_t>view.size)


cdef inline str to_text(sp_slice view):
    return PyUnicode_DecodeUTF8(<const char *>view.data, <Py_ssize_t>view.size, "surrogateescape")


cdef class Blobs:
    """The data of a batch of Kinesis records, borrowed; which of them pass as aggregated records so far."""

    cdef Py_buffer[VERIFY_BATCH] buffers
    cdef sp_slice[VERIFY_BATCH] messages  # of those framed by magic and digest
    cdef bint[VERIFY_BATCH] verified
    cdef Py_ssize_t count

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.count):
            PyBuffer_Release(&self.buffers[i])

    cdef int borrow(self, object data) except -1:
        PyObject_GetBuffer(data, &self.buffers[self.count], PyBUF_CONTIG_RO)
        self.count += 1
        return 0

    cdef void verify(self) noexcept nogil:
        """Compare the MD5 of every framed message with the digest behind it, all together."""
        cdef sp_slice[VERIFY_BATCH] framed
        cdef Py_ssize_t[VERIFY_BATCH] owner
        cdef uint8_t[VERIFY_BATCH * 16] digests
        cdef sp_slice blob
        cdef Py_ssize_t i, n = 0
        for i in range(self.count):
            self.verified[i] = False
            blob.data = <const uint8_t *>self.buffers[i].buf
            blob.size = <size_t>self.buffers[i].len
            if sp_frame(blob, &self.messages[i]):
                framed[n] = self.messages[i]
                owner[n] = i
                n += 1
        md5_many(framed, <size_t>n, digests)
        for i in range(n):
            self.verified[owner[i]] = memcmp(framed[i].data + framed[i].size, digests + 16 * i, 16) == 0


cdef class Index:
    """The tables and records of one message, as csrc/deaggregate finds them."""

    cdef sp_message_counts counts
    cdef sp_slice *partition_keys
    cdef sp_slice *explicit_hash_keys
    cdef sp_wire_record *records
    cdef sp_finding finding

    def __dealloc__(self):
        free(self.partition_keys)
        free(self.explicit_hash_keys)
        free(self.records)

    cdef sp_verdict parse(self, sp_slice message) except *:
        self.finding.verdict = SP_WELL_FORMED
        if not sp_message_count(message, &self.counts, &self.finding):
            return self.finding.verdict
        self.partition_keys = <sp_slice *>malloc((self.counts.partition_keys + 1) * sizeof(sp_slice))
        self.explicit_hash_keys = <sp_slice *>malloc((self.counts.explicit_hash_keys + 1) * sizeof(sp_slice))
        self.records = <sp_wire_record *>malloc((self.counts.records + 1) * sizeof(sp_wire_record))
        if self.partition_keys == NULL or self.explicit_hash_keys == NULL or self.records == NULL:
            raise MemoryError
        with nogil:
            sp_message_index(message, self.partition_keys, self.explicit_hash_keys, self.records, &self.finding)
        return self.finding.verdict

    cdef object error(self):
        """The finding as an exception; its offset counts from the start of the data."""
        offset = SP_MAGIC_SIZE + self.finding.offset
        return MalformedRecordError(
            f"malformed aggregated record: {WHAT_IS_WRONG[self.finding.verdict]} "
            f"(user record {self.finding.record}, byte {offset})",
            offset, self.finding.record)

    cdef int append_user_records(self, ReceivedRecord received, list out) except -1:
        cdef list partition_keys = [None] * <Py_ssize_t>self.counts.partition_keys  # decoded when first used
        cdef list explicit_hash_keys = [None] * <Py_ssize_t>self.counts.explicit_hash_keys
        cdef UserRecord record
        cdef const sp_wire_record *wire
        cdef size_t i
        cdef Py_ssize_t at
        for i in range(self.counts.records):
            wire = &self.records[i]
            record = UserRecord.__new__(UserRecord)
            record._received = received
            record.data = to_bytes(wire.data)
            record.sub_sequence_number = <Py_ssize_t>i
            record.aggregated = True
            at = <Py_ssize_t>wire.partition_key_index
            if partition_keys[at] is None:
                partition_keys[at] = to_text(self.partition_keys[at])
            record.partition_key = partition_keys[at]
            if wire.explicit_hash_key_index != UINT64_MAX:
                at = <Py_ssize_t>wire.explicit_hash_key_index
                if explicit_hash_keys[at] is None:
                    explicit_hash_keys[at] = to_text(self.explicit_hash_keys[at])
                record.explicit_hash_key = explicit_hash_keys[at]
            record.tags = tags_of(wire) if wire.tag_count else ()
            out.append(record)
        return 0

    cdef bint all_in_range(self, sp_hash_key low, sp_hash_key high) except -1:
        """KCL's rule: is the hash key of every user record in the range, both ends included?"""
        cdef size_t keys = self.counts.partition_keys, i
        cdef uint8_t *digests = <uint8_t *>malloc((keys + 1) * 16)
        cdef const sp_wire_record *wire
        cdef sp_slice text
        cdef sp_hash_key key = low
        cdef bint inside = True
        if digests == NULL:
            raise MemoryError
        with nogil:
            md5_many(self.partition_keys, keys, digests)
            for i in range(self.counts.records):
                wire = &self.records[i]
                if wire.explicit_hash_key_index != UINT64_MAX:
                    text = self.explicit_hash_keys[wire.explicit_hash_key_index]
                    sp_hash_key_parse(text.data, text.size, &key)
                else:
                    key = sp_hash_key_from_bytes(digests + 16 * wire.partition_key_index)
                if sp_hash_key_less(key, low) or sp_hash_key_less(high, key):
                    inside = False
                    break
        free(digests)
        return inside


cdef tuple tags_of(const sp_wire_record *wire):
    cdef sp_wire_tag *tags = <sp_wire_tag *>malloc(wire.tag_count * sizeof(sp_wire_tag))
    cdef list out = []
    cdef size_t i
    if tags == NULL:
        raise MemoryError
    try:
        sp_record_tags(wire, tags)
        for i in range(wire.tag_count):
            out.append((to_text(tags[i].key), to_text(tags[i].value) if tags[i].has_value else None))
    finally:
        free(tags)
    return tuple(out)


cdef UserRecord whole(ReceivedRecord received, object error):
    """The Kinesis record as the one user record it is."""
    cdef UserRecord record = UserRecord.__new__(UserRecord)
    record._received = received
    record.data = received.data if type(received.data) is bytes else bytes(received.data)
    record.partition_key = received.partition_key
    record.tags = ()
    record.error = error
    return record


def deaggregate_received(list received, tuple hash_range, bint strict):
    cdef list out = []
    cdef Py_ssize_t start, left_out = 0
    cdef sp_hash_key low, high
    if hash_range is not None:
        low, high = to_hash_key(hash_range[0]), to_hash_key(hash_range[1])
    for start in range(0, len(received), VERIFY_BATCH):
        left_out += deaggregate_batch(
            received[start:start + VERIFY_BATCH], &low if hash_range is not None else NULL, &high, strict, out)
    return out, left_out


cdef sp_hash_key to_hash_key(object value) except *:
    cdef sp_hash_key key
    read_explicit_hash_key(value, &key, NO_POSITION)
    return key


cdef Py_ssize_t deaggregate_batch(
    list received, const sp_hash_key *low, const sp_hash_key *high, bint strict, list out
) except -1:
    """Append the user records of up to VERIFY_BATCH Kinesis records. Returns how many the hash range left out."""
    cdef Blobs blobs = Blobs()
    cdef Py_ssize_t i, left_out = 0
    cdef ReceivedRecord record
    cdef Index index
    cdef sp_verdict verdict
    for record in received:
        blobs.borrow(record.data)
    with nogil:
        blobs.verify()
    for i in range(blobs.count):
        record = received[i]
        if not blobs.verified[i]:
            out.append(whole(record, None))
            continue
        index = Index()
        verdict = index.parse(blobs.messages[i])
        if verdict == SP_WELL_FORMED:
            if low != NULL and not index.all_in_range(low[0], high[0]):
                left_out += <Py_ssize_t>index.counts.records
            else:
                index.append_user_records(record, out)
        elif verdict < SP_PARTITION_KEY_INDEX_RANGE:
            out.append(whole(record, None))
        else:
            error = index.error()
            if strict:
                raise error
            out.append(whole(record, error))
    return left_out


def dissect(data):
    """Return what an aggregated record holds and how it fares, for `shardpack inspect`; None without its frame."""
    cdef Blobs blobs = Blobs()
    cdef Index index = Index()
    cdef sp_slice message
    cdef sp_verdict verdict
    cdef const sp_wire_record *record
    cdef size_t i
    cdef uint8_t[16] digest
    blobs.borrow(data)
    blobs.verify()
    message.data = <const uint8_t *>blobs.buffers[0].buf
    message.size = <size_t>blobs.buffers[0].len
    if not sp_frame(message, &message):
        return None
    md5_many(&message, 1, digest)
    verdict = index.parse(message)
    found = {
        "message_size": message.size,
        "stored_digest": (<const char *>message.data + message.size)[:16],
        "computed_digest": (<char *>digest)[:16],
        "error": None if verdict == SP_WELL_FORMED else index.error(),
        "partition_keys": [],
        "explicit_hash_keys": [],
        "records": [],
    }
    if verdict == SP_WELL_FORMED or verdict >= SP_PARTITION_KEY_INDEX_RANGE:
        for i in range(index.counts.partition_keys):
            found["partition_keys"].append(to_text(index.partition_keys[i]))
        for i in range(index.counts.explicit_hash_keys):
            found["explicit_hash_keys"].append(to_text(index.explicit_hash_keys[i]))
        for i in range(index.counts.records):
            record = &index.records[i]
            found["records"].append((
                record.partition_key_index,
                None if record.explicit_hash_key_index == UINT64_MAX else record.explicit_hash_key_index,
                to_bytes(record.data),
                tags_of(record) if record.tag_count else (),
            ))
    return found
