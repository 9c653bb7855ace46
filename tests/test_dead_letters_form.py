"""Dead letters as records of a stream and as JSON: whatever is in them comes back, and strangers' bytes are none."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from letters import letter
from test_dead_letters import LETTERS

from shardpack import DeadLetter
from shardpack.dead_letters.remote.form import (
    MOST_PARTS,
    PART_BYTES,
    WHOLE,
    Part,
    cut,
    fields_of,
    letter_of,
    unwrap,
    wrap,
)


@given(LETTERS)
def test_a_letter_is_a_record_and_comes_back(each):
    assert unwrap(wrap(each)) == each


@given(LETTERS)
def test_its_fields_are_json_that_other_programs_read(each):
    text = json.dumps(fields_of(each), ensure_ascii=False)
    text.encode()  # is UTF-8
    assert letter_of(json.loads(text), each.data) == each


def test_what_says_nothing_is_left_out():
    assert fields_of(letter(explicit_hash_key=2**128 - 1)) == {
        "stream": "telemetry",
        "partition_key": "key",
        "explicit_hash_key": "340282366920938463463374607431768211455",
        "error_code": "InternalFailure",
        "message": "try again",
        "put_at": 1_700_000_000.25,
        "given_up_at": 1_700_000_060.5,
        "attempts": 7,
        "sub_sequence_number": 0,
    }


@given(
    st.binary() | st.binary().map(lambda data: WHOLE + data) | st.binary().map(lambda data: wrap(letter())[:-30] + data)
)
def test_other_bytes_are_no_letter(data):
    with suppress(ValueError):
        assert isinstance(unwrap(data), DeadLetter)


@pytest.mark.parametrize(
    "fields",
    [b"[]", b"{}", b"[" * 100_000, b'{"stream": 7}', b'{"stream": {"base64": "?"}}', b"\xff", b"1" * 5000],
    ids=lambda fields: fields[:8],
)
def test_nor_are_fields_of_something_else(fields):
    with pytest.raises(ValueError):
        unwrap(WHOLE + len(fields).to_bytes(4, "big") + fields)


def test_fields_that_nobody_knows_are_ignored():
    assert letter_of({**fields_of(letter()), "colour": "green"}, b"0") == letter()


def test_a_letter_is_cut_when_it_is_a_byte_too_large():
    whole = wrap(letter(data=bytes(10_000)))
    assert cut(whole, len(whole)) == [whole]
    parts = cut(whole, len(whole) - 1)
    assert [len(part) for part in parts] == [len(whole) - 1, 1 + 2 * PART_BYTES]
    found = [unwrap(part) for part in parts]
    assert [(part.part, part.parts, part.letter) for part in found] == [(n, 2, found[0].letter) for n in (0, 1)]
    assert b"".join(part.content for part in found) == whole
    assert all(isinstance(part, Part) for part in found)


def test_into_sixty_four_parts_and_no_more():
    whole = bytes(64 * 1000)
    assert len(cut(whole, 1000 + PART_BYTES)) == MOST_PARTS == 64
    with pytest.raises(ValueError, match="64,001 bytes with its header are 65 records, more than 64"):
        cut(whole + b"x", 1000 + PART_BYTES)
