"""PutRecords through boto3's events: what is sent, what who listens sees, and what becomes of missing events."""

from __future__ import annotations

import copy
import json
import logging
from base64 import b64encode
from collections import Counter

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shardpack import Boto3Transport, InvalidPartitionKeyError, KinesisRecord
from shardpack.transport import BrokenAnswerError, Failed, Stored
from shardpack.transport import body as body_module

PARAMETERS = ("before-parameter-build", "shardpack-entries")
CALL = ("before-call", "shardpack-body")
CREATED = ("request-created", "shardpack-request")
PARSE = ("before-parse", "shardpack-answer")
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256)


def record(partition_key, data=b"data", explicit_hash_key=None):
    size = len(data) + len(partition_key.encode("utf-8", "surrogatepass"))
    return KinesisRecord(partition_key, explicit_hash_key, data, 0, 1, size)


RECORDS = [record("a", b"one"), record('"b"', b"two", "7"), record("é", b"")]
STORED = [Stored("shardId-1", str(number)) for number in range(len(RECORDS))]


def on(client, event, handler):
    client.meta.events.register(f"{event}.kinesis.PutRecords", handler)


def off(client, *events):
    """Have events not come, as if botocore had other names for them."""
    for event, unique_id in events:
        client.meta.events.unregister(f"{event}.kinesis.PutRecords", unique_id=unique_id)


class Answer:
    """What a connection has to say."""

    def __init__(self, members):
        self.content = json.dumps(members).encode()

    def stream(self, **_):
        yield self.content


def answer_of(body, status=200):
    entries = json.loads(body)["Records"]
    records = [{"SequenceNumber": str(number), "ShardId": "shardId-1"} for number in range(len(entries))]
    members = {"FailedRecordCount": 0, "Records": records, "EncryptionType": "NONE"}
    return AWSResponse(
        "http://localhost", status, {}, Answer(members if status == 200 else {"__type": "InternalFailure"})
    )


@pytest.fixture
def answered(local_kinesis):
    """A client whose requests are answered before they are sent, and their bodies."""
    client = local_kinesis.client()
    bodies = []

    def answer(request, **_):
        bodies.append(bytes(request.body))
        return answer_of(request.body)

    on(client, "before-send", answer)
    return client, bodies


def sent(body):
    return json.loads(body)["Records"]


def in_json(records):
    """The entries as botocore writes them, by its own serializer."""
    return [{**each.to_boto3(), "Data": b64encode(each.data).decode()} for each in records]


# --- what is sent ---


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(record, KEYS, st.binary(max_size=300), st.none() | st.integers(0, 2**128 - 1).map(str)),
        min_size=1,
        max_size=10,
    )
)
def test_a_body_is_boto3s_own_as_json(answered, records):
    client, bodies = answered
    bodies.clear()
    Boto3Transport(client, "s").put_records(records)
    client.put_records(StreamName="s", Records=[each.to_boto3() for each in records])
    ours, theirs = map(json.loads, bodies)
    assert ours == theirs


@pytest.mark.parametrize("more", [{}, {"StreamARN": "arn:aws:kinesis:us-east-1:123456789012:stream/s"}])
def test_other_parameters_are_boto3s_own(answered, more):
    """Whatever a listener makes of them, and whatever they say."""
    client, bodies = answered
    on(client, "before-parameter-build", lambda params, **_: params.update(more))
    Boto3Transport(client, 's"Records": []').put_records(RECORDS)
    assert json.loads(bodies[0]) == {"Records": in_json(RECORDS), "StreamName": 's"Records": []', **more}


def test_odd_keys_arrive_as_they_are(local_kinesis):
    local_kinesis.create_stream("odd-keys", 1)
    client = local_kinesis.client()
    keys = ['"', "\\", "a\n\t\x01b", "\u2028\u2029", "\x7f\x80", "\U0001f600", "é" * 256, "\\u0041"]
    outcomes = Boto3Transport(client, "odd-keys").put_records([record(key, key.encode()) for key in keys])
    assert {type(outcome) for outcome in outcomes} == {Stored}
    iterator = client.get_shard_iterator(
        StreamName="odd-keys", ShardId=outcomes[0].shard_id, ShardIteratorType="TRIM_HORIZON"
    )
    stored = client.get_records(ShardIterator=iterator["ShardIterator"])["Records"]
    assert [(each["PartitionKey"], each["Data"].decode()) for each in stored] == [(key, key) for key in keys]
    assert [each["SequenceNumber"] for each in stored] == [outcome.sequence_number for outcome in outcomes]


def test_bad_keys_are_refused_before_anything_is_sent(answered):
    client, bodies = answered
    with pytest.raises(InvalidPartitionKeyError, match=r"record 1: .*lone surrogate"):
        Boto3Transport(client, "s").put_records([record("a"), record("\ud800")])
    with pytest.raises(ParamValidationError, match="Records"):
        Boto3Transport(client, "s").put_records([])
    assert not bodies


def test_a_body_is_the_same_when_boto3_tries_again(local_kinesis):
    client = local_kinesis.client()
    bodies = []

    def answer(request, **_):
        bodies.append(bytes(request.body))
        return answer_of(request.body, status=500 if len(bodies) < 3 else 200)

    on(client, "before-send", answer)
    client.meta.events.register_first(  # at once
        "needs-retry.kinesis.PutRecords", lambda response, **_: 0 if response[0].status_code == 500 else None
    )
    assert Boto3Transport(client, "s").put_records(RECORDS) == STORED
    assert [sent(body) for body in bodies] == [in_json(RECORDS)] * 3


# --- who listens ---


def test_who_looks_at_entries_may_change_them(answered):
    client, bodies = answered

    def change(params, **_):
        params["Records"][1]["PartitionKey"] = "another"

    on(client, "before-parameter-build", change)
    assert Boto3Transport(client, "s").put_records(RECORDS) == STORED
    expected = in_json(RECORDS)
    expected[1]["PartitionKey"] = "another"
    assert sent(bodies[0]) == expected


@pytest.mark.parametrize("event", ["provide-client-params", "before-parameter-build"])
def test_entries_are_a_list_to_who_listens(answered, event):
    client, bodies = answered

    def change(params, **_):
        entries = params["Records"]
        assert len(entries) == 3
        assert entries == [each.to_boto3() for each in RECORDS]
        assert entries[-1]["PartitionKey"] == "é"
        entries.reverse()
        del entries[0]
        entries.append({"Data": b"four", "PartitionKey": "d"})
        entries[0] = {"Data": b"five", "PartitionKey": "e"}

    on(client, event, change)
    Boto3Transport(client, "s").put_records(RECORDS)
    assert [entry["PartitionKey"] for entry in sent(bodies[0])] == ["e", "a", "d"]


def test_who_copies_parameters_has_plain_ones(answered):
    client, bodies = answered
    copies = []
    on(client, "before-parameter-build", lambda params, **_: copies.extend([copy.copy(params), copy.deepcopy(params)]))
    on(client, "provide-client-params", lambda params, **_: copy.deepcopy(params))  # which is what is sent
    assert Boto3Transport(client, "s").put_records(RECORDS) == STORED
    assert [type(each["Records"]) for each in copies] == [list, list]
    assert copies == [{"StreamName": "s", "Records": [each.to_boto3() for each in RECORDS]}] * 2
    assert sent(bodies[0]) == in_json(RECORDS)


def test_who_puts_others_in_their_place(answered):
    """Even after the last who should."""
    client, bodies = answered
    transport = Boto3Transport(client, "s")
    others = [{"Data": b"other", "PartitionKey": str(number)} for number in range(3)]
    client.meta.events.register_last(
        "before-parameter-build.kinesis.PutRecords", lambda params, **_: params.update(Records=others)
    )
    assert transport.put_records(RECORDS) == STORED
    assert [[entry["PartitionKey"] for entry in sent(body)] for body in bodies] == [["0", "1", "2"]]


def test_answers_can_be_written_as_json_by_who_listens(answered):
    client, bodies = answered
    seen = []
    on(client, "after-call", lambda parsed, **_: seen.append((type(parsed["Records"]), json.dumps(parsed["Records"]))))
    assert Boto3Transport(client, "s").put_records(RECORDS) == STORED
    ((kind, text),) = seen
    assert kind is list
    assert json.loads(text) == [{"SequenceNumber": str(number), "ShardId": "shardId-1"} for number in range(3)]
    assert len(bodies) == 1


@pytest.mark.parametrize("change", ["in a dictionary", "in the list", "another list"])
def test_answers_are_what_who_listens_makes_of_them(answered, change):
    """As tests do that have calls fail."""
    client, _ = answered
    failed = {"ErrorCode": "InternalFailure", "ErrorMessage": "m"}

    def fail_first(parsed, **_):
        if change == "in a dictionary":
            parsed["Records"][0].clear()
            parsed["Records"][0].update(failed)
        elif change == "in the list":
            parsed["Records"][0] = failed
        else:
            parsed["Records"] = [failed, *parsed["Records"][1:]]

    on(client, "after-call", fail_first)
    assert Boto3Transport(client, "s").put_records(RECORDS) == [Failed("InternalFailure", "m"), *STORED[1:]]


def test_who_listens_to_answers_sees_all_of_them(answered):
    client, _ = answered
    seen = {}
    on(client, "after-call", lambda parsed, **_: seen.update(parsed=list(parsed["Records"])))
    on(client, "before-parse", lambda response_dict, **_: seen.update(json.loads(response_dict["body"])))
    assert Boto3Transport(client, "s").put_records(RECORDS) == STORED
    all_of_them = [{"SequenceNumber": str(number), "ShardId": "shardId-1"} for number in range(3)]
    assert seen["parsed"] == all_of_them
    assert seen.get("Records", all_of_them) == all_of_them, "an event that older versions do not have"


def test_no_dictionary_is_made_where_nobody_looks(answered, monkeypatch):
    client, bodies = answered
    monkeypatch.setattr(body_module.Entries, "_seen", None)
    assert Boto3Transport(client, "s").put_records(RECORDS) == STORED
    assert sent(bodies[0]) == in_json(RECORDS)


def test_other_calls_of_the_client_are_as_they_were(answered):
    client, bodies = answered
    transport = Boto3Transport(client, "s")
    entries = [each.to_boto3() for each in RECORDS]
    before = client.put_records(StreamName="s", Records=entries)
    transport.put_records(RECORDS)
    after = client.put_records(StreamName="s", Records=entries)
    assert type(after["Records"]) is list
    del before["ResponseMetadata"], after["ResponseMetadata"]
    assert before == after
    assert sent(bodies[0]) == sent(bodies[2]) == in_json(RECORDS)


def test_a_call_inside_of_a_call(answered):
    """A listener that puts records itself, of the same number: each call has its own answer."""
    client, bodies = answered
    within = []

    def put(**_):
        if not within:
            within.append(None)
            within[0] = client.put_records(StreamName="s", Records=[{"Data": b"", "PartitionKey": k} for k in "xyz"])

    client.meta.events.register_first("before-send.kinesis.PutRecords", put)
    assert Boto3Transport(client, "s").put_records(RECORDS) == STORED
    assert type(within[0]["Records"]) is list
    assert len(within[0]["Records"]) == 3
    assert [len(sent(body)) for body in bodies] == [3, 3]
    assert sent(bodies[1]) == in_json(RECORDS)


def test_two_transports_of_one_client_write_once(answered, monkeypatch):
    client, bodies = answered
    transports = [Boto3Transport(client, name) for name in "st"]
    calls = Counter()
    write = body_module.Entries.put_into
    monkeypatch.setattr(
        body_module.Entries, "put_into", lambda *arguments: (calls.update(["write"]), write(*arguments))[1]
    )
    for transport in transports:
        assert transport.put_records(RECORDS) == STORED
    assert calls["write"] == 2
    assert [json.loads(body)["StreamName"] for body in bodies] == ["s", "t"]


# --- events that do not come ---


@pytest.mark.parametrize("missing", [[PARAMETERS], [CALL], [PARAMETERS, CALL]], ids=str)
def test_boto3_writes_the_body_where_nobody_else_does(answered, caplog, missing):
    client, bodies = answered
    transport = Boto3Transport(client, "s")
    off(client, *missing)
    with caplog.at_level(logging.WARNING, "shardpack.transport"):
        for _ in range(3):
            assert transport.put_records(RECORDS) == STORED
    assert [sent(body) for body in bodies] == [in_json(RECORDS)] * 3, "and nothing else was sent"
    assert len(caplog.records) == 1
    assert "does not raise the events" in caplog.text


def test_a_body_without_its_entries_has_none(answered):
    """Where even that which would have stopped it does not come."""
    client, bodies = answered
    transport = Boto3Transport(client, "s")
    off(client, CALL, CREATED)
    with pytest.raises(BrokenAnswerError, match="one outcome for each of 3 records"):
        transport.put_records(RECORDS)
    assert [json.loads(body) for body in bodies] == [{"Records": [], "StreamName": "s"}]


def test_a_body_without_its_entries_stores_nothing(local_kinesis):
    local_kinesis.create_stream("no-entries", 1)
    client = local_kinesis.client()
    transport = Boto3Transport(client, "no-entries")
    off(client, CALL, CREATED)
    with pytest.raises((ClientError, BrokenAnswerError)):
        transport.put_records(RECORDS)
    shard = client.list_shards(StreamName="no-entries")["Shards"][0]["ShardId"]
    iterator = client.get_shard_iterator(StreamName="no-entries", ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    assert client.get_records(ShardIterator=iterator["ShardIterator"])["Records"] == []


@pytest.mark.parametrize("missing", [[CREATED], [PARSE], [CREATED, PARSE]], ids=str)
def test_answers_are_boto3s_where_they_are_not_read_here(answered, caplog, missing):
    client, bodies = answered
    transport = Boto3Transport(client, "s")
    off(client, *missing)
    assert transport.put_records(RECORDS) == STORED
    assert [sent(body) for body in bodies] == [in_json(RECORDS)]
    assert not caplog.records


@pytest.mark.parametrize("body", [b"{}", b'{"Records": [], "a": {"Records": []}}', b'{"Records": [{}]}', "text", None])
def test_a_body_that_is_not_what_was_foreseen(answered, body, caplog):
    """boto3 serializes otherwise, or somebody was there before."""
    client, bodies = answered
    transport = Boto3Transport(client, "s")
    spoilt = []

    def spoil(params, **_):
        if not spoilt:
            spoilt.append(params.update(body=body))

    client.meta.events.unregister("before-call.kinesis.PutRecords", unique_id="shardpack-body")
    client.meta.events.register_first("before-call.kinesis.PutRecords", spoil)
    body_module.write_bodies_of(client)
    assert transport.put_records(RECORDS) == STORED
    assert [sent(body) for body in bodies] == [in_json(RECORDS)]
    assert len(caplog.records) == 1


def test_a_client_without_validation(caplog):
    """What boto3 would refuse elsewhere, it writes."""
    names = ("aws_access_key_id", "aws_secret_access_key", "region_name")
    config = Config(parameter_validation=False, proxies={})
    client = boto3.client("kinesis", endpoint_url="http://localhost", config=config, **dict.fromkeys(names, "local"))
    bodies = []
    on(client, "before-send", lambda request, **_: (bodies.append(request.body), answer_of(request.body))[1])
    transport = Boto3Transport(client, "s")
    assert transport.put_records(RECORDS) == STORED
    off(client, PARAMETERS)
    assert transport.put_records(RECORDS) == STORED
    assert [sent(body) for body in bodies] == [in_json(RECORDS)] * 2
    assert not caplog.records


def test_a_client_that_is_not_boto3s():
    class Client:
        def put_records(self, **parameters):
            self.parameters = parameters
            return {"Records": [{"SequenceNumber": str(number), "ShardId": "shardId-1"} for number in range(3)]}

    client = Client()
    assert Boto3Transport(client, "s").put_records(RECORDS) == STORED
    assert client.parameters == {"StreamName": "s", "Records": [each.to_boto3() for each in RECORDS]}


def test_errors_of_who_listens_pass_through(answered):
    client, bodies = answered
    transport = Boto3Transport(client, "s")

    def fail(**_):
        raise ZeroDivisionError

    for event in ("provide-client-params", "before-parameter-build", "before-call", "request-created", "after-call"):
        on(client, event, fail)
        with pytest.raises(ZeroDivisionError):
            transport.put_records(RECORDS)
        client.meta.events.unregister(f"{event}.kinesis.PutRecords", fail)
    assert len(bodies) == 1, "that of the call that had been answered"
    assert transport.put_records(RECORDS) == STORED


# --- answers ---


@pytest.mark.parametrize(
    ("members", "missing"),
    [
        ({"Records": [{}, {}, {}]}, "ShardId of a record"),
        ({"Records": [{"ShardId": "a"}] * 3}, "SequenceNumber of a record"),
        ({"Records": [{"ShardId": "a", "SequenceNumber": "1"}] * 2}, "one outcome for each of 3 records"),
        ({"Records": [{"ShardId": "a", "SequenceNumber": "1"}] * 4}, "one outcome for each of 3 records"),
        ({"FailedRecordCount": 0, "Records": []}, "one outcome for each of 3 records"),
        ({"FailedRecordCount": 0}, "Records"),
        ({}, "Records"),
    ],
)
def test_answers_that_lack_something(local_kinesis, members, missing):
    client = local_kinesis.client()
    on(client, "before-send", lambda **_: AWSResponse("http://localhost", 200, {}, Answer(members)))
    with pytest.raises(BrokenAnswerError, match=f"PutRecords: .*: {missing}"):
        Boto3Transport(client, "s").put_records(RECORDS)
