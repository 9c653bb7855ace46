"""User records in, Kinesis records out: stage, route, bucket, seal. Sizes and bytes are csrc/aggregate and bucket."""

cimport cython
from cpython.buffer cimport PyBUF_CONTIG_RO, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport UINT32_MAX, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memmove

from ._keys cimport (
    NO_POSITION, PySequence_Fast, PySequence_Fast_GET_ITEM, PySequence_Fast_GET_SIZE, check_pair_lengths,
    format_hash_key, name_record, read_explicit_hash_key, sp_hash_key, sp_hash_key_format, sp_hash_key_from_bytes,
    sp_slice, view_partition_key, SP_HASH_KEY_MAX_DIGITS,
)
from ._md5 cimport md5_many
from ._shards cimport ShardTable, sp_shard_table_find

from .errors import RecordTooLargeError
from .limits import Limits
from .records import KinesisRecord


cdef extern from "aggregate.h" nogil:
    const char *SP_MAGIC
    enum: SP_MAGIC_SIZE
    enum: SP_TRAILER_SIZE
    uint32_t SP_NO_INDEX
    ctypedef struct sp_aggregate:
        pass
    ctypedef struct sp_user_record:
        uint32_t explicit_hash_key_index
    ctypedef struct sp_explicit_hash_key:
        sp_hash_key value
    size_t sp_aggregate_size_of_one(size_t partition_key_size, size_t explicit_hash_key_digits, size_t data_size)
    uint8_t *sp_aggregate_write(const sp_aggregate *aggregate, uint8_t *out)


cdef extern from "bucket.h" nogil:
    ctypedef struct sp_staged_record:
        const uint8_t *partition_key
        const uint8_t *data
        void *partition_key_owner
        void *data_owner
        uint32_t data_size
        uint16_t partition_key_size
        uint8_t has_explicit_hash_key
    ctypedef struct sp_key_index:
        uint32_t count
    ctypedef struct sp_bucket:
        sp_key_index partition_key_index
        sp_slice *partition_keys
        void **partition_key_owners
        sp_explicit_hash_key *explicit_hash_keys
        sp_user_record *records
        void **data_owners
        uint32_t record_count
        uint32_t shard_index
        sp_hash_key first_hash_key
    enum: SP_ADDED
    enum: SP_ADDED_WITH_KEY
    enum: SP_FULL
    enum: SP_NO_MEMORY
    int sp_bucket_add(
        sp_bucket *bucket, const sp_staged_record *record, const uint8_t *digest, sp_hash_key explicit_hash_key,
        size_t max_size, uint32_t max_records)
    bint sp_bucket_is_aggregate(const sp_bucket *bucket)
    sp_aggregate sp_bucket_aggregate(const sp_bucket *bucket)
    sp_bucket sp_bucket_make(uint32_t shard_index)
    size_t sp_bucket_data_size(const sp_bucket *bucket)
    void sp_bucket_clear(sp_bucket *bucket)
    void sp_bucket_free(sp_bucket *bucket)


cdef enum:
    STAGE = 1024  # user records that wait before they are hashed and routed together
    SEAL_BATCH = 32  # Kinesis records sealed together, so that their checksums share SIMD lanes


# Buckets in a growable array: those waiting to be sealed, and emptied ones whose memory serves again.
cdef struct BucketStack:
    sp_bucket *buckets
    Py_ssize_t count
    Py_ssize_t capacity


cdef bint reserve(BucketStack *stack, Py_ssize_t more) noexcept nogil:
    cdef Py_ssize_t capacity = stack.capacity
    cdef void *buckets
    if stack.count + more <= capacity:
        return True
    while capacity < stack.count + more:
        capacity = 2 * capacity if capacity else SEAL_BATCH
    buckets = realloc(stack.buckets, <size_t>capacity * sizeof(sp_bucket))
    if buckets == NULL:
        return False
    stack.buckets = <sp_bucket *>buckets
    stack.capacity = capacity
    return True


cdef void release_references(sp_bucket *bucket) noexcept:
    cdef uint32_t i
    for i in range(bucket.partition_key_index.count):
        Py_DECREF(<object>bucket.partition_key_owners[i])
    for i in range(bucket.record_count):
        Py_DECREF(<object>bucket.data_owners[i])


cdef object own_data(object data, Py_ssize_t position):
    """The bytes object to hold: the caller's own, or a copy of what can change."""
    cdef Py_buffer view
    if PyBytes_CheckExact(data):
        return data
    if isinstance(data, str):
        raise TypeError(f"{name_record(position)}data is bytes, not str: encode it")
    try:
        PyObject_GetBuffer(data, &view, PyBUF_CONTIG_RO)
    except TypeError:
        raise TypeError(f"{name_record(position)}data is bytes or a buffer, not {type(data).__name__}") from None
    try:
        return PyBytes_FromStringAndSize(<char *>view.buf, view.len)
    finally:
        PyBuffer_Release(&view)


@cython.final
cdef class Aggregator:
    """Turn user records into Kinesis records, each for one shard and aggregated in the KPL's format.

    A user record goes to the bucket of its shard; a bucket becomes a Kinesis record when the next user record would
    pass ``max_bytes`` or ``max_records``, or at ``flush``. Sizes are exact and count the outer partition key. A user
    record too large to share travels raw; so does one that is alone in its bucket, unless its data starts with the
    format's magic. User records of one shard leave in the order they came in.

    ``max_bytes`` (default ``limits.max_record_bytes``) and ``max_records`` (no limit) bound an aggregated record.
    Data and keys are held by reference until they are sealed (a ``bytearray`` or ``memoryview`` is copied at once).
    Not to be shared between threads: a call that meets another one at work raises ``RuntimeError``.

    Format: https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md
    """

    cdef readonly object shard_map
    cdef readonly object limits
    cdef readonly Py_ssize_t max_bytes
    cdef readonly Py_ssize_t max_records
    cdef ShardTable _table
    cdef size_t _max_record_bytes

    # user records taken, not yet routed; explicit hash keys in an array of their own, made when the first one comes
    cdef sp_staged_record *_staged
    cdef sp_hash_key *_staged_hash_keys
    cdef Py_ssize_t _staged_count, _staged_capacity, _hash_keys_capacity

    cdef sp_bucket *_buckets  # one a shard
    cdef BucketStack _full, _spare
    cdef list _ready
    cdef bint _busy  # a batch is under way with the GIL released

    def __cinit__(self, shard_map, *, limits=None, max_bytes=None, max_records=None):
        cdef size_t size
        cdef uint32_t i
        self.limits = Limits() if limits is None else limits
        self.shard_map = shard_map
        self._table = shard_map._table
        self._max_record_bytes = self.limits.max_record_bytes
        self.max_bytes = self.limits.max_record_bytes if max_bytes is None else max_bytes
        self.max_records = UINT32_MAX if max_records is None else max_records
        if not 1 <= self.max_bytes <= self.limits.max_record_bytes:
            raise ValueError(f"max_bytes of {max_bytes:,} is not between 1 and {self.limits.max_record_bytes:,}")
        if not 1 <= self.max_records <= UINT32_MAX:
            raise ValueError(f"max_records of {max_records:,} is not between 1 and {UINT32_MAX:,}")
        self._ready = []
        size = self._table.table.count * sizeof(sp_bucket)
        self._buckets = <sp_bucket *>realloc(NULL, size)
        if self._buckets == NULL:
            raise MemoryError
        for i in range(self._table.table.count):
            self._buckets[i] = sp_bucket_make(i)

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self._staged_count):
            self._drop_staged(i)
        free(self._staged)
        free(self._staged_hash_keys)
        if self._buckets != NULL:
            for i in range(self._table.table.count):
                release_references(&self._buckets[i])
                sp_bucket_free(&self._buckets[i])
            free(self._buckets)
        for i in range(self._full.count):
            release_references(&self._full.buckets[i])
            sp_bucket_free(&self._full.buckets[i])
        free(self._full.buckets)
        for i in range(self._spare.count):
            sp_bucket_free(&self._spare.buckets[i])
        free(self._spare.buckets)

    def add(self, partition_key, data, explicit_hash_key=None):
        """Take one user record.

        ``partition_key`` is ``str`` or UTF-8 ``bytes``, 1 to 256 characters; ``data`` is ``bytes`` or another
        contiguous buffer; ``explicit_hash_key`` is an int, or its decimal form, below 2**128.
        Raises ``InvalidPartitionKeyError``, ``InvalidHashKeyError``, ``RecordTooLargeError`` or ``TypeError``, and then
        the record was not taken.
        """
        self._check_idle()
        self._reserve_staged(1)
        self._stage(partition_key, data, explicit_hash_key, NO_POSITION)
        if self._staged_count >= STAGE:
            self._route()

    def add_many(self, partition_keys, datas, explicit_hash_keys=None):
        """Take n user records: an iterable of each field, equally long. All of them, or none.

        Entries are as for ``add``; ``None`` among ``explicit_hash_keys`` means that the partition key decides.
        Raises what ``add`` raises, with the position of the record at fault, or ``ValueError`` when lengths differ; in
        either case nothing was taken. The routing runs with the GIL released.
        """
        cdef object keys = PySequence_Fast(partition_keys, "partition keys come as an iterable of str or bytes")
        cdef object values = PySequence_Fast(datas, "datas come as an iterable of bytes")
        cdef object explicit = None, explicit_hash_key = None
        cdef Py_ssize_t n = PySequence_Fast_GET_SIZE(keys), i, before
        check_pair_lengths(keys, values, "partition keys and datas")
        if explicit_hash_keys is not None:
            explicit = PySequence_Fast(explicit_hash_keys, "explicit hash keys come as an iterable of int, str or None")
            check_pair_lengths(keys, explicit, "partition keys and explicit hash keys")
        self._check_idle()
        self._reserve_staged(n)
        before = self._staged_count
        self._busy = True  # odd buffers and subclasses run their own code below, which must not come back here
        try:
            for i in range(n):
                if (
                    PySequence_Fast_GET_SIZE(keys) != n
                    or PySequence_Fast_GET_SIZE(values) != n
                    or (explicit is not None and PySequence_Fast_GET_SIZE(explicit) != n)
                ):
                    raise RuntimeError("a list changed while it was read")
                if explicit is not None:
                    explicit_hash_key = <object>PySequence_Fast_GET_ITEM(explicit, i)
                self._stage(
                    <object>PySequence_Fast_GET_ITEM(keys, i), <object>PySequence_Fast_GET_ITEM(values, i),
                    explicit_hash_key, i)
        except BaseException:
            while self._staged_count > before:
                self._staged_count -= 1
                self._drop_staged(self._staged_count)
            raise
        finally:
            self._busy = False
        if self._staged_count >= STAGE:
            self._route()

    def take(self):
        """Return the Kinesis records that are full, in the order of their shards' records; they are the caller's."""
        self._check_idle()
        self._route()
        self._seal_full(0)
        ready, self._ready = self._ready, []
        return ready

    def flush(self):
        """Return everything taken so far as Kinesis records. The aggregator is empty then, and can go on."""
        cdef uint32_t shard
        self._check_idle()
        self._route()
        if not reserve(&self._full, self._table.table.count):
            raise MemoryError
        for shard in range(self._table.table.count):
            if self._buckets[shard].record_count:
                self._detach(shard)
        return self.take()

    cdef int _check_idle(self) except -1:
        if self._busy:
            raise RuntimeError("an Aggregator serves one thread at a time; give each its own, or use a lock")
        return 0

    # --- stage: check, and hold two references ---

    cdef int _reserve_staged(self, Py_ssize_t more) except -1:
        cdef Py_ssize_t capacity = self._staged_capacity
        cdef void *staged
        if self._staged_count + more <= capacity:
            return 0
        capacity = max(STAGE, self._staged_count + more)
        staged = realloc(self._staged, <size_t>capacity * sizeof(sp_staged_record))
        if staged == NULL:
            raise MemoryError
        self._staged = <sp_staged_record *>staged
        self._staged_capacity = capacity
        return 0

    cdef int _stage(self, object partition_key, object data, object explicit_hash_key, Py_ssize_t position) except -1:
        """Check one user record and hold it. Room for it was reserved."""
        cdef sp_staged_record *record = &self._staged[self._staged_count]
        cdef sp_slice key
        cdef object key_owner = view_partition_key(partition_key, &key, position)
        cdef bytes data_owner = own_data(data, position)
        cdef Py_ssize_t data_size = PyBytes_GET_SIZE(data_owner)
        cdef size_t size = key.size + <size_t>data_size
        if size > self._max_record_bytes:
            raise RecordTooLargeError(
                f"{name_record(position)}record of {size:,} bytes (key {partition_key!r}) exceeds the stream's "
                f"{self._max_record_bytes:,}"
            )
        record.has_explicit_hash_key = explicit_hash_key is not None
        if record.has_explicit_hash_key:
            self._stage_explicit_hash_key(explicit_hash_key, position)
        record.partition_key = key.data
        record.partition_key_size = <uint16_t>key.size
        record.data = <const uint8_t *>PyBytes_AS_STRING(data_owner)
        record.data_size = <uint32_t>data_size
        if data_size >= SP_MAGIC_SIZE and memcmp(record.data, SP_MAGIC, SP_MAGIC_SIZE) == 0:
            self._check_wrapped(record, position)
        Py_INCREF(key_owner)
        Py_INCREF(data_owner)
        record.partition_key_owner = <void *>key_owner
        record.data_owner = <void *>data_owner
        self._staged_count += 1
        return 0

    cdef int _stage_explicit_hash_key(self, object explicit_hash_key, Py_ssize_t position) except -1:
        cdef void *hash_keys
        if self._hash_keys_capacity < self._staged_capacity:
            hash_keys = realloc(self._staged_hash_keys, <size_t>self._staged_capacity * sizeof(sp_hash_key))
            if hash_keys == NULL:
                raise MemoryError
            self._staged_hash_keys = <sp_hash_key *>hash_keys
            self._hash_keys_capacity = self._staged_capacity
        return read_explicit_hash_key(explicit_hash_key, &self._staged_hash_keys[self._staged_count], position)

    cdef int _check_wrapped(self, const sp_staged_record *record, Py_ssize_t position) except -1:
        """Data that starts with the magic never goes raw: alone it must fit as an aggregated record of one."""
        cdef uint8_t[SP_HASH_KEY_MAX_DIGITS] text
        cdef size_t digits = 0, size
        if record.has_explicit_hash_key:
            digits = sp_hash_key_format(self._staged_hash_keys[self._staged_count], text)
        size = record.partition_key_size + sp_aggregate_size_of_one(
            record.partition_key_size, digits, record.data_size)
        if size > self._max_record_bytes:
            key = record.partition_key[:record.partition_key_size].decode()
            raise RecordTooLargeError(
                f"{name_record(position)}record of {size:,} bytes (key {key!r}) exceeds the stream's "
                f"{self._max_record_bytes:,}: its data starts with the magic of an aggregated record, so it is wrapped "
                f"in one ({size - record.partition_key_size - record.data_size:,} bytes)"
            )
        return 0

    cdef void _drop_staged(self, Py_ssize_t i) noexcept:
        Py_DECREF(<object>self._staged[i].partition_key_owner)
        Py_DECREF(<object>self._staged[i].data_owner)

    # --- route: hash keys, shards, buckets; the GIL released ---

    cdef int _route(self) except -1:
        """Move every staged user record to its shard's bucket. What does not fit in memory stays staged."""
        cdef Py_ssize_t done = 0, i, count
        cdef int kept = 0
        try:
            while done < self._staged_count:
                count = min(STAGE, self._staged_count - done)
                self._busy = True
                with nogil:
                    kept = self._route_batch(&self._staged[done], done, count)
                self._busy = False
                for i in range(done, done + kept):
                    if self._staged[i].partition_key_owner != NULL:  # the table had the key already
                        Py_DECREF(<object>self._staged[i].partition_key_owner)
                done += kept
                if kept < count:
                    raise MemoryError
                if self._full.count >= SEAL_BATCH:
                    self._seal_full(SEAL_BATCH)
        finally:
            self._staged_count -= done
            memmove(self._staged, self._staged + done, <size_t>self._staged_count * sizeof(sp_staged_record))
            if self._hash_keys_capacity:
                memmove(
                    self._staged_hash_keys, self._staged_hash_keys + done,
                    <size_t>self._staged_count * sizeof(sp_hash_key))
        return 0

    cdef int _route_batch(self, sp_staged_record *records, Py_ssize_t offset, Py_ssize_t count) noexcept nogil:
        """Bucket up to STAGE user records; clears the key owner of those whose bucket took it. Returns how many."""
        cdef sp_slice[STAGE] keys
        cdef uint8_t[STAGE * 16] digests
        cdef sp_hash_key hash_key
        cdef uint32_t shard
        cdef Py_ssize_t i
        cdef int added
        for i in range(count):
            keys[i].data = records[i].partition_key
            keys[i].size = records[i].partition_key_size
        md5_many(keys, <size_t>count, digests)
        for i in range(count):
            if records[i].has_explicit_hash_key:
                hash_key = self._staged_hash_keys[offset + i]
            else:
                hash_key = sp_hash_key_from_bytes(digests + 16 * i)
            shard = sp_shard_table_find(&self._table.table, hash_key)
            added = self._add_to_bucket(shard, &records[i], digests + 16 * i, hash_key)
            if added == SP_FULL:
                if not reserve(&self._full, 1):
                    return <int>i
                self._detach(shard)
                added = self._add_to_bucket(shard, &records[i], digests + 16 * i, hash_key)
            if added == SP_NO_MEMORY:
                return <int>i
            if added == SP_ADDED_WITH_KEY:
                records[i].partition_key_owner = NULL
        return <int>count

    cdef int _add_to_bucket(
        self, uint32_t shard, const sp_staged_record *record, const uint8_t *digest, sp_hash_key hash_key
    ) noexcept nogil:
        return sp_bucket_add(
            &self._buckets[shard], record, digest, hash_key, <size_t>self.max_bytes, <uint32_t>self.max_records)

    cdef void _detach(self, uint32_t shard) noexcept nogil:
        """Queue a shard's bucket to be sealed and give the shard an empty one. Room was reserved."""
        self._full.buckets[self._full.count] = self._buckets[shard]
        self._full.count += 1
        if self._spare.count:
            self._spare.count -= 1
            self._buckets[shard] = self._spare.buckets[self._spare.count]
            self._buckets[shard].shard_index = shard
        else:
            self._buckets[shard] = sp_bucket_make(shard)

    # --- seal: size, allocate, fill ---

    cdef int _seal_full(self, Py_ssize_t at_least) except -1:
        """Turn the queued buckets into Kinesis records, in order, as long as ``at_least`` of them wait."""
        cdef Py_ssize_t done = 0, count
        try:
            while self._full.count - done >= max(at_least, 1):
                count = min(SEAL_BATCH, self._full.count - done)
                self._seal_batch(&self._full.buckets[done], count)
                done += count
        finally:
            self._full.count -= done
            memmove(self._full.buckets, self._full.buckets + done, <size_t>self._full.count * sizeof(sp_bucket))
        return 0

    cdef int _seal_batch(self, sp_bucket *buckets, Py_ssize_t count) except -1:
        cdef list datas = []
        cdef (uint8_t *)[SEAL_BATCH] out
        cdef sp_slice[SEAL_BATCH] messages
        cdef uint8_t[SEAL_BATCH * SP_TRAILER_SIZE] digests
        cdef sp_aggregate[SEAL_BATCH] aggregates
        cdef Py_ssize_t i, aggregated = 0
        cdef uint8_t *end
        for i in range(count):
            if sp_bucket_is_aggregate(&buckets[i]):
                data = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>sp_bucket_data_size(&buckets[i]))
                out[aggregated] = <uint8_t *>PyBytes_AS_STRING(data)
                aggregates[aggregated] = sp_bucket_aggregate(&buckets[i])
                aggregated += 1
            else:
                data = <object>buckets[i].data_owners[0]
            datas.append(data)
        if not reserve(&self._spare, count):
            raise MemoryError
        self._busy = True
        with nogil:
            for i in range(aggregated):
                end = sp_aggregate_write(&aggregates[i], out[i])
                messages[i].data = out[i] + SP_MAGIC_SIZE
                messages[i].size = <size_t>(end - messages[i].data)
            md5_many(messages, <size_t>aggregated, digests)
            for i in range(aggregated):
                memcpy(
                    <uint8_t *>messages[i].data + messages[i].size, digests + SP_TRAILER_SIZE * i, SP_TRAILER_SIZE)
        self._busy = False
        sealed = [self._kinesis_record(&buckets[i], datas[i]) for i in range(count)]
        self._ready += sealed
        for i in range(count):
            release_references(&buckets[i])
            sp_bucket_clear(&buckets[i])
            self._spare.buckets[self._spare.count] = buckets[i]
            self._spare.count += 1
        return 0

    cdef object _kinesis_record(self, const sp_bucket *bucket, bytes data):
        cdef object key = <object>bucket.partition_key_owners[0]
        cdef str explicit_hash_key = None
        if isinstance(key, bytes):
            key = key.decode()
        if sp_bucket_is_aggregate(bucket) or bucket.records[0].explicit_hash_key_index != SP_NO_INDEX:
            explicit_hash_key = format_hash_key(bucket.first_hash_key)
        return KinesisRecord(
            key, explicit_hash_key, data, bucket.shard_index, bucket.record_count,
            len(data) + <Py_ssize_t>bucket.partition_keys[0].size)
