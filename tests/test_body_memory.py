"""Bodies and answers of PutRecords where allocations fail: an error, nothing lost of what is held, and it goes on."""

from __future__ import annotations

from isolated import run

FAILED_CALLS = """
import ctypes, itertools, json, sys
from types import SimpleNamespace
from shardpack._native.body import BodyWriter
from shardpack._native.put_reply import Stored, read_put_reply

library = ctypes.CDLL({library!r})
failing_at = ctypes.c_long.in_dll(library, "failing_at")
failed = ctypes.c_long.in_dll(library, "failed")
keys = ["k" * 40, "é" * 40, "q" * 40, "日" * 40]
datas = [b"d" * 90_000, bytearray(b"e" * 700), b"", b"f" * 700]
hash_keys = [None, "7" * 39, "0", None]
records = tuple(map(lambda *each: SimpleNamespace(**dict(zip(("partition_key", "data", "explicit_hash_key"), each))),
                    keys, datas, hash_keys))
entry = {{"SequenceNumber": "4" * 56, "ShardId": "shardId-1"}}
reply = json.dumps({{"FailedRecordCount": 0, "Records": [entry] * 300, "More": "m" * 600}}).encode()
body = BodyWriter().write(records, b"<", b">")
answer = read_put_reply(reply, 300)
counts = [sys.getrefcount(each) for each in (*keys, *datas)]
calls = [lambda: BodyWriter().write(records, b"<", b">") == body, lambda: read_put_reply(reply, 300) == answer]
writer = BodyWriter()
calls.append(lambda: writer.write(records, b"<", b">") == body)

def attempt(call, n):
    failing_at.value = n
    try:
        return call()
    except MemoryError:
        return None
    finally:
        failing_at.value = 0

failures = 0
for call in calls:
    for n in itertools.count(1):
        failed.value = 0
        result = attempt(call, n)
        failures += failed.value > 0
        assert result or failed.value, (n, result)
        assert call()
        if not failed.value:
            break
assert counts == [sys.getrefcount(each) for each in (*keys, *datas)]
print(failures)
"""


def test_failed_allocations(failing):
    told = run(FAILED_CALLS.format(library=failing), LD_PRELOAD=failing, PYTHONMALLOC="malloc")
    assert int(told) > 300
