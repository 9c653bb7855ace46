"""Bodies of GetRecords responses: what is read natively is what botocore makes of them, and all else is left to it."""

from __future__ import annotations

import base64
import gc
import json
import pickle
from datetime import datetime, timezone

import pyarrow as pa
import pytest
import wire
from answers import NUMBER, body_of, record
from hypothesis import example, given, settings
from hypothesis import strategies as st
from in_threads import in_threads
from reply_agreement import agree, parsed, response, taken

from shardpack import MalformedRecordError
from shardpack._native import base64 as kernels
from shardpack._native.arrow import batch_of_columns
from shardpack._native.columns import columns_of_received
from shardpack._native.deaggregate import deaggregate_received
from shardpack.consume import replies as replies_of_bodies
from shardpack.consume.replies import take_records
from shardpack.consume.shapes import received_records

pytestmark = [pytest.mark.native, pytest.mark.usefixtures("small_heap")]

AGGREGATED = wire.aggregate([("a", b"one", None), ("b", b"two", None), ("a", b"", 7)])
MALFORMED = wire.frame(wire.content(1, b"a") + wire.record(1, b"d"))


@pytest.fixture(params=kernels._kernels())
def kernel(request):
    before = kernels._kernel()
    kernels._set_kernel(request.param)
    yield request.param
    kernels._set_kernel(before)


# --- what the service writes ---

WRITTEN = {
    "empty": body_of(),
    "one": body_of(record()),
    "no data": body_of(record(b"")),
    "aggregated, raw, malformed": body_of(record(AGGREGATED), record(b"raw"), record(MALFORMED)),
    "all lengths": body_of(*(record(bytes(range(n))) for n in range(130))),
    "large": body_of(record(bytes(range(256)) * 4096), record()),
    "encrypted": body_of(record(EncryptionType="KMS")),
    "escaped keys": body_of(*(record(PartitionKey=key) for key in ['é\n"\\/', "\U0001f600", "\u2028\x7f\x01", ""])),
    "keys as they are": json.dumps({"Records": [record(PartitionKey="é€\U0001f600")]}, ensure_ascii=False).encode(),
    "times": body_of(
        *(
            record(ApproximateArrivalTimestamp=time)
            for time in [0, 1, 1.5, 1545084650, 1.545084650987e9, 1696195200.1234567]
        )
    ),
    "scientific times": body_of(record()).replace(b"1545084650.987", b"1.545084650987E9"),
    "no key, as AUTO has it": body_of({name: value for name, value in record().items() if name != "PartitionKey"}),
    "data alone": body_of({"Data": "cmF3"}),
    "the end of a shard": json.dumps(
        {
            "ChildShards": [{"ShardId": "s", "ParentShards": ["p"], "HashKeyRange": {}}],
            "MillisBehindLatest": 0,
            "Records": [record()],
        }
    ).encode(),
    "unknown members around": body_of(
        record(), Colour={"a": [1, None, True, "\u00e9", -1.5e3]}, NextShardIterator=None
    ),
    "spaces": json.dumps({"Records": [record()] * 2}, indent=2).replace("\n", "\r\n\t").encode() + b"\n ",
}


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("name", WRITTEN)
def test_what_the_service_writes_is_read(name):
    assert agree(WRITTEN[name])


def test_times_are_botocores():
    received, _ = taken(WRITTEN["times"])
    whole = parsed(WRITTEN["times"])["Records"]
    found: list = []
    deaggregate_received(received, None, False, found)
    for one, of_botocore in zip(found, whole, strict=True):
        assert repr(one.approximate_arrival_timestamp) == repr(of_botocore["ApproximateArrivalTimestamp"])
        assert isinstance(one.approximate_arrival_timestamp, datetime)


# --- what is botocore's ---

FOREIGN = {
    "nothing": b"",
    "no JSON": b"<html>",
    "an array": b"[]",
    "CBOR": b"\xa1gRecords\x80",
    "no records": b"{}",
    "null records": b'{"Records":null}',
    "an object of records": b'{"Records":{}}',
    "records twice": b'{"Records":[],"Records":[]}',
    "an escaped name": b'{"\\u0052ecords":[],"Records":[]}',
    "a byte order mark": b"\xef\xbb\xbf" + body_of(),
    "NaN": body_of(Colour=float("nan")),
    "more behind": body_of() + b"{}",
    "cut off": body_of(record())[:-1],
    "another member": body_of(record(Colour="blue")),
    "a member of another case": body_of(record(data="cmF3")),
    "null data": body_of(record(Data=None)),
    "data that is a number": body_of(record(Data=1)),
    "no data member": body_of({"PartitionKey": "a"}),
    "a null key": body_of(record(PartitionKey=None)),
    "a key that is a number": body_of(record(PartitionKey=1)),
    "half a surrogate pair": body_of(record(PartitionKey="\ud83d")),
    "a key that is not UTF-8": body_of(record(PartitionKey="~")).replace(b"~", b"\xff"),
    "a control character": body_of(record(PartitionKey="~")).replace(b"~", b"\n"),
    "a sequence number that is one": body_of(record(SequenceNumber=1)),
    "a time that is text": body_of(record(ApproximateArrivalTimestamp="2018-12-17T22:10:50Z")),
    "a time in text": body_of(record(ApproximateArrivalTimestamp="1545084650.987")),
    "milliseconds": body_of(record(ApproximateArrivalTimestamp=1545084650987)),
    "a time long ago": body_of(record(ApproximateArrivalTimestamp=-1)),
    "a small time": body_of(record(ApproximateArrivalTimestamp=1e-7)),
    "a huge time": body_of(record()).replace(b"1545084650.987", b"1e400"),
    "a time of many digits": body_of(record()).replace(b"1545084650.987", b"1." + b"0" * 100),
    "true": body_of(record(ApproximateArrivalTimestamp=True)),
    "data twice": body_of(record()).replace(b'"Data"', b'"Data":"cmF3","Data"'),
    "data with an escape": body_of(record(b"\xff\xff\xff")).replace(b"////", b"\\/\\/\\/\\/"),
    "no padding": body_of(record(Data="cmF3cg")),
    "too much padding": body_of(record(Data="cmF3====")),
    "padding inside": body_of(record(Data="cm==cmF3")),
    "a line break in data": body_of(record(Data="cmF3\n")),
    "another alphabet": body_of(record(Data="__-_")),
    "a comma too many": body_of(record()).replace(b"}]", b"},]"),
    "a record that is null": body_of(None),
    "a record that is text": body_of("cmF3"),
    "records in records": body_of([record()]),
    "very deep": b'{"Colour":' + b"[" * 5000 + b"]" * 5000 + b',"Records":[]}',
    "a number of 5,000 digits": b'{"Colour":' + b"9" * 5000 + b',"Records":[]}',
}


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_unforeseen_is_left_to_botocore(name):
    assert taken(FOREIGN[name]) is None


@pytest.mark.parametrize("status", [300, 400, 500])
def test_errors_are_left_to_botocore(status):
    one = response(body_of(record()), status)
    assert take_records(one) is None
    assert one == response(body_of(record()), status)


@pytest.mark.parametrize("body", [None, "{}", bytearray(WRITTEN["one"]), memoryview(WRITTEN["one"])])
def test_a_body_that_is_no_bytes_is_left_to_botocore(body):
    assert take_records(response(body)) is None
    assert take_records({}) is None


# --- what a proxy may have made of it ---

GARBLING = st.lists(
    st.tuples(
        st.integers(0, 1 << 20),
        st.integers(0, 3),
        st.sampled_from([b"", *(bytes([i]) for i in b'"\\{}[],:0e-.u \n\x00\xff\xc3nA=')])
        | st.sampled_from(
            [b"null", b'"Data":', b'"Records":[', b"\\u0041", b"\\ud83d", b"1e9", b"NaN", b"====", b"},{"]
        )
        | st.binary(max_size=4),
    ),
    max_size=3,
)


@given(
    name=st.sampled_from([name for name in WRITTEN if name != "large"]),
    garbling=GARBLING,
    cut=st.none() | st.integers(0, 400),
)
@example(name="one", garbling=[], cut=None)
@settings(max_examples=1500, deadline=None)
def test_garbled_bodies_mean_what_botocore_says(name, garbling, cut):
    body = WRITTEN[name]
    for anywhere, length, put in garbling:
        place = anywhere % (len(body) + 1)
        body = body[:place] + put + body[place + length :]
    agree(body if cut is None else body[: max(0, len(body) - cut)])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
RECORD = st.fixed_dictionaries(
    {"Data": st.binary(max_size=80).map(lambda data: base64.b64encode(data).decode())},
    optional={
        "SequenceNumber": st.text(max_size=8),
        "PartitionKey": st.text(max_size=8),
        "EncryptionType": st.sampled_from(["NONE", "KMS"]),
        "ApproximateArrivalTimestamp": st.floats(0, 9e9) | st.integers(0, 9 * 10**9),
    },
)


@given(
    records=st.lists(RECORD, max_size=4),
    others=st.dictionaries(st.sampled_from(["MillisBehindLatest", "NextShardIterator", "a", "é"]), JSON, max_size=3),
    is_ascii=st.booleans(),
    odd=st.dictionaries(st.sampled_from(["Data", "PartitionKey", "Colour"]), JSON, max_size=1),
)
@settings(max_examples=300, deadline=None)
def test_bodies_made_up_mean_what_botocore_says(records, others, is_ascii, odd):
    body = json.dumps({"Records": records, **others}, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    agree(body)
    if records:
        records[-1] |= odd
        agree(json.dumps({"Records": records}, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass"))


# --- what holds what ---


def received_of(body):
    received, _ = taken(body)
    return received


def replies():
    gc.collect()
    return sum(type(thing).__name__ == "Reply" for thing in gc.get_objects())


def test_a_user_record_keeps_the_buffer_and_nothing_else_does():
    before = replies()
    found: list = []
    deaggregate_received(received_of(body_of(record(AGGREGATED), record(b"raw"))), None, False, found)
    kept = found[1], found[-1]
    del found
    assert replies() == before + 1
    assert (kept[0].data, kept[0].partition_key, kept[0].sequence_number) == (b"two", "b", NUMBER)
    assert (kept[1].data, kept[1].partition_key) == (b"raw", "outer")
    again = pickle.loads(pickle.dumps(kept))  # noqa: S301 - our own
    assert again == kept
    del kept
    assert replies() == before
    assert again[0].approximate_arrival_timestamp == datetime.fromtimestamp(1545084650.987, timezone.utc)


@pytest.mark.parametrize("viewed", [False, True])
def test_columns_and_arrow_are_those_of_botocores_records(viewed):
    body = WRITTEN["aggregated, raw, malformed"]
    ours = columns_of_received(received_of(body), None, False, viewed)
    theirs = columns_of_received(list(received_records(parsed(body)["Records"])), None, False, viewed)
    for name in (
        "partition_keys",
        "explicit_hash_keys",
        "sequence_numbers",
        "approximate_arrival_timestamps",
        "sources",
    ):
        assert getattr(ours, name) == getattr(theirs, name), name
    table, expected = (pa.table(batch_of_columns(columns)) for columns in (ours, theirs))
    del ours, theirs
    gc.collect()
    table.validate(full=True)
    assert table.equals(expected)
    assert table["data"].to_pylist() == [b"one", b"two", b"", b"raw", MALFORMED]


NUMBERS = (
    st.floats(0, 9.9e9).map(json.dumps)
    | st.integers(0, 9_999_999_999).map(str)
    | st.builds("{}.{:06}5".format, st.integers(1_500_000_000, 1_900_000_000), st.integers(0, 999_999))  # a tie, nearly
    | st.builds("{:.{}f}".format, st.floats(0, 9.9e9), st.integers(1, 15))
    | st.builds("{:.{}E}".format, st.floats(1e-9, 9.9e9), st.integers(0, 17))
    | st.builds("{}.{}e{}".format, st.integers(0, 99), st.integers(0, 10**13), st.integers(0, 7))
)


def arrivals(received):
    table = pa.table(batch_of_columns(columns_of_received(received, None, False)))
    return table["approximate_arrival_timestamp"].to_pylist()


@given(st.lists(NUMBERS, min_size=1, max_size=20))
@example(["0", "0.0", "0.0000005", "0.0000015", "0.5", "1.9999995", "9999999999.9999995", "1E0", "15E+8", "1.5e-3"])
@settings(max_examples=1000, deadline=None)
def test_times_of_arrow_are_botocores(numbers):
    """Of more digits, and of another magnitude, than times of this age have, too."""
    texts = (json.dumps(record()).replace("1545084650.987", number) for number in numbers)
    body = f'{{"Records":[{",".join(texts)}]}}'.encode()
    found = taken(body)
    if found is not None:
        assert arrivals(found[0]) == arrivals(list(received_records(parsed(body)["Records"])))


@pytest.mark.parametrize("number", ["1545084650.987", "1.545084650987E9", "1545084650", "1545084650.000001"])
def test_times_of_arrow_take_no_object_a_record(number, monkeypatch):
    monkeypatch.setattr(replies_of_bodies, "moment_of", None)
    body = body_of(record()).replace(b"1545084650.987", number.encode())
    assert arrivals(received_of(body)) == [datetime.fromtimestamp(float(number), timezone.utc)]


def test_the_error_of_a_strict_reading_has_its_source():
    with pytest.raises(MalformedRecordError, match=NUMBER) as raised:
        deaggregate_received(received_of(WRITTEN["aggregated, raw, malformed"]), None, True, [])
    assert raised.value.source == parsed(WRITTEN["aggregated, raw, malformed"])["Records"][2]


def test_threads_get_the_same_objects():
    found: list = []
    deaggregate_received(received_of(body_of(record(b"raw"))), None, False, found)
    [one] = found
    got = in_threads(8, lambda: (one.source, one.data, one.approximate_arrival_timestamp))
    assert {id(source) for source, _, _ in got} == {id(one.source)}
    assert {id(data) for _, data, _ in got} == {id(one.data)}
    assert one.source["Data"] is one.data


def test_what_a_body_may_cost():
    """A record of a few bytes makes an entry of a few more; what is decoded is shorter than the body."""
    body = body_of(*({"Data": ""} for _ in range(100_000)))
    received = received_of(body)
    assert len(received) == 100_000
    assert {one.data for one in received} == {b""}
