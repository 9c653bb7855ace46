"""Rows by key: of columns, records and Arrow, each against a dict that is filled by hand."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardpack import Aggregator, ShardMap, deaggregate, deaggregate_arrow, deaggregate_columns
from shardpack.consume import combine

pytestmark = pytest.mark.native


def put_together(keys, datas=None):
    """User records of these keys, as an Aggregator sends them: a single one is not aggregated."""
    aggregator = Aggregator(ShardMap.uniform(1))
    aggregator.add_many(keys, datas or [b"%d" % i for i in range(len(keys))])
    return [{"Data": bytes(each.data), "PartitionKey": each.partition_key} for each in aggregator.flush()]


def kinesis_records(tables):
    """An aggregated record of each list of keys; a raw one of each text or None."""
    records = []
    for table in tables:
        if isinstance(table, list):
            records += put_together(table)
        else:
            records.append({"Data": b"raw", "PartitionKey": table} if table is not None else {"Data": b"raw"})
    return records


# Of any length, on both sides of what is compared at once; few enough to meet again.
keys = st.one_of(
    st.sampled_from(["", "a", "b", "\\xff", "é" * 9, "sixteen-bytes-ab", "sixteen-bytes-ac", "x" * 40, "x" * 39 + "y"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)
raw_keys = st.binary(min_size=1, max_size=20)
tables = st.lists(st.one_of(st.lists(keys.filter(bool), min_size=1, max_size=12), keys, st.none()), max_size=6)


def expected_groups(values):
    found = {}
    for i, value in enumerate(values):
        found.setdefault(value, []).append(i)
    return found


def check_groups(columns, partition_keys):
    groups, expected = combine.group_by_key(columns), expected_groups(partition_keys)
    assert groups.keys == list(expected)
    assert [groups.keys[group] for group in groups.of_rows] == partition_keys
    assert list(groups.last_rows) == [rows[-1] for rows in expected.values()]
    assert list(groups.counts) == [len(rows) for rows in expected.values()]


@given(tables, st.integers(-3, 30), st.integers(-3, 30))
@settings(max_examples=300, deadline=None)
def test_groups_are_those_of_a_dict(tables, first, stop):
    records = kinesis_records(tables)
    rows = deaggregate(records)
    columns = deaggregate_columns(records)
    partition_keys = [row.partition_key for row in rows]
    check_groups(columns, partition_keys)
    check_groups(columns[first:stop], partition_keys[first:stop])


def message(table):
    """A KPL message whose keys are any bytes, a record for each."""
    import hashlib  # noqa: PLC0415

    body = b"".join(b"\x0a" + bytes([len(key)]) + key for key in table)
    for i in range(len(table)):
        record = b"\x08" + bytes([i]) + b"\x1a\x01x"
        body += b"\x1a" + bytes([len(record)]) + record
    return b"\xf3\x89\x9a\xc2" + body + hashlib.md5(body).digest()


@given(st.lists(st.lists(raw_keys, min_size=1, max_size=9), max_size=4))
@settings(max_examples=200, deadline=None)
def test_keys_that_are_not_utf8_are_told_apart(tables):
    records = [{"Data": message(table), "PartitionKey": "\\xff"} for table in [*tables, [b"\\xff", b"\xff", b"\xfe"]]]
    partition_keys = [row.partition_key for row in deaggregate(records)]
    assert len(set(partition_keys[-3:])) == 3
    check_groups(deaggregate_columns(records), partition_keys)


def test_groups_of_very_many_rows():
    """Enough for the work to be done beside other threads, and for the table of keys to grow."""
    table = [f"key-{i * 7919 % 5003}" for i in range(60_000)]
    records = put_together(table)
    check_groups(deaggregate_columns(records), table)
    assert np.asarray(combine.group_by_key(deaggregate_columns(records)).of_rows).dtype == np.int32


# --- what is made of them, the same of each form ---

events = st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(-(2**63), 2**63 - 1)), max_size=20)


def in_each_form(rows):
    """Records, columns and Arrow of the same rows: (rows, by or values, what a row of the result is) of each."""
    datas = [repr(value).encode() for _, value in rows]
    records = put_together([key for key, _ in rows], datas)
    values = [value for _, value in rows]
    batch = pa.record_batch(deaggregate_arrow(records))
    batch = batch.append_column("value", pa.array(values, pa.int64()))
    batch = batch.append_column("place", pa.array(range(len(rows)), pa.int64()))
    taken = deaggregate(records)
    place = {id(record): i for i, record in enumerate(taken)}
    halves = pa.Table.from_batches([batch[: len(rows) // 2], batch[len(rows) // 2 :]])
    return [
        (taken, lambda record: values[place[id(record)]], lambda found: [place[id(record)] for record in found]),
        (deaggregate_columns(records), values, list),
        (batch, "value", lambda found: found["place"].to_pylist()),
        (halves, "value", lambda found: found["place"].to_pylist()),
    ]


@given(events)
@settings(max_examples=150, deadline=None)
def test_each_form_gives_the_same(rows):
    last, greatest, counts, sums = {}, {}, {}, {}
    for i, (key, value) in enumerate(rows):
        last[key] = i
        rank = (value is not None, value or 0)
        if key not in greatest or rank >= greatest[key][0]:
            greatest[key] = rank, i
        counts[key] = counts.get(key, 0) + 1
        sums[key] = sums.get(key, 0) + (value or 0)
    for form, by, places in in_each_form(rows):
        assert places(combine.latest(form)) == sorted(last.values())
        assert places(combine.latest(form, by=by)) == sorted(i for _, i in greatest.values())
        assert list(combine.count(form).items()) == list(counts.items())
        assert list(combine.sum(form, by).items()) == list(sums.items())


def test_nan_is_before_everything():
    values = [math.nan, 1.0, math.nan, None, math.nan, None]
    keys = ["a", "a", "a", "b", "b", "b"]
    table = pa.table({"partition_key": keys, "v": values, "row": range(6)})
    assert combine.latest(table, by="v")["row"].to_pylist() == [1, 5]
    pairs = list(zip(keys, values, range(6), strict=True))
    assert [row for *_, row in combine.latest(pairs, key=lambda pair: pair[0], by=lambda pair: pair[1])] == [1, 5]


def test_keys_may_be_anything():
    rows = [{"id": 1, "n": 2}, {"id": 2, "n": Decimal("0.1")}, {"id": 1, "n": 3}]
    assert combine.latest(rows, key=lambda row: row["id"]) == rows[1:]
    assert combine.count(rows, key=lambda row: row["id"]) == {1: 2, 2: 1}
    assert combine.sum(rows, lambda row: row["n"], key=lambda row: row["id"]) == {1: 5, 2: Decimal("0.1")}
    table = pa.table({"x": ["p", "p", "q"], "y": [1, 1, None], "v": [0.5, 0.25, None]})
    assert combine.count(table, key=["x", "y"]) == {("p", 1): 2, ("q", None): 1}
    assert combine.sum(table, "v", key=["x", "y"]) == {("p", 1): 0.75, ("q", None): 0}
    assert combine.latest(table, key=["x", "y"]).to_pydict() == {"x": ["p", "q"], "y": [1, None], "v": [0.25, None]}


def test_a_batch_of_our_own_is_taken():
    batch = deaggregate_arrow(kinesis_records([["a", "b", "a"], None]))
    assert combine.count(batch) == {"a": 2, "b": 1, None: 1}
    assert combine.latest(batch)["data"].to_pylist() == [b"1", b"2", b"raw"]
    assert combine.latest(deaggregate_arrow([])).num_rows == 0


def test_what_does_not_fit_is_said():
    columns = deaggregate_columns(kinesis_records([["a", "b"]]))
    with pytest.raises(TypeError, match=r"of Columns \(deaggregate_columns, batch\.columns\(\)\), not of list"):
        combine.group_by_key([])
    with pytest.raises(ValueError, match="by, of columns, has a value for each of their 2 rows, not 3 values"):
        combine.latest(columns, by=[1, 2, 3])
    with pytest.raises(ValueError, match="values, of columns, has a value for each of their 2 rows, not a function"):
        combine.sum(columns, len)
    with pytest.raises(TypeError, match="Columns are grouped by partition key"):
        combine.count(columns, key=len)
    with pytest.raises(KeyError, match="no column 'nope' among"):
        combine.latest(pa.table({"partition_key": ["a"]}), by="nope")
    assert combine.latest(columns, by=np.array([2.0, 1.0])) == [0, 1]
