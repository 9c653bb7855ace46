"""librdkafka's mock broker in a process of its own, so that what it takes is not counted as the producer's.

It stops when whoever started it does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .peers import NotInstalledError
from .server import served_elsewhere, until_parent_ends

TOPIC = "canned"


@contextmanager
def mock_broker() -> Iterator[str]:
    """Run one, on another core than who is measured where there are two. Yields its address."""
    with served_elsewhere(__name__) as port:
        if not port:
            raise NotInstalledError("pip install confluent-kafka")
        yield f"127.0.0.1:{port}"


def main() -> None:
    try:
        from confluent_kafka.admin import AdminClient  # noqa: PLC0415
    except ModuleNotFoundError:
        sys.stdout.write("0\n")
        return
    client = AdminClient({"test.mock.num.brokers": 1, "log_level": 3})
    (broker,) = client.list_topics(timeout=10).brokers.values()
    until_parent_ends(broker.port)


if __name__ == "__main__":
    main()
