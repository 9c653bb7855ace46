"""Objects in, the same objects out, by whichever library: times, bytes and whole numbers too; the rest is refused."""

from __future__ import annotations

import enum
import json
import math
import sys
from collections import OrderedDict
from contextlib import suppress
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isolated import python

from shardpack import Aggregator, Producer, ShardMap, deaggregate
from shardpack.codec import PayloadReader, json_objects, msgpack_objects
from shardpack.codec.objects import MAX_DEPTH
from shardpack.errors import ObjectError, PayloadError
from shardpack.testing import history

JSONS = {"stdlib": json_objects.Json()}
JSONS["stdlib"]._dumps = JSONS["stdlib"]._loads = None
try:
    import orjson
except ImportError:
    pass
else:
    JSONS["orjson"] = json_objects.Json()
    JSONS["orjson"]._dumps, JSONS["orjson"]._loads = orjson.dumps, orjson.loads
try:
    import msgspec
except ImportError:
    pass
else:
    JSONS["msgspec"] = json_objects.Json()
    JSONS["msgspec"]._dumps, JSONS["msgspec"]._loads = msgspec.json.encode, msgspec.json.decode
MSGPACK = msgpack_objects.CODEC
CODECS = {**JSONS, "msgpack": MSGPACK}
every_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
every_json = pytest.mark.parametrize("codec", JSONS.values(), ids=JSONS)

NAIVE = datetime.fromisoformat("2026-01-02")
TIMES = st.datetimes(
    NAIVE.replace(1, 1, 2),
    NAIVE.replace(9999, 12, 30),
    timezones=st.timezones() | st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
WHOLE = (
    st.integers() | st.integers(-(2**70), 2**70) | st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63) - 1])
)
LEAVES = (
    st.none()
    | st.booleans()
    | WHOLE
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary()
    | TIMES
)
NAMES = st.text(max_size=5) | st.sampled_from(["$time", "$bytes", "$$time", "$$$bytes", "$other", "$"])
OBJECTS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=12
)


@every_codec
@given(obj=OBJECTS)
@settings(deadline=None)
def test_what_goes_in_comes_out(codec, obj):
    data = codec.encode(obj)
    [record] = deaggregate(data) if data else [None]
    for found in (codec.decode(data), record.object()):
        assert _in_utc(found) == _in_utc(obj)
        assert _types(found) == _types(obj)


def _in_utc(value):
    """Times that a change of clocks leaves out, or has twice, equal none of another zone."""
    if isinstance(value, list):
        return [_in_utc(each) for each in value]
    if isinstance(value, dict):
        return {key: _in_utc(each) for key, each in value.items()}
    return value.astimezone(timezone.utc) if isinstance(value, datetime) else value


def _types(value):
    if isinstance(value, list):
        return [_types(each) for each in value]
    if isinstance(value, dict):
        return {key: _types(each) for key, each in value.items()}
    return type(value)


@given(obj=OBJECTS)
@settings(deadline=None)
def test_libraries_of_json_write_and_read_the_same(obj):
    written = {name: codec.encode(obj) for name, codec in JSONS.items()}
    for data in written.values():
        json.loads(data)  # which anybody reads
        assert [_shown(codec.decode(data)) for codec in JSONS.values()] == [_shown(obj)] * len(JSONS)


def _shown(obj):
    if isinstance(obj, list):
        return [_shown(each) for each in obj]
    if isinstance(obj, dict):
        return [(name, _shown(each)) for name, each in obj.items()]
    return obj.astimezone(timezone.utc).isoformat() if isinstance(obj, datetime) else repr(obj)


@every_json
@given(
    text=st.sampled_from(
        [
            "18446744073709551616",
            "-9223372036854775809",
            "123456789012345678901234567890",
            "[0.1234567890123456789]",
            "1e300",
            "-0.0",
            '{"a": 1, "a": 2}',
            '"\\u00e9\\ud83d\\ude00"',
            '{"\\u0024bytes": "AA=="}',
            ' {"$time": "2026-01-02T03:04:05+02:00"} ',
            '{"$where": 1}',
            '{"$bytes": "AA==", "b": 1}',
        ]
    )
)
def test_json_of_others_is_read_as_the_standard_library_reads_it(codec, text):
    found = codec.decode(text.encode())
    expected = json.loads(text)
    if text.lstrip().startswith('{"\\u0024bytes'):
        expected = b"\0"
    if "$time" in text:
        expected = datetime(2026, 1, 2, 1, 4, 5, tzinfo=timezone.utc)
    assert (found, type(found)) == (expected, type(expected))


@every_json
@pytest.mark.parametrize(
    "text",
    [
        b"NaN",
        b"[Infinity]",
        b"1e400",
        b"-1E+400",
        b"1" * 400 + b".0",
        b"9" * 5_000,
        b"",
        b"{",
        b'"\xff"',
        b"\xef\xbb\xbf1",
        b'{"$bytes": "?"}',
        b'{"$bytes": 7}',
        b'{"$time": "noon"}',
        b'{"$time": "2026-01-02T03:04:05"}',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "text".encode("utf-16"),
    ],
)
def test_what_is_no_json_is_refused(codec, text):
    with pytest.raises((ValueError, RecursionError)):
        codec.decode(text)
    if len(text) > 0 and text[0] < 0x80:
        with pytest.raises(ObjectError, match=r"are no object: .+"):
            PayloadReader(codec=codec).object(text)


@every_json
@pytest.mark.parametrize(
    ("obj", "said"),
    [
        (math.nan, "nan is no number of JSON: msgpack has it"),
        ([{"a": -math.inf}], "-inf is no number"),
        ({1: "a"}, "JSON has strings for keys, and none that is int: 1"),
        ({"a": NAIVE}, "2026-01-02 00:00:00 has no time zone"),
        (date(2026, 1, 2), "date has no form in JSON"),
        (Decimal("1.5"), "Decimal has no form in JSON"),
        ({"a": UUID(int=5)}, "UUID has no form in JSON"),
        ({1, 2}, "set has no form in JSON"),
        ("\ud800", "surrogates not allowed"),
        (10**5_000, "4300 digits"),
    ],
    ids=range(10),
)
def test_what_json_has_no_form_for_is_refused(codec, obj, said):
    with pytest.raises((ValueError, TypeError), match=said):
        codec.encode(obj)


@every_codec
def test_depth_is_bounded(codec):
    deep: list = []
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    assert codec.decode(codec.encode(deep)) == deep
    endless: list = []
    endless.append(endless)
    with pytest.raises((ValueError, RecursionError)):
        codec.encode(endless)


class Point(NamedTuple):
    x: int
    y: float


class Colour(enum.IntEnum):
    RED = 1


class Word(str, enum.Enum):
    A = "a"


@every_codec
def test_kinds_of_plain_values_come_back_as_those(codec):
    given_ = {
        "point": Point(1, 2.5),
        "ordered": OrderedDict(a=1),
        "colour": Colour.RED,
        "word": Word.A,
        "buffer": bytearray(b"x"),
    }
    found = codec.decode(codec.encode(given_))
    assert found == {"point": [1, 2.5], "ordered": {"a": 1}, "colour": 1, "word": "a", "buffer": b"x"}
    assert [type(each) for each in found.values()] == [list, dict, int, str, bytes]
    assert given_["point"] == Point(1, 2.5)


@every_codec
def test_what_is_finer_than_a_microsecond_is_refused(codec):
    class Finer(datetime):
        def __eq__(self, other):
            return False

        def __ne__(self, other):
            return True

        __hash__ = datetime.__hash__

    with pytest.raises(ValueError, match="is finer than a microsecond"):
        codec.encode(Finer(2026, 1, 2, tzinfo=timezone.utc))


def test_msgpack_is_what_others_read():
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=2)))
    data = MSGPACK.encode({"at": moment, "raw": b"\0", "nan": math.nan, 7: [2**64 - 1, math.inf]})
    found = msgpack.unpackb(data, timestamp=3, strict_map_key=False)
    assert math.isnan(found.pop("nan"))
    assert found == {"at": moment, "raw": b"\0", 7: [2**64 - 1, math.inf]}
    assert MSGPACK.encode(5) == b"\xcc\x05"
    assert MSGPACK.encode(2**64) == b"\xc7\x09\x49" + (2**64).to_bytes(9, "big")
    assert MSGPACK.decode(msgpack.packb(msgpack.ExtType(5, b"x"))) == msgpack.ExtType(5, b"x")
    for obj, said in [({1, 2}, "set has no form in msgpack"), (NAIVE, "no time zone")]:
        with pytest.raises((ValueError, TypeError), match=said):
            MSGPACK.encode(obj)


@given(st.binary(max_size=40) | st.binary(max_size=9).map(lambda data: b"\x81\xa1a" + data))
def test_hostile_msgpack_is_an_error_or_an_object(data):
    with suppress(ValueError):
        MSGPACK.decode(data)
    with suppress(ObjectError):
        deaggregate(data)[0].object("msgpack")


@pytest.mark.parametrize(
    "data",
    [
        b"\xdd\xff\xff\xff\xff" * 100_000,
        b"\xdf\xff\xff\xff\xff\x01" * 100_000,
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 1_000_000,
        b"\xc7\xff\xff",
        b"\xc1",
        b"\x92\x01",
        b"\x01\x01",
        b"\xd7\xff" + b"\xff" * 8,
        b"\xc7\x0c\xff" + b"\xff" * 12,
        b"\x81\x91\x01\x02",
    ],
    ids=range(11),
)
def test_bombs_of_msgpack_are_refused(data):
    with pytest.raises((ValueError, TypeError, OverflowError)):
        MSGPACK.decode(data)
    with pytest.raises(ObjectError):
        deaggregate(data)[0].object("msgpack")


# --- records ---


def test_a_record_tells_its_object():
    aggregator = Aggregator(ShardMap.uniform(1))
    for data in (b'{"a": 1}', MSGPACK.encode({"a": 1}), b"\x05"):
        aggregator.add("device-7", data)
    [first, second, third] = deaggregate(
        [{"Data": r.data, "SequenceNumber": "495", "PartitionKey": "a"} for r in aggregator.flush()]
    )
    assert first.object() == second.object() == first.object("json") == {"a": 1}
    assert third.object("raw") == b"\x05"
    assert third.object("msgpack") == 5
    with pytest.raises(ObjectError, match=r"data of 1 bytes of key 'device-7' at 495/2 are no object: "):
        third.object()
    assert first.data == b'{"a": 1}'
    for wrong, error in (("yaml", ValueError), (7, TypeError)):
        with pytest.raises(error, match="codec is one of json, msgpack, raw, or has encode"):
            first.object(wrong)
        with pytest.raises(error, match="codec is one of json, msgpack, raw, or has encode"):
            Producer("s", codec=wrong)
    [payload] = deaggregate(b"\xf8Z\1abc")
    with pytest.raises(PayloadError):
        payload.object()


class Celsius:
    """A codec of one's own."""

    def encode(self, obj):
        return f"{obj:.1f}".encode()

    def decode(self, data):
        return float(data)


def test_objects_through_a_producer(local_kinesis, client):
    local_kinesis.create_stream("objects", 1)
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
    for codec, obj in (
        ("json", {"at": moment}),
        ("msgpack", {"at": moment, "big": 2**70}),
        ("raw", b"x"),
        (Celsius(), 21.5),
    ):
        with Producer("objects", client=client, codec=codec) as producer:
            producer.put_object("device-7", obj).result()
            if codec != "raw":
                with pytest.raises(ObjectError, match="object of key 'device-7': "):
                    producer.put_object("device-7", {1, 2})
            if codec == "raw":
                with pytest.raises(ObjectError, match=r"object of key 'device-7': .*bytes-like"):
                    producer.put_object("device-7", "text")
    [shard] = history.read_all(client, "objects", kcl_rule=True)
    [one, two, three, four] = shard.records
    assert (one.object(), two.object()) == ({"at": moment}, {"at": moment, "big": 2**70})
    assert (three.object("raw"), four.object(Celsius())) == (b"x", 21.5)


def test_codecs_that_are_not_installed_say_what_to_install():
    code = (
        "import sys; sys.modules.update({name: None for name in ('msgpack', 'zstandard', 'orjson', 'msgspec')})\n"
        "import shardpack.codec\n"
        "from shardpack import Producer, deaggregate\n"
        "from shardpack.codec import DictionaryCodec, PayloadReader\n"
        "assert deaggregate(b'[1]')[0].object() == [1]\n"
        "assert PayloadReader().data(b'plain') == b'plain'\n"
        "for make in (lambda: Producer('s', codec='msgpack'), lambda: deaggregate(b'\\x91\\x01')[0].object(),\n"
        "             lambda: DictionaryCodec(b'\\x37\\xa4\\x30\\xec\\1\\1\\1\\1')):\n"
        "    try:\n"
        "        make()\n"
        "    except ImportError as error:\n"
        "        print(str(error).partition(': ')[0])\n"
        "    else:\n"
        "        print('made')\n"
    )
    done = python("-c", code)
    said = ["codec='msgpack' needs msgpack"] * 2 + ["zstd needs a library" if sys.version_info < (3, 14) else "made"]
    assert (done.stdout.splitlines(), done.stderr) == (said, "")
