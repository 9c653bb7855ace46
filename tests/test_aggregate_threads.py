"""Code that comes back into an Aggregator while it works: another thread, or a subclass's own methods.

It answers with an error, or works; it never crashes, never loses a record, never doubles one. A crash would take the
test run along, so each case has a process of its own.
"""

from __future__ import annotations

import pytest
from isolated import run

TWO_THREADS = """
import random, sys, threading
from shardpack import Aggregator, ShardMap

sys.setswitchinterval(1e-6)
aggregator = Aggregator(ShardMap.uniform(4), max_bytes=1000)
accepted, came_out = [], []

def work(name):
    choose = random.Random(name)
    for i in range(1200):
        step = choose.random()
        try:
            if step < 0.6:
                aggregator.add_many([f"{name}-{j}" for j in range(1200)], [b"%d" % j for j in range(1200)])
                accepted.append(1200)
            elif step < 0.7:
                aggregator.add(f"{name}-{i}", b"%d" % i)
                accepted.append(1)
            else:
                came_out.extend(aggregator.flush() if step < 0.8 else aggregator.take())
        except RuntimeError:
            pass

threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b", "c")]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
came_out.extend(aggregator.flush())
assert sum(record.user_record_count for record in came_out) == sum(accepted), "lost or doubled"
"""

CALLBACK = """
from shardpack import Aggregator, ShardMap

aggregator = Aggregator(ShardMap.uniform(1))
refused = []

def meddle():
    try:
        {meddling}
    except RuntimeError as error:
        refused.append(error)

class Number(int):
    def to_bytes(self, *arguments, **options):
        meddle()
        return int.to_bytes(self, *arguments, **options)

    def __le__(self, other):
        meddle()
        return int.__le__(self, other)

    __lt__ = __gt__ = __ge__ = __le__

class Text(str):
    def encode(self, *arguments):
        meddle()
        return str.encode(self, *arguments)

try:
    {call}
except (TypeError, ValueError, RuntimeError):
    pass
aggregator.flush()
"""


def test_two_threads_never_crash_it_nor_lose_a_record():
    run(TWO_THREADS)


@pytest.mark.parametrize("hash_key", ["Number(5)", "Text('5')"])
@pytest.mark.parametrize(
    "meddling",
    ["aggregator.add_many(['k'] * 50000, [b'd'] * 50000)", "aggregator.flush()", "aggregator.add('k', b'd', 7)"],
)
@pytest.mark.parametrize("call", ["add('key', b'data', HASH)", "add_many(['a', 'b'], [b'1', b'2'], [5, HASH])"])
def test_code_that_runs_inside_a_call_cannot_break_in(call, meddling, hash_key):
    run(CALLBACK.format(call="aggregator." + call.replace("HASH", hash_key), meddling=meddling))


def test_an_int_that_lies_about_its_bytes_is_read_for_what_it_is():
    run("""
from shardpack import hash_key

class Number(int):
    def to_bytes(self, *arguments, **options):
        return b""

assert hash_key("key", Number(5)) == 5
""")


LIST_THAT_CHANGES = """
import sys, threading
from shardpack import Aggregator, ShardMap, deaggregate

sys.setswitchinterval(1e-6)
keys, datas = ["k%d" % (i % 100) for i in range(50_000)], [b"fine"] * 50_000
aggregator = Aggregator(ShardMap.uniform(4))
done = False

def meddle():
    while not done:
        for item in ({spoilt}, {good}):
            for _ in range(300):
                {target}[-1] = item

thread = threading.Thread(target=meddle)
thread.start()
try:
    for _ in range(60):
        try:
            aggregator.add_many(keys, datas)
        except (TypeError, ValueError, RuntimeError):
            pass
        for record in aggregator.flush():
            assert all(user_record.data == b"fine" for user_record in deaggregate(record.data, strict=True))
finally:
    done = True
    thread.join()
"""


@pytest.mark.parametrize(
    ("target", "spoilt", "good"),
    [("datas", "1e300", "b'fine'"), ("datas", "bytes(2**20)", "b'fine'"), ("keys", "'x' * 70_000", "'k'")],
    ids=["another type", "too large", "key too long"],
)
def test_a_list_that_another_thread_changes(target, spoilt, good):
    """What was checked must be what is taken."""
    run(LIST_THAT_CHANGES.format(target=target, spoilt=spoilt, good=good))
