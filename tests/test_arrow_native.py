"""The exported structures, byte by byte: what they hold, who frees them, and that they outlive what made them."""

from __future__ import annotations

import gc
import json
import threading
import tracemalloc
import weakref
from base64 import b64encode
from datetime import datetime, timedelta, timezone
from pathlib import Path

import arrow_reader
import pytest
import wire
from hypothesis import given
from hypothesis import strategies as st

from shardpack import MalformedRecordError, UserRecordBatch, deaggregate, deaggregate_arrow

pytestmark = pytest.mark.native

VECTORS = list(map(json.loads, Path(__file__).with_name("data").joinpath("kpl.jsonl").read_bytes().splitlines()))
ARRIVED = datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=timezone.utc)
FIELDS = [
    "partition_key",
    "explicit_hash_key",
    "data",
    "sequence_number",
    "sub_sequence_number",
    "approximate_arrival_timestamp",
    "shard_id",
    "aggregated",
    "error",
]


def get_records(blobs, **more):
    return [
        {"Data": blob, "PartitionKey": f"outer-{i}", "SequenceNumber": str(i), **more} for i, blob in enumerate(blobs)
    ]


def lambda_records(blobs, shard="shardId-000000000006"):
    return [
        {
            "eventID": f"{shard}:{i}",
            "kinesis": {
                "data": b64encode(blob).decode(),
                "partitionKey": f"outer-{i}",
                "sequenceNumber": str(i),
                "approximateArrivalTimestamp": 1709251199.123 + i,
            },
        }
        for i, blob in enumerate(blobs)
    ]


def as_text(key):
    """As Python writes bytes that are not UTF-8."""
    return None if key is None else key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def expected(records):
    """The columns that the user records of ``deaggregate`` give."""
    found = {name: [] for name in FIELDS}
    for record in deaggregate(records):
        for name in FIELDS:
            found[name].append(getattr(record, name))
    found["partition_key"] = list(map(as_text, found["partition_key"]))
    found["error"] = [None if error is None else str(error) for error in found["error"]]
    return found


def holds(records):
    """Read the batches of these records, payloads copied and viewed, and compare them with their user records."""
    found = arrow_reader.read(deaggregate_arrow(records))
    assert found == expected(records)
    assert arrow_reader.read(deaggregate_arrow(records, zero_copy=True)) == found
    return found


BLOBS = [bytes.fromhex(vector["blob"]) for vector in VECTORS]


@pytest.mark.parametrize("blob", BLOBS, ids=[vector["name"] for vector in VECTORS])
def test_each_vector(blob):
    holds(get_records([blob]))


@pytest.mark.parametrize(
    "records",
    [
        get_records(BLOBS, ApproximateArrivalTimestamp=ARRIVED),
        lambda_records(BLOBS[::-1]),
        get_records(BLOBS * 2) + lambda_records(BLOBS, "shardId-000000000007") + lambda_records(BLOBS),
        BLOBS,
        [*get_records(BLOBS[:5]), *BLOBS[5:10], *lambda_records(BLOBS[10:])],
        [b"raw", b"", *get_records([b"raw", b""])],
    ],
    ids=["GetRecords", "Lambda", "several shards", "bytes", "mixed", "raw"],
)
def test_batches(records):
    holds(records)


@pytest.mark.parametrize("nothing", [[], [wire.frame(wire.number(9, 1))], {"Records": []}])
def test_no_user_record(nothing):
    assert holds(nothing) == {name: [] for name in FIELDS}


@pytest.mark.parametrize("rows", [*range(1, 18), 63, 64, 65, 2000])
def test_nulls_in_every_place_of_a_bitmap(rows):
    """Hash keys for every third user record; Kinesis records with and without a key, an arrival and a shard."""
    user_records = [(f"key-{i % 7}", str(i).encode(), i if i % 3 == 0 else None) for i in range(rows)]
    blob = wire.aggregate(user_records)
    found = holds([b"first", *get_records([blob, b"raw"]), blob, *lambda_records([b"raw", blob]), b"last"])
    assert found["explicit_hash_key"][1 : rows + 1] == [str(i) if i % 3 == 0 else None for i in range(rows)]


def test_one_dictionary_of_distinct_keys_for_all_tables():
    """Tables repeat one another, and one may repeat itself."""
    tables = [[b"a", b"b"], [b"b", b"a"], [b"c", b"c", b"a", b"c"]]
    blobs = [
        wire.frame(
            b"".join(wire.content(1, key) for key in keys)
            + b"".join(wire.content(2, b"7") for _ in keys)
            + b"".join(wire.record(i, b"", i) for i in range(len(keys)))
        )
        for keys in tables
    ]
    found = holds([*get_records(blobs), *get_records([b"raw"])])  # two records with sequence number 0
    assert found["partition_key"] == ["a", "b", "b", "a", "c", "c", "a", "c", "outer-0"]
    assert found["explicit_hash_key"] == ["7"] * 8 + [None]
    assert found["sequence_number"] == ["0"] * 2 + ["1"] * 2 + ["2"] * 4 + ["0"]


@pytest.mark.parametrize("size", range(30))
def test_payloads_around_the_size_that_a_view_holds(size):
    data = bytes(range(1, size + 1))
    last = wire.frame(wire.content(1, b"k") + wire.record(0, data))  # its payload ends where the message does
    other = wire.frame(wire.content(1, b"k") + wire.record(0, data, rest=wire.number(9, 1)))  # read the long way
    found = holds([*get_records([last, other, data]), data])
    assert found["data"] == [data] * 4


def test_a_view_is_of_the_very_data():
    blob = wire.aggregate([("a", b"twelve bytes", None), ("b", b"more than twelve bytes", None)])
    records = get_records([blob, b"raw, and not short"])
    _, capsule = deaggregate_arrow(records, zero_copy=True).__arrow_c_array__()
    array = arrow_reader.take(capsule, b"arrow_array")
    data = array.children[FIELDS.index("data")].contents
    content = [arrow_reader.ctypes.cast(record["Data"], arrow_reader.ctypes.c_void_p).value for record in records]
    assert [data.buffers[2], data.buffers[3]] == [content[0] + len(wire.MAGIC), content[1]]
    arrow_reader.release(array)


def test_what_is_not_copied_is_not_in_the_columns():
    columns = deaggregate_arrow(get_records(BLOBS), zero_copy=True).columns
    for name in ("data", "offsets"):
        with pytest.raises(AttributeError, match="with zero_copy no payload is copied"):
            getattr(columns, name)
    assert columns.partition_keys == deaggregate_arrow(get_records(BLOBS)).columns.partition_keys


def test_keys_of_every_size():
    """Keys that differ in one byte, wherever it is, stay apart; so do prefixes of one another, and zero bytes."""
    keys = {b"\x00" * size for size in range(40)}
    keys |= {b"k" * at + b"x" + b"k" * (size - at - 1) for size in range(1, 40) for at in range(size)}
    blobs = [wire.aggregate([(key, key, None) for key in sorted(keys, key=order)]) for order in (None, bytes.__len__)]
    found = holds(get_records(blobs))
    assert [key.encode() for key in found["partition_key"]] == found["data"]


def test_many_keys():
    blobs = [
        wire.aggregate([(f"device-{i}", b"", None) for i in range(start, start + 3000)]) for start in (0, 1000, 9000)
    ]
    found = holds(get_records(blobs))
    assert len(set(found["partition_key"])) == 7000


@given(st.lists(st.one_of(st.binary(max_size=12), st.text(max_size=8).map(str.encode)), max_size=20))
def test_keys_that_are_no_text(keys):
    blob = wire.frame(
        b"".join(wire.content(1, key) for key in keys) + b"".join(wire.record(i, b"") for i in range(len(keys)))
    )
    found = arrow_reader.read(deaggregate_arrow(blob)) if keys else {"partition_key": []}
    assert found["partition_key"] == [key.decode("utf-8", "backslashreplace") for key in keys]


@pytest.mark.parametrize("lead", range(0xC0, 0x100))
def test_sequences_at_the_edges_of_utf8(lead):
    tails = [b"", b"\x7f", b"\x80", b"\x8f", b"\x90", b"\x9f", b"\xa0", b"\xbf", b"\xc0"]
    keys = [
        b"long enough to go the other way: " * at + bytes([lead]) + a + b + c
        for at in (0, 1)
        for a in tails
        for b in tails
        for c in (b"", b"\x80", b"\xbf", b"z")
    ]
    blob = wire.frame(
        b"".join(wire.content(1, key) for key in keys) + b"".join(wire.record(i, b"") for i in range(len(keys)))
    )
    found = arrow_reader.read(deaggregate_arrow(blob))
    assert found["partition_key"] == [key.decode("utf-8", "backslashreplace") for key in keys]


def test_an_escaped_key_and_its_text_are_one_entry():
    blob = wire.aggregate([(b"\xff", b"", None), (b"\\xff", b"", None)])
    assert arrow_reader.read(deaggregate_arrow(blob))["partition_key"] == ["\\xff", "\\xff"]


def test_a_key_with_a_lone_surrogate():
    """JSON can say so."""
    [record] = lambda_records([b"raw"])
    record["kinesis"]["partitionKey"] = json.loads(r'"a\ud800"')
    assert arrow_reader.read(deaggregate_arrow(record))["partition_key"] == ["a\\xed\\xa0\\x80"]


def test_what_is_malformed_says_so():
    blobs = [BLOBS[i] for i, vector in enumerate(VECTORS) if vector["expect"]["kind"] == "malformed"]
    batch = deaggregate_arrow(get_records([b"raw", *blobs]))
    found = arrow_reader.read(batch)
    assert found["error"][0] is None
    assert all(error.startswith("malformed aggregated record: ") for error in found["error"][1:])
    assert found["data"] == [b"raw", *blobs]
    assert found["aggregated"] == [False] * (len(blobs) + 1)
    with pytest.raises(MalformedRecordError):
        deaggregate_arrow(blobs, strict=True)


def test_the_hash_range():
    inside, outside = wire.aggregate([("a", b"1", 5), ("b", b"2", 6)]), wire.aggregate([("c", b"3", 5), ("d", b"4", 7)])
    for zero_copy in (True, False):
        batch = deaggregate_arrow([outside, inside, b"raw"], hash_range=(5, 6), zero_copy=zero_copy)
        assert arrow_reader.read(batch)["data"] == [b"1", b"2", b"raw"]
    assert (len(batch), batch.left_out, batch.columns.left_out) == (3, 2, 2)


def test_times():
    zone = timezone(timedelta(hours=-3, minutes=-30))
    times = [ARRIVED, ARRIVED.astimezone(zone), datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc), None]
    times += [datetime(1, 1, 1, tzinfo=timezone.utc), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc)]
    records = [{"Data": b"raw", "ApproximateArrivalTimestamp": time} for time in times]
    holds(records)
    local = datetime(2024, 2, 29, 12, 0)  # noqa: DTZ001 (as somebody may have it)
    [found] = arrow_reader.read(deaggregate_arrow({"Data": b"", "ApproximateArrivalTimestamp": local}))[
        "approximate_arrival_timestamp"
    ]
    assert found.timestamp() == local.timestamp()


def test_sub_sequence_numbers_of_records_that_were_taken_apart_before():
    record = {
        "recordId": "1",
        "data": "cmF3",
        "kinesisRecordMetadata": {"partitionKey": "a", "sequenceNumber": "1", "subsequenceNumber": 3, "shardId": "s"},
    }
    found = holds([*get_records([wire.aggregate([("a", b"1", None), ("b", b"2", None)])]), record])
    assert found["sub_sequence_number"] == [0, 1, 3]


@pytest.mark.parametrize(
    ("field", "what"),
    [
        ({"SequenceNumber": 17}, "sequence number of a Kinesis record is str or None, not int"),
        ({"PartitionKey": b"key"}, "partition key of a Kinesis record is str or None, not bytes"),
    ],
)
def test_what_no_column_can_hold(field, what):
    with pytest.raises(TypeError, match=what):
        deaggregate_arrow({"Data": b"raw", **field})


# --- lifetimes ---


BLOB = wire.aggregate([("a", b"one", 5), ("b", b"two, which is longer", None)])
zero_copy = pytest.mark.parametrize("zero_copy", [False, True])


class Source(dict):
    """A record that says when it goes."""


def test_the_schema():
    schema = arrow_reader.take(deaggregate_arrow([]).__arrow_c_schema__(), b"arrow_schema")
    assert [schema.children[i].contents.name.decode() for i in range(schema.n_children)] == FIELDS
    arrow_reader.release(schema)


@zero_copy
def test_an_array_outlives_what_it_was_made_from(zero_copy):
    source = Source(get_records([bytes(bytearray(BLOB))])[0])  # bytes that nobody else has
    gone = weakref.ref(source)
    schema_capsule, array_capsule = deaggregate_arrow([source], zero_copy=zero_copy).__arrow_c_array__()
    del source
    gc.collect()
    assert gone() is None  # a batch does not hold the Kinesis records it came in
    schema = arrow_reader.take(schema_capsule, b"arrow_schema")
    array = arrow_reader.take(array_capsule, b"arrow_array")
    del schema_capsule, array_capsule
    assert arrow_reader.columns(schema, array)["data"] == [b"one", b"two, which is longer"]
    arrow_reader.release(array)
    arrow_reader.release(schema)


@zero_copy
@pytest.mark.parametrize("kept", range(len(FIELDS)))
def test_a_child_outlives_its_parent(kept, zero_copy):
    batch = deaggregate_arrow(get_records([bytes(bytearray(BLOB))]), zero_copy=zero_copy)
    schema_capsule, array_capsule = batch.__arrow_c_array__()
    del batch
    schema = arrow_reader.take(schema_capsule, b"arrow_schema")
    array = arrow_reader.take(array_capsule, b"arrow_array")
    child_schema = arrow_reader.moved(schema.children[kept].contents)
    child = arrow_reader.moved(array.children[kept].contents)
    arrow_reader.release(schema)
    arrow_reader.release(array)
    assert arrow_reader.values(child_schema, child) == expected(get_records([BLOB]))[FIELDS[kept]]
    arrow_reader.release(child)
    arrow_reader.release(child_schema)


@zero_copy
@pytest.mark.parametrize("opened", [False, True])
def test_memory_goes_with_the_last_that_holds_it(opened, zero_copy):
    blob = bytearray(wire.aggregate([("a", bytes(100_000), None)]))
    tracemalloc.start()
    try:
        for _ in range(100):
            batch = deaggregate_arrow(get_records([bytes(blob)]), zero_copy=zero_copy)
            capsules = [batch.__arrow_c_schema__(), *batch.__arrow_c_array__(), batch.__arrow_c_stream__()]
            if opened:
                arrow_reader.release(arrow_reader.take(capsules[1], b"arrow_schema"))
                arrow_reader.release(arrow_reader.take(capsules[2], b"arrow_array"))
            del batch, capsules
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left < 1_000_000  # of the 10 MB that there were


def test_released_in_the_capsule():
    _, capsule = deaggregate_arrow(get_records([BLOB])).__arrow_c_array__()
    arrow_reader.release(arrow_reader.inside(capsule, b"arrow_array"))
    del capsule  # which must not release it once more


def test_a_stream_has_one_batch():
    capsule = deaggregate_arrow(get_records([BLOB])).__arrow_c_stream__()
    stream = arrow_reader.take(capsule, b"arrow_array_stream")
    at = arrow_reader.ctypes.addressof(stream)
    for _ in range(2):
        schema, array = arrow_reader.Schema(), arrow_reader.Array()
        assert stream.get_schema(at, schema) == 0
        assert schema.n_children == len(FIELDS)
        arrow_reader.release(schema)
    assert stream.get_next(at, array) == 0
    assert array.length == 2
    after = arrow_reader.Array()
    assert stream.get_next(at, after) == 0
    assert not after.release
    assert stream.get_last_error(at) is None
    arrow_reader.release(stream)
    arrow_reader.release(array)  # which outlives its stream


def test_streams_are_made_as_often_as_they_are_asked_for():
    batch = deaggregate_arrow(get_records([BLOB]))
    streams = [batch.__arrow_c_stream__() for _ in range(3)]
    assert len({id(stream) for stream in streams}) == 3
    for _ in range(3):
        assert arrow_reader.read(batch) == expected(get_records([BLOB]))


def test_arrays_are_released_on_any_thread():
    batch = deaggregate_arrow(get_records(BLOBS))
    arrays = [arrow_reader.take(batch.__arrow_c_array__()[1], b"arrow_array") for _ in range(64)]
    del batch
    threads = [
        threading.Thread(target=lambda part=arrays[i::4]: [arrow_reader.release(array) for array in part])
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not any(array.release for array in arrays)


def test_a_batch_is_made_by_deaggregate_arrow_alone():
    with pytest.raises(TypeError, match="made by the functions"):
        UserRecordBatch()
    assert repr(deaggregate_arrow([BLOB, b"raw"])) == "<UserRecordBatch of 3 user records from 2 Kinesis records>"
