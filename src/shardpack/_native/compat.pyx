"""The inner loops of compat/aws_kinesis_agg: user records as dictionaries, and a message that grows by user records."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

from .deaggregate cimport (
    SP_NO_INDEX, PyGC_Disable, PyGC_Enable, ReceivedRecord, index_all, index_malformed, sp_span, sp_span_of,
    sp_wire_record, to_bytes,
)
from .keys cimport sp_slice

from collections import deque

from pybase64 import b64encode


cdef extern from "aggregate.h" nogil:
    enum: SP_TAG_PARTITION_KEY
    enum: SP_TAG_EXPLICIT_HASH_KEY
    size_t sp_field_size(size_t content_size)
    uint8_t *sp_field_write(uint8_t *out, uint8_t tag, sp_slice content)
    size_t sp_record_content_size(size_t data_size, uint32_t key_index, uint32_t explicit_index)
    uint8_t *sp_record_write(
        uint8_t *out, size_t content_size, sp_slice data, uint32_t key_index, uint32_t explicit_index)
    size_t sp_aggregate_size_of_one(size_t key_size, size_t digits, size_t data_size)


cdef enum:
    # Bytes of data encoded by one call, unless one user record has more: calls cost what some kB do, and what they read
    # and write stays in the cache.
    ENCODE_BATCH = 24 * 1024
    # Python gives an arena (1 MiB) back to the system when the last object in it goes, and fresh memory costs nearly as
    # much as all else here. So a small object is kept among so many user records, which take 100 to 200 kB of arenas:
    # callers who drop one list before the next have its memory again, as has everything else in the process. That keeps
    # some 32 MiB.
    KEEP_EVERY = 256
    MOST_KEPT = 256
    MOST_NUMBERS = 8192
    MOST_SHARED = 64

cdef list NUMBERS = list(range(MOST_NUMBERS))  # sub-sequence numbers, which are the same in every Kinesis record
cdef dict SHARED = {}  # names of fields: a dictionary of them whose copies share its table of names
cdef object KEPT = deque(maxlen=MOST_KEPT)
cdef tuple OF_EVERY_USER_RECORD = ("kinesisSchemaVersion", "sequenceNumber", "approximateArrivalTimestamp")


def index_received(list received not None):
    """Find out which of these Kinesis records are aggregated and what they hold: checksums together."""
    index_all(received)


@cython.final
cdef class Template:
    """An aggregated record, and the dictionaries that its user records are copies of."""

    cdef ReceivedRecord received
    cdef dict envelope
    cdef dict kinesis


def template_of(ReceivedRecord received not None):
    """Return what the user records of an indexed Kinesis record share, whose ``source`` is in Lambda's shape.

    None where it is not aggregated. An index outside its table raises the ``MalformedRecordError`` that tells where.
    """
    cdef Template template
    cdef dict envelope = {"kinesis": None}
    cdef dict kinesis = {}
    cdef object name, value
    if not received.aggregated:
        if received.fault is None:
            return None
        if not references_hold(received):
            raise received.error
    inner = received.source["kinesis"]
    for name in OF_EVERY_USER_RECORD:
        if name in inner:
            kinesis[name] = inner[name]
    kinesis["explicitHashKey"] = kinesis["partitionKey"] = kinesis["subSequenceNumber"] = None
    kinesis["aggregated"] = True
    kinesis["data"] = None
    if "recordId" in inner:
        kinesis["recordId"] = inner["recordId"]
    for name, value in received.source.items():
        if name != "kinesis" and name != "data":
            envelope[name] = value
    template = Template.__new__(Template)
    template.received = received
    template.envelope = sharing(envelope)
    template.kinesis = sharing(kinesis)
    return template


def append_user_records(list parts not None, list out not None):
    """Append the user records of each template, and whatever else is among the parts as it is.

    The cycle collector rests meanwhile: it would go through all that is there already, again and again, and find that
    dictionaries by the million hold no cycle. No other code runs while it rests.
    """
    cdef bint collecting = PyGC_Disable()
    try:
        for part in parts:
            if type(part) is Template:
                build(part, out, &collecting)
            else:
                out.append(part)
    finally:
        if collecting:
            PyGC_Enable()


cdef dict sharing(dict fields):
    """The same fields in a dictionary whose copies share its table of names, as instances of a class do (PEP 412).

    They take half the memory of others. Where the interpreter has it otherwise, they are dictionaries all the same.
    """
    cdef tuple names = tuple(fields)
    cdef dict shared = SHARED.get(names)
    if shared is None:
        if len(SHARED) == MOST_SHARED or not all(type(name) is str and not name.startswith("__") for name in names):
            return fields
        kind = type("Fields", (), {})
        for _ in range(64):  # the interpreter cuts the room for more names with each instance
            instance = kind()
            for name in names:
                setattr(instance, name, None)
        shared = SHARED[names] = vars(instance)
    shared = shared.copy()
    shared.update(fields)
    return shared


cdef bint references_hold(ReceivedRecord received) except -1:
    """Index a malformed record again: are only its explicit hash keys odd? Those are passed on as they are."""
    cdef const sp_wire_record *wire
    cdef uint32_t i
    index_malformed(received)
    for i in range(received.walk.found.records):
        wire = &received.records[i]
        if wire.partition_key_index >= received.walk.found.partition_keys:
            return False
        if wire.explicit_hash_key_index == SP_NO_INDEX or received.walk.found.explicit_hash_keys == 0:
            continue
        if wire.explicit_hash_key_index >= received.walk.found.explicit_hash_keys:
            return False
    return True


@cython.boundscheck(False)  # indices were checked against their tables
@cython.wraparound(False)
cdef int build(Template template, list out, bint *collecting) except -1:
    """Copy both dictionaries for each user record, its own fields filled in."""
    cdef ReceivedRecord received = template.received
    cdef dict envelope = template.envelope, kinesis = template.kinesis
    cdef list partition_keys = texts(received, received.walk.partition_keys, received.walk.found.partition_keys)
    cdef list explicit_hash_keys = texts(
        received, received.walk.explicit_hash_keys, received.walk.found.explicit_hash_keys)
    cdef list numbers = NUMBERS
    cdef bint has_explicit_hash_keys = len(explicit_hash_keys) > 0
    cdef const sp_wire_record *wire
    cdef const char *encoded
    cdef bytes batch
    cdef Py_ssize_t start = 0, end, i
    cdef size_t size
    while start < received.walk.found.records:
        end = batch_end(received, start, &size)
        if collecting[0]:  # other threads may run
            PyGC_Enable()
        batch = b64encode(aligned(received, start, end, size))
        collecting[0] = PyGC_Disable()
        encoded = PyBytes_AS_STRING(batch)
        for i in range(start, end):
            wire = &received.records[i]
            kinesis["partitionKey"] = partition_keys[<Py_ssize_t>wire.partition_key_index]
            if has_explicit_hash_keys:
                kinesis["explicitHashKey"] = (
                    None if wire.explicit_hash_key_index == SP_NO_INDEX
                    else explicit_hash_keys[<Py_ssize_t>wire.explicit_hash_key_index])
            kinesis["subSequenceNumber"] = numbers[i] if i < MOST_NUMBERS else i
            kinesis["data"] = cut(&encoded, sp_span_of(received.walk.message, wire.data).size)
            envelope["kinesis"] = kinesis.copy()
            out.append(envelope.copy())
            if len(out) % KEEP_EVERY == 0:
                KEPT.append(PyBytes_FromStringAndSize(NULL, 128))
        start = end
    return 0


cdef list texts(ReceivedRecord received, const sp_span *spans, uint32_t count):
    """A key table as protobuf gives it to Python: bytes where they are not UTF-8."""
    cdef list out = []
    cdef sp_slice view
    while <uint32_t>len(out) < count:
        try:
            while <uint32_t>len(out) < count:
                view = sp_span_of(received.walk.message, spans[len(out)])
                out.append(PyUnicode_DecodeUTF8(<const char *>view.data, <Py_ssize_t>view.size, NULL))
        except UnicodeDecodeError:
            out.append(to_bytes(view))
    return out


# --- base64 of many payloads in one call ---
#
# Base64 turns 3 bytes into 4 characters. Payloads behind one another, each filled up with zeros to a multiple of 3,
# encode to their own base64 behind one another, but for the padding: as many "=" for the last characters as zeros.


cdef uint32_t batch_end(ReceivedRecord received, uint32_t start, size_t *size) noexcept nogil:
    """Where the user records end that are encoded together, and how many bytes they fill."""
    cdef size_t more
    size[0] = 0
    while start < received.walk.found.records:
        more = (sp_span_of(received.walk.message, received.records[start].data).size + 2) // 3 * 3
        if size[0] + more > ENCODE_BATCH and size[0]:
            break
        size[0] += more
        start += 1
    return start


cdef bytes aligned(ReceivedRecord received, uint32_t start, uint32_t end, size_t size):
    """The data of these user records, each filled up with zeros to a multiple of 3."""
    cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
    cdef char *at = PyBytes_AS_STRING(out)
    cdef size_t zeros
    cdef sp_slice data
    cdef uint32_t i
    for i in range(start, end):
        data = sp_span_of(received.walk.message, received.records[i].data)
        memcpy(at, data.data, data.size)
        at += data.size
        zeros = (3 - data.size % 3) % 3
        memset(at, 0, zeros)
        at += zeros
    return out


cdef inline bytes cut(const char **encoded, size_t size):
    """The base64 of the next payload, of ``size`` bytes."""
    cdef size_t groups = (size + 2) // 3
    cdef bytes out = PyBytes_FromStringAndSize(encoded[0], <Py_ssize_t>(4 * groups))
    cdef char *end = PyBytes_AS_STRING(out) + 4 * groups
    if 3 * groups > size:
        end[-1] = c"="
        if 3 * groups > size + 1:
            end[-2] = c"="
    encoded[0] += 4 * groups
    return out


# --- the aggregated record that grows ---


@cython.final
cdef class GrowingMessage:
    """The message of an aggregated record, as far as it goes: its fields, encoded, by section; and its size."""

    cdef list partition_keys
    cdef list explicit_hash_keys
    cdef list records
    cdef readonly Py_ssize_t size

    def __init__(self, partition_keys=(), explicit_hash_keys=(), records=()):
        self.partition_keys = list(partition_keys)
        self.explicit_hash_keys = list(explicit_hash_keys)
        self.records = list(records)
        self.size = sum(map(len, self.fields()))

    def fields(self):
        """All fields, in order."""
        return self.partition_keys + self.explicit_hash_keys + self.records

    def __deepcopy__(self, memo):
        return GrowingMessage(self.partition_keys, self.explicit_hash_keys, self.records)

    def __reduce__(self):
        return GrowingMessage, (self.partition_keys, self.explicit_hash_keys, self.records)

    def add(
        self, bytes data not None, bytes key not None, uint32_t key_index, bint is_new_key, bytes hash_key=None,
        uint32_t hash_key_index=0, bint is_new_hash_key=False, *, Py_ssize_t max_size
    ):
        """Add a user record, whose keys are in the tables or come next there, unless that would pass ``max_size``."""
        cdef uint32_t hash_index = SP_NO_INDEX if hash_key is None else hash_key_index
        cdef size_t content_size = sp_record_content_size(<size_t>len(data), key_index, hash_index)
        cdef size_t size = sp_field_size(content_size)
        cdef bytes record
        if is_new_key:
            size += sp_field_size(<size_t>len(key))
        if is_new_hash_key:
            size += sp_field_size(<size_t>len(hash_key))
        if self.size + <Py_ssize_t>size > max_size:
            return False
        if is_new_key:
            self.partition_keys.append(encoded_field(SP_TAG_PARTITION_KEY, key))
        if is_new_hash_key:
            self.explicit_hash_keys.append(encoded_field(SP_TAG_EXPLICIT_HASH_KEY, hash_key))
        record = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>sp_field_size(content_size))
        sp_record_write(<uint8_t *>PyBytes_AS_STRING(record), content_size, view(data), key_index, hash_index)
        self.records.append(record)
        self.size += <Py_ssize_t>size
        return True


def size_of_one(bytes key not None, bytes hash_key, bytes data not None):
    """The size of an aggregated record of one user record."""
    cdef size_t hash_key_size = 0 if hash_key is None else <size_t>len(hash_key)
    return sp_aggregate_size_of_one(<size_t>len(key), hash_key_size, <size_t>len(data))


cdef inline sp_slice view(bytes content) noexcept:
    cdef sp_slice out
    out.data = <const uint8_t *>PyBytes_AS_STRING(content)
    out.size = <size_t>PyBytes_GET_SIZE(content)
    return out


cdef bytes encoded_field(uint8_t tag, bytes content):
    cdef bytes field = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>sp_field_size(<size_t>len(content)))
    sp_field_write(<uint8_t *>PyBytes_AS_STRING(field), tag, view(content))
    return field
