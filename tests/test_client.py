"""Installed clients against servers that speak the Kinesis API: consumer loops as they were, user records in them."""

from __future__ import annotations

import asyncio
from contextlib import closing
from itertools import count
from types import SimpleNamespace

import boto3
import pytest
import wire
from answers import answer, body_of
from answers import record as written
from botocore.eventstream import EventStream
from botocore.exceptions import ClientError
from lambda_events import VECTORS, aggregated
from other_kinesis import ministack

from shardpack import Aggregator, Boto3Transport, deaggregate, install, pack, uninstall
from shardpack.testing.local_kinesis import session_of_defaults, wait_until_active

MALFORMED = bytes.fromhex(VECTORS["malformed/pk-index-out-of-range"]["blob"])
NESTED = wire.aggregate([("inner", b"nested", None), ("inner", b"nested too", None)])
PUT = [("a", b"one", None), ("b", b"two", None), ("a", b"", 7), ("é", NESTED, None)]
SHARD = "shardId-000000000000"
KPL, KPL_DATAS = aggregated("kpl/keys-0")


@pytest.fixture(scope="session")
def stream(local_kinesis):
    """A stream of one shard: an aggregated record of PUT, then a raw record, then a malformed one."""
    client = local_kinesis.client()
    local_kinesis.create_stream("installed", 1)
    transport = Boto3Transport(client, "installed")
    aggregator = Aggregator(transport.list_shards())
    for user_record in PUT:
        aggregator.add(*user_record)
    for request in pack(aggregator.flush()):
        transport.put_records(request)
    client.put_record(StreamName="installed", Data=b"raw", PartitionKey="r")
    client.put_record(StreamName="installed", Data=MALFORMED, PartitionKey="m")
    return "installed"


def read(client, stream):
    """A consumer loop as its owner wrote it: one response."""
    iterator = client.get_shard_iterator(StreamName=stream, ShardId=SHARD, ShardIteratorType="TRIM_HORIZON")
    return client.get_records(ShardIterator=iterator["ShardIterator"])


def test_a_response_holds_user_records(client, stream):
    before = read(client, stream)
    install(client)
    after = read(client, stream)
    parent, raw, malformed = before["Records"]
    *users, raw_after, malformed_after = after["Records"]
    assert [(r["PartitionKey"], r["Data"], r.get("ExplicitHashKey")) for r in users] == [
        (key, data, None if explicit is None else str(explicit)) for key, data, explicit in PUT
    ]
    assert [r["SubSequenceNumber"] for r in users] == list(range(len(PUT)))
    own = {"PartitionKey", "Data", "ExplicitHashKey", "SubSequenceNumber", "Aggregated"}
    for record in users:
        assert record["Aggregated"] is True
        assert {k: v for k, v in record.items() if k not in own} == {k: v for k, v in parent.items() if k not in own}
    assert raw_after == raw | {"SubSequenceNumber": 0, "Aggregated": False}
    error = malformed_after.pop("Error")
    assert "a partition key index is outside the table" in error
    assert malformed_after == malformed | {"SubSequenceNumber": 0, "Aggregated": False}
    assert set(after) == set(before)
    assert after["MillisBehindLatest"] == before["MillisBehindLatest"]
    assert isinstance(after["NextShardIterator"], str)


def test_the_whole_stream_in_a_loop(local_kinesis, client):
    """What ``limit`` cuts are Kinesis records, and no user record is lost between two responses."""
    local_kinesis.create_stream("loop", 1)
    transport = Boto3Transport(client, "loop")
    aggregator = Aggregator(transport.list_shards(), max_records=10)
    for i in range(95):
        aggregator.add(f"key-{i % 7}", b"%d" % i)
    for record in aggregator.flush():
        transport.put_records([record])
    install(client)
    iterator = client.get_shard_iterator(StreamName="loop", ShardId=SHARD, ShardIteratorType="TRIM_HORIZON")
    iterator, found, places = iterator["ShardIterator"], [], []
    for _ in range(20):
        response = client.get_records(ShardIterator=iterator, Limit=3)
        found += [int(record["Data"]) for record in response["Records"]]
        places += [(int(record["SequenceNumber"]), record["SubSequenceNumber"]) for record in response["Records"]]
        iterator = response["NextShardIterator"]
        if not response["Records"] and response["MillisBehindLatest"] == 0:
            break
    assert found == list(range(95))
    assert places == sorted(set(places))


def test_installing_twice_is_installing_once(client, stream):
    install(client)
    once = read(client, stream)["Records"]
    install(client)
    assert read(client, stream)["Records"] == once
    assert [r["Data"] for r in once] == [*(data for _, data, _ in PUT), b"raw", MALFORMED]
    uninstall(client)
    assert [r["Data"] for r in read(client, stream)["Records"]][1:] == [b"raw", MALFORMED]
    uninstall(client)  # again: nothing to undo
    install(client)
    assert read(client, stream)["Records"] == once


def test_other_clients_are_left_alone(local_kinesis, client, stream):
    install(client)
    assert len(read(local_kinesis.client(), stream)["Records"]) == 3


def test_deaggregate_leaves_what_a_client_took_apart(client, stream):
    plain = deaggregate(read(client, stream))
    install(client)
    response = read(client, stream)
    again = deaggregate(response)
    for name in ("data", "partition_key", "explicit_hash_key", "aggregated", "sequence_number", "sub_sequence_number"):
        assert [getattr(record, name) for record in again] == [getattr(record, name) for record in plain], name
    assert [str(record.error) for record in again] == [str(record.error) for record in plain]


def as_installed(response):
    """The dictionaries of an installed client, made of what ``deaggregate`` makes of a plain one's response."""
    for one in deaggregate(response):
        made = dict(one.source) | {"Aggregated": one.aggregated, "SubSequenceNumber": one.sub_sequence_number}
        if one.aggregated:
            made |= {"Data": one.data, "PartitionKey": one.partition_key}
            if one.explicit_hash_key is not None:
                made["ExplicitHashKey"] = one.explicit_hash_key
        elif one.error is not None:
            made["Error"] = str(one.error)
        yield made


BODIES = {
    "read natively": body_of(written(KPL), written(b"raw"), written(MALFORMED), written(NESTED, EncryptionType="KMS")),
    "left to botocore": body_of(written(KPL), written(b"raw", Colour="blue"), written(MALFORMED)),
    "without keys": body_of(*({"Data": written(data)["Data"]} for data in (KPL, b"raw", MALFORMED))),
    "nothing": body_of(),
}


@pytest.mark.parametrize("name", BODIES)
def test_dictionaries_are_those_of_the_parsed_response(client, name):
    """Their members in their order, and times with their zone."""
    answer(client, BODIES[name])
    plain = client.get_records(ShardIterator="AAAA")
    expected = list(as_installed(plain))
    install(client)
    response = client.get_records(ShardIterator="AAAA")
    assert type(response["Records"]) is list
    assert repr(response["Records"]) == repr(expected)
    assert len({id(one) for one in response["Records"]}) == len(expected)
    assert response == plain | {"Records": expected}
    assert {*map(type, response["Records"])} <= {dict}


def test_errors_are_the_services_own(client):
    install(client)
    with pytest.raises(ClientError, match="GetRecords"):
        client.get_records(ShardIterator="no such iterator")


def test_only_kinesis_has_such_records():
    other = boto3.session.Session(botocore_session=session_of_defaults()).client("sqs", "us-east-1")
    with closing(other), pytest.raises(TypeError, match="expected a Kinesis client, not one of 'sqs'"):
        install(other)


@pytest.mark.parametrize("call", [install, uninstall])
@pytest.mark.parametrize("given", ["kinesis", None, boto3, boto3.client, "x" * 10**6])
def test_what_is_no_client_is_refused(call, given):
    with pytest.raises(TypeError, match="expected a Kinesis client, as boto3") as raised:
        call(given)
    assert len(str(raised.value)) < 500


def test_a_resource_is_no_client():
    session = boto3.session.Session(botocore_session=session_of_defaults())
    resource = session.resource("dynamodb", "us-east-1")
    with closing(resource.meta.client), pytest.raises(TypeError, match=r"of a resource it is resource\.meta\.client"):
        install(resource)


# --- SubscribeToShard ---


@pytest.fixture(scope="module")
def fan_out(tmp_path_factory):
    with ministack(tmp_path_factory.mktemp("ministack")) as server:
        yield server


names = count()


@pytest.fixture
def subscribed(fan_out):
    """A client, a stream of its own, and a function that puts data there and subscribes to its shard."""
    client, name = fan_out.client(), f"stream-{next(names)}"
    client.create_stream(StreamName=name, ShardCount=1)
    wait_until_active(client, name)
    arn = client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]

    def subscribe(*datas):
        for data in datas:
            client.put_record(StreamName=name, Data=data, PartitionKey="outer")
        consumer = client.register_stream_consumer(StreamARN=arn, ConsumerName=f"consumer-{next(names)}")["Consumer"]
        assert consumer["ConsumerStatus"] == "ACTIVE"  # at once, unlike the service
        start = {"Type": "TRIM_HORIZON"}
        return client.subscribe_to_shard(ConsumerARN=consumer["ConsumerARN"], ShardId=SHARD, StartingPosition=start)

    return client, name, subscribe


def test_events_hold_user_records(subscribed):
    client, _, subscribe = subscribed
    install(client)
    response = subscribe(KPL, b"raw", MALFORMED)
    with response["EventStream"] as events:
        for event in events:
            records = event["SubscribeToShardEvent"]["Records"]
            break
    assert [record["Data"] for record in records] == [*KPL_DATAS, b"raw", MALFORMED]
    assert [record["SubSequenceNumber"] for record in records] == [*range(len(KPL_DATAS)), 0, 0]
    assert [record["Aggregated"] for record in records] == [True] * len(KPL_DATAS) + [False] * 2
    assert [record["PartitionKey"] for record in records[-2:]] == ["outer", "outer"]
    assert "outside the table" in records[-1]["Error"]
    assert event["SubscribeToShardEvent"]["ContinuationSequenceNumber"] == records[-1]["SequenceNumber"]
    assert event["SubscribeToShardEvent"]["MillisBehindLatest"] == 0


def test_reading_goes_on_where_it_was_left(subscribed):
    client, name, subscribe = subscribed
    install(client)
    events = subscribe(b"first")["EventStream"]
    with closing(events):
        [first] = next(iter(events))["SubscribeToShardEvent"]["Records"]
        client.put_record(StreamName=name, Data=KPL, PartitionKey="outer")
        second = next(iter(events))["SubscribeToShardEvent"]["Records"]
    assert first["Data"] == b"first"
    assert [record["Data"] for record in second] == KPL_DATAS


def test_a_closed_stream_ends(subscribed):
    client, _, subscribe = subscribed
    install(client)
    events = subscribe(KPL)["EventStream"]
    assert len(next(iter(events))["SubscribeToShardEvent"]["Records"]) == len(KPL_DATAS)
    events.close()
    assert events._raw_stream.closed


def test_installed_twice_and_uninstalled(subscribed):
    client, _, subscribe = subscribed
    install(client)
    install(client)
    with subscribe(KPL)["EventStream"] as events:
        assert len(next(iter(events))["SubscribeToShardEvent"]["Records"]) == len(KPL_DATAS)
    uninstall(client)
    plain = subscribe()["EventStream"]
    assert isinstance(plain, EventStream)
    with closing(plain):
        assert [record["Data"] for record in next(iter(plain))["SubscribeToShardEvent"]["Records"]] == [KPL]


def test_one_call_takes_the_stream_itself(subscribed):
    """Without an installed client: deaggregate the events."""
    _, _, subscribe = subscribed
    with closing(subscribe(KPL)["EventStream"]) as events:
        assert [record.data for record in deaggregate(next(iter(events)))] == KPL_DATAS


# --- aiobotocore, which cannot be installed beside a boto3 of today: it asks for the botocore of some weeks before ---


class AioEventStream(EventStream):
    """aiobotocore 3.10's, with events that are parsed already: ``async for`` only, ``close`` not async."""

    def __init__(self, *events):
        self._events = events
        self._raw_stream = SimpleNamespace(closed=False, close=lambda: setattr(self._raw_stream, "closed", True))

    def __iter__(self):
        raise NotImplementedError("Use async-for instead")

    def __aiter__(self):
        return self.__anext__()

    async def __anext__(self):
        for event in self._events:
            yield event

    async def get_initial_response(self):
        return "initial-response"


def event_of(*datas):
    records = [{"Data": data, "PartitionKey": "outer", "SequenceNumber": "49"} for data in datas]
    return {"SubscribeToShardEvent": {"Records": records, "MillisBehindLatest": 0}}


def emitted(client, stream):
    """What a caller gets of ``subscribe_to_shard``: what the handlers of ``after-call`` left of the response."""
    parsed = {"EventStream": stream}
    client.meta.events.emit("after-call.kinesis.SubscribeToShard", http_response=None, parsed=parsed, context={})
    return parsed["EventStream"]


def test_async_events_hold_user_records(client):
    install(client)
    install(client)
    other = {"InternalFailureException": {"message": "sic"}}
    raw = AioEventStream(event_of(KPL, b"raw"), other, event_of())
    stream = emitted(client, raw)

    async def read():
        async with stream as events:
            return [event async for event in events], await events.get_initial_response()

    (first, second, third), initial = asyncio.run(read())
    records = first["SubscribeToShardEvent"]["Records"]
    assert [record["Data"] for record in records] == [*KPL_DATAS, b"raw"]
    assert [record["SubSequenceNumber"] for record in records] == [*range(len(KPL_DATAS)), 0]
    assert first["SubscribeToShardEvent"]["MillisBehindLatest"] == 0
    assert (second, third["SubscribeToShardEvent"]["Records"], initial) == (other, [], "initial-response")
    assert raw._raw_stream.closed
    uninstall(client)
    assert emitted(client, raw) is raw


def test_async_streams_are_read_with_async_for_only(client):
    install(client)
    with pytest.raises(NotImplementedError, match="Use async-for"):
        list(emitted(client, AioEventStream(event_of(KPL))))


def test_other_streams_are_not_async(subscribed):
    client, _, subscribe = subscribed
    install(client)
    with closing(subscribe(KPL)["EventStream"]) as events:
        assert not hasattr(events, "__aiter__")
