"""Dead letters in S3: what was put is there, whole and in order, and goes only when it is removed."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
import tracemalloc
from datetime import datetime, timedelta, timezone

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from letters import by_key, letter, put_events
from test_dead_letters import LETTERS

from shardpack import DeadLetterError, DeadLetterSink, dead_letters, redrive
from shardpack.codec import zstd
from shardpack.dead_letters import DeadLetterStore, S3DeadLetters
from shardpack.dead_letters.remote import s3 as module
from shardpack.dead_letters.remote import s3_lock


@pytest.fixture
def dead(bucket, s3):
    return S3DeadLetters(bucket, "dead", s3)


def keys(dead):
    return [found["Key"] for found in dead._client().list_objects_v2(Bucket=dead.bucket).get("Contents", ())]


def lines(dead, key):
    """What another program reads of an object."""
    frame = dead._client().get_object(Bucket=dead.bucket, Key=key)["Body"].read()
    return [json.loads(line) for line in zstandard.decompress(frame).decode().splitlines()]


def all_of(dead):
    return [each for _, each in dead]


@given(put=st.lists(st.lists(LETTERS, max_size=5), max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
def test_whatever_was_put_comes_back_exactly(bucket, s3, put):
    dead = S3DeadLetters(bucket, f"{threading.get_ident()}-{id(put)}", s3)
    for letters in put:
        dead.put(letters)
    assert sorted(map(repr, all_of(dead))) == sorted(repr(each) for letters in put for each in letters)
    dead.remove([name for name, _ in dead])
    assert all_of(dead) == []


def test_an_object_for_each_put_stream_and_shard_that_other_programs_read(dead):
    sink: DeadLetterSink = dead
    first = "shardId-000000000001"
    arn = "arn:aws:kinesis:us-east-1:123456789012:stream/telemetry"
    sink.put([letter(1), letter(2, shard_id=first, sequence_number="49", handler="alerts"), letter(3)])
    sink.put([letter(4, stream=arn, shard_id=first), letter(5, stream="a/b", key=None)])
    sink.put([letter(6, stream="")])  # of a producer with a transport and no name
    today = datetime.now(timezone.utc).strftime("%Y/%m/%d")
    patterns = [
        f"dead/-/{today}/-",
        f"dead/b/{today}/-",
        *[f"dead/telemetry/{today}/{shard}" for shard in ("-", first, first)],
    ]
    name = r"/\d{8}T\d{6}\.\d{6}Z-[0-9a-f-]{36}\.ndjson\.zst"
    assert all(re.fullmatch(pattern + name, key) for pattern, key in zip(patterns, keys(dead), strict=True))
    assert [[line["data"] for line in lines(dead, key)] for key in keys(dead)] == [
        ["Ng=="],
        ["NQ=="],
        ["MQ==", "Mw=="],
        ["Mg=="],
        ["NA=="],
    ]
    (line,) = lines(dead, keys(dead)[3])
    assert line == {
        "id": 0,
        "stream": "telemetry",
        "partition_key": "key",
        "error_code": "InternalFailure",
        "message": "try again",
        "put_at": 1_700_000_000.25,
        "given_up_at": 1_700_000_060.5,
        "attempts": 7,
        "shard_id": first,
        "sequence_number": "49",
        "sub_sequence_number": 0,
        "handler": "alerts",
        "data": "Mg==",
    }


def test_the_order_of_putting_is_that_of_the_names_whatever_the_clock(dead, monkeypatch):
    monkeypatch.setattr(module, "time_ns", lambda: 1_790_000_000_000_000_000)
    for n in range(30):
        dead.put([letter(2 * n), letter(2 * n + 1)])
    assert [each.data for each in all_of(dead)] == [b"%d" % n for n in range(60)]


def test_an_object_has_eight_mebibytes_of_lines(dead):
    put = [letter(data=bytes(3 * 2**19), key=str(n)) for n in range(9)]  # two mebibytes each in base64
    dead.put([letter(data=bytes(10 * 2**20)), *put])
    assert [len(lines(dead, key)) for key in keys(dead)] == [1, 3, 3, 3]
    assert all_of(dead) == [letter(data=bytes(10 * 2**20)), *put]


def test_a_letter_that_is_too_large_is_an_error(dead):
    with pytest.raises(DeadLetterError, match=r"dead/telemetry/.*: 67,\d+,\d+ bytes, more than 67,108,864"):
        dead.put([letter(data=bytes(48 * 2**20))])
    assert keys(dead) == []


def test_letters_alone_are_put(dead):
    with pytest.raises(TypeError, match="DeadLetters are kept here, not 'x'"):
        dead.put([letter(), "x"])
    dead.put([])
    assert keys(dead) == []


def test_an_object_is_written_again_without_what_is_removed_and_goes_with_the_last(dead):
    dead.put([letter(n) for n in range(5)])
    dead.put([letter(5)])
    names = [name for name, _ in dead]
    assert dead.remove([names[1], names[3], names[5]]) == 3
    assert len(keys(dead)) == 1
    assert dead.remove(names[1:3]) == 1
    assert [(name, each.data) for name, each in dead] == [(names[0], b"0"), (names[4], b"4")]
    assert dead.replace([(names[4], letter("new", message="\ud800")), (names[2], letter("gone"))]) == 1
    assert all_of(dead) == [letter(0), letter("new", message="\ud800")]
    with pytest.raises(TypeError, match="DeadLetters are kept here"):
        dead.replace([(names[0], "x")])
    assert dead.remove(iter(names)) == 2
    assert (keys(dead), dead.remove(names), dead.replace([(names[0], letter())])) == ([], 0, 0)


def test_prefixes_keep_letters_apart_and_other_objects_are_left_alone(bucket, s3):
    s3.put_object(Bucket=bucket, Key="notes.txt", Body=b"not ours")
    everywhere, one, other = (S3DeadLetters(bucket, prefix, s3) for prefix in ("", "/a/", "ab"))
    one.put([letter(1)])
    other.put([letter(2)])
    assert [each.data for each in all_of(one) + all_of(other)] == [b"1", b"2"]
    assert [each.data for each in all_of(everywhere)] == [b"1", b"2"]
    assert repr(one) == f"<S3DeadLetters s3://{bucket}/a/>"


def test_more_objects_than_a_page_lists(dead, monkeypatch):
    for n in range(7):
        dead.put([letter(n)])
    list_objects = dead._given.list_objects_v2
    monkeypatch.setattr(dead._given, "list_objects_v2", lambda **given: list_objects(MaxKeys=2, **given))
    found = []
    for name, each in dead:
        found.append(each.data)
        dead.remove([name])
    assert found == [b"%d" % n for n in range(7)]


def test_what_comes_later_waits_for_the_next_time(dead, monkeypatch):
    """Five seconds later by the service's clock, that is: its answers may differ by as much."""
    dead.put([letter(1)])
    (there,) = dead._client().list_objects_v2(Bucket=dead.bucket)["Contents"]
    for seconds, found in ((5, [letter(1)]), (5.001, [])):
        began = there["LastModified"] - timedelta(seconds=seconds)
        monkeypatch.setattr(module, "parsedate_to_datetime", lambda _, began=began: began)
        assert all_of(dead) == found


def test_memory_is_that_of_an_object(dead):
    for _ in range(5):
        dead.put([letter(data=bytes(2**20), key=str(n)) for n in range(6)])
    tracemalloc.start()
    try:
        assert sum(len(each.data) for each in (one for _, one in dead)) == 30 * 2**20
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * 2**20


# --- what goes wrong ---


def test_a_bucket_that_is_not_there(s3):
    dead = S3DeadLetters("absent-bucket", client=s3)
    for use in (lambda: dead.put([letter()]), lambda: all_of(dead), lambda: dead.remove(["x.ndjson.zst#0"])):
        with pytest.raises(DeadLetterError, match=r"s3://absent-bucket/.*NoSuchBucket"):
            use()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no zstd frame"),
        (b'{"id": 0}\n', "no zstd frame"),
        (zstandard.compress(b'{"id": 0}\n')[:-3], "no object of dead letters"),
        (zstandard.compress(b"{}\n"), "KeyError"),
        (zstandard.compress(b"[1]\n"), "TypeError"),
        (zstandard.compress(bytes(2**26 + 1)), "more than the 67,108,864"),
        (zstandard.compress(b'{"id": 0, "data": "?"}\n'), "letter 0 cannot be read"),
        (zstandard.compress(b'{"id": 0, "data": ""}\n'), "letter 0 cannot be read"),
    ],
)
def test_an_object_of_something_else_is_named(dead, s3, content, says):
    s3.put_object(Bucket=dead.bucket, Key="dead/x.ndjson.zst", Body=content)
    with pytest.raises(DeadLetterError, match=f"s3://{dead.bucket}/dead/x.ndjson.zst: .*{says}"):
        all_of(dead)


def test_without_zstd_it_says_what_to_install(monkeypatch):
    for name in ("zstd_zstandard", "zstd_python"):
        monkeypatch.setitem(sys.modules, f"shardpack.codec.{name}", None)
    assert zstd.library is not None
    with pytest.raises(ImportError, match="pip install 'shardpack\\[codec\\]'"):
        S3DeadLetters("bucket")


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.delitem(dead_letters.__dict__, "S3DeadLetters")
    for name in [name for name in sys.modules if name.startswith("shardpack.dead_letters.remote")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "shardpack.dead_letters.remote", None)
    with pytest.raises(
        ImportError, match=r"shardpack\.dead_letters\.S3DeadLetters needs pip install 'shardpack\[stream\]'"
    ):
        _ = dead_letters.S3DeadLetters


def test_a_client_of_its_own_is_made_when_it_is_needed(monkeypatch, local_kinesis, bucket):
    for name, value in (("ACCESS_KEY_ID", "local"), ("SECRET_ACCESS_KEY", "local"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", local_kinesis.endpoint_url)
    dead = S3DeadLetters(bucket)
    dead.put([letter()])
    first = dead._client()
    assert all_of(dead) == [letter()]
    monkeypatch.setattr(module.os, "getpid", lambda: 7)  # as after a fork
    assert all_of(dead) == [letter()]
    dead._client().close()
    first.close()


# --- sent again ---


@pytest.mark.parametrize("max_letters", [1, 7, 4000])
def test_a_redrive_takes_them_in_order_and_leaves_what_is_refused(dead, max_letters):
    store: DeadLetterStore[str] = dead
    put_events(dead, 5, 8)
    put_events(dead, 3, 1, stream="other")
    sent = []

    def send(letters):
        refused = set()
        for each in letters:
            if each.data == b"2:3" or each.partition_key in refused:
                refused.add(each.partition_key)
                yield False
            else:
                sent.append((each.partition_key, each.data))
                yield True

    done = redrive(store, send, stream="telemetry", max_letters=max_letters)
    assert (done.stored, done.not_stored, done.held_back, done.other_streams) == (35, 1, 4, 3)
    assert done.refusals[0].id.endswith("ndjson.zst#17")
    assert by_key(sent) == {f"key-{k}": [b"%d:%d" % (k, n) for n in range(3 if k == 2 else 8)] for k in range(5)}
    assert [each.data for each in all_of(dead) if each.stream == "telemetry"] == [b"2:%d" % n for n in range(3, 8)]
    assert redrive(dead, lambda letters: [True] * len(letters)).stored == 8
    assert keys(dead) == []


def test_a_second_redrive_is_told_who_is_at_it(dead, bucket, s3):
    put_events(dead, 2, 2)
    other = S3DeadLetters(bucket, "dead", s3)
    said = rf"dead/redrive\.lock: .+:{os.getpid()} redrives these letters, or was killed less than 60 s ago"
    with dead.alone():
        with pytest.raises(DeadLetterError, match=said):
            redrive(other, lambda letters: [True] * len(letters))
        with S3DeadLetters(bucket, "elsewhere", s3).alone():
            pass
    assert redrive(other, lambda letters: [True] * len(letters)).stored == 4
    assert keys(dead) == []


def test_a_lock_that_is_not_renewed_is_taken_over(dead, bucket, s3, monkeypatch):
    """By one that comes later; the one that stood still is told before it reads on."""
    for _ in range(3):
        put_events(dead, 2, 2)
    monkeypatch.setattr(s3_lock, "RENEW_SECONDS", 1e9)
    other = S3DeadLetters(bucket, "dead", s3)

    def send(letters):
        if not others:
            monkeypatch.setattr(s3_lock, "LEASE_SECONDS", -1.0)  # as if it had passed
            others.append(redrive(other, lambda batch: [True] * len(batch)))
            lock = dead._redrive
            assert not lock._write(IfMatch=lock._tag)
            lock.lost = True
        return [True] * len(letters)

    others = []
    with pytest.raises(DeadLetterError, match=r"redrive\.lock: another redrive has taken these letters over"):
        redrive(dead, send, max_letters=1)
    assert others[0].stored == 12
    assert keys(dead) == []


def test_a_lock_is_renewed_and_noticed_when_it_is_lost(dead, bucket, s3, monkeypatch):
    monkeypatch.setattr(s3_lock, "RENEW_SECONDS", 0.01)
    written = []
    s3.meta.events.register("before-call.s3.PutObject", lambda **_: written.append("lock"))
    with dead.alone():
        lock = dead._redrive
        assert _soon(lambda: len(written) > 3)
        assert not lock.lost
        s3.put_object(Bucket=bucket, Key="dead/redrive.lock", Body=b"{}")
        assert _soon(lambda: lock.lost)
    assert keys(dead) == ["dead/redrive.lock"]  # the other's
    with pytest.raises(DeadLetterError, match="another process redrives these letters"), dead.alone():
        pass


def _soon(holds):
    until = time.monotonic() + 20
    while not holds() and time.monotonic() < until:
        time.sleep(0.005)
    return holds()
