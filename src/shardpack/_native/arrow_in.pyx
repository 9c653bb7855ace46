"""User records out of whatever exports Arrow's C data interface through PyCapsules; no Arrow library is loaded.

What a capsule holds is moved out of it and released once: schemas and streams when they were read, of an array
everything but the column with the data when its rows were taken, and that column when the last of its rows is sealed
and settled, or was refused.
"""

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.long cimport PyLong_Check
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.unicode cimport PyUnicode_Check
from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from .keys cimport NO_POSITION, SHORT_WORK, encode_partition_key, read_explicit_hash_key, sp_hash_key, sp_slice
from .made_inside cimport made_inside

from os import strerror

from ..errors import (
    InvalidHashKeyError, InvalidPartitionKeyError, InvalidRecordError, RecordTooLargeError, abridged,
)


cdef extern from "Python.h":
    bint PyBool_Check(object)


cdef extern from *:
    """
    /* So many more references to one object. */
    static void hold_often(PyObject *object, int64_t times) {
        for (int64_t i = 0; i < times; i++) Py_INCREF(object);
    }
    """
    void hold_often(PyObject *object, int64_t times) noexcept


cdef extern from "arrow_in.h" nogil:
    ctypedef struct sp_arrow_sink:
        size_t max_record_bytes
        size_t count
        uint8_t *keys
        size_t keys_size
        size_t keys_capacity
        uint16_t *key_sizes
        const uint8_t **datas
        uint32_t *data_sizes
        void **owners
        uint8_t *has_explicit_hash_key
        sp_hash_key *explicit_hash_keys
        size_t data_size
        size_t keyless
    bint sp_arrow_type_read(const ArrowSchema *schema, sp_arrow_type *type)
    const char *sp_arrow_column_open(
        sp_arrow_type type, const ArrowArray *array, int64_t first, int64_t rows, sp_arrow_column *column)
    int64_t sp_arrow_first_null(const ArrowArray *array)
    sp_rows_fault sp_arrow_rows_take(sp_arrow_chunk *chunk, sp_arrow_sink *sink, int64_t *row)
    bint sp_arrow_value(const sp_arrow_column *column, int64_t row, sp_slice *value)


cdef enum:
    TAKING = 15  # nanoseconds, about, a row
    CHUNKS_A_TURN = 64


@cython.final
@cython.no_gc  # it refers to no object
cdef class ArrowChunk:
    """The rows of one array, and what keeps their data where it is."""

    def __dealloc__(self):
        release(&self.data)
        release(&self.whole)

    cdef int keep_data(self, int64_t column) except -1:
        """Give back all but the column with the data, once the rows were taken: the other columns may be large."""
        cdef ArrowArray *its = self.whole.children[column]
        self.data = its[0]
        its.release = NULL  # moved, as the interface has it
        release(&self.whole)
        self.waiting = self.c.rows
        return 0

    cdef size_t settle(self, bint again) noexcept:
        """One row more is settled, or none after all. Returns the bytes that this makes free, or fills again."""
        if again:
            self.waiting += 1
            return self.c.size if self.waiting == 1 else 0
        self.waiting -= 1
        return self.c.size if self.waiting == 0 else 0


made_inside(ArrowChunk)


cdef void release(ArrowArray *array) noexcept:
    if array.release != NULL:
        array.release(array)
        array.release = NULL


@cython.final
cdef class ArrowRows:
    """The rows of anything with ``__arrow_c_array__`` or ``__arrow_c_stream__``, which is read here to its end.

    ``key``, ``data`` and ``explicit_hash_key`` name columns, or count them from 0; ``None`` for the first is that no
    row has a partition key. Belongs to one thread.
    """

    def __init__(self, source, key, data, explicit_hash_key=None):
        cdef ArrowArrayStream *its
        cdef ArrowArrayStream moved
        schema, array, stream = capsules_of(source)
        self.chunks = []
        if stream is None:
            self.read_schema(
                <ArrowSchema *>PyCapsule_GetPointer(schema, b"arrow_schema"), key, data, explicit_hash_key)
            self.read_array(array)
            return
        its = <ArrowArrayStream *>PyCapsule_GetPointer(stream, b"arrow_array_stream")
        if its.release == NULL:
            raise ValueError("the Arrow stream was read before")
        moved = its[0]
        its.release = NULL
        try:
            self.read_stream(&moved, key, data, explicit_hash_key)
        finally:
            moved.release(&moved)

    # --- columns ---

    cdef int read_schema(self, ArrowSchema *schema, key, data, explicit_hash_key) except -1:
        cdef int64_t i
        cdef const char *name
        if schema.release == NULL or schema.format == NULL:
            raise ValueError("the Arrow schema was released before")
        if (<bytes>schema.format) != b"+s":
            raise TypeError(
                f"rows with columns are needed, as of a record batch, not one array of Arrow's type "
                f"{(<bytes>schema.format).decode(errors='replace')!r}")
        self.names = []
        if schema.n_children < 0 or (schema.n_children and schema.children == NULL):
            raise ValueError("the Arrow schema is malformed: its columns are missing")
        for i in range(schema.n_children):
            if schema.children[i] == NULL:
                raise ValueError("the Arrow schema is malformed: a column is missing")
            name = schema.children[i].name
            self.names.append("" if name == NULL else (<bytes>name).decode(errors="replace"))
        self.key = self.explicit_hash_key = -1
        if key is not None:
            self.key = self.column(key)
            self.read_type(key, schema.children[self.key], &self.key_type, "a partition key is a string, or its UTF-8")
        self.data = self.column(data)
        self.read_type(data, schema.children[self.data], &self.data_type, "data is bytes, or a string")
        if explicit_hash_key is not None:
            self.explicit_hash_key = self.column(explicit_hash_key)
            self.read_type(
                explicit_hash_key, schema.children[self.explicit_hash_key], &self.explicit_type,
                "an explicit hash key is a string, or an integer")
        return 0

    cdef int64_t column(self, given) except -1:
        """Return the number of a column from its name or number."""
        cdef int64_t count = len(self.names)
        if PyUnicode_Check(given):
            found = [i for i, name in enumerate(self.names) if name == given]
            if len(found) == 1:
                return found[0]
            if found:
                raise ValueError(f"{len(found)} columns are called {abridged(given)}: give the number of one")
            raise ValueError(f"there is no column {abridged(given)}, but {self.shown()}")
        if not PyLong_Check(given) or PyBool_Check(given):
            raise TypeError(f"a column is named by a str, or counted from 0 by an int, not {type(given).__name__}")
        if not 0 <= given < count:
            raise ValueError(f"there is no column {abridged(given)} among {count}: {self.shown()}")
        return given

    cdef str shown(self):
        names = ", ".join(abridged(name, 40) for name in self.names[:20])
        return (names or "none at all") + (" …" if len(self.names) > 20 else "")

    cdef int read_type(self, column, ArrowSchema *schema, sp_arrow_type *type, str needed) except -1:
        cdef bint may_be_integer = type == &self.explicit_type
        if schema == NULL or not sp_arrow_type_read(schema, type) or not (
            type.layout == SP_LAYOUT_NULLS or type.is_text or may_be_integer == (type.layout == SP_LAYOUT_INTEGER)
        ):
            raise TypeError(f"{needed}: column {abridged(column)} has {type_of(schema)}")
        return 0

    # --- chunks ---

    cdef int read_array(self, capsule) except -1:
        cdef ArrowArray *its = <ArrowArray *>PyCapsule_GetPointer(capsule, b"arrow_array")
        if its.release == NULL:
            raise ValueError("the Arrow array was released before")
        return self.add_chunk(its)

    cdef int read_stream(self, ArrowArrayStream *stream, key, data, explicit_hash_key) except -1:
        """Read the schema and all arrays, in as few turns without the GIL as there are dozens of them.

        A stream may wait for other threads, which may need the GIL: so it goes, however short that is.
        """
        cdef ArrowSchema schema
        cdef ArrowArray[CHUNKS_A_TURN] arrays
        cdef int code = 0, n, i
        cdef bint has_schema = False, begun = False, ended = False
        memset(&schema, 0, sizeof(schema))
        while not ended:
            PyErr_CheckSignals()
            n = 0
            with nogil:
                if not begun:
                    code = stream.get_schema(stream, &schema)
                    has_schema = code == 0
                while code == 0 and n < CHUNKS_A_TURN:
                    arrays[n].release = NULL
                    code = stream.get_next(stream, &arrays[n])
                    ended = arrays[n].release == NULL
                    if code or ended:
                        break
                    n += 1
            try:
                if not begun and has_schema:
                    self.read_schema(&schema, key, data, explicit_hash_key)
                begun = True
                for i in range(n):
                    self.add_chunk(&arrays[i])
                if code:
                    raise failed(stream, code, self.count)
            finally:
                for i in range(n):
                    release(&arrays[i])
                if has_schema and schema.release != NULL:
                    schema.release(&schema)
                schema.release = NULL
        return 0

    cdef int add_chunk(self, ArrowArray *whole) except -1:
        """Take an array over."""
        cdef ArrowChunk chunk = ArrowChunk.__new__(ArrowChunk)
        chunk.whole = whole[0]
        whole.release = NULL
        self.open(chunk, self.count)
        if chunk.c.rows:
            self.chunks.append(chunk)
            self.count += chunk.c.rows
        return 0

    cdef int open(self, ArrowChunk chunk, int64_t before) except -1:
        cdef ArrowArray *whole = &chunk.whole
        cdef int64_t null
        if whole.n_children != len(self.names) or (whole.n_children and whole.children == NULL):
            raise ValueError(f"an Arrow array of {whole.n_children} columns has a schema of {len(self.names)}")
        if whole.length < 0 or whole.offset < 0:
            raise ValueError("the Arrow array is malformed: its length or offset is negative")
        chunk.c.rows = whole.length
        chunk.c.owner = <void *>chunk
        if self.key >= 0:
            self.open_column(chunk, self.key, &self.key_type, &chunk.c.key)
            chunk.c.has_key = True
        self.open_column(chunk, self.data, &self.data_type, &chunk.c.data)
        if self.explicit_hash_key >= 0:
            self.open_column(chunk, self.explicit_hash_key, &self.explicit_type, &chunk.c.explicit_hash_key)
            chunk.c.has_explicit_hash_key = True
        null = sp_arrow_first_null(whole)
        if null < whole.length:
            raise refusal(InvalidRecordError, before + null, f"row {before + null}, which is null")
        return 0

    cdef int open_column(
        self, ArrowChunk chunk, int64_t number, const sp_arrow_type *type, sp_arrow_column *column
    ) except -1:
        cdef const ArrowArray *array = chunk.whole.children[number]
        cdef const char *wrong = b"it is missing"
        if array != NULL:
            wrong = sp_arrow_column_open(type[0], array, chunk.whole.offset, chunk.whole.length, column)
        if wrong != NULL:
            raise ValueError(f"column {abridged(self.names[number])} is malformed: {wrong.decode()}")
        return 0

    # --- rows ---

    cdef Intake check(self, size_t max_record_bytes):
        """Return the rows as user records that may be put. They are checked once."""
        cdef Intake intake
        if self.checked is None:
            intake = Intake(max_record_bytes, True)
            self.take(intake)
            self.checked = intake
        return self.checked

    cdef int take(self, Intake intake) except -1:
        """Put all rows into an intake, or none; what their data does not lie in is released then."""
        cdef Py_ssize_t n = len(self.chunks), i, which = 0, before = intake.count
        cdef int64_t row = 0
        cdef sp_arrow_chunk **bare = <sp_arrow_chunk **>malloc(<size_t>(n + 1) * sizeof(sp_arrow_chunk *))
        cdef sp_arrow_sink sink
        cdef sp_rows_fault fault
        cdef ArrowChunk chunk
        try:
            if bare == NULL:
                raise MemoryError
            for i in range(n):
                bare[i] = &(<ArrowChunk>self.chunks[i]).c
            if self.count > 2**31 - 1 - before:
                raise ValueError(f"{self.count:,} rows are too many for one call")
            intake.reserve(<Py_ssize_t>self.count)
            if self.explicit_hash_key >= 0 or intake.explicit_capacity:
                intake.reserve_explicit()
            sink = sink_of(intake)
            if self.count * TAKING < SHORT_WORK:
                fault = take_chunks(bare, n, &sink, &which, &row)
            else:
                with nogil:
                    fault = take_chunks(bare, n, &sink, &which, &row)
        finally:
            free(bare)
        intake.keys.data, intake.keys.capacity = sink.keys, sink.keys_capacity
        if fault != SP_ROWS_TAKEN:
            self.refuse(fault, which, row, intake)
        intake.keys.size, intake.keys.count = sink.keys_size, <Py_ssize_t>sink.count
        intake.count = <Py_ssize_t>sink.count
        intake.size += sink.data_size
        intake.keyless += <Py_ssize_t>sink.keyless
        for chunk in self.chunks:
            hold_often(<PyObject *>chunk, chunk.c.rows)
        for chunk in self.chunks:
            chunk.keep_data(self.data)
        return 0

    cdef int refuse(self, sp_rows_fault fault, Py_ssize_t which, int64_t row, Intake intake) except -1:
        """Say what is wrong with a row of a chunk."""
        cdef ArrowChunk chunk
        cdef sp_hash_key hash_key
        cdef sp_slice key, data
        cdef int64_t number = row
        cdef str where
        if fault == SP_ROWS_NO_MEMORY:
            raise MemoryError
        for chunk in self.chunks[:which]:
            number += chunk.c.rows
        chunk = self.chunks[which]
        if fault in (SP_ROWS_BAD_KEY, SP_ROWS_KEY_MALFORMED):
            where = f"row {number}, column {abridged(self.names[self.key])}: "
        elif fault in (SP_ROWS_BAD_EXPLICIT_HASH_KEY, SP_ROWS_EXPLICIT_HASH_KEY_MALFORMED):
            where = f"row {number}, column {abridged(self.names[self.explicit_hash_key])}: "
        else:
            where = f"row {number}, column {abridged(self.names[self.data])}: "
        key.data, key.size = NULL, 0
        if chunk.c.has_key:
            sp_arrow_value(&chunk.c.key, row, &key)
        if fault == SP_ROWS_NO_DATA:
            raise refusal(InvalidRecordError, number, f"{where}data is null")
        if fault == SP_ROWS_BAD_KEY:
            try:
                encode_partition_key(key.data[:key.size], NO_POSITION)
            except InvalidPartitionKeyError as error:
                raise refusal(InvalidPartitionKeyError, number, f"{where}{error}") from None
        if fault == SP_ROWS_TOO_LARGE:
            sp_arrow_value(&chunk.c.data, row, &data)
            try:
                self.check_size(chunk, row, key, data, intake)
            except RecordTooLargeError as error:
                raise refusal(RecordTooLargeError, number, f"{where}{error}") from None
        if fault == SP_ROWS_BAD_EXPLICIT_HASH_KEY:
            if key.data == NULL:
                raise refusal(
                    InvalidPartitionKeyError, number,
                    f"{where}an explicit hash key needs a partition key beside it, not null")
            try:
                read_explicit_hash_key(self.explicit_of(chunk, row), &hash_key, NO_POSITION)
            except InvalidHashKeyError as error:
                raise refusal(InvalidHashKeyError, number, f"{where}{error}") from None
        raise ValueError(f"{where}the Arrow array is malformed: an offset, a view or an index points nowhere")

    cdef object explicit_of(self, ArrowChunk chunk, int64_t row):
        """An explicit hash key as a caller could have given it."""
        cdef sp_slice value
        value.data, value.size = NULL, 0
        sp_arrow_value(&chunk.c.explicit_hash_key, row, &value)
        if value.data == NULL:
            return None
        if self.explicit_type.layout == SP_LAYOUT_INTEGER:
            return int.from_bytes(value.data[:value.size], "little", signed=self.explicit_type.is_signed)
        return value.data[:value.size].decode("utf-8", "replace")

    cdef int check_size(self, ArrowChunk chunk, int64_t row, sp_slice key, sp_slice data, Intake intake) except -1:
        cdef sp_hash_key hash_key
        cdef const sp_hash_key *given = NULL
        explicit = None if self.explicit_hash_key < 0 else self.explicit_of(chunk, row)
        if explicit is not None:
            read_explicit_hash_key(explicit, &hash_key, NO_POSITION)
            given = &hash_key
        if key.data == NULL:
            return intake.check_keyless_size(data, NO_POSITION)
        return intake.check_size(key, data, given, NO_POSITION)


cdef object refusal(kind, int64_t row, str message):
    """The error about a row."""
    error = kind(message)
    error.row = row
    return error


cdef tuple capsules_of(source):
    """The schema and the array of anything that exports one, or else its stream."""
    export_array = getattr(source, "__arrow_c_array__", None)
    export_stream = getattr(source, "__arrow_c_stream__", None)
    if export_array is not None:
        try:
            schema, array = export_array()
        except Exception:
            if export_stream is None:  # of several chunks there may be no one array
                raise
        else:
            return schema, array, None
    if export_stream is None:
        raise TypeError(
            "rows come from what has __arrow_c_array__ or __arrow_c_stream__, as pyarrow's, polars' and DuckDB's "
            f"tables have, not from {type(source).__name__}")
    return None, None, export_stream()


cdef str type_of(ArrowSchema *schema):
    cdef str shown = "no type"
    if schema == NULL:
        return shown
    if schema.format != NULL:
        shown = f"Arrow's type {(<bytes>schema.format).decode(errors='replace')!r}"
    if schema.dictionary != NULL and schema.dictionary.format != NULL:
        shown += f", a dictionary of {(<bytes>schema.dictionary.format).decode(errors='replace')!r}"
    return shown


cdef object failed(ArrowArrayStream *stream, int code, int64_t rows):
    """What a stream says of its error."""
    cdef const char *text = stream.get_last_error(stream) if stream.get_last_error != NULL else NULL
    why = strerror(code) if text == NULL else (<bytes>text).decode(errors="replace")
    if code == ENOMEM:
        return MemoryError(f"the Arrow stream failed after {rows:,} rows: {why}")
    return OSError(code, f"the Arrow stream failed after {rows:,} rows: {why}")


cdef sp_arrow_sink sink_of(Intake intake) noexcept:
    cdef sp_arrow_sink sink
    sink.max_record_bytes, sink.count = intake.max_record_bytes, <size_t>intake.count
    sink.keys, sink.keys_size, sink.keys_capacity = intake.keys.data, intake.keys.size, intake.keys.capacity
    sink.key_sizes, sink.datas, sink.data_sizes = intake.keys.sizes, intake.datas, intake.data_sizes
    sink.owners = <void **>intake.owners
    sink.has_explicit_hash_key, sink.explicit_hash_keys = NULL, NULL
    if intake.explicit_capacity:
        sink.has_explicit_hash_key, sink.explicit_hash_keys = intake.has_explicit_hash_key, intake.explicit_hash_keys
    sink.data_size = sink.keyless = 0
    return sink


cdef sp_rows_fault take_chunks(
    sp_arrow_chunk **chunks, Py_ssize_t count, sp_arrow_sink *sink, Py_ssize_t *which, int64_t *row
) noexcept nogil:
    cdef sp_rows_fault fault
    cdef Py_ssize_t i
    for i in range(count):
        fault = sp_arrow_rows_take(chunks[i], sink, row)
        if fault != SP_ROWS_TAKEN:
            which[0] = i
            return fault
    return SP_ROWS_TAKEN
