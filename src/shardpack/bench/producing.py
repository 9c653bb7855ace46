"""How user records are delivered: by ours and by the peers, each to a server in a process of its own.

Ours and boto3 to a canned Kinesis, confluent-kafka to librdkafka's mock broker. Whoever delivers is long-lived, as in a
program. A run tells what it took of the processor, all threads of the process together, and of the clock.
"""

from __future__ import annotations

import atexit
import importlib.util
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from queue import SimpleQueue
from typing import Any

from ..limits import Limits
from ..records import KinesisRecord
from ..shards import ShardMap
from ..transport import Failed, Stored, StreamDescription
from .canned_kinesis import ARN, STREAM, canned_kinesis
from .corpus import Corpus
from .interleave import on_cores
from .mock_broker import TOPIC, mock_broker
from .ours import batches as cut
from .ours import record_batch
from .peers import NotInstalledError
from .row import prove

BOTO3, CONFLUENT = "boto3", "confluent-kafka"
BATCH = 500
REGION = "eu-central-1"

_servers = ExitStack()
atexit.register(_servers.close)


@lru_cache
def kinesis(**options: Any) -> str:
    """Return the URL of a canned Kinesis, which runs as long as this process; ``canned_kinesis`` has the options."""
    return _servers.enter_context(canned_kinesis(**options))


@lru_cache
def broker() -> str:
    """Return the address of a mock broker, which runs as long as this process."""
    return _servers.enter_context(mock_broker())


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a run delivered, and its seconds: of processor time, and from the first put until everything is stored."""

    records: int
    cpu_seconds: float
    seconds: float


class _Clocks:
    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def delivered(self, records: int) -> Delivered:
        return Delivered(records, time.process_time() - self._cpu, time.perf_counter() - self._wall)


# --- ours ---


def new_producer(url: str, **options: Any) -> Any:
    """Make a producer for a canned Kinesis, of a client as it makes for itself."""
    from ..producer.producer import Producer  # noqa: PLC0415 (older versions lack it)

    return Producer(STREAM, client=new_client(url), **options)


def new_client(url: str) -> Any:
    """Make a client as a producer makes it for itself, which calls a server here."""
    from ..transport.boto3 import ClientSettings  # noqa: PLC0415 (older versions lack it)

    with _credentials():
        return ClientSettings(endpoint_url=url, region_name=REGION).client(max_connections=6)


@contextmanager
def _credentials() -> Iterator[None]:
    """Have credentials of nobody, which boto3 signs with."""
    given = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass(slots=True)
class _Stored:
    """Counts what is stored."""

    records: int = 0

    def __call__(self, batch: Sequence[Any]) -> None:
        self.records += sum(each.user_record_count for each in batch if each.stored)


def produce(
    corpus: Corpus, url: str, *, put: Callable[[Any, Corpus], Any], cores: Sequence[int] = (), **options: Any
) -> Callable[[], Delivered]:
    """Deliver a corpus, put in this way. What ``put`` returns is kept until all is stored.

    ``cores``: those of the threads of this process, the ones that it has if none are named.
    """
    stored = _Stored()
    producer = new_producer(url, on_settled=stored, **options)

    def run() -> Delivered:
        before = stored.records
        with on_cores(cores):
            clocks = _Clocks()
            kept = put(producer, corpus)
            producer.flush()
            if callable(kept):
                kept()
            return clocks.delivered(stored.records - before)

    return run


def put_each(producer: Any, corpus: Corpus) -> None:
    put = producer.put
    for key, data in zip(corpus.keys, corpus.datas, strict=True):
        put(key, data)


def put_batches(producer: Any, corpus: Corpus) -> None:
    put_many = producer.put_many
    for i in range(0, len(corpus), BATCH):
        put_many(corpus.keys[i : i + BATCH], corpus.datas[i : i + BATCH])


def put_arrow_batches(corpus: Corpus) -> Callable[[Any, Corpus], None]:
    """Return what puts this corpus as record batches of pyarrow, which are there already."""
    batches = [record_batch(Corpus(keys, datas)) for keys, datas in cut(corpus)]

    def put(producer: Any, _: Corpus) -> None:
        for batch in batches:
            producer.put_arrow(batch, key="key", data="data")

    return put


def put_and_ask_each(producer: Any, corpus: Corpus) -> Callable[[], None]:
    """Keep every receipt, and ask each for its result when all is stored."""
    put = producer.put
    receipts = [put(key, data) for key, data in zip(corpus.keys, corpus.datas, strict=True)]

    def ask() -> None:
        for receipt in receipts:
            receipt.result()

    return ask


class MuteTransport:
    """A stream that does not answer: what is put waits until the buffer is full."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def describe(self) -> StreamDescription:
        self.over.wait()
        return StreamDescription(STREAM, ARN, "ACTIVE", 8, Limits(), False)

    def list_shards(self) -> ShardMap:
        return ShardMap.uniform(8)

    def put_records(self, entries: Sequence[KinesisRecord]) -> list[Stored | Failed]:
        return [Failed("ValidationException", "nothing is stored here") for _ in entries]


def put_until_full(corpus: Corpus, put: Callable[[Any, Corpus], object], **options: Any) -> Callable[[], Delivered]:
    """Put a corpus, which is as much as is buffered; what comes after is not measured."""
    from ..producer.producer import Producer  # noqa: PLC0415 (older versions lack it)

    def run() -> Delivered:
        transport = MuteTransport()
        room = sum(map(len, corpus.keys)) + sum(map(len, corpus.datas)) + 256 * (len(corpus) + 1)  # with receipts too
        producer = Producer(transport=transport, close_timeout_s=0, max_buffered_bytes=room, **options)
        producer.put("first", b"")  # which starts it
        clocks = _Clocks()
        put(producer, corpus)
        delivered = clocks.delivered(len(corpus))
        with _quiet():
            transport.over.set()
            producer.close()
        return delivered

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """That nothing is stored is no news."""
    logger = logging.getLogger("shardpack.producer")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def put_requests(records: Sequence[KinesisRecord], url: str, times: int) -> Callable[[], Delivered]:
    """Send one request so many times through our transport."""
    from ..transport.boto3 import Boto3Transport  # noqa: PLC0415 (needs boto3)

    transport = Boto3Transport(new_client(url), STREAM)

    def run() -> Delivered:
        clocks = _Clocks()
        for _ in range(times):
            outcomes = transport.put_records(records)
        delivered = clocks.delivered(times)
        prove(all(isinstance(each, Stored) for each in outcomes), "put_records")
        return delivered

    return run


# --- peers ---


def plain_client(url: str) -> Any:
    """Make a client as boto3's documentation shows it, which calls a server here."""
    if importlib.util.find_spec("boto3") is None:
        raise NotInstalledError("pip install boto3")
    import boto3  # noqa: PLC0415

    with _credentials():
        return boto3.client("kinesis", endpoint_url=url, region_name=REGION)


class _Body:
    """What a response is read from."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> list[bytes]:
        return [self._body]


def answer_itself(client: Any, shard_iterator: str) -> None:
    """Have a client call GetRecords once, and answer itself the same from then on, without a socket."""
    from botocore.awsrequest import AWSResponse  # noqa: PLC0415

    answers: list[Any] = []

    def keep(response_dict: dict[str, Any], **_: Any) -> None:
        answers.append(response_dict)

    def answer(request: Any, **_: Any) -> Any:
        (kept,) = answers
        return AWSResponse(request.url, kept["status_code"], kept["headers"], _Body(kept["body"]))

    events = client.meta.events
    events.register_first("before-parse.kinesis.GetRecords", keep)
    client.get_records(ShardIterator=shard_iterator)
    events.unregister("before-parse.kinesis.GetRecords", keep)
    answers[:] = [dict(answers[0])]  # as it came: whoever reads it may change it
    events.register("before-send.kinesis.GetRecords", answer)


def put_requests_of_boto3(records: Sequence[KinesisRecord], url: str, times: int) -> Callable[[], Delivered]:
    """Send the same request so many times by plain ``put_records``."""
    client = plain_client(url)
    entries = [record.to_boto3() for record in records]

    def run() -> Delivered:
        clocks = _Clocks()
        for _ in range(times):
            response = client.put_records(StreamName=STREAM, Records=entries)
        delivered = clocks.delivered(times)
        prove(response["FailedRecordCount"] == 0 and len(response["Records"]) == len(entries), "put_records")
        return delivered

    return run


def put_records_of_boto3(corpus: Corpus, url: str) -> Callable[[], Delivered]:
    """Plain ``put_records`` of 500 user records a call, one after the other, as its documentation shows it."""
    client = plain_client(url)

    def run() -> Delivered:
        stored = 0
        clocks = _Clocks()
        for i in range(0, len(corpus), BATCH):
            pairs = zip(corpus.keys[i : i + BATCH], corpus.datas[i : i + BATCH], strict=True)
            records = [{"PartitionKey": key, "Data": data} for key, data in pairs]
            response = client.put_records(StreamName=STREAM, Records=records)
            stored += len(records) - response["FailedRecordCount"]
        return clocks.delivered(stored)

    return run


def produce_to_broker(corpus: Corpus, address: str, *, callbacks: bool) -> Callable[[], Delivered]:
    """Produce with confluent-kafka: no callback, or one for each message. Its queue takes all of them."""
    if importlib.util.find_spec("confluent_kafka") is None:
        raise NotInstalledError("pip install confluent-kafka")
    from confluent_kafka import Producer  # noqa: PLC0415

    producer = Producer(
        {
            "bootstrap.servers": address,
            "queue.buffering.max.messages": 2 * len(corpus),
            "queue.buffering.max.kbytes": 1_000_000,
            "delivery.report.only.error": not callbacks,
        }
    )
    stored = 0

    def on_delivery(error: object, _message: object) -> None:
        nonlocal stored
        stored += error is None

    def run() -> Delivered:
        nonlocal stored
        stored = 0
        produce, poll = producer.produce, producer.poll
        clocks = _Clocks()
        if callbacks:
            for i, (key, data) in enumerate(zip(corpus.keys, corpus.datas, strict=True)):
                produce(TOPIC, data, key, on_delivery=on_delivery)
                if i % 1_000 == 0:
                    poll(0)
        else:
            for key, data in zip(corpus.keys, corpus.datas, strict=True):
                produce(TOPIC, data, key)
        left = producer.flush()
        return clocks.delivered(stored if callbacks else len(corpus) - left)

    return run


# --- latency ---


def lone_latencies(url: str, linger_ms: float, records: int) -> list[float]:
    """Return the seconds from the put of a lone record to its outcome, of each after the other."""
    producer = new_producer(url, linger_ms=linger_ms)
    producer.put("first", bytes(100)).result()
    took = []
    for i in range(records):
        began = time.perf_counter()
        producer.put(f"device-{i}", bytes(100)).result()
        took.append(time.perf_counter() - began)
    producer.close()
    return took


def latencies_at_full_load(url: str, corpus: Corpus, every: int = 5_000) -> list[float]:
    """Return the seconds from the call of put to the outcome, of every so many records that are put without a pause."""
    producer = new_producer(url)
    producer.put("first", bytes(100)).result()
    taken: SimpleQueue[tuple[float, Any] | None] = SimpleQueue()
    took = []

    def wait_for_each() -> None:
        while (each := taken.get()) is not None:
            began, receipt = each
            receipt.result()
            took.append(time.perf_counter() - began)

    waiting = threading.Thread(target=wait_for_each)
    waiting.start()
    for i, (key, data) in enumerate(zip(corpus.keys, corpus.datas, strict=True)):
        if i % every:
            producer.put(key, data)
        else:
            began = time.perf_counter()
            taken.put((began, producer.put(key, data)))
    taken.put(None)
    waiting.join()
    producer.close()
    return took
