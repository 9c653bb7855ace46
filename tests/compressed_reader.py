"""What a reader of zstd alone makes of compressed aggregates: by docs/understand/format.md, without a line of ours."""

from __future__ import annotations

import hashlib
import struct

import zstandard

from shardpack import deaggregate

PLAIN_MAGIC = b"\xf3\x89\x9a\xc2"
MAGIC = b"\xf5SPZ"


def is_compressed(record):
    return record.data.startswith(MAGIC)


def message_of(data):
    """Return the message in the data of a compressed aggregate, which has no other form."""
    magic, version, size = struct.unpack("<4sBI", data[:9])
    assert (magic, version) == (MAGIC, 1)
    frame = data[9:]
    parameters = zstandard.get_frame_parameters(frame)
    assert parameters.has_checksum
    assert parameters.content_size == size <= 64 * len(data)
    message = zstandard.ZstdDecompressor().decompress(frame)
    assert len(message) == size <= 64 * 1024 * 1024
    return message


def plain(record):
    """Return the data of a Kinesis record as it is without compression."""
    if not is_compressed(record):
        return record.data
    message = message_of(record.data)
    return PLAIN_MAGIC + message + hashlib.md5(message).digest()


def user_records(kinesis_records):
    """Return partition key, data and explicit hash key of all their user records, in order."""
    found = []
    for record in kinesis_records:
        apart = deaggregate({"Data": plain(record), "PartitionKey": record.partition_key})
        assert deaggregate({"Data": record.data, "PartitionKey": record.partition_key}) == apart
        for each in apart:
            assert each.error is None
            explicit = each.explicit_hash_key if each.aggregated else record.explicit_hash_key
            found.append((each.partition_key, bytes(each.data), None if explicit is None else int(explicit)))
    return found
