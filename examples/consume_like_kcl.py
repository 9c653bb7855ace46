"""Print what the KCL would deliver of a shard, open or closed: python consume_like_kcl.py STREAM SHARD_ID.

The KCL leaves an aggregated record out when one of its user records belongs to another shard: a producer that follows
resharding has sent them again, to the right one.
"""

import sys

import boto3

from shardpack import deaggregate


def main(stream_name: str, shard_id: str) -> None:
    client = boto3.client("kinesis")
    pages = client.get_paginator("list_shards").paginate(StreamName=stream_name)  # closed shards too
    shards = {shard["ShardId"]: shard["HashKeyRange"] for page in pages for shard in page["Shards"]}
    hash_range = (int(shards[shard_id]["StartingHashKey"]), int(shards[shard_id]["EndingHashKey"]))

    left_out = 0
    position = client.get_shard_iterator(StreamName=stream_name, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON")
    iterator: str | None = position["ShardIterator"]
    while iterator:
        response = client.get_records(ShardIterator=iterator)
        iterator = response.get("NextShardIterator") if response["MillisBehindLatest"] else None
        found = deaggregate(response, hash_range=hash_range)
        left_out += found.left_out
        for record in found:
            print(record.sequence_number, record.sub_sequence_number, record.partition_key, record.data)
    print(f"{left_out} user records left out", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
