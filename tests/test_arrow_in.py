"""Rows of Arrow arrays, well made and malformed, byte by byte: what is taken, what is refused, who frees what."""

from __future__ import annotations

import ctypes
import gc
import itertools
import struct

import pytest
from arrow_writer import Column, ManyArrays, OneArray, batch, bits, indexed, integers, nulls, texts

from shardpack import (
    Aggregator,
    InvalidHashKeyError,
    InvalidPartitionKeyError,
    Limits,
    RecordTooLargeError,
    ShardMap,
    deaggregate,
)
from shardpack._native.arrow_in import ArrowChunk, ArrowRows
from shardpack._native.inbox import Inbox
from shardpack.errors import InvalidRecordError

pytestmark = [pytest.mark.native, pytest.mark.usefixtures("small_heap")]

LAYOUTS = [b"u", b"z", b"U", b"Z", b"vu", b"vz"]
INDICES = [b"c", b"C", b"s", b"S", b"i", b"I", b"l", b"L"]
KEYS = ["a", "device-7", "clé", "\U0001d518" * 256, "x" * 256, "device-7", "k", "exactly-twelve"[:12], "thirteen-char"]
DATAS = [b"", b"1", b"twelve bytes", b"thirteen byte", b"x" * 300, b"\xf3\x89\x9a\xc2 magic", b"", b"y", b"z" * 40]
EXPLICIT = [None, 0, None, 2**63 - 1, 5, None, None, 1, 17]


def aggregator(**options):
    return Aggregator(ShardMap.uniform(3), **options)


def from_lists(keys, datas, explicit=None, **options):
    made = aggregator(**options)
    made.add_many(keys, datas, explicit)
    return made.flush()


def from_arrow(source, *, key="k", data="d", explicit_hash_key=None, **options):
    made = aggregator(**options)
    made.add_arrow(source, key=key, data=data, explicit_hash_key=explicit_hash_key)
    return made.flush()


def refused(source, error, says, *, key="k", data="d", explicit_hash_key=None):
    """Nothing is taken, and everything is released once."""
    made = aggregator()
    made.add("key", b"before")
    with pytest.raises(error, match=says) as caught:
        made.add_arrow(source, key=key, data=data, explicit_hash_key=explicit_hash_key)
    if isinstance(caught.value, InvalidRecordError):
        assert str(caught.value).startswith(f"row {caught.value.row}, ")
    assert made.flush() == from_lists(["key"], [b"before"])
    del made
    gc.collect()
    source.close()
    assert sorted(source.released) == sorted(source.released.exported)


@pytest.mark.parametrize("data_form", LAYOUTS)
@pytest.mark.parametrize("key_form", LAYOUTS)
def test_every_layout(key_form, data_form):
    source = OneArray(batch(texts(KEYS, key_form, name="k"), texts(DATAS, data_form, name="d")))
    assert from_arrow(source) == from_lists(KEYS, DATAS)
    gc.collect()
    assert sorted(source.released) == ["batch", "d", "k"]  # the schema's is its capsule's


def test_bytes_of_a_fixed_size():
    keys, datas = ["aaaa", "bbbb", "cccc"], [b"12345", b"67890", b"abcde"]
    columns = texts(keys, b"w:4", name="k"), texts(datas, b"w:5", name="d")
    assert from_arrow(OneArray(batch(*columns))) == from_lists(keys, datas)
    assert from_arrow(OneArray(batch(*columns, offset=2))) == from_lists(keys[2:], datas[2:])


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("form", LAYOUTS)
def test_dictionaries(form, index):
    source = OneArray(batch(indexed(KEYS, form, index, name="k"), indexed(DATAS, form, index, name="d")))
    assert from_arrow(source) == from_lists(KEYS, DATAS)
    gc.collect()
    assert sorted(source.released) == ["batch", "d", "d's dictionary", "k", "k's dictionary"]


@pytest.mark.parametrize("form", [*b"cCsSiIlL", b"d:38,0", b"d:38,0,128", b"u", b"U", b"vu"])
def test_explicit_hash_keys(form):
    form = bytes([form]) if isinstance(form, int) else form
    width = {b"c": 7, b"C": 8, b"s": 15, b"S": 16, b"i": 31, b"I": 32, b"l": 63, b"L": 64}.get(form.lower(), 126)
    most = 2**width - 1 if form != b"L" else 2**64 - 1
    most = {b"C": 255, b"S": 65535, b"I": 2**32 - 1, b"L": 2**64 - 1}.get(form, most)
    given = [None, 0, most, None, 5, 5]
    keys, datas = [f"key-{i}" for i in range(6)], [b"%d" % i for i in range(6)]
    if form[-1:] in b"uU":
        column = texts([None if each is None else str(each) for each in given], form, name="e")
    else:
        column = integers(given, form, name="e")
    source = OneArray(batch(texts(keys, name="k"), texts(datas, b"z", name="d"), column))
    assert from_arrow(source, explicit_hash_key="e") == from_lists(keys, datas, given)
    source = OneArray(batch(texts(keys, name="k"), texts(datas, b"z", name="d"), nulls(6, name="e")))
    assert from_arrow(source, explicit_hash_key="e") == from_lists(keys, datas)


@pytest.mark.parametrize("start", range(len(KEYS) + 1))
@pytest.mark.parametrize("form", [b"z", b"Z", b"vz"])
def test_offsets_of_batches_and_columns(form, start):
    key, data, explicit = texts(KEYS, name="k"), indexed(DATAS, form, name="d"), integers(EXPLICIT, name="e")
    for column in key, data, explicit:
        column.offset, column.length = 1, len(KEYS) - 1
    keys, datas, hash_keys = KEYS[1 + start :], DATAS[1 + start :], EXPLICIT[1 + start :]
    if start == len(KEYS):
        source = OneArray(batch(key, data, explicit, offset=start, length=0))
        refused(source, ValueError, "fewer rows than its batch")
        return
    source = OneArray(batch(key, data, explicit, offset=start))
    assert from_arrow(source, explicit_hash_key="e") == from_lists(keys, datas, hash_keys)


def test_many_rows_and_chunks_between_what_else_is_added():
    keys, datas = [f"device-{i % 700}" for i in range(20_000)], [b"%d" % i * (i % 9) for i in range(20_000)]
    chunks = [0, 1, 1, 700, 701, 5000, 20_000]
    source = ManyArrays(
        batch(texts(keys[a:b], name="k"), texts(datas[a:b], b"Z", name="d")) for a, b in itertools.pairwise(chunks)
    )
    made, expected = aggregator(max_bytes=30_000), aggregator(max_bytes=30_000)
    for each in made, expected:
        each.add_many(["before", "device-0"], [b"1", b"2"], [5, None])
    made.add_arrow(source, key="k", data="d")
    expected.add_many(keys, datas)
    for each in made, expected:
        each.add("behind", b"3")
    assert made.take() == expected.take()
    assert made.flush() == expected.flush()
    gc.collect()
    assert sorted(source.released) == sorted(
        ["schema", "stream", *(f"batch {i}" for i in range(6)), *["d", "k"] * 6]  # one of them has no rows
    )


def test_rows_without_a_key_fill_one_shard_after_the_other():
    shards = ShardMap.uniform(3)
    datas = [b"%03d" % i for i in range(300)]
    made = Aggregator(shards, max_records=50)
    made.add_arrow(
        OneArray(batch(texts([None] * 150, name="k"), texts(datas[:150], b"z", name="d"))), key="k", data="d"
    )
    made.add_arrow(OneArray(batch(nulls(50, name="k"), texts(datas[150:200], b"z", name="d"))), key="k", data="d")
    made.add_arrow(OneArray(batch(texts(datas[200:], b"z", name="d"))), key=None, data=0)
    sealed = made.flush()
    assert [record.user_record_count for record in sealed] == [50] * 6
    assert sorted(record.shard_index for record in sealed) == [0, 0, 1, 1, 2, 2]
    found = []
    for record in sealed:
        shard = shards[record.shard_index]
        for user in deaggregate(record.to_boto3() | {"Data": record.data, "SequenceNumber": "1"}):
            assert user.partition_key == "-"
            assert shard.starting_hash_key <= int(user.explicit_hash_key) <= shard.ending_hash_key
            found.append(user.data)
    assert sorted(found) == datas


def test_only_the_data_is_kept_and_until_it_is_sealed():
    source = ManyArrays(
        [batch(texts(KEYS, name="k"), texts(DATAS, b"z", name="d"), texts(["large"] * 9, name="other"))] * 2
    )
    made = aggregator()
    made.add_arrow(source, key="k", data="d")
    assert sorted(source.released) == ["batch 0", "batch 1", "k", "k", "other", "other", "schema", "stream"]
    assert made.flush() == from_lists(KEYS * 2, DATAS * 2)
    assert source.released[-2:] == ["d", "d"]
    made.add_arrow(OneArray(last := batch(texts(KEYS, name="k"), texts(DATAS, b"vz", name="d"))), key="k", data="d")
    source = OneArray(last)
    made.add_arrow(source, key="k", data="d")
    del made
    assert sorted(source.released) == ["batch", "d", "k"]


def test_one_column_may_be_all_of_them():
    texts_of_digits = ["7", "8", "123"]
    source = OneArray(batch(texts(texts_of_digits, name="k")))
    found = from_arrow(source, key="k", data="k", explicit_hash_key="k")
    assert found == from_lists(texts_of_digits, [each.encode() for each in texts_of_digits], texts_of_digits)
    assert sorted(source.released) == ["batch", "k"]


@pytest.mark.parametrize(
    ("key", "error", "says"),
    [
        ("", InvalidPartitionKeyError, "the partition key is empty"),
        ("x" * 257, InvalidPartitionKeyError, "of 257 characters .* exceeds 256"),
        ("\U0001d518" * 257, InvalidPartitionKeyError, "of 257 characters"),
        (b"x" * 70_000, InvalidPartitionKeyError, "of 70000 characters"),
        (b"\xff", InvalidPartitionKeyError, "is not UTF-8"),
        (b"12345678\xed\xa0\x80", InvalidPartitionKeyError, "is not UTF-8"),
    ],
)
@pytest.mark.parametrize("position", [0, 255, 256, 299])
def test_bad_keys_are_named_by_their_row(key, error, says, position):
    keys = [f"key-{i}" for i in range(300)]
    keys[position] = key
    good, bad = (
        batch(texts(["a"] * 40, name="k"), texts([b""] * 40, name="d")),
        batch(texts(keys, name="k"), texts([b"data"] * 300, name="d")),
    )
    refused(ManyArrays([good, bad, good]), error, f"row {40 + position}, column 'k': .*{says}")


def test_null_data_is_named_by_its_row():
    for form in (*LAYOUTS, b"w:2"):
        datas = [b"ab"] * 7 + [None, b"ab"]
        source = OneArray(batch(texts(["k"] * 9, name="k"), texts(datas, form, name="d"), offset=1))
        refused(source, InvalidRecordError, "row 6, column 'd': data is null")
    source = OneArray(batch(texts(["k"] * 9, name="k"), indexed([b"ab"] * 8 + [None], name="d")))
    refused(source, InvalidRecordError, "row 8, column 'd': data is null")
    refused(OneArray(batch(texts(["k"], name="k"), nulls(1, name="d"))), InvalidRecordError, "row 0, column 'd'")
    source = OneArray(batch(texts(["k"] * 9, name="k"), texts([b""] * 9, name="d"), validity=b"\x7f\x01"))
    refused(source, InvalidRecordError, "row 7, which is null")


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (integers([5, -1, 3], b"i"), "is not in 0"),
        (integers([5, -1, 3], b"d:38,0"), "is not in 0"),
        (texts(["5", "007", "3"]), "leading zero"),
        (texts(["5", "abc", "3"]), "is not a decimal number"),
        (texts(["5", "", "3"]), "is not a decimal number"),
        (texts(["5", str(2**128), "3"], b"vu"), "is not a decimal number"),
    ],
)
def test_bad_explicit_hash_keys(column, says):
    column.name = "e"
    source = OneArray(batch(texts(["a", "b", "c"], name="k"), texts([b""] * 3, name="d"), column))
    refused(source, InvalidHashKeyError, f"row 1, column 'e': .*{says}", explicit_hash_key="e")


def test_an_explicit_hash_key_needs_a_key():
    column = integers([None, 5, None], name="e")
    source = OneArray(batch(texts(["a", None, None], name="k"), texts([b""] * 3, name="d"), column))
    refused(source, InvalidPartitionKeyError, "row 1, column 'e': .*needs a partition key", explicit_hash_key="e")
    source = OneArray(batch(texts([b""] * 3, name="d"), column))
    refused(source, InvalidPartitionKeyError, "row 1", key=None, explicit_hash_key="e")


@pytest.mark.parametrize("explicit", [None, 2**126])
@pytest.mark.parametrize("key", [None, "k" * 10])
@pytest.mark.parametrize("start", [b"\xf3\x89\x9a\xc2", b"\xf3\x89\x9a\xc3", b"\xf5SPZ"])
def test_records_of_just_the_limit(start, key, explicit):
    """What an Inbox takes of lists, to the byte."""
    if key is None and explicit is not None:
        return
    explicit_columns = [] if explicit is None else [integers([explicit], b"d:38,0", name="e")]
    for most in (2000, 5000):
        sizes = set()
        for size in range(most - 130, most + 2):
            data, taken = start.ljust(size, b"x"), []
            inboxes = [Inbox(ShardMap.uniform(3)._table, max_record_bytes=most, max_bytes=most) for _ in range(2)]
            source = OneArray(batch(texts([key], name="k"), texts([data], b"z", name="d"), *explicit_columns))
            rows = ArrowRows(source, "k", "d", None if explicit is None else "e")
            for put, arguments in ((inboxes[0].put, (key, data, explicit)), (inboxes[1].put_arrow, (rows,))):
                try:
                    put(*arguments)
                    taken.append("taken")
                except RecordTooLargeError as error:
                    taken.append(str(error).removeprefix("row 0, column 'd': "))
            assert taken[0] == taken[1]
            sizes.add(taken[0] == "taken")
        assert sizes == {True, False}


def test_larger_limits():
    limits = Limits(max_record_bytes=3 << 20)
    datas = [b"x" * (2 << 20), b"small"]
    source = OneArray(batch(texts(["a", "b"], name="k"), texts(datas, b"Z", name="d")))
    assert from_arrow(source, limits=limits) == from_lists(["a", "b"], datas, limits=limits)
    source = OneArray(batch(texts(["a", "b"], name="k"), texts(datas, b"Z", name="d")))
    refused(source, RecordTooLargeError, "row 0, column 'd': record of 2,097,153 bytes .* exceeds")


# --- columns ---


def test_columns_that_are_not_there():
    def source():
        return OneArray(batch(texts(["a"], name="k"), texts([b""], name="d"), texts(["b"], name="d")))

    refused(source(), ValueError, "no column 'key', but 'k', 'd', 'd'", key="key", data=1)
    refused(source(), ValueError, "2 columns are called 'd'")
    refused(source(), ValueError, "no column 3 among 3: 'k', 'd', 'd'", data=3)
    refused(source(), ValueError, "no column -1 among 3", data=-1)
    refused(source(), TypeError, "by an int, not bool", data=True)
    refused(source(), TypeError, "by an int, not NoneType", data=None)
    refused(source(), ValueError, "no column 'e'", data=1, explicit_hash_key="e")
    assert from_arrow(source(), key=2, data=1) == from_lists(["b"], [b""])
    many = [texts(["a"], name=f"column {i}") for i in range(100)]
    refused(OneArray(batch(*many)), ValueError, "'column 19' …")
    refused(OneArray(batch(length=0)), ValueError, "but none at all")
    unnamed = OneArray(batch(texts(["a"]), texts([b"b"])))
    assert from_arrow(unnamed, key=0, data=1) == from_lists(["a"], [b"b"])


ODD_TYPES = (
    b"b e f g +l +vl +r tdD tsu: w: w:-1 w:99999999999999999999 d:5,2 d:5 d:5,0,256 d:,0 nn uu v vx \xff".split()
)


@pytest.mark.parametrize("form", [*ODD_TYPES, b"", b"x" * 300], ids=repr)
def test_types_that_are_not_read(form):
    odd = Column(form, 1, [None, b"\0" * 64, b"\0" * 64], name="o")
    columns = texts(["a"], name="k"), texts([b""], name="d"), odd
    for role in "key", "data", "explicit_hash_key":
        refused(OneArray(batch(*columns)), TypeError, "column 'o' has Arrow's type", **{role: "o"})
    odd = integers([0], b"i", name="o", dictionary=odd)
    refused(OneArray(batch(*columns[:2], odd)), TypeError, "a dictionary of", key="o")


def test_types_of_the_wrong_kind():
    columns = texts(["1"], name="k"), texts([b""], b"z", name="d"), integers([1], name="i")
    refused(OneArray(batch(*columns)), TypeError, "a partition key is .*: column 'i' has Arrow's type 'l'", key="i")
    refused(OneArray(batch(*columns)), TypeError, "data is .*: column 'i'", data="i")
    refused(OneArray(batch(*columns)), TypeError, "an explicit hash key is .*: column 'd'", explicit_hash_key="d")
    nested = indexed(["a"], name="k")
    nested.dictionary.dictionary = texts(["a"])
    refused(OneArray(batch(nested, columns[1])), TypeError, "column 'k'")


def test_what_is_no_table():
    with pytest.raises(TypeError, match=r"__arrow_c_array__ or __arrow_c_stream__.*not from list"):
        aggregator().add_arrow([1], key="k", data="d")
    refused(OneArray(texts(["a"])), TypeError, "rows with columns are needed, .*'u'")
    refused(ManyArrays([texts(["a"])]), TypeError, "rows with columns are needed")

    class Odd:
        def __arrow_c_array__(self):
            return 1, 2

    class Twice(Odd):
        def __arrow_c_stream__(self):
            return "no capsule"

    for odd in Odd(), Twice():
        with pytest.raises((TypeError, ValueError), match=r"[Cc]apsule"):
            aggregator().add_arrow(odd, key="k", data="d")


def test_a_source_is_read_once():
    for source in OneArray(batch(texts(["a"], name="k"))), ManyArrays([batch(texts(["a"], name="k"))]):
        from_arrow(source, key="k", data="k")
        refused(source, ValueError, "before", key="k", data="k")


def test_a_stream_where_there_is_no_one_array():
    class Chunked(ManyArrays):
        def __arrow_c_array__(self, requested_schema=None):
            raise ValueError("two chunks")

    one = batch(texts(["a"], name="k"), texts([b"1"], name="d"))
    assert from_arrow(Chunked([one, one])) == from_lists(["a", "a"], [b"1", b"1"])


# --- streams that fail ---


def test_a_stream_that_fails():
    one = batch(texts(["a"] * 3, name="k"), texts([b"1"] * 3, name="d"))
    for fine in (0, 1, 63, 64, 65):
        source = ManyArrays([one] * fine, schema=one, error=5)
        refused(source, OSError, f"the Arrow stream failed after {3 * fine} rows: it broke")
        assert source.released.count("stream") == 1
        assert source.asked == fine + 1
    refused(ManyArrays([], schema=one, error=5, text=None), OSError, "Input/output error")
    refused(ManyArrays([], schema=one, error=12), MemoryError, "it broke")
    refused(ManyArrays([], schema=one, schema_error=22), OSError, "failed after 0 rows: it broke")
    with pytest.raises(OSError, match="it broke") as caught:
        from_arrow(ManyArrays([], schema=one, error=5))
    assert caught.value.errno == 5


def test_a_stream_without_rows():
    one = batch(texts([], name="k"), texts([], name="d"))
    assert from_arrow(ManyArrays([], schema=one)) == []
    source = ManyArrays([one] * 70)
    assert from_arrow(source) == []
    assert sorted(source.released) == sorted(["schema", "stream", *(f"batch {i}" for i in range(70)), *["d", "k"] * 70])


def test_a_chunk_that_is_malformed_among_others():
    one, other = batch(texts(["a"], name="k"), texts([b"1"], name="d")), batch(texts(["a"], name="k"))
    source = ManyArrays([one, other, one])
    refused(source, ValueError, "of 1 columns has a schema of 2")
    assert sorted(source.released) == ["batch 0", "batch 1", "batch 2", "d", "d", "k", "k", "k", "schema", "stream"]


# --- malformed arrays ---


def i32(*values):
    return struct.pack(f"={len(values)}i", *values)


def i64(*values):
    return struct.pack(f"={len(values)}q", *values)


def view(size, prefix=b"pref", buffer=0, offset=0):
    return struct.pack("=i4sii", size, prefix, buffer, offset)


MALFORMED = {
    "falling offsets": Column(b"z", 3, [None, i32(0, 5, 3, 6), b"x" * 6]),
    "negative first offset": Column(b"z", 3, [None, i32(-1, 1, 2, 3), b"x" * 3]),
    "negative last offset": Column(b"z", 3, [None, i32(0, 1, 2, -3), b"x" * 3]),
    "falling large offsets": Column(b"Z", 3, [None, i64(0, 5, 3, 6), b"x" * 6]),
    "negative large offset": Column(b"Z", 3, [None, i64(-1, 1, 2, 3), b"x" * 3]),
    "an address that overflows": Column(b"Z", 3, [None, i64(0, 1, 2, 2**63 - 1), b"x" * 3]),
    "an address that does not exist": Column(b"Z", 3, [None, i64(2**63 - 9, 2**63 - 8, 2**63 - 7, 2**63 - 1), b"x"]),
    "offsets into nothing": Column(b"z", 3, [None, i32(0, 1, 2, 3), None]),
    "no offsets": Column(b"z", 3, [None, None, b"xxx"]),
    "no views": Column(b"vz", 3, [None, None, i64()]),
    "a view of a negative size": Column(b"vz", 3, [None, view(1) * 2 + view(-1), b"x" * 20, i64(20)]),
    "a view of no buffer": Column(b"vz", 3, [None, view(1) * 2 + view(13, buffer=1), b"x" * 20, i64(20)]),
    "a view of a negative buffer": Column(b"vz", 3, [None, view(1) * 2 + view(13, buffer=-1), b"x" * 20, i64(20)]),
    "a view of a missing buffer": Column(b"vz", 3, [None, view(1) * 2 + view(13), None, i64(20)]),
    "a view behind its buffer": Column(b"vz", 3, [None, view(1) * 2 + view(13, offset=8), b"x" * 20, i64(20)]),
    "a view before its buffer": Column(b"vz", 3, [None, view(1) * 2 + view(13, offset=-1), b"x" * 20, i64(20)]),
    "a view whose end overflows": Column(
        b"vz", 3, [None, view(1) * 2 + view(2**31 - 1, offset=2**31 - 1), b"x" * 20, i64(20)]
    ),
    "a view of a buffer of negative size": Column(b"vz", 3, [None, view(1) * 2 + view(13), b"x" * 20, i64(-1)]),
    "no sizes": Column(b"vz", 3, [None, view(0) * 3, b"x" * 20, None]),
    "views without sizes": Column(b"vz", 3, [None, view(0) * 3]),
    "a buffer too few": Column(b"z", 3, [None, i32(0, 1, 2, 3)]),
    "a buffer too many": Column(b"z", 3, [None, i32(0, 1, 2, 3), b"xxx", b""]),
    "a negative number of buffers": Column(b"z", 3, [], n_buffers=-1),
    "no array of buffers": Column(b"z", 3, [None, i32(0, 1, 2, 3), b"xxx"], has_no_buffers=True),
    "a negative length": Column(b"z", -1, [None, i32(0, 1, 2, 3), b"xxx"]),
    "a negative offset": Column(b"z", 3, [None, i32(0, 1, 2, 3), b"xxx"], offset=-1),
    "a length that overflows": Column(b"z", 2**63 - 1, [None, i32(0, 1, 2, 3), b"xxx"], offset=1),
    "an offset that overflows": Column(b"z", 3, [None, i32(0, 1, 2, 3), b"xxx"], offset=2**62),
    "too few rows": Column(b"z", 2, [None, i32(0, 1, 2), b"xxx"]),
    "released": Column(b"z", 3, [None, i32(0, 1, 2, 3), b"xxx"], is_released=True),
    "a size that overflows": Column(b"w:2147483647", 2**57 - 10, [None, b"x"], offset=2**57 - 20),
    "an index too large": Column(b"i", 3, [None, i32(0, 1, 2)], dictionary=texts([b"1", b"2"], b"z")),
    "an index too small": Column(b"i", 3, [None, i32(0, 1, -1)], dictionary=texts([b"1", b"2"], b"z")),
    "a short index too small": Column(b"c", 3, [None, b"\0\1\xff"], dictionary=texts([b"x"] * 256, b"z")),
    "a long index too small": Column(b"l", 3, [None, i64(0, 1, -1)], dictionary=texts([b"1", b"2"], b"z")),
    "an empty dictionary": Column(b"i", 3, [None, i32(0, 0, 0)], dictionary=texts([], b"z")),
    "a malformed dictionary": Column(
        b"i", 3, [None, i32(0, 1, 2)], dictionary=Column(b"z", 3, [None, i32(0, 5, 3, 6), b"x" * 6])
    ),
    "a dictionary of another length": Column(
        b"i", 3, [None, i32(0, 1, 2)], dictionary=Column(b"z", -3, [None, i32(0, 1, 2, 3), b"xxx"])
    ),
    "no indices": Column(b"i", 3, [None, None], dictionary=texts([b"1", b"2"], b"z")),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_columns(what):
    column = MALFORMED[what]
    column.name = "o"
    key, data = texts(["a", "b", "c"], name="k"), texts([b"1", b"2", b"3"], name="d")
    for role in "key", "data":
        source = OneArray(batch(key, data, column, length=3))
        refused(source, ValueError, "column 'o'.* malformed", **{role: "o"})
    if what.startswith(("a size", "no indices", "released", "too few")):
        return
    assert from_arrow(OneArray(batch(key, data, column, length=3))) == from_lists(["a", "b", "c"], [b"1", b"2", b"3"])


def test_a_dictionary_that_is_not_there():
    with_dictionary = indexed(["a", "b"], name="k")
    data = texts([b"1", b"2"], name="d")
    without = integers([0, 1], b"i", name="k")
    source = ManyArrays([batch(without, data)], schema=batch(with_dictionary, data))
    refused(source, ValueError, "column 'k' is malformed: its dictionary is missing")


@pytest.mark.parametrize(
    "wrong",
    [
        Column(b"+s", -1, [None]),
        Column(b"+s", 1, [None], offset=-1),
        Column(b"+s", 1, [None], n_children=-1),
        Column(b"+s", 1, [None], n_children=2),
        Column(b"+s", 1, [None], children=[None, None]),
        Column(b"+s", 2**62, [None], offset=2**62, children=[texts(["a"], name="k"), texts([b""], name="d")]),
    ],
)
def test_malformed_batches(wrong):
    fine = batch(texts(["a"], name="k"), texts([b""], name="d"))
    refused(ManyArrays([fine, wrong], schema=fine), ValueError, "malformed|columns has a schema|negative")


def test_nulls_may_hold_anything():
    datas = Column(b"vz", 3, [bits(["x", None, "y"]), view(0) + view(-5, buffer=77) + view(0), i64()], name="d")
    keys = texts(["a", None, "c"], name="k")
    refused(OneArray(batch(keys, datas)), InvalidRecordError, "row 1")
    keys = Column(b"i", 2, [b"\x02", i32(99, 0)], name="k", dictionary=texts(["a"]))
    source = OneArray(batch(keys, texts([b"1", b"2"], name="d")))
    found = [each for record in from_arrow(source) for each in deaggregate([record.data])]
    assert sorted(each.data for each in found) == [b"1", b"2"]


def test_a_payload_that_changes_while_it_waits():
    """Other bytes are sealed, and nothing is read or written beyond: a bucket of one is raw, or wrapped, for good."""
    for before, after in ((b"\xf3\x89\x9a\xc2", b"else"), (b"else", b"\xf3\x89\x9a\xc2")):
        source = OneArray(batch(texts(["a"], name="k"), texts([before * 8], b"z", name="d")))
        made = aggregator()
        inbox = Inbox(ShardMap.uniform(1)._table, max_record_bytes=1 << 20, max_bytes=1 << 20)
        address = source.array.children[1].contents.buffers[2]
        made.add_arrow(source, key="k", data="d")
        made.take()  # it is in its bucket
        ctypes.memmove(address, after * 8, 32)
        [record] = made.flush()
        assert (len(record.data) > 32) == (before != b"else")
        assert after * 8 in record.data
        source = OneArray(batch(texts(["a"], name="k"), texts([before * 8], b"z", name="d")))
        address = source.array.children[1].contents.buffers[2]
        inbox.put_arrow(ArrowRows(source, "k", "d"))
        inbox.gather()
        [bucket] = inbox.take(2**64 - 1)
        ctypes.memmove(address, after * 8, 32)
        [record] = inbox.seal([bucket])
        assert (len(record.data) > 32) == (before != b"else")
        assert bucket.user_records() == [("a", after * 8, None)]


# --- what waits in an inbox ---


def test_an_inbox_counts_the_data_of_a_chunk_until_all_of_it_is_settled():
    shards = ShardMap.uniform(2)
    inbox = Inbox(shards._table, max_record_bytes=1 << 20, max_bytes=1 << 20)
    low, high = 0, 2**127
    keys, datas = ["ab"] * 4, [b"x" * 10, b"y" * 20, b"z" * 30, b""]
    columns = texts(keys, name="k"), texts(datas, b"z", name="d"), texts(list(map(str, [low, high] * 2)), name="e")
    inbox.put("cd", b"12345", low)
    inbox.put_arrow(ArrowRows(OneArray(batch(*columns)), "k", "d", "e"))
    assert inbox.buffered == 2 + 5 + 4 * 2 + 60 + 5 * inbox.around
    inbox.gather()
    first, last = inbox.take(2**64 - 1)
    assert (first.user_size, last.user_size) == (2 + 5 + 2 + 10 + 2 + 30, 2 + 20 + 2)
    inbox.settled(first.settled() + inbox.around * len(first))
    assert inbox.buffered == 2 * 2 + 60 + 2 * inbox.around
    inbox.settled(-first.settled(again=True) - inbox.around * len(first))
    assert inbox.buffered == 2 + 5 + 4 * 2 + 60 + 5 * inbox.around
    for bucket in last, first:
        inbox.settled(bucket.settled() + inbox.around * len(bucket))
    assert inbox.buffered == 0


def test_rows_that_were_not_taken_can_be_given_again():
    inbox = Inbox(ShardMap.uniform(2)._table, max_record_bytes=1 << 20, max_bytes=1 << 20, max_buffered=10)
    inbox.put("key", b"data")
    source = ManyArrays([batch(texts(["a", None], name="k"), texts([b"1", b"2"], name="d"))])
    rows = ArrowRows(source, "k", "d")
    assert rows.count == 2
    assert [inbox.put_arrow(rows) for _ in range(3)] == [None] * 3
    inbox.settled(inbox.buffered)
    assert inbox.put_arrow(rows) == (1, 2, None)
    inbox.gather()
    assert sorted(each for bucket in inbox.take(2**64 - 1) for each in bucket.user_records()) == [
        ("-", b"2", 0),
        ("a", b"1", None),
        ("key", b"data", None),
    ]


def test_objects_that_are_not_made_from_outside():
    with pytest.raises(TypeError):
        ArrowChunk()
    empty = ArrowRows.__new__(ArrowRows)
    assert empty.count == 0
