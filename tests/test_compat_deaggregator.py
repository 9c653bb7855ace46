"""The drop-in's deaggregator beside the original's: the same dictionaries but for its defects.

The defects are listed in docs/migrate/from-aws-kinesis-agg.md.
"""

from __future__ import annotations

import base64
import binascii
import copy
import gc
import inspect
import json
import pickle
import weakref
from collections import UserDict
from datetime import datetime, timezone

import aws_original
import pytest
import wire
from aws_lambda_powertools.utilities.data_classes import KinesisStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from in_threads import in_threads

from shardpack.compat.aws_kinesis_agg import deaggregator as ours

original = aws_original.deaggregator

pytestmark = pytest.mark.native

AGGREGATED = wire.aggregate([("a", b"one", None), ("b", b"two", None), ("a", b"", None)])
ARRIVED = datetime(2020, 12, 9, 6, 31, 15, tzinfo=timezone.utc)
SEQUENCE_NUMBER = "49590338271490256608559692538361571095921575989136588898"


def b64(data, as_bytes=False):
    text = base64.b64encode(data)
    return text if as_bytes else text.decode()


def lambda_record(data, as_bytes=False):
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "outer",
            "sequenceNumber": SEQUENCE_NUMBER,
            "data": b64(data, as_bytes),
            "approximateArrivalTimestamp": 1607495475.0,
            "encryptionType": "KMS",
        },
        "eventSource": "aws:kinesis",
        "eventID": f"shardId-000000000006:{SEQUENCE_NUMBER}",
        "awsRegion": "us-east-2",
    }


def lambda_with_record_id(data, as_bytes=False):
    record = lambda_record(data, as_bytes)
    record["kinesis"]["recordId"] = "id"
    return record | {"data": "on top", "extra": [1, 2]}


def firehose_record(data, as_bytes=False, metadata="kinesisRecordMetadata"):
    return {
        "recordId": "record1",
        "data": b64(data, as_bytes),
        metadata: {
            "shardId": "shardId-000000000000",
            "partitionKey": "outer",
            "approximateArrivalTimestamp": 1607495475000,
            "sequenceNumber": SEQUENCE_NUMBER,
            "subsequenceNumber": 3,
        },
    }


def analytics_record(data, as_bytes=False):
    return firehose_record(data, as_bytes, "kinesisStreamRecordMetadata")


def boto3_record(data, _as_bytes=False):
    return {
        "SequenceNumber": SEQUENCE_NUMBER,
        "ApproximateArrivalTimestamp": ARRIVED,
        "Data": data,
        "PartitionKey": "outer",
        "EncryptionType": "NONE",
    }


BASE64_SHAPES = (lambda_record, lambda_with_record_id, firehose_record, analytics_record)


def same(found, expected):
    """Equal, in the order of their fields and in the types of their values."""
    assert found == expected
    for mine, theirs in zip(found, expected, strict=True):
        assert list(mine) == list(theirs)
        assert list(mine["kinesis"]) == list(theirs["kinesis"])
        assert [*map(type, mine["kinesis"].values())] == [*map(type, theirs["kinesis"].values())]


keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
datas = st.binary(max_size=70) | st.just(wire.MAGIC)
hash_keys = st.integers(0, 2**128 - 1)
aggregates = st.one_of(
    st.lists(st.tuples(keys, datas, st.none()), max_size=20),
    st.lists(st.tuples(keys, datas, hash_keys), max_size=20),
).map(wire.aggregate)
plain = st.one_of(
    datas,
    aggregates.map(lambda blob: blob[:-1]),
    aggregates.map(lambda blob: blob[:-1] + bytes([blob[-1] ^ 1])),
    st.binary(max_size=30).map(lambda message: wire.MAGIC + message),
)
blobs = aggregates | plain


@given(st.lists(st.tuples(st.sampled_from(BASE64_SHAPES), blobs, st.booleans()), max_size=6))
def test_the_same_from_events(records):
    records = [shape(blob, as_bytes) for shape, blob, as_bytes in records]
    expected = original.deaggregate_records(copy.deepcopy(records))
    same(ours.deaggregate_records(records), expected)
    same(ours.deaggregate_records(records, None), expected)
    same(list(ours.iter_deaggregate_records(iter(records))), expected)
    same(list(ours.iter_deaggregate_records(tuple(records), data_format="KinesisAnalytics")), expected)


@given(st.lists(blobs.map(boto3_record), max_size=6))
def test_the_same_from_boto3(records):
    expected = list(original.iter_deaggregate_records(copy.deepcopy(records), data_format="Boto3"))
    same(ours.deaggregate_records(records, data_format="Boto3"), expected)
    same(list(ours.iter_deaggregate_records(iter(records), "Boto3")), expected)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 100, 24_575, 24_576, 24_577, 70_000])
def test_data_of_every_size_around_what_is_encoded_at_a_time(size):
    user_records = [("k", bytes([i]) * (size + i), None) for i in range(5)] + [("k", b"x", None)] * 30
    record = lambda_record(wire.aggregate(user_records))
    same(ours.deaggregate_records(record), original.deaggregate_records(record))


def test_one_record_alone():
    for record in (lambda_record(AGGREGATED), lambda_record(b"plain"), firehose_record(AGGREGATED)):
        same(ours.deaggregate_records(record), original.deaggregate_records(record))
    event = KinesisStreamEvent({"Records": [lambda_record(AGGREGATED)]})
    [record] = event.records
    same(ours.deaggregate_records(record), original.deaggregate_records(record))
    same(ours.deaggregate_records(UserDict(lambda_record(AGGREGATED))), ours.deaggregate_records(record))


def test_many_kinesis_records():
    records = [lambda_record(wire.aggregate([(f"k{i}", b"d", None)] * (i % 3 + 1))) for i in range(200)]
    records[77] = lambda_record(b"plain")
    same(ours.deaggregate_records(records), original.deaggregate_records(records))
    same(list(ours.iter_deaggregate_records(records)), original.deaggregate_records(records))


def test_base64_with_line_breaks():
    record = lambda_record(b"")
    record["kinesis"]["data"] = base64.encodebytes(AGGREGATED).decode() + "\n"
    same(ours.deaggregate_records([record]), original.deaggregate_records([record]))


def test_data_that_is_not_base64_in_a_record_said_to_be_boto3s():
    for data in (b64(AGGREGATED), b64(AGGREGATED, True), AGGREGATED, bytearray(AGGREGATED)):
        record = lambda_record(b"")
        record["kinesis"]["data"] = data
        expected = list(original.iter_deaggregate_records([record], data_format="Boto3"))
        same(ours.deaggregate_records([record], "Boto3"), expected)


def test_a_partition_key_that_is_not_utf8_is_bytes():
    records = [lambda_record(wire.frame(wire.content(1, b"\xff") + wire.content(1, b"a") + wire.record(1, b"d")))]
    records.append(lambda_record(wire.frame(wire.content(1, b"a") + wire.content(1, b"\xff") + wire.record(1, b"d"))))
    same(ours.deaggregate_records(records), original.deaggregate_records(records))
    assert ours.deaggregate_records(records)[1]["kinesis"]["partitionKey"] == b"\xff"


@pytest.mark.parametrize("text", [b"", b"abc", b"\xff", b"007", b"340282366920938463463374607431768211456"])
def test_explicit_hash_keys_that_are_no_number_are_passed_on(text):
    message = wire.content(1, b"k") + wire.content(2, text) + wire.record(0, b"d", 0)
    records = [lambda_record(wire.frame(message))]
    same(ours.deaggregate_records(records), original.deaggregate_records(records))


def test_an_explicit_hash_key_index_without_a_table():
    records = [lambda_record(wire.frame(wire.content(1, b"k") + wire.record(0, b"d", 3)))]
    same(ours.deaggregate_records(records), original.deaggregate_records(records))


def test_an_aggregate_of_nothing():
    records = [lambda_record(wire.frame(wire.content(1, b"k")))]
    assert ours.deaggregate_records(records) == original.deaggregate_records(records) == []


@pytest.mark.parametrize("name", ["deaggregate_records", "iter_deaggregate_records"])
def test_the_arguments_of_the_original_come_first(name):
    mine, theirs = (inspect.signature(getattr(module, name)).parameters for module in (ours, original))
    assert list(mine)[: len(theirs)] == list(theirs)
    assert all(mine[name].default == theirs[name].default for name in theirs)


# --- what dictionaries share, and what the interpreter knows of them ---


def test_what_is_plain_comes_back_itself():
    record = lambda_record(b"plain")
    [found] = ours.deaggregate_records([record])
    assert found is record


def test_user_records_share_nothing_that_can_change_but_what_the_record_brought():
    record = lambda_with_record_id(AGGREGATED)
    before = copy.deepcopy(record)
    first, second, third = ours.deaggregate_records([record])
    first["kinesis"]["data"] = first["kinesis"]["new"] = first["new"] = 1
    del first["eventID"], first["kinesis"]["sequenceNumber"]
    assert record == before
    assert [second, third] == original.deaggregate_records([record])[1:]
    assert second["extra"] is third["extra"] is record["extra"]  # as in the original


def test_the_cycle_collector_knows_them():
    records = [lambda_record(AGGREGATED)] * 3
    for found in (ours.deaggregate_records(records), list(ours.iter_deaggregate_records(records))):
        assert all(map(gc.is_tracked, found))
    for found in ours.iter_deaggregate_records(records):
        assert gc.is_tracked(found)


@pytest.fixture
def collections():
    """The generations that the cycle collector goes through from now on: the youngest with every 700 objects."""
    generations: list[int] = []

    def note(phase, info):
        if phase == "start":
            generations.append(info["generation"])

    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    gc.callbacks.append(note)
    yield generations
    gc.callbacks.remove(note)
    gc.set_threshold(*before)


def test_the_cycle_collector_rests_while_they_are_made(collections):
    records = [lambda_record(wire.aggregate([("key", b"data", None)] * 1_000))] * 50
    found = ours.deaggregate_records(records)
    mine = len(collections)
    assert len(found) == 50_000
    assert mine < 5  # it is asleep, not gone


@pytest.mark.parametrize("enabled", [True, False])
def test_the_cycle_collector_is_left_as_it_was(enabled):
    sound, broken = lambda_record(AGGREGATED), lambda_record(AGGREGATED) | {"kinesis": {"data": "a"}}
    (gc.enable if enabled else gc.disable)()
    try:
        ours.deaggregate_records([sound] * 3)
        assert gc.isenabled() == enabled
        for _ in ours.iter_deaggregate_records([sound] * 3):
            assert gc.isenabled() == enabled
        with pytest.raises(ValueError):
            ours.deaggregate_records([sound, broken])
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


def test_a_malformed_record_leaves_nothing_behind():
    bad = wire.frame(wire.content(1, b"k") + wire.record(1, b"d"))

    class Canary:
        pass

    def call(deaggregate):
        canary = Canary()
        assert len(list(deaggregate([lambda_record(bad), lambda_record(AGGREGATED)]))) == 4
        return weakref.ref(canary)

    for deaggregate in (ours.deaggregate_records, ours.iter_deaggregate_records):
        assert call(deaggregate)() is None


def test_a_cycle_through_a_user_record_is_collected():
    class Canary:
        gone = False

        def __del__(self):
            Canary.gone = True

    found = ours.deaggregate_records([lambda_record(AGGREGATED)])
    found[0]["kinesis"]["cycle"] = [found[0], Canary()]
    del found
    gc.collect()
    assert Canary.gone


def test_a_cycle_through_a_generator_is_collected():
    class Canary:
        pass

    record, canary = lambda_record(AGGREGATED), Canary()
    record["canary"] = canary
    canary.generator = ours.iter_deaggregate_records([record, lambda_record(AGGREGATED)])
    next(canary.generator)
    gone = weakref.ref(canary)
    del record, canary
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("shapes", [1, 30])
def test_many_threads_at_once(shapes):
    blob = wire.aggregate([(f"key-{i % 7}", bytes(i), i % 11) for i in range(100)])
    records = [lambda_record(blob) | {f"field-{shapes}-{i % shapes}": i} for i in range(40)]
    records[7] = records[15] = lambda_record(b"plain")
    expected = original.deaggregate_records(records)

    def call():
        return ours.deaggregate_records(records), list(ours.iter_deaggregate_records(iter(records)))

    for found, one_by_one in in_threads(4, call):
        assert found == one_by_one == expected


def test_they_travel_as_json_and_pickle():
    found = ours.deaggregate_records([lambda_record(AGGREGATED)])
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301
    for record in found:
        record["kinesis"]["data"] = record["kinesis"]["data"].decode()
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("name", ["__class__", "__dict__", "", "no identifier", "é", "kinesis.", 5, ("a", "b")])
def test_a_field_of_any_name(name):
    records = [lambda_record(AGGREGATED) | {name: "value"}]
    same(ours.deaggregate_records(records), original.deaggregate_records(records))


def test_records_of_very_many_shapes():
    records = [lambda_record(AGGREGATED) | {f"field {i}": i for i in range(n)} for n in range(100)]
    for _ in range(2):
        found = ours.deaggregate_records(records)
        same(found, original.deaggregate_records(records))
        for i, record in enumerate(found):
            record[f"new {i}"] = record["kinesis"][f"new {i}"] = i
            del record["kinesis"]["data"], record["eventID"]
        assert all(list(record)[-1] == f"new {i}" == list(record["kinesis"])[-1] for i, record in enumerate(found))


# --- one at a time ---


def test_an_iterator_is_not_read_ahead():
    taken = []

    def records():
        for i in range(3):
            taken.append(i)
            yield lambda_record(AGGREGATED)

    found = ours.iter_deaggregate_records(records())
    assert taken == []
    for i in range(9):
        next(found)
        assert len(taken) == i // 3 + 1


@pytest.mark.parametrize("container", [list, iter])
def test_what_comes_before_a_bad_record_is_yielded(container):
    records = [lambda_record(AGGREGATED), lambda_record(b"plain"), lambda_record(b"")]
    records[2]["kinesis"]["data"] = "a"
    for module in (original, ours):
        found = module.iter_deaggregate_records(container(records))
        assert len([next(found) for _ in range(4)]) == 4
        with pytest.raises(binascii.Error):
            next(found)
        with pytest.raises(binascii.Error):
            module.deaggregate_records(records)


@pytest.mark.parametrize("record", [{}, {"data": "eA=="}, {"Records": []}, {"kinesis": {}}])
def test_other_shapes_are_a_key_error(record):
    for module in (original, ours):
        with pytest.raises(KeyError):
            module.deaggregate_records([record])


@pytest.mark.parametrize("base", [list, tuple])
def test_a_list_may_make_its_items_as_they_are_asked_for(base):
    class Lazy(base):
        def __iter__(self):
            return map(lambda_record, super().__iter__())

    for module in (original, ours):
        assert len(module.deaggregate_records(Lazy([AGGREGATED, b"plain"]))) == 4


def test_a_list_may_grow_as_it_is_read():
    for module in (original, ours):
        records = [lambda_record(b"plain")] * 70
        found = module.iter_deaggregate_records(records)
        for _ in range(70):
            next(found)
            records.append(lambda_record(AGGREGATED))
        assert len(list(found)) == 70 * 3


# --- defects of the original, and what happens here ---


def test_no_explicit_hash_key_is_none_whatever_the_table_holds():
    records = [lambda_record(wire.aggregate([("a", b"1", 5), ("b", b"2", None)]))]
    assert [r["kinesis"]["explicitHashKey"] for r in original.deaggregate_records(records)] == ["5", "5"]
    assert [r["kinesis"]["explicitHashKey"] for r in ours.deaggregate_records(records)] == ["5", None]


def test_boto3_records_need_no_data_format():
    records = [boto3_record(AGGREGATED), boto3_record(b"plain")]
    with pytest.raises(KeyError):
        original.deaggregate_records(records)
    with pytest.raises(TypeError):
        original.deaggregate_records(records, data_format="Boto3")
    expected = list(original.iter_deaggregate_records(records, data_format="Boto3"))
    same(ours.deaggregate_records(records, data_format="Boto3"), expected)
    same(ours.deaggregate_records(records)[:3], expected[:3])


def test_data_of_boto3_records_is_base64_throughout_where_no_data_format_is_given():
    records = [boto3_record(AGGREGATED), boto3_record(b"plain"), boto3_record(bytearray(b"other"))]
    theirs = [r["kinesis"]["data"] for r in original.iter_deaggregate_records(records, data_format="Boto3")]
    assert theirs == [b"b25l", b"dHdv", b"", b"plain", b"other"]
    assert [r["kinesis"]["data"] for r in ours.deaggregate_records(records, "Boto3")] == theirs
    uniform = [r["kinesis"]["data"] for r in ours.deaggregate_records(records)]
    assert [base64.b64decode(data) for data in uniform] == [b"one", b"two", b"", b"plain", b"other"]
    assert records[1]["Data"] == b"plain"


@pytest.mark.parametrize("index", [1, 2**32, 2**64 - 1])
def test_an_index_outside_the_table_loses_nothing(index, capsys, caplog):
    message = wire.content(1, b"k") + wire.record(0, b"one") + wire.record(index, b"two") + wire.record(0, b"three")
    records = [lambda_record(wire.frame(message)), lambda_record(b"next")]
    assert len(original.deaggregate_records(records)) == 2  # the first user record, and the next Kinesis record
    assert "ERROR" in capsys.readouterr().err
    assert ours.deaggregate_records(records) == records
    assert capsys.readouterr().err == ""
    assert f"record {SEQUENCE_NUMBER} comes back whole" in caplog.text


def test_an_explicit_hash_key_index_outside_the_table_loses_nothing():
    odd = wire.content(1, b"k") + wire.content(2, b"no number") + wire.record(0, b"one", 0) + wire.record(0, b"two", 9)
    records = [lambda_record(wire.frame(odd))]
    with pytest.raises(IndexError):  # from the message that it makes of its own error
        original.deaggregate_records(records)
    assert ours.deaggregate_records(records) == records


@pytest.mark.parametrize("field", ["kinesisSchemaVersion", "approximateArrivalTimestamp"])
def test_a_record_without_some_field_loses_nothing(field, capsys):
    record = lambda_record(AGGREGATED)
    del record["kinesis"][field]
    assert original.deaggregate_records([record]) == []
    assert "ERROR" in capsys.readouterr().err
    found = ours.deaggregate_records([record])
    assert [base64.b64decode(r["kinesis"]["data"]) for r in found] == [b"one", b"two", b""]
    assert all(field not in r["kinesis"] for r in found)


@pytest.mark.parametrize("missing", [wire.number(1, 0), wire.content(3, b"data")])
def test_a_user_record_without_a_required_field_is_no_user_record(missing):
    """As the KPL and the KCL have it; the original makes up an index 0, or empty data."""
    records = [lambda_record(wire.frame(wire.content(1, b"k") + wire.content(3, missing)))]
    assert original.deaggregate_records(records)[0]["kinesis"]["aggregated"]
    assert ours.deaggregate_records(records) == records
