"""Three tenants share a stream, one of which floods; then one reads its own: python tenants.py STREAM."""

import sys

import boto3

from shardpack import BufferFullError, deaggregate
from shardpack.tenants import Tenant, TenantProducer, for_tenant

TENANTS = {"acme": Tenant(weight=2), "globex": Tenant(), "noisy": Tenant(max_buffered_bytes=2_000_000)}


def put(stream_name: str) -> None:
    refused = 0
    with TenantProducer(stream_name, tenants=TENANTS, default=None, receipts=False) as producer:
        for i in range(5_000):
            try:
                producer.put("noisy", f"device-{i % 100}", b"n" * 1_000, timeout=0)
            except BufferFullError:
                refused += 1  # its own bound: the others go on
            if i % 10 == 0:
                producer.put("acme", f"device-{i % 7}", b'{"reading": %d}' % i)
                producer.put("globex", f"device-{i % 7}", b'{"reading": %d}' % i)
    for tenant in TENANTS:
        stats = producer.tenant_stats(tenant)
        print(f"{tenant}: {stats.user_records_put:,} put, {stats.user_records_stored:,} stored")
    print(f"{refused:,} of noisy's were not taken")


def read(stream_name: str, tenant: str) -> None:
    client = boto3.client("kinesis")
    found = refused = 0
    for shard in client.list_shards(StreamName=stream_name)["Shards"]:
        iterator = client.get_shard_iterator(
            StreamName=stream_name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while True:
            response = client.get_records(ShardIterator=iterator)
            records = for_tenant(deaggregate(response), tenant)
            found += len(records)
            refused += records.refused
            iterator = response.get("NextShardIterator")
            if not iterator or not response["MillisBehindLatest"]:
                break
    print(f"{tenant} reads {found:,} of its own, and none of {refused:,} others")


if __name__ == "__main__":
    put(sys.argv[1])
    read(sys.argv[1], "acme")
