"""Redrives that are killed, wherever they are: nothing is lost, no key out of order, a batch at most comes twice."""

from __future__ import annotations

import random
import signal
import sys
from contextlib import contextmanager

import pytest
from isolated import python_with_pipes
from letters import letter

from shardpack import SQLiteDeadLetters
from shardpack.dead_letters import KinesisDeadLetters, S3DeadLetters
from shardpack.dead_letters.remote.s3_lock import NAME as LOCK
from shardpack.testing import history

LETTERS, KEYS, BATCH, KILLS = 900, 20, 50, 12

REDRIVE = """
import os, signal, sys, traceback
import letters, shardpack.dead_letters.remote.draining, shardpack.dead_letters.remote.s3
from shardpack import redrive, sending_to
from shardpack.cli.redrive_source import opened
from shardpack.dead_letters import Drained
from shardpack.testing.local_kinesis import LocalKinesis

source, via, stream, endpoint = sys.argv[1:]
kinesis = object.__new__(LocalKinesis)
kinesis._clients, kinesis.endpoint_url = [], endpoint
clients = {"kinesis": kinesis.client(), "s3": letters.s3_client(kinesis)}
HERE = shardpack.dead_letters.__path__[0]
CHANGING = {"_change", "_transaction", "_write", "_put", "_changing", "remove", "settle"}

def is_here(frame):
    code = frame.f_code
    return code.co_filename.startswith(HERE) and (where == "anywhere" or code.co_name in CHANGING)

def count(frame, event, what):  # of every call, C's too, that dead_letters makes or is made, and of every return
    global left
    if is_here(frame) or (frame.f_back is not None and is_here(frame.f_back)):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

def go():
    with sending_to(stream, client=clients["kinesis"]) as send:
        sys.setprofile(count)
        with opened(source, via or None, clients.get, Drained(), lambda: False) as found:
            redrive(found, send, max_letters=50)
        sys.setprofile(None)

for line in sys.stdin:  # a process each, which has nothing of the others: so far nothing is open, no thread runs
    after, where = line.split()
    left = int(after)
    if not (child := os.fork()):
        try:
            go()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@contextmanager
def redriving(*arguments):
    """Have a function that redrives in a process of its own, killed after so many calls; it returns the exit code."""
    with python_with_pipes("-c", REDRIVE, *arguments) as process:

        def redrive(after: int, where: str) -> int:
            process.stdin.write(f"{after} {where}\n")
            process.stdin.flush()
            return int(process.stdout.readline() or 1)

        yield redrive


def put(kind, letters, path, client, bucket, s3, local_kinesis):  # noqa: PLR0917
    """Put letters where they are redriven from; return what is said of that, and the file they go through."""
    if kind == "sqlite":
        sink, source, via = SQLiteDeadLetters(path), str(path), ""
    elif kind == "s3":
        sink, source, via = S3DeadLetters(bucket, "dead", s3), f"s3://{bucket}/dead", ""
    else:
        local_kinesis.create_stream(bucket, 2)
        sink, source, via = KinesisDeadLetters(bucket, client), f"kinesis://{bucket}", str(path)
    for first in range(0, LETTERS, 90):
        sink.put(letters[first : first + 90])
    if kind == "sqlite":
        sink.close()
    return source, via


@pytest.mark.skipif(sys.platform == "win32", reason="no kill -9 here")
@pytest.mark.parametrize(("kind", "most"), [("sqlite", 25_000), ("s3", 40_000), ("kinesis", 55_000)])
def test_nothing_is_lost_nor_out_of_order(  # noqa: PLR0917
    kind, most, path, client, stream, bucket, s3, local_kinesis
):
    """``most`` is a sixth of what is counted of a redrive that nobody kills."""
    chance = random.Random(kind)
    letters = [letter(data=b"%d" % n, key=f"key-{n % KEYS}", stream=stream) for n in range(LETTERS)]
    letters[300] = letter(data=bytes(2**20 - 100), key="key-0", stream=stream)  # which is two records of a stream
    source, via = put(kind, letters, path, client, bucket, s3, local_kinesis)
    kills = 0
    with redriving(source, via, stream, local_kinesis.endpoint_url) as redrive:
        while True:
            where = chance.choice(["anywhere", "changing"])
            after = 10**9 if kills == KILLS else chance.randrange(1, most if where == "anywhere" else 1000)
            ended = redrive(after, where)
            if ended == 0:
                break
            assert ended == -signal.SIGKILL  # else it has said why
            if kind == "s3":  # whose lock stands for a minute else
                s3.delete_object(Bucket=bucket, Key=f"dead/{LOCK}")
            kills += 1
    assert kills > KILLS // 2
    puts = [history.Put(each.partition_key, each.data) for each in letters]
    shards = history.read_all(client, stream, kcl_rule=True)
    report = history.check(puts, shards, killed=True)
    assert set(report.defects) <= {"duplicated"}, str(report)
    assert {record.data for shard in shards for record in shard.records} == {each.data for each in letters}
    assert report.duplicates <= kills * BATCH
