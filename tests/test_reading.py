"""read_records against get_records: on a local Kinesis, and on bodies as a service or a proxy may send them."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from itertools import pairwise
from types import SimpleNamespace

import boto3
import pyarrow as pa
import pytest
import wire
from answers import NUMBER, answer, answer_by_iterator, body_of, record
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from faulty_kinesis import CUT, RESET, FaultyKinesis

from shardpack import (
    Aggregator,
    Boto3Transport,
    MalformedRecordError,
    Shard,
    deaggregate,
    deaggregate_arrow,
    hash_key,
    install,
    pack,
    read_records,
    read_records_async,
    uninstall,
)
from shardpack._native import reply as native
from shardpack.consume import client as installing
from shardpack.consume import replies as bodies
from shardpack.transport import BrokenAnswerError

SHARD = "shardId-000000000000"
AGGREGATED = wire.aggregate([("a", b"one", None), ("b", b"two", None), ("a", b"", 7)])
MALFORMED = wire.frame(wire.content(1, b"a") + wire.record(1, b"d"))
BODY = body_of(record(AGGREGATED), record(b"raw"), record(MALFORMED, EncryptionType="KMS"))
ITERATOR = {"ShardIterator": "AAAA"}


@pytest.fixture(scope="session")
def stream(local_kinesis):
    client = local_kinesis.client()
    local_kinesis.create_stream("reading", 1)
    transport = Boto3Transport(client, "reading")
    aggregator = Aggregator(transport.list_shards(), max_records=40)
    for i in range(400):
        aggregator.add(f"device-{i % 7}", b"%d" % i, i if i % 3 == 0 else None)
    for request in pack(aggregator.flush()):
        transport.put_records(request)
    client.put_record(StreamName="reading", Data=b"raw", PartitionKey="é")
    client.put_record(StreamName="reading", Data=MALFORMED, PartitionKey="m")
    return "reading"


@pytest.fixture
def read_natively(monkeypatch):
    """What bodies were read natively: a list of the numbers of Kinesis records, None for those that were not."""
    read = []

    def records_of_body(*arguments):
        found = native.records_of_body(*arguments)
        read.append(None if found is None else len(found[0]))
        return found

    monkeypatch.setattr(bodies, "records_of_body", records_of_body)
    return read


def iterator_of(client, stream):
    return client.get_shard_iterator(StreamName=stream, ShardId=SHARD, ShardIteratorType="TRIM_HORIZON")[
        "ShardIterator"
    ]


# --- a local Kinesis ---


def test_a_shard_is_read_as_by_get_records(client, stream, read_natively):
    iterator, found, replies = iterator_of(client, stream), [], []
    plain = client.get_records(ShardIterator=iterator_of(client, stream))
    for _ in range(10):
        replies.append(read_records(client, ShardIterator=iterator, Limit=3))
        found += replies[-1].user_records()
        iterator = replies[-1].next_shard_iterator
    expected = deaggregate(plain)
    assert found == expected
    assert [one.source for one in found] == [one.source for one in expected]
    assert [str(one.error) for one in found] == [str(one.error) for one in expected]
    assert sum(map(len, replies)) == len(plain["Records"])
    assert [n for n in read_natively if n] == [len(reply) for reply in replies if len(reply)]
    assert replies[0].last_sequence_number == plain["Records"][2]["SequenceNumber"]
    assert [one for reply in replies for one in reply.kinesis_records()] == plain["Records"]
    assert replies[-1].last_sequence_number is None
    assert replies[-1].millis_behind_latest == 0
    assert set(replies[0].response) == set(plain) - {"Records"}
    assert replies[0].response["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_columns_and_arrow(client, stream):
    plain = client.get_records(ShardIterator=iterator_of(client, stream))
    reply = read_records(client, ShardIterator=iterator_of(client, stream))
    for zero_copy in (False, True):
        table = pa.table(reply.arrow(zero_copy=zero_copy))
        assert table.equals(pa.table(deaggregate_arrow(plain, zero_copy=zero_copy)))
    columns = reply.columns()
    ends = columns.offsets.tolist()
    assert [bytes(columns.data[start:end]) for start, end in pairwise(ends)] == [one.data for one in deaggregate(plain)]


def test_many_threads_share_a_client(client, stream):
    expected = deaggregate(client.get_records(ShardIterator=iterator_of(client, stream)))

    def read(i):
        if i % 2:
            return deaggregate(client.get_records(ShardIterator=iterator_of(client, stream)))
        return read_records(client, ShardIterator=iterator_of(client, stream)).user_records()

    with ThreadPoolExecutor(8) as pool:
        assert all(found == expected for found in pool.map(read, range(32)))


@pytest.mark.parametrize("fault", [RESET, "InternalFailure", "ProvisionedThroughputExceededException"])
def test_a_call_that_is_tried_again_brings_each_record_once(local_kinesis, stream, fault):
    with FaultyKinesis(local_kinesis.endpoint_url) as faulty:
        client = faulty.client(retries={"total_max_attempts": 3})
        iterator = iterator_of(client, stream)
        expected = deaggregate(client.get_records(ShardIterator=iterator))
        faulty.fail("GetRecords", fault)
        assert read_records(client, ShardIterator=iterator).user_records() == expected
        assert faulty.left == 0


# --- any body ---


def test_the_parts_of_a_reply(client, read_natively):
    child = {
        "ShardId": "shardId-1",
        "ParentShards": [SHARD],
        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "1"},
    }
    body = json.loads(body_of(record(b"raw"), ChildShards=[child]))
    del body["NextShardIterator"]
    answer(client, json.dumps(body).encode())
    reply = read_records(client, **ITERATOR)
    assert reply.next_shard_iterator is None
    assert reply.child_shards == [child]
    assert reply.millis_behind_latest == 7
    assert reply.last_sequence_number == NUMBER
    assert len(reply) == 1
    assert "Records" not in reply.response
    assert "1 Kinesis records" in repr(reply)
    assert read_natively == [1]


@pytest.mark.parametrize("installed", [False, True])
@pytest.mark.parametrize("body", [BODY, body_of(), BODY.replace(b'"PartitionKey"', b'"Colour": null, "PartitionKey"')])
def test_what_is_left_to_botocore_comes_out_the_same(client, body, installed, read_natively):
    answer(client, body)
    plain = client.get_records(**ITERATOR)
    if installed:
        install(client)
    reply = read_records(client, **ITERATOR)
    assert read_natively == [None if b"Colour" in body else len(plain["Records"])]
    expected = deaggregate(plain)
    assert reply.user_records() == expected
    assert [one.source for one in reply.user_records()] == [one.source for one in expected]
    assert reply.response == {name: value for name, value in plain.items() if name != "Records"}


def test_options_are_those_of_deaggregate(client):
    answer(client, BODY)
    plain = client.get_records(**ITERATOR)
    reply = read_records(client, strict=True, **ITERATOR)
    for form in (reply.user_records, reply.columns, reply.arrow):
        with pytest.raises(MalformedRecordError, match=NUMBER):
            form()
    key = hash_key("a")
    for hash_range in ((key, key), (0, 2**128 - 1), Shard("s", key, key)):
        reply = read_records(client, hash_range=hash_range, **ITERATOR)
        expected = deaggregate(plain, hash_range=hash_range)
        assert reply.user_records() == expected
        assert reply.user_records().left_out == reply.columns().left_out == reply.arrow().left_out == expected.left_out
    with pytest.raises(TypeError, match="hash_range is a Shard"):
        read_records(client, hash_range="all", **ITERATOR)
    reply = read_records(client, shard_id=SHARD, **ITERATOR)
    assert {record.shard_id for record in reply.user_records()} == {*reply.columns().shard_ids} == {SHARD}
    assert {*pa.record_batch(reply.arrow())["shard_id"].to_pylist()} == {SHARD}
    with pytest.raises(TypeError, match="shard_id is text"):
        read_records(client, shard_id=0, **ITERATOR)


def test_without_the_event_botocore_reads_it(client, read_natively, monkeypatch):
    """botocore before 1.35.16 emits none."""
    answer(client, BODY)
    expected = deaggregate(client.get_records(**ITERATOR))
    emit = client.meta.events.emit
    monkeypatch.setattr(
        client.meta.events, "emit", lambda name, **given: [] if name.startswith("before-parse") else emit(name, **given)
    )
    monkeypatch.setattr(client._endpoint, "_event_emitter", client.meta.events)
    assert read_records(client, **ITERATOR).user_records() == expected
    assert read_natively == []
    install(client)
    installed = client.get_records(**ITERATOR)["Records"]
    assert [one["Data"] for one in installed] == [one.data for one in expected]
    assert read_natively == []


def test_a_stubbed_client(client):
    with Stubber(client) as stubber:
        stubber.add_response(
            "get_records", {"Records": [{"SequenceNumber": "1", "Data": AGGREGATED, "PartitionKey": "a"}]}, ITERATOR
        )
        assert [one.data for one in read_records(client, **ITERATOR).user_records()] == [b"one", b"two", b""]


@pytest.mark.parametrize("body", [b"", b"{}", BODY[:-1], b'{"Records": null}'])
def test_an_answer_without_records_is_broken(client, body):
    answer(client, body)
    assert "Records" not in client.get_records(**ITERATOR)
    with pytest.raises(BrokenAnswerError, match="GetRecords"):
        read_records(client, **ITERATOR)


def test_a_cut_answer_is_no_end_of_a_shard(local_kinesis, stream):
    with FaultyKinesis(local_kinesis.endpoint_url) as faulty:
        client = faulty.client(retries={"total_max_attempts": 1})
        iterator = iterator_of(client, stream)
        faulty.fail("GetRecords", CUT)
        with pytest.raises(Exception, match=r"GetRecords|Connection|IncompleteRead|endpoint"):
            read_records(client, ShardIterator=iterator)


@pytest.mark.parametrize("status", [400, 500])
def test_errors_are_the_services_own(client, status, read_natively):
    client.meta.config.retries = {"total_max_attempts": 1}
    body = json.dumps({"__type": "ExpiredIteratorException", "message": "too late", "Records": []}).encode()
    answer(client, (status, body))
    with pytest.raises(ClientError, match="too late"):
        read_records(client, **ITERATOR)
    assert read_natively == []


def test_the_client_is_left_as_it_was(client):
    answer(client, BODY)
    before = client.get_records(**ITERATOR)
    read_records(client, **ITERATOR)
    assert client.get_records(**ITERATOR) == before
    install(client)
    installed = client.get_records(**ITERATOR)
    read_records(client, **ITERATOR)
    assert client.get_records(**ITERATOR) == installed
    uninstall(client)
    assert client.get_records(**ITERATOR) == before


def test_a_handler_that_is_there_twice_loses_nothing(client):
    """Threads that register it at the same moment may do so both."""
    answer(client, BODY)
    expected = deaggregate(client.get_records(**ITERATOR))
    install(client)
    client.meta.events.register("before-parse.kinesis.GetRecords", bodies._read_body)
    client.meta.events.register("before-parse.kinesis.GetRecords", installing._deaggregate_body)
    client.meta.events.register("after-call.kinesis.GetRecords", installing._deaggregate_response)
    assert read_records(client, **ITERATOR).user_records() == expected
    assert [one["Data"] for one in client.get_records(**ITERATOR)["Records"]] == [one.data for one in expected]


@pytest.mark.parametrize("installed", [False, True])
@pytest.mark.parametrize("nested", ["get_records", "read_records"])
@pytest.mark.parametrize(
    "event",
    [
        "provide-client-params",
        "before-parameter-build",
        "before-call",
        "request-created",
        "before-sign",
        "before-send",
        "before-parse",
        "after-call",
    ],
)
def test_listeners_that_call_the_client_again_get_their_own_records(client, event, nested, installed):
    """And who called first gets his."""
    inner = body_of(record(b"inner"), record(b"second"))
    answer_by_iterator(client, AAAA=BODY, BBBB=inner)
    expected = deaggregate(client.get_records(**ITERATOR))
    if installed:
        install(client)
    found = []

    def listen(**_):
        if found:
            return
        found.append(None)
        if nested == "get_records":
            found[0] = [one["Data"] for one in client.get_records(ShardIterator="BBBB")["Records"]]
        else:
            found[0] = [one.data for one in read_records(client, ShardIterator="BBBB").user_records()]

    client.meta.events.register(f"{event}.kinesis.GetRecords", listen)
    assert read_records(client, **ITERATOR).user_records() == expected
    assert found == [[b"inner", b"second"]]


def test_parameters_that_a_listener_copies_are_no_less(client):
    answer(client, BODY)
    expected = deaggregate(client.get_records(**ITERATOR))
    client.meta.events.register("provide-client-params.kinesis.GetRecords", lambda params, **_: deepcopy(params))
    assert read_records(client, **ITERATOR).user_records() == expected


def test_what_is_no_kinesis_client_is_refused():
    with pytest.raises(TypeError, match="expected a Kinesis client, as boto3"):
        read_records(boto3, **ITERATOR)


# --- aiobotocore, which cannot be installed beside a boto3 of today ---


class AioClient:
    """aiobotocore's: ``get_records`` is a coroutine, and handlers are called in its task."""

    def __init__(self, client):
        self._client = client
        self.meta = client.meta

    async def get_records(self, **arguments):
        await asyncio.sleep(0)
        return self._client.get_records(**arguments)


def test_async_clients(client, read_natively):
    answer(client, BODY)
    expected = deaggregate(client.get_records(**ITERATOR))

    async def read():
        aio = AioClient(client)
        replies = await asyncio.gather(
            *(read_records_async(aio, **ITERATOR) for _ in range(5)), aio.get_records(**ITERATOR)
        )
        return replies[:-1], replies[-1]

    replies, plain = asyncio.run(read())
    assert all(reply.user_records() == expected for reply in replies)
    assert len(plain["Records"]) == 3
    assert read_natively == [3] * 5


@pytest.mark.filterwarnings("error")
def test_an_async_client_has_its_own_call(client):
    with pytest.raises(TypeError, match="read_records_async"):
        read_records(AioClient(client), **ITERATOR)


def test_answers_that_are_no_dictionary_are_refused(client):
    other = SimpleNamespace(meta=client.meta, get_records=lambda **_: None)
    with pytest.raises(TypeError, match="get_records gave None"):
        read_records(other, **ITERATOR)
