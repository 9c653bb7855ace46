"""A blob taken apart for people, whatever is wrong with it."""

from libc.stdint cimport uint8_t

from .deaggregate cimport (
    SP_NO_INDEX, SP_PARTITION_KEY_INDEX_RANGE, SP_WELL_FORMED, ReceivedRecord, error_arguments_of, free_contents,
    read_unverified, room_for_contents, sp_contents, sp_span_of, sp_wire_record, tags_of, unpack,
)
from .keys cimport sp_slice
from .md5 cimport md5_many
from .slices cimport bytes_of_slice, text_of_slice

from ..errors import MalformedRecordError


def dissect(data):
    """Return what an aggregated record holds and how it fares, for `shardpack inspect`; None without its frame.

    Of a compressed one there are no digests, and ``error`` alone where it does not unpack.
    """
    cdef sp_contents *contents = room_for_contents(1)
    cdef ReceivedRecord record = ReceivedRecord(data)
    try:
        unpack((record,))
        if record.error_arguments is not None:
            return {"error": MalformedRecordError(*record.error_arguments)}
        return found_in(contents, record.message is not None) if read_unverified(record, contents) else None
    finally:
        free_contents(contents, 1)


cdef dict found_in(const sp_contents *contents, bint unpacked):
    cdef sp_slice message = contents.walk.message
    cdef const sp_wire_record *wire
    cdef uint8_t[16] digest
    cdef Py_ssize_t i
    found = {
        "message_size": message.size, "error": None, "partition_keys": [], "explicit_hash_keys": [], "records": []
    }
    if not unpacked:
        md5_many(&message, 1, digest)
        found["stored_digest"] = (<const char *>message.data + message.size)[:16]
        found["computed_digest"] = (<char *>digest)[:16]
    if contents.finding.verdict != SP_WELL_FORMED:
        found["error"] = MalformedRecordError(*error_arguments_of(&contents.finding, unpacked))
        if contents.finding.verdict < SP_PARTITION_KEY_INDEX_RANGE:
            return found
    for i in range(contents.walk.found.partition_keys):
        found["partition_keys"].append(text_of_slice(sp_span_of(message, contents.walk.partition_keys[i])))
    for i in range(contents.walk.found.explicit_hash_keys):
        found["explicit_hash_keys"].append(text_of_slice(sp_span_of(message, contents.walk.explicit_hash_keys[i])))
    for i in range(contents.walk.found.records):
        wire = &contents.records[i]
        found["records"].append((
            wire.partition_key_index,
            None if wire.explicit_hash_key_index == SP_NO_INDEX else wire.explicit_hash_key_index,
            bytes_of_slice(sp_span_of(message, wire.data)),
            tags_of(contents, i),
        ))
    return found
