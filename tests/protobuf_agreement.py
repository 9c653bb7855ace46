"""Do deaggregate and google protobuf make the same of a message? The tests ask, and the fuzzer."""

from __future__ import annotations

import protobuf_oracle
import wire

from shardpack import deaggregate


def read(message):
    """What deaggregate makes of a message, in the oracle's terms."""
    blob = wire.frame(message)
    found = deaggregate(blob)
    if len(found) == 1 and not found[0].aggregated:
        assert found[0].data == blob
        return None if found[0].error is None else protobuf_oracle.MALFORMED
    return [(record.partition_key, record.explicit_hash_key, record.data, record.tags) for record in found]


def read_varint(message, at):
    value = shift = 0
    while True:
        value |= (message[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if message[at - 1] < 0x80:
            return value, at


def has_field_number_zero(message, descend=(3, 4)):
    """Whether a field number 0 stands where protobuf lets it pass: in an unknown group of a message it takes.

    The format has no such field, and Java's parser (the KCL's) refuses it everywhere; so do we.
    """
    at, groups = 0, 0
    while at < len(message):
        tag, at = read_varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            return groups > 0
        if wire_type == wire.VARINT:
            _, at = read_varint(message, at)
        elif wire_type == wire.BYTES:
            size, at = read_varint(message, at)
            inside, at = message[at : at + size], at + size
            if not groups and descend and number == descend[0] and has_field_number_zero(inside, descend[1:]):
                return True
        elif wire_type in (wire.GROUP, wire.END_GROUP):
            groups += 1 if wire_type == wire.GROUP else -1
        else:
            at += 8 if wire_type == wire.FIXED64 else 4
    return False


def agree(message):
    """Demand that deaggregate and google protobuf make the same of a message."""
    ours, theirs = read(message), protobuf_oracle.user_records(message)
    if ours is None and theirs is not None and has_field_number_zero(message):
        return
    assert ours == theirs
