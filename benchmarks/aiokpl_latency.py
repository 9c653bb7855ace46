"""How long aiokpl takes with a lone record, from its put to its outcome; prints the seconds of each as JSON.

AIOKPL_PYTHON benchmarks/aiokpl_latency.py URL LINGER_MS RECORDS

That Python has aiokpl, which wants an older boto3 than the rest.
"""

# ruff: noqa: T201 (a command)

from __future__ import annotations

import asyncio
import json
import sys
import time

from aiokpl import Config, Producer


async def main(url: str, linger_ms: float, records: int) -> None:
    config = Config(
        region="eu-central-1",
        endpoint_url=url,
        aws_access_key_id="none",
        aws_secret_access_key="none",  # noqa: S106
        record_max_buffered_time_ms=linger_ms,
    )
    took = []
    async with Producer(config) as producer:
        for i in range(records + 1):
            began = time.perf_counter()
            outcome = await producer.put_record(stream="canned", partition_key=f"device-{i}", data=bytes(100))
            result = await outcome.wait()
            assert result.success, result
            took.append(time.perf_counter() - began)
    print(json.dumps(took[1:]))  # the first made the client and asked for the shards


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
