"""Kinesis records in, user records out.

What may be read, and what an odd message means, is csrc/deaggregate; how many are verified and walked together, and
what is kept of them, csrc/contents.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromObject
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free, malloc

from .collector cimport rest_collector, wake_collector
from .compressed cimport messages_of, sp_is_compressed
from .keys cimport NO_POSITION, SHORT_WORK, format_hash_key, read_explicit_hash_key
from .made_inside cimport made_inside
from .md5 cimport md5_many
from .slices cimport bytes_of_slice, slice_of_bytes, text_of_slice

from ..errors import MalformedRecordError


cdef enum:
    WHOLE_RECORD = -1  # the position of a user record that is all its Kinesis record holds
    MOST_SHOWN = 100  # characters of a text, or bytes, in what is for people to read
    # MD5 goes through many records as fast as through the longest of them; then each is walked.
    LONGEST_BYTES_A_NANOSECOND = 1
    READ_BYTES_A_NANOSECOND = 10

cdef dict WHAT_IS_WRONG = {
    SP_BAD_FIELD: "a field does not parse",
    SP_MISSING_PARTITION_KEY_INDEX: "a record has no partition key index",
    SP_MISSING_DATA: "a record has no data",
    SP_MISSING_TAG_KEY: "a tag has no key",
    SP_PARTITION_KEY_INDEX_RANGE: "a partition key index is outside the table",
    SP_EXPLICIT_HASH_KEY_INDEX_RANGE: "an explicit hash key index is outside the table",
    SP_BAD_EXPLICIT_HASH_KEY: "an explicit hash key is not a decimal number below 2**128",
}


cdef class SharedMemory:
    """What a Kinesis record may lie in. By itself it holds nothing."""

    cdef object source_of(self, ReceivedRecord record):
        raise NotImplementedError

    cdef object origin_of(self, ReceivedRecord record):
        raise NotImplementedError

    cdef int64_t arrival_of(self, ReceivedRecord record) noexcept:
        """Microseconds since 1970; -1 where the origin has to be asked."""
        return -1


@cython.final
@cython.no_gc_clear  # a cycle goes through the source, which is cleared; so that nothing is ever missing here
cdef class ReceivedRecord:
    """A Kinesis record as a consumer got it, and where in it the user records are: what those share.

    One whose data lies in memory with that of others keeps all of that. A compressed one keeps its message as well.
    """

    def __cinit__(self, data, shape=None, source=None, bint deaggregated=False, str explicit_hash_key=None):
        self._data = data if type(data) is bytes else PyBytes_FromObject(data)
        self.content = slice_of_bytes(self._data)
        self._source = source
        self.shape = shape
        self.deaggregated = deaggregated
        self.explicit_hash_key = explicit_hash_key
        self.tags = ()

    def __dealloc__(self):
        if self._contents != NULL:
            sp_contents_free(self._contents)
            free(self._contents)

    @property
    def data(self):
        cdef bytes data
        with cython.critical_section(self):
            data = self._data
            if data is None:
                data = bytes_of_slice(self.content)
                self._data = data
        return data

    @property
    def size(self):
        return <Py_ssize_t>self.content.size

    @property
    def source(self):
        with cython.critical_section(self):
            source = self._source
        if source is None and self.memory is not None:
            source = self.memory.source_of(self)
            with cython.critical_section(self):  # as with the origin
                if self._source is None:
                    self._source = source
                source = self._source
        return source

    @property
    def origin(self):
        with cython.critical_section(self):
            origin = self._origin
        if origin is None:
            origin = self.shape(self._source) if self.memory is None else self.memory.origin_of(self)
            if self.shard_id is not None and origin.shard_id is None:
                origin.shard_id = self.shard_id
            with cython.critical_section(self):  # somebody else may have been first: all get the same
                if self._origin is None:
                    self._origin = origin
                origin = self._origin
        return origin

    @property
    def error(self):
        # Made each time: one that was raised holds frames, which may hold this, and neither would ever be freed.
        cdef tuple arguments = self.error_arguments_in(self.contents())
        return None if arguments is None else MalformedRecordError(*arguments)

    cdef tuple error_arguments_in(self, const sp_contents *contents):
        """Of the error of this record, whose contents are these, or NULL; None without one."""
        if contents != NULL and contents.kind == SP_MALFORMED:
            return error_arguments_of(&contents.finding, self.message is not None)
        return self.error_arguments

    cdef bint is_aggregated(self) noexcept:
        cdef const sp_contents *contents = self.contents()
        return contents != NULL and contents.kind == SP_AGGREGATED

    cdef int keep(self, sp_contents *contents) except -1:
        """Take over what was found in this record, unless it is known already."""
        cdef sp_contents *kept = <sp_contents *>malloc(sizeof(sp_contents))
        if kept == NULL:
            raise MemoryError
        kept[0] = contents[0]
        contents.walk.partition_keys = contents.walk.explicit_hash_keys = NULL
        contents.records = NULL
        sp_contents_publish(&self._contents, kept)
        return 0

    cdef str partition_key_at(self, Py_ssize_t i):
        cdef const sp_walk *walk = &self.contents().walk
        cdef str key
        with cython.critical_section(self):
            if self.partition_keys is None:
                self.partition_keys = [None] * <Py_ssize_t>walk.found.partition_keys
            key = self.partition_keys[i]
            if key is None:
                key = text_of_slice(sp_span_of(walk.message, walk.partition_keys[i]))
                self.partition_keys[i] = key
        return key

    cdef str explicit_hash_key_at(self, Py_ssize_t i):
        cdef const sp_walk *walk = &self.contents().walk
        cdef str key
        with cython.critical_section(self):
            if self.explicit_hash_keys is None:
                self.explicit_hash_keys = [None] * <Py_ssize_t>walk.found.explicit_hash_keys
            key = self.explicit_hash_keys[i]
            if key is None:
                key = text_of_slice(sp_span_of(walk.message, walk.explicit_hash_keys[i]))
                self.explicit_hash_keys[i] = key
        return key


cdef tuple tags_of(const sp_contents *contents, Py_ssize_t i):
    cdef const sp_wire_record *wire = &contents.records[i]
    cdef sp_wire_tag *tags
    cdef list out = []
    cdef uint32_t j
    if wire.tag_count == 0:
        return ()
    tags = <sp_wire_tag *>malloc(wire.tag_count * sizeof(sp_wire_tag))
    if tags == NULL:
        raise MemoryError
    try:
        sp_record_tags(contents.walk.message, wire, tags)
        for j in range(wire.tag_count):
            out.append((text_of_slice(tags[j].key), text_of_slice(tags[j].value) if tags[j].has_value else None))
    finally:
        free(tags)
    return tuple(out)


@cython.final
@cython.no_gc_clear  # as above
# Room for the user records of a GetRecords response of 10 MB in records of 100 B, 8 MiB at most. Fresh memory costs
# more than they do: without, `deaggregate` of 100 B takes 1.8 times as long, and with all fields read 1.3 times.
@cython.freelist(131072)
cdef class UserRecord:
    """A user record as its producer put it, and where it came from.

    ``data`` (bytes), ``partition_key`` and ``explicit_hash_key`` (str or None; bytes that are not UTF-8 decode with
    ``surrogateescape``), ``sub_sequence_number`` (its place in the Kinesis record, from 0), ``aggregated`` (False when
    it came back whole), ``tags`` (pairs of key and value or None), ``error`` (why a malformed aggregated record came
    back whole). Of the Kinesis record, as far as its shape carries it: ``sequence_number``,
    ``approximate_arrival_timestamp`` (an aware datetime), ``shard_id``, ``encryption_type``, ``record_id``
    (Firehose's), and ``source``, the record as it was given. Immutable; compares by value, ``source`` not among them.
    Fields are made when they are asked for, from the Kinesis record, which a user record keeps alive; of a response
    that was read by ``read_records``, it keeps the data of all Kinesis records in there, which lie in one buffer (10 MB
    at most, as GetRecords has it). ``detach()`` leaves that behind, and so does pickling: ``source`` is None then.
    """

    cdef ReceivedRecord _received
    cdef bytes _data
    cdef Py_ssize_t _position

    cdef inline const sp_wire_record *wire(self) noexcept:
        return &self._received.contents().records[self._position]

    @property
    def data(self):
        """What the producer put: ``bytes``. Made when it is first asked for, and kept."""
        cdef bytes data
        if self._position == WHOLE_RECORD:
            return self._received.data
        with cython.critical_section(self):
            data = self._data
            if data is None:
                data = bytes_of_slice(sp_span_of(self._received.contents().walk.message, self.wire().data))
                self._data = data
        return data

    def object(self, codec=None):
        """Return the object in its data, as ``Producer.put_object`` put it, or other producers of JSON and msgpack.

        ``codec`` is ``"json"``, ``"msgpack"``, ``"raw"``, or a ``shardpack.codec.Codec``; without one the first byte
        tells JSON from msgpack. Made anew by each call. Raises ``ObjectError``, which names the record, for data that
        hold none, and ``PayloadError`` for a compressed payload: ``shardpack.codec.PayloadReader`` reads those.
        """
        from ..codec.objects import object_of
        return object_of(self, codec)

    @property
    def partition_key(self):
        """The key that it was put with; ``None`` where the stream distributes records itself and there was none.

        Bytes that are not UTF-8 decode with ``surrogateescape``.
        """
        if self._position == WHOLE_RECORD:
            return self._received.origin.partition_key
        return self._received.partition_key_at(self.wire().partition_key_index)

    @property
    def explicit_hash_key(self):
        """The explicit hash key that its producer gave, as decimal text; ``None`` where it gave none.

        Of a raw record it is ``None``: the service does not tell it.
        """
        cdef uint32_t index
        if self._position == WHOLE_RECORD:
            return self._received.explicit_hash_key
        index = self.wire().explicit_hash_key_index
        return None if index == SP_NO_INDEX else self._received.explicit_hash_key_at(index)

    @property
    def tags(self):
        """Its tags: pairs of a key and a value or ``None``. The KPL writes none."""
        if self._position == WHOLE_RECORD:
            return self._received.tags
        return tags_of(self._received.contents(), self._position)

    @property
    def error(self):
        """Why a malformed aggregated record came back whole, as this record; ``None`` for all others."""
        return self._received.error if self._position == WHOLE_RECORD else None

    @property
    def sub_sequence_number(self):
        """Its place in its Kinesis record, from 0."""
        return self._received.origin.sub_sequence_number if self._position == WHOLE_RECORD else self._position

    @property
    def aggregated(self):
        """Whether it came in an aggregated record. ``False`` for a raw record, and where one came back whole."""
        return self._position != WHOLE_RECORD or self._received.deaggregated or self._received.was_aggregated

    @property
    def sequence_number(self):
        """Its Kinesis record's; ``None`` where the source has none, as bytes and records of queues."""
        return self._received.origin.sequence_number

    @property
    def approximate_arrival_timestamp(self):
        """When its Kinesis record arrived, an aware ``datetime``; ``None`` where the source does not tell."""
        return self._received.origin.approximate_arrival_timestamp

    @property
    def shard_id(self):
        """The shard that it was read from, where the source tells; else ``None``."""
        return self._received.origin.shard_id

    @property
    def encryption_type(self):
        """``"NONE"`` or ``"KMS"``, where the source tells; else ``None``."""
        return self._received.origin.encryption_type

    @property
    def record_id(self):
        """Firehose's, Kinesis Analytics' or a queue's name of its Kinesis record; else ``None``."""
        return self._received.origin.record_id

    @property
    def source(self):
        """The Kinesis record as it was given; ``None`` of a user record that was detached or pickled."""
        return self._received.source

    cdef tuple own_values(self):
        return self.data, self.explicit_hash_key, self.tags, self.aggregated

    cdef tuple origin_values(self):
        """What makes an origin of this user record alone."""
        return self.partition_key, *self._received.origin.values()[1:6], self.sub_sequence_number

    def detach(self):
        """Return an equal user record that keeps its own bytes alone, where this one keeps its whole Kinesis record.

        For the few that stay of many. Its ``source`` is ``None``; every other field is the same. Costs what reading
        all fields costs. Safe beside other threads.
        """
        return _user_record(*self.values())

    cdef tuple values(self):
        return *self.own_values(), self.error, type(self._received.origin), self.origin_values()

    def __eq__(self, other):
        if not isinstance(other, UserRecord):
            return NotImplemented
        return (
            self.own_values() == (<UserRecord>other).own_values()
            and self.origin_values() == (<UserRecord>other).origin_values()
            and str(self.error) == str(other.error))

    def __hash__(self):
        return hash((self.data, self.partition_key, self.explicit_hash_key, self.sub_sequence_number))

    def __reduce__(self):
        return _user_record, self.values()

    def __repr__(self):
        data = self.data if len(self.data) <= 40 else self.data[:40] + b"..."
        return (
            f"<UserRecord {shown(self.partition_key)} {data!r} sequence_number={shown(self.sequence_number)} "
            f"sub_sequence_number={shown(self.sub_sequence_number)}{'' if self.aggregated else ' raw'}"
            f"{'' if self.error is None else f' error={str(self.error):.200}'}>"
        )


made_inside(UserRecord)


cdef str shown(value):
    """A value for people to read, however long it is: a key may be a megabyte."""
    if isinstance(value, (str, bytes)) and len(value) > MOST_SHOWN:
        return f"{value[:MOST_SHOWN]!r:.{2 * MOST_SHOWN}}..."
    return f"{value!r:.{2 * MOST_SHOWN}}"


def _user_record(
    data, str explicit_hash_key, tuple tags not None, bint aggregated, error, origin_type, tuple origin_values not None
):
    """Make a user record of its values: one that left the Kinesis record behind that it came in."""
    cdef ReceivedRecord received = ReceivedRecord(data, explicit_hash_key=explicit_hash_key)
    received._origin = origin_type(*origin_values)
    received.tags, received.was_aggregated = tags, aggregated
    received.error_arguments = None if error is None else error.args
    return user_record_at(received, WHOLE_RECORD)


cdef inline UserRecord user_record_at(ReceivedRecord received, Py_ssize_t position):
    cdef UserRecord record = UserRecord.__new__(UserRecord)
    record._received = received
    record._position = position
    return record


# --- what C reads, and what it found ---


cdef ReceivedRecord record_in_memory(SharedMemory memory, Py_ssize_t place, sp_slice content):
    """A Kinesis record whose data is not its own."""
    cdef ReceivedRecord record = ReceivedRecord.__new__(ReceivedRecord, b"")
    record._data = None
    record.content, record.memory, record.place = content, memory, place
    return record


cdef tuple kinesis_records(list received):
    """A list of Kinesis records as it is now. Others may change it while it is read; a tuple holds what is in it."""
    cdef tuple held = tuple(received)
    for record in held:
        if type(record) is not ReceivedRecord:
            raise TypeError(f"expected ReceivedRecord, not {type(record).__name__:.100}")
    return held


cdef sp_received *received_by_c(tuple held) except NULL:
    cdef Py_ssize_t n = len(held), i
    cdef sp_received *received = <sp_received *>malloc((<size_t>n + 1) * sizeof(sp_received))
    cdef ReceivedRecord record
    cdef Py_ssize_t compressed = 0
    if received == NULL:
        raise MemoryError
    for i in range(n):
        record = <ReceivedRecord>held[i]
        received[i].data = record.content
        received[i].message.data, received[i].message.size = NULL, 0
        received[i].deaggregated = record.deaggregated
        received[i].has_explicit_hash_key = record.explicit_hash_key is not None
        compressed += sp_is_compressed(record.content) and not record.deaggregated
    if compressed:
        try:
            unpack(held)
        except BaseException:
            free(received)
            raise
        for i in range(n):
            if (<ReceivedRecord>held[i]).message is not None:
                received[i].message = slice_of_bytes((<ReceivedRecord>held[i]).message)
    return received


cdef int unpack(tuple held) except -1:
    """Have each compressed aggregate keep its message, or what is wrong with it, unless it does already."""
    cdef sp_slice *records = <sp_slice *>malloc(<size_t>len(held) * sizeof(sp_slice))
    cdef ReceivedRecord record
    cdef list packed = []
    if records == NULL:
        raise MemoryError
    try:
        for record in held:
            if sp_is_compressed(record.content) and not record.deaggregated:
                with cython.critical_section(record):
                    known = record.message is not None or record.error_arguments is not None
                if not known:
                    records[len(packed)] = record.content
                    packed.append(record)
        for record, found in zip(packed, messages_of(records, <size_t>len(packed))):
            with cython.critical_section(record):  # somebody else may have been first: all read the same
                if record.message is None and record.error_arguments is None:
                    if type(found) is bytes:
                        record.message = <bytes>found
                    else:
                        record.error_arguments = <tuple>found
    finally:
        free(records)
    return 0


cdef sp_contents *room_for_contents(size_t n) except NULL:
    cdef sp_contents *contents = <sp_contents *>calloc(n + 1, sizeof(sp_contents))
    if contents == NULL:
        raise MemoryError
    return contents


cdef void free_contents(sp_contents *contents, size_t n) noexcept:
    cdef size_t i
    if contents != NULL:
        for i in range(n):
            sp_contents_free(&contents[i])
        free(contents)


cdef bint takes_long(const sp_received *received, size_t n) noexcept nogil:
    """Is reading so many worth giving the GIL up?"""
    cdef size_t i, size = 0, longest = 0
    for i in range(n):
        size += received[i].message.size
        if received[i].message.size == 0:
            size += received[i].data.size
            longest = max(longest, received[i].data.size)
    return longest // LONGEST_BYTES_A_NANOSECOND + size // READ_BYTES_A_NANOSECOND >= SHORT_WORK


cdef int read_contents(tuple held, const sp_hash_range *hash_range, sp_contents *contents) except -1:
    """Find out what each of these records holds: all of them in one go, without the interpreter where it takes long."""
    cdef sp_received *received = received_by_c(held)
    cdef size_t n = <size_t>len(held)
    cdef bint done
    if takes_long(received, n):
        with nogil:
            done = sp_contents_read(received, n, md5_many, hash_range, contents)
    else:
        done = sp_contents_read(received, n, md5_many, hash_range, contents)
    free(received)
    if not done:
        raise MemoryError
    return 0


cdef sp_filled fill_columns(
    sp_filling *filling, const sp_received *received, size_t n, const sp_hash_range *hash_range, sp_contents *contents
) noexcept:
    """The same, into columns."""
    cdef sp_filled filled
    if takes_long(received, n):
        with nogil:
            filled = sp_columns_fill(filling, received, n, md5_many, hash_range, contents)
    else:
        filled = sp_columns_fill(filling, received, n, md5_many, hash_range, contents)
    return filled


cdef bint read_unverified(ReceivedRecord record, sp_contents *contents) except -1:
    """Read what has the frame of an aggregated record, whatever its checksum: its references may lead nowhere.

    Or what was unpacked. False without either. ``contents`` is zero before, and the caller's to free.
    """
    cdef sp_slice message
    if record.message is not None:
        message = slice_of_bytes(record.message)
    elif not sp_frame(record.content, &message):
        return False
    if not sp_contents_read_message(message, contents):
        raise MemoryError
    return True


cdef int read_hash_range(tuple hash_range, sp_hash_range *out) except -1:
    if len(hash_range) != 2:
        raise TypeError(f"hash_range is the first and the last hash key of a shard, not {hash_range!r:.100}")
    read_explicit_hash_key(hash_range[0], &out.low, NO_POSITION)
    read_explicit_hash_key(hash_range[1], &out.high, NO_POSITION)
    if sp_hash_key_less(out.high, out.low):
        raise ValueError(
            f"the hash range from {format_hash_key(out.low)} to {format_hash_key(out.high)} holds no hash key")
    return 0


# --- many records ---


def set_shard_id(list received not None, str shard_id not None):
    """Set the shard of Kinesis records that do not tell theirs, before anybody has asked where they come from."""
    for record in received:
        (<ReceivedRecord?>record).shard_id = shard_id


def deaggregate_received(list received not None, tuple hash_range, bint strict, out not None):
    """Append the user records of Kinesis records to ``out``. Returns how many the hash range left out.

    When ``strict`` raises, ``out`` has the user records of all Kinesis records before the malformed one.
    """
    cdef tuple held = kinesis_records(received)
    cdef Py_ssize_t i, left_out = 0, n = len(held), stop = n
    cdef sp_hash_range bounds
    cdef sp_contents *contents
    if not isinstance(out, list):
        raise TypeError(f"out is a list, not {type(out).__name__:.100}")
    if hash_range is not None:
        read_hash_range(hash_range, &bounds)
    contents = room_for_contents(<size_t>n)
    try:
        read_contents(held, NULL if hash_range is None else &bounds, contents)
        for i in range(n):
            if contents[i].kind == SP_LEFT_OUT:
                left_out += contents[i].walk.found.records
                continue
            if contents[i].kind != SP_RAW:
                (<ReceivedRecord>held[i]).keep(&contents[i])
            if strict and contents[i].kind != SP_AGGREGATED and (<ReceivedRecord>held[i]).error is not None:
                stop = i
                break
        append_user_records(held, contents, stop, <list>out)
    finally:
        free_contents(contents, <size_t>n)
    if stop < n:
        raise error_with_place(<ReceivedRecord>held[stop], (<ReceivedRecord>held[stop]).error)
    return left_out


cdef int append_user_records(tuple held, const sp_contents *contents, Py_ssize_t stop, list out) except -1:
    """Append the user records of the first ``stop`` Kinesis records."""
    cdef ReceivedRecord record
    cdef Py_ssize_t i, p
    cdef bint was_awake = rest_collector()
    try:
        for p in range(stop):
            record = <ReceivedRecord>held[p]
            if contents[p].kind == SP_AGGREGATED:
                for i in range(contents[p].walk.found.records):
                    out.append(user_record_at(record, i))
            elif contents[p].kind != SP_LEFT_OUT:
                out.append(user_record_at(record, WHOLE_RECORD))
    finally:
        wake_collector(was_awake)
    return 0


cdef int index_all(tuple held) except -1:
    """Find out which Kinesis records are aggregated, which malformed, and what they hold."""
    cdef Py_ssize_t i, n = len(held)
    cdef sp_contents *contents = room_for_contents(<size_t>n)
    try:
        read_contents(held, NULL, contents)
        for i in range(n):
            if contents[i].kind != SP_RAW:
                (<ReceivedRecord>held[i]).keep(&contents[i])
    finally:
        free_contents(contents, <size_t>n)
    return 0


cdef tuple error_arguments_of(const sp_finding *finding, bint unpacked=False):
    """The finding as the arguments of an exception; its offset counts from the start of the data, or of the message."""
    cdef size_t offset = finding.offset if unpacked else SP_MAGIC_SIZE + finding.offset
    kind, of = ("compressed aggregate", " of the message") if unpacked else ("aggregated record", "")
    return (
        f"malformed {kind}: {WHAT_IS_WRONG[finding.verdict]} (user record {finding.record}, byte {offset}{of})",
        offset, finding.record)


cdef object error_with_place(ReceivedRecord record, object error):
    """The error of a record for who has many: it says which one."""
    if record.origin.sequence_number is not None:
        where = f"{error}, in the Kinesis record {record.origin.sequence_number!s:.100}"
        error = MalformedRecordError(where, error.offset, error.record_index)
    error.source = record.source
    return error
