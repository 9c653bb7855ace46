"""Acknowledge what comes from a queue only when the stream has it: python acknowledge_upstream.py STREAM.

The queue stands for a Kafka partition or an MQTT session: it counts its messages, and after a restart it gives again
whatever was not acknowledged.
"""

import sys
import time
from collections import deque

from shardpack import Producer, Receipt


class Upstream:
    """A queue in this process."""

    def __init__(self, messages: list[tuple[str, bytes]]) -> None:
        self.messages = messages
        self.acknowledged = 0  # all before this one
        self._next = 0

    def poll(self, timeout: float) -> tuple[int, str, bytes] | None:
        """Return the next message, with its number; ``None`` if there is none within so many seconds."""
        if self._next == len(self.messages):
            time.sleep(timeout)
            return None
        self._next += 1
        return self._next - 1, *self.messages[self._next - 1]

    def acknowledge(self, before: int) -> None:
        """Have no message with a lower number given again."""
        self.acknowledged = before


def pass_on(upstream: Upstream, producer: Producer) -> None:
    """Put every message, and acknowledge those before the first that is not stored yet.

    Raises ``DeliveryError`` for one that is not stored: it and what follows is not acknowledged, and comes again.
    """
    waiting: deque[tuple[int, Receipt]] = deque()
    while (message := upstream.poll(timeout=0.1)) is not None or waiting:
        if message is not None:
            number, key, data = message
            waiting.append((number, producer.put(key, data)))  # waits while the buffer is full: so the queue waits too
        before = None
        while waiting and waiting[0][1].done():
            number, receipt = waiting.popleft()
            receipt.result()
            before = number + 1
        if before is not None:
            upstream.acknowledge(before)


def main(stream_name: str) -> None:
    upstream = Upstream([(f"device-{i % 100}", b'{"reading": %d}' % i) for i in range(20_000)])
    with Producer(stream_name, record_ttl_ms=600_000) as producer:  # patience costs nothing: the queue has it all
        pass_on(upstream, producer)
    print(f"{upstream.acknowledged:,} messages are stored and acknowledged")


if __name__ == "__main__":
    main(sys.argv[1])
