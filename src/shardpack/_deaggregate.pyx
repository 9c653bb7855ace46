"""Kinesis records in, user records out: verify checksums together, then validate, index and build.

What may be read, and what an odd message means, is csrc/deaggregate.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp

from ._keys cimport NO_POSITION, read_explicit_hash_key, sp_hash_key_from_bytes, sp_hash_key_parse
from ._md5 cimport md5_many

from .errors import MalformedRecordError


cdef enum:
    WHOLE = -1  # the position of a user record that is all its Kinesis record holds

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
@cython.no_gc  # holds bytes, text and the record as it was given, which is no place to build cycles in
@cython.freelist(256)
cdef class ReceivedRecord:
    """A Kinesis record as a consumer got it, and where in it the user records are: what those share."""

    def __init__(self, data, shape=None, source=None):
        self.data = data if type(data) is bytes else bytes(data)
        self.source = source
        self.shape = shape
        self.tags = ()

    @property
    def origin(self):
        if self._origin is None:
            self._origin = self.shape(self.source)
        return self._origin

    def __dealloc__(self):
        self.forget_index()

    cdef void forget_index(self) noexcept:
        free(self.partition_key_spans)
        free(self.explicit_hash_key_spans)
        free(self.records)
        self.partition_key_spans = self.explicit_hash_key_spans = NULL
        self.records = NULL
        self.counts.partition_keys = self.counts.explicit_hash_keys = self.counts.records = 0

    cdef sp_slice blob(self) noexcept:
        cdef sp_slice view
        view.data = <const uint8_t *>PyBytes_AS_STRING(self.data)
        view.size = <size_t>PyBytes_GET_SIZE(self.data)
        return view

    cdef int index(self, sp_slice message, sp_finding *finding) except -1:
        """Find the user records of the message, and what is wrong with it. Arrays are exactly as long as it says."""
        cdef bint sound
        finding.verdict = SP_WELL_FORMED
        with nogil:
            sound = sp_message_count(message, &self.counts, finding)
        if not sound:
            return 0
        self.message = message
        self.partition_key_spans = <sp_span *>malloc((<size_t>self.counts.partition_keys + 1) * sizeof(sp_span))
        self.explicit_hash_key_spans = <sp_span *>malloc((<size_t>self.counts.explicit_hash_keys + 1) * sizeof(sp_span))
        self.records = <sp_wire_record *>malloc((<size_t>self.counts.records + 1) * sizeof(sp_wire_record))
        if self.partition_key_spans == NULL or self.explicit_hash_key_spans == NULL or self.records == NULL:
            raise MemoryError
        with nogil:
            sp_message_index(message, self.partition_key_spans, self.explicit_hash_key_spans, self.records, finding)
        if finding.verdict == SP_WELL_FORMED:
            self.partition_keys = [None] * <Py_ssize_t>self.counts.partition_keys
            self.explicit_hash_keys = [None] * <Py_ssize_t>self.counts.explicit_hash_keys
        return 0

    cdef str partition_key_at(self, Py_ssize_t i):
        if self.partition_keys[i] is None:
            self.partition_keys[i] = to_text(sp_span_of(self.message, self.partition_key_spans[i]))
        return self.partition_keys[i]

    cdef str explicit_hash_key_at(self, Py_ssize_t i):
        if self.explicit_hash_keys[i] is None:
            self.explicit_hash_keys[i] = to_text(sp_span_of(self.message, self.explicit_hash_key_spans[i]))
        return self.explicit_hash_keys[i]

    cdef tuple tags_at(self, Py_ssize_t i):
        cdef const sp_wire_record *wire = &self.records[i]
        cdef sp_wire_tag *tags
        cdef list out = []
        cdef uint32_t j
        if wire.tag_count == 0:
            return ()
        tags = <sp_wire_tag *>malloc(wire.tag_count * sizeof(sp_wire_tag))
        if tags == NULL:
            raise MemoryError
        try:
            sp_record_tags(self.message, wire, tags)
            for j in range(wire.tag_count):
                out.append((to_text(tags[j].key), to_text(tags[j].value) if tags[j].has_value else None))
        finally:
            free(tags)
        return tuple(out)

    cdef bint all_in_range(self, sp_hash_key low, sp_hash_key high) except -1:
        """KCL's rule: is the hash key of every user record in the range, both ends included?"""
        cdef size_t keys = self.counts.partition_keys, i
        cdef uint8_t *digests = <uint8_t *>malloc((keys + 1) * 16)
        cdef sp_slice *texts = <sp_slice *>malloc((keys + 1) * sizeof(sp_slice))
        cdef const sp_wire_record *wire
        cdef sp_slice text
        cdef sp_hash_key key = low
        cdef bint inside = True
        if digests == NULL or texts == NULL:
            free(digests)
            free(texts)
            raise MemoryError
        with nogil:
            for i in range(keys):
                texts[i] = sp_span_of(self.message, self.partition_key_spans[i])
            md5_many(texts, keys, digests)
            for i in range(self.counts.records):
                wire = &self.records[i]
                if wire.explicit_hash_key_index != SP_NO_INDEX:
                    text = sp_span_of(self.message, self.explicit_hash_key_spans[wire.explicit_hash_key_index])
                    sp_hash_key_parse(text.data, text.size, &key)
                else:
                    key = sp_hash_key_from_bytes(digests + 16 * wire.partition_key_index)
                if sp_hash_key_less(key, low) or sp_hash_key_less(high, key):
                    inside = False
                    break
        free(digests)
        free(texts)
        return inside


@cython.final
@cython.no_gc  # as above; and a million of these must not set off the cycle collector
@cython.freelist(131072)  # a GetRecords response of 10 MB in records of 100 B; fresh memory costs more than they do
cdef class UserRecord:
    """A user record as its producer put it, and where it came from.

    ``data`` (bytes), ``partition_key`` and ``explicit_hash_key`` (str or None; bytes that are not UTF-8 decode with
    ``surrogateescape``), ``sub_sequence_number`` (its place in the Kinesis record, from 0), ``aggregated`` (False when
    it came back whole), ``tags`` (pairs of key and value or None), ``error`` (why a malformed aggregated record came
    back whole). Of the Kinesis record, as far as its shape carries it: ``sequence_number``,
    ``approximate_arrival_timestamp`` (an aware datetime), ``shard_id``, ``encryption_type``, ``record_id``
    (Firehose's), and ``source``, the record as it was given. Immutable; compares by value. Fields are made when they
    are asked for, from the Kinesis record, which a user record keeps alive.
    """

    cdef ReceivedRecord _received
    cdef bytes _data
    cdef Py_ssize_t _position

    def __init__(self):
        raise TypeError("UserRecord objects are made by deaggregate()")

    @property
    def data(self):
        if self._position == WHOLE:
            return self._received.data
        if self._data is None:
            self._data = to_bytes(sp_span_of(self._received.message, self._received.records[self._position].data))
        return self._data

    @property
    def partition_key(self):
        if self._position == WHOLE:
            return self._received.origin.partition_key
        return self._received.partition_key_at(self._received.records[self._position].partition_key_index)

    @property
    def explicit_hash_key(self):
        cdef uint32_t index
        if self._position == WHOLE:
            return self._received.explicit_hash_key
        index = self._received.records[self._position].explicit_hash_key_index
        return None if index == SP_NO_INDEX else self._received.explicit_hash_key_at(index)

    @property
    def tags(self):
        return self._received.tags if self._position == WHOLE else self._received.tags_at(self._position)

    @property
    def error(self):
        return self._received.error if self._position == WHOLE else None

    @property
    def sub_sequence_number(self):
        return self._received.origin.sub_sequence_number if self._position == WHOLE else self._position

    @property
    def aggregated(self):
        return self._received.aggregated if self._position == WHOLE else True

    @property
    def sequence_number(self):
        return self._received.origin.sequence_number

    @property
    def approximate_arrival_timestamp(self):
        return self._received.origin.approximate_arrival_timestamp

    @property
    def shard_id(self):
        return self._received.origin.shard_id

    @property
    def encryption_type(self):
        return self._received.origin.encryption_type

    @property
    def record_id(self):
        return self._received.origin.record_id

    @property
    def source(self):
        return self._received.source

    def _values(self):
        origin = self._received.origin._replace(
            partition_key=self.partition_key, sub_sequence_number=self.sub_sequence_number)
        return self.data, origin, self.source, self.explicit_hash_key, self.tags, self.aggregated

    def __eq__(self, other):
        if not isinstance(other, UserRecord):
            return NotImplemented
        return self._values() == (<UserRecord>other)._values() and str(self.error) == str(other.error)

    def __hash__(self):
        return hash((self.data, self.partition_key, self.explicit_hash_key, self.sub_sequence_number))

    def __reduce__(self):
        return _user_record, (*self._values(), self.error)

    def __repr__(self):
        data = self.data if len(self.data) <= 40 else self.data[:40] + b"..."
        return (
            f"<UserRecord {self.partition_key!r} {data!r} sequence_number={self.sequence_number!r} "
            f"sub_sequence_number={self.sub_sequence_number}{'' if self.aggregated else ' raw'}"
            f"{'' if self.error is None else f' error={self.error}'}>"
        )


def _user_record(data, origin, source, explicit_hash_key, tags, aggregated, error):
    """Make a user record of its values: one that was pickled, and left the Kinesis record it came in behind."""
    cdef ReceivedRecord received = ReceivedRecord(data, None, source)
    received._origin, received.explicit_hash_key, received.tags = origin, explicit_hash_key, tags
    received.aggregated, received.error = aggregated, error
    return whole(received)


def deaggregate_received(list received, tuple hash_range, bint strict, out not None):
    """Append the user records of Kinesis records to ``out``. Returns how many the hash range left out.

    When ``strict`` raises, ``out`` has the user records of all Kinesis records before the malformed one.
    """
    cdef Py_ssize_t start, left_out = 0
    cdef sp_hash_key low, high
    cdef sp_hash_key *low_or_none = NULL
    if not isinstance(out, list):
        raise TypeError(f"out is a list, not {type(out).__name__}")
    if hash_range is not None:
        read_explicit_hash_key(hash_range[0], &low, NO_POSITION)
        read_explicit_hash_key(hash_range[1], &high, NO_POSITION)
        low_or_none = &low
    for start in range(0, len(received), VERIFY_BATCH):
        left_out += deaggregate_batch(received[start:start + VERIFY_BATCH], low_or_none, &high, strict, <list>out)
    return left_out


cdef Py_ssize_t deaggregate_batch(
    list received, const sp_hash_key *low, const sp_hash_key *high, bint strict, list out
) except -1:
    cdef Py_ssize_t left_out = 0
    cdef ReceivedRecord record
    index_batch(received)
    for record in received:
        if record.error is not None and strict:
            raise record.error
        if not record.aggregated:
            out.append(whole(record))
        elif low != NULL and not record.all_in_range(low[0], high[0]):
            left_out += record.counts.records
        else:
            append_user_records(record, out)
    return left_out


cdef int index_batch(list received) except -1:
    """Find out of up to VERIFY_BATCH Kinesis records which are aggregated, which malformed, and what they hold."""
    cdef sp_slice[VERIFY_BATCH] messages
    cdef bint[VERIFY_BATCH] verified
    cdef Py_ssize_t i
    cdef ReceivedRecord record
    cdef sp_finding finding
    verify(received, messages, verified)
    for i in range(len(received)):
        record = received[i]
        if not verified[i]:
            continue
        record.index(messages[i], &finding)
        record.aggregated = finding.verdict == SP_WELL_FORMED
        if finding.verdict >= SP_PARTITION_KEY_INDEX_RANGE:
            record.error = malformed(&finding)
        if not record.aggregated:
            record.forget_index()
    return 0


cdef int index_malformed(ReceivedRecord received) except -1:
    """Index a record with an error once more, for a reader with a rule of its own: its references may lead nowhere."""
    cdef sp_slice message
    cdef sp_finding finding
    sp_frame(received.blob(), &message)
    return received.index(message, &finding)


cdef int verify(list received, sp_slice *messages, bint *verified) except -1:
    """Compare the MD5 of every framed message with the digest behind it, all together."""
    cdef sp_slice[VERIFY_BATCH] framed
    cdef Py_ssize_t[VERIFY_BATCH] owner
    cdef uint8_t[VERIFY_BATCH * 16] digests
    cdef Py_ssize_t i, n = 0
    for i in range(len(received)):
        verified[i] = False
        if sp_frame((<ReceivedRecord>received[i]).blob(), &messages[i]):
            framed[n] = messages[i]
            owner[n] = i
            n += 1
    with nogil:
        md5_many(framed, <size_t>n, digests)
        for i in range(n):
            verified[owner[i]] = memcmp(framed[i].data + framed[i].size, digests + 16 * i, 16) == 0
    return 0


cdef int append_user_records(ReceivedRecord received, list out) except -1:
    cdef UserRecord record
    cdef Py_ssize_t i
    for i in range(received.counts.records):
        record = UserRecord.__new__(UserRecord)
        record._received = received
        record._position = i
        out.append(record)
    return 0


cdef UserRecord whole(ReceivedRecord received):
    cdef UserRecord record = UserRecord.__new__(UserRecord)
    record._received = received
    record._position = WHOLE
    return record


cdef object malformed(const sp_finding *finding):
    """The finding as an exception; its offset counts from the start of the data."""
    offset = SP_MAGIC_SIZE + finding.offset
    return MalformedRecordError(
        f"malformed aggregated record: {WHAT_IS_WRONG[finding.verdict]} (user record {finding.record}, byte {offset})",
        offset, finding.record)


def dissect(data):
    """Return what an aggregated record holds and how it fares, for `shardpack inspect`; None without its frame."""
    cdef ReceivedRecord received = ReceivedRecord(data)
    cdef sp_slice message
    cdef sp_finding finding
    cdef const sp_wire_record *wire
    cdef uint8_t[16] digest
    if not sp_frame(received.blob(), &message):
        return None
    md5_many(&message, 1, digest)
    received.index(message, &finding)
    found = {
        "message_size": message.size,
        "stored_digest": (<const char *>message.data + message.size)[:16],
        "computed_digest": (<char *>digest)[:16],
        "error": None if finding.verdict == SP_WELL_FORMED else malformed(&finding),
        "partition_keys": [],
        "explicit_hash_keys": [],
        "records": [],
    }
    if finding.verdict == SP_WELL_FORMED or finding.verdict >= SP_PARTITION_KEY_INDEX_RANGE:
        for i in range(received.counts.partition_keys):
            found["partition_keys"].append(to_text(sp_span_of(message, received.partition_key_spans[i])))
        for i in range(received.counts.explicit_hash_keys):
            found["explicit_hash_keys"].append(to_text(sp_span_of(message, received.explicit_hash_key_spans[i])))
        for i in range(received.counts.records):
            wire = &received.records[i]
            found["records"].append((
                wire.partition_key_index,
                None if wire.explicit_hash_key_index == SP_NO_INDEX else wire.explicit_hash_key_index,
                to_bytes(sp_span_of(message, wire.data)),
                received.tags_at(<Py_ssize_t>i),
            ))
    return found
