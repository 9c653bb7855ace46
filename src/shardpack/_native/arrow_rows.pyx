"""The columns of an Arrow record batch, made of ``Columns``, and their rows by partition key.

What they have already is taken as it stands. Keys, and what is said of a Kinesis record, become dictionaries of
distinct texts, because engines group by the indices. First everything is gathered that takes Python objects; then C
works through all rows in one go; then the columns are set.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.datetime cimport (
    PyDateTime_Check, import_datetime, timedelta_days, timedelta_microseconds, timedelta_seconds,
)
from cpython.memoryview cimport PyMemoryView_GET_BUFFER
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy

import os
from datetime import datetime, timezone

from .columns cimport Columns
from .deaggregate cimport SP_AGGREGATED, ReceivedRecord, sp_contents, sp_span
from .keys cimport SHORT_WORK, sp_slice
from .made_inside cimport made_inside
from .slices cimport slice_of_bytes, text_of_slice

import_datetime()


cdef enum:
    # Nanoseconds, about: to go through a row, and to look a key up.
    ROW = 1
    KEY = 10

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
# What columns without a value have for indices and validity. Never written, and hardly ever read; with zeros of its
# own, a batch of records of 100 B takes 1.07 times as long in all.
cdef bytes ZEROS = bytes(ZEROS_SIZE)

cdef sp_seed SEED
cdef bytes entropy = os.urandom(sizeof(SEED))
memcpy(&SEED, PyBytes_AS_STRING(entropy), sizeof(SEED))


cdef bytes memory_of(size_t items, size_t item_size):
    """Memory for so many items, not initialised."""
    return PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(items * item_size))


cdef inline int demand(bint memory) except -1:
    if not memory:
        raise MemoryError
    return 0


cdef int view_text(object text, str what, list held, sp_slice *view) except -1:
    """The UTF-8 of a text, which ``held`` keeps. One with lone surrogates goes in as the bytes they stand for."""
    cdef Py_ssize_t size = 0
    cdef object owner = text
    if not isinstance(text, str):
        raise TypeError(f"the {what} of a Kinesis record is str or None, not {type(text).__name__:.100}")
    try:
        view.data = <const uint8_t *>PyUnicode_AsUTF8AndSize(text, &size)
        view.size = <size_t>size
    except UnicodeEncodeError:
        owner = str.encode(text, "utf-8", "surrogatepass")
        view[0] = slice_of_bytes(owner)
    held.append(owner)
    return 0


cdef int64_t microseconds(object moment) except? -1:
    """Since 1970. A time without a zone is local time, as everywhere in Python."""
    cdef int64_t seconds
    if not PyDateTime_Check(moment):
        raise TypeError(
            f"the approximate arrival timestamp of a Kinesis record is datetime or None, not {type(moment).__name__}")
    since = (moment if moment.tzinfo is not None else moment.astimezone()) - EPOCH
    seconds = timedelta_days(since) * <int64_t>86_400 + timedelta_seconds(since)
    return seconds * 1_000_000 + timedelta_microseconds(since)


# --- what C works through ---


# Of a key column: the tables of all Kinesis records behind one another, and a text of each that has no table.
cdef struct Keys:
    sp_dictionary *dictionary
    const int32_t *indices  # of rows, into the tables
    const sp_slice *texts  # of parents, no data without one
    int32_t *places  # in the dictionary, of each entry of a table; before them one for the index -1
    size_t count
    bint some_missing
    int32_t *mapped  # of rows
    uint8_t *bits
    int64_t nulls


# Of a column of texts that each Kinesis record has one of, or none.
cdef struct Texts:
    sp_dictionary *dictionary
    const sp_slice *texts
    bint any
    int32_t *codes  # of parents, in the dictionary
    uint8_t *valid
    int32_t *filled  # of rows
    uint8_t *bits
    int64_t nulls


cdef struct Work:
    const sp_contents *contents
    size_t parents
    size_t rows
    const int32_t *parent_of
    int64_t *starts  # of each parent's rows
    Keys partition_keys
    Keys explicit_hash_keys
    Texts sequence_numbers
    Texts shard_ids
    Texts errors
    const uint8_t *aggregated
    uint8_t *aggregated_bits
    bint some_arrived
    const int64_t *arrivals
    const uint8_t *arrived
    int64_t *arrivals_of_rows
    uint8_t *arrived_bits
    int64_t arrived_nulls


cdef int64_t fill_validity(Work *work, const uint8_t *valid, uint8_t *bits) noexcept nogil:
    """Set the bits of the rows whose parents are valid; how many are not."""
    cdef int64_t nulls = 0
    cdef size_t p
    for p in range(work.parents):
        if not valid[p]:
            nulls += work.starts[p + 1] - work.starts[p]
    if nulls:
        sp_rows_fill_bits(work.starts, valid, work.parents, bits)
    return nulls


cdef bint fill_keys(Work *work, Keys *keys, bint explicit) noexcept nogil:
    """Make one dictionary of all tables, and have the indices point into it. False without memory."""
    cdef const sp_contents *contents
    cdef const sp_span *table
    cdef int32_t *at = keys.places + 1
    cdef uint32_t n
    cdef size_t p
    if keys.count == 0:
        return sp_dictionary_close(keys.dictionary)
    keys.places[0] = 0
    for p in range(work.parents):
        contents = &work.contents[p]
        if contents.kind == SP_AGGREGATED:
            n = contents.walk.found.explicit_hash_keys if explicit else contents.walk.found.partition_keys
            table = contents.walk.explicit_hash_keys if explicit else contents.walk.partition_keys
            if not sp_dictionary_add_table(keys.dictionary, contents.walk.message, table, n, at):
                return False
            at += n
        elif keys.texts[p].data != NULL:
            if not sp_dictionary_add(keys.dictionary, keys.texts[p], at):
                return False
            at += 1
    if keys.some_missing:
        keys.nulls = <int64_t>sp_rows_validity(keys.indices, work.rows, keys.bits)
    sp_rows_map(keys.indices, work.rows, keys.places + 1, keys.mapped)
    return sp_dictionary_close(keys.dictionary)


cdef bint fill_texts(Work *work, Texts *column) noexcept nogil:
    cdef size_t p
    if not column.any:
        return sp_dictionary_close(column.dictionary)
    for p in range(work.parents):
        column.codes[p] = 0
        column.valid[p] = column.texts[p].data != NULL
        if column.valid[p] and not sp_dictionary_add(column.dictionary, column.texts[p], &column.codes[p]):
            return False
    sp_rows_fill_int32(work.starts, column.codes, work.parents, column.filled)
    column.nulls = fill_validity(work, column.valid, column.bits)
    return sp_dictionary_close(column.dictionary)


cdef bint fill(Work *work) noexcept nogil:
    """Do it all. False without memory."""
    sp_rows_starts(work.parent_of, work.rows, work.parents, work.starts)
    sp_rows_fill_bits(work.starts, work.aggregated, work.parents, work.aggregated_bits)
    if work.some_arrived:
        sp_rows_fill_int64(work.starts, work.arrivals, work.parents, work.arrivals_of_rows)
        work.arrived_nulls = fill_validity(work, work.arrived, work.arrived_bits)
    return (
        fill_keys(work, &work.partition_keys, False)
        and fill_keys(work, &work.explicit_hash_keys, True)
        and fill_texts(work, &work.sequence_numbers)
        and fill_texts(work, &work.shard_ids)
        and fill_texts(work, &work.errors))


# --- before and after ---


@cython.final
@cython.no_gc  # holds bytes and views of them
cdef class Buffers:
    """What exported arrays refer to. They keep this alone: of the Kinesis records that the rows came in, no more than
    the data, and that only where rows are views of it.
    """

    def __dealloc__(self):
        cdef int column
        for column in range(COLUMNS):
            sp_dictionary_free(&self.dictionaries[column])

    # --- memory ---

    cdef const void *borrow(self, object buffer) except NULL:
        cdef object view = memoryview(buffer)
        self.kept.append(view)
        return PyMemoryView_GET_BUFFER(view).buf

    cdef void *allocate(self, size_t size) except NULL:
        """Memory that is kept, not initialised. What is not touched of it costs nothing."""
        cdef bytes memory = memory_of(size, 1)
        self.kept.append(memory)
        return PyBytes_AS_STRING(memory)

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

    cdef void put_nulls(self, int column, int64_t count, const void *bits) noexcept:
        """Say which rows of a column are null, if any are."""
        if count:
            self.columns[column].rows.null_count = count
            self.columns[column].rows.buffers[0] = bits

    cdef int put_nothing(self, int column) except -1:
        """Set a column of nulls."""
        self.put(column, self.zeros())
        self.put_nulls(column, self.rows, self.columns[column].rows.buffers[1])
        return 0

    cdef int put_views(self, Columns columns) except -1:
        """Set the column of data: its views, and as buffers what they point into, a message or a whole record each."""
        cdef Py_ssize_t n = self.parent_count, p
        cdef bytes pointers = memory_of(<size_t>n + 3, sizeof(void *))
        cdef bytes sizes = memory_of(<size_t>n + 1, sizeof(int64_t))
        cdef const void **buffers = <const void **>PyBytes_AS_STRING(pointers)
        cdef int64_t *size_of = <int64_t *>PyBytes_AS_STRING(sizes)
        cdef ReceivedRecord record
        cdef sp_slice view
        self.put(DATA, self.borrow(columns._views))
        buffers[0], buffers[1] = NULL, self.columns[DATA].rows.buffers[1]
        for p, record in enumerate(columns._received):
            if columns._contents[p].kind == SP_AGGREGATED:
                view = columns._contents[p].walk.message
                self.kept.append(record.owner_of_message())
            else:
                view = record.content
                self.kept.append(record.owner())
            buffers[2 + p], size_of[p] = view.data, <int64_t>view.size
        buffers[2 + n] = size_of
        self.kept += [pointers, sizes]
        self.columns[DATA].rows.n_buffers = n + 3
        self.columns[DATA].rows.many = buffers
        return 0

    cdef int put_dictionary(self, int column) except -1:
        cdef sp_dictionary *dictionary = &self.dictionaries[column]
        cdef sp_arrow_rows *entries = &self.columns[column].dictionary
        entries.length, entries.null_count, entries.n_buffers = dictionary.count, 0, 3
        entries.buffers[0], entries.buffers[1] = NULL, dictionary.offsets
        entries.buffers[2] = dictionary.bytes if dictionary.bytes != NULL else <const void *>PyBytes_AS_STRING(ZEROS)
        return 0


made_inside(Buffers)


cdef void *zeroed(list held, size_t size) except NULL:
    """Memory of zeros, which ``held`` keeps until the columns are made."""
    cdef bytes memory = bytes(size)
    held.append(memory)
    return PyBytes_AS_STRING(memory)


cdef Buffers buffers_of_columns(Columns columns):
    cdef Buffers buffers = Buffers.__new__(Buffers)
    cdef list held = []
    cdef Work work
    cdef int column
    cdef bint done
    buffers.kept = []
    buffers.rows = len(columns.parents)
    buffers.parent_count = len(columns._received)
    for column in range(COLUMNS):
        buffers.dictionaries[column] = sp_dictionary_make(SEED)
    gather(columns, buffers, held, &work)
    if work.rows * ROW + (work.partition_keys.count + work.explicit_hash_keys.count) * KEY >= SHORT_WORK:
        with nogil:
            done = fill(&work)
    else:
        done = fill(&work)
    demand(done)
    put_all(columns, buffers, &work)
    return buffers


cdef int gather(Columns columns, Buffers buffers, list held, Work *work) except -1:
    """Take what the origins of Kinesis records say, and memory for what comes."""
    cdef ReceivedRecord record
    cdef const sp_contents *contents
    cdef size_t n = <size_t>buffers.parent_count, rows = <size_t>buffers.rows
    cdef size_t p = 0
    cdef int64_t known
    cdef sp_slice *keys = <sp_slice *>zeroed(held, 5 * n * sizeof(sp_slice))
    cdef sp_slice *hash_keys = keys + n
    cdef sp_slice *sequence_numbers = hash_keys + n
    cdef sp_slice *shard_ids = sequence_numbers + n
    cdef sp_slice *errors = shard_ids + n
    cdef int64_t *arrivals = <int64_t *>zeroed(held, n * sizeof(int64_t))
    cdef uint8_t *arrived = <uint8_t *>zeroed(held, 2 * n)
    cdef uint8_t *aggregated = arrived + n
    work[0] = NO_WORK
    work.contents, work.parents, work.rows = columns._contents, n, rows
    for record in columns._received:
        origin = record.origin
        contents = &columns._contents[p]
        aggregated[p] = contents.kind == SP_AGGREGATED or record.deaggregated
        if contents.kind == SP_AGGREGATED:
            work.partition_keys.count += contents.walk.found.partition_keys
            work.explicit_hash_keys.count += contents.walk.found.explicit_hash_keys
        else:
            view_partition_key(origin.partition_key, held, &work.partition_keys, &keys[p])
        if record.explicit_hash_key is not None:
            view_text(record.explicit_hash_key, "explicit hash key", held, &hash_keys[p])
            work.explicit_hash_keys.count += 1
        if origin.sequence_number is not None:
            view_text(origin.sequence_number, "sequence number", held, &sequence_numbers[p])
            work.sequence_numbers.any = True
        if origin.shard_id is not None:
            view_text(origin.shard_id, "shard id", held, &shard_ids[p])
            work.shard_ids.any = True
        error = record.error_arguments_in(contents)
        if error is not None:
            view_text(error[0], "error", held, &errors[p])
            work.errors.any = True
        known = -1 if record.memory is None else record.memory.arrival_of(record)
        if known >= 0:
            arrivals[p] = known
            arrived[p] = work.some_arrived = True
        else:
            arrival = origin.approximate_arrival_timestamp
            if arrival is not None:
                arrivals[p] = microseconds(arrival)
                arrived[p] = work.some_arrived = True
        p += 1
    work.parent_of = <const int32_t *>buffers.borrow(columns.parents)
    work.starts = <int64_t *>zeroed(held, (n + 1) * sizeof(int64_t))
    work.aggregated, work.aggregated_bits = aggregated, bitmap(buffers)
    work.arrivals, work.arrived = arrivals, arrived
    if work.some_arrived:
        work.arrivals_of_rows, work.arrived_bits = <int64_t *>buffers.allocate(8 * rows), bitmap(buffers)
    work.explicit_hash_keys.some_missing = True
    gather_keys(buffers, held, &work.partition_keys, PARTITION_KEY, columns.partition_key_indices, keys)
    gather_keys(buffers, held, &work.explicit_hash_keys, EXPLICIT_HASH_KEY, columns.explicit_hash_key_indices,
                hash_keys)
    gather_texts(buffers, held, &work.sequence_numbers, SEQUENCE_NUMBER, sequence_numbers)
    gather_texts(buffers, held, &work.shard_ids, SHARD_ID, shard_ids)
    return gather_texts(buffers, held, &work.errors, ERROR, errors)


cdef Work NO_WORK  # zeros


cdef int view_partition_key(object partition_key, list held, Keys *keys, sp_slice *view) except -1:
    if partition_key is None:
        keys.some_missing = True
        return 0
    keys.count += 1
    return view_text(partition_key, "partition key", held, view)


cdef uint8_t *bitmap(Buffers buffers) except NULL:
    """A bit of 0 for each row."""
    cdef bytes memory = bytes((buffers.rows + 7) // 8)
    buffers.kept.append(memory)
    return <uint8_t *>PyBytes_AS_STRING(memory)


cdef int gather_keys(
    Buffers buffers, list held, Keys *keys, int column, object indices, const sp_slice *texts
) except -1:
    keys.dictionary = &buffers.dictionaries[column]
    keys.indices = <const int32_t *>buffers.borrow(indices)
    keys.texts = texts
    keys.places = <int32_t *>zeroed(held, (keys.count + 1) * sizeof(int32_t))
    keys.mapped = <int32_t *>buffers.allocate(<size_t>buffers.rows * sizeof(int32_t))
    keys.bits = bitmap(buffers)
    return 0


cdef int gather_texts(Buffers buffers, list held, Texts *column, int number, const sp_slice *texts) except -1:
    cdef size_t n = <size_t>buffers.parent_count
    column.dictionary = &buffers.dictionaries[number]
    column.texts = texts
    if column.any:
        column.codes = <int32_t *>zeroed(held, n * sizeof(int32_t))
        column.valid = <uint8_t *>zeroed(held, n)
        column.filled = <int32_t *>buffers.allocate(<size_t>buffers.rows * sizeof(int32_t))
        column.bits = bitmap(buffers)
    return 0


cdef int put_all(Columns columns, Buffers buffers, const Work *work) except -1:
    buffers.put(SUB_SEQUENCE_NUMBER, buffers.borrow(columns.sub_sequence_numbers))
    if columns._views is None:
        buffers.fields = FIELDS
        buffers.put(DATA, buffers.borrow(columns._offsets))
        buffers.columns[DATA].rows.n_buffers = 3
        buffers.columns[DATA].rows.buffers[2] = buffers.borrow(columns._data)
    else:
        buffers.fields = FIELDS_OF_VIEWS
        buffers.put_views(columns)
    put_keys(buffers, PARTITION_KEY, &work.partition_keys)
    put_keys(buffers, EXPLICIT_HASH_KEY, &work.explicit_hash_keys)
    put_texts(buffers, SEQUENCE_NUMBER, &work.sequence_numbers)
    put_texts(buffers, SHARD_ID, &work.shard_ids)
    put_texts(buffers, ERROR, &work.errors)
    buffers.put(AGGREGATED, work.aggregated_bits)
    if not work.some_arrived:
        return buffers.put_nothing(ARRIVAL)
    buffers.put(ARRIVAL, work.arrivals_of_rows)
    buffers.put_nulls(ARRIVAL, work.arrived_nulls, work.arrived_bits)
    return 0


cdef int put_keys(Buffers buffers, int column, const Keys *keys) except -1:
    buffers.put_dictionary(column)
    if keys.count == 0:
        return buffers.put_nothing(column)
    buffers.put(column, keys.mapped)
    buffers.put_nulls(column, keys.nulls, keys.bits)
    return 0


cdef int put_texts(Buffers buffers, int column, const Texts *texts) except -1:
    buffers.put_dictionary(column)
    if not texts.any:
        return buffers.put_nothing(column)
    buffers.put(column, texts.filled)
    buffers.put_nulls(column, texts.nulls, texts.bits)
    return 0


# --- rows by key ---


def group_rows(Columns columns not None):
    """The distinct partition keys in the order of their first rows; the group of each row, an index into them; the last
    row of each group, and how many it has: all int32.
    """
    cdef Buffers buffers = Buffers.__new__(Buffers)  # frees the dictionary
    cdef size_t rows = len(columns.parents), parents = len(columns._received), groups = 0, p
    cdef list held = [], keys = []
    cdef sp_dictionary *dictionary = &buffers.dictionaries[PARTITION_KEY]
    cdef sp_slice *texts = <sp_slice *>zeroed(held, parents * sizeof(sp_slice))
    cdef ReceivedRecord record
    cdef sp_slice text
    cdef uint32_t *known
    cdef int32_t *outputs
    cdef Work work = NO_WORK
    cdef bint done
    buffers.kept, buffers.rows, buffers.parent_count = held, <int64_t>rows, <Py_ssize_t>parents
    dictionary[0] = sp_dictionary_make(SEED)
    dictionary.exact = True
    work.contents, work.parents, work.rows = columns._contents, parents, rows
    for p, record in enumerate(columns._received):
        if columns._contents[p].kind == SP_AGGREGATED:
            work.partition_keys.count += columns._contents[p].walk.found.partition_keys
        else:
            view_partition_key(record.origin.partition_key, held, &work.partition_keys, &texts[p])
    gather_keys(buffers, held, &work.partition_keys, PARTITION_KEY, columns.partition_key_indices, texts)
    known = <uint32_t *>zeroed(held, (work.partition_keys.count + 1) * sizeof(uint32_t))
    memory = memory_of(4 * rows, sizeof(int32_t))
    outputs = <int32_t *>PyBytes_AS_STRING(memory)
    if rows * ROW + work.partition_keys.count * KEY >= SHORT_WORK:
        with nogil:
            done = fill_groups(&work, known, outputs, &groups)
    else:
        done = fill_groups(&work, known, outputs, &groups)
    demand(done)
    for p in range(groups):
        if outputs[rows + p] < 0:
            keys.append(None)
            continue
        text.data = dictionary.bytes + dictionary.offsets[outputs[rows + p]]
        text.size = <size_t>(dictionary.offsets[outputs[rows + p] + 1] - dictionary.offsets[outputs[rows + p]])
        keys.append(text_of_slice(text))
    view = memoryview(memory).cast("i")
    return keys, view[:rows], view[2 * rows:2 * rows + groups], view[3 * rows:3 * rows + groups]


cdef bint fill_groups(Work *work, uint32_t *known, int32_t *outputs, size_t *groups) noexcept nogil:
    cdef Keys *keys = &work.partition_keys
    keys.some_missing = False  # which would only make Arrow's bits
    if not fill_keys(work, keys, False):
        return False
    groups[0] = sp_rows_group(
        keys.indices, keys.mapped, work.rows, known, outputs, outputs + work.rows, outputs + 2 * work.rows,
        outputs + 3 * work.rows)
    return True
