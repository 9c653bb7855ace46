"""Every MD5 kernel that is compiled here, against hashlib."""

from __future__ import annotations

import hashlib
import random

import kernels
import pytest
from isolated import python
from numpy_view import as_array

from shardpack import HashKeys, InvalidHashKeyError, InvalidPartitionKeyError, hash_key, hash_keys
from shardpack._native import md5

native = pytest.mark.native

WIDEST = 32
"""The most messages any kernel takes side by side."""


@pytest.fixture(params=md5._kernels())
def kernel(request):
    with kernels.in_use(md5, request.param) as name:
        yield name


def check(messages):
    assert md5._md5_many(messages) == [hashlib.md5(message).digest() for message in messages]


def integer(key):
    return int.from_bytes(hashlib.md5(key if isinstance(key, bytes) else key.encode()).digest(), "big")


@native
def test_the_portable_kernel_is_always_there():
    kernels = md5._kernels()
    assert kernels[-1] == "portable"
    assert len(set(kernels)) == len(kernels)
    assert md5._kernel() in kernels


@native
def test_a_kernel_that_is_not_there():
    before = md5._kernel()
    with pytest.raises(ValueError, match=r"'sse9'.*portable"):
        md5._set_kernel("sse9")
    assert md5._kernel() == before


@native
def test_every_length_alone(kernel):
    rng = random.Random(kernel)
    for size in range(300):
        check([rng.randbytes(size)])


@native
def test_every_length_side_by_side(kernel):
    rng = random.Random(kernel)
    messages = [rng.randbytes(size) for size in range(131)]
    check(messages)
    check(messages[::-1])
    rng.shuffle(messages)
    check(messages)


@native
@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 128])
@pytest.mark.usefixtures("kernel")
def test_every_number_of_messages_of_one_length(size):
    rng = random.Random(size)
    for count in range(2 * WIDEST + 2):
        check([rng.randbytes(size) for _ in range(count)])


@native
def test_every_number_of_messages_of_mixed_lengths(kernel):
    rng = random.Random(kernel)
    for count in range(2 * WIDEST + 2):
        for longest in (20, 64, 200, 1000):
            check([rng.randbytes(rng.randrange(longest)) for _ in range(count)])


@native
def test_one_long_message_in_any_lane(kernel):
    rng = random.Random(kernel)
    for lane in range(2 * WIDEST + 1):
        messages = [rng.randbytes(rng.randrange(70)) for _ in range(2 * WIDEST + 1)]
        messages[lane] = rng.randbytes(5000 + lane)
        check(messages)


@native
def test_lengths_from_nothing_to_megabytes(kernel):
    rng = random.Random(kernel)
    sizes = [0, 3_000_001, 1, 64, 1 << 20, 55, 56, 700_000, (1 << 20) + 63, 5, 2_500_000, 130_000]
    sizes += [rng.choice((10, 1000, 100_000)) + rng.randrange(64) for _ in range(40)]
    check([rng.randbytes(size) for size in sizes])


@native
def test_batches_far_wider_than_any_kernel(kernel):
    rng = random.Random(kernel)
    check([rng.randbytes(rng.randrange(90)) for _ in range(5000)])


@native
@pytest.mark.usefixtures("kernel")
def test_messages_of_all_ones_and_zeros():
    check([fill * size for size in (55, 56, 64, 1000) for fill in (b"\x00", b"\xff")])


# --- hash keys ---

KEYS = ["a", "device-7", "clé", "日本", "\U0001d518" * 256, "x" * 256, b"bytes", "clé".encode(), "N0EGMQ"]


@native
@pytest.mark.usefixtures("kernel")
def test_hash_key_is_the_md5_read_big_endian():
    assert hash_key("device-7") == int(hashlib.md5(b"device-7").hexdigest(), 16)
    for key in KEYS:
        assert hash_key(key) == integer(key)


@native
def test_the_explicit_hash_key_wins():
    for value in (0, 1, 2**64, 2**128 - 1):
        assert hash_key("any", value) == value
        assert hash_key("any", str(value)) == value
        assert hash_key("any", explicit_hash_key=value) == value
    assert hash_key("any", None) == integer("any")


@native
@pytest.mark.parametrize("key", ["", b"", "x" * 257, "\ud800", b"\xff"])
def test_bad_partition_keys(key):
    with pytest.raises(InvalidPartitionKeyError):
        hash_key(key)
    with pytest.raises(InvalidPartitionKeyError):
        hash_key(key, 5)
    with pytest.raises(InvalidPartitionKeyError, match=r"^record 2: "):
        hash_keys(["a", "b", key])
    with pytest.raises(InvalidPartitionKeyError, match=r"^record 2500: "):
        hash_keys(["a"] * 2500 + [key])


@native
@pytest.mark.parametrize("value", ["abc", "-1", "007", "", "\uff11", str(2**128), 2**128, -1])
def test_bad_explicit_hash_keys(value):
    with pytest.raises(InvalidHashKeyError):
        hash_key("key", value)


@native
@pytest.mark.parametrize("key", [None, 7, 1.5, bytearray(b"key"), ["key"]])
def test_keys_of_another_type(key):
    with pytest.raises(TypeError, match="partition key"):
        hash_key(key)
    with pytest.raises(TypeError, match=r"^record 1: .*partition key"):
        hash_keys(["a", key])


@native
@pytest.mark.parametrize("value", [True, 1.5, b"5"])
def test_explicit_hash_keys_of_another_type(value):
    with pytest.raises(TypeError, match="explicit hash key"):
        hash_key("key", value)


@native
@pytest.mark.parametrize("form", [list, tuple, iter, lambda keys: (key for key in keys)])
@pytest.mark.usefixtures("kernel")
def test_hash_keys_of_any_iterable(form):
    found = hash_keys(form(KEYS))
    assert isinstance(found, HashKeys)
    assert len(found) == len(KEYS)
    assert list(found) == [integer(key) for key in KEYS]
    assert found.tobytes() == b"".join(integer(key).to_bytes(16, "big") for key in KEYS)


@native
@pytest.mark.parametrize("count", [0, 1, 2, 1023, 1024, 1025, 5000])
@pytest.mark.usefixtures("kernel")
def test_hash_keys_of_any_number(count):
    keys = [f"key-{i}" for i in range(count)]
    digests = b"".join(hashlib.md5(key.encode()).digest() for key in keys)
    found = hash_keys(keys)
    assert (len(found), found.tobytes()) == (count, digests)


@native
def test_indexing():
    keys = ["a", "b", "c"]
    found = hash_keys(keys)
    assert [found[i] for i in (0, 1, 2, -1, -2, -3)] == [integer(key) for key in "abccba"]
    for index in (3, -4, 2**62, -(2**62)):
        with pytest.raises(IndexError):
            found[index]
    with pytest.raises(TypeError):
        found["0"]
    with pytest.raises(IndexError):
        hash_keys([])[0]


@native
def test_the_buffer_is_rows_of_sixteen_bytes():
    view = memoryview(hash_keys(["a", "b", "c"]))
    assert (view.shape, view.strides, view.format, view.itemsize) == ((3, 16), (16, 1), "B", 1)
    assert (view.readonly, view.c_contiguous, view.nbytes) == (True, True, 48)
    assert view.tobytes() == b"".join(hashlib.md5(key).digest() for key in (b"a", b"b", b"c"))
    assert view[1, 0] == hashlib.md5(b"b").digest()[0]
    assert bytes(hash_keys(["a"])) == hashlib.md5(b"a").digest()
    with pytest.raises(TypeError):
        view[0, 0] = 1


@native
def test_the_buffer_outlives_the_object():
    view = memoryview(hash_keys([f"key-{i}" for i in range(3000)]))
    assert view.tobytes()[-16:] == hashlib.md5(b"key-2999").digest()


def test_numpy_takes_it_without_a_copy():
    found = hash_keys(["a", "b", "c"])
    array, address = as_array(found)
    assert (array.shape, array.dtype.name, array.flags.writeable, array.flags.owndata) == (
        (3, 16),
        "uint8",
        False,
        False,
    )
    assert array[2].tobytes() == hashlib.md5(b"c").digest()
    assert as_array(found)[1] == address
    assert as_array(hash_keys([]))[0].shape == (0, 16)


@native
def test_hash_keys_are_not_made_by_hand():
    with pytest.raises(TypeError, match="hash_keys"):
        HashKeys()


@native
@pytest.mark.parametrize("keys", [None, 5, object()])
def test_what_is_no_iterable(keys):
    with pytest.raises(TypeError, match="iterable"):
        hash_keys(keys)


@native
def test_a_list_that_shrinks_while_it_is_read():
    """A subclass of str is read without running its code, so only another thread could; nothing to break from here."""

    class Text(str):
        __slots__ = ()

        def __str__(self):
            keys.clear()
            return "other"

    keys = [Text(f"key-{i}") for i in range(3000)]
    assert list(hash_keys(keys)) == [integer(f"key-{i}") for i in range(3000)]


# --- the environment ---


@pytest.mark.parametrize("name", md5._kernels())
def test_the_environment_chooses_the_kernel(name):
    code = "from shardpack._native import md5; print(md5._kernel())"
    done = python("-c", code, SHARDPACK_MD5_KERNEL=name)
    assert (done.returncode, done.stdout.strip()) == (0, name)


def test_a_kernel_the_environment_demands_and_that_is_not_there():
    done = python("-c", "import shardpack", SHARDPACK_MD5_KERNEL="sse9")
    assert done.returncode != 0
    assert "MD5 kernel 'sse9' is not available" in done.stderr


def test_without_a_word_the_first_one_is_used():
    done = python("-c", "from shardpack._native import md5; print(md5._kernel())", SHARDPACK_MD5_KERNEL="")
    assert done.stdout.strip() == md5._kernels()[0]
