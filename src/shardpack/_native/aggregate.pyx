"""User records in, Kinesis records out: stage, route, bucket, seal. Sizes and bytes are csrc/bucket."""

cimport cython
from cpython.buffer cimport PyBUF_CONTIG_RO, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport UINT32_MAX, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

from .keys cimport (
    NO_POSITION, SP_HASH_KEY_MAX_DIGITS, PySequence_Fast, PySequence_Fast_GET_ITEM, PySequence_Fast_GET_SIZE,
    PySequence_Fast_ITEMS, check_pair_lengths, format_hash_key, name_record, read_explicit_hash_key, sp_hash_key,
    sp_hash_key_format, sp_hash_key_from_bytes, sp_slice, view_partition_key,
)
from .md5 cimport md5_many
from .outputs cimport Outputs
from .shard_table cimport ShardTable, sp_shard_table_find

from ..errors import RecordTooLargeError
from ..limits import Limits
from ..records import KinesisRecord


cdef extern from *:
    """
    /* What the checks read of a str or bytes: its header and the first bytes behind it, in one cache line or two. */
    static inline void prefetch_object(PyObject *object) {
        __builtin_prefetch(object);
        __builtin_prefetch((char *)object + 40);
    }

    /* What giving a reference back reads and writes. */
    static inline void prefetch_count(void *object) {
        __builtin_prefetch(object, 1);
    }
    """
    void prefetch_object(PyObject *object) noexcept
    void prefetch_count(void *object) noexcept


cdef extern from "aggregate.h" nogil:
    enum: SP_TRAILER_SIZE
    bint sp_starts_with_magic(sp_slice data)
    size_t sp_aggregate_size_of_one(size_t key_size, size_t digits, size_t data_size)


cdef extern from "bucket.h" nogil:
    ctypedef struct sp_held_record:
        void *owner
    ctypedef struct sp_bucket_mark:
        uint64_t time
        uint32_t record_count
    ctypedef struct sp_bucket:
        sp_hash_key first_hash_key
        sp_held_record *records
        uint32_t record_count
        uint32_t shard_index
        sp_bucket_mark mark
    ctypedef struct sp_bucket_limits:
        size_t max_size
        uint32_t max_records
    enum: SP_FULL
    enum: SP_NO_MEMORY
    sp_bucket sp_bucket_make(uint32_t shard_index)
    void sp_bucket_prefetch(const sp_bucket *bucket)
    void sp_bucket_prefetch_slot(const sp_bucket *bucket, const uint8_t *digest)
    void sp_bucket_prefetch_entry(const sp_bucket *bucket, const uint8_t *digest)
    void sp_bucket_note(sp_bucket *bucket, uint64_t time)
    void sp_bucket_undo(sp_bucket *bucket, uint64_t time)
    int sp_bucket_add(
        sp_bucket *bucket, sp_slice partition_key, sp_slice data, void *owner, const uint8_t *digest,
        const sp_hash_key *explicit_hash_key, sp_bucket_limits limits)
    bint sp_bucket_has_explicit_hash_key(const sp_bucket *bucket)
    sp_slice sp_bucket_first_key(const sp_bucket *bucket)
    bint sp_bucket_is_aggregate(const sp_bucket *bucket)
    size_t sp_bucket_sealed_size(const sp_bucket *bucket)
    sp_slice sp_bucket_seal(const sp_bucket *bucket, uint8_t *out)
    void sp_bucket_clear(sp_bucket *bucket)
    void sp_bucket_free(sp_bucket *bucket)


cdef enum:
    STAGE = 2048  # user records that wait before they are hashed and routed together
    LOOK_AHEAD = 16  # how far before its turn a record's place in its bucket is brought into the cache
    SEAL_BATCH = 32  # Kinesis records sealed together, so that their checksums share SIMD lanes


# User records that were checked and wait to be routed together, a field beside the other, and what keeps their bytes.
cdef struct Stage:
    Py_ssize_t count
    sp_slice[STAGE] partition_keys
    sp_slice[STAGE] datas
    PyObject *partition_key_owners[STAGE]
    PyObject *data_owners[STAGE]
    bint[STAGE] has_explicit_hash_key
    sp_hash_key[STAGE] explicit_hash_keys


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


cdef void let_go_of_records(sp_bucket *bucket, uint32_t first) noexcept:
    """Give back the references that a bucket holds, from one record on."""
    cdef uint32_t i
    for i in range(first, bucket.record_count):
        if i + LOOK_AHEAD < bucket.record_count:
            prefetch_count(bucket.records[i + LOOK_AHEAD].owner)
        Py_DECREF(<object>bucket.records[i].owner)


cdef void free_bucket(sp_bucket *bucket) noexcept:
    let_go_of_records(bucket, 0)
    sp_bucket_free(bucket)


cdef bytes copy_data(object data, Py_ssize_t position):
    """A copy of data that is no bytes object, and so may change."""
    cdef Py_buffer view
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


cdef inline int check_lengths(object keys, object values, object explicit, Py_ssize_t n) except -1:
    """Lists are read while other threads run, and may change."""
    if (
        PySequence_Fast_GET_SIZE(keys) != n
        or PySequence_Fast_GET_SIZE(values) != n
        or (explicit is not None and PySequence_Fast_GET_SIZE(explicit) != n)
    ):
        raise RuntimeError("a list changed its length while it was read; nothing of it was taken")
    return 0


cdef inline void look_ahead(object keys, object values, Py_ssize_t i, Py_ssize_t n) noexcept:
    """Bring the objects of a later record into the cache: they lie all over the heap."""
    if i + LOOK_AHEAD < n:
        prefetch_object(PySequence_Fast_ITEMS(keys)[i + LOOK_AHEAD])
        prefetch_object(PySequence_Fast_ITEMS(values)[i + LOOK_AHEAD])


@cython.final
cdef class Aggregator:
    """Turn user records into Kinesis records, each for one shard and aggregated in the KPL's format.

    A user record goes to the bucket of its shard; a bucket becomes a Kinesis record when the next user record would
    pass ``max_bytes`` or ``max_records``, or at ``flush``. Sizes are exact and count the outer partition key. A user
    record too large to share travels raw; so does one that is alone in its bucket, unless its data starts with the
    format's magic. User records of one shard leave in the order they came in.

    ``max_bytes`` (default ``limits.max_record_bytes``) and ``max_records`` (no limit) bound an aggregated record.
    User records wait by reference until they are sealed (a ``bytearray`` or ``memoryview`` is copied at once), which
    takes 32 bytes for each beside the data; up to 2,048 of them wait to be hashed and routed together. The memory of
    Kinesis records that the caller has dropped serves again; up to 64 MiB are kept for that.
    Not to be shared between threads: a call that meets another one at work raises ``RuntimeError``.

    Format: https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md
    """

    cdef readonly object shard_map
    cdef readonly object limits
    cdef readonly Py_ssize_t max_bytes
    cdef readonly Py_ssize_t max_records
    cdef ShardTable _table
    cdef size_t _max_record_bytes
    cdef sp_bucket_limits _bucket_limits

    cdef Stage _stage  # user records taken, not yet routed
    cdef uint32_t _shard_count  # of our own: the collector may take _table away before the end
    cdef sp_bucket *_buckets  # one a shard
    cdef BucketStack _full, _spare
    cdef list _ready
    cdef Outputs _outputs
    cdef uint64_t _time  # counts the calls whose additions may have to be undone
    cdef bint _busy  # a call is under way

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
        self._bucket_limits.max_size = <size_t>self.max_bytes
        self._bucket_limits.max_records = <uint32_t>self.max_records
        self._ready = []
        self._outputs = Outputs()
        self._shard_count = self._table.table.count
        size = self._shard_count * sizeof(sp_bucket)
        self._buckets = <sp_bucket *>realloc(NULL, size)
        if self._buckets == NULL:
            raise MemoryError
        for i in range(self._shard_count):
            self._buckets[i] = sp_bucket_make(i)

    def __dealloc__(self):
        cdef Py_ssize_t i
        self._let_go(0, 0, self._stage.count)
        if self._buckets != NULL:
            for i in range(self._shard_count):
                free_bucket(&self._buckets[i])
            free(self._buckets)
        for i in range(self._full.count):
            free_bucket(&self._full.buckets[i])
        free(self._full.buckets)
        for i in range(self._spare.count):
            free_bucket(&self._spare.buckets[i])
        free(self._spare.buckets)

    def add(self, partition_key, data, explicit_hash_key=None):
        """Take one user record.

        ``partition_key`` is ``str`` or UTF-8 ``bytes``, 1 to 256 characters; ``data`` is ``bytes`` or another
        contiguous buffer; ``explicit_hash_key`` is an int, or its decimal form, below 2**128.
        Raises ``InvalidPartitionKeyError``, ``InvalidHashKeyError``, ``RecordTooLargeError`` or ``TypeError``, and then
        the record was not taken.
        """
        self._enter()
        try:
            self._add(partition_key, data, explicit_hash_key)
            self._seal_many()
        finally:
            self._busy = False

    def add_many(self, partition_keys, datas, explicit_hash_keys=None):
        """Take n user records: an iterable of each field, equally long. All of them, or none.

        Entries are as for ``add``; ``None`` among ``explicit_hash_keys`` means that the partition key decides.
        Raises what ``add`` raises, with the position of the record at fault, or ``ValueError`` when lengths differ; in
        either case nothing was taken. The routing runs with the GIL released; a list that another thread shortens or
        lengthens meanwhile causes ``RuntimeError``.
        """
        cdef object keys = PySequence_Fast(partition_keys, "partition keys come as an iterable of str or bytes")
        cdef object values = PySequence_Fast(datas, "datas come as an iterable of bytes")
        cdef object explicit = None
        check_pair_lengths(keys, values, "partition keys and datas")
        if explicit_hash_keys is not None:
            explicit = PySequence_Fast(explicit_hash_keys, "explicit hash keys come as an iterable of int, str or None")
            check_pair_lengths(keys, explicit, "partition keys and explicit hash keys")
        self._enter()
        try:
            self._add_many(keys, values, explicit)
            self._seal_many()
        finally:
            self._busy = False

    def take(self):
        """Return the Kinesis records that are full, in the order of their shards' records; they are the caller's."""
        self._enter()
        try:
            return self._take()
        finally:
            self._busy = False

    def flush(self):
        """Return everything taken so far as Kinesis records. The aggregator is empty then, and can go on."""
        cdef uint32_t shard
        self._enter()
        try:
            self._route()
            if not reserve(&self._full, self._shard_count):
                raise MemoryError
            for shard in range(self._shard_count):
                if self._buckets[shard].record_count:
                    self._detach(&self._buckets[shard])
            return self._take()
        finally:
            self._busy = False

    cdef int _enter(self) except -1:
        """Keep other threads out, and code of the caller's that runs inside a call: methods of odd arguments."""
        if self._busy:
            raise RuntimeError("an Aggregator serves one thread at a time; give each its own, or use a lock")
        self._busy = True
        return 0

    cdef list _take(self):
        cdef list ready
        self._route()
        self._seal_full()
        ready, self._ready = self._ready, []
        return ready

    # --- take user records: check, and hold two references ---

    cdef int _add(self, object partition_key, object data, object explicit_hash_key) except -1:
        cdef sp_slice key
        cdef sp_hash_key hash_key
        cdef const sp_hash_key *hash_key_or_none = NULL
        cdef object key_owner = view_partition_key(partition_key, &key, NO_POSITION)
        cdef object data_owner = data if PyBytes_CheckExact(data) else copy_data(data, NO_POSITION)
        if explicit_hash_key is not None:
            read_explicit_hash_key(explicit_hash_key, &hash_key, NO_POSITION)
            hash_key_or_none = &hash_key
        if not self._fits(key, view_data(data_owner)):
            self._check_size(key, data_owner, hash_key_or_none, NO_POSITION)
        if self._stage.count == STAGE:
            self._route()
        self._hold(key_owner, key, data_owner, hash_key_or_none)
        return 0

    cdef int _add_many(self, object keys, object values, object explicit) except -1:
        """Take all or none. What fits on the stage is checked there; more is bucketed, and taken back on an error."""
        cdef Py_ssize_t n = PySequence_Fast_GET_SIZE(keys), i, staged_before, full_before
        cdef bint routes = self._stage.count + n > STAGE
        cdef sp_slice key
        cdef sp_hash_key hash_key
        cdef const sp_hash_key *hash_key_or_none = NULL
        cdef object key_owner, data, explicit_hash_key
        if routes:
            self._route()  # what earlier calls took
            self._time += 1
        staged_before, full_before = self._stage.count, self._full.count
        try:
            for i in range(n):
                if self._stage.count == STAGE:
                    self._route()
                check_lengths(keys, values, explicit, n)
                look_ahead(keys, values, i, n)
                key_owner = <object>PySequence_Fast_GET_ITEM(keys, i)
                key_owner = view_partition_key(key_owner, &key, i)
                data = <object>PySequence_Fast_GET_ITEM(values, i)
                if not PyBytes_CheckExact(data):
                    data = copy_data(data, i)
                if explicit is not None:
                    hash_key_or_none = NULL
                    explicit_hash_key = <object>PySequence_Fast_GET_ITEM(explicit, i)
                    if explicit_hash_key is not None:
                        read_explicit_hash_key(explicit_hash_key, &hash_key, i)
                        hash_key_or_none = &hash_key
                if not self._fits(key, view_data(data)):
                    self._check_size(key, data, hash_key_or_none, i)
                self._hold(key_owner, key, data, hash_key_or_none)
        except BaseException:
            if routes:
                self._undo(full_before)
            self._let_go(staged_before, staged_before, self._stage.count)
            self._stage.count = staged_before
            raise
        return 0

    cdef void _undo(self, Py_ssize_t full_before) noexcept:
        """Leave the buckets as they were when this time began."""
        cdef uint32_t shard
        cdef sp_bucket *bucket
        while self._full.count > full_before:  # the last one detached first: the earliest goes back to its shard
            self._full.count -= 1
            bucket = &self._buckets[self._full.buckets[self._full.count].shard_index]
            free_bucket(bucket)
            bucket[0] = self._full.buckets[self._full.count]
        for shard in range(self._shard_count):
            bucket = &self._buckets[shard]
            if bucket.mark.time == self._time:
                let_go_of_records(bucket, bucket.mark.record_count)
                sp_bucket_undo(bucket, self._time)

    cdef inline bint _fits(self, sp_slice key, sp_slice data) noexcept:
        """Whether the record surely fits; else _check_size says, with an error where it does not."""
        return key.size + data.size <= self._max_record_bytes and not sp_starts_with_magic(data)

    cdef int _check_size(
        self, sp_slice key, object data, const sp_hash_key *explicit_hash_key, Py_ssize_t position
    ) except -1:
        cdef uint8_t[SP_HASH_KEY_MAX_DIGITS] text
        cdef sp_slice view = view_data(data)
        cdef size_t digits = 0, size = key.size + view.size
        if size > self._max_record_bytes:
            raise RecordTooLargeError(self._too_large(key, size, position))
        if not sp_starts_with_magic(view):
            return 0
        # never sent raw, so alone it must fit as an aggregated record of one
        if explicit_hash_key != NULL:
            digits = sp_hash_key_format(explicit_hash_key[0], text)
        size = key.size + sp_aggregate_size_of_one(key.size, digits, view.size)
        if size > self._max_record_bytes:
            raise RecordTooLargeError(
                f"{self._too_large(key, size, position)}: its data starts with the magic of an aggregated record, so "
                f"it is wrapped in one, which takes {size - key.size - view.size} bytes"
            )
        return 0

    cdef str _too_large(self, sp_slice key, size_t size, Py_ssize_t position):
        return (
            f"{name_record(position)}record of {size:,} bytes (key {key.data[:key.size].decode()!r}) exceeds the "
            f"stream's {self._max_record_bytes:,}"
        )

    cdef inline void _hold(
        self, object key_owner, sp_slice key, object data, const sp_hash_key *explicit_hash_key
    ) noexcept:
        """Stage one user record that was checked. There is room."""
        cdef Py_ssize_t i = self._stage.count
        self._stage.partition_keys[i] = key
        self._stage.datas[i] = view_data(data)
        self._stage.has_explicit_hash_key[i] = explicit_hash_key != NULL
        if explicit_hash_key != NULL:
            self._stage.explicit_hash_keys[i] = explicit_hash_key[0]
        Py_INCREF(key_owner)
        Py_INCREF(data)
        self._stage.partition_key_owners[i] = <PyObject *>key_owner
        self._stage.data_owners[i] = <PyObject *>data
        self._stage.count = i + 1

    cdef void _let_go(self, Py_ssize_t start, Py_ssize_t datas_start, Py_ssize_t end) noexcept:
        """Give back the references of a run of staged records: keys, and from ``datas_start`` on the data too."""
        cdef Py_ssize_t i
        for i in range(start, end):
            Py_DECREF(<object>self._stage.partition_key_owners[i])
        for i in range(datas_start, end):
            Py_DECREF(<object>self._stage.data_owners[i])

    # --- route: hash keys, shards, buckets; the GIL released ---

    cdef int _route(self) except -1:
        """Move every staged user record to its shard's bucket. What does not fit in memory stays staged."""
        cdef Py_ssize_t routed
        with nogil:
            routed = self._route_staged()
        self._let_go(0, routed, routed)  # the buckets hold the data
        if routed < self._stage.count:
            self._move_up(routed)
            raise MemoryError
        self._stage.count = 0
        return 0

    cdef void _move_up(self, Py_ssize_t routed) noexcept:
        """Forget the first records of the stage; the others take their places."""
        cdef Stage *stage = &self._stage
        cdef size_t left = <size_t>(stage.count - routed)
        memmove(stage.partition_keys, &stage.partition_keys[routed], left * sizeof(sp_slice))
        memmove(stage.datas, &stage.datas[routed], left * sizeof(sp_slice))
        memmove(stage.partition_key_owners, &stage.partition_key_owners[routed], left * sizeof(PyObject *))
        memmove(stage.data_owners, &stage.data_owners[routed], left * sizeof(PyObject *))
        memmove(stage.has_explicit_hash_key, &stage.has_explicit_hash_key[routed], left * sizeof(bint))
        memmove(stage.explicit_hash_keys, &stage.explicit_hash_keys[routed], left * sizeof(sp_hash_key))
        stage.count = <Py_ssize_t>left

    cdef Py_ssize_t _route_staged(self) noexcept nogil:
        """Bucket the staged user records in order. Returns how many; fewer than all when memory ran out."""
        cdef Stage *stage = &self._stage
        cdef uint8_t[STAGE * 16] digests
        cdef sp_bucket *buckets[STAGE]
        cdef sp_hash_key hash_key
        cdef Py_ssize_t i, ahead, n = stage.count
        md5_many(stage.partition_keys, <size_t>n, digests)
        for i in range(n):
            hash_key = sp_hash_key_from_bytes(digests + 16 * i)
            if stage.has_explicit_hash_key[i]:
                hash_key = stage.explicit_hash_keys[i]
            buckets[i] = &self._buckets[sp_shard_table_find(&self._table.table, hash_key)]
            sp_bucket_prefetch(buckets[i])
        for i in range(n):
            ahead = i + LOOK_AHEAD
            if ahead < n:
                sp_bucket_prefetch_slot(buckets[ahead], digests + 16 * ahead)
            ahead = i + LOOK_AHEAD // 2
            if ahead < n:
                sp_bucket_prefetch_entry(buckets[ahead], digests + 16 * ahead)
            if not self._add_to_bucket(buckets[i], i, digests + 16 * i):
                return i
        return n

    cdef inline bint _add_to_bucket(self, sp_bucket *bucket, Py_ssize_t i, const uint8_t *digest) noexcept nogil:
        """Add to the bucket, or to the empty one that takes its place. False when memory ran out."""
        cdef const sp_hash_key *explicit_hash_key = NULL
        cdef int added
        if self._stage.has_explicit_hash_key[i]:
            explicit_hash_key = &self._stage.explicit_hash_keys[i]
        sp_bucket_note(bucket, self._time)
        added = sp_bucket_add(
            bucket, self._stage.partition_keys[i], self._stage.datas[i], self._stage.data_owners[i], digest,
            explicit_hash_key, self._bucket_limits)
        if added == SP_FULL:
            if not reserve(&self._full, 1):
                return False
            self._detach(bucket)
            sp_bucket_note(bucket, self._time)
            added = sp_bucket_add(
                bucket, self._stage.partition_keys[i], self._stage.datas[i], self._stage.data_owners[i], digest,
                explicit_hash_key, self._bucket_limits)
        return added != SP_NO_MEMORY

    cdef void _detach(self, sp_bucket *bucket) noexcept nogil:
        """Queue what a shard's bucket holds to be sealed and leave it empty. Room was reserved."""
        cdef uint32_t shard = bucket.shard_index
        self._full.buckets[self._full.count] = bucket[0]
        self._full.count += 1
        if self._spare.count:
            self._spare.count -= 1
            bucket[0] = self._spare.buckets[self._spare.count]
            bucket.shard_index = shard
        else:
            bucket[0] = sp_bucket_make(shard)

    # --- seal: size, allocate, fill ---

    cdef inline int _seal_many(self) except -1:
        """Seal when enough wait to fill the lanes: a caller who does not take for long holds sealed records only."""
        if self._full.count >= SEAL_BATCH:
            try:
                self._seal_full()
            except MemoryError:
                pass  # the records were taken all the same, and wait in their buckets for take() or flush()
        return 0

    cdef int _seal_full(self) except -1:
        """Turn the queued buckets into Kinesis records, in order."""
        cdef Py_ssize_t done = 0, count
        try:
            while done < self._full.count:
                count = min(SEAL_BATCH, self._full.count - done)
                self._seal_batch(&self._full.buckets[done], count)
                done += count
        finally:
            self._full.count -= done
            if self._full.count:
                memmove(self._full.buckets, &self._full.buckets[done], <size_t>self._full.count * sizeof(sp_bucket))
        return 0

    cdef int _seal_batch(self, sp_bucket *buckets, Py_ssize_t count) except -1:
        cdef list datas = []
        cdef sp_bucket *aggregates[SEAL_BATCH]
        cdef uint8_t *out[SEAL_BATCH]
        cdef sp_slice[SEAL_BATCH] messages
        cdef uint8_t[SEAL_BATCH * SP_TRAILER_SIZE] digests
        cdef Py_ssize_t i, n = 0
        for i in range(count):
            if sp_bucket_is_aggregate(&buckets[i]):
                data = self._outputs.take(<Py_ssize_t>sp_bucket_sealed_size(&buckets[i]))
                aggregates[n] = &buckets[i]
                out[n] = <uint8_t *>PyBytes_AS_STRING(data)
                n += 1
            else:
                data = <object>buckets[i].records[0].owner  # raw: the very bytes
            datas.append(data)
        if not reserve(&self._spare, count):
            raise MemoryError
        with nogil:
            for i in range(n):
                messages[i] = sp_bucket_seal(aggregates[i], out[i])
            md5_many(messages, <size_t>n, digests)
            for i in range(n):
                memcpy(<uint8_t *>messages[i].data + messages[i].size, digests + SP_TRAILER_SIZE * i, SP_TRAILER_SIZE)
        self._ready += [kinesis_record(&buckets[i], datas[i]) for i in range(count)]
        for i in range(count):
            let_go_of_records(&buckets[i], 0)
            if self._spare.count == SEAL_BATCH + <Py_ssize_t>self._shard_count:
                sp_bucket_free(&buckets[i])
                continue
            sp_bucket_clear(&buckets[i])
            self._spare.buckets[self._spare.count] = buckets[i]
            self._spare.count += 1
        return 0


cdef object kinesis_record(const sp_bucket *bucket, bytes data):
    cdef sp_slice key = sp_bucket_first_key(bucket)
    cdef str explicit_hash_key = None
    if sp_bucket_is_aggregate(bucket) or sp_bucket_has_explicit_hash_key(bucket):
        explicit_hash_key = format_hash_key(bucket.first_hash_key)
    return KinesisRecord(
        key.data[:key.size].decode(), explicit_hash_key, data, bucket.shard_index, bucket.record_count,
        len(data) + <Py_ssize_t>key.size)


cdef inline sp_slice view_data(object data) noexcept:
    cdef sp_slice view
    view.data = <const uint8_t *>PyBytes_AS_STRING(data)
    view.size = <size_t>PyBytes_GET_SIZE(data)
    return view
