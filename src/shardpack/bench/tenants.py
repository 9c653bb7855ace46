"""What one tenant that floods does to the others: their time from put to stored, with it and without, in turns.

To a local Kinesis, behind a proxy that lets each shard take 1 MiB and 1,000 records a second. Tenants put at random
times, together half of what their parts allow; another one offers a hundred times its part. Every record of the others
carries when it was put, and is looked at as it is settled.
"""

from __future__ import annotations

import random
import struct
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from ..errors import BufferFullError
from ..limits import SHARD_BYTES_PER_SECOND
from ..producer.producer import Producer
from ..producer.settling import SettledRecord
from ..tenants import TenantProducer

SHARDS = 2
TENANTS = 8
RECORD_BYTES = 250
FLOOD_BYTES = 1000
TIMES = 100
PART = SHARDS * SHARD_BYTES_PER_SECOND / (TENANTS + 1)
"""What is everybody's, in bytes a second, where all want more."""
STREAM = "tenants"

TENANT_PRODUCER, ONE_PRODUCER = "TenantProducer", "Producer, for all"


class _OneProducer(Producer):
    """One that does not tell tenants apart."""

    def put_of(self, tenant: str, keys: Sequence[str], datas: Sequence[bytes], timeout: float | None) -> None:
        self.put_many([f"@{tenant}/{key}" for key in keys], datas, timeout=timeout)


class _TenantProducer(TenantProducer):
    def put_of(self, tenant: str, keys: Sequence[str], datas: Sequence[bytes], timeout: float | None) -> None:
        self.put_many(tenant, keys, datas, timeout=timeout)


KINDS: dict[str, type[_OneProducer | _TenantProducer]] = {
    TENANT_PRODUCER: _TenantProducer,
    ONE_PRODUCER: _OneProducer,
}


@contextmanager
def limited_kinesis() -> Iterator[Any]:
    """Yield a client of a Kinesis whose shards take what they do in AWS, with the stream in it."""
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    from ..testing import FaultProxy, LocalKinesis, faults  # noqa: PLC0415

    with ExitStack() as stack:
        kinesis = stack.enter_context(LocalKinesis())
        kinesis.create_stream(STREAM, SHARDS)
        proxy = stack.enter_context(FaultProxy(kinesis.endpoint_url, seed=1, faults=[faults.ShardLimits()]))
        yield boto3.client(
            "kinesis",
            endpoint_url=proxy.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106
            config=Config(retries={"total_max_attempts": 1}, max_pool_connections=10),
        )


def latencies(client: Any, kind: str, seconds: float, *, flooded: bool) -> list[float]:
    """Return how long each record of the tenants but the flooder took from put to stored, in seconds."""
    found: list[float] = []

    def look(settled: Sequence[SettledRecord]) -> None:
        now = time.monotonic()
        for each in settled:
            for key, data, _ in each.user_records():
                if key.startswith("@tenant"):
                    found.append(now - struct.unpack_from("d", data)[0])

    ended = threading.Event()
    producer = KINDS[kind](STREAM, client=client, on_settled=look, receipts=False, close_timeout_s=1)
    with producer:
        producer.put_of("first", ["k"], [b""], None)
        producer.flush(30)
        flooder = threading.Thread(target=_flood, args=(producer, ended))
        if flooded:
            flooder.start()
            time.sleep(1)
        try:
            put = _put_steadily(producer, seconds)
            while len(found) < put:
                time.sleep(0.1)
        finally:
            ended.set()
            if flooded:
                flooder.join()
    return sorted(found)


def _put_steadily(producer: _OneProducer | _TenantProducer, seconds: float) -> int:
    rng = random.Random(1)
    rate = PART / 2 * TENANTS / RECORD_BYTES
    end, due, count = time.monotonic() + seconds, time.monotonic(), 0
    while (now := time.monotonic()) < end:
        data = struct.pack("d", now).ljust(RECORD_BYTES, b"x")
        producer.put_of(f"tenant-{rng.randrange(TENANTS)}", [f"device-{rng.randrange(1000)}"], [data], None)
        count += 1
        due += rng.expovariate(rate)
        if (ahead := due - time.monotonic()) > 0:
            time.sleep(ahead)
    return count


def _flood(producer: _OneProducer | _TenantProducer, ended: threading.Event) -> None:
    """Offer a hundred times the part of one, whatever of it is taken."""
    step = 0.01
    count = int(TIMES * PART * step / FLOOD_BYTES)
    keys, datas = [f"device-{i}" for i in range(count)], [b"f" * FLOOD_BYTES] * count
    due = time.monotonic()
    while not ended.is_set():
        with suppress(BufferFullError):
            producer.put_of("flooder", keys, datas, 0)
        due += step
        time.sleep(max(0.001, due - time.monotonic()))


def main() -> None:
    """Print the 99th percentile of both, three turns each, and their ratio: ``python -m shardpack.bench.tenants``."""
    found: dict[bool, list[float]] = {False: [], True: []}
    with limited_kinesis() as client:
        for turn in range(6):
            times = latencies(client, TENANT_PRODUCER, 4.0, flooded=turn % 2 == 1)
            found[turn % 2 == 1].append(percentile(times, 0.99))
        one, one_flooded = (
            percentile(latencies(client, ONE_PRODUCER, 4.0, flooded=flooded), 0.99) for flooded in (False, True)
        )
    alone, flooded = (sorted(found[kind])[1] for kind in (False, True))
    sys.stdout.write(
        f"99 % within {alone * 1e3:.0f} ms without a flood, "
        f"{flooded * 1e3:.0f} ms beside one ({flooded / alone:.2f} times); "
        f"with one Producer for all, {one * 1e3:.0f} ms and {one_flooded * 1e3:,.0f} ms\n"
    )


def percentile(sorted_values: list[float], part: float) -> float:
    return sorted_values[min(len(sorted_values) - 1, int(part * len(sorted_values)))]


if __name__ == "__main__":
    main()
