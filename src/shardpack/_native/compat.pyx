"""The inner loops of compat/aws_kinesis_agg: user records as dictionaries, and a message that grows by user records."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

from .collector cimport rest_collector, wake_collector
from .deaggregate cimport (
    SP_MALFORMED, SP_NO_INDEX, ReceivedRecord, free_contents, index_all, kinesis_records, read_unverified,
    room_for_contents, sp_contents, sp_span, sp_span_of, sp_wire_record,
)
from .keys cimport sp_slice
from .made_inside cimport made_inside
from .slices cimport bytes_of_slice, slice_of_bytes

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


# What is unusual below is there for what it saves of the benchmark "drop-in, from events of Lambda", records of 100 B,
# CPython 3.11. Without each, it takes so many times as long: the collector's rest 2.1, KEPT 1.2, SHARED 1.2 (and twice
# the memory), one call for many payloads 1.3.

cdef enum:
    # Bytes of data encoded by one call, unless one user record has more: calls cost what some kB do, and what they read
    # and write stays in the cache.
    ENCODE_BATCH = 24 * 1024
    # Python gives an arena (1 MiB) back to the system when the last object in it goes, and fresh memory costs nearly as
    # much as all else here. So a small object is kept among so many user records, which take 100 to 200 kB of arenas:
    # callers who drop one list before the next have its memory again, as has everything else in the process. That keeps
    # some 32 MiB; never more than an arena for each object that is kept. Nobody else sees these objects, and no code
    # runs when one goes.
    KEEP_EVERY = 256
    MOST_KEPT = 256
    MOST_SHARED = 64
    MOST_NAMES = 30  # as many as the interpreter shares

# Names of fields: a dictionary of them whose copies share its table of names. It is never changed, only copied.
cdef dict SHARED = {}
cdef object KEPT = deque(maxlen=MOST_KEPT)
cdef tuple OF_EVERY_USER_RECORD = ("kinesisSchemaVersion", "sequenceNumber", "approximateArrivalTimestamp")


def index_received(list received not None):
    """Find out which of these Kinesis records are aggregated and what they hold: checksums together."""
    index_all(kinesis_records(received))


@cython.final
@cython.no_gc_clear  # a cycle goes through what the dictionaries hold
cdef class Template:
    """An aggregated record, and the dictionaries that its user records are copies of."""

    cdef ReceivedRecord received
    cdef sp_contents *odd_contents  # of a record that is malformed to all other readers
    cdef dict envelope
    cdef dict kinesis

    def __dealloc__(self):
        free_contents(self.odd_contents, 1)

    cdef const sp_contents *contents(self) noexcept:
        return self.received.contents() if self.odd_contents == NULL else self.odd_contents


made_inside(Template)


def template_of(ReceivedRecord received not None):
    """Return what the user records of an indexed Kinesis record share, whose ``source`` is in Lambda's shape.

    None where it is not aggregated. An index outside its table raises the ``MalformedRecordError`` that tells where.
    """
    cdef Template template = Template.__new__(Template)
    cdef dict envelope = {"kinesis": None}
    cdef dict kinesis = {}
    cdef object name, value
    template.received = received
    if not received.is_aggregated():
        error = received.error
        if error is None:
            return None
        template.odd_contents = room_for_contents(1)
        if not read_unverified(received, template.odd_contents) or template.odd_contents.kind != SP_MALFORMED:
            raise error
        if not references_hold(template.odd_contents):
            raise error
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
    template.envelope = sharing(envelope)
    template.kinesis = sharing(kinesis)
    return template


def append_user_records(list parts not None, list out not None):
    """Append the user records of each template, and whatever else is among the parts as it is."""
    cdef tuple held = tuple(parts)
    cdef bint was_awake = rest_collector()  # dictionaries by the million hold no cycle
    try:
        for part in held:
            if type(part) is Template:
                build(<Template>part, out, &was_awake)
            else:
                out.append(part)
    finally:
        wake_collector(was_awake)


cdef dict sharing(dict fields):
    """The same fields in a dictionary whose copies share its table of names, as instances of a class do (PEP 412).

    They take half the memory of others. Sharing is the interpreter's own affair, done with its public means: where it
    has it otherwise, they are dictionaries all the same.
    """
    cdef tuple names = tuple(fields)
    cdef dict shared = SHARED.get(names)
    if shared is None:
        if len(SHARED) >= MOST_SHARED or len(names) > MOST_NAMES:
            return fields
        if not all(type(name) is str and not name.startswith("__") for name in names):
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


cdef bint references_hold(const sp_contents *contents) noexcept:
    """Are only the explicit hash keys of a malformed record odd? Those are passed on as they are."""
    cdef const sp_wire_record *wire
    cdef uint32_t i
    for i in range(contents.walk.found.records):
        wire = &contents.records[i]
        if wire.partition_key_index >= contents.walk.found.partition_keys:
            return False
        if wire.explicit_hash_key_index == SP_NO_INDEX or contents.walk.found.explicit_hash_keys == 0:
            continue
        if wire.explicit_hash_key_index >= contents.walk.found.explicit_hash_keys:
            return False
    return True


cdef int build(Template template, list out, bint *was_awake) except -1:
    """Copy both dictionaries for each user record, its own fields filled in.

    They are this call's own copies: another thread may be at the same template.
    """
    cdef const sp_contents *contents = template.contents()
    cdef dict envelope = template.envelope.copy(), kinesis = template.kinesis.copy()
    cdef list partition_keys = texts(contents, contents.walk.partition_keys, contents.walk.found.partition_keys)
    cdef list explicit_hash_keys = texts(
        contents, contents.walk.explicit_hash_keys, contents.walk.found.explicit_hash_keys)
    cdef uint32_t start = 0, end
    cdef size_t size
    cdef bytes batch
    while start < contents.walk.found.records:
        end = batch_end(contents, start, &size)
        wake_collector(was_awake[0])  # for that is not our code
        batch = b64encode(aligned(contents, start, end, size))
        was_awake[0] = rest_collector()
        if len(batch) != <Py_ssize_t>(size // 3 * 4):
            raise ValueError(f"{size} bytes have base64 of {size // 3 * 4} characters, not of {len(batch)}")
        build_batch(contents, start, end, batch, envelope, kinesis, partition_keys, explicit_hash_keys, out)
        start = end
    return 0


@cython.boundscheck(False)  # indices were checked against their tables
@cython.wraparound(False)
cdef int build_batch(
    const sp_contents *contents, uint32_t start, uint32_t end, bytes batch, dict envelope, dict kinesis,
    list partition_keys, list explicit_hash_keys, list out
) except -1:
    cdef bint has_explicit_hash_keys = len(explicit_hash_keys) > 0
    cdef const char *encoded = PyBytes_AS_STRING(batch)
    cdef const sp_wire_record *wire
    cdef uint32_t i
    for i in range(start, end):
        wire = &contents.records[i]
        kinesis["partitionKey"] = partition_keys[<Py_ssize_t>wire.partition_key_index]
        if has_explicit_hash_keys:
            kinesis["explicitHashKey"] = (
                None if wire.explicit_hash_key_index == SP_NO_INDEX
                else explicit_hash_keys[<Py_ssize_t>wire.explicit_hash_key_index])
        kinesis["subSequenceNumber"] = i
        kinesis["data"] = cut(&encoded, sp_span_of(contents.walk.message, wire.data).size)
        envelope["kinesis"] = kinesis.copy()
        out.append(envelope.copy())
        if len(out) % KEEP_EVERY == 0:
            KEPT.append(PyBytes_FromStringAndSize(NULL, 128))
    return 0


cdef list texts(const sp_contents *contents, const sp_span *spans, uint32_t count):
    """A key table as protobuf gives it to Python: bytes where they are not UTF-8."""
    cdef list out = []
    cdef sp_slice view
    while <uint32_t>len(out) < count:
        try:
            while <uint32_t>len(out) < count:
                view = sp_span_of(contents.walk.message, spans[len(out)])
                out.append(PyUnicode_DecodeUTF8(<const char *>view.data, <Py_ssize_t>view.size, NULL))
        except UnicodeDecodeError:
            out.append(bytes_of_slice(view))
    return out


# --- base64 of many payloads in one call ---
#
# Base64 turns 3 bytes into 4 characters. Payloads behind one another, each filled up with zeros to a multiple of 3,
# encode to their own base64 behind one another, but for the padding: as many "=" for the last characters as zeros.


cdef uint32_t batch_end(const sp_contents *contents, uint32_t start, size_t *size) noexcept nogil:
    """Where the user records end that are encoded together, and how many bytes they fill."""
    cdef size_t more
    size[0] = 0
    while start < contents.walk.found.records:
        more = (sp_span_of(contents.walk.message, contents.records[start].data).size + 2) // 3 * 3
        if size[0] + more > ENCODE_BATCH and size[0]:
            break
        size[0] += more
        start += 1
    return start


cdef bytes aligned(const sp_contents *contents, uint32_t start, uint32_t end, size_t size):
    """The data of these user records, each filled up with zeros to a multiple of 3."""
    cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
    cdef char *at = PyBytes_AS_STRING(out)
    cdef size_t zeros
    cdef sp_slice data
    cdef uint32_t i
    for i in range(start, end):
        data = sp_span_of(contents.walk.message, contents.records[i].data)
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

    def __cinit__(self, partition_keys=(), explicit_hash_keys=(), records=()):
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

    @cython.critical_section
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
        sp_record_write(<uint8_t *>PyBytes_AS_STRING(record), content_size, slice_of_bytes(data), key_index, hash_index)
        self.records.append(record)
        self.size += <Py_ssize_t>size
        return True


def size_of_one(bytes key not None, bytes hash_key, bytes data not None):
    """The size of an aggregated record of one user record."""
    cdef size_t hash_key_size = 0 if hash_key is None else <size_t>len(hash_key)
    return sp_aggregate_size_of_one(<size_t>len(key), hash_key_size, <size_t>len(data))


cdef bytes encoded_field(uint8_t tag, bytes content):
    cdef bytes field = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>sp_field_size(<size_t>len(content)))
    sp_field_write(<uint8_t *>PyBytes_AS_STRING(field), tag, slice_of_bytes(content))
    return field
