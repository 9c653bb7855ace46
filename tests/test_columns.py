"""Columns hold what the vectors say, row by row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import wire
from numpy_view import as_array

from shardpack import Columns, MalformedRecordError, deaggregate_columns

native = pytest.mark.native

VECTORS = list(map(json.loads, Path(__file__).with_name("data").joinpath("kpl.jsonl").read_bytes().splitlines()))


def received(data, number):
    return {"Data": data, "PartitionKey": f"outer-{number}", "SequenceNumber": str(number)}


def rows(columns):
    """Every row: parent, sub-sequence number, partition key, explicit hash key, data."""
    keys, hash_keys = columns.partition_keys, columns.explicit_hash_keys
    return [
        (
            columns.parents[i],
            columns.sub_sequence_numbers[i],
            None if columns.partition_key_indices[i] < 0 else keys[columns.partition_key_indices[i]],
            None if columns.explicit_hash_key_indices[i] < 0 else hash_keys[columns.explicit_hash_key_indices[i]],
            bytes(columns.data[columns.offsets[i] : columns.offsets[i + 1]]),
        )
        for i in range(len(columns))
    ]


def expected_rows(vectors):
    found = []
    for parent, vector in enumerate(vectors):
        if vector["expect"]["kind"] == "records":
            for i, (key, hash_key, data, _) in enumerate(vector["expect"]["records"]):
                found.append((parent, i, key, hash_key, bytes.fromhex(data)))
        else:
            found.append((parent, 0, f"outer-{parent}", None, bytes.fromhex(vector["blob"])))
    return found


def of(vectors):
    return [received(bytes.fromhex(vector["blob"]), number) for number, vector in enumerate(vectors)]


@native
@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_each_vector(vector):
    columns = deaggregate_columns(of([vector]))
    assert isinstance(columns, Columns)
    assert rows(columns) == expected_rows([vector])
    assert columns.aggregated == [vector["expect"]["kind"] == "records"]
    [error] = columns.errors
    assert isinstance(error, MalformedRecordError) == (vector["expect"]["kind"] == "malformed")


@native
@pytest.mark.parametrize("vectors", [VECTORS, VECTORS[::-1], VECTORS * 3], ids=["all", "reversed", "thrice"])
def test_all_vectors_together(vectors):
    columns = deaggregate_columns(of(vectors))
    assert rows(columns) == expected_rows(vectors)
    assert columns.sequence_numbers == [str(number) for number in range(len(vectors))]
    assert [source["Data"].hex() for source in columns.sources] == [vector["blob"] for vector in vectors]
    assert columns.left_out == 0


@native
@pytest.mark.parametrize("nothing", [[], [wire.frame(wire.number(9, 1))], {"Records": []}])
def test_no_user_record(nothing):
    columns = deaggregate_columns(nothing)
    assert (len(columns), rows(columns), list(columns.offsets), bytes(columns.data)) == (0, [], [0], b"")


@native
def test_raw_bytes_have_no_key():
    assert rows(deaggregate_columns([b"raw", b""])) == [(0, 0, None, None, b"raw"), (1, 0, None, None, b"")]


@native
def test_the_hash_range():
    inside, outside = wire.aggregate([("a", b"1", 5), ("b", b"2", 6)]), wire.aggregate([("c", b"3", 5), ("d", b"4", 7)])
    columns = deaggregate_columns([outside, inside, b"raw", outside], hash_range=(5, 6))
    assert [row[1:] for row in rows(columns)] == [(0, "a", "5", b"1"), (1, "b", "6", b"2"), (0, None, None, b"raw")]
    assert columns.left_out == 4
    assert len(columns.sequence_numbers) == len(columns.aggregated) == 2


@native
def test_strict():
    malformed = next(vector for vector in VECTORS if vector["expect"]["kind"] == "malformed")
    with pytest.raises(MalformedRecordError):
        deaggregate_columns(of([VECTORS[0], malformed]), strict=True)


@native
def test_columns_are_read_only_and_outlive_their_object():
    columns = deaggregate_columns(of(VECTORS))
    views = [columns.data, columns.offsets, columns.partition_key_indices, columns.explicit_hash_key_indices]
    views += [columns.sub_sequence_numbers, columns.parents]
    assert [view.format for view in views] == ["B", "q", "i", "i", "i", "i"]
    before = [view.tobytes() for view in views]
    del columns
    for view, content in zip(views, before, strict=True):
        assert view.readonly
        assert view.tobytes() == content
    with pytest.raises(TypeError):
        Columns()


def test_numpy_takes_them_without_a_copy():
    columns = deaggregate_columns(of(VECTORS))
    for view, kind in ((columns.data, "uint8"), (columns.offsets, "int64"), (columns.parents, "int32")):
        array, address = as_array(view)
        assert (array.dtype.name, array.flags.owndata, as_array(view)[1]) == (kind, False, address)


# --- room ---


def made_of(*user_records):
    """An aggregated record of (partition key, data, explicit hash key), and its rows but for the parent."""
    blob = wire.aggregate(user_records)
    return blob, [
        (i, key, None if hash_key is None else str(hash_key), data)
        for i, (key, data, hash_key) in enumerate(user_records)
    ]


ONE = made_of(*(("k", b"", None) for _ in range(1)))
LARGE = made_of(("large", bytes(300_000), None), ("larger", bytes(400_000), None))
TINY = made_of(*(("k", b"", None) for _ in range(20_000)))
KEYS = made_of(*((f"{i:x}", b"x", None) for i in range(20_000)))
HASH_KEYS = made_of(*(("k", b"x", i) for i in range(5_000)))
MIXED = made_of(*((f"key-{i % 300}", bytes([i % 251]) * (i % 700), i if i % 3 == 0 else None) for i in range(3_000)))


@native
@pytest.mark.parametrize(
    "parts",
    [
        (LARGE, TINY),
        (TINY, LARGE),
        (ONE, TINY, LARGE, KEYS, HASH_KEYS, MIXED),
        (MIXED, HASH_KEYS, KEYS, LARGE, TINY, ONE),
        (LARGE, *[ONE] * 500, TINY, TINY),
        (KEYS,) * 3,
        (MIXED,) * 70,
    ],
    ids=["few, then many", "many, then few", "of all kinds", "reversed", "suddenly many", "keys", "many batches"],
)
def test_room_is_made_for_whatever_comes(parts):
    """How many rows there will be is foreseen; here it is foreseen wrongly, and tables outgrow what they began with."""
    columns = deaggregate_columns([blob for blob, _ in parts])
    assert rows(columns) == [(parent, *row) for parent, (_, found) in enumerate(parts) for row in found]


@native
def test_a_malformed_record_leaves_no_row_behind():
    blob, found = MIXED
    message = blob[4:-16]
    bad = wire.frame(message + wire.record(0, b"more") + wire.record(300, b"no such key"))
    columns = deaggregate_columns([blob, bad, b"raw", blob])
    assert rows(columns) == [
        *((0, *row) for row in found),
        (1, 0, None, None, bad),
        (2, 0, None, None, b"raw"),
        *((3, *row) for row in found),
    ]
    assert [error is not None for error in columns.errors] == [False, True, False, False]
