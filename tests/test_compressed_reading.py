"""Compressed aggregates as consumers get them: each form of deaggregation finds what it finds in the plain ones."""

from __future__ import annotations

import base64
import gc
import json
import pickle
import random
import struct
import subprocess
import sys
from pathlib import Path

import isolated
import pyarrow as pa
import pytest
import wire
import zstandard
from answers import body_of, record
from hypothesis import example, given, settings
from hypothesis import strategies as st
from in_threads import in_threads
from reply_agreement import response

from shardpack import (
    Aggregator,
    MalformedRecordError,
    ShardMap,
    deaggregate,
    deaggregate_arrow,
    deaggregate_columns,
    hash_key,
    iter_deaggregate,
)
from shardpack._native.arrow import batch_of_columns
from shardpack._native.columns import columns_of_received
from shardpack._native.deaggregate import deaggregate_received
from shardpack.codec.zstd_zstandard import UNPACKED_IN_A_TURN, _turns
from shardpack.compat.aws_kinesis_agg.deaggregator import deaggregate_records
from shardpack.consume.replies import take_records

pytestmark = pytest.mark.native

VECTORS = list(map(json.loads, Path(__file__).with_name("data").joinpath("kpl.jsonl").read_bytes().splitlines()))
MAGIC = b"\xf5SPZ"
PADDING = struct.pack("<II", 0x184D2A50, 3) + b"any"


def header(size: int, version: int = 1) -> bytes:
    return MAGIC + struct.pack("<BI", version, size)


def frame(content: bytes, level: int = 3, **options: object) -> bytes:
    return zstandard.ZstdCompressor(level=level, **{"write_checksum": True, **options}).compress(content)


def compressed(message: bytes, level: int = 3) -> bytes:
    """A compressed aggregate as docs/understand/format.md has it, by zstandard alone."""
    packed = frame(message, level)
    missing = -(-len(message) // 64) - 9 - len(packed)
    padding = struct.pack("<II", 0x184D2A5F, missing) + bytes(missing) if missing > 0 else b""
    return header(len(message)) + packed + padding


def is_framed(blob: bytes) -> bool:
    return blob[:4] == wire.MAGIC and len(blob) >= 21 and wire.frame(blob[4:-16]) == blob


BLOBS = {vector["name"]: bytes.fromhex(vector["blob"]) for vector in VECTORS}
SOUND = {name: blob for name, blob in BLOBS.items() if is_framed(blob) and all(r.aggregated for r in deaggregate(blob))}
MALFORMED = {name: blob for name, blob in BLOBS.items() if is_framed(blob) and any(r.error for r in deaggregate(blob))}
MANY = wire.aggregate([(f"key-{i % 9}", b"data %d" % i * (i % 50), i if i % 3 == 0 else None) for i in range(2_000)])
MESSAGE = MANY[4:-16]
RECORD = compressed(MESSAGE)


def get_records(*blobs: bytes) -> list[dict[str, object]]:
    return [{"Data": blob, "PartitionKey": "outer", "SequenceNumber": str(i)} for i, blob in enumerate(blobs)]


def of_columns(columns):
    keys, hash_keys = columns.partition_keys, columns.explicit_hash_keys
    return [
        (
            keys[columns.partition_key_indices[i]] if columns.partition_key_indices[i] >= 0 else None,
            hash_keys[columns.explicit_hash_key_indices[i]] if columns.explicit_hash_key_indices[i] >= 0 else None,
            bytes(columns.data[columns.offsets[i] : columns.offsets[i + 1]]),
            columns.sub_sequence_numbers[i],
            columns.sequence_numbers[columns.parents[i]],
        )
        for i in range(len(columns))
    ]


def batches(*blobs: bytes):
    """What a plain reader and one of compressed aggregates are given."""
    plain = get_records(*blobs)
    packed = [{**each, "Data": compressed(each["Data"][4:-16])} for each in plain]
    return plain, packed


# --- the same as plain ---


def test_there_are_vectors_of_both_kinds():
    assert len(SOUND) > 20
    assert len(MALFORMED) >= 3


@pytest.mark.parametrize("name", SOUND)
def test_the_user_records_are_those_of_the_plain_one(name):
    plain, packed = batches(SOUND[name])
    expected = deaggregate(plain)
    found = deaggregate(packed)
    assert found == expected == list(iter_deaggregate(packed))
    assert {record.error for record in found} <= {None}
    assert [(record.tags, record.aggregated) for record in found] == [(r.tags, r.aggregated) for r in expected]
    assert all(record.source is packed[0] for record in found)


def test_columns_and_arrow_are_those_of_plain_ones_between_others():
    raw = [{"Data": b"raw", "PartitionKey": "r", "SequenceNumber": "9"}]
    plain, packed = batches(*SOUND.values(), MANY)
    plain, packed = raw + plain + raw, raw + packed[:7] + plain[7:9] + packed[9:] + raw
    assert of_columns(deaggregate_columns(packed)) == of_columns(deaggregate_columns(plain))
    assert deaggregate_columns(packed).errors == [None] * len(packed)
    assert deaggregate_columns(packed).aggregated == deaggregate_columns(plain).aggregated
    expected = pa.record_batch(deaggregate_arrow(plain))
    for zero_copy in (False, True):
        batch = pa.record_batch(deaggregate_arrow(packed, zero_copy=zero_copy))
        batch.validate(full=True)
        if zero_copy:
            batch = batch.set_column(2, "data", batch["data"].cast(pa.large_binary()))
        assert batch.to_pylist() == expected.to_pylist()


def test_views_outlive_the_records_they_came_from():
    batch = pa.record_batch(
        deaggregate_arrow([compressed(MESSAGE), MANY, b"a raw record of a few bytes"], zero_copy=True)
    )
    gc.collect()
    filler = [bytes(len(MESSAGE)) for _ in range(20)]
    expected = [r.data for r in deaggregate(MANY)] * 2 + [b"a raw record of a few bytes"]
    assert batch["data"].to_pylist() == expected
    assert len(filler) == 20


def test_user_records_outlive_their_sources():
    found = deaggregate([compressed(MESSAGE)])
    expected = deaggregate([MANY])
    gc.collect()
    assert [record.data for record in found] == [record.data for record in expected]
    for copy in (found[7].detach(), pickle.loads(pickle.dumps(found[7]))):  # noqa: S301
        assert copy == found[7] == expected[7]
        assert copy.source is None
        assert copy.aggregated


@pytest.mark.parametrize("name", ["SOUND", "MALFORMED"])
def test_the_native_reply(name):
    blobs = list(globals()[name].values())
    packed = [compressed(blob[4:-16]) for blob in blobs]
    plain, read = (take_records(response(body_of(*map(record, some)))) for some in (blobs, packed))
    out, expected = [], []
    deaggregate_received(read, None, False, out)
    deaggregate_received(plain, None, False, expected)
    if name == "SOUND":
        assert out == expected
        assert of_columns(columns_of_received(read, None, False)) == of_columns(columns_of_received(plain, None, False))
        assert pa.record_batch(batch_of_columns(columns_of_received(read, None, False, True))).num_rows == len(out)
    else:
        assert [each.data for each in out] == packed
        assert all(each.error is not None for each in out)
    assert [each.source["Data"] for each in out if each.error] == [each.data for each in out if each.error]


def test_lambda_events_and_the_drop_in():
    def event(blob):
        kinesis = {"data": base64.b64encode(blob).decode(), "partitionKey": "p", "sequenceNumber": "1"}
        return {"Records": [{"kinesis": kinesis, "eventSource": "aws:kinesis"}]}

    plain, packed = event(MANY), event(RECORD)
    assert deaggregate(packed) == deaggregate(plain)
    assert deaggregate_records(packed["Records"]) == deaggregate_records(plain["Records"])
    odd = wire.content(1, b"a") + wire.content(2, b"no number") + wire.record(0, b"d", 0)
    assert deaggregate_records(event(compressed(odd))["Records"]) == deaggregate_records(
        event(wire.frame(odd))["Records"]
    )
    bad = event(compressed(b"no message"))["Records"]
    assert deaggregate_records(bad) == bad


def test_the_hash_range_leaves_out_what_it_leaves_out_of_plain_ones():
    keys = [f"key-{i}" for i in range(9)]
    plain, packed = batches(*(wire.aggregate([(key, b"1", None), (key, b"2", None)]) for key in keys))
    low, high = sorted(hash_key(key) for key in keys)[2:7:4]
    expected = deaggregate(plain, hash_range=(low, high))
    found = deaggregate(packed, hash_range=(low, high))
    assert (found, found.left_out) == (expected, expected.left_out) == (expected, 8)
    columns = deaggregate_columns(packed, hash_range=(low, high))
    assert (len(columns), columns.left_out) == (10, 8)


def test_one_that_is_a_user_record_stays_data():
    inside = deaggregate(wire.aggregate([("a", RECORD, None), ("b", b"", None)]))
    assert [record.data for record in inside] == [RECORD, b""]
    assert deaggregate(compressed(wire.aggregate([("a", RECORD, None)])[4:-16]))[0].data == RECORD


@pytest.mark.parametrize("data", [MAGIC, RECORD, MAGIC + b"what a device sent"])
def test_data_that_looks_like_one_is_wrapped_by_the_writer(data):
    aggregator = Aggregator(ShardMap.uniform(1))
    aggregator.add("key", data)
    [sealed] = aggregator.flush()
    assert sealed.data == wire.aggregate([("key", data, None)])
    [found] = deaggregate(sealed.data)
    assert (found.data, found.partition_key, found.error) == (data, "key", None)


def test_many_threads_read_the_same_records():
    packed = get_records(*(compressed(blob[4:-16]) for blob in SOUND.values()))
    expected = deaggregate(packed)
    body = body_of(*(record(each["Data"]) for each in packed))
    shared = take_records(response(body))

    def read():
        out = []
        deaggregate_received(shared, None, False, out)
        return [record.data for record in out]

    assert in_threads(8, read) == [[record.data for record in expected]] * 8


# --- what is wrong ---

SMALL = wire.aggregate([("a", b"one", None), ("b", b"two", 5)])[4:-16]
PACKED = frame(SMALL)
SIZE = len(SMALL)


def one_bit_off(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


WRONG = {
    "the magic alone": (MAGIC, r"it is shorter than its header \(byte 4\)"),
    "half a header": (header(SIZE)[:8], "it is shorter than its header"),
    "version 2": (header(SIZE, 2) + PACKED, r"another version, which needs a newer shardpack \(byte 4\)"),
    "no message": (header(0) + frame(b""), r"a message of no bytes \(byte 5\)"),
    "a bomb": (
        header(64 * (9 + 40) + 1) + bytes(40),
        r"unpacks to 3,137 bytes, and 3,136 are the most of 49 \(byte 5\)",
    ),
    "over 64 MiB": (
        header((64 << 20) + 1) + bytes(2 << 20),
        "unpacks to 67,108,865 bytes, and 67,108,864 are the most",
    ),
    "no frame": (header(SIZE) + b"not zstd" * 4, r"no zstd frame follows the header \(byte 9\)"),
    "nothing behind the header": (header(9), "its zstd frame is cut off"),
    "a skippable frame first": (header(SIZE) + PADDING + PACKED, "no zstd frame follows"),
    "a reserved bit": (header(SIZE) + PACKED[:4] + bytes([PACKED[4] | 8]) + PACKED[5:], "no zstd frame follows"),
    "another size": (header(SIZE - 1) + PACKED, "another size than the header says"),
    "no size": (header(SIZE) + frame(SMALL, write_content_size=False), "another size than the header says"),
    "no checksum": (header(SIZE) + frame(SMALL, write_checksum=False), "no checksum"),
    "cut off": (header(SIZE) + PACKED[:-1], "its zstd frame is cut off"),
    "two frames": (header(SIZE) + PACKED * 2, "something else than padding follows its zstd frame"),
    "a byte behind": (header(SIZE) + PACKED + b"\0", "something else than padding follows"),
    "padding cut off": (header(SIZE) + PACKED + PADDING[:-1], "something else than padding follows"),
    "two paddings": (header(SIZE) + PACKED + PADDING * 2, "something else than padding follows"),
    "checksum": (header(SIZE) + one_bit_off(PACKED, len(PACKED) - 1), r"\(byte 9\)"),
    "no such message": (compressed(b"\xff" * 40), r"a field does not parse \(user record 0, byte 0 of the message\)"),
    "a record without data": (compressed(wire.content(3, wire.number(1, 0))), "a record has no data .* of the message"),
    "an index outside": (compressed(wire.content(1, b"a") + wire.record(1, b"")), r"index is outside .* byte 3 of the"),
    "a reserved block": (header(SIZE) + PACKED[:6] + b"\x07\0\0" + PACKED[9:], "a block of no known type"),
}


def test_padding_is_passed_over():
    for padding in (b"", PADDING, struct.pack("<II", 0x184D2A5F, 0)):
        assert deaggregate(header(SIZE) + PACKED + padding) == deaggregate(wire.frame(SMALL))


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_comes_back_whole_with_an_error_that_says_what(name):
    data, message = WRONG[name]
    good = compressed(SMALL)
    records = get_records(good, data, good)
    found = deaggregate(records)
    assert [record.data for record in found] == [b"one", b"two", data, b"one", b"two"]
    bad = found[2]
    assert (bad.partition_key, bad.sequence_number, bad.aggregated) == ("outer", "1", False)
    assert bad.source is records[1]
    assert isinstance(bad.error, MalformedRecordError)
    with pytest.raises(MalformedRecordError, match=message):
        raise bad.error
    copy = pickle.loads(pickle.dumps(bad))  # noqa: S301
    assert copy == bad == bad.detach()
    assert str(copy.error) == str(bad.error)
    for call in (deaggregate, deaggregate_columns, deaggregate_arrow):
        with pytest.raises(MalformedRecordError, match=f"{message}.*, in the Kinesis record 1$") as raised:
            call(records, strict=True)
        assert raised.value.source is records[1]
    before = []
    with pytest.raises(MalformedRecordError, match=message):
        before.extend(iter_deaggregate(records, strict=True))
    columns = deaggregate_columns(records)
    assert list(map(str, columns.errors)) == ["None", str(bad.error), "None"]
    assert of_columns(columns)[2] == ("outer", None, data, 0, "1")
    arrow = pa.record_batch(deaggregate_arrow(records, zero_copy=True)).to_pylist()
    assert [(row["data"], row["error"]) for row in arrow] == [
        (record.data, record.error and str(record.error)) for record in found
    ]
    assert [(r.data, r.error and str(r.error)) for r in deaggregate(records, hash_range=(0, 2**128 - 1))] == [
        (r.data, r.error and str(r.error)) for r in found
    ]


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_message_comes_back_as_the_record_it_came_in(name):
    blob = MALFORMED[name]
    [found] = deaggregate(compressed(blob[4:-16]))
    plain = deaggregate(blob)[0].error
    assert found.data == compressed(blob[4:-16])
    assert found.error.record_index == plain.record_index
    assert found.error.offset == plain.offset - 4


def unpacked(data: bytes) -> bytes | None:
    """What the format's page says of a record: its message, by zstandard alone; or None."""
    if len(data) < 9 or data[:5] != MAGIC + b"\1":
        return None
    size = int.from_bytes(data[5:9], "little")
    if not 0 < size <= min(64 * len(data), 64 << 20):
        return None
    try:
        parameters = zstandard.get_frame_parameters(data[9:])
        stream = zstandard.ZstdDecompressor().decompressobj()
        message = stream.decompress(data[9:])
    except zstandard.ZstdError:
        return None
    rest = stream.unused_data
    is_right = data[9:13] == b"\x28\xb5\x2f\xfd" and data[13] & 3 == 0 and stream.eof
    is_right = is_right and parameters.content_size == size and parameters.has_checksum
    if rest:
        magic, length = struct.unpack("<II", rest[:8]) if len(rest) >= 8 else (0, 0)
        is_right = is_right and magic & ~15 == 0x184D2A50 and length == len(rest) - 8
    return message if is_right else None


@st.composite
def damaged(draw):
    messages = st.sampled_from([SMALL, MESSAGE, b"", b"\x0a\x01a", bytes(5_000), b"\xff" * 300])
    message = draw(messages | st.binary(max_size=200))
    data = bytearray(compressed(message, draw(st.sampled_from([-5, 1, 3, 12]))))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, min(len(data) - 1, 40)) | st.integers(0, len(data) - 1))
        match draw(st.integers(0, 5)):
            case 0:
                data[place] ^= 1 << draw(st.integers(0, 7))
            case 1:
                del data[place:]
            case 2:
                data += draw(st.binary(max_size=12) | st.just(PADDING) | st.just(PACKED))
            case 3:
                data[5:9] = draw(st.integers(0, 2**32 - 1) | st.integers(0, 20_000)).to_bytes(4, "little")
            case 4:
                data[place:place] = draw(st.binary(max_size=4))
            case 5:
                data[place : place + draw(st.integers(1, 4))] = b""
        if not data:
            break
    return bytes(data)


@settings(max_examples=600, deadline=None)
@given(damaged())
@example(header(SIZE) + PACKED + PADDING)
@example(header(300) + PACKED)
def test_whatever_is_there_nothing_is_lost(data):
    if data[:4] != MAGIC:
        return
    message = unpacked(data)
    plain = None if message is None else deaggregate(wire.frame(message))
    found = deaggregate([data, RECORD])
    columns = of_columns(deaggregate_columns([data]))
    if plain is not None and (not plain or plain[0].aggregated):
        assert found[: len(plain)] == plain
        assert len(columns) == len(plain)
    else:
        assert found[0].data == data
        assert isinstance(found[0].error, MalformedRecordError)
        assert [row[2] for row in columns] == [data]
    assert len(found) == (1 if plain is None or (plain and not plain[0].aggregated) else len(plain)) + 2_000


# --- memory, turns, libraries ---

PEAK = """
import sys, zstandard
from shardpack import deaggregate
sys.path.insert(0, {tests!r})
from process_memory import memory
from test_compressed_reading import {name}
data = {name}()
deaggregate(data[:200])
before = memory("VmHWM")
[found] = deaggregate(data)
assert found.error is not None and found.data == data
print(memory("VmHWM") - before)
"""


def bomb_by_its_frame() -> bytes:
    """A record that says 64 KiB and a frame that says, and unpacks to, 1 GiB."""
    content = zstandard.ZstdCompressor(write_checksum=True).compress(bytes(1 << 30))
    return header(65_536) + content


def bomb_behind_its_size() -> bytes:
    """A frame whose header says 64 KiB, with blocks of 1 GiB behind it."""
    blocks = (128 << 10 << 3 | 1 << 1).to_bytes(3, "little") + b"a"
    checksum = bytes(4)
    end = (1).to_bytes(3, "little")
    head = b"\x28\xb5\x2f\xfd" + bytes([1 << 7 | 1 << 2]) + bytes([17 << 3]) + (65_536).to_bytes(4, "little")
    return header(65_536) + head + blocks * 8_192 + end + checksum


def bomb_of_a_window() -> bytes:
    """A frame with a window of 2 GiB, and little in it."""
    head = b"\x28\xb5\x2f\xfd" + bytes([1 << 7 | 1 << 2]) + bytes([21 << 3]) + (4_096).to_bytes(4, "little")
    return header(4_096) + head + (4_095 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"a" + bytes(4) + PADDING * 8


@pytest.mark.parametrize("bomb", [bomb_by_its_frame, bomb_behind_its_size, bomb_of_a_window])
def test_a_bomb_takes_no_more_than_64_times_its_size(bomb):
    data = bomb()
    taken = isolated.run(PEAK.format(tests=str(Path(__file__).parent), name=bomb.__name__))
    assert int(taken) < 64 * len(data) + (4 << 20)


def test_ten_thousand_small_ones_are_few_turns_without_the_gil():
    sizes = [300] * 10_000
    turns = list(_turns(sizes, UNPACKED_IN_A_TURN))
    assert len(turns) == 2
    assert [place for start, stop in turns for place in range(start, stop)] == list(range(10_000))
    sizes = [random.Random(1).choice([1, 3_000, 1_500_000, 40_000]) for _ in range(500)]
    turns = list(_turns(sizes, UNPACKED_IN_A_TURN))
    assert [place for start, stop in turns for place in range(start, stop)] == list(range(500))
    assert all(sum(sizes[start:stop]) <= UNPACKED_IN_A_TURN or stop == start + 1 for start, stop in turns)
    assert list(_turns([], UNPACKED_IN_A_TURN)) == []


def test_one_bad_frame_among_thousands_spoils_no_other():
    small = [wire.aggregate([("k", b"%d" % i, None)])[4:-16] for i in range(3_000)]
    records = [compressed(message) for message in small]
    for place in (0, 1, 1_777, 2_999):
        records[place] = one_bit_off(records[place], len(records[place]) - 1)
    found = deaggregate(records)
    assert len(found) == 3_000
    for i, each in enumerate(found):
        assert (each.error is None) == (i not in {0, 1, 1_777, 2_999})
        assert each.data == (b"%d" % i if each.error is None else records[i])


WITHOUT = """
import sys
sys.modules["zstandard"] = sys.modules["compression"] = sys.modules["compression.zstd"] = None
import shardpack
from shardpack.codec.compressed import compressed
data = bytes.fromhex({data!r})
[found] = shardpack.deaggregate(data)
assert found.data == data and not found.aggregated
print(found.error)
[whole] = shardpack.deaggregate_columns([data]).errors
assert str(whole) == str(found.error)
assert [r.data for r in shardpack.deaggregate([data, {plain!r}])] == [data, b"one", b"two"]
try:
    shardpack.deaggregate(data, strict=True)
except shardpack.MalformedRecordError as error:
    print(error)
try:
    compressed([b"message"])
except ImportError as error:
    print(error)
"""


def test_without_a_library_the_record_comes_back_whole_and_says_what_to_install():
    told = isolated.run(WITHOUT.format(data=compressed(SMALL).hex(), plain=wire.frame(SMALL))).splitlines()
    assert len(told) == 3
    assert all("pip install 'shardpack[codec]'" in line and "Python 3.14" in line for line in told)


LIBRARY = """
import sys
{block}
sys.path.insert(0, {tests!r})
from process_memory import memory
from shardpack import deaggregate
from shardpack.codec import zstd
from shardpack.codec.compressed import compressed
import wire
assert zstd.library().__name__.endswith({name!r}), zstd.library()
messages = [wire.aggregate([("k%d" % i, b"data" * i, i)])[4:-16] for i in range(300)]
messages.append(wire.aggregate([("k", bytes(3_000_000), None)])[4:-16])
records = compressed(messages, 3)
by_theirs = [bytes.fromhex(line) for line in sys.stdin.read().split()]
assert deaggregate(records) == deaggregate(list(map(wire.frame, messages)))
[whole] = deaggregate(by_theirs[:1])
assert whole.error is None and whole.data == b"one"
for bad in by_theirs[1:]:
    [found] = deaggregate(bad)
    assert found.error is not None and found.data == bad, bad
print(*(record.hex() for record in records[:20] + records[-1:]))
"""
BACKPORT = """
import types
try:
    import compression.zstd
except ImportError:
    import backports.zstd
    sys.modules["compression"] = package = types.ModuleType("compression")
    package.zstd = sys.modules["compression.zstd"] = backports.zstd
sys.modules["zstandard"] = None
"""
CFFI = """
import os
os.environ["PYTHON_ZSTANDARD_IMPORT_POLICY"] = "cffi"
import zstandard
assert zstandard.backend == "cffi"
"""


@pytest.mark.parametrize(
    ("block", "name"), [(BACKPORT, "zstd_python"), (CFFI, "zstd_zstandard"), ("", "zstd_zstandard")]
)
def test_every_library_reads_what_the_others_write(block, name):
    if block == BACKPORT:
        pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    if block == CFFI:
        pytest.importorskip("zstandard.backend_cffi")
    lines = [compressed(wire.aggregate([("a", b"one", None)])[4:-16]).hex()]
    bad = [header(SIZE) + one_bit_off(PACKED, place) for place in (len(PACKED) - 1, len(PACKED) - 9)]
    lines += [data.hex() for data in (*bad, bomb_behind_its_size())]
    code = LIBRARY.format(block=block, tests=str(Path(__file__).parent), name=name)
    done = subprocess.run(
        [sys.executable, "-c", code], input="\n".join(lines), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for record_of_theirs in map(bytes.fromhex, done.stdout.split()):
        assert unpacked(record_of_theirs) is not None
        assert len(record_of_theirs) * 64 >= len(unpacked(record_of_theirs))
