"""What an Inbox does where allocations fail: nothing is lost, doubled or out of order, and it goes on."""

from __future__ import annotations

import pytest
from isolated import run

FAILED_CALLS = """
import ctypes, itertools, sys
from shardpack import ShardMap, deaggregate
from shardpack._native.inbox import Inbox

library = ctypes.CDLL({library!r})
failing_at = ctypes.c_long.in_dll(library, "failing_at")
failed = ctypes.c_long.in_dll(library, "failed")
EVERYTHING = 2**64 - 1
N = 3000
# larger than what Python takes from its own arenas, so that each comes from malloc
keys = [f"{{'k' * (i % 9)}}-{{i % 300}}" for i in range(N)]
datas = [b"%d:" % i + b"x" * (900 if i % 11 == 0 else i % 300) for i in range(N)]
explicit = [i << 109 if i % 4 == 0 else None for i in range(N)]
maps = [ShardMap.uniform(count) for count in (7, 3, 5)]
counts = [sys.getrefcount(data) for data in datas]

def attempt(call, n):
    "Whether the call ended well though its n-th allocation failed."
    failing_at.value = n
    try:
        return call() or True
    except MemoryError:
        return None
    finally:
        failing_at.value = 0

class Until:
    "Calls whose n-th allocation fails, made until they end well; then one further on fails."
    def __init__(self, n):
        self.n = n
    def __call__(self, call):
        while (answer := attempt(call, self.n)) is None:
            self.n += {step}
        return answer

def route_anew(inbox, buckets, shard_map, until):
    "As the pump does."
    def step():
        if inbox.is_rerouting:
            inbox.go_on_rerouting()
        else:
            inbox.reroute(buckets, shard_map._table, {most})
    until(step)

def some(answer):
    return [] if answer is True else answer

def number(record):
    return int(record.data.split(b":")[0])

failures = 0
for n in itertools.count({first}, {step}):
    failed.value = 0
    until = Until(n)
    inbox = Inbox(maps[0]._table, max_record_bytes=1 << 20, max_bytes=30_000, max_records={most})
    until(lambda: inbox.put_many(keys[:1000], datas[:1000], explicit[:1000]))
    for i in range(1000, 1200):
        until(lambda: inbox.put(keys[i], datas[i], explicit[i]))
    until(inbox.gather)
    out = some(until(lambda: inbox.take(500)))  # in the scheduler's lanes
    until(lambda: inbox.put_many(keys[1200:2000], datas[1200:2000], explicit[1200:2000]))
    for shard_map in maps[1:]:
        until(inbox.gather)
        waiting = some(until(lambda: inbox.take(EVERYTHING)))
        route_anew(inbox, out, shard_map, until)
        out = some(until(lambda: inbox.take(EVERYTHING)))
        route_anew(inbox, waiting, shard_map, until)
    until(lambda: inbox.put_many(keys[2000:], datas[2000:], explicit[2000:]))
    until(inbox.gather)
    out += some(until(lambda: inbox.take(EVERYTHING)))
    records = some(until(lambda: inbox.seal(out)))
    failures += failed.value
    taken = {{index: [] for index in range(5)}}
    for bucket, record in zip(out, records, strict=True):
        parts = deaggregate(record.data) if record.user_record_count > 1 else [record]
        numbers = [number(part) for part in parts]
        assert bucket.tokens().tolist() == numbers, n
        taken[record.shard_index] += numbers
    places = maps[-1].assign(keys, explicit)
    for index, numbers in taken.items():
        assert sorted(numbers) == [i for i in range(N) if places[i] == index], (n, index)
        last = {{}}
        for i in numbers:
            assert last.get((keys[i], explicit[i]), -1) < i, (n, index, "out of order")
            last[keys[i], explicit[i]] = i
    del inbox, out, waiting, records, record, parts, bucket
    assert [sys.getrefcount(data) for data in datas] == counts, n
    if failed.value == 0:
        break
assert failures > 20, failures
"""


@pytest.mark.parametrize(("first", "step", "most"), [(1, 3, 3000), (2, 5, 3000), (1, 41, 1), (7, 43, 1)])
def test_a_failed_allocation_loses_doubles_and_reorders_nothing(failing, first, step, most):
    run(FAILED_CALLS.format(library=failing, first=first, step=step, most=most), LD_PRELOAD=failing)
