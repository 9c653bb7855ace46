"""Receipts of user records, made by the million: each knows its number, and the block where its outcome will be."""

cimport cython
from cpython cimport array
from libc.stdint cimport uint64_t

from bisect import bisect_left


cdef class Index:
    """Where in a block to find the outcome of each user record, as far as it was looked at: 24 KiB."""

    def __cinit__(self):
        self.settled = []

    cdef int look_at(self, list settled, uint64_t first) except -1:
        """Note what was settled since, of the user records from the first one of the block on."""
        cdef array.array tokens  # not a memoryview: its code alone would be a tenth of the extension file
        cdef Py_ssize_t start, i, seen
        while self.seen < len(settled):
            seen = self.seen
            each = settled[seen]
            tokens = each.tokens
            start = bisect_left(tokens, first)
            if self.seen != seen:  # by another thread, meanwhile
                continue
            self.settled.append(each)
            for i in range(start, len(tokens)):
                if tokens.data.as_ulonglongs[i] - first >= BLOCK:
                    break
                self.places[tokens.data.as_ulonglongs[i] - first] = <uint32_t>i
                self.which[tokens.data.as_ulonglongs[i] - first] = <uint16_t>len(self.settled)
            self.seen += 1
        return 0


@cython.final
cdef class Block:
    """The outcomes of 4,096 user records in a row, as far as they are there.

    ``settled`` has objects with the ``settlement`` of a Kinesis record and the ``tokens`` of its user records.
    """

    def __cinit__(self):
        self.settled = []

    def find(self, uint64_t token):
        """Return a user record's settlement and its place in the Kinesis record; ``None`` while there is none."""
        cdef Index index = self.index
        cdef uint64_t offset = token % BLOCK
        if index is None:
            index = self.index = Index()
        index.look_at(self.settled, token - offset)
        if index.which[offset] == 0:
            return None
        return index.settled[index.which[offset] - 1].settlement, index.places[offset]

    def take_back(self, settled):
        """A Kinesis record has no outcome after all."""
        self.settled.remove(settled)
        self.index = None


@cython.final
@cython.no_gc  # what it refers to does not refer to it
cdef class Receipt:
    """The outcome of one user record: asked for, waited for, or awaited.

    ``result`` and ``await`` give an ``Outcome``, or raise ``DeliveryError`` (``RecordExpiredError`` where its time was
    over), whose ``maybe_stored`` says whether the record may be stored all the same.
    """

    def __init__(self):
        raise TypeError("receipts are what Producer.put returns")

    def done(self):
        """Whether there is an outcome, of whatever kind."""
        return self.block.find(self.token) is not None

    def result(self, timeout=None):
        """Wait for the outcome. Raises ``TimeoutError`` when there is none after so many seconds."""
        return self.register.wait(self.block, self.token, timeout)

    def __await__(self):
        return self.register.wait_in_loop(self.block, self.token).__await__()


cdef Receipt new_receipt(Block block, object register, uint64_t token):
    cdef Receipt receipt = Receipt.__new__(Receipt)
    receipt.block, receipt.register, receipt.token = block, register, token
    return receipt


def receipt_of(Block block not None, register, uint64_t token):
    """Return the receipt of a user record of a block."""
    return new_receipt(block, register, token)
