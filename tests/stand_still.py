"""Begin to read answers of 10 MB, and stand still; print what is buffered, and the most memory that was taken."""

from __future__ import annotations

import sys
import time

from process_memory import memory

from shardpack.bench.canned_kinesis import STREAM
from shardpack.bench.producing import plain_client
from shardpack.consume.stream import StreamReader

url, max_buffer_bytes, max_concurrent_calls = sys.argv[1], *map(int, sys.argv[2:])
client = plain_client(url)
before = memory()
options = {"max_buffer_bytes": max_buffer_bytes, "max_concurrent_calls": max_concurrent_calls, "range_rule": False}
with StreamReader(STREAM, client=client, **options) as reader:
    batch = next(reader)
    calls = -1
    while calls != reader.stats().calls:
        calls = reader.stats().calls
        time.sleep(1)
    sys.stdout.write(f"{calls} {reader.stats().buffered_bytes} {memory('VmHWM') - before}\n")
