"""deaggregate and google protobuf read the same messages, and refuse the same."""

from __future__ import annotations

import protobuf_oracle
import pytest
import wire
from hypothesis import example, given, settings
from hypothesis import strategies as st
from protobuf_agreement import agree, read

# --- messages protobuf wrote ---

indices = st.one_of(st.integers(0, 5), st.sampled_from([127, 128, 2**32, 2**63, 2**64 - 1]))
texts = st.text(st.characters(codec="utf-8"), max_size=12)
hash_keys = st.one_of(
    st.integers(0, 2**128 - 1).map(str), st.sampled_from(["0", "007", str(2**128), "x", "-1", "", "٣"])
)
tags = st.lists(st.tuples(texts, st.none() | texts), max_size=3)
records = st.tuples(indices, st.none() | indices, st.binary(max_size=200), tags)


@settings(max_examples=300, deadline=None)
@given(
    keys=st.lists(texts, max_size=6), hash_keys=st.lists(hash_keys, max_size=6), records=st.lists(records, max_size=8)
)
def test_messages_that_protobuf_wrote(keys, hash_keys, records):
    message = protobuf_oracle.aggregated_record_class()()
    message.partition_key_table.extend(keys)
    message.explicit_hash_key_table.extend(hash_keys)
    for key_index, hash_key_index, data, tags in records:
        record = message.records.add(partition_key_index=key_index, data=data)
        if hash_key_index is not None:
            record.explicit_hash_key_index = hash_key_index
        for key, value in tags:
            tag = record.tags.add(key=key)
            if value is not None:
                tag.value = value
    encoded = message.SerializeToString()
    if encoded:
        agree(encoded)


# --- messages nobody's library writes: any field at any place, in any encoding ---

paddings = st.sampled_from([0] * 12 + [1, 2, 3, 4, 5, 8, 9])
numbers = st.one_of(
    st.integers(0, 3),
    st.sampled_from([127, 128, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1, 2**64, 2**69 + 1]),
    st.integers(0, 2**64 - 1),
)
field_numbers = st.sampled_from([1, 1, 2, 2, 3, 3, 3, 4, 4, 5, 6, 16, 2**28, 2**29 - 1])
blobs = st.one_of(st.binary(max_size=8), st.sampled_from([b"5", b"007", b"key", b"\xff\xfe", str(2**128).encode()]))


@st.composite
def field(draw, depth):
    """A field of any number and wire type; what it holds may be fields again, down to ``depth``."""
    number, wire_type = draw(field_numbers), draw(st.sampled_from([0, 1, 2, 2, 2, 3, 5]))
    start = wire.varint(number << 3 | wire_type, draw(paddings))
    if wire_type == wire.VARINT:
        return start + wire.varint(draw(numbers), draw(paddings))
    if wire_type == wire.FIXED64:
        return start + draw(st.binary(min_size=8, max_size=8))
    if wire_type == wire.FIXED32:
        return start + draw(st.binary(min_size=4, max_size=4))
    inside = b"".join(draw(st.lists(field(depth - 1), max_size=4))) if depth and draw(st.booleans()) else b""
    if wire_type == wire.GROUP:
        return start + inside + wire.varint(number << 3 | wire.END_GROUP, draw(paddings))
    inside = inside or draw(blobs)
    return start + wire.varint(len(inside), draw(paddings)) + inside


@st.composite
def record(draw):
    """A record field with what it needs, and more."""
    rest = [wire.tag("t", "v") if draw(st.booleans()) else draw(field(1)) for _ in range(draw(st.integers(0, 2)))]
    hash_key_index = draw(st.none() | st.integers(0, 1))
    return wire.record(draw(st.integers(0, 2)), draw(blobs), hash_key_index, b"".join(rest))


tables = st.builds(wire.content, st.sampled_from([1, 1, 2]), blobs)
messages = st.lists(st.one_of(tables, record(), record(), field(3)), min_size=1, max_size=8).map(b"".join)


@settings(max_examples=700, deadline=None)
@given(messages)
@example(b"\x28" + b"\x80" * 9 + b"\x02")
@example(wire.content(1, b"key") + wire.content(3, b"\x1a\x00\x08" + b"\x80" * 9 + b"\x7e"))
def test_messages_written_field_by_field(message):
    agree(message)


@settings(max_examples=500, deadline=None)
@given(messages, st.data())
def test_messages_cut_changed_and_extended(message, data):
    at = data.draw(st.integers(0, len(message) - 1))
    end = data.draw(st.integers(at, min(len(message), at + 3)))
    changed = message[:at] + data.draw(st.binary(max_size=4)) + data.draw(st.sampled_from([message[end:], b""]))
    if changed:
        agree(changed)


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=60))
def test_any_bytes(message):
    agree(message)


# --- the corners, each one ---


NINE = b"\x81" + b"\x80" * 8


@pytest.mark.parametrize(
    "start",
    [
        b"\x28" + NINE,
        wire.content(1, b"k") * 2 + b"\x1a\x0d\x1a\x00\x08" + NINE,
        b"\xa8\x80\x80\x80",
        b"\xab\x80\x80\x80",
        b"\x2a\x81\x80\x80\x80",
        b"\x0a\x81\x80\x80\x80",
    ],
    ids=["unknown varint", "index", "tag", "group tag", "unknown length", "known length"],
)
def test_the_last_byte_of_the_longest_varints(start):
    for last in range(256):
        for rest in (b"", b"\x00", b"\x2c", b"\x28\x00", b"\x00\x28\x00"):
            agree(start + bytes([last]) + rest)


@pytest.mark.parametrize("place", ["top", "record", "tag"])
def test_every_tag_of_one_byte(place):
    for tag in range(256):
        ends = [bytes([tag & 0xF8 | 4]), bytes([tag | 4])]
        for rest in (b"", b"\x00", b"\x01\x00", bytes(4), bytes(8), b"\x05\x08\x00", *ends):
            field = bytes([tag]) + rest
            if place == "tag":
                field = wire.content(4, wire.content(1, b"t") + field)
            agree(field if place == "top" else wire.content(1, b"k") + wire.record(0, b"d", None, field))


@pytest.mark.parametrize("depth", [1, 2, 31, 32, 97, 98, 99, 100, 101, 102, 500])
def test_depth_of_groups(depth):
    nested = b"\x2b" * depth + b"\x2c" * depth
    agree(nested)
    agree(wire.content(1, b"k") + wire.record(0, b"d", None, nested))
    agree(wire.content(1, b"k") + wire.record(0, b"d", None, wire.content(4, wire.content(1, b"t") + nested)))


def test_what_protobuf_takes_and_nobody_else():
    """The one known difference: field number 0 inside an unknown group."""
    message = wire.content(1, b"key") + wire.record(0, b"data") + wire.group(9, b"\x00\x05")
    assert protobuf_oracle.user_records(message) == [("key", None, b"data", ())]
    assert read(message) is None
