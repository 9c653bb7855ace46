"""User records as columns: no Python object for any of them."""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdint cimport INT32_MAX, uint8_t, uint32_t
from libc.stdlib cimport free
from libc.string cimport memset

from .deaggregate cimport (
    SP_AGGREGATED, SP_LEFT_OUT, SP_NO_MEMORY, SP_TOO_MANY_KEYS, SP_TOO_MANY_ROWS, ReceivedRecord, error_with_place,
    fill_columns, free_contents, kinesis_records, read_hash_range, received_by_c, room_for_contents, sp_columns,
    sp_contents, sp_filled, sp_filling, sp_hash_range, sp_received, sp_span_of, sp_where_size,
)
from .made_inside cimport made_inside
from .slices cimport text_of_slice

from operator import attrgetter

from ..errors import MalformedRecordError


@cython.final
@cython.no_gc_clear  # a cycle goes through the source of a Kinesis record, which is cleared
cdef class Columns:
    """The user records of some Kinesis records, a column for each field; row i of each is user record i.

    Read-only buffers, which ``numpy.asarray`` takes without a copy: ``data`` (uint8), all payloads behind one another,
    row i from ``offsets[i]`` to ``offsets[i + 1]`` (int64, n + 1); ``partition_key_indices`` into ``partition_keys``,
    and ``explicit_hash_key_indices`` into ``explicit_hash_keys`` (int32; -1 for none); ``sub_sequence_numbers``
    (int32); ``parents`` (int32): the Kinesis record of row i, an index into the lists ``sequence_numbers``,
    ``approximate_arrival_timestamps``, ``shard_ids``, ``sources``, ``aggregated`` and ``errors``, with an entry for
    each.

    The key lists hold the tables of the Kinesis records behind one another: a key that several have is there several
    times. ``left_out`` counts the user records that ``hash_range`` kept back. ``columns[a:b]`` are those of some rows:
    ``offsets`` may begin anywhere in ``data`` then.
    """

    def __dealloc__(self):
        if self._is_part:
            return
        free_contents(self._contents, 0 if self._received is None else <size_t>len(self._received))

    def __reduce_ex__(self, protocol):
        raise TypeError("Columns do not pickle; their buffers do, as bytes")

    def __len__(self):
        return len(self.parents)

    def __getitem__(self, rows):
        """Return the columns of these rows; they share the buffers, and what there is of each Kinesis record."""
        cdef Columns part
        cdef Py_ssize_t first, stop, step
        if not isinstance(rows, slice):
            raise TypeError("columns[a:b] are the columns of some rows; row i has a place in each column")
        first, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(f"columns[a:b] are rows behind one another, without a step of {step}")
        stop = max(first, stop)
        part = Columns.__new__(Columns)
        part._is_part, part._whole = True, self._whole if self._is_part else self
        part._received, part._contents, part.left_out = self._received, self._contents, self.left_out
        part.partition_key_indices = self.partition_key_indices[first:stop]
        part.explicit_hash_key_indices = self.explicit_hash_key_indices[first:stop]
        part.sub_sequence_numbers = self.sub_sequence_numbers[first:stop]
        part.parents = self.parents[first:stop]
        part._data = self._data
        if self._views is not None:
            part._views = self._views[16 * first:16 * stop]
        else:
            part._offsets = self._offsets[first:stop + 1]
        return part

    def __repr__(self):
        return f"<Columns of {len(self)} user records from {len(self._received)} Kinesis records>"

    @property
    def data(self):
        """All payloads behind one another: uint8. Row i is from ``offsets[i]`` to ``offsets[i + 1]``."""
        return self._copied(self._data)

    @property
    def offsets(self):
        """Where each row's payload begins in ``data``: int64, n + 1."""
        return self._copied(self._offsets)

    cdef object _copied(self, object buffer):
        if buffer is None:
            raise AttributeError("with zero_copy no payload is copied: there is neither data nor offsets")
        return buffer

    @property
    def partition_keys(self):
        """The partition keys that ``partition_key_indices`` points into; one of several Kinesis records is there
        several times.
        """
        cdef const sp_contents *contents
        cdef list keys
        cdef uint32_t i
        if self._is_part:
            return self._whole.partition_keys
        with cython.critical_section(self):
            keys = self._partition_keys
        if keys is not None:
            return keys
        keys = []
        for p, received in enumerate(self._received):
            contents = &self._contents[<Py_ssize_t>p]
            if contents.kind == SP_AGGREGATED:
                for i in range(contents.walk.found.partition_keys):
                    keys.append(text_of_slice(sp_span_of(contents.walk.message, contents.walk.partition_keys[i])))
            elif received.origin.partition_key is not None:
                keys.append(received.origin.partition_key)
        with cython.critical_section(self):
            if self._partition_keys is None:
                self._partition_keys = keys
            keys = self._partition_keys
        return keys

    @property
    def explicit_hash_keys(self):
        """The explicit hash keys that ``explicit_hash_key_indices`` points into."""
        cdef const sp_contents *contents
        cdef ReceivedRecord received
        cdef list keys
        cdef uint32_t i
        if self._is_part:
            return self._whole.explicit_hash_keys
        with cython.critical_section(self):
            keys = self._explicit_hash_keys
        if keys is not None:
            return keys
        keys = []
        for p, received in enumerate(self._received):
            contents = &self._contents[<Py_ssize_t>p]
            for i in range(contents.walk.found.explicit_hash_keys):
                keys.append(text_of_slice(sp_span_of(contents.walk.message, contents.walk.explicit_hash_keys[i])))
            if received.explicit_hash_key is not None:  # it was taken apart before it came
                keys.append(received.explicit_hash_key)
        with cython.critical_section(self):
            if self._explicit_hash_keys is None:
                self._explicit_hash_keys = keys
            keys = self._explicit_hash_keys
        return keys

    @property
    def sequence_numbers(self):
        """The sequence number of each Kinesis record, ``None`` where its source has none."""
        return list(map(attrgetter("origin.sequence_number"), self._received))

    @property
    def approximate_arrival_timestamps(self):
        """When each Kinesis record arrived: aware ``datetime`` or ``None``."""
        return list(map(attrgetter("origin.approximate_arrival_timestamp"), self._received))

    @property
    def shard_ids(self):
        """The shard of each Kinesis record, where its source tells; else ``None``."""
        return list(map(attrgetter("origin.shard_id"), self._received))

    @property
    def sources(self):
        """Each Kinesis record, as it was given."""
        return list(map(attrgetter("source"), self._received))

    @property
    def aggregated(self):
        """Whether each Kinesis record was taken apart."""
        cdef list aggregated = [None] * len(self._received)
        cdef Py_ssize_t p
        for p in range(len(self._received)):
            deaggregated = (<ReceivedRecord>self._received[p]).deaggregated
            aggregated[p] = self._contents[p].kind == SP_AGGREGATED or deaggregated
        return aggregated

    @property
    def errors(self):
        """Why each Kinesis record came back whole; ``None`` for those that did not."""
        cdef list errors = [None] * len(self._received)
        cdef Py_ssize_t p
        for p in range(len(self._received)):
            errors[p] = error_in(<ReceivedRecord>self._received[p], &self._contents[p])
        return errors


made_inside(Columns)


cdef object error_in(ReceivedRecord record, const sp_contents *contents):
    cdef tuple arguments = record.error_arguments_in(contents)
    return None if arguments is None else MalformedRecordError(*arguments)


@cython.final
@cython.no_gc  # holds no object
cdef class Memory:
    """What C filled, as a read-only buffer; views of it keep it."""

    cdef uint8_t *start
    cdef Py_ssize_t size

    def __dealloc__(self):
        free(self.start)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.start, self.size, 1, flags)


made_inside(Memory)


cdef object view_of_memory(uint8_t **start, size_t size):
    """Take over what malloc gave."""
    cdef Memory memory = Memory.__new__(Memory)
    memory.start, memory.size = start[0], <Py_ssize_t>size
    start[0] = NULL
    return memoryview(memory)


def columns_of_received(list received not None, tuple hash_range, bint strict, bint viewed=False):
    cdef tuple held = kinesis_records(received)
    cdef Py_ssize_t n = len(held), i
    cdef sp_hash_range bounds
    cdef sp_received *records = NULL
    cdef sp_contents *contents = NULL
    cdef sp_filling filling
    memset(&filling, 0, sizeof(filling))
    filling.viewed = viewed
    if hash_range is not None:
        read_hash_range(hash_range, &bounds)
    try:
        records = received_by_c(held)
        if viewed:
            for i in range(n):
                if records[i].data.size > INT32_MAX:
                    raise OverflowError(f"data of {records[i].data.size} bytes is too long for a binary view")
        contents = room_for_contents(<size_t>n)
        check_filled(fill_columns(&filling, records, <size_t>n, NULL if hash_range is None else &bounds, contents))
        if strict:
            for i in range(n):
                if contents[i].kind != SP_AGGREGATED and contents[i].kind != SP_LEFT_OUT:
                    error = error_in(<ReceivedRecord>held[i], &contents[i])
                    if error is not None:
                        raise error_with_place(<ReceivedRecord>held[i], error)
        return columns_of_filling(&filling, held, &contents)
    finally:
        free(records)
        free_contents(contents, <size_t>n)
        free(filling.rows)
        free(filling.columns.data)


cdef int check_filled(sp_filled filled) except -1:
    if filled == SP_NO_MEMORY:
        raise MemoryError
    if filled == SP_TOO_MANY_ROWS:
        raise OverflowError("2**31 user records and more do not fit in columns of int32")
    if filled == SP_TOO_MANY_KEYS:
        raise OverflowError("2**31 keys and more do not fit in columns of int32")
    return 0


cdef Columns columns_of_filling(sp_filling *filling, tuple held, sp_contents **contents):
    """Make the object that has all of this."""
    cdef sp_columns *at = &filling.columns
    cdef Columns columns
    cdef Py_ssize_t kept = 0, left_out = 0, count = <Py_ssize_t>at.count, i
    cdef Py_ssize_t capacity = <Py_ssize_t>filling.capacity, where_size = <Py_ssize_t>sp_where_size(filling)
    cdef list parents = []
    for i in range(len(held)):
        if contents[0][i].kind == SP_LEFT_OUT:
            left_out += contents[0][i].walk.found.records
            continue
        parents.append(held[i])
        if kept != i:
            contents[0][kept] = contents[0][i]
            memset(&contents[0][i], 0, sizeof(sp_contents))  # it moved, and is freed once
        kept += 1
    fill_rows_of_origins(at, contents[0], parents)
    columns = Columns.__new__(Columns)
    rows = view_of_memory(&filling.rows, <size_t>((capacity + 1) * where_size + 16 * capacity))
    if filling.viewed:
        columns._views = rows[:where_size * count]
    else:
        columns._data = view_of_memory(&at.data, at.size)
        columns._offsets = rows[:where_size * (count + 1)].cast("q")
    rows = rows[where_size * (capacity + 1):].cast("i")
    columns.partition_key_indices = rows[:count]
    columns.explicit_hash_key_indices = rows[capacity:][:count]
    columns.sub_sequence_numbers = rows[2 * capacity:][:count]
    columns.parents = rows[3 * capacity:][:count]
    columns.left_out = left_out
    columns._received = tuple(parents)
    columns._contents, contents[0] = contents[0], NULL
    return columns


cdef int fill_rows_of_origins(sp_columns *columns, const sp_contents *contents, list parents) except -1:
    """Set what origins say of records that are not aggregated.

    Each has a place in the table of partition keys so far; those without a key give it up, and all behind move up.
    """
    cdef size_t row = 0
    cdef Py_ssize_t missing = 0, p
    cdef uint32_t i
    for p, received in enumerate(parents):
        if contents[p].kind == SP_AGGREGATED:
            if missing:
                for i in range(contents[p].walk.found.records):
                    columns.partition_key_indices[row + i] -= missing
            row += contents[p].walk.found.records
            continue
        columns.sub_sequence_numbers[row] = received.origin.sub_sequence_number
        if received.origin.partition_key is None:
            columns.partition_key_indices[row] = -1
            missing += 1
        else:
            columns.partition_key_indices[row] -= missing
        row += 1
    return 0
