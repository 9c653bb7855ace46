"""A Kinesis that answers at once and keeps nothing, in a process of its own: what remains is the producer's time.

It reads PutRecords as clients send it, finds the shard of each entry, and answers that it is stored there; or after a
delay, or that it is throttled. Whoever calls GetRecords is given the same user records each time, aggregated. It stops
when whoever started it does.
"""

from __future__ import annotations

import argparse
import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property

from ..shards import ShardMap
from .corpus import synthetic
from .received import ARRIVED, KPL_AGGREGATE, kinesis_records
from .server import served_elsewhere, until_parent_ends

STREAM = "canned"
ARN = f"arn:aws:kinesis:eu-central-1:000000000000:stream/{STREAM}"
SEQUENCE_NUMBER = "49590338271490256608559692538361571095921575989136588898"  # as long as they are
SHARD_ITERATOR = "A" * 224  # as long as they are
HEAD_END = b"\r\n\r\n"
LARGEST_BODY = 32 * 1024 * 1024
LARGEST_JOINED = 1 << 20
"""Bytes of an answer that goes out in one piece with its head."""


@contextmanager
def canned_kinesis(
    *,
    shards: int = 8,
    latency_ms: float = 0,
    throttled: bool = False,
    user_records: int = 0,
    record_size: int = 100,
) -> Iterator[str]:
    """Run one, on another core than who is measured where there are two. Yields its URL.

    GetRecords gives ``synthetic(user_records, record_size)``, in aggregated records as large as the KPL makes them.
    """
    arguments = [
        f"--shards={shards}",
        f"--latency-ms={latency_ms}",
        f"--user-records={user_records}",
        f"--record-size={record_size}",
        *(["--throttled"] if throttled else []),
    ]
    with served_elsewhere(__name__, *arguments) as port:
        yield f"http://127.0.0.1:{port}"


class CannedKinesis:
    """What is answered. Any number of connections ask for it, each on a thread."""

    def __init__(
        self,
        shards: int = 8,
        latency_ms: float = 0,
        *,
        throttled: bool = False,
        user_records: int = 0,
        record_size: int = 100,
    ) -> None:
        self.shard_map = ShardMap.uniform(shards)
        self.latency = latency_ms / 1000
        self.throttled = b'{"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"Rate exceeded"}'
        self.is_throttled = throttled
        self.user_records, self.record_size = user_records, record_size
        self.stored = [
            f'{{"SequenceNumber":"{SEQUENCE_NUMBER}","ShardId":"{shard.shard_id}"}}'.encode()
            for shard in self.shard_map
        ]
        self.answers = {
            "ListShards": self.list_shards(),
            "DescribeStreamSummary": self.describe_stream_summary(),
            "GetShardIterator": json.dumps({"ShardIterator": SHARD_ITERATOR}).encode(),
        }

    def answer(self, operation: str, body: memoryview) -> bytes:
        if operation == "PutRecords":
            return self.put_records(body)
        return self.get_records if operation == "GetRecords" else self.answers[operation]

    def put_records(self, body: memoryview) -> bytes:
        """Answer for each entry by its hash key. No string has a quotation mark in it, so by those they are found."""
        if self.latency:
            time.sleep(self.latency)
        strings = bytes(body).split(b'"')
        entries: list[tuple[str, int | None]] = []
        i = 1
        while i < len(strings):
            if strings[i] == b"PartitionKey":
                i += 2
                entries.append((strings[i].decode(), None))
            elif strings[i] == b"ExplicitHashKey":
                i += 2
                entries[-1] = entries[-1][0], int(strings[i])
            i += 2
        keys, explicit = zip(*entries, strict=True)
        if self.is_throttled:
            results, failed = [self.throttled] * len(entries), len(entries)
        else:
            results, failed = [self.stored[shard] for shard in self.shard_map.assign(keys, explicit)], 0
        return b'{"FailedRecordCount":%d,"Records":[%b]}' % (failed, b",".join(results))

    @cached_property
    def get_records(self) -> bytes:
        """The same each time, as the service writes it."""
        sealed = kinesis_records(synthetic(self.user_records, self.record_size), KPL_AGGREGATE)
        records = [
            {
                "ApproximateArrivalTimestamp": ARRIVED.timestamp(),
                "Data": base64.b64encode(record.data).decode(),
                "PartitionKey": record.partition_key,
                "SequenceNumber": str(int(SEQUENCE_NUMBER) + i),
            }
            for i, record in enumerate(sealed)
        ]
        page = {"MillisBehindLatest": 0, "NextShardIterator": SHARD_ITERATOR, "Records": records}
        return json.dumps(page, separators=(",", ":")).encode()

    def list_shards(self) -> bytes:
        shards = [
            {
                "ShardId": shard.shard_id,
                "HashKeyRange": {
                    "StartingHashKey": str(shard.starting_hash_key),
                    "EndingHashKey": str(shard.ending_hash_key),
                },
                "SequenceNumberRange": {"StartingSequenceNumber": SEQUENCE_NUMBER},
            }
            for shard in self.shard_map
        ]
        return json.dumps({"Shards": shards}).encode()

    def describe_stream_summary(self) -> bytes:
        summary = {
            "StreamName": STREAM,
            "StreamARN": ARN,
            "StreamStatus": "ACTIVE",
            "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": 1.6e9,
            "EnhancedMonitoring": [],
            "OpenShardCount": len(self.shard_map),
        }
        return json.dumps({"StreamDescriptionSummary": summary}).encode()


def serve_connection(kinesis: CannedKinesis, connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = bytearray(1 << 20)
    filled = 0
    with connection, suppress(OSError):
        while True:
            while (head_size := buffer.find(HEAD_END, 0, filled)) < 0:
                received = connection.recv_into(memoryview(buffer)[filled:])
                if not received:
                    return
                filled += received
            lines = bytes(buffer[:head_size]).decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
            start = head_size + len(HEAD_END)
            end = start + int(headers["content-length"])
            if end > LARGEST_BODY:
                return
            if end > len(buffer):
                buffer += bytes(end - len(buffer))
            with memoryview(buffer) as view:
                while filled < end:
                    received = connection.recv_into(view[filled:end])
                    if not received:
                        return
                    filled += received
                operation = headers["x-amz-target"].rpartition(".")[2]
                body = kinesis.answer(operation, view[start:end])
            filled = 0
            head = (
                b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: 1\r\nContent-Type: application/x-amz-json-1.1\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body)
            )
            connection.sendall(head + body if len(body) < LARGEST_JOINED else head)
            if len(body) >= LARGEST_JOINED:
                connection.sendall(body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--latency-ms", type=float, default=0)
    parser.add_argument("--throttled", action="store_true")
    parser.add_argument("--user-records", type=int, default=0)
    parser.add_argument("--record-size", type=int, default=100)
    kinesis = CannedKinesis(**vars(parser.parse_args()))
    listening = socket.create_server(("127.0.0.1", 0), backlog=64)

    def accept() -> None:
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=serve_connection, args=(kinesis, connection), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    until_parent_ends(listening.getsockname()[1])


if __name__ == "__main__":
    main()
