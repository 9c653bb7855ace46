from typing import Any

from shardpack import UserRecord
from shardpack.consume.stream import AsyncStreamReader, StreamBatch, StreamReader


def pushed(client: Any) -> int:
    with StreamReader("telemetry", client=client, mode="fan-out", consumer="alerts", max_subscriptions=10) as reader:
        for batch in reader:
            part: StreamBatch = batch[:10]
            part.checkpoint()
    return reader.stats().gaps


async def in_a_loop(client: Any) -> list[UserRecord]:
    found: list[UserRecord] = []
    async with AsyncStreamReader("telemetry", client=client, start="latest") as reader:
        async for batch in reader:
            found += batch.records
            await batch[1:].checkpoint()
            await batch.checkpoint(found[-1])
            reader.stop()
    return found


# from here on, every line that ends in the words below is wrong

StreamReader("telemetry", mode="push")  # wrong: arg-type
StreamReader("telemetry", mode="fan-out", consumer=7)  # wrong: arg-type
