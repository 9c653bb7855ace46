"""User records as columns: no Python object for any of them. Size all, allocate once, fill with the GIL released."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

from ._deaggregate cimport SP_NO_INDEX, VERIFY_BATCH, ReceivedRecord, index_batch, sp_span_of, sp_wire_record
from ._keys cimport NO_POSITION, read_explicit_hash_key, sp_hash_key, sp_slice


# Where the columns of all user records are, and how many are filled.
cdef struct Cursor:
    int64_t *offsets
    int32_t *partition_key_indices
    int32_t *explicit_hash_key_indices
    int32_t *sub_sequence_numbers
    int32_t *parents
    uint8_t *data
    Py_ssize_t count
    int64_t size


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
    def partition_keys(self):
        cdef ReceivedRecord received
        cdef uint32_t i
        if self._partition_keys is None:
            self._partition_keys = []
            for received in self._received:
                if received.aggregated:
                    for i in range(received.counts.partition_keys):
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
                for i in range(received.counts.explicit_hash_keys):
                    self._explicit_hash_keys.append(received.explicit_hash_key_at(i))
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
        return [bool((<ReceivedRecord>received).aggregated) for received in self._received]

    @property
    def errors(self):
        return [(<ReceivedRecord>received).error for received in self._received]


cdef object column(Py_ssize_t size, str item, void **start):
    """A new read-only buffer of ``size`` bytes as items of a struct format, and where it starts."""
    cdef bytes memory = PyBytes_FromStringAndSize(NULL, size)
    start[0] = PyBytes_AS_STRING(memory)
    return memoryview(memory).cast(item)


cdef int64_t data_size(ReceivedRecord received) noexcept:
    cdef int64_t size = 0
    cdef uint32_t i
    if not received.aggregated:
        return PyBytes_GET_SIZE(received.data)
    for i in range(received.counts.records):
        size += sp_span_of(received.message, received.records[i].data).size
    return size


cdef void fill(
    ReceivedRecord received, int32_t parent, int32_t first_key, int32_t first_explicit_hash_key, Cursor *at
) noexcept nogil:
    """Append the user records of an aggregated record."""
    cdef const sp_wire_record *wire
    cdef sp_slice data
    cdef uint32_t i
    cdef Py_ssize_t row
    for i in range(received.counts.records):
        wire = &received.records[i]
        data = sp_span_of(received.message, wire.data)
        row = at.count + i
        at.offsets[row] = at.size
        at.partition_key_indices[row] = first_key + <int32_t>wire.partition_key_index
        at.explicit_hash_key_indices[row] = (
            -1 if wire.explicit_hash_key_index == SP_NO_INDEX
            else first_explicit_hash_key + <int32_t>wire.explicit_hash_key_index)
        at.sub_sequence_numbers[row] = <int32_t>i
        at.parents[row] = parent
        memcpy(at.data + at.size, data.data, data.size)
        at.size += <int64_t>data.size
    at.count += received.counts.records


cdef void fill_whole(ReceivedRecord received, int32_t parent, int32_t key, Cursor *at) noexcept:
    """Append a Kinesis record as the one user record it is."""
    cdef sp_slice data = received.blob()
    at.offsets[at.count] = at.size
    at.partition_key_indices[at.count] = key
    at.explicit_hash_key_indices[at.count] = -1
    at.sub_sequence_numbers[at.count] = 0
    at.parents[at.count] = parent
    memcpy(at.data + at.size, data.data, data.size)
    at.size += <int64_t>data.size
    at.count += 1


def columns_of_received(list received, tuple hash_range, bint strict):
    cdef Columns columns = Columns.__new__(Columns)
    cdef ReceivedRecord record
    cdef Cursor at
    cdef sp_hash_key low, high
    cdef Py_ssize_t start, rows = 0
    cdef int64_t size = 0
    cdef int32_t parent = 0, keys = 0, explicit_hash_keys = 0
    if hash_range is not None:
        read_explicit_hash_key(hash_range[0], &low, NO_POSITION)
        read_explicit_hash_key(hash_range[1], &high, NO_POSITION)
    for start in range(0, len(received), VERIFY_BATCH):
        index_batch(received[start:start + VERIFY_BATCH])
    columns._received = []
    for record in received:
        if strict and record.error is not None:
            raise record.error
        if hash_range is not None and record.aggregated and not record.all_in_range(low, high):
            columns.left_out += record.counts.records
            continue
        columns._received.append(record)
        rows += record.counts.records if record.aggregated else 1
        size += data_size(record)
    if rows >= 2**31:
        raise OverflowError(f"{rows:,} user records: more than 2**31 - 1 do not fit in columns of int32")
    columns.data = column(size, "B", <void **>&at.data)
    columns.offsets = column(8 * (rows + 1), "q", <void **>&at.offsets)
    columns.partition_key_indices = column(4 * rows, "i", <void **>&at.partition_key_indices)
    columns.explicit_hash_key_indices = column(4 * rows, "i", <void **>&at.explicit_hash_key_indices)
    columns.sub_sequence_numbers = column(4 * rows, "i", <void **>&at.sub_sequence_numbers)
    columns.parents = column(4 * rows, "i", <void **>&at.parents)
    at.count = at.size = 0
    for record in columns._received:
        if record.aggregated:
            with nogil:
                fill(record, parent, keys, explicit_hash_keys, &at)
            keys += <int32_t>record.counts.partition_keys
            explicit_hash_keys += <int32_t>record.counts.explicit_hash_keys
        elif record.origin.partition_key is None:
            fill_whole(record, parent, -1, &at)
        else:
            fill_whole(record, parent, keys, &at)
            keys += 1
        parent += 1
    at.offsets[at.count] = at.size
    return columns
