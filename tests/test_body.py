"""Bodies of PutRecords as csrc/body writes them, against Python's json and base64."""

from __future__ import annotations

import base64
import gc
import json
import random
import sys
import threading
import tracemalloc
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardpack import InvalidPartitionKeyError
from shardpack._native.body import BodyWriter

pytestmark = pytest.mark.native

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256)
HASH_KEYS = st.none() | st.integers(0, 2**128 - 1).map(str)


def record(partition_key="k", data=b"data", explicit_hash_key=None):
    return SimpleNamespace(partition_key=partition_key, data=data, explicit_hash_key=explicit_hash_key)


def written(*records, before=b'{"Records": ', behind=b', "StreamName": "s"}'):
    return BodyWriter().write(records, before, behind)


def read(body):
    """The entries of a body, by readers that are not ours."""
    parsed = json.loads(body)
    assert list(parsed) == ["Records", "StreamName"]
    return [
        (
            entry.pop("PartitionKey"),
            base64.b64decode(entry.pop("Data"), validate=True),
            entry.pop("ExplicitHashKey", None),
        )
        for entry in parsed["Records"]
        if set(entry) <= {"PartitionKey", "Data", "ExplicitHashKey"}
    ]


@given(st.lists(st.tuples(KEYS, st.binary(max_size=400), HASH_KEYS), max_size=20))
def test_json_reads_what_was_given(entries):
    assert read(written(*(record(*entry) for entry in entries))) == entries


def test_every_character_that_may_need_an_escape():
    """Wherever in a key it is: alone, at the start and end of eight bytes, and beside characters of several bytes."""
    characters = [*map(chr, range(0x20)), *'"\\/\x7f\x80\u2028\u2029\ufeff\uffff\U00010000\U0010ffff']
    keys = [
        around[:at] + character + around[at:]
        for character in characters
        for around in ("", "a" * 17, "é" * 9, '"' * 9)
        for at in range(len(around) + 1)
    ]
    body = written(*map(record, keys))
    assert [key for key, _, _ in read(body)] == keys


def test_a_body_has_nothing_but_what_json_needs():
    """So that its size is what was counted before, to the byte."""
    body = written(record('a"\n', b"ab"), record("é", b"", "7"), before=b"", behind=b"")
    expected = '[{"Data":"YWI=","PartitionKey":"a\\"\\u000a"},{"Data":"","PartitionKey":"é","ExplicitHashKey":"7"}]'
    assert body == expected.encode()
    assert sys.getsizeof(body) == sys.getsizeof(bytes(len(body)))
    assert written(before=b"<", behind=b">") == b"<[]>"


@given(st.text(max_size=20))
def test_an_explicit_hash_key_is_text_whatever_it_says(text):
    """The service refuses what is no number; a body is JSON all the same."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        return
    assert read(written(record(explicit_hash_key=text))) == [("k", b"data", text)]


@pytest.mark.parametrize("key", ["\ud800", "a\udfff", "\ud83d" * 9])
def test_lone_surrogates_are_refused(key):
    with pytest.raises(InvalidPartitionKeyError, match=r"record 1: .*lone surrogate"):
        written(record(), record(key))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"data": "text"}, "record 2: data is bytes, not str"),
        ({"data": None}, "record 2: data is bytes, not NoneType"),
        ({"partition_key": 7}, "record 2: a partition key is str or UTF-8 bytes, not int"),
        ({"explicit_hash_key": 7}, "record 2: an explicit hash key is str, not int"),
    ],
)
def test_other_types_are_refused(wrong, says):
    with pytest.raises(TypeError, match=says):
        written(record(), record(), record(**wrong), record())


@pytest.mark.parametrize("make", [bytearray, memoryview, lambda data: memoryview(bytearray(data))[::2]])
def test_other_buffers_are_copied(make):
    data = bytes(range(256))
    assert read(written(record(data=make(data)))) == [("k", bytes(make(data)), None)]


def test_a_body_that_somebody_holds_is_not_written_over():
    writer = BodyWriter()
    datas = [bytes([fill]) * 300_000 for fill in range(100)]
    kept = [writer.write((record(data=data),), b"", b"") for data in datas]
    for data, body in zip(datas, kept, strict=True):
        assert base64.b64decode(json.loads(body)[0]["Data"]) == data
    assert hash(kept[0]) == hash(bytes(kept[0]))


def test_memory_is_used_again_for_another_size():
    writer = BodyWriter()
    rng = random.Random(0)
    for size in [400_000, 100, 399_000, 200_000, 399_999, 0, 400_001]:
        data = rng.randbytes(size)
        body = writer.write((record(data=data),), b"", b"")
        assert hash(body) == hash(bytes(body)), "of what it holds now"
        assert base64.b64decode(json.loads(body)[0]["Data"]) == data


def test_little_is_kept_for_the_next():
    writer = BodyWriter()
    gc.collect()
    tracemalloc.start()
    bodies = [writer.write((record(data=bytes(6_000_000)),), b"", b"") for _ in range(10)]
    assert tracemalloc.get_traced_memory()[0] > sum(map(len, bodies))
    del bodies
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2**25 + 100_000


def test_many_threads_write_at_once():
    """Bodies for which the GIL is given up, from one writer."""
    writer = BodyWriter()
    wrong = []

    def write(fill):
        data = bytes([fill]) * 1_500_000
        expected = base64.b64encode(data).decode()
        for _ in range(5):
            body = writer.write(tuple(record(data=data) for _ in range(4)), b"", b"")
            if [entry["Data"] for entry in json.loads(body)] != [expected] * 4:
                wrong.append(fill)

    threads = [threading.Thread(target=write, args=(fill,)) for fill in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
