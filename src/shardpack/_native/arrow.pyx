"""User records as Arrow takes them, through the PyCapsule interface: no Arrow library is needed, none is loaded.

What ``Columns`` has already is exported as it stands. Keys, and what is said of a Kinesis record, become dictionaries
of distinct texts, because engines group by the indices.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.datetime cimport (
    PyDateTime_Check, import_datetime, timedelta_days, timedelta_microseconds, timedelta_seconds,
)
from cpython.memoryview cimport PyMemoryView_GET_BUFFER
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

import os
from datetime import datetime, timezone

from .columns cimport Columns
from .deaggregate cimport ReceivedRecord
from .keys cimport sp_slice

import_datetime()


cdef extern from "Python.h":
    bint Py_IsInitialized() nogil


cdef enum:
    PARTITION_KEY
    EXPLICIT_HASH_KEY
    DATA
    SEQUENCE_NUMBER
    SUB_SEQUENCE_NUMBER
    ARRIVAL
    SHARD_ID
    AGGREGATED
    ERROR
    COLUMNS

# Texts have offsets of 64 bits, for the keys of strangers have no bound but the input's.
cdef sp_arrow_field[COLUMNS] FIELDS
FIELDS[PARTITION_KEY] = sp_arrow_field(b"partition_key", b"i", b"U", True)
FIELDS[EXPLICIT_HASH_KEY] = sp_arrow_field(b"explicit_hash_key", b"i", b"U", True)
FIELDS[DATA] = sp_arrow_field(b"data", b"Z", NULL, False)
FIELDS[SEQUENCE_NUMBER] = sp_arrow_field(b"sequence_number", b"i", b"U", True)
FIELDS[SUB_SEQUENCE_NUMBER] = sp_arrow_field(b"sub_sequence_number", b"i", NULL, False)
FIELDS[ARRIVAL] = sp_arrow_field(b"approximate_arrival_timestamp", b"tsu:UTC", NULL, True)
FIELDS[SHARD_ID] = sp_arrow_field(b"shard_id", b"i", b"U", True)
FIELDS[AGGREGATED] = sp_arrow_field(b"aggregated", b"b", NULL, False)
FIELDS[ERROR] = sp_arrow_field(b"error", b"i", b"U", True)

# The same, with payloads where they came.
cdef sp_arrow_field[COLUMNS] FIELDS_OF_VIEWS
memcpy(FIELDS_OF_VIEWS, FIELDS, sizeof(FIELDS))
FIELDS_OF_VIEWS[DATA].format = b"vz"

cdef object EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

cdef enum:
    ZEROS_SIZE = 1 << 20
# What columns without a value have for indices and validity. Never written, and hardly ever read.
cdef bytes ZEROS = bytes(ZEROS_SIZE)

cdef sp_seed SEED
cdef bytes entropy = os.urandom(sizeof(SEED))
memcpy(&SEED, PyBytes_AS_STRING(entropy), sizeof(SEED))


cdef bytes array(size_t items, size_t item_size):
    """Memory for so many items, not initialised."""
    return PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(items * item_size))


cdef inline int demand(bint memory) except -1:
    if not memory:
        raise MemoryError
    return 0


cdef int add_text(sp_dictionary *dictionary, object text, str what, int32_t *index) except -1:
    """Find a text in a dictionary, or put it in. One with lone surrogates goes in as the bytes they stand for."""
    cdef sp_slice view
    cdef Py_ssize_t size = 0
    cdef object owner = text
    if not isinstance(text, str):
        raise TypeError(f"the {what} of a Kinesis record is str or None, not {type(text).__name__}")
    try:
        view.data = <const uint8_t *>PyUnicode_AsUTF8AndSize(text, &size)
    except UnicodeEncodeError:
        owner = text.encode("utf-8", "surrogatepass")
        view.data, size = <const uint8_t *>PyBytes_AS_STRING(owner), PyBytes_GET_SIZE(owner)
    view.size = <size_t>size
    return demand(sp_dictionary_add(dictionary, view, index))


cdef int64_t microseconds(object moment) except? -1:
    """Since 1970. A time without a zone is local time, as everywhere in Python."""
    cdef int64_t seconds
    if not PyDateTime_Check(moment):
        raise TypeError(
            f"the approximate arrival timestamp of a Kinesis record is datetime or None, not {type(moment).__name__}")
    since = (moment if moment.tzinfo is not None else moment.astimezone()) - EPOCH
    seconds = timedelta_days(since) * <int64_t>86_400 + timedelta_seconds(since)
    return seconds * 1_000_000 + timedelta_microseconds(since)


@cython.final
@cython.no_gc  # holds bytes and views of them
cdef class Buffers:
    """What exported arrays refer to. They keep this alone: of the Kinesis records that the rows came in, no more than
    the data, and that only where rows are views of it.
    """

    cdef const sp_arrow_field *fields
    cdef sp_arrow_column[COLUMNS] columns
    cdef int64_t rows
    cdef Py_ssize_t parent_count
    cdef int64_t *starts  # of each parent's rows
    cdef list kept
    cdef sp_dictionary partition_keys
    cdef sp_dictionary explicit_hash_keys
    cdef sp_dictionary sequence_numbers
    cdef sp_dictionary shard_ids
    cdef sp_dictionary errors

    def __cinit__(self, Columns columns not None):
        self.kept = []
        self.rows = len(columns.parents)
        self.parent_count = len(columns._received)
        self.partition_keys = sp_dictionary_make(SEED)
        self.explicit_hash_keys = sp_dictionary_make(SEED)
        self.sequence_numbers = sp_dictionary_make(SEED)
        self.shard_ids = sp_dictionary_make(SEED)
        self.errors = sp_dictionary_make(SEED)
        self.starts = <int64_t *>malloc((<size_t>self.parent_count + 1) * sizeof(int64_t))
        demand(self.starts != NULL)
        parents = <const int32_t *>self.borrow(columns.parents)
        with nogil:
            sp_rows_starts(parents, <size_t>self.rows, <size_t>self.parent_count, self.starts)
        self.put(SUB_SEQUENCE_NUMBER, self.borrow(columns.sub_sequence_numbers))
        if columns._views is None:
            self.fields = FIELDS
            self.put(DATA, self.borrow(columns._offsets))
            self.columns[DATA].rows.n_buffers = 3
            self.columns[DATA].rows.buffers[2] = self.borrow(columns._data)
        else:
            self.fields = FIELDS_OF_VIEWS
            self.put_views(columns)
        self.put_keys(columns)
        self.put_what_parents_share(columns, parents)

    def __dealloc__(self):
        free(self.starts)
        sp_dictionary_free(&self.partition_keys)
        sp_dictionary_free(&self.explicit_hash_keys)
        sp_dictionary_free(&self.sequence_numbers)
        sp_dictionary_free(&self.shard_ids)
        sp_dictionary_free(&self.errors)

    # --- memory ---

    cdef const void *borrow(self, object buffer) except NULL:
        cdef object view = memoryview(buffer)
        self.kept.append(view)
        return PyMemoryView_GET_BUFFER(view).buf

    cdef void *allocate(self, size_t item_size) except NULL:
        """A buffer of an item for each row."""
        cdef bytes memory = array(<size_t>self.rows, item_size)
        self.kept.append(memory)
        return PyBytes_AS_STRING(memory)

    cdef uint8_t *bitmap(self) except NULL:
        """A bit of 0 for each row."""
        cdef bytes memory = bytes((self.rows + 7) // 8)
        self.kept.append(memory)
        return <uint8_t *>PyBytes_AS_STRING(memory)

    cdef const void *zeros(self) except NULL:
        """Eight bytes of 0 for each row, or anything less."""
        cdef bytes memory = ZEROS
        if self.rows * 8 > ZEROS_SIZE:
            memory = bytes(self.rows * 8)
            self.kept.append(memory)
        return PyBytes_AS_STRING(memory)

    # --- columns ---

    cdef void put(self, int column, const void *values) noexcept:
        """Set a column without nulls."""
        cdef sp_arrow_rows *rows = &self.columns[column].rows
        rows.length, rows.null_count, rows.n_buffers = self.rows, 0, 2
        rows.buffers[0], rows.buffers[1] = NULL, values

    cdef int put_nothing(self, int column) except -1:
        """Set a column of nulls."""
        self.put(column, self.zeros())
        self.columns[column].rows.null_count = self.rows
        self.columns[column].rows.buffers[0] = self.columns[column].rows.buffers[1]
        return 0

    cdef int put_views(self, Columns columns) except -1:
        """Set the column of data: its views, and as buffers what they point into, a message or a whole record each."""
        cdef Py_ssize_t n = self.parent_count, p
        cdef bytes pointers = array(<size_t>n + 3, sizeof(void *)), sizes = array(<size_t>n + 1, sizeof(int64_t))
        cdef const void **buffers = <const void **>PyBytes_AS_STRING(pointers)
        cdef int64_t *size_of = <int64_t *>PyBytes_AS_STRING(sizes)
        cdef ReceivedRecord record
        cdef sp_slice view
        self.put(DATA, self.borrow(columns._views))
        buffers[0], buffers[1] = NULL, self.columns[DATA].rows.buffers[1]
        for p, record in enumerate(columns._received):
            view = record.walk.message if record.aggregated else record.blob()
            buffers[2 + p], size_of[p] = view.data, <int64_t>view.size
            self.kept.append(record.data)
        buffers[2 + n] = size_of
        self.kept += [pointers, sizes]
        self.columns[DATA].rows.n_buffers = n + 3
        self.columns[DATA].rows.many = buffers
        return 0

    cdef int put_validity(self, int column, const uint8_t *flags) except -1:
        """Set which parents' rows are not null."""
        cdef uint8_t *bits
        cdef int64_t nulls = 0
        cdef Py_ssize_t p
        for p in range(self.parent_count):
            if not flags[p]:
                nulls += self.starts[p + 1] - self.starts[p]
        if nulls:
            bits = self.bitmap()
            sp_rows_fill_bits(self.starts, flags, <size_t>self.parent_count, bits)
            self.columns[column].rows.null_count, self.columns[column].rows.buffers[0] = nulls, bits
        return 0

    cdef int put_dictionary(self, int column, sp_dictionary *dictionary) except -1:
        cdef sp_arrow_rows *entries = &self.columns[column].dictionary
        demand(sp_dictionary_close(dictionary))
        entries.length, entries.null_count, entries.n_buffers = dictionary.count, 0, 3
        entries.buffers[0], entries.buffers[1] = NULL, dictionary.offsets
        entries.buffers[2] = dictionary.bytes if dictionary.bytes != NULL else <const void *>PyBytes_AS_STRING(ZEROS)
        return 0

    cdef int put_keys(self, Columns columns) except -1:
        """Make one dictionary of the tables of all Kinesis records, and have the indices point into it."""
        cdef ReceivedRecord record
        cdef size_t keys = 0, hash_keys = 0
        cdef Py_ssize_t p
        cdef bint done
        cdef const int32_t *indices
        cdef int32_t *mapped
        cdef uint8_t *bits
        cdef int64_t nulls
        cdef bytes flags = array(<size_t>self.parent_count, 1)
        cdef uint8_t *has_key = <uint8_t *>PyBytes_AS_STRING(flags)
        for p, record in enumerate(columns._received):
            has_key[p] = record.aggregated or record.origin.partition_key is not None
            keys += record.walk.found.partition_keys if record.aggregated else has_key[p]
            hash_keys += record.walk.found.explicit_hash_keys + (record.explicit_hash_key is not None)
        # where in the dictionary each entry of a table went; one more for the index -1
        cdef bytes key_memory = array(keys + 1, sizeof(int32_t))
        cdef bytes hash_key_memory = array(hash_keys + 1, sizeof(int32_t))
        cdef int32_t *key_places = <int32_t *>PyBytes_AS_STRING(key_memory)
        cdef int32_t *hash_key_places = <int32_t *>PyBytes_AS_STRING(hash_key_memory)
        cdef int32_t *key_at = key_places + 1
        cdef int32_t *hash_key_at = hash_key_places + 1
        key_places[0] = hash_key_places[0] = 0
        for p, record in enumerate(columns._received):
            if record.aggregated:
                with nogil:
                    done = sp_dictionary_add_table(
                        &self.partition_keys, record.walk.message, record.walk.partition_keys,
                        record.walk.found.partition_keys, key_at
                    ) and sp_dictionary_add_table(
                        &self.explicit_hash_keys, record.walk.message, record.walk.explicit_hash_keys,
                        record.walk.found.explicit_hash_keys, hash_key_at)
                demand(done)
                key_at += record.walk.found.partition_keys
                hash_key_at += record.walk.found.explicit_hash_keys
                continue
            if has_key[p]:
                add_text(&self.partition_keys, record.origin.partition_key, "partition key", key_at)
                key_at += 1
            if record.explicit_hash_key is not None:
                add_text(&self.explicit_hash_keys, record.explicit_hash_key, "explicit hash key", hash_key_at)
                hash_key_at += 1
        indices = <const int32_t *>self.borrow(columns.partition_key_indices)
        self.put(PARTITION_KEY, indices)
        self.put_validity(PARTITION_KEY, has_key)
        self.put_dictionary(PARTITION_KEY, &self.partition_keys)
        if self.partition_keys.count != keys or self.columns[PARTITION_KEY].rows.null_count:  # else each has its place
            mapped = <int32_t *>self.allocate(sizeof(int32_t))
            with nogil:
                sp_rows_map(indices, <size_t>self.rows, key_places + 1, mapped)
            self.columns[PARTITION_KEY].rows.buffers[1] = mapped
        self.put_dictionary(EXPLICIT_HASH_KEY, &self.explicit_hash_keys)
        if hash_keys == 0:
            return self.put_nothing(EXPLICIT_HASH_KEY)
        indices = <const int32_t *>self.borrow(columns.explicit_hash_key_indices)
        mapped = <int32_t *>self.allocate(sizeof(int32_t))
        bits = self.bitmap()
        with nogil:
            sp_rows_map(indices, <size_t>self.rows, hash_key_places + 1, mapped)
            nulls = <int64_t>sp_rows_validity(indices, <size_t>self.rows, bits)
        self.put(EXPLICIT_HASH_KEY, mapped)
        self.columns[EXPLICIT_HASH_KEY].rows.null_count = nulls
        self.columns[EXPLICIT_HASH_KEY].rows.buffers[0] = bits
        return 0

    cdef int put_what_parents_share(self, Columns columns, const int32_t *parents) except -1:
        """Say of every row what its Kinesis record says."""
        cdef ReceivedRecord record
        cdef size_t n = <size_t>self.parent_count
        cdef Py_ssize_t p
        cdef bytes codes = array(3 * n, sizeof(int32_t)), moments = array(n, sizeof(int64_t)), flags = bytes(2 * n)
        cdef int32_t *sequence_numbers = <int32_t *>PyBytes_AS_STRING(codes)
        cdef int32_t *shard_ids = sequence_numbers + n
        cdef int32_t *errors = shard_ids + n
        cdef int64_t *arrivals = <int64_t *>PyBytes_AS_STRING(moments)
        cdef uint8_t *arrived = <uint8_t *>PyBytes_AS_STRING(flags)
        cdef uint8_t *aggregated = arrived + n
        cdef object shard_id = None
        cdef bint some_arrived = False
        cdef int64_t *arrival_of_rows
        cdef uint8_t *bits
        memset(sequence_numbers, -1, 3 * n * sizeof(int32_t))
        for p, record in enumerate(columns._received):
            origin = record.origin
            aggregated[p] = record.aggregated or record.deaggregated
            if origin.sequence_number is not None:
                add_text(&self.sequence_numbers, origin.sequence_number, "sequence number", &sequence_numbers[p])
            if origin.shard_id is not None:
                if p > 0 and origin.shard_id is shard_id:
                    shard_ids[p] = shard_ids[p - 1]
                else:
                    add_text(&self.shard_ids, origin.shard_id, "shard id", &shard_ids[p])
            shard_id = origin.shard_id
            if record.fault is not None:
                add_text(&self.errors, record.fault[0], "error", &errors[p])
            arrivals[p] = 0
            if origin.approximate_arrival_timestamp is not None:
                arrivals[p] = microseconds(origin.approximate_arrival_timestamp)
                arrived[p] = some_arrived = True
        self.put_codes(SEQUENCE_NUMBER, &self.sequence_numbers, sequence_numbers, parents)
        self.put_codes(SHARD_ID, &self.shard_ids, shard_ids, parents)
        self.put_codes(ERROR, &self.errors, errors, parents)
        bits = self.bitmap()
        sp_rows_fill_bits(self.starts, aggregated, n, bits)
        self.put(AGGREGATED, bits)
        if not some_arrived:
            return self.put_nothing(ARRIVAL)
        arrival_of_rows = <int64_t *>self.allocate(sizeof(int64_t))
        with nogil:
            sp_rows_fill_int64(self.starts, arrivals, n, arrival_of_rows)
        self.put(ARRIVAL, arrival_of_rows)
        return self.put_validity(ARRIVAL, arrived)

    cdef int put_codes(
        self, int column, sp_dictionary *dictionary, int32_t *codes, const int32_t *parents
    ) except -1:
        """Set a column of texts that each parent has one of, by its place in the dictionary, or none (-1)."""
        cdef bytes flags = array(<size_t>self.parent_count, 1)
        cdef uint8_t *valid = <uint8_t *>PyBytes_AS_STRING(flags)
        cdef int32_t *filled
        cdef Py_ssize_t p
        cdef bint each_its_own = True
        self.put_dictionary(column, dictionary)
        if dictionary.count == 0:
            return self.put_nothing(column)
        for p in range(self.parent_count):
            each_its_own &= codes[p] == p
            valid[p] = codes[p] >= 0
            codes[p] = max(codes[p], 0)
        if each_its_own:
            self.put(column, parents)
        elif dictionary.count == 1:
            self.put(column, self.zeros())
        else:
            filled = <int32_t *>self.allocate(sizeof(int32_t))
            with nogil:
                sp_rows_fill_int32(self.starts, codes, <size_t>self.parent_count, filled)
            self.put(column, filled)
        return self.put_validity(column, valid)


# --- capsules: each frees what nobody took out of it ---


cdef void let_go(void *keeper) noexcept nogil:
    if Py_IsInitialized():  # the last array may outlive the interpreter
        with gil:
            Py_DECREF(<object>keeper)


cdef void free_schema(object capsule) noexcept:
    cdef ArrowSchema *schema = <ArrowSchema *>PyCapsule_GetPointer(capsule, b"arrow_schema")
    if schema.release != NULL:
        schema.release(schema)
    free(schema)


cdef void free_array(object capsule) noexcept:
    cdef ArrowArray *exported = <ArrowArray *>PyCapsule_GetPointer(capsule, b"arrow_array")
    if exported.release != NULL:
        exported.release(exported)
    free(exported)


cdef void free_stream(object capsule) noexcept:
    cdef ArrowArrayStream *stream = <ArrowArrayStream *>PyCapsule_GetPointer(capsule, b"arrow_array_stream")
    if stream.release != NULL:
        stream.release(stream)
    free(stream)


cdef object schema_capsule(Buffers buffers):
    cdef ArrowSchema *schema = <ArrowSchema *>malloc(sizeof(ArrowSchema))
    if schema == NULL or not sp_arrow_export_schema(buffers.fields, COLUMNS, schema):
        free(schema)
        raise MemoryError
    return PyCapsule_New(schema, b"arrow_schema", free_schema)


cdef object array_capsule(Buffers buffers):
    cdef ArrowArray *exported = <ArrowArray *>malloc(sizeof(ArrowArray))
    cdef sp_arrow_owner owner
    owner.let_go, owner.keeper = let_go, <PyObject *>buffers
    if exported == NULL or not sp_arrow_export_array(
        buffers.fields, buffers.columns, COLUMNS, buffers.rows, owner, exported
    ):
        free(exported)
        raise MemoryError
    Py_INCREF(buffers)
    return PyCapsule_New(exported, b"arrow_array", free_array)


cdef object stream_capsule(Buffers buffers):
    cdef ArrowArrayStream *stream = <ArrowArrayStream *>malloc(sizeof(ArrowArrayStream))
    cdef sp_arrow_owner owner
    owner.let_go, owner.keeper = let_go, <PyObject *>buffers
    if stream == NULL or not sp_arrow_export_stream(
        buffers.fields, buffers.columns, COLUMNS, buffers.rows, owner, stream
    ):
        free(stream)
        raise MemoryError
    Py_INCREF(buffers)
    return PyCapsule_New(stream, b"arrow_array_stream", free_stream)


@cython.final
cdef class UserRecordBatch:
    """The user records of some Kinesis records as an Arrow record batch, for whatever reads the PyCapsule interface.

    ``pyarrow.record_batch(batch)``, ``pyarrow.table(batch)``, ``polars.DataFrame(batch)``, and DuckDB by name in SQL.
    A row for each user record:

    - ``partition_key``, ``explicit_hash_key``: dictionary<int32, large_utf8>, nullable. Bytes that are not UTF-8 are
      escaped, ``\\xff`` for each, as Python's ``backslashreplace`` does.
    - ``data``: large_binary; with ``zero_copy`` binary_view.
    - ``sequence_number``, ``shard_id``: dictionary<int32, large_utf8>, null where the shape does not carry them.
    - ``sub_sequence_number``: int32.
    - ``approximate_arrival_timestamp``: timestamp[us, UTC], nullable.
    - ``aggregated``: bool. ``error``: dictionary<int32, large_utf8>: why a malformed aggregated record came whole, or
      null.

    The values of a dictionary are distinct. ``columns`` are the ``Columns`` that this was made of; ``left_out`` counts
    the user records that ``hash_range`` kept back. Read-only, thread-safe, exported as often as you like; what was
    exported outlives this object.
    """

    cdef readonly Columns columns
    cdef Buffers _buffers

    def __init__(self):
        raise TypeError("a UserRecordBatch is made by deaggregate_arrow()")

    def __len__(self):
        return self._buffers.rows

    def __repr__(self):
        return f"<UserRecordBatch of {len(self)} user records from {self._buffers.parent_count} Kinesis records>"

    @property
    def left_out(self):
        return self.columns.left_out

    def __arrow_c_schema__(self):
        return schema_capsule(self._buffers)

    def __arrow_c_array__(self, requested_schema=None):
        return schema_capsule(self._buffers), array_capsule(self._buffers)

    def __arrow_c_stream__(self, requested_schema=None):
        return stream_capsule(self._buffers)


def batch_of_columns(Columns columns not None):
    cdef UserRecordBatch batch = UserRecordBatch.__new__(UserRecordBatch)
    batch.columns = columns
    batch._buffers = Buffers(columns)
    return batch
