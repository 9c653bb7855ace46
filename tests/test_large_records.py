"""Streams whose record limit is raised: records above 1 MiB, requests of 10 MiB, and services that take less."""

from __future__ import annotations

import hashlib
import itertools
import logging

import pytest
from botocore.exceptions import ClientError
from shards_in_lists import Shards

from shardpack import Boto3Transport, Limits, Producer
from shardpack.errors import DeliveryError, RecordTooLargeError
from shardpack.limits import KIB, MIB
from shardpack.testing import FaultProxy
from shardpack.testing.faults import Error

names = (f"large-{i}" for i in itertools.count())


@pytest.fixture
def stream(raising):
    """A stream of 40 shards that takes records of 10 MiB."""
    client, name = raising.clients[0], next(names)
    if not hasattr(client, "update_max_record_size"):
        pytest.skip("older botocores know of no other limit")
    raising.create_stream(name, 40)
    arn = client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]
    client.update_max_record_size(StreamARN=arn, MaxRecordSizeInKiB=10 * 1024)
    return name


def data_of(size, seed=0):
    return hashlib.shake_128(b"%d" % seed).digest(size)


def read_back(client, stream, shard_ids=None):
    """Digests of all that these shards hold, or all of them, in any order."""
    found = []
    for shard_id in shard_ids or [shard["ShardId"] for shard in client.list_shards(StreamName=stream)["Shards"]]:
        start = {"ShardId": shard_id, "ShardIteratorType": "TRIM_HORIZON"}
        iterator = client.get_shard_iterator(StreamName=stream, **start)["ShardIterator"]
        while True:
            page = client.get_records(ShardIterator=iterator, Limit=10_000)
            found += [hashlib.md5(record["Data"]).hexdigest() for record in page["Records"]]
            if not page["MillisBehindLatest"] and not page["Records"]:
                break
            iterator = page["NextShardIterator"]
    return sorted(found)


def digests(datas):
    return sorted(hashlib.md5(data).hexdigest() for data in datas)


def test_limits_follow_the_description(raising, stream):
    limits = Boto3Transport(raising.clients[0], stream).describe().limits
    assert limits == Limits(max_record_bytes=10 * MIB, max_request_bytes=10 * MIB)


def test_records_up_to_the_raised_limit(raising, stream):
    """kinesis-local takes the largest record, but has no answer that holds it."""
    datas = [data_of(MIB), data_of(MIB + 1), data_of(2 * MIB)]
    with Producer(stream, client=raising.client(retries={"total_max_attempts": 1}), linger_ms=0) as producer:
        receipts = [producer.put("device-7", data) for data in datas]
        receipts.append(producer.put("device-8", data_of(10 * MIB - 8)))
        with pytest.raises(RecordTooLargeError, match=r"10,485,761 bytes .* exceeds the stream's 10,485,760"):
            producer.put("device-7", bytes(10 * MIB - 7))
    shards = [receipt.result(0).shard_id for receipt in receipts]
    assert len({*shards}) == 2
    assert read_back(raising.clients[0], stream, [shards[0]]) == digests(datas)


class Gate:
    """A schedule that refuses PutRecords calls with more data than this, and remembers how much all had."""

    def __init__(self, takes, error):
        self.takes, self.error = takes, error
        self.taken, self.refused = [], []

    def __call__(self, request):
        if request.operation != "PutRecords":
            return None
        size = sum(len(entry["Data"]) // 4 * 3 for entry in request.json["Records"])
        (self.taken if size <= self.takes else self.refused).append(size)
        return self.error if size > self.takes else None


TOO_LARGE = Error("InvalidArgumentException", message="Records size exceeds 5 MB limit")


def put_one_a_shard(producer, shard_map, size, turn=0):
    """Put a record to each of the shards. Returns what was put."""
    datas = [data_of(size, 1000 * turn + i) for i in range(len(shard_map))]
    for data, shard in zip(datas, shard_map, strict=True):
        producer.put("k", data, explicit_hash_key=shard.starting_hash_key)
    return datas


def test_requests_above_5_mib(raising, stream):
    gate = Gate(10 * MIB, None)
    with FaultProxy(raising.endpoint_url, seed=1, faults=[gate]) as proxy:
        transport = Boto3Transport(proxy.client(), stream)
        with Producer(transport=transport, linger_ms=1000) as producer:
            datas = put_one_a_shard(producer, transport.list_shards(), 150 * KIB)
    assert max(gate.taken) > 5 * MIB
    assert read_back(raising.clients[0], stream) == digests(datas)


def test_a_service_that_takes_5_mib_though_the_limit_is_raised(raising, stream, caplog):
    """It is learned once, said once, and nothing is lost by it or stored twice."""
    gate = Gate(5 * MIB, TOO_LARGE)
    with FaultProxy(raising.endpoint_url, seed=1, faults=[gate]) as proxy:
        transport = Boto3Transport(proxy.client(), stream)
        with (
            caplog.at_level(logging.WARNING, "shardpack"),
            Producer(transport=transport, linger_ms=1000, max_requests_in_flight=1) as producer,
        ):
            datas = put_one_a_shard(producer, transport.list_shards(), 135 * KIB, 0)
            producer.flush()
            datas += put_one_a_shard(producer, transport.list_shards(), 135 * KIB, 1)
    (refused,) = gate.refused
    assert refused > 5 * MIB
    assert [record.message.partition(": An error")[0] for record in caplog.records] == [
        "requests have 5,242,880 bytes at most from here on: larger ones are refused"
    ]
    assert read_back(raising.clients[0], stream) == digests(datas)


REFUSALS = [
    ("InvalidArgumentException", "Records size exceeds 5 MB limit", 400),
    ("ValidationException", "1 validation error detected", 400),
    ("SerializationException", "", 400),
    ("413", "<html>Request Entity Too Large</html>", 413),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal[0])
def test_however_a_request_is_refused_for_its_size_all_of_it_is_stored_in_smaller_ones(refusal):
    code, message, status = refusal
    error = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}

    def refuse(entries):
        sizes.append(sum(entry.size for entry in entries))
        if sizes[-1] > 5 * MIB:
            raise ClientError(error, "PutRecords")

    sizes = []
    transport = Shards(40, refuse)
    transport.limits = Limits(max_record_bytes=10 * MIB, max_request_bytes=10 * MIB)
    with Producer(transport=transport, linger_ms=1000, max_requests_in_flight=1) as producer:
        datas = []
        for turn in range(3):
            datas += put_one_a_shard(producer, transport.shard_map, 200 * KIB, turn)
            producer.flush()
    assert len([size for size in sizes if size > 5 * MIB]) == 1
    assert sorted(each.data for held in transport.stored.values() for each in held) == sorted(datas)


def test_a_record_that_no_request_may_hold_is_reported(raising, stream):
    with FaultProxy(raising.endpoint_url, seed=1, faults=[Gate(5 * MIB, TOO_LARGE)]) as proxy:
        with Producer(transport=Boto3Transport(proxy.client(), stream), linger_ms=0) as producer:
            too_large = producer.put("device-7", bytes(6 * MIB))
            small = producer.put("device-7", b"21.5")
        with pytest.raises(DeliveryError, match="exceeds 5 MB limit") as raised:
            too_large.result(0)
    assert not raised.value.maybe_stored
    assert read_back(raising.clients[0], stream, [small.result(0).shard_id]) == digests([b"21.5"])
