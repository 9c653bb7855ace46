"""Send a million small readings in order: python produce.py STREAM."""

import sys
from collections.abc import Iterator

import boto3

from shardpack import Aggregator, Boto3Transport
from shardpack.producer.send import OrderedSender


def readings() -> Iterator[tuple[list[str], list[bytes]]]:
    for minute in range(100):
        yield (
            [f"device-{device}" for device in range(10_000)],
            [b'{"minute": %d, "celsius": 21.5}' % minute for _ in range(10_000)],
        )


def main(stream_name: str) -> None:
    sender = OrderedSender(Boto3Transport(boto3.client("kinesis"), stream_name))
    aggregator = Aggregator(sender.shard_map)
    for keys, datas in readings():
        aggregator.add_many(keys, datas)
        sender.send(aggregator.take(), aggregator.shard_map)
        if aggregator.shard_map is not sender.shard_map:  # the stream was resharded meanwhile
            sender.send(aggregator.flush(), aggregator.shard_map)
            aggregator = Aggregator(sender.shard_map)
    sender.send(aggregator.flush(), aggregator.shard_map)
    print(f"{sender.report.user_records:,} readings in {sender.report.kinesis_records:,} Kinesis records")


if __name__ == "__main__":
    main(sys.argv[1])
