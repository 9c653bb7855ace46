"""Many tenants on a stream of the local Kinesis: nothing lost, nothing mixed, through floods and resharding."""

from __future__ import annotations

import threading
import uuid
from collections import defaultdict

import boto3
import pytest
from botocore.config import Config

from shardpack import deaggregate
from shardpack.errors import DeliveryError, ProducerClosedError
from shardpack.shards import HASH_KEYS
from shardpack.tenants import HashSlice, Tenant, TenantProducer, for_tenant, split_tenant, tenant_key, tenant_shards
from shardpack.testing import FaultProxy, faults, history
from shardpack.testing.local_kinesis import wait_until_active
from shardpack.transport.boto3 import Boto3Transport


@pytest.fixture
def stream(local_kinesis):
    name = f"tenants-{uuid.uuid4().hex[:12]}"
    local_kinesis.create_stream(name, 2)
    return name


def client_of(endpoint_url):
    return boto3.client(
        "kinesis",
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106
        config=Config(retries={"total_max_attempts": 1}, max_pool_connections=10),
    )


def outcome_of(receipt):
    try:
        outcome = receipt.result(0)
    except DeliveryError as error:
        return history.UNKNOWN if error.maybe_stored else history.NOT_STORED
    return history.Position(outcome.shard_id, outcome.sequence_number, outcome.sub_sequence_number)


class Histories:
    """What each tenant has put, in its order, with its receipts."""

    def __init__(self):
        self.puts = defaultdict(list)

    def put(self, producer, tenant, key, data, **options):
        receipt = producer.put(tenant, key, data, **options)
        self.puts[tenant].append((key, data, receipt))

    def check(self, client, stream, **options):
        puts = [
            history.Put(tenant_key(tenant, key), data, outcome_of(receipt))
            for tenant, its in self.puts.items()
            for key, data, receipt in its
        ]
        contents = history.read_all(client, stream, kcl_rule=True)
        report = history.check(puts, contents, **options)
        assert report.holds, report
        for tenant, its in self.puts.items():
            found = [record.data for shard in contents for record in for_tenant(shard.records, tenant)]
            stored = {data for _, data, receipt in its if isinstance(outcome_of(receipt), history.Position)}
            assert stored <= {*found} <= {data for _, data, _ in its}
        return contents


def test_floods_and_close_with_waiting_tenants_lose_nothing(local_kinesis, stream):
    histories = Histories()
    with FaultProxy(
        local_kinesis.endpoint_url, seed=5, faults=[faults.ShardLimits(), faults.Reset(probability=0.05, when="after")]
    ) as proxy:
        producer = TenantProducer(
            stream,
            client=client_of(proxy.endpoint_url),
            linger_ms=20,
            max_buffered_bytes=1_000_000,
            tenants={"heavy": Tenant(weight=4), "slow": Tenant(bytes_per_second=20_000)},
        )
        begun = threading.Barrier(5)

        def put(tenant, size):
            begun.wait()
            try:
                for i in range(4000):
                    histories.put(producer, tenant, f"device-{i % 13}", f"{tenant} {i} ".encode().ljust(size, b"x"))
            except ProducerClosedError:
                pass

        threads = [
            threading.Thread(target=put, args=args)
            for args in (("flooder", 1000), ("heavy", 1000), ("slow", 300), ("modest", 50))
        ]
        for thread in threads:
            thread.start()
        begun.wait()
        threads[-1].join(60)
        producer.close()
        for thread in threads:
            thread.join(60)
        histories.check(local_kinesis.client(), stream, unanswered=proxy.unanswered(stream))
    assert len(histories.puts["modest"]) == 4000
    for tenant, puts in histories.puts.items():
        stats = producer.tenant_stats(tenant)
        assert stats.user_records_put == len(puts)
        assert stats.user_records_stored + stats.user_records_failed + stats.user_records_unknown == len(puts)
        assert stats.buffered_bytes == 0


def test_slices_hold_through_a_split_and_a_merge(local_kinesis, stream):
    client = local_kinesis.client()
    transport = Boto3Transport(client, stream)
    tenants = {f"t{i}": Tenant(hash_slice=HashSlice.of(i, 4)) for i in range(4)}
    histories = Histories()
    with TenantProducer(stream, client=client, tenants=tenants, linger_ms=5) as producer:

        def some(generation):
            for i in range(2000):
                key, data = f"device-{i % 37}", b"%d %d" % (generation, i)
                histories.put(producer, f"t{i % 4}", key, data)
            producer.flush(60)

        some(0)
        client.split_shard(
            StreamName=stream, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(HASH_KEYS // 4)
        )
        wait_until_active(client, stream)
        some(1)
        client.merge_shards(
            StreamName=stream, ShardToMerge="shardId-000000000001", AdjacentShardToMerge="shardId-000000000003"
        )
        wait_until_active(client, stream)
        some(2)
    contents = {shard.shard_id: shard for shard in histories.check(client, stream)}
    shards = transport.list_shards()
    for i in range(4):
        its = tenant_shards(shards, tenants[f"t{i}"].hash_slice)
        assert len(its) < len(shards)
        there = [record for shard in its for record in for_tenant(contents[shard.shard_id].records, f"t{i}")]
        assert sum(record.data.startswith(b"2 ") for record in there) == 500
    for shard_id, shard in contents.items():
        its = {split_tenant(record.partition_key)[0] for record in shard.records}
        assert its <= ({"t0", "t1"} if shard_id.endswith(("0", "2")) else {"t0", "t1", "t2", "t3"})


def test_a_reader_gets_one_tenants_records_alone(local_kinesis, stream):
    client = local_kinesis.client()
    with TenantProducer(stream, client=client, linger_ms=5) as producer:
        producer.put_many("acme", ["a"] * 100, [b"%d" % i for i in range(100)])
        producer.put_many("acm", ["e/a"] * 100, [b"other"] * 100)
        producer.put_many("acme/a", ["a"] * 100, [b"other"] * 100)
        client.put_record(StreamName=stream, PartitionKey="acme/a", Data=b"of somebody else")
        client.put_record(StreamName=stream, PartitionKey="@ac%6de/a", Data=b"of somebody else")
    records = []
    for shard in client.list_shards(StreamName=stream)["Shards"]:
        where = client.get_shard_iterator(StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")
        records += deaggregate(client.get_records(ShardIterator=where["ShardIterator"]))
    found = for_tenant(records, "acme")
    assert [(record.partition_key, record.data) for record in found] == [("a", b"%d" % i) for i in range(100)]
    assert found.refused == 202
