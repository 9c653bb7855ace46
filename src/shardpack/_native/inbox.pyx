"""Where application threads leave user records, and a producer's pump finds them as buckets."""

cimport cython
from cpython.bytes cimport PyBytes_CheckExact
from cpython.long cimport PyLong_CheckExact
from cpython.object cimport PyObject
from libc.stdint cimport UINT32_MAX, int64_t, uint64_t

from .arrow_in cimport ArrowRows
from .heavy_hitters cimport HeavyHitters
from .intake cimport Intake
from .keys cimport demand_one_for_one, is_plain_key, sequence_of
from .outputs cimport Outputs
from .receipt cimport BLOCK, Block, new_receipt
from .router cimport Bucket, Router, lies_in, seal_buckets
from .shard_table cimport ShardTable

from time import monotonic

from ..errors import RecordTooLargeError


cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX
    bint PyUnicode_CheckExact(object)


cdef enum:
    AROUND_ONE = 64
    RECEIPT = 64


@cython.final
@cython.no_gc_clear
cdef class Inbox:
    """User records of any thread, numbered as they come, and the buckets of one thread, the pump.

    ``put`` and ``put_many`` may be called from any thread. Everything else is the pump's, one call at a time.
    A user record of more than ``max_record_bytes`` with its partition key is refused; one bucket takes ``max_bytes``
    sealed and ``max_records``. ``None`` for a partition key is a user record without one (`place`).

    ``buffered`` counts the bytes of what was put and not yet said to be ``settled``, each user record with 64 bytes
    more, or 128 where there are receipts. From ``max_buffered`` on nothing is taken, so it is passed by one call at
    most; nor once it was closed.
    ``wake`` is called, with no lock held, by the put that finds the pump ``asleep``.
    """

    cdef Intake front  # what was put since gather() was called last
    cdef Intake back
    cdef double front_since  # when the first of them was put
    cdef double back_since
    cdef Router router
    cdef list rerouting  # buckets of a router before; the first `rerouted` of them are in this one's
    cdef Py_ssize_t rerouted
    cdef Outputs outputs
    cdef readonly HeavyHitters heavy_hitters  # of what was gathered
    cdef size_t limit  # of a user record with its partition key
    cdef Py_ssize_t most_in_bucket
    cdef readonly Py_ssize_t max_buffered
    cdef readonly Py_ssize_t around  # bytes that a user record is counted with beside its key and data
    cdef readonly Py_ssize_t buffered
    cdef public object wake
    cdef public bint asleep
    cdef bint closed
    cdef object register  # whom receipts ask, or None
    cdef readonly dict blocks  # where outcomes will be, by the numbers of user records // 4,096
    cdef Block block  # of the next user record, if its number is this one's
    cdef int64_t block_number

    def __cinit__(
        self, ShardTable table not None, *, Py_ssize_t max_record_bytes, Py_ssize_t max_bytes, max_records=None,
        max_buffered=None, wake=None, register=None
    ):
        self.max_buffered = PY_SSIZE_T_MAX if max_buffered is None else max_buffered
        self.wake, self.register, self.blocks, self.block_number = wake, register, {}, -1
        self.limit, self.most_in_bucket = <size_t>max_record_bytes, max_bytes
        self.front, self.back = Intake(max_record_bytes, True), Intake(max_record_bytes, True)
        self.outputs = Outputs()
        self.around = AROUND_ONE if register is None else AROUND_ONE + RECEIPT
        self.rerouting = []
        self.heavy_hitters = HeavyHitters(monotonic())
        self.router = self.router_of(table, max_records)

    cdef Router router_of(self, ShardTable table, max_records):
        cdef Router router = Router(table, self.most_in_bucket, UINT32_MAX if max_records is None else max_records)
        router.heavy_hitters = self.heavy_hitters
        return router

    @property
    def max_record_bytes(self):
        """What a user record may have with its partition key. It can be changed at any time."""
        return <Py_ssize_t>self.limit

    @max_record_bytes.setter
    def max_record_bytes(self, Py_ssize_t most):
        self.limit = self.front.max_record_bytes = self.back.max_record_bytes = <size_t>most

    @property
    def max_bytes(self):
        """What a bucket may have sealed. It can be changed at any time, by the pump."""
        return self.most_in_bucket

    @max_bytes.setter
    def max_bytes(self, Py_ssize_t most):
        self.most_in_bucket = most
        self.router.c.limits.max_size = <size_t>most

    @property
    def next_token(self):
        """The number of the next user record."""
        return self.front.first_token + <uint64_t>self.front.count

    def put(self, partition_key, data, explicit_hash_key=None):
        """Take one user record. Returns its receipt, or ``True`` where none are wanted.

        ``None`` where there is no room. Raises as ``Aggregator.add``.
        """
        cdef Intake checked
        taken = self.put_plain(partition_key, data, explicit_hash_key)
        if taken is False:
            checked = Intake(self.limit, True)
            checked.add(partition_key, data, explicit_hash_key)
            taken = self.append(checked)
            if taken is not None:
                first, _, blocks = taken
                taken = True if blocks is None else new_receipt(<Block>blocks[0], self.register, first)
        if taken is not None and self.asleep:
            self.rouse()
        return taken

    def put_many(self, partition_keys, datas, explicit_hash_keys=None):
        """Take n user records, all or none. ``None`` where there is no room.

        Else returns the number of the first one, how many they are, and the blocks of all where receipts are wanted.
        They are checked apart from what other threads put meanwhile, and follow one another. Raises as
        ``Aggregator.add_many``.
        """
        cdef object keys = sequence_of(partition_keys, "partition keys", "str or bytes")
        cdef object values = sequence_of(datas, "datas", "bytes")
        cdef object explicit = None
        cdef Intake checked = Intake(self.limit, True)
        demand_one_for_one(keys, values, "partition keys and datas")
        if explicit_hash_keys is not None:
            explicit = sequence_of(explicit_hash_keys, "explicit hash keys", "int, str or None")
            demand_one_for_one(keys, explicit, "partition keys and explicit hash keys")
        checked.add_many(keys, values, explicit)
        taken = self.append(checked)
        if taken is not None and self.asleep:
            self.rouse()
        return taken

    def put_arrow(self, ArrowRows rows not None):
        """Take all rows, or none. ``None`` where there is no room; the same rows may be given again then.

        Else returns what ``put_many`` returns. ``buffered`` counts the data of an array until all of its rows are
        settled. Raises as ``Aggregator.add_arrow``.
        """
        taken = self.append(rows.check(self.limit))
        if taken is not None and self.asleep:
            self.rouse()
        return taken

    @cython.critical_section
    cdef object put_plain(self, key, data, explicit):
        """Take what can be checked without running any code of Python's, during which other threads might come in.

        Its receipt, or ``True``; ``False`` for what is not plain, ``None`` where there is no room.
        """
        cdef Intake front
        cdef Block block = None
        if not ((key is None or is_plain_key(<PyObject *>key)) and PyBytes_CheckExact(data) and (
            explicit is None or PyLong_CheckExact(explicit) or PyUnicode_CheckExact(explicit)
        )):
            return False
        if self.register is not None:
            block = self.next_block()
        front = self.front  # from here on nothing is allocated that the cycle collector would look at
        if self.closed or self.buffered >= self.max_buffered:
            return None
        if front.count == 0:
            self.front_since = monotonic()
        front.add(key, data, explicit)
        self.buffered += (
            <Py_ssize_t>front.data_sizes[front.count - 1] + front.keys.sizes[front.count - 1] + (key is None)
            + self.around)
        if block is None:
            return True
        return new_receipt(block, self.register, front.first_token + <uint64_t>front.count - 1)

    cdef Block next_block(self):
        """The block of the next user record. Making one may let other threads in, who make another the next."""
        cdef int64_t number
        cdef Block block
        while True:
            number = <int64_t>(self.front.first_token + <uint64_t>self.front.count) // BLOCK
            if number == self.block_number:
                return self.block
            block = Block()
            if number == <int64_t>(self.front.first_token + <uint64_t>self.front.count) // BLOCK:
                # there may be one: a put_many that found no room was to go beyond it
                self.block, self.block_number = self.blocks.setdefault(number, block), number

    @cython.critical_section
    cdef object append(self, Intake checked):
        """The number of the first one, how many, the blocks of all or ``None``; ``None`` where there is no room."""
        cdef Intake front
        cdef uint64_t first
        cdef Py_ssize_t size = (
            <Py_ssize_t>(checked.size + checked.keys.size) + checked.keyless + self.around * checked.count)
        cdef list blocks = None
        cdef Py_ssize_t count = checked.count
        cdef object taken
        while True:
            first = self.front.first_token + <uint64_t>self.front.count
            if self.register is not None:
                blocks = self.blocks_of(first, count)
            taken = (first, count, blocks)
            if self.front.first_token + <uint64_t>self.front.count == first:
                break
        front = self.front  # from here on nothing is allocated that the cycle collector would look at
        if self.closed or self.buffered >= self.max_buffered:
            return None
        if front.count == 0:
            self.front_since = monotonic()
        front.append(checked)
        self.buffered += size
        return taken

    cdef list blocks_of(self, uint64_t first, Py_ssize_t count):
        """The blocks of user records that are not there yet, made where there is none."""
        cdef list blocks = []
        if count:
            for number in range(<int64_t>first // BLOCK, <int64_t>(first + <uint64_t>count - 1) // BLOCK + 1):
                blocks.append(self.blocks.setdefault(number, Block()))
            self.block, self.block_number = <Block>blocks[-1], number
        return blocks

    cdef int rouse(self) except -1:
        self.asleep = False
        if self.wake is not None:
            self.wake()
        return 0

    # --- the pump's ---

    @cython.critical_section
    def close(self):
        """Take nothing from now on."""
        self.closed = True

    @cython.critical_section
    def settled(self, Py_ssize_t size):
        """So many bytes of what was put are no longer here."""
        self.buffered -= size

    @property
    def waiting(self):
        """How many user records were put since ``gather``."""
        return self.front.count + self.back.count

    @property
    def since(self):
        """When the first of them was put, by ``time.monotonic``; ``None`` without any."""
        if self.back.count:
            return self.back_since
        return self.front_since if self.front.count else None

    @cython.critical_section
    cdef int turn(self) except -1:
        """What was put is the pump's now, and new records go elsewhere."""
        cdef uint64_t following = self.front.first_token + <uint64_t>self.front.count
        self.front, self.back = self.back, self.front
        self.back_since = self.front_since
        self.front.first_token = following
        return 0

    def gather(self):
        """Put what waits into buckets. What memory runs out for waits on, and is first the next time."""
        self.go_on_rerouting()
        if self.back.count == 0:
            self.turn()
        self.router.gather(self.back)

    @property
    def keyless(self):
        """How many user records without a partition key were put since ``gather``."""
        return self.front.keyless + self.back.keyless

    @property
    def wants_places(self):
        """Whether keyless user records have moved on to another bucket since ``place``, or it was never called."""
        return self.router.c.place_count == 0 or self.router.c.places_passed > 0

    def place(self, list hash_keys not None):
        """Say where keyless user records go, when the bucket they go to now is full or was taken: hash keys, in turn.

        Their partition key becomes ``-``, and their explicit hash key the one of their bucket.
        """
        self.router.place(hash_keys)

    def take(self, uint64_t before=0):
        """Return the buckets that are full, and those whose first user record has a lower number than ``before``."""
        self.router.detach_before(before)
        return self.router.hand_over()

    def seal(self, list buckets not None):
        """Return the Kinesis record of each bucket; the buckets keep their user records."""
        return seal_buckets(buckets, self.outputs)

    def lie_in(self, Bucket bucket not None, first, last):
        """Whether the hash keys of all user records of the bucket are in first … last."""
        return lies_in(self.router, bucket, first, last)

    def reroute(self, list buckets not None, ShardTable table not None, max_records=None):
        """Bucket everything for other shards: the user records of these buckets first, in order, then what waits here.

        What becomes of them is taken like all else. Where memory runs out and it ``is_rerouting`` then, ``gather`` and
        ``go_on_rerouting`` go on with the rest. If it is not, nothing has changed.
        """
        cdef Router router
        cdef list rerouting
        cdef Py_ssize_t at = len(buckets)
        self.go_on_rerouting()
        router = self.router_of(table, max_records)
        self.router.detach_before(2**64 - 1)
        rerouting = [*buckets, *[None] * <Py_ssize_t>self.router.c.full.count]
        for bucket in self.router.hand_over():  # which is nowhere else
            rerouting[at] = bucket
            at += 1
        self.router, self.rerouting, self.rerouted = router, rerouting, 0
        self.go_on_rerouting()

    @property
    def is_rerouting(self):
        """Whether memory ran out before everything was routed anew."""
        return self.rerouted < len(self.rerouting)

    def go_on_rerouting(self):
        """Route the rest anew."""
        while self.rerouted < len(self.rerouting):
            self.router.reroute(<Bucket?>self.rerouting[self.rerouted])
            self.rerouted += 1
        self.rerouting, self.rerouted = [], 0


cdef class Inlet:
    """What takes the user records of a ``Producer``: without a frame of Python's, which is a third of a call."""

    cdef public Inbox _inbox  # None until there is one; then that one, to the end

    def put(self, partition_key, data, explicit_hash_key=None, *, timeout=None):
        """Take one user record; returns its receipt, or ``None`` with ``receipts=False``.

        ``None`` for a partition key: the record goes to whatever shard has room, in no order; it gets ``-`` for one.
        Waits for room where the buffer is full, ``timeout`` seconds at most (0: not at all).
        Raises ``InvalidPartitionKeyError``, ``InvalidHashKeyError``, ``RecordTooLargeError`` or ``TypeError`` for what
        can never be sent, ``BufferFullError``, ``ProducerClosedError``; then the record was not taken.
        """
        cdef Inbox inbox = self._inbox
        try:
            taken = None if inbox is None else inbox.put_plain(partition_key, data, explicit_hash_key)
        except RecordTooLargeError:
            taken = False
        if taken is None or taken is False:
            return self._put(partition_key, data, explicit_hash_key, timeout)
        if inbox.asleep:
            inbox.rouse()
        return None if taken is True else taken
