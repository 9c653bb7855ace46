"""What an ``AsyncProducer`` takes of a whole process, by who makes its calls: aiobotocore in its loop, or threads.

python -m shardpack.bench.async_process aiobotocore|threads URL RECORD_SIZE RECORDS RUNS    a JSON line for each run

A process of its own, for aiobotocore asks for another botocore than the rest; threads are measured with that one too.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from .canned_kinesis import STREAM
from .corpus import Corpus, synthetic
from .producing import BATCH, REGION, Delivered

CONNECTIONS = 6


@asynccontextmanager
async def producer_over(calls: str, url: str, **options: Any) -> AsyncIterator[Any]:
    from ..producer.aio import AsyncProducer  # noqa: PLC0415 (older versions lack it)

    os.environ.update({"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"})
    if calls == "threads":
        from ..transport.boto3 import ClientSettings  # noqa: PLC0415

        client = ClientSettings(endpoint_url=url, region_name=REGION).client(CONNECTIONS)
        async with AsyncProducer(STREAM, client=client, **options) as producer:
            yield producer
        return
    from aiobotocore.config import AioConfig  # noqa: PLC0415
    from aiobotocore.session import get_session  # noqa: PLC0415

    config = AioConfig(retries={"total_max_attempts": 1}, max_pool_connections=CONNECTIONS)
    async with (
        get_session().create_client("kinesis", region_name=REGION, endpoint_url=url, config=config) as client,
        AsyncProducer(STREAM, client=client, **options) as producer,
    ):
        yield producer


async def deliver(producer: Any, corpus: Corpus) -> Delivered:
    began, cpu = time.perf_counter(), time.process_time()
    for i in range(0, len(corpus), BATCH):
        await producer.put_many(corpus.keys[i : i + BATCH], corpus.datas[i : i + BATCH])
        if i % (16 * BATCH) == 0:
            await asyncio.sleep(0)  # as a program that has other things to do
    await producer.flush()
    return Delivered(len(corpus), time.process_time() - cpu, time.perf_counter() - began)


async def lateness(over: asyncio.Event) -> list[float]:
    """Return how late the loop was with each of many timers, in seconds."""
    late = []
    while not over.is_set():
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        late.append(time.perf_counter() - began - 0.001)
    return sorted(late)


async def main(calls: str, url: str, record_size: str, records: str, runs: str) -> None:
    corpus = synthetic(int(records), int(record_size))
    stored = 0

    def on_settled(batch: Sequence[Any]) -> None:
        nonlocal stored
        stored += sum(each.user_record_count for each in batch if each.stored)

    async with producer_over(calls, url, receipts=False, on_settled=on_settled) as producer:
        await deliver(producer, corpus.first(len(corpus) // 10))
        for _ in range(int(runs)):
            before, over = stored, asyncio.Event()
            late = asyncio.create_task(lateness(over))
            await asyncio.sleep(0)
            delivered = await deliver(producer, corpus)
            over.set()
            times = await late
            figures = {
                "records": stored - before,
                "cpu_seconds": delivered.cpu_seconds,
                "seconds": delivered.seconds,
                "late_seconds": times[len(times) * 99 // 100],
            }
            sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
