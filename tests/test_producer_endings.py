"""How a producer ends, whatever else ends: closing, exit, signals, kill -9, forks, callbacks that fail."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
import weakref
from pathlib import Path

import pytest
from isolated import run
from shards_in_lists import Shards

from shardpack import SQLiteDeadLetters
from shardpack.errors import BufferFullError, DeliveryError, ProducerClosedError
from shardpack.producer.producer import Producer
from shardpack.testing import FaultProxy, history
from shardpack.testing.faults import RefuseEntries, Reset
from shardpack.transport import Failed

TESTS = str(Path(__file__).parent)


def values(transport):
    return sorted(int(record.data) for record in transport.user_records())


def put_all(producer, n):
    return [producer.put(f"device-{i % 50}", b"%d" % i) for i in range(n)]


# --- callbacks ---


def test_callbacks_that_end_their_thread_end_nothing():
    class Sink:
        def put(self, _letters):
            raise SystemExit

    def on_settled(_records):
        raise KeyboardInterrupt

    def fail(entries):
        return [Failed("Refused", "told") for _ in entries] if entries[0].data == b"refused" else None

    with Producer(transport=Shards(1, fail=fail), linger_ms=0, on_settled=on_settled, dead_letters=Sink()) as producer:
        receipts = []
        for data in (b"1", b"refused", b"3"):
            receipts.append(producer.put("a", data))
            producer.flush(10)
        assert receipts[2].result(0).sequence_number == "2"
        with pytest.raises(DeliveryError):
            receipts[1].result(0)


def test_what_a_callback_may_call():
    transport, told = Shards(), []

    def on_settled(records):
        told.extend(records)
        if len(told) == 1:
            receipts.append(producer.put("a", b"1"))
            while producer._inbox.buffered < 10_000:
                receipts.append(producer.put("a", b"1"))
            with pytest.raises(BufferFullError):  # there is more room only once this returns
                producer.put("a", b"1")
            with pytest.raises(RuntimeError, match="itself"):
                producer.flush()
            producer.close()
            with pytest.raises(ProducerClosedError):
                producer.put("a", b"1")

    receipts = []
    producer = Producer(transport=transport, linger_ms=1, max_buffered_bytes=10_000, on_settled=on_settled)
    receipts.append(producer.put("a", b"1"))
    receipts[0].result(10)
    producer._pump._thread.join(10)
    assert all(receipt.done() for receipt in receipts)
    assert len(transport.user_records()) == len(receipts) > 50


# --- closing ---


def test_whoever_closes_waits_until_it_is_done():
    transport = Shards()
    transport.gate.clear()
    producer = Producer(transport=transport, linger_ms=1)
    receipts = put_all(producer, 100)
    done = []

    def close():
        producer.close()
        done.append(all(receipt.done() for receipt in receipts))

    threads = [threading.Thread(target=close) for _ in range(4)]
    for thread in threads:
        thread.start()
    transport.gate.set()
    for thread in threads:
        thread.join()
    producer.close()
    assert done == [True] * 4
    assert values(transport) == list(range(100))


def test_closing_wakes_those_who_wait_for_room():
    transport = Shards()
    transport.gate.clear()
    producer = Producer(transport=transport, linger_ms=1, max_buffered_bytes=100, close_timeout_s=20)
    raised = []

    def put():
        try:
            for _ in range(10):
                producer.put("a", b"x" * 100)
        except ProducerClosedError as error:
            raised.append(error)
            transport.gate.set()

    threads = [threading.Thread(target=put) for _ in range(3)]
    for thread in threads:
        thread.start()
    while producer.stats(shards=False).buffered_bytes < 100:
        time.sleep(0.001)
    producer.close()
    for thread in threads:
        thread.join()
    assert len(raised) == 3
    assert producer.stats().user_records_stored == len(transport.user_records()) >= 1


@pytest.mark.usefixtures("small_heap")
def test_a_producer_that_is_nobodys_any_more_delivers_and_ends():
    transport = Shards()
    producer = Producer(transport=transport, linger_ms=60_000)
    receipt, pump = producer.put("a", b"1"), weakref.ref(producer._pump)
    thread = producer._pump._thread
    del producer
    gc.collect()
    assert receipt.result(10).sequence_number == "1"
    thread.join(10)
    assert not thread.is_alive()
    del receipt, thread
    deadline = time.monotonic() + 10
    while pump() is not None and time.monotonic() < deadline:  # threads that made calls are about to end
        time.sleep(0.01)
        gc.collect()
    assert pump() is None


@pytest.mark.parametrize("which", ["shardpack-pump", "shardpack-call"])
def test_threads_that_cannot_be_started(monkeypatch, which):
    start = threading.Thread.start

    def refuse(thread):
        if thread.name.startswith(which):
            raise RuntimeError("can't start new thread")
        start(thread)

    transport = Shards()
    with Producer(transport=transport, linger_ms=1) as producer:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        if which == "shardpack-pump":
            for _ in range(2):
                with pytest.raises(RuntimeError):
                    producer.put("a", b"0")
            monkeypatch.undo()
        put_all(producer, 10)
    assert values(transport) == list(range(10))


# --- the end of the interpreter ---

EXIT = """
import atexit, sys, threading, time
sys.path.insert(0, {tests!r})
taken = []

@atexit.register  # before the library's own, so it is called after it
def check():
    stored = sorted(int(record.data) for record in transport.user_records())
    assert stored[:len(taken)] == taken == list(range(len(taken)))
    assert len(stored) <= len(taken) + 1  # a signal may come before the last was noted
    print("all", len(taken) > 0)

from shards_in_lists import Shards
from shardpack.errors import ProducerClosedError
from shardpack.producer.producer import Producer
transport = Shards()

def producer(**options):
    return Producer(transport=transport, **{{"linger_ms": 60_000, **options}})

def put(producer, count=1000):
    for i in range(len(taken), len(taken) + count):
        producer.put(f"{{i % 9}}", b"%d" % i)
        taken.append(i)

"""

ENDINGS = {
    "an exception": "put(producer())\nraise SystemExit(0)",
    "another producer": "p = [producer() for _ in range(3)]\nfor each in p: put(each)",
    "nobody's": "put(producer())\nimport gc; gc.collect()",
    "closed on a daemon thread meanwhile": (
        "transport.gate.clear(); p = producer(); put(p)\n"
        "threading.Thread(target=p.close, daemon=True).start()\n"
        "while not p._closed: time.sleep(0.001)\n"
        "threading.Timer(0.2, transport.gate.set).start()"
    ),
    "a thread that exits": "p = producer()\nthreading.Thread(target=lambda: (put(p), sys.exit(1))).start()",
    "put at exit": "p = producer()\natexit.register(put, p)",
    "first put at exit, another time": "p = producer(); put(p); p.flush()\natexit.register(put, p)",
    "interrupted while it closes": (
        "import _thread, signal\n"
        "transport.gate.clear(); p = producer(); put(p)\n"
        "threading.Timer(0.2, signal.raise_signal, [signal.SIGINT]).start()\n"
        "threading.Timer(0.5, transport.gate.set).start()\n"
        "try: p.close()\n"
        "except KeyboardInterrupt: pass\n"
    ),
    "SIGTERM": (
        "import os, signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGTERM]).start()\n"
        "with producer(linger_ms=1) as p:\n"
        "    while True: put(p)\n"
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_was_taken_is_delivered_at_exit(ending):
    assert run(EXIT.format(tests=TESTS) + ENDINGS[ending]) == "all True\n"


def test_daemon_threads_that_go_on_putting_at_exit():
    code = (
        "def go_on():\n"
        "    try:\n"
        "        while True: put(p, 1)\n"
        "    except ProducerClosedError: closed.set()\n"
        "closed, p = threading.Event(), producer(linger_ms=1)\n"
        "threading.Thread(target=go_on, daemon=True).start()\n"
        "atexit.unregister(check)\n"
        "time.sleep(0.2)\n"
        "@atexit.register\n"
        "def last(): pass\n"
    )
    after = "import atexit\n@atexit.register\ndef late():\n    closed.wait(10); check()\n"
    assert run(after + EXIT.format(tests=TESTS) + code) == "all True\n"


def test_producers_whose_server_never_answers_have_their_time_side_by_side():
    code = (
        "atexit.unregister(check)\n"
        "transport.gate.clear()\n"
        "from shardpack.producer.pump import Pump\n"
        "stop, given = Pump.stop, []\n"
        "Pump.stop = lambda pump, timeout: (given.append(timeout), stop(pump, timeout))\n"
        "p = [producer(linger_ms=1, close_timeout_s=0.5) for _ in range(8)]\n"
        "for each in p: put(each, 100)\n"
    )
    after = (
        "import atexit\n@atexit.register\ndef late():\n"
        "    print(len(given), sum(given) <= 0.5, {each.stats().user_records_pending for each in p})\n"
    )
    assert run(after + EXIT.format(tests=TESTS) + code) == "8 True {0}\n"


# --- kill -9 ---

KILLED = """
import os, sys
import boto3
from botocore.config import Config
from shardpack import SQLiteDeadLetters
from shardpack.producer.producer import Producer

stream, endpoint, letters = sys.argv[1:]

def on_settled(settled):
    for each in settled:
        what = each.settlement.status.name
        os.write(1, b"".join(b"%s %s\\n" % (what.encode(), data) for _, data, _ in each.user_records()))

client = boto3.client("kinesis", endpoint_url=endpoint, config=Config(retries={"total_max_attempts": 1}))
producer = Producer(stream, client=client, linger_ms=5, max_aggregate_records=20, on_settled=on_settled,
    dead_letters=SQLiteDeadLetters(letters), max_buffered_bytes=20_000, receipts=False)
i = 0
while True:
    producer.put(f"{i % 40}", b"%d/%d" % (os.getpid(), i))
    i += 1
"""


def test_what_was_reported_outlives_kill_9(local_kinesis, command_environment, tmp_path):
    local_kinesis.create_stream(stream := f"killed-{uuid.uuid4()}", 4)
    told: dict[str, set[bytes]] = {"STORED": set(), "NOT_STORED": set(), "UNKNOWN": set()}
    chance = random.Random(4)
    faults = [
        RefuseEntries(share=0.2, code="InvalidArgumentException", operations="PutRecords"),
        RefuseEntries(share=0.1, operations="PutRecords"),
        Reset("after", probability=0.05, operations="PutRecords"),
    ]
    with FaultProxy(local_kinesis.endpoint_url, seed=4, faults=faults) as proxy:
        for _ in range(int(os.environ.get("SHARDPACK_KILLS", "4"))):
            command = [sys.executable, "-c", KILLED, stream, proxy.endpoint_url, tmp_path / "letters"]
            with subprocess.Popen(
                command, env=command_environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            ) as process:
                assert process.stdout is not None
                lines = [process.stdout.readline()]
                time.sleep(chance.random() * 0.4)
                process.send_signal(signal.SIGKILL)
                lines += process.stdout.readlines()
            assert process.returncode == -signal.SIGKILL
            for line in lines:
                what, _, data = line.rstrip(b"\n").partition(b" ")
                if line.endswith(b"\n"):
                    told[what.decode()].add(data)
    shards = history.read_all(local_kinesis.client(), stream, kcl_rule=True)
    there = {record.data for shard in shards for record in shard.records}
    with SQLiteDeadLetters(tmp_path / "letters") as letters:
        kept = {letter.data: letter.maybe_stored for _, letter in letters}
    assert told["STORED"]
    assert told["NOT_STORED"]
    assert told["STORED"] <= there
    assert told["NOT_STORED"] <= {data for data, maybe_stored in kept.items() if not maybe_stored}
    assert told["UNKNOWN"] <= {data for data, maybe_stored in kept.items() if maybe_stored}
    assert not {data for data, maybe_stored in kept.items() if not maybe_stored} & there


# --- forks ---

FORKS = """
import os, random, sys, threading, time, warnings
import boto3
from shardpack.producer.producer import Producer
warnings.simplefilter("ignore")  # that there are threads
producer = Producer(sys.argv[1], client=boto3.client("kinesis", endpoint_url=sys.argv[2]), linger_ms=2,
    max_buffered_bytes=30_000, close_timeout_s=20)
stop, counts = threading.Event(), [0, 0, 0]

def work(number):
    while not stop.is_set():
        producer.put(f"parent-{number}", b"%d/%d" % (number, counts[number]))
        counts[number] += 1
        if counts[number] % 50 == 0: time.sleep(0.01)

def flush():
    while not stop.is_set(): producer.flush()

threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
threads.append(threading.Thread(target=flush))
for thread in threads: thread.start()
chance, children = random.Random(1), []
for child in range(6):
    time.sleep(chance.random() * 0.1)
    pid = os.fork()
    if not pid:
        stop.set()
        receipts = [producer.put(f"child-{child}", b"child %d/%d" % (child, i)) for i in range(child * 20)]
        if child % 2: producer.flush(15)
        producer.close()
        where = [receipt.result(0) for receipt in receipts]
        os._exit(0 if producer.stats().user_records_stored == child * 20 else 1)
    children.append(pid)
assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 6
stop.set()
for thread in threads: thread.join()
closing = threading.Thread(target=producer.close)
closing.start()
pid = os.fork()  # while it closes
if not pid:
    producer.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
closing.join()
assert producer.stats().user_records_stored == sum(counts)
print(sum(counts))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_forks_while_others_put_and_flush(local_kinesis, command_environment):
    local_kinesis.create_stream(stream := f"forks-{uuid.uuid4()}", 4)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", FORKS, stream, local_kinesis.endpoint_url],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=command_environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [record.data for s in history.read_all(local_kinesis.client(), stream) for record in s.records]
    assert len(found) == len(set(found)) == int(done.stdout) + sum(child * 20 for child in range(6))


def test_a_first_call_imports_nothing_that_a_fork_could_be_caught_in():
    """The lock of a module that a thread imports while another forks is held for ever in the child."""
    first_call = "socket.getaddrinfo('localhost', 1)\nprint(set(sys.modules) - before)"
    assert run(f"import shardpack.transport.boto3, socket, sys\nbefore = set(sys.modules)\n{first_call}") == "set()\n"
