"""Partition keys and explicit hash keys at every door: odd subclasses, numpy's numbers, and errors that people read."""

from __future__ import annotations

from importlib import import_module

import pytest
import wire
from aggregate_model import by_shard, expected
from isolated import run

from shardpack import Aggregator, InvalidHashKeyError, InvalidPartitionKeyError, ShardMap, hash_key, hash_keys

native = pytest.mark.native

LONGEST_ERROR = 300


class Text(str):
    """It says something else whenever it is asked."""

    __slots__ = ()

    def lie(self, *_arguments, **_options):
        return "x" * 1_000_000

    __str__ = __repr__ = __format__ = __getitem__ = lie

    def encode(self, *_arguments):
        return b""

    def __len__(self):
        return 1

    def __iter__(self):
        return iter("y")

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 1


class Blob(bytes):
    def lie(self, *_arguments, **_options):
        return b"x" * 1_000_000

    __bytes__ = __getitem__ = lie

    def __repr__(self):
        return "x" * 1_000_000

    def decode(self, *_arguments):
        return "y"

    def __len__(self):
        return 1

    def __buffer__(self, flags):
        return memoryview(b"z")

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 1


class Number(int):
    def lie(self, *_arguments, **_options):
        return 7

    __add__ = __radd__ = __sub__ = __int__ = __index__ = __and__ = __rshift__ = __neg__ = __abs__ = bit_length = lie

    def true(self, *_arguments):
        return True

    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = true

    def __hash__(self):
        return 1

    def to_bytes(self, *_arguments, **_options):
        return b""

    def __str__(self):
        return "9" * 1_000_000

    __repr__ = __str__

    def __format__(self, spec):
        return "9" * 1_000_000


HELD = [0, 1, 2**64, 2**128 - 1]


@native
@pytest.mark.parametrize("value", HELD)
def test_an_int_is_read_for_its_digits(value):
    shard_map = ShardMap.uniform(3)
    assert hash_key("key", Number(value)) == value
    assert list(shard_map.assign(["key"], [Number(value)])) == [min(value // (2**128 // 3), 2)]
    assert shard_map.index_of(Number(value)) == min(value // (2**128 // 3), 2)
    aggregator = Aggregator(shard_map)
    aggregator.add("key", b"1", Number(value))
    aggregator.add_many(["key"], [b"2"], [Number(value)])
    assert by_shard(aggregator.flush()) == expected([("key", b"1", value), ("key", b"2", value)], 3)


@native
def test_text_and_bytes_are_read_for_what_they_hold():
    keys = [Text("device"), Blob("clé".encode()), Text("clé"), Text("k" * 256)]
    held = [b"device", "clé".encode(), "clé".encode(), b"k" * 256]
    assert [hash_key(key) for key in keys] == [wire.hash_key(key) for key in held]
    assert list(hash_keys(keys)) == [wire.hash_key(key) for key in held]
    assert list(ShardMap.uniform(5).assign(keys)) == [wire.hash_key(key) // (2**128 // 5) for key in held]
    aggregator = Aggregator(ShardMap.uniform(5))
    aggregator.add(keys[0], Blob(b"data"), Text("77"))
    aggregator.add_many(keys, [Blob(b"more %d" % i) for i in range(4)], [None, Text("5"), None, None])
    user_records = [(held[0], b"data", 77)]
    user_records += [(key, b"more %d" % i, 5 if i == 1 else None) for i, key in enumerate(held)]
    assert by_shard(aggregator.flush()) == expected(user_records, 5)


REFUSED_HASH_KEYS = [
    *(2**128, -1, 10**5000, -(10**5000), Number(2**128), Number(10**5000), Number(-1)),
    *(str(2**128), "9" * 1_000_000, "0" * 1_000_000, "x" * 1_000_000, Text("007"), Text("x" * 1_000_000)),
    *(1.5, b"5" * 1_000_000, True, [5] * 1_000_000),
]


@native
@pytest.mark.parametrize("value", REFUSED_HASH_KEYS, ids=lambda value: f"{type(value).__name__}")
def test_a_refused_hash_key_is_named_and_not_written_out(value):
    aggregator = Aggregator(ShardMap.uniform(3))
    for call in (
        lambda: aggregator.add_many(["a", "b"], [b"1", b"2"], [5, value]),
        lambda: ShardMap.uniform(3).assign(["a", "b"], [None, value]),
    ):
        with pytest.raises((InvalidHashKeyError, TypeError), match=r"^record 1: .*explicit hash key") as raised:
            call()
        assert len(str(raised.value)) < LONGEST_ERROR
    for call in (
        lambda: aggregator.add("a", b"1", value),
        lambda: hash_key("a", value),
        lambda: ShardMap.uniform(3).index_of(value),
    ):
        with pytest.raises((InvalidHashKeyError, TypeError), match="explicit hash key") as raised:
            call()
        assert len(str(raised.value)) < LONGEST_ERROR
    assert aggregator.flush() == []


REFUSED_KEYS = ["x" * 1_000_000, b"x" * 1_000_000, "\ud800" * 1_000_000, b"\xff" * 1_000_000, Text(""), Blob(b"")]
REFUSED_KEYS += [Text("x" * 257), Text("\ud800" * 1000), Blob(b"\xff" * 1000), ["key"] * 1_000_000]


@native
@pytest.mark.parametrize("key", REFUSED_KEYS, ids=lambda key: type(key).__name__)
def test_a_refused_partition_key_is_named_and_not_written_out(key):
    aggregator = Aggregator(ShardMap.uniform(3))
    for call in (
        lambda: aggregator.add_many(["a", key], [b"1", b"2"]),
        lambda: ShardMap.uniform(3).assign(["a", key]),
        lambda: hash_keys(["a", key]),
    ):
        with pytest.raises((InvalidPartitionKeyError, TypeError), match=r"^record 1: .*partition key") as raised:
            call()
        assert len(str(raised.value)) < LONGEST_ERROR
    assert aggregator.flush() == []


def test_numpy_has_numbers_and_texts_too():
    numpy = import_module("numpy")
    numbers = numpy.array([0, 5, 2**63 + 1], dtype=numpy.uint64)
    keys = numpy.array(["a", "b", "clé"])
    held = [0, 5, 2**63 + 1]
    aggregator = Aggregator(ShardMap.uniform(4))
    aggregator.add_many(keys, [b"1", b"2", b"3"], numbers)
    aggregator.add(keys[0], b"4", numpy.int8(7))
    user_records = [*zip(["a", "b", "clé"], [b"1", b"2", b"3"], held, strict=True), ("a", b"4", 7)]
    assert by_shard(aggregator.flush()) == expected(user_records, 4)
    assert list(ShardMap.uniform(4).assign(keys, numbers)) == [0, 0, 0]
    assert [hash_key("any", number) for number in numbers] == held
    assert list(hash_keys(keys)) == [wire.hash_key(key) for key in ("a", "b", "clé")]
    for refused in (numpy.int64(-1), numpy.float64(5), numpy.array([1, 2])):
        with pytest.raises((InvalidHashKeyError, TypeError), match=r"^record 0: "):
            aggregator.add_many(["a"], [b"1"], [refused])
    assert aggregator.flush() == []


@native
@pytest.mark.parametrize("many", ["abc", b"abc", bytearray(b"abc"), memoryview(b"abc"), "x" * 1_000_000])
def test_one_text_is_not_many(many):
    """Its characters are hardly what is meant."""
    aggregator = Aggregator(ShardMap.uniform(3))
    n = len(many)
    for call in (
        lambda: hash_keys(many),
        lambda: ShardMap.uniform(3).assign(many),
        lambda: ShardMap.uniform(3).assign(["k"] * n, many),
        lambda: aggregator.add_many(many, [b"1"] * n),
        lambda: aggregator.add_many(["k"] * n, many),
        lambda: aggregator.add_many(["k"] * n, [b"1"] * n, many),
    ):
        with pytest.raises(TypeError, match=r"come as an iterable of .*, not as one (str|bytes|bytearray|memory)") as e:
            call()
        assert len(str(e.value)) < LONGEST_ERROR
    assert aggregator.flush() == []


@native
def test_hash_keys_made_by_hand_are_none():
    """What nothing was hashed into reads as no keys at all."""
    made = type(hash_keys([])).__new__(type(hash_keys([])))
    assert (len(made), list(made), made.tobytes()) == (0, [], b"")
    assert memoryview(made).shape == (0, 16)
    for use in (lambda: made[0], lambda: made[-1], lambda: made[2**62]):
        with pytest.raises(IndexError):
            use()
    assert hash_key("a") not in made
    found = hash_keys(["a"])
    with pytest.raises(TypeError, match="hash_keys"):
        found.__init__()
    assert list(found) == [wire.hash_key("a")]


FORTRAN_REQUEST = """
import ctypes
from shardpack import hash_keys

class View(ctypes.Structure):
    _fields_ = [("buf", ctypes.c_void_p), ("obj", ctypes.py_object), ("len", ctypes.c_ssize_t),
                ("itemsize", ctypes.c_ssize_t), ("readonly", ctypes.c_int), ("ndim", ctypes.c_int),
                ("format", ctypes.c_char_p), ("shape", ctypes.POINTER(ctypes.c_ssize_t)),
                ("strides", ctypes.POINTER(ctypes.c_ssize_t)), ("suboffsets", ctypes.c_void_p),
                ("internal", ctypes.c_void_p)]

STRIDES, C, FORTRAN, ANY, FORMAT = 0x18, 0x38, 0x58, 0x98, 0x4
get = ctypes.pythonapi.PyObject_GetBuffer
get.argtypes = [ctypes.py_object, ctypes.POINTER(View), ctypes.c_int]
release = ctypes.pythonapi.PyBuffer_Release
release.argtypes = [ctypes.POINTER(View)]
is_contiguous = ctypes.pythonapi.PyBuffer_IsContiguous
is_contiguous.argtypes = [ctypes.POINTER(View), ctypes.c_char]

for count in (0, 1, 2, 3, 100):
    keys = hash_keys([f"key-{i}" for i in range(count)])
    for flags, order in ((C, b"C"), (FORTRAN, b"F"), (ANY, b"A"), (C | FORMAT, b"C"), (STRIDES, None)):
        view = View()
        try:
            get(keys, view, flags)
        except BufferError:
            assert order == b"F" and count > 1, (count, flags)
            continue
        assert order is None or is_contiguous(view, order), (count, flags)
        assert (view.ndim, view.shape[0], view.shape[1], view.len) == (2, count, 16, 16 * count)
        assert ctypes.string_at(view.buf, view.len) == keys.tobytes()
        release(view)
"""


def test_a_buffer_is_in_the_order_that_was_asked_for():
    run(FORTRAN_REQUEST)
