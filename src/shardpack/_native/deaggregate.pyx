"""Kinesis records in, user records out: verify checksums together, then validate, index and build.

What may be read, and what an odd message means, is csrc/deaggregate.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memset

from .keys cimport NO_POSITION, read_explicit_hash_key, sp_hash_key_from_bytes, sp_hash_key_parse
from .md5 cimport md5_many

from ..errors import MalformedRecordError


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


cdef void *more_room(void *table, size_t count, size_t size) except NULL:
    cdef void *larger = realloc(table, count * size)
    if larger == NULL:
        raise MemoryError
    return larger


@cython.final
@cython.freelist(256)
cdef class ReceivedRecord:
    """A Kinesis record as a consumer got it, and where in it the user records are: what those share."""

    def __init__(self, data, shape=None, source=None, deaggregated=False, explicit_hash_key=None):
        self.data = data if type(data) is bytes else bytes(data)
        self.source = source
        self.shape = shape
        self.deaggregated = deaggregated
        self.explicit_hash_key = explicit_hash_key
        self.tags = ()

    @property
    def origin(self):
        if self._origin is None:
            self._origin = self.shape(self.source)
        return self._origin

    @property
    def error(self):
        return None if self.fault is None else MalformedRecordError(*self.fault)

    def __dealloc__(self):
        self.forget()

    cdef sp_slice blob(self) noexcept:
        cdef sp_slice view
        view.data = <const uint8_t *>PyBytes_AS_STRING(self.data)
        view.size = <size_t>PyBytes_GET_SIZE(self.data)
        return view

    cdef int begin(self, sp_slice message) except -1:
        """Be ready to walk a message: make tables for as many keys as there may be, and more when there are."""
        self.forget()
        self.walk.message = message
        self.walk.room.partition_keys = 16 + <uint32_t>(message.size // 128)
        self.walk.room.explicit_hash_keys = 2
        self.walk.partition_keys = <sp_span *>more_room(NULL, self.walk.room.partition_keys, sizeof(sp_span))
        self.walk.explicit_hash_keys = <sp_span *>more_room(NULL, self.walk.room.explicit_hash_keys, sizeof(sp_span))
        return 0

    cdef int make_room(self) except -1:
        """Double whatever table is full."""
        cdef sp_walk *walk = &self.walk
        if walk.found.partition_keys == walk.room.partition_keys:
            walk.partition_keys = <sp_span *>more_room(
                walk.partition_keys, 2 * walk.room.partition_keys, sizeof(sp_span))
            walk.room.partition_keys *= 2
        if walk.found.explicit_hash_keys == walk.room.explicit_hash_keys:
            walk.explicit_hash_keys = <sp_span *>more_room(
                walk.explicit_hash_keys, 2 * walk.room.explicit_hash_keys, sizeof(sp_span))
            walk.room.explicit_hash_keys *= 2
        if self.records != NULL and walk.found.records == walk.room.records:
            self.records = <sp_wire_record *>more_room(self.records, 2 * walk.room.records, sizeof(sp_wire_record))
            walk.room.records *= 2
        return 0

    cdef void forget(self) noexcept:
        free(self.walk.partition_keys)
        free(self.walk.explicit_hash_keys)
        free(self.records)
        memset(&self.walk, 0, sizeof(self.walk))
        self.records = NULL

    cdef sp_outcome walk_into(self, sp_columns *columns, sp_finding *finding) noexcept:
        """Go on to append the user records of the message to columns."""
        with nogil:
            return sp_walk_columns(&self.walk, columns, finding)

    cdef int index(self, sp_slice message, sp_finding *finding) except -1:
        """Find the user records of the message, and what is wrong with it."""
        cdef sp_outcome outcome = SP_NO_ROOM
        finding.verdict = SP_WELL_FORMED
        self.begin(message)
        self.walk.room.records = 16 + <uint32_t>(message.size // 128)
        self.records = <sp_wire_record *>more_room(NULL, self.walk.room.records, sizeof(sp_wire_record))
        while True:
            with nogil:
                outcome = sp_walk_records(&self.walk, self.records, finding)
            if outcome != SP_NO_ROOM:
                return 0
            self.make_room()

    cdef str partition_key_at(self, Py_ssize_t i):
        if self.partition_keys is None:
            self.partition_keys = [None] * <Py_ssize_t>self.walk.found.partition_keys
        if self.partition_keys[i] is None:
            self.partition_keys[i] = to_text(sp_span_of(self.walk.message, self.walk.partition_keys[i]))
        return self.partition_keys[i]

    cdef str explicit_hash_key_at(self, Py_ssize_t i):
        if self.explicit_hash_keys is None:
            self.explicit_hash_keys = [None] * <Py_ssize_t>self.walk.found.explicit_hash_keys
        if self.explicit_hash_keys[i] is None:
            self.explicit_hash_keys[i] = to_text(sp_span_of(self.walk.message, self.walk.explicit_hash_keys[i]))
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
            sp_record_tags(self.walk.message, wire, tags)
            for j in range(wire.tag_count):
                out.append((to_text(tags[j].key), to_text(tags[j].value) if tags[j].has_value else None))
        finally:
            free(tags)
        return tuple(out)

    cdef bint all_in_range(self, sp_hash_key low, sp_hash_key high) except -1:
        """KCL's rule: is the hash key of every user record in the range, both ends included?"""
        cdef size_t keys = self.walk.found.partition_keys, explicit_keys = self.walk.found.explicit_hash_keys, i
        cdef uint8_t *digests = <uint8_t *>malloc((keys + 1) * 16)
        cdef sp_slice *texts = <sp_slice *>malloc((keys + 1) * sizeof(sp_slice))
        cdef sp_hash_key *explicit_hash_keys = <sp_hash_key *>malloc((explicit_keys + 1) * sizeof(sp_hash_key))
        cdef const sp_wire_record *wire
        cdef sp_slice text
        cdef sp_hash_key key
        cdef bint inside = True
        if digests == NULL or texts == NULL or explicit_hash_keys == NULL:
            free(digests)
            free(texts)
            free(explicit_hash_keys)
            raise MemoryError
        with nogil:
            for i in range(keys):
                texts[i] = sp_span_of(self.walk.message, self.walk.partition_keys[i])
            md5_many(texts, keys, digests)
            for i in range(explicit_keys):  # once each, however many records name it
                text = sp_span_of(self.walk.message, self.walk.explicit_hash_keys[i])
                explicit_hash_keys[i] = low
                sp_hash_key_parse(text.data, text.size, &explicit_hash_keys[i])  # fails only where no record names it
            for i in range(self.walk.found.records):
                wire = &self.records[i]
                if wire.explicit_hash_key_index != SP_NO_INDEX:
                    key = explicit_hash_keys[wire.explicit_hash_key_index]
                else:
                    key = sp_hash_key_from_bytes(digests + 16 * wire.partition_key_index)
                if sp_hash_key_less(key, low) or sp_hash_key_less(high, key):
                    inside = False
                    break
        free(digests)
        free(texts)
        free(explicit_hash_keys)
        return inside


@cython.final
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
            self._data = to_bytes(sp_span_of(self._received.walk.message, self._received.records[self._position].data))
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
        return self._received.aggregated or self._received.deaggregated

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
        origin = (self.partition_key, *self._received.origin.values()[1:6], self.sub_sequence_number)
        return self.data, origin, self.source, self.explicit_hash_key, self.tags, self.aggregated

    def __eq__(self, other):
        if not isinstance(other, UserRecord):
            return NotImplemented
        return self._values() == (<UserRecord>other)._values() and str(self.error) == str(other.error)

    def __hash__(self):
        return hash((self.data, self.partition_key, self.explicit_hash_key, self.sub_sequence_number))

    def __reduce__(self):
        data, origin, *rest = self._values()
        return _user_record, (data, type(self._received.origin)(*origin), *rest, self.error)

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
    received.aggregated, received.fault = aggregated, None if error is None else error.args
    return whole(received)


cdef int read_hash_range(tuple hash_range, sp_hash_key *low, sp_hash_key *high) except -1:
    if len(hash_range) != 2:
        raise TypeError(f"hash_range is the first and the last hash key of a shard, not {hash_range!r:.100}")
    read_explicit_hash_key(hash_range[0], low, NO_POSITION)
    read_explicit_hash_key(hash_range[1], high, NO_POSITION)
    if sp_hash_key_less(high[0], low[0]):
        raise ValueError(f"the hash range from {hash_range[0]} to {hash_range[1]} holds no hash key")
    return 0


def deaggregate_received(list received, tuple hash_range, bint strict, out not None):
    """Append the user records of Kinesis records to ``out``. Returns how many the hash range left out.

    When ``strict`` raises, ``out`` has the user records of all Kinesis records before the malformed one.
    """
    cdef Py_ssize_t i, left_out = 0, stop = len(received)
    cdef sp_hash_key low, high
    cdef ReceivedRecord record
    cdef Batch batch
    failure = None
    if not isinstance(out, list):
        raise TypeError(f"out is a list, not {type(out).__name__}")
    if hash_range is not None:
        read_hash_range(hash_range, &low, &high)
    batch.stop = 0
    while batch.stop < stop:
        verify(received, &batch)
        for i in range(batch.start, batch.stop):
            record = received[i]
            if batch.verified[i - batch.start]:
                index_record(record, batch.messages[i - batch.start])
            if record.fault is not None and strict:
                failure, stop = named(record), i
                break
            if record.aggregated and hash_range is not None and not record.all_in_range(low, high):
                record.is_left_out = True
                left_out += record.walk.found.records
    append_user_records(received, stop, <list>out)
    if failure is not None:
        raise failure
    return left_out


cdef int index_all(list received) except -1:
    """Find out which Kinesis records are aggregated, which malformed, and what they hold."""
    cdef Batch batch
    cdef Py_ssize_t i
    batch.stop = 0
    while batch.stop < len(received):
        verify(received, &batch)
        for i in range(batch.start, batch.stop):
            if batch.verified[i - batch.start]:
                index_record(received[i], batch.messages[i - batch.start])
    return 0


cdef int index_malformed(ReceivedRecord received) except -1:
    """Index a record with an error once more, for a reader with a rule of its own: its references may lead nowhere."""
    cdef sp_slice message
    cdef sp_finding finding
    sp_frame(received.blob(), &message)
    return received.index(message, &finding)


cdef void verify(list received, Batch *batch) noexcept:
    """Take the next Kinesis records, and compare the MD5 of every framed message with the digest behind it."""
    cdef sp_slice[MOST_VERIFIED] framed
    cdef Py_ssize_t[MOST_VERIFIED] owner
    cdef uint8_t[MOST_VERIFIED * 16] digests
    cdef ReceivedRecord record
    cdef Py_ssize_t i = 0, n = 0
    cdef size_t size = 0
    batch.start = batch.stop
    while batch.stop < len(received) and i < MOST_VERIFIED and (n < FEWEST_VERIFIED or size < VERIFIED_BYTES):
        batch.verified[i] = False
        record = received[batch.stop]
        if not record.deaggregated and sp_frame(record.blob(), &batch.messages[i]):
            framed[n] = batch.messages[i]
            owner[n] = i
            size += framed[n].size
            n += 1
        i += 1
        batch.stop += 1
    with nogil:
        md5_many(framed, <size_t>n, digests)
        for i in range(n):
            batch.verified[owner[i]] = memcmp(framed[i].data + framed[i].size, digests + 16 * i, 16) == 0


cdef int index_record(ReceivedRecord record, sp_slice message) except -1:
    """Find out whether a verified message is an aggregated record or a malformed one, and what it holds."""
    cdef sp_finding finding
    record.index(message, &finding)
    record.aggregated = finding.verdict == SP_WELL_FORMED
    if finding.verdict >= SP_PARTITION_KEY_INDEX_RANGE:
        record.fault = fault_of(&finding)
    if not record.aggregated:
        record.forget()
    return 0


cdef int append_user_records(list received, Py_ssize_t stop, list out) except -1:
    """Append the user records of the first ``stop`` Kinesis records.

    The cycle collector rests meanwhile, or it would go through all there are again and again. No other code runs.
    """
    cdef ReceivedRecord record
    cdef UserRecord user_record
    cdef Py_ssize_t i, p
    cdef bint collecting = PyGC_Disable()
    try:
        for p in range(stop):
            record = received[p]
            if not record.aggregated:
                out.append(whole(record))
            elif not record.is_left_out:
                for i in range(record.walk.found.records):
                    user_record = UserRecord.__new__(UserRecord)
                    user_record._received = record
                    user_record._position = i
                    out.append(user_record)
    finally:
        if collecting:
            PyGC_Enable()
    return 0


cdef UserRecord whole(ReceivedRecord received):
    cdef UserRecord record = UserRecord.__new__(UserRecord)
    record._received = received
    record._position = WHOLE
    return record


cdef tuple fault_of(const sp_finding *finding):
    """The finding as the arguments of an exception; its offset counts from the start of the data."""
    offset = SP_MAGIC_SIZE + finding.offset
    return (
        f"malformed aggregated record: {WHAT_IS_WRONG[finding.verdict]} (user record {finding.record}, byte {offset})",
        offset, finding.record)


cdef object named(ReceivedRecord record):
    """The error of a record for who has many: it says which one."""
    error = record.error
    if record.origin.sequence_number is not None:
        where = f"{error}, in the Kinesis record {record.origin.sequence_number}"
        error = MalformedRecordError(where, error.offset, error.record_index)
    error.source = record.source
    return error


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
        "error": None if finding.verdict == SP_WELL_FORMED else MalformedRecordError(*fault_of(&finding)),
        "partition_keys": [],
        "explicit_hash_keys": [],
        "records": [],
    }
    if finding.verdict == SP_WELL_FORMED or finding.verdict >= SP_PARTITION_KEY_INDEX_RANGE:
        for i in range(received.walk.found.partition_keys):
            found["partition_keys"].append(to_text(sp_span_of(message, received.walk.partition_keys[i])))
        for i in range(received.walk.found.explicit_hash_keys):
            found["explicit_hash_keys"].append(to_text(sp_span_of(message, received.walk.explicit_hash_keys[i])))
        for i in range(received.walk.found.records):
            wire = &received.records[i]
            found["records"].append((
                wire.partition_key_index,
                None if wire.explicit_hash_key_index == SP_NO_INDEX else wire.explicit_hash_key_index,
                to_bytes(sp_span_of(message, wire.data)),
                received.tags_at(<Py_ssize_t>i),
            ))
    return found
