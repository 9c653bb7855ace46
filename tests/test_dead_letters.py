"""Dead letters in a file: what was put is there, whole and in order, whatever becomes of the process that put it."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import sqlite3
import sys
import time
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from letters import kept, letter

from shardpack import DeadLetter, DeadLetterError, DeadLetterSink, SQLiteDeadLetters
from shardpack.dead_letters import CallbackDeadLetters

TEXTS = st.text(st.characters(exclude_categories=()))  # lone surrogates and NUL among them
TIMES = st.floats(allow_nan=False, allow_infinity=False)
LETTERS = st.builds(
    DeadLetter,
    stream=TEXTS,
    partition_key=st.none() | TEXTS,
    data=st.binary(),
    explicit_hash_key=st.none() | st.integers(0, 2**128 - 1),
    error_code=TEXTS,
    message=TEXTS,
    maybe_stored=st.booleans(),
    put_at=TIMES,
    given_up_at=TIMES,
    attempts=st.integers(0, 2**63 - 1),
    shard_id=st.none() | TEXTS,
    sequence_number=st.none() | TEXTS,
    sub_sequence_number=st.integers(0, 2**63 - 1),
    handler=st.none() | TEXTS,
)


# --- a letter ---


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({"data": "text"}, TypeError, "data is bytes, not 'text'"),
        ({"stream": None}, TypeError, "stream is str, not None"),
        ({"partition_key": 7}, TypeError, "partition_key is str, not 7"),
        ({"error_code": b"x"}, TypeError, "error_code is str, not b'x'"),
        ({"explicit_hash_key": 2**128}, ValueError, r"explicit_hash_key of 3402\d+ is not in 0 … 2\*\*128 - 1"),
        ({"explicit_hash_key": -1}, ValueError, "explicit_hash_key of -1 is not in"),
        ({"explicit_hash_key": 10**5000}, ValueError, "explicit_hash_key of a number of 16,610 bits"),
        ({"explicit_hash_key": "1"}, TypeError, "explicit_hash_key is a whole number, not '1'"),
        ({"attempts": 2**63}, ValueError, r"attempts of \d+ is not in 0 … 2\*\*63 - 1"),
        ({"attempts": 1.5}, TypeError, "attempts is a whole number, not 1.5"),
        ({"sub_sequence_number": -1}, ValueError, r"sub_sequence_number of -1 is not in 0 … 2\*\*63 - 1"),
        ({"sequence_number": 7}, TypeError, "sequence_number is str, not 7"),
        ({"shard_id": b"x"}, TypeError, "shard_id is str, not b'x'"),
        ({"handler": 1.5}, TypeError, "handler is str, not 1.5"),
        ({"put_at": float("nan")}, ValueError, "put_at is epoch seconds, not nan"),
        ({"given_up_at": float("inf")}, ValueError, "given_up_at is epoch seconds, not inf"),
    ],
)
def test_what_is_no_letter_is_refused(fields, error, says):
    with pytest.raises(error, match=says):
        letter(**fields)


def test_what_a_letter_holds_is_its_own():
    data = bytearray(b"abc")
    held = letter(data=data, key="größe ✓".encode())
    data[0] = 0
    assert (held.data, type(held.data), held.partition_key) == (b"abc", bytes, "größe ✓")
    assert letter(key=b"\xff").partition_key.encode(errors="surrogateescape") == b"\xff"
    with pytest.raises(AttributeError):
        held.data = b""


def test_the_repr_of_a_large_letter_is_short():
    assert len(repr(letter(data=bytes(10**7), key="k" * 10**6, message="m" * 10**6))) < 1000


def test_of_a_consumed_record_the_repr_says_where_it_is():
    consumed = letter(shard_id="shardId-000000000007", sequence_number="49", sub_sequence_number=3, handler="alerts")
    place = "shard_id='shardId-000000000007', sequence_number='49', sub_sequence_number=3, handler='alerts')"
    assert repr(consumed).endswith(f"attempts=7, {place}")
    assert repr(letter()).endswith("attempts=7)")


def test_a_function_is_a_sink():
    kept = []
    sink: DeadLetterSink = CallbackDeadLetters(kept.append)
    sink.put([letter(1), letter(2)])
    assert kept == [(letter(1), letter(2))]

    def broken(_letters):
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        CallbackDeadLetters(broken).put([letter()])
    with pytest.raises(TypeError, match="dead letters are given to a function, not 'file'"):
        CallbackDeadLetters("file")


# --- what was put comes back ---


@given(st.lists(st.lists(LETTERS, max_size=5), max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_whatever_was_put_comes_back_exactly(tmp_path, batches):
    path = tmp_path / f"{time.monotonic_ns()}.db"
    with SQLiteDeadLetters(path) as letters:
        for batch in batches:
            letters.put(batch)
        assert len(letters) == sum(map(len, batches))
    assert kept(path) == [letter for batch in batches for letter in batch]


@pytest.mark.parametrize(
    "fields",
    [
        {"key": "\ud800"},
        {"key": "\ud800\udc00"},  # two of them, not the one character that they would be in UTF-16
        {"key": "a\0b"},
        {"key": None},
        {"key": ""},
        {"key": "größe ✓ 🛰".encode()},
        {"data": b""},
        {"data": os.urandom(10 * 2**20)},
        {"explicit_hash_key": 0},
        {"explicit_hash_key": 2**128 - 1},
        {"explicit_hash_key": 2**63},
        {"maybe_stored": True},
        {"stream": "arn:aws:kinesis:us-east-1:123456789012:stream/telemetry"},
        {"message": "\udcff" * 10_000},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_hard_ones_come_back_exactly(path, fields):
    with SQLiteDeadLetters(path) as letters:
        letters.put([letter(1), letter(**fields), letter(2)])
    assert kept(path) == [letter(1), letter(**fields), letter(2)]


def test_order_is_that_of_putting(letters):
    for first in range(0, 5000, 1700):
        letters.put([letter(n) for n in range(first, min(first + 1700, 5000))])
    found = list(letters)
    assert [letter.data for _, letter in found] == [str(n).encode() for n in range(5000)]
    ids = [number for number, _ in found]
    assert ids == sorted(set(ids))


def test_removed_letters_are_gone_and_their_ids_are_not_used_again(letters):
    letters.put([letter(n) for n in range(10)])
    ids = [number for number, _ in letters]
    assert letters.remove(iter(ids[7:])) == 3
    assert letters.remove(ids[6:8]) == 1
    assert letters.remove([]) == letters.remove([10**30, -5]) == 0
    letters.put([letter(10)])
    assert letters.remove(ids[6:]) == 0
    assert [letter.data for _, letter in letters] == [b"0", b"1", b"2", b"3", b"4", b"5", b"10"]
    assert len(letters) == 7
    with pytest.raises(TypeError, match="id is a whole number"):
        letters.remove(["1"])


def test_letters_are_replaced_where_they_are(letters, path):
    letters.put([letter(n) for n in range(4)])
    ids = [number for number, _ in letters]
    letters.remove(ids[1:2])
    again = [letter("new", maybe_stored=True, message="\ud800"), letter("gone"), letter("last", key=None)]
    assert letters.replace(zip((ids[2], ids[1], ids[3]), again, strict=True)) == 2
    assert letters.replace([]) == letters.replace([(10**30, letter())]) == 0
    assert kept(path) == [letter(0), again[0], again[2]]
    assert [number for number, _ in letters] == [ids[0], *ids[2:]]
    with pytest.raises(TypeError, match="DeadLetters are kept here, not 'x'"):
        letters.replace([(ids[0], letter("never")), (ids[2], "x")])
    with pytest.raises(TypeError, match="id is a whole number"):
        letters.replace([(ids[0], letter("never")), ("1", letter())])
    assert kept(path)[0] == letter(0)


def test_a_put_with_something_else_in_it_keeps_nothing(letters):
    with pytest.raises(TypeError, match="DeadLetters are kept here, not 'x'"):
        letters.put([letter(), "x"])
    assert len(letters) == 0
    letters.put([])
    assert list(letters) == []


def test_an_interrupted_put_keeps_nothing(letters, monkeypatch):
    def interrupted(letter):
        if letter.data == b"3":
            raise KeyboardInterrupt
        return row_of(letter)

    row_of = sys.modules[SQLiteDeadLetters.__module__].row_of
    monkeypatch.setattr(sys.modules[SQLiteDeadLetters.__module__], "row_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        letters.put([letter(n) for n in range(5)])
    letters.put([letter(8)])
    assert [letter.data for _, letter in letters] == [b"8"]


def test_tallies_say_what_is_there(letters):
    assert letters.tally() == []
    letters.put([letter(data=b"123", given_up_at=at) for at in (5, 3, 4)])
    letters.put([letter(data=b"12345", error_code="Expired\ud800", maybe_stored=True, given_up_at=9)])
    letters.put([letter(data=b"", stream="other", given_up_at=7)])
    assert [
        (t.stream, t.error_code, t.letters, t.size, t.maybe_stored, t.first_given_up_at, t.last_given_up_at)
        for t in letters.tally()
    ] == [
        ("telemetry", "InternalFailure", 3, 9, 0, 3, 5),
        ("other", "InternalFailure", 1, 0, 0, 7, 7),
        ("telemetry", "Expired\ud800", 1, 5, 1, 9, 9),
    ]


def test_iteration_gives_what_was_there_when_it_began(letters):
    letters.put([letter(n) for n in range(3)])
    found = []
    for number, each in letters:
        found.append(each.data)
        letters.remove([number])
        letters.put([letter(int(each.data) + 100)])
    assert found == [b"0", b"1", b"2"]
    assert [letter.data for _, letter in letters] == [b"100", b"101", b"102"]


def test_iteration_holds_a_few_letters_at_a_time(letters):
    for _ in range(16):
        letters.put([letter(data=bytes(2**20), key=str(n)) for n in range(4)])
    tracemalloc.start()
    try:
        assert sum(len(each.data) for _, each in letters) == 64 * 2**20
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 * 2**20


def test_it_is_a_sink(letters):
    sink: DeadLetterSink = letters
    sink.put((letter(),))
    assert len(letters) == 1


def test_another_working_directory_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with SQLiteDeadLetters(":memory:") as letters:  # a name like any other
        monkeypatch.chdir("/")
        letters._file.disconnect()
        letters.put([letter()])
    assert len(kept(tmp_path / ":memory:")) == 1


# --- files that are something else, or broken ---


def test_a_closed_one_says_so(path):
    letters = SQLiteDeadLetters(path)
    letters.close()
    letters.close()
    for use in (lambda: letters.put([letter()]), lambda: len(letters), lambda: list(letters), letters.tally):
        with pytest.raises(DeadLetterError, match=r"dead\.db: closed"):
            use()


def test_no_database(path):
    path.write_bytes(b"key,data\n" * 200)
    with pytest.raises(DeadLetterError, match=r"dead\.db: not a SQLite database"):
        SQLiteDeadLetters(path)
    assert path.read_bytes() == b"key,data\n" * 200


def test_an_empty_file_becomes_one(path):
    path.touch()
    with SQLiteDeadLetters(path) as letters:
        letters.put([letter()])
    assert kept(path) == [letter()]


def test_a_database_of_something_else_is_left_alone(path):
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE letters (id INTEGER PRIMARY KEY, text TEXT)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(DeadLetterError, match="a SQLite database of something else, not of dead letters"):
        SQLiteDeadLetters(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["dead.db"]


@pytest.mark.parametrize(
    ("version", "says"), [(3, "written by a newer shardpack: version 3"), (0, "no shardpack wrote")]
)
def test_a_newer_schema_is_said(path, letters, version, says):
    letters.put([letter()])
    letters.close()
    other = sqlite3.connect(path)
    other.execute(f"PRAGMA user_version = {version}")
    other.close()
    with pytest.raises(DeadLetterError, match=says):
        SQLiteDeadLetters(path)


def version_1(path):
    """Copy a file of letters that version 1 of the schema wrote, and return what it was put."""
    shutil.copy(Path(__file__).with_name("data") / "dead-letters-1.db", path)
    odd = letter(key="\ud800", data=bytes(range(256)) * 40, explicit_hash_key=2**128 - 1)
    put = [letter(n, key=f"key-{n % 2}", error_code="RecordExpired", maybe_stored=n == 1) for n in (0, 1, 3)]
    return [*put, letter(key=None, data=b""), odd]


def test_a_file_of_version_1_is_taken_over(path):
    put = version_1(path)
    consumed = letter(shard_id="shardId-000000000007", sequence_number="49", sub_sequence_number=3, handler="alerts")
    with SQLiteDeadLetters(path) as letters:
        assert [number for number, _ in letters] == [1, 2, 4, 5, 6]
        letters.put([consumed])
        assert [tally.letters for tally in letters.tally()] == [3, 3]
        letters.replace([(1, replace(put[0], handler="archive"))])
    assert kept(path) == [replace(put[0], handler="archive"), *put[1:], consumed]


def test_who_has_it_open_as_version_1_goes_on(path):
    put = version_1(path)
    old = sqlite3.connect(path)
    columns = "stream, partition_key, explicit_hash_key, error_code, message, maybe_stored, put_at, given_up_at, "
    insert = f"INSERT INTO letters ({columns} attempts, data) SELECT {columns} attempts, data FROM letters WHERE id = 1"  # noqa: S608
    old.execute(insert)
    old.commit()
    with SQLiteDeadLetters(path) as letters:
        old.execute(insert)
        old.commit()
        assert [each for _, each in letters] == [*put, put[0], put[0]]
    old.close()


def test_a_takeover_that_is_interrupted_changes_nothing(path, monkeypatch):
    put = version_1(path)
    before = path.read_bytes()
    module = sys.modules[SQLiteDeadLetters.__module__]
    upgrades = {1: ("ALTER TABLE letters ADD x", "?")}
    monkeypatch.setattr(module, "KIND", dataclasses.replace(module.KIND, upgrades=upgrades))
    with pytest.raises(DeadLetterError):
        SQLiteDeadLetters(path)
    assert path.read_bytes() == before
    monkeypatch.undo()
    assert kept(path) == put


def test_a_folder_or_a_missing_one(tmp_path):
    for path in (tmp_path, tmp_path / "absent" / "dead.db", ""):
        with pytest.raises(DeadLetterError, match="unable to open database file"):
            SQLiteDeadLetters(path)


def test_a_full_disk_is_said_and_nothing_of_the_put_is_kept(path, letters):
    letters.put([letter(1)])
    letters._file._connection.execute("PRAGMA max_page_count = 20")  # what SQLite says is the same
    with pytest.raises(DeadLetterError, match=r"dead\.db: database or disk is full"):
        letters.put([letter(2), letter(data=bytes(10**6))])
    letters.put([letter(3)])
    assert kept(path) == [letter(1), letter(3)]


@pytest.mark.parametrize("column", ["partition_key = x'ff'", "explicit_hash_key = 'x'", "attempts = -1", "data = 5"])
def test_a_letter_that_cannot_be_read_is_named_after_those_before_it(path, letters, column):
    letters.put([letter(n) for n in range(5)])
    other = sqlite3.connect(path)
    other.execute(f"UPDATE letters SET {column} WHERE id = 4")  # noqa: S608
    other.commit()
    other.close()
    reading = iter(letters)
    assert [letter.data for _, letter in islice(reading, 3)] == [b"0", b"1", b"2"]
    with pytest.raises(DeadLetterError, match=r"dead\.db: letter 4 cannot be read: "):
        next(reading)
    letters.remove([4])
    assert len(list(letters)) == 4


def test_damage_anywhere_is_an_error_or_harmless(tmp_path):
    whole = tmp_path / "whole.db"
    put = [letter(n, data=os.urandom(300)) for n in range(200)]
    with SQLiteDeadLetters(whole) as letters:
        letters.put(put)
    content = whole.read_bytes()
    chance = random.Random(5)
    damaged = tmp_path / "damaged.db"
    for _ in range(60):
        changed = bytearray(content[: chance.choice([len(content), chance.randrange(1, len(content))])])
        for _ in range(chance.choice([0, 1, 50])):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        damaged.write_bytes(changed)
        with suppress(DeadLetterError), SQLiteDeadLetters(damaged) as letters:
            assert all(isinstance(each, DeadLetter) for _, each in letters)
            letters.tally()
            letters.put([letter()])
        for beside in tmp_path.glob("damaged.db-*"):
            beside.unlink()


def test_what_a_killed_process_left_half_written_is_not_there(tmp_path):
    path, copy = tmp_path / "dead.db", tmp_path / "copy.db"
    with SQLiteDeadLetters(path) as letters:
        letters.put([letter(1)])
        letters.put([letter(2), letter(3, data=bytes(20_000))])
        log = path.with_name("dead.db-wal").read_bytes()
        for cut in range(len(log) // 4, len(log), len(log) // 40):
            shutil.copy(path, copy)
            copy.with_name("copy.db-wal").write_bytes(log[:cut])
            found = [each.data for each in kept(copy)]
            assert found in ([], [b"1"], [b"1", b"2", bytes(20_000)])
