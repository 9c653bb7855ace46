"""csrc/json_reader against Python's json, which it takes a part of: what the RFC has, and no more."""

from __future__ import annotations

import json
import subprocess

import pytest
from alone import build
from hypothesis import example, given, settings
from hypothesis import strategies as st

MOST_DEPTH = 64
MOST_DIGITS = 64


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return build(tmp_path_factory.mktemp("json_reader") / "alone", ["tests/json_reader_alone.c"])


def answers(program, texts: list[bytes]) -> list[str]:
    given_texts = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    done = subprocess.run([program], input=given_texts, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return done.stdout.decode().splitlines()


def refuse(word: str):
    raise ValueError(word)


def depth_of(value) -> int:
    if isinstance(value, dict):  # members by their place: names that are there twice hide nothing
        return 1 + max((depth_of(member) for _, member in value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def expected(text: bytes) -> str:
    """What Python's json says, without what the RFC does not have; longer and deeper than is read is refused."""
    numbers: list[str] = []

    def keep(number: str) -> str:
        numbers.append(number)
        return number

    def place_members(members: list) -> dict:
        return dict(enumerate(members))

    hooks = {"parse_constant": refuse, "parse_float": keep, "parse_int": keep, "object_pairs_hook": place_members}
    try:
        value = json.loads(text.decode(), **hooks)
        json.dumps(value, ensure_ascii=False).encode()  # no half of a surrogate pair
    except (ValueError, RecursionError):
        return "no"
    if depth_of(value) > MOST_DEPTH or any(len(number) > MOST_DIGITS for number in numbers):
        return "no"
    if not isinstance(value, str):
        return "yes"
    return f"yes {value}" if numbers else f"yes {value.encode().hex()}"


WRITTEN = [
    *[
        '""',
        '"a"',
        '"\\n"',
        '"\\u00e9\\u20ac\\ud83d\\ude00"',
        '"\\ud83d"',
        '"\\ude00"',
        '"\\ud83d\\ud83d"',
        '"\\ud83dx"',
    ],
    *['"\\ud83d\\u0041"', '"\\x"', '"\\u12"', '"\\u12g4"', '"\\"', '"', '"\\', '"\n"', '"\x7f"', '"\x00"', '"é€😀"'],
    *["0", "-0", "-", "01", "1.", ".5", "1.5", "1e5", "1E+05", "1e-5", "1e", "1e+", "+1", "0x1", "1_0", "1.7e9", "--1"],
    *["NaN", "Infinity", "-Infinity", "true", "false", "null", "tru", "nulll", "True", "", " ", "\ufeff1", "1 2", "é"],
    *["[]", "[1]", "[1,]", "[,1]", "[1,2", "[1 2]", "{}", '{"a":1}', '{"a":1,}', '{"a"}', '{"a":}', "{a:1}", "{1:2}"],
    *[
        ' [ { "a" : [ ] , "b" : { } } , 1 ] ',
        "[1}",
        '{"a":1]',
        '{"a":1,"a":2}',
        "]",
        "}",
        ",",
        ":",
        "[[]",
        "\f1",
        "1\v",
    ],
    *[
        "[" * 64 + "1" + "]" * 64,
        "[" * 65 + "1" + "]" * 65,
        "[" * 100_000,
        '{"":' * 64 + "1" + "}" * 64,
        '{"":' * 100_000,
    ],
    *["9" * MOST_DIGITS, "9" * (MOST_DIGITS + 1), "[" + "9" * 5000 + "]", "1" + "0" * 62 + ".0"],
]
NOT_UTF8 = [b'"\xff"', b'"\xc3"', b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\xf4\x90\x80\x80"', b"\xff", b'"\xe2\x82']


def test_texts_written_for_it(program):
    texts = [*(text.encode() for text in WRITTEN), *NOT_UTF8]
    texts += [text[:size] for text in texts if len(text) < 100 for size in range(len(text))]
    for text, answer in zip(texts, answers(program, texts), strict=True):
        assert answer == expected(text), text


def test_every_escape(program):
    texts = [f'"\\{chr(letter)}"'.encode() for letter in range(128)]
    texts += [f'"\\u{unit:04x}"'.encode() for unit in range(0, 0x10000, 7)]
    for text, answer in zip(texts, answers(program, texts), strict=True):
        assert answer == expected(text), text


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
MUTATIONS = st.lists(
    st.tuples(st.integers(0, 300), st.sampled_from([b"", *(bytes([i]) for i in b'"\\{}[],:0e-.u \n\x00\xff\xc3n')])),
    max_size=3,
)


@given(values=st.lists(st.tuples(VALUES, st.booleans(), MUTATIONS), min_size=20, max_size=60))
@example(values=[("\U0001f600", True, []), ({"a": [1e300, -1.5]}, False, [])])
@settings(max_examples=30, deadline=None)
def test_values_garbled(program, values):
    texts = []
    for value, is_ascii, mutations in values:
        text = json.dumps(value, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
        for place, put in mutations:
            text = text[: place % (len(text) + 1)] + put + text[place % (len(text) + 1) + 1 :]
        texts.append(text)
    for text, answer in zip(texts, answers(program, texts), strict=True):
        assert answer == expected(text), text
