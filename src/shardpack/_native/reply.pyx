"""Bodies of GetRecords responses in, Kinesis records out; and what an installed client makes of those.

What is read, and what is left to botocore, is csrc/reply.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Copy
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy

from .base64 cimport base64_decode
from .collector cimport rest_collector, wake_collector
from .deaggregate cimport (
    SP_NO_INDEX, ReceivedRecord, SharedMemory, index_all, kinesis_records, record_in_memory,
    sp_contents, sp_span_of, sp_wire_record,
)
from .keys cimport SHORT_WORK, sp_slice
from .large_blocks cimport LARGEST_EXPECTED, sp_expect_large_blocks
from .made_inside cimport made_inside
from .slices cimport bytes_of_slice, slice_of_bytes


cdef enum:
    BODY_BYTES_A_NANOSECOND = 8  # base64 and all
    LARGE_BODY = 1024 * 1024


cdef extern from "reply.h" nogil:
    ctypedef struct sp_place:
        pass
    ctypedef struct sp_reply_record:
        sp_place data
        sp_place partition_key
        sp_place sequence_number
        sp_place encryption_type
        sp_place arrival
    ctypedef struct sp_reply:
        sp_reply_record *records
        size_t count
        size_t array_start
        size_t array_end
    ctypedef enum sp_reply_outcome:
        SP_REPLY_READ
        SP_REPLY_FOREIGN
        SP_REPLY_NO_MEMORY
    ctypedef size_t sp_base64_decode_fn(const uint8_t *text, size_t n, uint8_t *out) noexcept nogil
    sp_reply_outcome sp_reply_read(sp_slice body, sp_base64_decode_fn *decode, sp_reply *reply)
    void sp_reply_free(sp_reply *reply)
    sp_slice sp_reply_slice(const sp_reply *reply, sp_place place)


cdef extern from "epoch_seconds.h" nogil:
    int64_t sp_epoch_microseconds(sp_slice number)


@cython.final
@cython.no_gc_clear  # as a Kinesis record, which holds it
cdef class Reply(SharedMemory):
    """The Kinesis records of one response, their data and texts in one piece of memory."""

    cdef sp_reply reply
    cdef object make_origin
    cdef object moment_of

    def __dealloc__(self):
        sp_reply_free(&self.reply)

    cdef object text_at(self, sp_place place):
        cdef sp_slice text = sp_reply_slice(&self.reply, place)
        if text.data == NULL:
            return None
        return PyUnicode_DecodeUTF8(<const char *>text.data, <Py_ssize_t>text.size, NULL)

    cdef object source_of(self, ReceivedRecord record):
        """The dictionary that botocore would have made; its members in the order of the service's model."""
        cdef const sp_reply_record *found = &self.reply.records[record.place]
        cdef dict source = {}
        sequence_number, arrival = self.text_at(found.sequence_number), self.text_at(found.arrival)
        partition_key, encryption_type = self.text_at(found.partition_key), self.text_at(found.encryption_type)
        if sequence_number is not None:
            source["SequenceNumber"] = sequence_number
        if arrival is not None:
            source["ApproximateArrivalTimestamp"] = self.moment_of(arrival)
        source["Data"] = record.data
        if partition_key is not None:
            source["PartitionKey"] = partition_key
        if encryption_type is not None:
            source["EncryptionType"] = encryption_type
        return source

    cdef object origin_of(self, ReceivedRecord record):
        cdef const sp_reply_record *found = &self.reply.records[record.place]
        return self.make_origin(
            self.text_at(found.partition_key), self.text_at(found.sequence_number), self.text_at(found.arrival),
            None, self.text_at(found.encryption_type))

    cdef int64_t arrival_of(self, ReceivedRecord record) noexcept:
        return sp_epoch_microseconds(sp_reply_slice(&self.reply, self.reply.records[record.place].arrival))


made_inside(Reply)


def records_of_body(bytes body not None, make_origin, moment_of):
    """The Kinesis records of the body of a GetRecords response, and the body without them.

    They come with the origins that ``make_origin`` makes of what ``Origin`` takes, and in their sources the times that
    ``moment_of`` makes of the text of a number. None where the body is not as the service writes it: that is left to
    botocore.
    """
    cdef Reply reply = Reply.__new__(Reply)
    cdef sp_slice text = slice_of_bytes(body)
    cdef sp_reply_outcome outcome
    cdef list received
    cdef size_t i
    reply.make_origin, reply.moment_of = make_origin, moment_of
    if text.size >= LARGE_BODY:
        sp_expect_large_blocks(LARGEST_EXPECTED)
    if text.size // BODY_BYTES_A_NANOSECOND >= SHORT_WORK:
        with nogil:
            outcome = sp_reply_read(text, base64_decode, &reply.reply)
    else:
        outcome = sp_reply_read(text, base64_decode, &reply.reply)
    if outcome == SP_REPLY_NO_MEMORY:
        raise MemoryError
    if outcome == SP_REPLY_FOREIGN:
        return None
    received = [None] * <Py_ssize_t>reply.reply.count
    for i in range(reply.reply.count):
        received[i] = record_in_memory(
            reply, <Py_ssize_t>i, sp_reply_slice(&reply.reply, reply.reply.records[i].data))
    return received, without_records(body, reply.reply.array_start, reply.reply.array_end)


cdef bytes without_records(bytes body, size_t start, size_t end):
    """The body with an empty array in the place of the one that was read."""
    cdef size_t size = <size_t>PyBytes_GET_SIZE(body)
    cdef bytes rest = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(start + 2 + size - end))
    cdef char *out = PyBytes_AS_STRING(rest)
    memcpy(out, PyBytes_AS_STRING(body), start)
    memcpy(out + start, b"[]", 2)
    memcpy(out + start + 2, PyBytes_AS_STRING(body) + end, size - end)
    return rest


# --- user records in the shape of Kinesis records ---


def user_record_dictionaries(list received not None):
    """A dictionary for each user record: that of its Kinesis record, with what is its own.

    ``received`` are records of GetRecords or SubscribeToShard.
    """
    cdef tuple held = kinesis_records(received)
    cdef ReceivedRecord record
    cdef list out = []
    cdef bint was_awake
    index_all(held)
    for record in held:
        template = dict(record.source)
        if record.is_aggregated():
            template.update(Aggregated=True, SubSequenceNumber=0)
            template.update(Data=b"", PartitionKey="")  # in their place, if they have one
            was_awake = rest_collector()
            try:
                append_dictionaries(record, template, out)
            finally:
                wake_collector(was_awake)
        else:
            out.append(whole_record_dictionary(record, template))
    return out


cdef dict whole_record_dictionary(ReceivedRecord record, dict dictionary):
    dictionary["Aggregated"] = record.deaggregated
    dictionary["SubSequenceNumber"] = record.origin.sub_sequence_number if record.memory is None else 0
    if not record.deaggregated and record.error is not None:
        dictionary["Error"] = str(record.error)
    return dictionary


cdef int append_dictionaries(ReceivedRecord record, dict template, list out) except -1:
    cdef const sp_contents *contents = record.contents()
    cdef const sp_wire_record *wire
    cdef dict dictionary
    cdef Py_ssize_t i
    for i in range(contents.walk.found.records):
        wire = &contents.records[i]
        dictionary = PyDict_Copy(template)
        dictionary["Data"] = bytes_of_slice(sp_span_of(contents.walk.message, wire.data))
        dictionary["PartitionKey"] = record.partition_key_at(wire.partition_key_index)
        dictionary["SubSequenceNumber"] = i
        if wire.explicit_hash_key_index != SP_NO_INDEX:
            dictionary["ExplicitHashKey"] = record.explicit_hash_key_at(wire.explicit_hash_key_index)
        out.append(dictionary)
    return 0
