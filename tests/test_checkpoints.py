"""Checkpoints and their stores: what every store promises, and what that in a file does."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from multiprocessing import get_context

import pytest

from shardpack import SQLiteDeadLetters
from shardpack.consume.stream.checkpoints import (
    Checkpoint,
    CheckpointError,
    CheckpointMovedBackError,
    CheckpointsInUseError,
    CheckpointsLostError,
    MemoryCheckpoints,
)
from shardpack.consume.stream.dynamodb_checkpoints import DynamoDBCheckpoints
from shardpack.consume.stream.shards import ListedShard
from shardpack.consume.stream.sqlite_checkpoints import SQLiteCheckpoints

ONE, TWO = ListedShard("shardId-000000000001", 0, 2**127 - 1), ListedShard("shardId-000000000002", 2**127, 2**128 - 1)
ORDER = [
    Checkpoint("TRIM_HORIZON"),
    Checkpoint("9", -1),
    Checkpoint("9"),
    Checkpoint("9", 1),
    Checkpoint("10"),
    Checkpoint("49590338271490256608559692538361571095921575989136588898", 3),
    Checkpoint("SHARD_END"),
]


@pytest.fixture(params=["memory", "sqlite", "dynamodb"])
def store(request, tmp_path, dynamodb):
    if request.param == "memory":
        yield MemoryCheckpoints()
    elif request.param == "sqlite":
        with SQLiteCheckpoints(tmp_path / "checkpoints.db") as checkpoints:
            yield checkpoints
    else:
        name = f"store-{request.node.name.partition('[')[0]}"
        yield DynamoDBCheckpoints(name, client=dynamodb, create=True, lease_s=0.2)


def kept(store) -> dict[str, Checkpoint]:
    return {one.shard_id: one.checkpoint for one in store.kept()}


# --- a checkpoint ---


def test_order():
    for place, one in enumerate(ORDER):
        assert [one.is_after(other) for other in ORDER] == [place > other for other in range(len(ORDER))]


def test_shards_of_which_nothing_is_handled_are_at_one_position():
    for name in ("TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"):
        for other in ("TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"):
            assert not Checkpoint(name).is_after(Checkpoint(other))
        assert Checkpoint("0").is_after(Checkpoint(name))


@pytest.mark.parametrize("number", ["", "-1", "1.0", "AFTER", "٣", "trim_horizon", 7, None])
def test_what_is_no_position(number):
    with pytest.raises(ValueError, match="is no sequence number, nor one of TRIM_HORIZON"):
        Checkpoint(number)


@pytest.mark.parametrize("sub", [-2, 2**63])
def test_bounds_of_sub_sequence_numbers(sub):
    Checkpoint("1", max(-1, min(sub, 2**63 - 1)))
    with pytest.raises(ValueError, match=r"is not in -1 … 2\*\*63 - 1"):
        Checkpoint("1", sub)


# --- every store ---


def test_what_is_written_is_there_for_the_next_reader(store):
    assert store.claim("s", "a") == {}
    store.begin({ONE: Checkpoint("TRIM_HORIZON"), TWO: Checkpoint("LATEST", read_up_to=1.5)})
    store.write({ONE.shard_id: Checkpoint("49590338271490256608559692538361571095921575989136588898", 7, 1234.25)})
    store.release()
    expected = {
        ONE.shard_id: Checkpoint("49590338271490256608559692538361571095921575989136588898", 7, 1234.25),
        TWO.shard_id: Checkpoint("LATEST", read_up_to=1.5),
    }
    assert store.claim("s", "b") == expected == kept(store)
    assert {one.owner for one in store.kept()} == {"b"}


def test_a_shard_that_is_there_stays_as_it_is(store):
    store.claim("s", "a")
    store.begin({ONE: Checkpoint("TRIM_HORIZON")})
    store.write({ONE.shard_id: Checkpoint("5")})
    store.begin({ONE: Checkpoint("LATEST", read_up_to=9.0), TWO: Checkpoint("TRIM_HORIZON")})
    assert kept(store) == {ONE.shard_id: Checkpoint("5"), TWO.shard_id: Checkpoint("TRIM_HORIZON")}


def test_checkpoints_never_move_back(store):
    store.claim("s", "a")
    store.begin({ONE: Checkpoint("LATEST", read_up_to=3.0)})
    with pytest.raises(CheckpointMovedBackError, match=r"shardId-0+1: TRIM_HORIZON is not after .*, LATEST"):
        store.write({ONE.shard_id: Checkpoint("TRIM_HORIZON")})
    for place, one in enumerate(ORDER[1:], 1):
        store.write({ONE.shard_id: one})
        store.write({ONE.shard_id: one})
        for before in ORDER[:place]:
            with pytest.raises(CheckpointMovedBackError, match="is not after the checkpoint that is kept"):
                store.write({ONE.shard_id: before})
        assert kept(store) == {ONE.shard_id: one}


def test_at_one_position_the_later_time_is_kept(store):
    store.claim("s", "a")
    store.begin({ONE: Checkpoint("TRIM_HORIZON")})
    for given, expected in ((None, None), (5.0, 5.0), (4.0, 5.0), (None, 5.0), (6.5, 6.5)):
        store.write({ONE.shard_id: Checkpoint("7", 1, given)})
        assert kept(store) == {ONE.shard_id: Checkpoint("7", 1, expected)}


def test_a_shard_that_was_not_entered_is_entered_by_its_first_checkpoint(store):
    store.claim("s", "a")
    store.write({ONE.shard_id: Checkpoint("5", 2)})
    store.write({ONE.shard_id: Checkpoint("5", 3)})
    assert kept(store) == {ONE.shard_id: Checkpoint("5", 3)}


def test_shards_that_are_gone_are_forgotten(store):
    store.claim("s", "a")
    store.begin({ONE: Checkpoint("TRIM_HORIZON"), TWO: Checkpoint("TRIM_HORIZON")})
    store.write({ONE.shard_id: Checkpoint("SHARD_END")})
    store.forget([ONE.shard_id, "shardId-000000000009"])
    assert kept(store) == {TWO.shard_id: Checkpoint("TRIM_HORIZON")}


def test_once_released_nothing_is_written(store):
    store.release()
    for _ in range(2):
        with pytest.raises(CheckpointsLostError, match="closed"):
            store.write({ONE.shard_id: Checkpoint("5")})
        with pytest.raises(CheckpointsLostError, match="closed"):
            store.begin({ONE: Checkpoint("TRIM_HORIZON")})
        store.claim("s", "a")
        store.release()
        store.release()
    assert kept(store) == {}


def test_a_second_reader_with_the_same_object_fails(store):
    store.claim("s", "first-reader")
    with pytest.raises(CheckpointsInUseError, match="first-reader"):
        store.claim("s", "second-reader")


def test_consumers_have_checkpoints_of_their_own(store):
    store.claim("s", "a")
    store.begin({ONE: Checkpoint("1")})
    alerts = store.for_consumer("alerts")
    assert alerts.claim("s", "a") == {}
    alerts.begin({ONE: Checkpoint("2")})
    alerts.release()
    assert store.for_consumer("alerts").claim("s", "a") == {ONE.shard_id: Checkpoint("2")}
    assert ONE.shard_id in kept(store)


def test_many_threads_write(store):
    shards = [ListedShard(f"shardId-{i:012}", i, i) for i in range(8)]
    store.claim("s", "a")
    store.begin(dict.fromkeys(shards, Checkpoint("TRIM_HORIZON")))

    def write(shard: ListedShard) -> None:
        for number in range(20):
            store.write({shard.shard_id: Checkpoint(str(number))})
            store.renew()

    threads = [threading.Thread(target=write, args=(shard,)) for shard in shards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept(store) == {shard.shard_id: Checkpoint("19") for shard in shards}


# --- the file ---


def test_a_second_reader_of_the_file_is_told_whose_they_are(tmp_path):
    path = tmp_path / "c.db"
    with SQLiteCheckpoints(path) as first, SQLiteCheckpoints(path) as second:
        first.claim("s", "host:1")
        with pytest.raises(CheckpointsInUseError, match=r"c\.db: the checkpoints of s are in use by host:1, .* at 20"):
            second.claim("s", "host:2")
        assert second.claim("t", "host:2") == {}  # another stream
        second.release()
        first.release()
        second.claim("s", "host:2")


READER = """
import sys
from shardpack.consume.stream.sqlite_checkpoints import SQLiteCheckpoints
from shardpack.consume.stream.checkpoints import Checkpoint
from shardpack.consume.stream.shards import ListedShard
store = SQLiteCheckpoints(sys.argv[1])
store.claim("s", "the-killed-one")
store.begin({ListedShard("shard", 0, 1): Checkpoint("TRIM_HORIZON")})
number = 0
while True:
    number += 1
    store.write({"shard": Checkpoint(str(number))})
    print(number, flush=True)
"""


def test_after_a_kill_the_next_reader_goes_on_at_once(tmp_path):
    path = tmp_path / "c.db"
    last = 0
    for _ in range(3):
        reader = subprocess.Popen(
            [sys.executable, "-c", READER.replace("number = 0", f"number = {last}"), path], stdout=subprocess.PIPE
        )
        assert reader.stdout is not None
        written = [int(reader.stdout.readline()) for _ in range(50)][-1]
        with SQLiteCheckpoints(path) as store, pytest.raises(CheckpointsInUseError, match="the-killed-one"):
            store.claim("s", "b")
        reader.send_signal(signal.SIGKILL)
        rest = reader.stdout.read().split()
        reader.wait()
        reader.stdout.close()
        with SQLiteCheckpoints(path) as store:
            now = int(store.claim("s", "b")["shard"].sequence_number)
        assert now >= int(rest[-1] if rest else written)  # one more may have been written than was printed
        last = now


def test_a_child_of_a_fork_is_no_reader_and_does_not_keep_the_lock(tmp_path):
    with SQLiteCheckpoints(tmp_path / "c.db") as store:
        store.claim("s", "parent")
        store.begin({ONE: Checkpoint("1")})
        context = get_context("fork")
        told, tell = context.Pipe(duplex=False)
        go_on = context.Event()

        def child() -> None:
            try:
                store.write({ONE.shard_id: Checkpoint("3")})
            except CheckpointsLostError as error:
                tell.send(str(error))
            go_on.wait(60)

        process = context.Process(target=child)
        process.start()
        assert "no checkpoints are claimed" in told.recv()
        store.write({ONE.shard_id: Checkpoint("2")})
        store.release()
        with SQLiteCheckpoints(tmp_path / "c.db") as other:  # while the child lives
            assert other.claim("s", "other") == {ONE.shard_id: Checkpoint("2")}
        go_on.set()
        process.join(60)
        assert process.exitcode == 0


def test_whose_lock_file_was_removed_writes_no_more(tmp_path):
    path = tmp_path / "c.db"
    with SQLiteCheckpoints(path) as first, SQLiteCheckpoints(path) as second:
        first.claim("s", "host:1")
        first.begin({ONE: Checkpoint("1")})
        (tmp_path / "c.db-lock-1").unlink()
        second.claim("s", "host:2")
        second.write({ONE.shard_id: Checkpoint("3")})
        with pytest.raises(CheckpointsLostError, match="were taken by host:2"):
            first.write({ONE.shard_id: Checkpoint("4")})
        first.release()
        assert {one.owner for one in second.kept()} == {"host:2"}


def test_files_of_others_are_refused_and_not_changed(tmp_path):
    with SQLiteDeadLetters(tmp_path / "letters.db"):
        pass
    (tmp_path / "text.db").write_text("no database, and longer than the header of one would be" * 10)
    newer = sqlite3.connect(tmp_path / "newer.db")
    newer.executescript(f"CREATE TABLE t (x); PRAGMA application_id = {0x53504B43}; PRAGMA user_version = 2")
    newer.close()
    for name, reason in (
        ("letters.db", "a SQLite database of something else, not of checkpoints"),
        ("text.db", "not a SQLite database"),
        ("newer.db", "written by a newer shardpack: version 2"),
    ):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(CheckpointError, match=f"{name}: {reason}"):
            SQLiteCheckpoints(tmp_path / name)
        assert (tmp_path / name).read_bytes() == before
    with pytest.raises(CheckpointError, match="unable to open"):
        SQLiteCheckpoints(tmp_path / "no" / "such" / "folder.db")


def test_a_row_that_was_changed_by_hand_is_named(tmp_path):
    with SQLiteCheckpoints(tmp_path / "c.db") as store:
        store.claim("s", "a")
        store.begin({ONE: Checkpoint("1")})
        store.release()
        with sqlite3.connect(tmp_path / "c.db") as other:
            other.execute("UPDATE checkpoints SET sequence_number = 'soon'")
        other.close()
        with pytest.raises(CheckpointError, match=r"the checkpoint of shardId-0+1 cannot be read: 'soon' is no"):
            store.claim("s", "a")
        with pytest.raises(CheckpointError, match="cannot be read"):
            store.claim("s", "a")  # nor is the lock left behind


def test_what_is_known_of_shards_is_kept(tmp_path):
    shard = ListedShard("shardId-000000000003", 5, 2**128 - 1, ("shardId-000000000001",), closed=True)
    with SQLiteCheckpoints(tmp_path / "c.db") as store:
        store.claim("s", "a")
        store.begin({shard: Checkpoint("1")})
        assert [one.shard for one in store.kept()] == [shard]


def test_what_is_replaced(tmp_path):
    with SQLiteCheckpoints(tmp_path / "c.db") as store:
        store.claim("s", "a")
        store.begin({ONE: Checkpoint("SHARD_END")})
        store.replace({TWO: Checkpoint("TRIM_HORIZON")})
        assert kept(store) == {TWO.shard_id: Checkpoint("TRIM_HORIZON")}


def test_a_file_that_is_locked_by_others(tmp_path):
    path = tmp_path / "c.db"
    with SQLiteCheckpoints(path, busy_timeout_s=0.05) as store:
        store.claim("s", "a")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(CheckpointError, match=r"locked by others for more than 0\.05 s"):
            store.begin({ONE: Checkpoint("1")})
        other.close()
        store.begin({ONE: Checkpoint("1")})
    with pytest.raises(CheckpointsLostError, match=os.fspath(path)):
        store.begin({ONE: Checkpoint("1")})
    with pytest.raises(CheckpointError, match="closed"):
        store.claim("s", "a")
