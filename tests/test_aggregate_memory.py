"""What an Aggregator keeps, and what happens when there is no more: bounds, and failing allocations."""

from __future__ import annotations

import pytest
from isolated import run

MIB = 2**20
KEPT = 128
"""MiB that the docstring allows an Aggregator to keep."""

MEASURED = """
import gc
from shardpack import Aggregator, ShardMap

MIB = 2**20

from process_memory import memory

shards = 512
shard_map = ShardMap.uniform(shards)
first_keys = [shard.starting_hash_key for shard in shard_map]
aggregator = Aggregator(shard_map)
keys, datas = [f"key-{i}" for i in range(100_000)], [b"x"] * 100_000
aggregator.add_many(keys[:5000], datas[:5000])
aggregator.flush()
before = memory()
"""

BURSTS = """
for _ in range(3):
    for _ in range(20):
        aggregator.add_many(keys, datas)
    assert sum(record.user_record_count for record in aggregator.flush()) == 20 * len(keys)
print(memory() - before)
"""

ONE_BURST = """
for _ in range(50):
    aggregator.add_many(keys, datas)
assert sum(record.user_record_count for record in aggregator.flush()) == 50 * len(keys)
print(memory() - before)
"""

HELD_BY_SHARDS = """
# large buckets somewhere else each time, and then a few records elsewhere: whose buckets are the large ones?
large, few = [b"y" * 500] * 2000, 24
for start in range(0, shards, few):
    for i in range(few):
        aggregator.add_many(keys[:2000], large, [first_keys[(start + i) % shards]] * 2000)
    aggregator.flush()
    aggregator.add_many(["k"] * few, [b""] * few, [first_keys[(start + few + i) % shards] for i in range(few)])
    assert len(aggregator.flush()) == few
print(memory() - before)
"""

WAITING = """
# 2 million records in one call, explicit hash keys and all, then hardly any
aggregator.add_many(keys * 20, datas * 20, first_keys[:500] * 4000)
aggregator.flush()
print(memory() - before)
"""


@pytest.mark.parametrize("burst", [ONE_BURST, BURSTS, HELD_BY_SHARDS, WAITING])
def test_what_is_kept_after_a_burst_is_bounded(burst):
    kept = int(run(MEASURED + burst, MALLOC_TRIM_THRESHOLD_="0"))  # what was freed is gone at once
    assert kept <= (KEPT + 8) * MIB, f"{kept / MIB:.0f} MiB"  # and what Python and its allocator keep


VERY_MANY = """
n, most, call = 300_000, {most}, {call}
keys, datas = [f"key-{{i % 5000}}" for i in range(n)], [b"%d" % i for i in range(n)]
aggregator = Aggregator(shard_map, max_records=most)
before = memory()
found = []
for start in range(0, n, call):
    aggregator.add_many(keys[start:start + call], datas[start:start + call])
    found += aggregator.take()
found += aggregator.flush()
print(memory("VmHWM") - before)
assert len(found) >= n // most
if most == 1:
    last = {{}}
    for record in found:
        assert last.get(record.shard_index, -1) < int(record.data), "out of order"
        last[record.shard_index] = int(record.data)
    assert sorted(int(record.data) for record in found) == list(range(n)), "lost or doubled"
    assert all(record.partition_key == keys[int(record.data)] for record in found)
else:
    assert sum(record.user_record_count for record in found) == n
"""


@pytest.mark.parametrize("most", [1, 2])
def test_one_call_of_very_many_small_records_routes_and_seals_as_it_goes(most):
    """Beside what comes out, memory is for what waits (some bytes a record) and for some full buckets."""
    at_once, in_turn = (int(run(MEASURED + VERY_MANY.format(most=most, call=n))) for n in (300_000, 10_000))
    assert at_once - in_turn <= 32 * MIB, f"{at_once / MIB:.0f} MiB beside {in_turn / MIB:.0f}"


# --- when allocations fail ---

FAILED_CALLS = """
import ctypes, itertools, sys
from shardpack import Aggregator, ShardMap, deaggregate
if {compression!r}:
    from shardpack.codec import zstd_zstandard
    zstd_zstandard.MANY_AT_ONCE = False  # zstandard 0.25 aborts where malloc fails in such a turn

library = ctypes.CDLL({library!r})
failing_at = ctypes.c_long.in_dll(library, "failing_at")
failed = ctypes.c_long.in_dll(library, "failed")
# larger than what Python takes from its own arenas, so that each comes from malloc
keys = [f"{{'k' * (i % 9)}}-{{i % 700}}" for i in range(5000)]
datas = [b"%d:" % i + b"x" * (900 if i % 11 == 0 else i % 300) for i in range(5000)]
explicit = [i << 109 if i % 4 == 0 else None for i in range(5000)]
shard_map = ShardMap.uniform(7)
counts = [sys.getrefcount(data) for data in datas]

def attempt(call, n):
    "Whether the call ended well though its n-th allocation failed."
    failing_at.value = n
    try:
        return call()
    except MemoryError:
        return None
    finally:
        failing_at.value = 0

def number(record):
    return int(record.data.split(b":")[0])

failures = 0
for n in itertools.count({first}, {step}):
    aggregator, out = Aggregator(shard_map, max_bytes=30_000, max_records={most}, compression={compression!r}), []
    aggregator.add_many(keys[:2000], datas[:2000])  # none with an explicit hash key
    failed.value = 0
    while attempt(lambda: aggregator.add_many(keys[2000:], datas[2000:], explicit[2000:]) or True, n) is None:
        n += {step}
        out += aggregator.take()
    for call in (aggregator.take, aggregator.flush, aggregator.flush):
        while (records := attempt(call, n)) is None:
            n += {step}
        out += records
    failures += failed.value
    taken = {{index: [] for index in range(7)}}
    for record in out:
        compressed = record.data.startswith(bytes.fromhex("f553505a"))
        parts = deaggregate(record.data) if record.user_record_count > 1 or compressed else [record]
        taken[record.shard_index] += [number(part) for part in parts]
    places = shard_map.assign(keys, [None] * 2000 + explicit[2000:])
    for index, numbers in taken.items():
        assert numbers == [i for i in range(5000) if places[i] == index], (n, index)
    del aggregator, out, records, record, parts
    assert [sys.getrefcount(data) for data in datas] == counts, n
    if failed.value == 0:
        break
assert failures > 20, failures
"""


@pytest.mark.parametrize(
    ("first", "step", "most", "compression"),
    [
        (1, 3, 5000, None),
        (2, 3, 5000, None),
        (3, 3, 5000, None),
        (1, 101, 1, None),
        (7, 103, 1, None),
        (1, 5, 5000, "zstd"),
        (3, 5, 5000, "zstd"),
    ],
)
def test_a_failed_allocation_loses_and_doubles_nothing(failing, first, step, most, compression):
    code = FAILED_CALLS.format(library=failing, first=first, step=step, most=most, compression=compression)
    run(code, LD_PRELOAD=failing)


KEPT_COMPRESSED = """
aggregator = Aggregator(shard_map, compression="zstd")
import random
words = [random.Random(i).randbytes(6).hex() for i in range(300)]
texts = [" ".join(random.Random(i).choices(words, k=12)).encode() for i in range(20_000)]
for _ in range(10):
    aggregator.add_many(keys[:20_000], texts, [first_keys[7]] * 20_000)
aggregator.flush()
print(memory() - before)
"""


def test_what_is_kept_to_compress_is_bounded():
    kept = int(run(MEASURED + KEPT_COMPRESSED, MALLOC_TRIM_THRESHOLD_="0"))
    assert kept <= (17 + 8 + 8) * MIB, f"{kept / MIB:.0f} MiB"  # and the texts
