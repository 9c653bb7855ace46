"""Print what a shard holds, in a loop that knows of no aggregation: python consume_installed.py STREAM SHARD_ID."""

import sys
from collections.abc import Mapping

import boto3

import shardpack


def main(stream_name: str, shard_id: str) -> None:
    client = boto3.client("kinesis")
    shardpack.install(client)  # the one line that is new
    position = client.get_shard_iterator(StreamName=stream_name, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON")
    iterator: str | None = position["ShardIterator"]
    while iterator:
        response = client.get_records(ShardIterator=iterator)
        iterator = response.get("NextShardIterator") if response["MillisBehindLatest"] else None
        for record in response["Records"]:
            show(record)


def show(record: Mapping[str, object]) -> None:  # boto3's types know of no SubSequenceNumber
    print(record["SequenceNumber"], record["SubSequenceNumber"], record["PartitionKey"], record["Data"])


if __name__ == "__main__":
    main(*sys.argv[1:])
