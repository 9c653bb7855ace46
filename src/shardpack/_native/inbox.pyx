"""Where application threads leave user records, and a producer's pump finds them as buckets."""

cimport cython
from cpython.bytes cimport PyBytes_CheckExact
from cpython.long cimport PyLong_CheckExact
from cpython.object cimport PyObject
from libc.stdint cimport UINT32_MAX, int64_t, uint64_t

from .intake cimport Intake
from .keys cimport demand_one_for_one, is_plain_key, sequence_of
from .outputs cimport Outputs
from .router cimport AROUND_ONE, Bucket, Router, lies_in, seal_buckets
from .shard_table cimport ShardTable


cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX
    bint PyUnicode_CheckExact(object)


cdef enum:
    NOT_PLAIN = -3


@cython.final
@cython.no_gc_clear
cdef class Inbox:
    """User records of any thread, numbered as they come, and the buckets of one thread, the pump.

    ``put`` and ``put_many`` may be called from any thread. Everything else is the pump's, one call at a time.
    A user record of more than ``max_record_bytes`` with its partition key is refused; one bucket takes ``max_bytes``
    sealed and ``max_records``.

    ``buffered`` counts the bytes of what was put and not yet said to be ``settled``, each user record with 64 bytes
    more. From ``max_buffered`` on nothing is taken: so it is passed by one call at most. ``wake`` is called, with no
    lock held, by the put that finds the pump ``asleep``.
    """

    cdef Intake front  # what was put since gather() was called last
    cdef Intake back
    cdef Router router
    cdef list rerouting  # buckets of a router before; the first `rerouted` of them are in this one's
    cdef Py_ssize_t rerouted
    cdef Outputs outputs
    cdef readonly Py_ssize_t max_record_bytes
    cdef Py_ssize_t max_bytes
    cdef readonly Py_ssize_t max_buffered
    cdef readonly Py_ssize_t buffered
    cdef public object wake
    cdef public bint asleep

    def __cinit__(
        self, ShardTable table not None, *, Py_ssize_t max_record_bytes, Py_ssize_t max_bytes, max_records=None,
        max_buffered=None, wake=None
    ):
        self.max_buffered = PY_SSIZE_T_MAX if max_buffered is None else max_buffered
        self.wake = wake
        self.max_record_bytes, self.max_bytes = max_record_bytes, max_bytes
        self.front, self.back, self.outputs = Intake(max_record_bytes), Intake(max_record_bytes), Outputs()
        self.rerouting = []
        self.router = Router(table, max_bytes, UINT32_MAX if max_records is None else max_records)

    @property
    def next_token(self):
        """The number of the next user record."""
        return self.front.first_token + <uint64_t>self.front.count

    def put(self, partition_key, data, explicit_hash_key=None):
        """Take one user record. Returns its number, or -1 where there is no room. Raises as ``Aggregator.add``."""
        cdef Intake checked
        cdef int64_t token = self.put_plain(partition_key, data, explicit_hash_key)
        if token == NOT_PLAIN:
            checked = Intake(self.max_record_bytes)
            checked.add(partition_key, data, explicit_hash_key)
            token = self.append(checked)
        if token >= 0 and self.asleep:
            self.rouse()
        return token

    def put_many(self, partition_keys, datas, explicit_hash_keys=None):
        """Take n user records, all or none. Returns the first one's number, or -1 where there is no room.

        They are checked apart from what other threads put meanwhile, and follow one another. Raises as
        ``Aggregator.add_many``.
        """
        cdef object keys = sequence_of(partition_keys, "partition keys", "str or bytes")
        cdef object values = sequence_of(datas, "datas", "bytes")
        cdef object explicit = None
        cdef Intake checked = Intake(self.max_record_bytes)
        cdef int64_t token
        demand_one_for_one(keys, values, "partition keys and datas")
        if explicit_hash_keys is not None:
            explicit = sequence_of(explicit_hash_keys, "explicit hash keys", "int, str or None")
            demand_one_for_one(keys, explicit, "partition keys and explicit hash keys")
        checked.add_many(keys, values, explicit)
        token = self.append(checked)
        if token >= 0 and self.asleep:
            self.rouse()
        return token

    @cython.critical_section
    cdef int64_t put_plain(self, key, data, explicit) except? -2:
        """Take what can be checked without running any code of Python's, during which other threads might come in."""
        cdef Intake front = self.front
        if not (is_plain_key(<PyObject *>key) and PyBytes_CheckExact(data) and (
            explicit is None or PyLong_CheckExact(explicit) or PyUnicode_CheckExact(explicit)
        )):
            return NOT_PLAIN
        if self.buffered >= self.max_buffered:
            return -1
        front.add(key, data, explicit)
        self.buffered += <Py_ssize_t>front.data_sizes[front.count - 1] + front.keys.sizes[front.count - 1] + AROUND_ONE
        return <int64_t>front.first_token + front.count - 1

    @cython.critical_section
    cdef int64_t append(self, Intake checked) except? -2:
        cdef Intake front = self.front
        cdef int64_t first = <int64_t>front.first_token + front.count
        cdef Py_ssize_t size = <Py_ssize_t>(checked.size + checked.keys.size) + AROUND_ONE * checked.count
        if self.buffered >= self.max_buffered:
            return -1
        front.append(checked)
        self.buffered += size
        return first

    cdef int rouse(self) except -1:
        self.asleep = False
        if self.wake is not None:
            self.wake()
        return 0

    # --- the pump's ---

    @cython.critical_section
    def settled(self, Py_ssize_t size):
        """So many bytes of what was put are no longer here."""
        self.buffered -= size

    @property
    def waiting(self):
        """How many user records were put since ``gather``."""
        return self.front.count + self.back.count

    @cython.critical_section
    cdef int turn(self) except -1:
        """What was put is the pump's now, and new records go elsewhere."""
        cdef uint64_t following = self.front.first_token + <uint64_t>self.front.count
        self.front, self.back = self.back, self.front
        self.front.first_token = following
        return 0

    def gather(self):
        """Put what waits into buckets. What memory runs out for waits on, and is first the next time."""
        self.go_on_rerouting()
        if self.back.count == 0:
            self.turn()
        self.router.gather(self.back)

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

        What becomes of them is taken like all else. Where memory runs out, ``gather`` goes on with the rest.
        """
        cdef Router router = Router(table, self.max_bytes, UINT32_MAX if max_records is None else max_records)
        self.rerouting = [*buckets, *self.take(2**64 - 1), *self.rerouting[self.rerouted:]]
        self.router, self.rerouted = router, 0
        self.go_on_rerouting()

    cdef int go_on_rerouting(self) except -1:
        while self.rerouted < len(self.rerouting):
            self.router.reroute(<Bucket?>self.rerouting[self.rerouted])
            self.rerouted += 1
        self.rerouting, self.rerouted = [], 0
        return 0
