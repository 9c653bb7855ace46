"""Replies of PutRecords as csrc/put_reply reads them, against Python's json and botocore's parser."""

from __future__ import annotations

import copy
import json
import pickle
import random

import pytest
from botocore.parsers import create_parser
from botocore.session import get_session
from hypothesis import given, settings
from hypothesis import strategies as st

from shardpack._native.body import BodyWriter
from shardpack._native.put_reply import all_stored, read_put_reply
from shardpack.transport import Failed, Stored, body

pytestmark = pytest.mark.native

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
STORED = st.fixed_dictionaries({"SequenceNumber": TEXT, "ShardId": TEXT | st.sampled_from(["shardId-1", "shardId-2"])})
OTHERS = st.dictionaries(
    st.text(max_size=5).filter(lambda name: name not in ("Records", "FailedRecordCount")),
    st.recursive(st.none() | st.booleans() | st.integers() | TEXT, lambda inner: st.lists(inner, max_size=3)),
    max_size=2,
)
GOOD = {"SequenceNumber": "49590338271490256608559692538361571095921575989136588898", "ShardId": "shardId-000000000003"}


def reply(count=2, **more):
    return {"FailedRecordCount": 0, "Records": [GOOD] * count, **more}


def outcomes(replied):
    return [Stored(entry["ShardId"], entry["SequenceNumber"]) for entry in replied["Records"]]


def shuffled(members, seed):
    names = list(members)
    random.Random(seed).shuffle(names)
    return {name: members[name] for name in names}


@given(
    st.lists(STORED, min_size=1, max_size=40),
    OTHERS,
    st.integers(),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r ")]),
)
def test_every_reply_that_all_are_stored(records, others, seed, separators):
    members = shuffled({"FailedRecordCount": 0, "Records": [shuffled(each, seed) for each in records], **others}, seed)
    text = json.dumps(members, separators=separators, ensure_ascii=False).encode(errors="surrogatepass")
    read = read_put_reply(text, len(records))
    if read is None:  # an escape in a name, or in one of ours
        assert b"\\" in text or b"\xed" in text
        return
    found, rest = read
    assert found == members["Records"]
    assert all_stored(found) == outcomes(members)
    assert json.loads(rest) == {**members, "Records": []}
    assert json.loads(rest).keys() == members.keys()


@pytest.mark.parametrize("count", [1, 2, 500])
def test_a_reply_of_the_service(count):
    members = reply(count, EncryptionType="KMS")
    found, rest = read_put_reply(json.dumps(members).encode(), count)
    assert found == members["Records"]
    assert json.loads(rest) == {**members, "Records": []}
    assert len({id(each["ShardId"]) for each in found}) == 1, "one object for the name of a shard"


UNFORESEEN = {
    "one failed": reply(FailedRecordCount=1),
    "no count": {"Records": [GOOD] * 2},
    "a count that is no number": reply(FailedRecordCount="0"),
    "no count known": reply(FailedRecordCount=None),
    "no records": {"FailedRecordCount": 0},
    "records that are none": {"FailedRecordCount": 0, "Records": None},
    "an entry too few": reply(1),
    "an entry too many": reply(3),
    "an error of an entry": {"FailedRecordCount": 0, "Records": [GOOD, {"ErrorCode": "InternalFailure"}]},
    "an error beside it": {"FailedRecordCount": 0, "Records": [GOOD, {**GOOD, "ErrorCode": "InternalFailure"}]},
    "no error, said": {"FailedRecordCount": 0, "Records": [GOOD, {**GOOD, "ErrorCode": None}]},
    "another member": {"FailedRecordCount": 0, "Records": [GOOD, {**GOOD, "Region": "eu"}]},
    "a member missing": {"FailedRecordCount": 0, "Records": [GOOD, {"ShardId": "a"}]},
    "a member that is null": {"FailedRecordCount": 0, "Records": [GOOD, {**GOOD, "ShardId": None}]},
    "a member that is a number": {"FailedRecordCount": 0, "Records": [GOOD, {**GOOD, "SequenceNumber": 7}]},
    "an entry that is none": {"FailedRecordCount": 0, "Records": [GOOD, None]},
    "an escape": {"FailedRecordCount": 0, "Records": [GOOD, {**GOOD, "ShardId": 'a"b'}]},
    "an empty object": {"FailedRecordCount": 0, "Records": [GOOD, {}]},
    "an array": [],
    "an error": {"__type": "InternalFailure", "message": "sorry"},
}


@pytest.mark.parametrize("members", UNFORESEEN.values(), ids=UNFORESEEN.keys())
def test_whatever_is_not_foreseen_is_left_to_boto3(members):
    assert read_put_reply(json.dumps(members).encode(), 2) is None


RAW = [
    b"",
    b"{}",
    b"[]",
    b"\xef\xbb\xbf" + json.dumps(reply()).encode(),
    json.dumps(reply()).encode("utf-16"),
    json.dumps(reply()).encode() + b"x",
    json.dumps(reply()).encode() + json.dumps(reply()).encode(),
    json.dumps(reply()).replace('"FailedRecordCount": 0', '"FailedRecordCount": 0, "FailedRecordCount": 1').encode(),
    json.dumps(reply()).replace('"FailedRecordCount": 0', '"FailedRecordCount": 0, "FailedRecordCount": 0').encode(),
    json.dumps(reply()).replace('"FailedRecordCount": 0', '"FailedRecordCount": -0').encode(),
    json.dumps(reply()).replace('"FailedRecordCount": 0', '"FailedRecordCount": 0.0').encode(),
    json.dumps(reply()).replace('"FailedRecordCount": 0', r'"FailedRecordCount": 0, "\u0052ecords": []').encode(),
    json.dumps(reply()).replace('"Records"', '"Records": [], "Records"').encode(),
    json.dumps(reply()).replace('"ShardId"', '"ShardId": "a", "ShardId"').encode(),
    json.dumps(reply()).replace("shardId-", "shardId-\t").encode(),
    json.dumps(reply()).replace("shardId-", "shardId-\xff").encode("latin-1"),
    json.dumps(reply(more=float("nan"))).encode(),
    json.dumps(reply()).replace("]", ",]").encode(),
    b'{"FailedRecordCount":0,"more":' + b"[" * 100_000,
]


@pytest.mark.parametrize("text", RAW, ids=range(len(RAW)))
def test_text_that_is_not_foreseen_is_left_to_boto3(text):
    assert read_put_reply(text, 2) is None


@pytest.mark.parametrize("count", [-1, 0, 1, 3, 2**62])
def test_another_number_of_entries(count):
    assert read_put_reply(json.dumps(reply()).encode(), count) is None


def test_every_cut():
    text = json.dumps(reply(EncryptionType="NONE")).encode()
    for size in range(len(text)):
        assert read_put_reply(text[:size], 2) is None


# --- beside botocore's parser ---


@pytest.fixture(scope="module")
def parse():
    """Return what a body gives, or the class of the error, with our reader before botocore's or without."""
    shape = get_session().get_service_model("kinesis").operation_model("PutRecords").output_shape
    parser = create_parser("json")

    def parse(text, count, *, natively):
        answer = {"status_code": 200, "headers": {}, "body": text, "context": {"operation_name": "PutRecords"}}
        more = {}
        if natively:
            body._answered.set(body.Entries((None,) * count, BodyWriter()))
            body._read_answer(response_dict=answer, customized_response_dict=more)
        try:
            parsed = parser.parse(answer, shape)
            parsed.update(more)
            return body.outcomes_of(parsed, count), {**parsed, "Records": list(parsed["Records"])}
        except Exception as error:  # noqa: BLE001 - of whatever class
            return type(error), None

    return parse


@pytest.mark.parametrize("members", [reply(), *UNFORESEEN.values()], ids=["all stored", *UNFORESEEN])
def test_the_outcome_is_what_boto3_alone_gives(parse, members):
    text = json.dumps(members).encode()
    assert parse(text, 2, natively=True) == parse(text, 2, natively=False)


def test_refused_entries_keep_their_places(parse):
    error = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"}
    text = json.dumps({"FailedRecordCount": 1, "Records": [GOOD, error, GOOD]}).encode()
    stored = Stored(GOOD["ShardId"], GOOD["SequenceNumber"])
    outcome = [stored, Failed("ProvisionedThroughputExceededException", "Rate exceeded"), stored]
    assert parse(text, 3, natively=True)[0] == outcome


@settings(max_examples=300)
@given(st.data())
def test_garbled_replies_give_what_boto3_alone_gives(parse, data):
    count = data.draw(st.integers(1, 3))
    text = bytearray(json.dumps(reply(count, EncryptionType="NONE")).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at, size = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 3))
        text[at : at + size] = data.draw(st.binary(max_size=2) | st.sampled_from([b'"', b"\\", b"{", b"]", b",", b"0"]))
    assert parse(bytes(text), count, natively=True) == parse(bytes(text), count, natively=False)


# --- what was stored ---


def test_stored_is_a_value():
    stored = Stored("shardId-1", "7")
    assert (stored.shard_id, stored.sequence_number) == ("shardId-1", "7")
    assert stored == Stored(shard_id="shardId-1", sequence_number="7")
    assert hash(stored) == hash(Stored("shardId-1", "7"))
    assert stored != Stored("shardId-1", "8")
    assert stored != Stored("shardId-2", "7")
    assert stored != ("shardId-1", "7")
    assert repr(stored) == "Stored(shard_id='shardId-1', sequence_number='7')"
    assert pickle.loads(pickle.dumps(stored)) == copy.deepcopy(stored) == stored  # noqa: S301 - our own
    with pytest.raises(AttributeError):
        stored.shard_id = "other"
    with pytest.raises(TypeError):
        Stored("shardId-1", None)
    match stored:
        case Stored(shard_id, number):
            assert (shard_id, number) == ("shardId-1", "7")
