"""Send a million small readings in order: python produce.py STREAM."""

import sys

from shardpack import Producer


def main(stream_name: str) -> None:
    devices = [f"device-{device}" for device in range(10_000)]
    with Producer(stream_name, receipts=False) as producer:
        for minute in range(100):
            producer.put_many(devices, [b'{"minute": %d, "celsius": 21.5}' % minute for _ in devices])
    stats = producer.stats()
    print(f"{stats.user_records_stored:,} readings in {stats.kinesis_records_stored:,} Kinesis records")
    if stats.user_records_stored < stats.user_records_put:
        sys.exit(f"not stored: {stats.user_records_failed:,}; perhaps not: {stats.user_records_unknown:,}")


if __name__ == "__main__":
    main(sys.argv[1])
