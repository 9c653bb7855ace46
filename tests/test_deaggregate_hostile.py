"""Bytes that strangers wrote: never a crash, never a loss, never a read outside."""

from __future__ import annotations

import random
import re

import isolated
import pytest
import wire
from hypothesis import given, settings
from hypothesis import strategies as st

from shardpack import MalformedRecordError, deaggregate

pytestmark = pytest.mark.native

TABLES = wire.content(1, b"key") + wire.content(2, b"5")
GOOD = TABLES + wire.record(0, b"data", 0, wire.tag("t", "v"))


def read(message):
    """The user records of a framed message; ``None`` when it came back whole."""
    blob = wire.frame(message)
    found = deaggregate(blob)
    if len(found) == 1 and not found[0].aggregated:
        assert found[0].data == blob
        return None
    assert all(record.aggregated and record.error is None for record in found)
    return [(record.partition_key, record.explicit_hash_key, record.data, record.tags) for record in found]


EXPECTED = [("key", "5", b"data", (("t", "v"),))]


def nothing_is_lost(blob):
    found = deaggregate(blob)
    whole = [record for record in found if not record.aggregated]
    assert not whole or (len(found) == 1 and whole[0].data == blob)
    assert all(record.data in blob for record in found)
    if found and found[0].error is not None:
        assert 4 <= found[0].error.offset < len(blob) - 16
        with pytest.raises(MalformedRecordError, match=re.escape(str(found[0].error))):
            deaggregate(blob, strict=True)
    else:
        assert deaggregate(blob, strict=True) == found


# --- the frame ---


def test_the_frame_cut_anywhere_or_extended_is_raw():
    blob = wire.frame(GOOD)
    for other in [blob[:size] for size in range(len(blob))] + [blob + bytes(size) for size in range(1, 20)]:
        [record] = deaggregate(other)
        assert (record.data, record.aggregated) == (other, False)
    assert deaggregate(blob)[0].aggregated


def test_every_flipped_bit_is_noticed():
    blob = wire.frame(GOOD)
    for bit in range(8 * len(blob)):
        flipped = bytearray(blob)
        flipped[bit // 8] ^= 1 << bit % 8
        [record] = deaggregate(bytes(flipped))
        assert (record.data, record.aggregated) == (bytes(flipped), False)


@pytest.mark.parametrize("before", range(64))
def test_a_bad_checksum_among_good_ones(before):
    """Checksums are verified side by side: the verdict has to reach the right record."""
    good, bad = wire.frame(GOOD), wire.frame(GOOD)[:-1] + b"\0"
    found = deaggregate([good] * before + [bad] + [good] * 70)
    assert [record.aggregated for record in found] == [True] * before + [False] + [True] * 70


# --- what fits no message ---

BROKEN = {
    "tag cut": b"\x80",
    "tag of six bytes": b"\xa8\x80\x80\x80\x80\x00\x00",
    "tag past 32 bits": b"\xa8\x80\x80\x80\x10\x00",
    "field number 0": b"\x00\x00",
    "wire type 6": b"\x2e\x00",
    "wire type 7": b"\x2f\x00",
    "varint cut": b"\x28\x80",
    "varint without a value": b"\x28",
    "varint of eleven bytes": b"\x28" + b"\x80" * 10 + b"\x00",
    "varint that never ends": b"\x28" + b"\xff" * 50,
    "fixed64 cut": b"\x29" + bytes(7),
    "fixed32 cut": b"\x2d" + bytes(3),
    "length past the end": b"\x2a\x05four",
    "length of 2**31": b"\x2a" + wire.varint(2**31) + b"x",
    "length of 2**32 - 1": b"\x2a" + wire.varint(2**32 - 1) + b"x",
    "length of 2**63": b"\x2a" + wire.varint(2**63) + b"x",
    "length of 2**64 - 1": b"\x2a" + wire.varint(2**64 - 1) + b"x",
    "length of six bytes": b"\x2a\x81\x80\x80\x80\x80\x00x",
    "group never closed": b"\x2b",
    "group closed by another": b"\x2b\x34",
    "group that was not open": b"\x2c",
    "group cut inside": b"\x2b\x28",
    "group with a length past the end": b"\x2b\x2a\x7f\x2c",
    "groups crossed": b"\x2b\x33\x2c\x34",
}


@pytest.mark.parametrize("place", ["top", "record", "tag", "group"])
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_what_does_not_parse_comes_back_whole(broken, place):
    messages = {
        "top": GOOD + broken,
        "record": TABLES + wire.record(0, b"data", 0, broken),
        "tag": TABLES + wire.record(0, b"data", 0, wire.content(4, wire.content(1, b"t") + broken)),
        "group": GOOD + wire.group(9, broken),
    }
    assert read(messages[place]) is None


REQUIRED = {
    "partition key index": wire.content(3, wire.content(3, b"data")),
    "data": wire.content(3, wire.number(1, 0)),
    "both": wire.content(3, b""),
    "tag key": wire.record(0, b"data", 0, wire.content(4, wire.content(2, b"value"))),
    "tag key, tag empty": wire.record(0, b"data", 0, wire.content(4, b"")),
}


@pytest.mark.parametrize("record", REQUIRED.values(), ids=REQUIRED.keys())
def test_a_required_field_that_is_missing(record):
    assert read(TABLES + record) is None
    assert read(GOOD + record) is None
    assert read(TABLES + record + wire.record(0, b"data")) is None


# --- what is odd, but a message ---

SKIPPED = {
    "varint": wire.number(5, 2**64 - 1),
    "varint of ten bytes": b"\x28" + b"\x80" * 9 + b"\x01",
    "varint whose tenth byte overflows": b"\x28" + b"\xff" * 9 + b"\x7f",
    "fixed64": b"\x29" + b"\xff" * 8,
    "fixed32": b"\x2d" + b"\xff" * 4,
    "bytes": wire.content(5, b"\x80" * 9),
    "empty bytes": wire.content(5, b""),
    "group": wire.group(5),
    "group with fields": wire.group(
        5, wire.number(1, 5) + wire.content(3, b"x") + b"\x29" + bytes(8) + b"\x2d" + bytes(4)
    ),
    "groups in groups": wire.group(5, wire.group(6, wire.group(5) * 2) + wire.group(6)),
    "the highest field number": wire.number(2**29 - 1, 1),
    "a tag in five bytes": wire.varint(5 << 3, 4) + b"\x00",
    "a length in five bytes": b"\x2a" + wire.varint(1, 4) + b"x",
    "end tag in five bytes": b"\x2b" + wire.varint(5 << 3 | 4, 4),
}


@pytest.mark.parametrize("skipped", SKIPPED.values(), ids=SKIPPED.keys())
def test_unknown_fields_are_skipped_wherever_they_stand(skipped):
    record = wire.record(0, b"data", 0, wire.tag("t", "v"))
    assert read(skipped + GOOD) == EXPECTED
    assert read(GOOD + skipped) == EXPECTED
    assert read(TABLES + skipped + record) == EXPECTED
    assert read(TABLES + wire.record(0, b"data", 0, wire.tag("t", "v") + skipped)) == EXPECTED
    inside_first = wire.content(
        3, skipped + wire.number(1, 0) + wire.number(2, 0) + wire.content(3, b"data") + wire.tag("t", "v")
    )
    assert read(TABLES + inside_first) == EXPECTED
    in_tag = wire.content(4, skipped + wire.content(1, b"t") + skipped + wire.content(2, b"v") + skipped)
    assert read(TABLES + wire.record(0, b"data", 0, in_tag)) == EXPECTED


OTHER_WIRE_TYPES = [b"\x0b\x0c", b"\x08\x05", b"\x09" + bytes(8), b"\x0d" + bytes(4)]
OTHER_WIRE_TYPES += [b"\x13\x14", b"\x10\x05", b"\x18\x05", b"\x1b\x1c"]


@pytest.mark.parametrize("field", OTHER_WIRE_TYPES, ids=bytes.hex)
def test_a_known_field_of_another_wire_type_is_unknown(field):
    assert read(field + GOOD + field) == EXPECTED


@pytest.mark.parametrize(
    "field", [b"\x0a\x01\x07", b"\x12\x01\x07", b"\x18\x09", b"\x20\x09", b"\x23\x24"], ids=bytes.hex
)
def test_a_known_field_of_another_wire_type_is_unknown_in_a_record(field):
    assert read(TABLES + wire.record(0, b"data", 0, field + wire.tag("t", "v") + field)) == EXPECTED


@pytest.mark.parametrize("field", [b"\x08\x09", b"\x10\x09", b"\x0b\x0c", b"\x1a\x01x"], ids=bytes.hex)
def test_a_known_field_of_another_wire_type_is_unknown_in_a_tag(field):
    tag = wire.content(4, field + wire.content(1, b"t") + wire.content(2, b"v") + field)
    assert read(TABLES + wire.record(0, b"data", 0, tag)) == EXPECTED


@pytest.mark.parametrize("padding", range(10))
def test_varints_longer_than_they_need_to_be(padding):
    body = (
        b"\x08"
        + wire.varint(0, padding)
        + b"\x10"
        + wire.varint(0, padding)
        + wire.content(3, b"data")
        + wire.tag("t", "v")
    )
    assert read(TABLES + wire.content(3, body)) == (EXPECTED if padding <= 9 else None)


@pytest.mark.parametrize("padding", range(5))
def test_a_fault_is_where_its_field_starts_however_long_the_tag(padding):
    before = wire.content(1, b"key") + wire.record(0, b"\x9a\x80\x80")
    tag, field = wire.varint(3 << 3 | wire.BYTES, padding), wire.record(7, b"x")
    [record] = deaggregate(wire.frame(before + tag + field[1:]))
    assert (record.error.offset, record.error.record_index) == (len(wire.MAGIC) + len(before), 1)


def test_an_index_that_overflows_64_bits_wraps_as_protobuf_and_the_kcl_read_it():
    wraps_to_zero = b"\x80" * 9 + b"\x02"
    body = b"\x08" + wraps_to_zero + b"\x10" + wraps_to_zero + wire.content(3, b"data") + wire.tag("t", "v")
    assert read(TABLES + wire.content(3, body)) == EXPECTED


def test_the_last_of_a_repeated_scalar_wins():
    tables = wire.content(1, b"no") + wire.content(1, b"key") + wire.content(2, b"4") + wire.content(2, b"5")
    tag = wire.content(4, b"".join(wire.content(n, v) for n, v in [(1, b"x"), (2, b"y"), (2, b"v"), (1, b"t")]))
    body = wire.number(1, 77) + wire.number(2, 99) + wire.content(3, b"no") + tag
    body += wire.number(1, 1) + wire.number(2, 1) + wire.content(3, b"data")
    assert read(tables + wire.content(3, body)) == EXPECTED


def test_tables_may_follow_and_interleave():
    first, second = wire.record(1, b"1", 0), wire.record(0, b"2")
    message = first + wire.content(1, b"a") + second + wire.content(2, b"5") + wire.content(1, b"b")
    assert read(message) == [("b", "5", b"1", ()), ("a", None, b"2", ())]


@pytest.mark.parametrize(("place", "deepest"), [("top", 100), ("record", 99), ("tag", 98)])
def test_groups_nest_as_deep_as_protobuf_allows(place, deepest):
    """Its limit is 100 levels, of which a record and a tag each take one."""

    def message(depth):
        nested = b"\x2b" * depth + b"\x2c" * depth
        if place == "top":
            return GOOD + nested
        if place == "record":
            return TABLES + wire.record(0, b"data", 0, wire.tag("t", "v") + nested)
        return TABLES + wire.record(
            0, b"data", 0, wire.content(4, wire.content(1, b"t") + wire.content(2, b"v") + nested)
        )

    assert read(message(deepest)) == EXPECTED
    assert read(message(deepest + 1)) is None
    assert read(message(200_000)) is None


def test_a_message_of_unknown_fields_alone_holds_nothing():
    assert deaggregate(wire.frame(wire.number(9, 1))) == []


def test_an_aggregate_in_an_aggregate_is_data():
    inner = wire.frame(GOOD)
    assert read(TABLES + wire.record(0, inner)) == [("key", None, inner, ())]


# --- what could cost the square of its size ---


@pytest.mark.parametrize(
    "call", ["deaggregate(blob)", "deaggregate(blob, hash_range=(0, 9))", "deaggregate_columns(blob)"]
)
@pytest.mark.parametrize("last", [b"0", b"x"])
def test_a_hash_key_is_read_once_however_many_records_name_it(call, last, tmp_path):
    """Hash keys of a megabyte of zeros, a quarter of a million records that name them: read for each, that is hours."""
    zeros = bytes([0x30]) * 2**20
    tables = wire.content(1, b"k") + wire.content(2, zeros) * 2 + wire.content(2, zeros + last)
    records = (wire.record(0, b"", 0) + wire.record(0, b"", 1)) * 2**17 + wire.record(0, b"", 2)
    path = tmp_path / "blob"
    path.write_bytes(wire.frame(tables + records))
    code = f"""
import sys
from shardpack import deaggregate, deaggregate_columns
blob = open(sys.argv[1], "rb").read()
print(len({call}))
"""
    done = isolated.python("-c", code, str(path))
    assert done.stdout == ("1\n" if last == b"x" else f"{2**18 + 1}\n"), done.stderr


# --- anything at all ---


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes(blob):
    [record] = deaggregate(blob)
    assert record.data == blob
    nothing_is_lost(wire.frame(blob or b"\0"))


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 200))
def test_truncated_flipped_and_extended_messages(choose, count):
    message = (
        wire.content(1, b"key")
        + wire.content(2, b"12")
        + b"".join(
            wire.record(
                choose.choice((0, 0, 0, 1)), b"d" * choose.randrange(140), choose.choice((None, 0)), wire.tag("t", "v")
            )
            for _ in range(count % 7 + 1)
        )
    )
    for _ in range(40):
        mutated = bytearray(message)
        for _ in range(choose.randrange(1, 4)):
            at = choose.randrange(len(mutated) or 1)
            kind = choose.randrange(4)
            if kind == 0:
                del mutated[at:]
            elif kind == 1 and mutated:
                mutated[at] ^= 1 << choose.randrange(8)
            elif kind == 2:
                mutated[at:at] = choose.randbytes(choose.randrange(6))
            else:
                mutated[at : at + 5] = choose.choice((b"", b"\xff" * 5, b"\x80" * 5, b"\x2b" * 9))
        if mutated:
            nothing_is_lost(wire.frame(bytes(mutated)))


def test_thousands_of_mutations_of_one_message():
    choose = random.Random(1)
    message = bytearray(TABLES + wire.record(0, b"0123456789", 0, wire.tag("t", "v")) * 3)
    for _ in range(20_000):
        mutated = bytearray(message)
        mutated[choose.randrange(len(mutated))] = choose.choice(
            (0, 1, 0x0A, 0x1A, 0x7F, 0x80, 0xFF, choose.randrange(256))
        )
        nothing_is_lost(wire.frame(bytes(mutated)))
