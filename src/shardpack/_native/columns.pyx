"""User records as columns: no Python object for any of them."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

from .deaggregate cimport (
    SP_COPY_SLACK, SP_FAULT, SP_NO_ROOM, Batch, ReceivedRecord, index_record, named, read_hash_range, sp_binary_view,
    sp_binary_view_of, sp_columns, sp_finding, sp_outcome, sp_walk, verify)
from .keys cimport sp_hash_key, sp_slice


@cython.final
cdef class Columns:
    """The user records of some Kinesis records, a column for each field; row i of each is user record i.

    Read-only buffers, which ``numpy.asarray`` takes without a copy: ``data`` (uint8), all payloads behind one another,
    row i from ``offsets[i]`` to ``offsets[i + 1]`` (int64, n + 1); ``partition_key_indices`` into ``partition_keys``,
    and ``explicit_hash_key_indices`` into ``explicit_hash_keys`` (int32; -1 for none); ``sub_sequence_numbers``
    (int32); ``parents`` (int32): the Kinesis record of row i, an index into the lists ``sequence_numbers``,
    ``approximate_arrival_timestamps``, ``shard_ids``, ``sources``, ``aggregated`` and ``errors``, with an entry for
    each.

    The key lists hold the tables of the Kinesis records behind one another: a key that several have is there several
    times. ``left_out`` counts the user records that ``hash_range`` kept back.
    """

    def __init__(self):
        raise TypeError("Columns are made by deaggregate_columns()")

    def __len__(self):
        return len(self.parents)

    def __repr__(self):
        return f"<Columns of {len(self)} user records from {len(self._received)} Kinesis records>"

    @property
    def data(self):
        return self._copied(self._data)

    @property
    def offsets(self):
        return self._copied(self._offsets)

    cdef object _copied(self, object buffer):
        if buffer is None:
            raise AttributeError("with zero_copy no payload is copied: there is neither data nor offsets")
        return buffer

    @property
    def partition_keys(self):
        cdef ReceivedRecord received
        cdef uint32_t i
        if self._partition_keys is None:
            self._partition_keys = []
            for received in self._received:
                if received.aggregated:
                    for i in range(received.walk.found.partition_keys):
                        self._partition_keys.append(received.partition_key_at(i))
                elif received.origin.partition_key is not None:
                    self._partition_keys.append(received.origin.partition_key)
        return self._partition_keys

    @property
    def explicit_hash_keys(self):
        cdef ReceivedRecord received
        cdef uint32_t i
        if self._explicit_hash_keys is None:
            self._explicit_hash_keys = []
            for received in self._received:
                for i in range(received.walk.found.explicit_hash_keys):
                    self._explicit_hash_keys.append(received.explicit_hash_key_at(i))
                if received.explicit_hash_key is not None:  # it was taken apart before it came
                    self._explicit_hash_keys.append(received.explicit_hash_key)
        return self._explicit_hash_keys

    @property
    def sequence_numbers(self):
        return [received.origin.sequence_number for received in self._received]

    @property
    def approximate_arrival_timestamps(self):
        return [received.origin.approximate_arrival_timestamp for received in self._received]

    @property
    def shard_ids(self):
        return [received.origin.shard_id for received in self._received]

    @property
    def sources(self):
        return [received.source for received in self._received]

    @property
    def aggregated(self):
        cdef ReceivedRecord received
        return [received.aggregated or received.deaggregated for received in self._received]

    @property
    def errors(self):
        return [(<ReceivedRecord>received).error for received in self._received]


@cython.final
cdef class _Filling:
    """Columns while they are filled.

    Kinesis records are verified a few at a time and become rows while the cache still holds them, so how many rows
    there will be is known at the end. It is foreseen from how many there are so far; where that was too few, room is
    made again.
    """

    cdef sp_columns at
    cdef bint viewed  # payloads stay in their Kinesis records
    cdef bytes data  # of all rows otherwise: payloads are shorter than the Kinesis records they come in
    cdef bytes rows  # all other columns, one behind the other, each for `capacity` rows
    cdef size_t capacity
    cdef double size, done  # bytes of Kinesis records: of all, and of those that are rows already

    def __cinit__(self, list received, bint viewed):
        cdef ReceivedRecord record
        cdef Py_ssize_t size = 0
        for record in received:
            size += PyBytes_GET_SIZE(record.data)
        self.size = <double>size
        self.viewed = viewed
        if not viewed:
            self.data = PyBytes_FromStringAndSize(NULL, size + SP_COPY_SLACK)
            self.at.data = <uint8_t *>PyBytes_AS_STRING(self.data)
        self.lay_out(0, len(received) + 256)

    cdef int lay_out(self, size_t rows, size_t capacity) except -1:
        """Make room for so many rows in all, and move there what there is."""
        cdef sp_columns old = self.at
        if rows >= INT32_MAX:
            raise OverflowError("2**31 user records and more do not fit in columns of int32")
        capacity = min(capacity, <size_t>INT32_MAX)
        cdef Py_ssize_t where_size = self.where_size()
        cdef bytes memory = PyBytes_FromStringAndSize(NULL, where_size + (where_size + 16) * <Py_ssize_t>capacity)
        cdef char *start = PyBytes_AS_STRING(memory)
        if self.viewed:
            self.at.views = <sp_binary_view *>start
        else:
            self.at.offsets = <int64_t *>start
        self.at.partition_key_indices = <int32_t *>(start + where_size * <Py_ssize_t>(capacity + 1))
        self.at.explicit_hash_key_indices = self.at.partition_key_indices + capacity
        self.at.sub_sequence_numbers = self.at.explicit_hash_key_indices + capacity
        self.at.parents = self.at.sub_sequence_numbers + capacity
        if rows:
            memcpy(start, <char *>old.views if self.viewed else <char *>old.offsets, <size_t>where_size * rows)
            memcpy(self.at.partition_key_indices, old.partition_key_indices, 4 * rows)
            memcpy(self.at.explicit_hash_key_indices, old.explicit_hash_key_indices, 4 * rows)
            memcpy(self.at.sub_sequence_numbers, old.sub_sequence_numbers, 4 * rows)
            memcpy(self.at.parents, old.parents, 4 * rows)
        self.rows, self.capacity = memory, capacity
        return 0

    cdef inline Py_ssize_t where_size(self) noexcept:
        """Bytes a row takes to say where its data is."""
        return sizeof(sp_binary_view) if self.viewed else sizeof(int64_t)

    cdef size_t foreseen(self, double size) noexcept:
        """How many rows there are after so many bytes, if they are as many to a byte as so far."""
        return <size_t>(<double>self.at.count * (size / self.done)) if self.done else 0

    cdef bint put(self, ReceivedRecord received, sp_slice message) except -1:
        """Append the user records of a verified message; False where it is not well-formed."""
        cdef size_t size_before = self.at.size
        cdef double size = <double>PyBytes_GET_SIZE(received.data)
        cdef sp_outcome outcome
        cdef sp_finding finding
        cdef sp_walk *walk = &received.walk
        if self.foreseen(self.done + size) > self.capacity:
            # some more than foreseen; but a few dense records first do not decide about all
            self.lay_out(self.at.count, min(self.foreseen(1.06 * self.size), 16 * self.foreseen(self.done + size)))
        received.begin(message)
        while True:
            walk.room.records = <uint32_t>(self.capacity - self.at.count)
            outcome = received.walk_into(&self.at, &finding)
            if outcome != SP_NO_ROOM:
                break
            received.make_room()
            if walk.found.records == walk.room.records:
                self.lay_out(self.capacity, 2 * self.capacity)
        if outcome == SP_FAULT:
            self.at.size = size_before
            return False
        if (
            <int64_t>self.at.first_partition_key + walk.found.partition_keys > INT32_MAX
            or <int64_t>self.at.first_explicit_hash_key + walk.found.explicit_hash_keys > INT32_MAX
        ):
            raise OverflowError("2**31 keys and more do not fit in columns of int32")
        self.at.first_partition_key += <int32_t>walk.found.partition_keys
        self.at.first_explicit_hash_key += <int32_t>walk.found.explicit_hash_keys
        self.at.parent += 1
        self.done += size
        return True

    cdef int put_whole(self, ReceivedRecord received) except -1:
        """Append a Kinesis record as the one user record it is."""
        cdef sp_slice data = received.blob()
        cdef size_t row = self.at.count
        if row == self.capacity:
            self.lay_out(row, 2 * self.capacity)
        if not self.viewed:
            self.at.offsets[row] = <int64_t>self.at.size
            memcpy(self.at.data + self.at.size, data.data, data.size)
            self.at.size += data.size
        elif data.size <= INT32_MAX:
            self.at.views[row] = sp_binary_view_of(data, self.at.parent, 0)
        else:
            raise OverflowError(f"data of {data.size} bytes is too long for a binary view")
        self.at.explicit_hash_key_indices[row] = -1
        if received.explicit_hash_key is not None:
            self.at.explicit_hash_key_indices[row] = self.at.first_explicit_hash_key
            self.at.first_explicit_hash_key += 1
        self.at.sub_sequence_numbers[row] = received.origin.sub_sequence_number
        self.at.parents[row] = self.at.parent
        self.at.partition_key_indices[row] = -1
        if received.origin.partition_key is not None:
            self.at.partition_key_indices[row] = self.at.first_partition_key
            self.at.first_partition_key += 1
        self.at.count += 1
        self.at.parent += 1
        self.done += <double>data.size
        return 0

    cdef int end(self, Columns columns) except -1:
        cdef Py_ssize_t count = <Py_ssize_t>self.at.count
        if self.capacity > self.at.count + self.at.count // 8 + 512:  # foreseen too many
            self.lay_out(self.at.count, self.at.count)
        rows = memoryview(self.rows)
        if self.viewed:
            columns._views = rows[:self.where_size() * count]
        else:
            self.at.offsets[count] = <int64_t>self.at.size
            columns._data = memoryview(self.data)[:self.at.size]
            columns._offsets = rows[:self.where_size() * (count + 1)].cast("q")
        rows = rows[self.where_size() * <Py_ssize_t>(self.capacity + 1):].cast("i")
        columns.partition_key_indices = rows[:count]
        columns.explicit_hash_key_indices = rows[self.capacity:][:count]
        columns.sub_sequence_numbers = rows[2 * self.capacity:][:count]
        columns.parents = rows[3 * self.capacity:][:count]
        return 0


def columns_of_received(list received, tuple hash_range, bint strict, bint viewed=False):
    cdef Columns columns = Columns.__new__(Columns)
    cdef _Filling filling = _Filling(received, viewed)
    cdef ReceivedRecord record
    cdef Batch batch
    cdef sp_slice message
    cdef sp_hash_key low, high
    cdef Py_ssize_t i
    if hash_range is not None:
        read_hash_range(hash_range, &low, &high)
    columns._received = []
    batch.stop = 0
    while batch.stop < len(received):
        verify(received, &batch)
        for i in range(batch.start, batch.stop):
            record = received[i]
            if batch.verified[i - batch.start]:
                message = batch.messages[i - batch.start]
                if hash_range is not None:
                    index_record(record, message)
                    if record.aggregated and not record.all_in_range(low, high):
                        columns.left_out += record.walk.found.records
                        continue
                record.aggregated = filling.put(record, message)
                if not record.aggregated:
                    index_record(record, message)  # which says what is wrong
            if strict and record.fault is not None:
                raise named(record)
            if not record.aggregated:
                filling.put_whole(record)
            columns._received.append(record)
    filling.end(columns)
    return columns
