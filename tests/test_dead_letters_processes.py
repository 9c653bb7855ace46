"""Dead letters put by many at once, by those that fork, and by those that are killed."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from in_threads import in_threads
from isolated import run
from letters import kept, letter, numbered_batch, put_numbered

from shardpack import DeadLetterError, SQLiteDeadLetters

HERE = str(Path(__file__).parent)


# --- several at once ---


def assert_batches_are_whole(found, writers, batches, size=5):
    """Of each writer everything, in order, and nothing of another's inside a batch."""
    assert len(found) == writers * batches * size
    by_writer = {}
    for start in range(0, len(found), size):
        batch = found[start : start + size]
        assert len({letter.partition_key for letter in batch}) == 1
        by_writer.setdefault(batch[0].partition_key, []).extend(letter.data for letter in batch)
    assert len(by_writer) == writers
    for datas in by_writer.values():
        assert datas == [f"{batch}:{i}".encode() for batch in range(batches) for i in range(size)]


def test_threads_share_one(path, letters):
    numbers = iter(range(8))
    in_threads(8, lambda: put_numbered(letters, next(numbers), 20))
    assert_batches_are_whole(kept(path), 8, 20)


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from shardpack import SQLiteDeadLetters
from letters import put_numbered
with SQLiteDeadLetters(sys.argv[1]) as letters:
    put_numbered(letters, sys.argv[2], 30)
"""


def test_processes_share_a_file_that_all_of_them_make(path):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, str(n), HERE]) for n in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    assert_batches_are_whole(kept(path), 4, 30)


def test_many_may_open_a_new_file_at_once(path):
    def opened():
        with SQLiteDeadLetters(path) as letters:
            letters.put([letter()])

    in_threads(8, opened)
    assert len(kept(path)) == 8


def test_locked_for_too_long_is_said(path, letters):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with SQLiteDeadLetters(path, busy_timeout_s=0.01) as impatient:
        with pytest.raises(DeadLetterError, match=r"dead\.db: locked by others for more than 0\.01 s"):
            impatient.put([letter()])
        other.execute("ROLLBACK")
        other.close()
        impatient.put([letter()])
    assert len(letters) == 1


FORK = """
import os, sys, threading
sys.path.insert(0, {here!r})
from shardpack import SQLiteDeadLetters
from letters import put_numbered
letters = SQLiteDeadLetters({path!r})
others = [SQLiteDeadLetters({path!r}) for _ in range(2)]
shared = enumerate([letters, *others])
busy = [threading.Thread(target=put_numbered, args=(each, f"thread {{i}}", 60)) for i, each in shared]
for thread in busy:
    thread.start()
children = []
for n in range(6):
    pid = os.fork()
    if not pid:
        put_numbered(letters, f"child {{n}}", 60)
        os._exit(0)  # as a killed process does: nothing is closed
    children.append(pid)
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
for thread in busy:
    thread.join()
letters.close()
print(len(others[0]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_parent_and_children_go_on_after_a_fork(path):
    printed = run(FORK.format(path=str(path), here=HERE), PYTHONWARNINGS="ignore")
    assert printed == "2700\n"
    assert_batches_are_whole(kept(path), 9, 60)


CLOSED_BY_THE_PARENT = """
import os, sys
sys.path.insert(0, {here!r})
from shardpack import SQLiteDeadLetters
from letters import letter
letters = SQLiteDeadLetters({path!r})
letters.put([letter(1)])
(from_child, to_parent), (from_parent, to_child) = os.pipe(), os.pipe()
pid = os.fork()
if not pid:
    letters.put([letter(2)])
    os.write(to_parent, b".")
    os.read(from_parent, 1)
    letters.put([letter(3)])
    os._exit(0)
os.close(to_parent)
assert os.read(from_child, 1)
letters.put([letter(4)])
letters.close()
os.write(to_child, b".")
assert os.waitpid(pid, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_what_a_child_puts_is_kept_when_the_parent_closes(path):
    """Where a connection is carried over a fork, the child has no lock, and the parent deletes the log it writes to."""
    run(CLOSED_BY_THE_PARENT.format(path=str(path), here=HERE), PYTHONWARNINGS="ignore")
    assert sorted(each.data for each in kept(path)) == [b"1", b"2", b"3", b"4"]


# --- killed ---

PUTTING = """
import hashlib, os, sys
sys.path.insert(0, sys.argv[3])
from shardpack import SQLiteDeadLetters
from letters import numbered_batch
letters = SQLiteDeadLetters(sys.argv[1])
batch = int(sys.argv[2])
while True:
    letters.put(numbered_batch(batch))
    os.write(1, b"%d\\n" % batch)
    batch += 1
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_what_was_put_survives_kill_9_at_any_moment(path):
    moments = random.Random(9)
    batches = 0
    for _ in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", PUTTING, path, str(batches), HERE], stdout=subprocess.PIPE, bufsize=0
        )
        first = process.stdout.readline()  # it has begun
        threading.Event().wait(moments.uniform(0, 0.06))
        process.kill()
        reported = int((first + process.stdout.read()).splitlines()[-1])
        process.stdout.close()
        process.wait()
        found = kept(path)
        at = batches = 0
        while at < len(found):  # every batch that is there is whole and in its place
            batch = numbered_batch(batches)
            assert found[at : at + len(batch)] == batch
            at += len(batch)
            batches += 1
        assert reported <= batches - 1 <= reported + 1  # the last one may be put and not yet reported
