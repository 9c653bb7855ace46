"""Confirm each reading to the device that sent it when the stream has it: python produce_async.py STREAM.

Five hundred devices are tasks of one event loop; each sends its next reading when the last one is confirmed.
"""

import asyncio
import sys

from shardpack import AsyncProducer


async def device(producer: AsyncProducer, name: str) -> int:
    for i in range(20):
        receipt = await producer.put(name, b'{"reading": %d}' % i)  # while the buffer is full, other tasks go on
        await receipt  # raises DeliveryError for what is not stored
    return 20


async def main(stream_name: str) -> None:
    async with AsyncProducer(stream_name, linger_ms=20) as producer:
        confirmed = await asyncio.gather(*(device(producer, f"device-{i}") for i in range(500)))
    print(f"{sum(confirmed):,} readings are stored and confirmed")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
