"""User records as Arrow takes them, through the PyCapsule interface: no Arrow library is needed, none is loaded.

What is exported, arrow_rows makes. Who frees what is csrc/arrow.
"""

cimport cython
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdlib cimport free, malloc

from .arrow_rows cimport COLUMNS, Buffers, buffers_of_columns
from .columns cimport Columns
from .made_inside cimport made_inside


cdef extern from "Python.h":
    bint Py_IsInitialized() nogil


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
@cython.no_gc_clear  # a cycle goes through the source of a Kinesis record, which is cleared
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

    def __reduce_ex__(self, protocol):
        raise TypeError("a UserRecordBatch does not pickle; what an Arrow library makes of it does")

    def __len__(self):
        return self._buffers.rows

    def __repr__(self):
        return f"<UserRecordBatch of {len(self)} user records from {self._buffers.parent_count} Kinesis records>"

    @property
    def left_out(self):
        """How many user records ``hash_range`` kept back."""
        return self.columns.left_out

    def __arrow_c_schema__(self):
        return schema_capsule(self._buffers)

    def __arrow_c_array__(self, requested_schema=None):
        return schema_capsule(self._buffers), array_capsule(self._buffers)

    def __arrow_c_stream__(self, requested_schema=None):
        return stream_capsule(self._buffers)


made_inside(UserRecordBatch)


def batch_of_columns(Columns columns not None):
    cdef Buffers buffers = buffers_of_columns(columns)
    cdef UserRecordBatch batch = UserRecordBatch.__new__(UserRecordBatch)
    batch.columns = columns
    batch._buffers = buffers
    return batch
