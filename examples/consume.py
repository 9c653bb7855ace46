"""Print what a shard holds, from its oldest record to now: python consume.py STREAM SHARD_ID."""

import sys

import boto3

from shardpack import deaggregate


def main(stream_name: str, shard_id: str) -> None:
    client = boto3.client("kinesis")
    iterator = client.get_shard_iterator(StreamName=stream_name, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON")
    response = {"NextShardIterator": iterator["ShardIterator"], "MillisBehindLatest": 1}
    while response.get("NextShardIterator") and response["MillisBehindLatest"]:
        response = client.get_records(ShardIterator=response["NextShardIterator"])
        for record in deaggregate(response):
            print(record.sequence_number, record.sub_sequence_number, record.partition_key, record.data)


if __name__ == "__main__":
    main(*sys.argv[1:])
