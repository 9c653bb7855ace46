"""Where application threads leave user records, and a producer's pump finds them as buckets."""

cimport cython
from libc.stdint cimport UINT32_MAX, uint64_t

from .intake cimport Intake
from .keys cimport demand_one_for_one, sequence_of
from .outputs cimport Outputs
from .router cimport Bucket, Router, lies_in, seal_buckets
from .shard_table cimport ShardTable


@cython.final
@cython.no_gc_clear
cdef class Inbox:
    """User records of any thread, numbered as they come, and the buckets of one thread, the pump.

    ``put`` and ``put_many`` may be called from any thread. Everything else is the pump's, one call at a time.
    A user record of more than ``max_record_bytes`` with its partition key is refused; one bucket takes ``max_bytes``
    sealed and ``max_records``. What it holds is what was put and not taken: to bound that is the caller's.
    """

    cdef Intake front  # what was put since gather() was called last
    cdef Intake back
    cdef Router router
    cdef list rerouting  # buckets of a router before; the first `rerouted` of them are in this one's
    cdef Py_ssize_t rerouted
    cdef Outputs outputs
    cdef readonly Py_ssize_t max_record_bytes
    cdef Py_ssize_t max_bytes

    def __cinit__(
        self, ShardTable table not None, *, Py_ssize_t max_record_bytes, Py_ssize_t max_bytes, max_records=None
    ):
        self.max_record_bytes, self.max_bytes = max_record_bytes, max_bytes
        self.front, self.back, self.outputs = Intake(max_record_bytes), Intake(max_record_bytes), Outputs()
        self.rerouting = []
        self.router = Router(table, max_bytes, UINT32_MAX if max_records is None else max_records)

    @property
    def next_token(self):
        """The number of the next user record."""
        return self.front.first_token + <uint64_t>self.front.count

    @cython.critical_section
    def put(self, partition_key, data, explicit_hash_key=None):
        """Take one user record. Returns its size in bytes: key and data. Raises as ``Aggregator.add``."""
        cdef size_t before = self.front.size + self.front.keys.size
        self.front.add(partition_key, data, explicit_hash_key)
        return self.front.size + self.front.keys.size - before

    def put_many(self, partition_keys, datas, explicit_hash_keys=None):
        """Take n user records, all or none. Returns the first one's number and their size. As ``Aggregator.add_many``.

        They are checked apart from what other threads put meanwhile, and follow one another.
        """
        cdef object keys = sequence_of(partition_keys, "partition keys", "str or bytes")
        cdef object values = sequence_of(datas, "datas", "bytes")
        cdef object explicit = None
        cdef Intake checked = Intake(self.max_record_bytes)
        demand_one_for_one(keys, values, "partition keys and datas")
        if explicit_hash_keys is not None:
            explicit = sequence_of(explicit_hash_keys, "explicit hash keys", "int, str or None")
            demand_one_for_one(keys, explicit, "partition keys and explicit hash keys")
        checked.add_many(keys, values, explicit)
        return self.append(checked)

    @cython.critical_section
    cdef tuple append(self, Intake checked):
        cdef uint64_t first = self.front.first_token + <uint64_t>self.front.count
        cdef size_t size = checked.size + checked.keys.size
        self.front.append(checked)
        return first, size

    # --- the pump's ---

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
