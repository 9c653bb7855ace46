"""What other threads do to a call that is under way, and how little stack a thread may have.

A crash would take the test run along, so each case has a process of its own.
"""

from __future__ import annotations

import pytest
from isolated import run

from shardpack._native import md5

LIST_OF_ANY_LENGTH = """
import hashlib, sys, threading
from shardpack import Aggregator, ShardMap, hash_keys

sys.setswitchinterval(1e-6)
SHORT, MORE = 1500, 2000
{lists}
done = False

def meddle(items):
    more = items[:1] * MORE
    while not done:
        items.extend(more)
        del items[SHORT:]

threads = [threading.Thread(target=meddle, args=[items], daemon=True) for items in ({moving}) for _ in range(2)]
for thread in threads:
    thread.start()
shard_map = ShardMap.uniform(4)
aggregator = Aggregator(shard_map, max_bytes=5000)
first = int(hashlib.md5(keys[0].encode()).hexdigest(), 16)
for _ in range({calls}):
    try:
        {call}
    except (RuntimeError, ValueError):  # it changed
        pass
done = True
for thread in threads:
    thread.join()
"""

KEYS = 'keys = ["y" * 200 + str(i) for i in range(SHORT)]'
DATAS = 'datas = [b"z" * 100 + b"%d" % i for i in range(SHORT)]'
EXPLICIT = "explicit = [i << 100 for i in range(SHORT)]"
MOVING = {  # lists, which of them move, and the call
    "hash_keys": (KEYS, "keys,", "assert hash_keys(keys)[0] == first"),
    "assign": (KEYS, "keys,", "assert shard_map.assign(keys)[0] == first >> 126"),
    "assign, explicit": (f"{KEYS}; {EXPLICIT}", "explicit,", "shard_map.assign(keys, explicit)"),
    "assign, both": (f"{KEYS}; {EXPLICIT}", "keys, explicit", "shard_map.assign(keys, explicit)"),
    "hash_keys, long": (f"SHORT = 3 << 17; {KEYS}", "keys,", "assert hash_keys(keys)[0] == first"),
    "assign, long": (f"SHORT = 3 << 17; {KEYS}", "keys,", "assert shard_map.assign(keys)[0] == first >> 126"),
    "add_many": (
        f"{KEYS}; {DATAS}; {EXPLICIT}",
        "keys, datas, explicit",
        "aggregator.add_many(keys, datas, explicit); aggregator.flush()",
    ),
}


@pytest.mark.parametrize("name", MOVING)
def test_lists_that_grow_and_shrink_in_other_threads(name):
    lists, moving, call = MOVING[name]
    calls = 4 if "long" in name else 5000
    code = LIST_OF_ANY_LENGTH.format(lists=lists, moving=moving, call=call, calls=calls)
    run(code, PYTHONMALLOC="debug")  # which tells when an array was written past its end


SMALL_STACK = """
import threading
from shardpack import (
    Aggregator, Limits, ShardMap, deaggregate, deaggregate_arrow, deaggregate_columns, hash_key, hash_keys,
    iter_deaggregate, pack,
)

def work():
    keys = [f"key-{i % 500}" for i in range(40_000)]
    datas = [b"data %d" % i if i % 7 else b"large" * 200 for i in range(40_000)]
    explicit = [i << 100 if i % 3 == 0 else None for i in range(40_000)]
    shard_map = ShardMap.uniform(16)
    assert len(hash_keys(keys)) == len(shard_map.assign(keys, explicit)) == 40_000
    assert hash_key(keys[0]) == hash_keys(keys)[0]
    shard_map.index_of(str(2**128 - 1))
    aggregator = Aggregator(shard_map, limits=Limits(), max_bytes=20_000)
    aggregator.add(keys[0], datas[0], explicit[0])
    aggregator.add_many(keys, datas, explicit)
    records = aggregator.take() + aggregator.flush()
    assert sum(len(request) for request in pack(records)) == len(records)
    blobs = [record.data for record in records]
    found = deaggregate(blobs)
    assert len(found) == 40_001
    assert sum(1 for _ in iter_deaggregate(blobs)) == 40_001
    columns = deaggregate_columns(blobs)
    assert len(columns) == 40_001
    assert columns.partition_keys
    deaggregate_arrow(blobs, zero_copy=True).__arrow_c_array__()
    repr(found[0]), found[0].data, found[0].partition_key, found[0].tags
    results.append(len(found))

results = []
threading.stack_size(48 * 1024)  # 64 KiB, of which callers have used some
thread = threading.Thread(target=work)
thread.start()
thread.join()
assert results == [40_001], results
"""


def test_every_call_runs_on_a_small_stack():
    run(SMALL_STACK)


SMALL_STACK_HASHING = """
import hashlib, threading
from shardpack import hash_keys
from shardpack._native.md5 import _md5_many

def work():
    assert list(hash_keys(keys)) == [int(hashlib.md5(key.encode()).hexdigest(), 16) for key in keys]
    assert _md5_many([b"x" * 100_000] * 40) == [hashlib.md5(b"x" * 100_000).digest()] * 40
    done.append(True)

keys, done = [f"key-{i}" * (1 + i % 20) for i in range(3000)], []
threading.stack_size(48 * 1024)  # 64 KiB, of which callers have used some
thread = threading.Thread(target=work)
thread.start()
thread.join()
assert done
"""


@pytest.mark.parametrize("kernel", md5._kernels())
def test_every_md5_kernel_runs_on_a_small_stack(kernel):
    run(SMALL_STACK_HASHING, SHARDPACK_MD5_KERNEL=kernel)
