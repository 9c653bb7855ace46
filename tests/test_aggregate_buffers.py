"""Data that is no bytes: every kind of buffer, what runs while it is read, and what is none."""

from __future__ import annotations

import array
import ctypes
import mmap
import sys
from importlib import import_module

import pytest
from aggregate_model import by_shard, expected
from isolated import run

from shardpack import Aggregator, InvalidPartitionKeyError, ShardMap

native = pytest.mark.native


def taken(*datas):
    """What an Aggregator made of each, alone and among others."""
    for data in datas:
        alone = Aggregator(ShardMap.uniform(3))
        alone.add("key", data)
        [raw] = alone.flush()
        yield raw.data
        many = Aggregator(ShardMap.uniform(3))
        many.add_many(["a", "key"], [b"1", data])
        held = [("a", b"1", None), ("key", raw.data, None)]
        assert by_shard(many.flush()) == expected(held, 3)


@native
def test_memory_mapped(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"mapped bytes" * 1000)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert list(taken(mapped, memoryview(mapped)[5:50])) == [b"mapped bytes" * 1000, (b"mapped bytes" * 5)[5:50]]


@native
def test_arrays_of_every_item():
    for code in "bBhHiIlLqQfd":
        numbers = array.array(code, range(100))
        assert list(taken(numbers)) == [numbers.tobytes()]


@native
def test_slices_of_views():
    content = bytes(range(200))
    view = memoryview(bytearray(content))
    for part in (slice(10, 20), slice(0, 0), slice(None, None, 2), slice(None, None, -1), slice(150, 3, -7)):
        assert list(taken(view[part])) == [content[part]]
    grid = view.cast("B", (10, 20))
    assert list(taken(grid)) == [content]
    assert list(taken(view.cast("d"))) == [content]


@native
def test_structures_and_ctypes_arrays():
    class Point(ctypes.Structure):
        _fields_ = (("Ox", ctypes.c_int32), ("y", ctypes.c_double))

    assert list(taken(Point(1, 2.0), (ctypes.c_int * 3)(1, 2, 3))) == [
        bytes(Point(1, 2.0)),
        array.array("i", [1, 2, 3]).tobytes(),
    ]


def test_numpy_arrays_give_their_items_in_order():
    numpy = import_module("numpy")
    grid = numpy.arange(60, dtype=">i4").reshape(3, 4, 5)
    for view in (grid, grid[::2], grid[:, ::-1], grid.T, grid[:, 1], numpy.asfortranarray(grid), grid[0, 0, 0]):
        assert list(taken(view)) == [view.tobytes()]
    assert list(taken(numpy.zeros(0), numpy.bytes_(b"held"), numpy.float64(1.5))) == [
        b"",
        b"held",
        numpy.float64(1.5).tobytes(),
    ]
    record = numpy.zeros(2, dtype=[("Origin", "i4"), ("b", "f8")])
    assert list(taken(record)) == [record.tobytes()]


def test_numpy_arrays_of_objects_are_no_bytes():
    """What they hold is addresses."""
    numpy = import_module("numpy")
    aggregator = Aggregator(ShardMap.uniform(3))
    for refused in (numpy.array([b"x", None], dtype=object), numpy.zeros(1, dtype=[("a", "i4"), ("b", object)])):
        with pytest.raises(TypeError, match=r"^record 1: data is bytes or a buffer of them, not ndarray"):
            aggregator.add_many(["a", "b"], [b"1", refused])
    assert aggregator.flush() == []


@native
def test_what_can_no_longer_be_read_is_named():
    closed, released = mmap.mmap(-1, 100), memoryview(b"data")
    closed.close()
    released.release()
    aggregator = Aggregator(ShardMap.uniform(3))
    for refused in (closed, released):
        with pytest.raises(ValueError, match=r"^record 1: data cannot be read: ") as raised:
            aggregator.add_many(["a", "b"], [b"1", refused])
        assert len(str(raised.value)) < 300
        with pytest.raises(ValueError, match=r"^data cannot be read: "):
            aggregator.add("a", refused)
    assert aggregator.flush() == []


@native
@pytest.mark.parametrize("key", [bytearray(b"key"), memoryview(b"key"), array.array("B", b"key")])
def test_a_partition_key_is_no_other_buffer(key):
    aggregator = Aggregator(ShardMap.uniform(3))
    with pytest.raises(TypeError, match=r"^record 1: a partition key is str or UTF-8 bytes, not "):
        aggregator.add_many(["a", key], [b"1", b"2"])
    with pytest.raises(InvalidPartitionKeyError):
        aggregator.add(bytes(key) * 100, b"1")
    assert aggregator.flush() == []


# --- Python's own buffers (3.12): their code runs while a call reads its lists ---

MEDDLING = """
import gc
from shardpack import Aggregator, ShardMap

class Meddler:
    def __init__(self, run):
        self.run = run
    def __buffer__(self, flags):
        self.run()
        return memoryview(b"meddled")

aggregator = Aggregator(ShardMap.uniform(3))
aggregator.add("before", b"before")
def lists():
    keys = [f"{'key' * 20}-{i}" for i in range(3000)]
    datas = [b"data %d" % i for i in range(3000)]
    return keys, datas, [str(i << 70) for i in range(3000)]

def clear(items):
    items.clear()
    gc.collect()
    items += [object() for _ in range(10)]

def cut(items):
    del items[101:]

for meddle in (clear, cut, lambda items: items.extend(items), lambda items: items.__delitem__(-1)):
    for target in range(3):
        given = lists()
        given[1][100] = Meddler(lambda: meddle(given[target]))
        try:
            aggregator.add_many(*given)
        except RuntimeError as error:
            assert "changed its length" in str(error), error
        else:
            raise AssertionError("a list changed")
given = lists()
given[1][100] = Meddler(lambda: aggregator.flush())
try:
    aggregator.add_many(*given)
except RuntimeError as error:
    assert "one thread at a time" in str(error)
given = lists()
given[1][100] = Meddler(lambda: 1 // 0)
try:
    aggregator.add_many(*given)
except ZeroDivisionError:
    pass
[record] = aggregator.flush()
assert record.data == b"before", record
given = lists()
given[1][100] = Meddler(lambda: None)
aggregator.add_many(*given)
assert sum(record.user_record_count for record in aggregator.flush()) == 3000
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="buffers in Python came with 3.12")
def test_a_buffer_whose_code_changes_the_lists():
    run(MEDDLING, PYTHONMALLOC="debug")
