"""Send a million small readings in order: python produce.py STREAM."""

import sys
from collections import Counter
from collections.abc import Sequence

from shardpack import Producer, SettledRecord


def main(stream_name: str) -> None:
    became: Counter[str] = Counter()

    def count(records: Sequence[SettledRecord]) -> None:  # on the producer's thread: be quick
        for record in records:
            became["stored" if record.stored else "not stored"] += record.user_record_count
            became["Kinesis records"] += 1

    devices = [f"device-{device}" for device in range(10_000)]
    with Producer(stream_name, receipts=False, on_settled=count) as producer:
        for minute in range(100):
            producer.put_many(devices, [b'{"minute": %d, "celsius": 21.5}' % minute for _ in devices])
    print(f"{became['stored']:,} readings in {became['Kinesis records']:,} Kinesis records")
    if became["not stored"]:
        sys.exit(f"{became['not stored']:,} readings are not stored, or perhaps not")


if __name__ == "__main__":
    main(sys.argv[1])
