"""CBOR on the wire, against cbor2, the examples of RFC 8949, and servers that read it or do not."""

from __future__ import annotations

import base64
import io
import itertools
import json
import logging

import cbor2
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from other_kinesis import ministack

from shardpack import Boto3Transport, KinesisRecord, Producer, deaggregate
from shardpack._native.body import BodyWriter
from shardpack._native.cbor_json import json_of_cbor
from shardpack.testing import FaultProxy
from shardpack.testing.faults import Cut, Error, RefuseEntries, Reset, Script
from shardpack.transport import BrokenAnswerError, Failed, Stored
from shardpack.transport.cbor import CONTENT_TYPE, before_records

names = (f"cbor-{i}" for i in itertools.count())


def record(partition_key, data=b"data", explicit_hash_key=None):
    return KinesisRecord(partition_key, explicit_hash_key, data, 0, 1, len(data) + len(partition_key.encode()))


# --- bodies ---


def body_of(records, **parameters):
    return BodyWriter(cbor=True).write(tuple(records), before_records(parameters), b"")


def as_boto3_takes_it(records, **parameters):
    return {**parameters, "Records": [each.to_boto3() for each in records]}


records = st.builds(
    record,
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256),
    st.binary(max_size=300),
    st.none() | st.integers(0, 2**128 - 1).map(str),
)


@pytest.mark.native
@given(st.lists(records, max_size=30), st.text(st.characters(exclude_categories=["Cs"]), max_size=300), st.booleans())
def test_bodies_are_those_of_cbor2(entries, name, flag):
    body = body_of(entries, StreamName=name, DryRun=flag)
    assert body == cbor2.dumps(as_boto3_takes_it(entries, StreamName=name, DryRun=flag))


@pytest.mark.native
@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 65_535, 65_536, 1 << 20])
def test_lengths_take_as_few_bytes_as_they_can(size):
    entries = [record("k", bytes(size)), record("k" * min(size or 1, 256), b"", "7")]
    assert body_of(entries, StreamName="s") == cbor2.dumps(as_boto3_takes_it(entries, StreamName="s"))


@pytest.mark.native
@pytest.mark.parametrize("count", [0, 1, 23, 24, 255, 256, 500])
def test_as_many_entries_as_there_are(count):
    entries = [record(f"key-{i}") for i in range(count)]
    assert cbor2.loads(body_of(entries)) == as_boto3_takes_it(entries)


def test_only_text_and_flags_stand_beside_the_records():
    assert before_records({"StreamName": "s", "Weight": 1.5}) is None


# --- answers ---

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - 2**64, 2**64 - 1)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(max_size=50),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=30,
)


def in_json(value):
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case list():
            return [in_json(each) for each in value]
        case dict():
            return {name: in_json(each) for name, each in value.items()}
    return value


@pytest.mark.native
@given(values)
def test_answers_are_what_cbor2_reads_in_them(value):
    assert json.loads(json_of_cbor(cbor2.dumps(value))) == in_json(value)


RFC_8949 = [  # appendix A
    ("00", 0), ("17", 23), ("1818", 24), ("1903e8", 1000), ("1a000f4240", 1000000), ("1bffffffffffffffff", 2**64 - 1),
    ("20", -1), ("3903e7", -1000), ("f90000", 0), ("f93c00", 1), ("f97bff", 65504), ("fa47c35000", 100000),
    ("f4", False), ("f5", True), ("f6", None), ("f7", None), ("c11a514b67b0", 1363896240),
    ("40", ""), ("4401020304", "AQIDBA=="), ("60", ""), ("62225c", '"\\'), ("62c3bc", "\u00fc"),
    ("64f0908591", "\U00010151"),
    ("80", []), ("8301820203820405", [1, [2, 3], [4, 5]]), ("a0", {}), ("a26161016162820203", {"a": 1, "b": [2, 3]}),
    ("7f657374726561646d696e67ff", "streaming"), ("9fff", []), ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
    ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}), ("5f42010" + "2ff", "AQI="), ("fbc010000000000000", -4),
]  # fmt: skip


@pytest.mark.native
@pytest.mark.parametrize(("item", "value"), RFC_8949, ids=lambda each: each if isinstance(each, str) else "")
def test_examples_of_the_standard(item, value):
    assert json.loads(json_of_cbor(bytes.fromhex(item))) == value


NOT_TAKEN = [
    "", "ff", "1c", "18", "1bff", "1f", "3f", "3bffffffffffffffff",  # no number, or too large a one
    "f93e00", "fb3ff199999999999a", "f97c00", "f97e00", "fb7e37e43c8800759c", "f8ff",  # not whole, infinite, none
    "5f", "5f4101", "5f41014102ff", "5f6161ff", "7f5f4101ffff", "7fff00", "5b7fffffffffffffff",  # strings
    "62c3", "61ff", "63eda080",  # that are no UTF-8
    "81", "9f", "9f01", "a1", "a101", "a10102", "a1f6f6", "bf6161ff", "9bffffffffffffffff", "bb7fffffffffffffff00",
    "0000", "c0", "c243010000", "c1", "c1c100", "df",  # two items, and tags
]  # fmt: skip


@pytest.mark.native
@pytest.mark.parametrize("item", NOT_TAKEN)
def test_what_is_no_answer_is_not_taken(item):
    assert json_of_cbor(bytes.fromhex(item)) is None


@pytest.mark.native
def test_items_within_items_are_bounded():
    assert json.loads(json_of_cbor(b"\x81" * 15 + b"\x80"))
    assert json_of_cbor(b"\x81" * 16 + b"\x80") is None
    assert json_of_cbor(b"\x9f" * 1_000_000) is None


@pytest.mark.native
@given(st.binary(max_size=200) | st.tuples(values, st.integers(0, 300), st.integers(0, 255)))
def test_hostile_answers(given_):
    if isinstance(given_, tuple):
        value, position, byte = given_
        whole = bytearray(cbor2.dumps(value))
        for cut in {position % len(whole), len(whole) - 1}:
            assert json_of_cbor(bytes(whole[:cut])) is None  # one item, not whole
        whole[position % len(whole)] = byte
        given_ = bytes(whole)
    read = json_of_cbor(given_)
    if read is not None:
        json.loads(read)


# --- servers ---


@pytest.fixture(scope="module")
def fan_out(tmp_path_factory):
    with ministack(tmp_path_factory.mktemp("ministack")) as server:
        yield server


@pytest.fixture(params=["kinesis-local", "ministack"])
def reading_cbor(request):
    """A server that reads CBOR."""
    return request.getfixturevalue("raising" if request.param == "kinesis-local" else "fan_out")


def watched(client):
    """The content types of what PutRecords calls sent and got."""
    sent, got = [], []
    client.meta.events.register("before-send.kinesis.PutRecords", lambda request, **_: sent.append(request))
    client.meta.events.register_first(
        "before-parse.kinesis.PutRecords",
        lambda response_dict, **_: got.append(response_dict["headers"]["Content-Type"]),
    )
    return sent, got


def stored_in(client, stream):
    found = []
    for shard in client.list_shards(StreamName=stream)["Shards"]:
        start = {"ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = client.get_shard_iterator(StreamName=stream, **start)["ShardIterator"]
        found += client.get_records(ShardIterator=iterator)["Records"]
    return found


RECORDS = [
    record("device-7", bytes(range(256)) * 200, str(2**128 - 1)),
    record('"quoted" \\ \n', b"\x00"),
    record("clé 日本 \U0001d518", b"\xf3\x89\x9a\xc2", "0"),
]


def test_what_is_put_in_cbor_is_stored(reading_cbor):
    name, client = next(names), reading_cbor.client()
    reading_cbor.create_stream(name, 2)
    sent, got = watched(client)
    outcomes = Boto3Transport(client, name, wire="cbor").put_records(RECORDS)
    assert [type(each) for each in outcomes] == [Stored] * 3
    assert [request.headers["Content-Type"] for request in sent] == [CONTENT_TYPE.encode()]
    assert [each.partition(";")[0] for each in got] == [CONTENT_TYPE]
    found = {each["PartitionKey"]: (each["Data"], each["SequenceNumber"]) for each in stored_in(client, name)}
    assert found == {
        each.partition_key: (each.data, outcome.sequence_number)
        for each, outcome in zip(RECORDS, outcomes, strict=True)
    }


def test_errors_in_cbor_are_those_of_json(reading_cbor):
    with pytest.raises(ClientError) as raised:
        Boto3Transport(reading_cbor.client(), "no-such-stream", wire="cbor").put_records(RECORDS)
    assert raised.value.response["Error"]["Code"] == "ResourceNotFoundException"
    assert "no-such-stream" in raised.value.response["Error"]["Message"]
    assert type(raised.value).__name__ == "ResourceNotFoundException"


def test_a_producer_of_cbor(raising):
    name = next(names)
    raising.create_stream(name, 3)
    client = raising.client(retries={"total_max_attempts": 1})
    sent, _ = watched(client)
    with Producer(name, client=client, wire="cbor", linger_ms=20) as producer:
        producer.put_many([f"device-{i % 50}" for i in range(3000)], [b"%d" % i for i in range(3000)])
    assert {request.headers["Content-Type"] for request in sent} == {CONTENT_TYPE.encode()}
    found = [int(each.data) for each in deaggregate(stored_in(client, name))]
    assert sorted(found) == list(range(3000))


def test_nothing_is_lost_in_cbor_where_calls_fail(raising, caplog):
    """Errors of the proxy are JSON: they do not mean that CBOR is not read."""
    name = next(names)
    raising.create_stream(name, 3)
    faults = [
        RefuseEntries(positions=(0,)),
        Reset(),
        Reset(when="after"),
        Cut(),
        Error(),
        Error(code="LimitExceededException"),
    ]
    script = Script("PutRecords", [each for fault in faults for each in (None, fault)])
    with (
        FaultProxy(raising.endpoint_url, seed=7, faults=[script]) as proxy,
        caplog.at_level(logging.WARNING, "shardpack"),
        Producer(name, client=proxy.client(), wire="cbor", linger_ms=0, max_aggregate_records=5) as producer,
    ):
        for i in range(400):
            producer.put(f"device-{i % 10}", b"%d" % i)
    assert len(proxy.injected) == len(faults)
    assert not script.left
    assert producer.stats().user_records_stored == 400
    first = list(dict.fromkeys(int(each.data) for each in deaggregate(stored_in(raising.clients[0], name))))
    assert sorted(first) == list(range(400))
    for device in range(10):
        of_device = [number for number in first if number % 10 == device]
        assert of_device == sorted(of_device), "in the order of its key"
    assert not caplog.records


def test_a_service_that_does_not_read_it_gets_json(local_kinesis, caplog):
    """One call is refused, and made again: nothing is lost by it or stored twice."""
    name, client = next(names), local_kinesis.client()
    local_kinesis.create_stream(name, 1)
    sent, _ = watched(client)
    transport = Boto3Transport(client, name, wire="cbor")
    with caplog.at_level(logging.WARNING, "shardpack"):
        for i in range(3):
            (outcome,) = transport.put_records([record("k", b"%d" % i)])
            assert isinstance(outcome, Stored)
    types = [request.headers["Content-Type"] for request in sent]
    assert types == [CONTENT_TYPE.encode()] + [b"application/x-amz-json-1.1"] * 3
    assert [each["Data"] for each in stored_in(client, name)] == [b"0", b"1", b"2"]
    assert [each.message[:36] for each in caplog.records] == ["the service does not read CBOR: bodi"]


def test_a_producer_of_cbor_where_it_is_not_read(local_kinesis, caplog):
    """Several calls are under way when the first is refused."""
    name = next(names)
    local_kinesis.create_stream(name, 8)
    client = local_kinesis.client(retries={"total_max_attempts": 1})
    sent, _ = watched(client)
    numbers = range(2000)
    with (
        caplog.at_level(logging.WARNING, "shardpack"),
        Producer(name, client=client, wire="cbor", linger_ms=0, max_aggregate_records=7, ordering="none") as producer,
    ):
        for i in numbers:
            producer.put(f"device-{i % 50}", b"%d" % i)
    assert producer.stats().errors == {}
    assert CONTENT_TYPE.encode() in {request.headers["Content-Type"] for request in sent}
    assert sorted(int(each.data) for each in deaggregate(stored_in(client, name))) == list(numbers)
    assert len(caplog.records) == 1


def test_another_transport_of_the_client_speaks_json(raising):
    name, client = next(names), raising.client()
    raising.create_stream(name, 1)
    sent, _ = watched(client)
    Boto3Transport(client, name, wire="cbor").put_records(RECORDS)
    Boto3Transport(client, name).put_records(RECORDS)
    client.put_records(StreamName=name, Records=[each.to_boto3() for each in RECORDS])
    json_type = b"application/x-amz-json-1.1"
    assert [request.headers["Content-Type"] for request in sent] == [CONTENT_TYPE.encode(), json_type, json_type]


def test_who_puts_in_json_while_an_answer_in_cbor_is_awaited(reading_cbor):
    """A listener that calls the client again: what was stored by either call is told so."""
    name, client, within = next(names), reading_cbor.client(), []
    reading_cbor.create_stream(name, 1)
    in_json = Boto3Transport(client, name)

    def put(**_):
        if not within:
            within.append(None)
            within[0] = in_json.put_records(RECORDS[:1])

    client.meta.events.register("before-send.kinesis.PutRecords", put)
    outcomes = Boto3Transport(client, name, wire="cbor").put_records(RECORDS)
    numbers = [each.sequence_number for each in within[0] + outcomes]
    assert sorted(each["SequenceNumber"] for each in stored_in(client, name)) == sorted(numbers)
    assert len(numbers) == 4


# --- answers that only a busy service gives ---


@pytest.fixture
def answering(local_kinesis):
    """A client whose calls are answered by the test, with a status and what CBOR says, or with these bytes."""

    def client(*answers):
        made, left = local_kinesis.client(retries={"total_max_attempts": 1}), list(answers)

        def answer(request, **_):
            status, content = left.pop(0)
            raw = io.BytesIO(content if isinstance(content, bytes) else cbor2.dumps(content))
            raw.stream = lambda **_: iter([raw.read()])
            return AWSResponse(request.url, status, {"Content-Type": CONTENT_TYPE}, raw)

        made.meta.events.register("before-send.kinesis.PutRecords", answer)
        return made

    return client


def test_failed_entries(answering):
    answer = {
        "FailedRecordCount": 1,
        "EncryptionType": "KMS",
        "Records": [
            {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"},
            {"ErrorCode": None, "SequenceNumber": "5", "ShardId": "shardId-000000000001"},
        ],
    }
    transport = Boto3Transport(answering((200, answer)), "s", wire="cbor")
    assert transport.put_records([record("a"), record("b")]) == [
        Failed("ProvisionedThroughputExceededException", "Rate exceeded"),
        Stored("shardId-000000000001", "5"),
    ]


def test_an_answer_that_was_cut_off(answering):
    whole = cbor2.dumps({"Records": [{"SequenceNumber": "5", "ShardId": "a"}], "FailedRecordCount": 0})
    client = answering(*((200, whole[:cut]) for cut in range(len(whole))))
    transport = Boto3Transport(client, "s", wire="cbor")
    for _ in range(len(whole)):
        with pytest.raises(BrokenAnswerError):
            transport.put_records([record("a")])


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "ProvisionedThroughputExceededException"), (500, "InternalFailure"), (400, "AccessDeniedException")],
)
def test_errors_that_have_other_reasons_are_raised(answering, caplog, status, code):
    client = answering((status, {"__type": f"com.amazonaws.kinesis.v20131202#{code}", "message": "told"}))
    with pytest.raises(ClientError, match="told") as raised, caplog.at_level(logging.WARNING, "shardpack"):
        Boto3Transport(client, "s", wire="cbor").put_records([record("a")])
    assert raised.value.response["Error"]["Code"] == code
    assert not caplog.records


@pytest.mark.parametrize(
    ("status", "code"), [(415, ""), (400, "SerializationException"), (404, "UnknownOperationException")]
)
def test_however_it_is_refused_the_call_is_made_in_json(answering, status, code):
    answer = {"Records": [{"SequenceNumber": "5", "ShardId": "a"}]}
    client = answering((status, {"__type": code, "message": ""}), (200, json.dumps(answer).encode()))
    assert Boto3Transport(client, "s", wire="cbor").put_records([record("a")]) == [Stored("a", "5")]


@pytest.mark.parametrize("version", ["1.34.162", "1.35.15"])
def test_a_botocore_that_could_not_read_answers_speaks_json(local_kinesis, monkeypatch, caplog, version):
    """It would take an answer in CBOR for none, and what was stored would be sent again."""
    monkeypatch.setattr("botocore.__version__", version)
    name, client = next(names), local_kinesis.client()
    local_kinesis.create_stream(name, 1)
    sent, _ = watched(client)
    with caplog.at_level(logging.WARNING, "shardpack"):
        Boto3Transport(client, name, wire="cbor").put_records([record("k")])
    assert [request.headers["Content-Type"] for request in sent] == [b"application/x-amz-json-1.1"]
    assert ["CBOR takes a client of botocore" in each.message for each in caplog.records] == [True]


def test_there_is_no_third_wire(local_kinesis):
    with pytest.raises(ValueError, match="wire is one of json, cbor, not 'xml'"):
        Boto3Transport(local_kinesis.client(), "s", wire="xml")
