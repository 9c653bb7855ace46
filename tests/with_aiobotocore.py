"""A real aiobotocore before a real local Kinesis: its client as a producer's transport, and installed as a consumer's.

`test_aiobotocore.py` runs this. By hand: PYTHONPATH=build/aiobotocore/3.10.0 .venv/bin/pytest tests/with_aiobotocore.py
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import socket
import uuid
from contextlib import asynccontextmanager
from importlib.metadata import version
from types import SimpleNamespace

import aiohttp
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from aiobotocore_packages import OLDEST
from botocore.exceptions import ConnectionError as BotocoreConnectionError
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, HTTPClientError
from faulty_kinesis import CUT, RESET, FaultyKinesis

from shardpack import AsyncProducer, DeliveryError, KinesisRecord, Producer, RecordExpiredError, deaggregate, install
from shardpack.consume.stream import AsyncStreamReader, StreamReader
from shardpack.producer.entries import Fault
from shardpack.producer.faults import call_error
from shardpack.testing import FaultProxy, history
from shardpack.testing.faults import Cut, Error, Latency, RefuseEntries, Reset
from shardpack.transport import Stored, body
from shardpack.transport.aiobotocore import AiobotocoreTransport
from shardpack.transport.boto3 import Boto3Transport

pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")  # aiohttp's, over 1 MB


def run(main):
    return asyncio.run(asyncio.wait_for(main, 60))


@asynccontextmanager
async def aio_client(endpoint_url, **config):
    async with get_session().create_client(
        "kinesis",
        region_name="us-east-1",
        endpoint_url=endpoint_url,
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106
        config=AioConfig(retries={"total_max_attempts": 1}, **config),
    ) as client:
        yield client


@pytest.fixture
def stream(local_kinesis):
    local_kinesis.create_stream(name := f"aiobotocore-{uuid.uuid4()}", 4)
    return name


def record(partition_key, data=b"data", explicit_hash_key=None):
    return KinesisRecord(partition_key, explicit_hash_key, data, 0, 1, len(data) + len(partition_key.encode()))


RECORDS = [
    record("a", b"\x00\xff"),
    record('clé 日本\u2028\x01"\\', b"", str(2**127)),
    record("\U0001d518" * 256, bytes(range(256)) * 100, str(2**128 - 1)),
]


def test_it_is_the_version_that_it_should_be():
    assert version("aiobotocore") == os.environ.get("AIOBOTOCORE_VERSION", version("aiobotocore"))


# --- the transport ---


def test_it_tells_what_the_transport_of_boto3_tells(local_kinesis, stream):
    by_boto3 = Boto3Transport(local_kinesis.client(), stream)

    async def main():
        async with aio_client(local_kinesis.endpoint_url) as client:
            arn = by_boto3.describe().stream_arn
            for transport in (AiobotocoreTransport(client, stream), AiobotocoreTransport(client, stream_arn=arn)):
                assert await transport.list_shards() == by_boto3.list_shards()
                assert await transport.describe() == by_boto3.describe()
                outcomes = await transport.put_records(RECORDS)
                assert all(isinstance(outcome, Stored) for outcome in outcomes)
                assert [outcome.shard_id[-1] for outcome in outcomes[1:]] == ["2", "3"]

    run(main())
    shards = history.read_all(local_kinesis.client(), stream)
    stored = sorted((stored.partition_key, stored.data) for shard in shards for stored in shard.records)
    assert stored == sorted((each.partition_key, each.data) for each in RECORDS * 2)


def test_it_sends_what_the_client_would_send(monkeypatch, local_kinesis, stream):
    requests, read, given = [], [], []
    read_put_reply, records_of = body.read_put_reply, body.Bodies.records_of
    monkeypatch.setattr(body.Bodies, "records_of", lambda *of: given.append(records_of(*of)) or given[-1])
    monkeypatch.setattr(body, "read_put_reply", lambda *of: read.append(read_put_reply(*of)) or read[-1])

    async def main():
        async with aio_client(local_kinesis.endpoint_url) as client:
            client.meta.events.register("before-send.kinesis.PutRecords", lambda request, **_: requests.append(request))
            await client.put_records(StreamName=stream, Records=[each.to_boto3() for each in RECORDS])
            assert len(await AiobotocoreTransport(client, stream).put_records(RECORDS)) == len(RECORDS)

    run(main())
    theirs, ours = (json.loads(request.body) for request in requests)
    assert ours == theirs
    assert [base64.b64decode(each["Data"]) for each in ours["Records"]] == [each.data for each in RECORDS]
    (entries,) = given
    assert (entries.met, entries.was_seen, entries.is_away) == (True, False, False)  # it was written here
    if version("aiobotocore") != OLDEST:  # whose botocore has no event for it yet
        assert len(read) == 1
        assert read[0] is not None


def test_a_service_that_does_not_read_cbor_gets_json(local_kinesis, stream, caplog):
    types = []

    async def main():
        async with aio_client(local_kinesis.endpoint_url) as client:
            client.meta.events.register(
                "before-send.kinesis.PutRecords", lambda request, **_: types.append(request.headers["Content-Type"])
            )
            transport = AiobotocoreTransport(client, stream, wire="cbor")
            for _ in range(2):
                assert all(isinstance(outcome, Stored) for outcome in await transport.put_records(RECORDS))

    run(main())
    refused = [] if version("aiobotocore") == OLDEST else [b"application/x-amz-cbor-1.1"]  # it could not read answers
    assert types == refused + [b"application/x-amz-json-1.1"] * 2
    assert ["CBOR" in each.message for each in caplog.records] == [True]
    shards = history.read_all(local_kinesis.client(), stream)
    assert sum(len(shard.records) for shard in shards) == 2 * len(RECORDS)


def test_what_is_cut_off_or_expires_on_its_way(local_kinesis, stream):
    async def main(kinesis):
        async with aio_client(kinesis.endpoint_url) as client:
            transport = AiobotocoreTransport(client, stream)
            for operation, call in (
                ("ListShards", transport.list_shards),
                ("DescribeStreamSummary", transport.describe),
            ):
                for fault in (RESET, CUT):
                    kinesis.fail(operation, fault)
                    with pytest.raises((BotocoreConnectionError, HTTPClientError)) as raised:
                        await call()
                    assert call_error(raised.value).fault is Fault.TRANSIENT
                    assert call_error(raised.value).maybe_stored
            kinesis.fail("ListShards", "ExpiredNextTokenException", "ExpiredNextTokenException")
            assert len(await transport.list_shards()) == 4  # begun again

    with FaultyKinesis(local_kinesis.endpoint_url) as kinesis:
        run(main(kinesis))


def endpoint_error(error):
    return EndpointConnectionError(endpoint_url="http://kinesis", error=error)


def connector_error(kind):
    return kind(SimpleNamespace(host="kinesis", port=443, ssl=True, is_ssl=True), OSError(111, "refused"))


@pytest.mark.parametrize(
    ("error", "maybe_stored"),
    [
        (endpoint_error(connector_error(aiohttp.ClientConnectorError)), False),
        (endpoint_error(connector_error(aiohttp.ClientConnectorDNSError)), False),
        (endpoint_error(socket.gaierror(8, "no such name")), False),
        (endpoint_error(aiohttp.ClientOSError(104, "Connection reset by peer")), True),
        (endpoint_error(aiohttp.ClientConnectionResetError("Cannot write to closing transport")), True),
        (endpoint_error(aiohttp.ClientConnectionError("Connection closed")), True),
        (ConnectTimeoutError(endpoint_url="http://kinesis", error=aiohttp.ConnectionTimeoutError("Connection")), False),
        (aiohttp.ClientPayloadError("Response payload is not completed"), True),
        (asyncio.TimeoutError(), True),
        (asyncio.CancelledError(), True),
    ],
)
def test_what_errors_mean(error, maybe_stored):
    """aiobotocore says that it could not connect where a connection broke as well: the service may have the records."""
    told = call_error(error)
    assert (told.fault, told.maybe_stored) == (Fault.TRANSIENT, maybe_stored)
    assert told.message


# --- the producer ---


def test_everything_is_stored_in_the_order_of_its_key(local_kinesis, stream):
    puts = []

    async def main():
        async with (
            aio_client(local_kinesis.endpoint_url) as client,
            AsyncProducer(stream, client=client, linger_ms=5) as producer,
        ):
            for i in range(0, 20_000, 100):
                keys = [f"device-{j % 50}" for j in range(i, i + 100)]
                datas = [b"%d" % j for j in range(i, i + 100)]
                puts.append((keys, datas, await producer.put_many(keys, datas)))
            await producer.flush()

    run(main())
    check(local_kinesis, stream, [each for put in puts for each in zip(*put, strict=True)])


def check(local_kinesis, stream, puts, unanswered=()):
    """Compare what is stored with what receipts say. What a call that was cancelled has stored may be there twice."""
    told, of_cancelled = [], 0
    for key, data, receipt in puts:
        outcome = receipt.result(0)
        position = history.Position(outcome.shard_id, outcome.sequence_number, outcome.sub_sequence_number)
        told.append(history.Put(key, data, position))
        of_cancelled += any(attempt.error_code == "CancelledError" for attempt in outcome.attempts)
    contents = history.read_all(local_kinesis.client(), stream, kcl_rule=True)
    report = history.check(told, contents, unanswered=unanswered)
    defects = report.defects
    assert defects.pop("duplicated", 0) <= of_cancelled
    assert not defects, str(report)
    return report


FAULTS = (
    RefuseEntries(share=0.1, operations="PutRecords"),
    Reset("before", probability=0.1, operations="PutRecords"),
    Reset("after", probability=0.1, operations="PutRecords"),
    Cut(probability=0.1, operations="PutRecords"),
    Error("InternalFailure", probability=0.05, operations="PutRecords"),
    Error("LimitExceededException", probability=0.2, operations="ListShards"),
)


def test_nothing_is_lost_nor_out_of_order_whatever_fails(local_kinesis, stream):
    """Connections break, answers are cut or lost, entries are refused, and calls are cancelled at random."""
    puts, cancelled = [], []

    async def put(producer, task):
        for i in range(200):
            key, data = f"{task}-{i * 7 % 20}", b"%d/%d/" % (task, i) + b"." * (i % 40)
            puts.append((key, data, await producer.put(key, data)))
            if i % 10 == 0:
                await asyncio.sleep(0.005)

    async def cancel():
        chance = random.Random(1)
        while True:
            await asyncio.sleep(0.002)
            calls = [task for task in asyncio.all_tasks() if task.get_name() == "shardpack-call"]
            if calls and (not cancelled or chance.random() < 0.02):
                cancelled.append(chance.choice(calls).cancel())

    async def main(proxy):
        options = {"linger_ms": 10, "record_ttl_ms": 600_000, "max_aggregate_records": 25, "max_buffered_bytes": 50_000}
        async with (
            aio_client(proxy.endpoint_url) as client,
            AsyncProducer(stream, client=client, **options) as producer,
        ):
            cancelling = asyncio.create_task(cancel())
            await asyncio.gather(*(put(producer, task) for task in range(4)))
            await producer.flush()
            cancelling.cancel()

    with FaultProxy(local_kinesis.endpoint_url, seed=1, faults=FAULTS) as proxy:
        run(main(proxy))
        unanswered = proxy.unanswered(stream)
    assert cancelled
    assert sum(proxy.injected.values()) > 10
    assert check(local_kinesis, stream, puts, unanswered).puts == 800


def test_outcomes_of_what_is_not_stored(local_kinesis, stream):
    async def put_one(endpoint_url, stream, **config):
        async with (
            aio_client(endpoint_url, **config) as client,
            AsyncProducer(stream, client=client, linger_ms=1, record_ttl_ms=500) as producer,
        ):
            with pytest.raises(DeliveryError) as raised:
                await (await producer.put("k", b"x"))
            return raised.value

    error = run(put_one(local_kinesis.endpoint_url, "not-there"))
    assert (error.error_code, error.maybe_stored) == ("ResourceNotFoundException", False)

    with socket.socket() as taken:  # where nobody listens
        taken.bind(("127.0.0.1", 0))
        error = run(put_one(f"http://127.0.0.1:{taken.getsockname()[1]}", stream))
    assert isinstance(error, RecordExpiredError)
    assert not error.maybe_stored

    late = [Latency(2, operations="PutRecords")]
    with FaultProxy(local_kinesis.endpoint_url, seed=1, faults=late) as proxy:
        error = run(put_one(proxy.endpoint_url, stream, read_timeout=0.2))
    assert isinstance(error, RecordExpiredError)
    assert error.maybe_stored
    assert {attempt.error_code for attempt in error.attempts} == {"ReadTimeoutError"}


def test_its_client_is_for_event_loops(local_kinesis):
    async def main():
        async with aio_client(local_kinesis.endpoint_url) as client:
            with pytest.raises(TypeError, match="for AsyncProducer"):
                Producer("s", client=client)
            with pytest.raises(TypeError, match="AiobotocoreTransport"):
                Boto3Transport(client, "s")
        not_entered = get_session().create_client("kinesis", region_name="us-east-1")
        with pytest.raises(TypeError, match="expected a Kinesis client of aiobotocore"):
            AiobotocoreTransport(not_entered, "s")
        async with not_entered:
            pass
        with pytest.raises(TypeError, match="expected a Kinesis client of aiobotocore"):
            AiobotocoreTransport(local_kinesis.client(), "s")

    run(main())


# --- the consumer ---


def test_an_installed_client_gives_user_records(local_kinesis, stream):
    async def main():
        async with aio_client(local_kinesis.endpoint_url) as client:
            async with AsyncProducer(stream, client=client, linger_ms=5) as producer:
                await producer.put_many(["k"] * 100, [b"%d" % i for i in range(100)])
                receipt = await producer.put("k", b"100")
                shard_id = (await receipt).shard_id
            iterator = await client.get_shard_iterator(
                StreamName=stream, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON"
            )
            plain = await client.get_records(ShardIterator=iterator["ShardIterator"])
            install(client)
            return plain, await client.get_records(ShardIterator=iterator["ShardIterator"])

    plain, installed = run(main())
    assert [each["Data"] for each in installed["Records"]] == [b"%d" % i for i in range(101)]
    assert [each.data for each in deaggregate(plain)] == [b"%d" % i for i in range(101)]
    assert len(plain["Records"]) < 101


@pytest.mark.parametrize("faults", [[], ["ProvisionedThroughputExceededException", RESET, CUT, RESET]])
def test_a_stream_reader_reads_all_in_order(local_kinesis, stream, faults):
    async def main(endpoint_url):
        async with aio_client(endpoint_url) as client:
            async with AsyncProducer(stream, client=client, linger_ms=5) as producer:
                for i in range(100):
                    await producer.put(f"key-{i % 10}", b"%d" % i)
            with FaultyKinesis(endpoint_url) as faulty:
                faulty.fail("GetRecords", *faults)
                async with aio_client(faulty.endpoint_url) as reading:
                    found: dict[str, list[bytes]] = {}
                    async with AsyncStreamReader(stream, client=reading, until="latest") as reader:
                        async for batch in reader:
                            for record in batch.records:
                                found.setdefault(record.partition_key, []).append(record.data)
                            await batch.checkpoint()
                assert faulty.left == 0
            return found

    found = run(main(local_kinesis.endpoint_url))
    assert found == {f"key-{key}": [b"%d" % i for i in range(key, 100, 10)] for key in range(10)}


def test_a_stream_reader_that_is_left_gives_its_calls_up(local_kinesis, stream):
    async def main():
        async with aio_client(local_kinesis.endpoint_url) as client:
            with pytest.raises(TypeError, match="AsyncStreamReader takes it"):
                StreamReader(stream, client=client)
            async with AsyncStreamReader(stream, client=client) as reader:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(reader.__anext__(), 0.2)
            assert len(asyncio.all_tasks()) <= 2  # this one, and what waits for it

    run(main())
