"""Handle a stream with two handlers until SIGTERM, and put aside what fails: python consume_stream.py STREAM.

What cannot be read as JSON is kept in unhandled.db: `shardpack redrive` has what to do with it.
"""

import json
import signal
import sys
from collections import Counter

from shardpack.consume.stream import DeadLetterPoison, SQLiteCheckpoints, StreamBatch, StreamReader
from shardpack.dead_letters import SQLiteDeadLetters

readings: Counter[str] = Counter()
sizes: Counter[str] = Counter()


def count_readings(batch: StreamBatch) -> None:
    parsed = [(record.partition_key, json.loads(record.data)) for record in batch.records]  # it raises before it counts
    for device, reading in parsed:
        readings[device or ""] += 1
        if reading["reading"] == 0:
            print("begun", flush=True)


def add_sizes(batch: StreamBatch) -> None:
    sizes[batch.shard_id] += sum(len(record.data) for record in batch.records)


def main(stream_name: str) -> None:
    checkpoints = SQLiteCheckpoints("checkpoints.db")  # each handler has its own in it; the next start goes on there
    reader = StreamReader(stream_name, checkpoints=checkpoints, poll_interval_s=0.2)

    def stop(_number: int, _frame: object) -> None:
        reader.stop()  # both end after the batch that they have in hand

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with SQLiteDeadLetters("unhandled.db") as sink:
        reader.fan_out(
            {"readings": count_readings, "sizes": add_sizes},
            on_error=DeadLetterPoison(sink, attempts=2, backoff_s=0.1),
        )
    put_aside = reader.stats().handlers["readings"].dead_letters
    print(f"{readings.total():,} readings handled, {put_aside} put aside, {sum(sizes.values()):,} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
