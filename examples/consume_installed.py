"""Print what a shard holds, in a loop that knows of no aggregation: python consume_installed.py STREAM SHARD_ID."""

import sys

import boto3

import shardpack


def main(stream_name: str, shard_id: str) -> None:
    client = boto3.client("kinesis")
    shardpack.install(client)  # the one line that is new
    iterator = client.get_shard_iterator(StreamName=stream_name, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON")
    response = {"NextShardIterator": iterator["ShardIterator"], "MillisBehindLatest": 1}
    while response.get("NextShardIterator") and response["MillisBehindLatest"]:
        response = client.get_records(ShardIterator=response["NextShardIterator"])
        for record in response["Records"]:
            print(record["SequenceNumber"], record["SubSequenceNumber"], record["PartitionKey"], record["Data"])


if __name__ == "__main__":
    main(*sys.argv[1:])
