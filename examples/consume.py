"""Print what a shard holds, from its oldest record to now: python consume.py STREAM SHARD_ID."""

import sys

import boto3

from shardpack import read_records


def main(stream_name: str, shard_id: str) -> None:
    client = boto3.client("kinesis")
    position = client.get_shard_iterator(StreamName=stream_name, ShardId=shard_id, ShardIteratorType="TRIM_HORIZON")
    iterator: str | None = position["ShardIterator"]
    while iterator:
        reply = read_records(client, ShardIterator=iterator)
        for record in reply.user_records():
            print(record.sequence_number, record.sub_sequence_number, record.partition_key, record.data)
        iterator = reply.next_shard_iterator if reply.millis_behind_latest else None


if __name__ == "__main__":
    main(*sys.argv[1:])
