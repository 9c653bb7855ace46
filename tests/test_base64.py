"""Every base64 kernel that is compiled here, against Python's and pybase64's."""

from __future__ import annotations

import base64
import binascii
import random

import kernels
import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardpack._native import base64 as native_base64

pytestmark = pytest.mark.native

ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


@pytest.fixture(params=native_base64._kernels())
def kernel(request):
    with kernels.in_use(native_base64, request.param) as name:
        yield name


def on_every_kernel(function, argument):
    results = []
    for name in native_base64._kernels():
        with kernels.in_use(native_base64, name):
            results.append(function(argument))
    return results


def decoded(text):
    """What pybase64 reads, or None where it refuses."""
    try:
        return pybase64.b64decode(text, validate=True)
    except binascii.Error:
        return None


def test_the_portable_kernel_is_always_there():
    kernels = native_base64._kernels()
    assert kernels[-1] == "portable"
    assert len(set(kernels)) == len(kernels)
    assert native_base64._kernel() in kernels


def test_a_kernel_that_is_not_there():
    before = native_base64._kernel()
    with pytest.raises(ValueError, match=r"'sse9'.*portable"):
        native_base64._set_kernel("sse9")
    assert native_base64._kernel() == before


def test_every_length(kernel):
    rng = random.Random(kernel)
    for size in range(600):
        data = rng.randbytes(size)
        text = base64.b64encode(data)
        assert native_base64._encode(data) == text
        assert native_base64._decode(text) == data


@pytest.mark.usefixtures("kernel")
def test_every_character_in_every_place():
    """Every group of six bits where vectors meet, so that no place has a table of its own that is wrong."""
    text = ALPHABET * 5
    for at in range(64):
        shifted = text[at:] + text[:at]
        data = base64.b64decode(shifted)
        assert native_base64._encode(data) == shifted
        assert native_base64._decode(shifted) == data


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("size", [4, 8, 28, 32, 44, 48, 64, 68, 72, 128, 132, 260])
def test_a_character_of_no_alphabet_is_found_wherever_it_is(size):
    good = bytearray((ALPHABET * 5)[:size])
    for at in range(size):
        for wrong in range(256):
            if wrong in ALPHABET:
                continue
            text = bytes(good[:at]) + bytes([wrong]) + bytes(good[at + 1 :])
            expected = decoded(text) if wrong == ord("=") and at == size - 1 else None
            assert native_base64._decode(text) == expected, (at, wrong)


@pytest.mark.usefixtures("kernel")
def test_lengths_and_padding_that_cannot_be():
    for text in (b"A", b"AA", b"AAA", b"AA=", b"A===", b"====", b"=AAA", b"AA=A", b"AA==AAAA", b"AAAA=", b"AAAA===="):
        assert native_base64._decode(text) is None, text
    assert native_base64._decode(b"") == b""
    assert native_base64._decode(b"AB==") == b"\0", "bits too many are dropped, as Python drops them"
    assert base64.b64decode(b"AB==") == b"\0"


@pytest.mark.usefixtures("kernel")
def test_megabytes():
    data = random.Random(3).randbytes(3_000_001)
    text = base64.b64encode(data)
    assert native_base64._encode(data) == text
    assert native_base64._decode(text) == data
    assert native_base64._decode(text[:-6] + b"*" + text[-5:]) is None


@given(st.binary(max_size=400))
def test_round_trips(data):
    text = base64.b64encode(data)
    assert on_every_kernel(native_base64._encode, data) == [text] * len(native_base64._kernels())
    assert on_every_kernel(native_base64._decode, text) == [data] * len(native_base64._kernels())


@given(st.data(), st.binary(max_size=200))
def test_garbled_text_is_read_or_refused_as_by_pybase64(data, content):
    text = bytearray(base64.b64encode(content))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b"", b"=", b"\n", b"-", b"A", b"\xff"])
        )
    expected = decoded(bytes(text))
    assert on_every_kernel(native_base64._decode, bytes(text)) == [expected] * len(native_base64._kernels())
