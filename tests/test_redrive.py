"""Dead letters sent again: each is dropped only when it is stored, and the order of the keys is kept."""

from __future__ import annotations

import random
import time
import tracemalloc
from contextlib import suppress
from datetime import datetime, timezone

import pytest
from botocore.exceptions import ClientError
from faulty_kinesis import CUT, RESET, FaultyKinesis
from isolated import python
from letters import by_key, everything, kept, letter, put_events
from shards_in_lists import Shards

from shardpack import Boto3Transport, DeadLetterError, Producer, redrive, sending_to
from shardpack.consume.stream.reader import StreamReader
from shardpack.dead_letters import redriving as redrive_module
from shardpack.dead_letters.redriving import is_stream, one_by_one
from shardpack.errors import DeliveryError, FlushTimeoutError, RecordExpiredError
from shardpack.producer import sending_again
from shardpack.producer.entries import Attempt
from shardpack.transport import Failed, Stored

STORED = Stored("shardId-000000000000", "1")
THROTTLED = Failed("ProvisionedThroughputExceededException", "slow down")


class Recorder:
    """Stores what is sent, except what ``refuse`` says."""

    def __init__(self, refuse=lambda _: False):
        self.refuse = refuse
        self.batches = []
        self.stored = []

    def __call__(self, letters):
        self.batches.append(len(letters))
        refused = set()
        for each in letters:
            if each.partition_key in refused or self.refuse(each):
                refused.add(each.partition_key)
                yield THROTTLED
            else:
                self.stored.append(each.data)
                yield STORED


def again(letters, client, stream, *, record_ttl_ms=60_000, **options):
    with sending_to(stream, client=client, record_ttl_ms=record_ttl_ms) as send:
        return redrive(letters, send, **options)


def datas(path):
    return [each.data for each in kept(path)]


# --- what is sent, and what is left ---


@pytest.mark.parametrize("stored", [True, STORED])
@pytest.mark.parametrize("max_letters", [1, 7, 4000])
def test_everything_is_sent_in_order_and_dropped(letters, stored, max_letters):
    events = put_events(letters, 5, 20)
    sent, progress = [], []

    def send(batch):
        assert len(batch) <= max_letters
        sent.extend(batch)
        return [stored] * len(batch)

    done = redrive(letters, send, max_letters=max_letters, on_progress=lambda done: progress.append(done.stored))
    assert [(each.partition_key, each.data) for each in sent] == events
    assert done.stored == progress[-1] == 100
    assert progress == [min(n, 100) for n in range(max_letters, 100 + max_letters, max_letters)]
    assert len(letters) == done.not_stored == done.held_back == 0
    assert not done.ended_early


def test_batches_have_so_many_bytes_and_larger_letters_go_alone(letters):
    letters.put([letter(data=bytes(size)) for size in (40, 60, 1, 300, 50, 50, 0, 50)])
    send = Recorder()
    redrive(letters, send, max_bytes=100)
    assert send.batches == [2, 1, 1, 3, 1]


@pytest.mark.parametrize("max_letters", [1, 3, 4000])
def test_a_letter_that_is_not_stored_holds_back_the_later_ones_of_its_key(letters, path, max_letters):
    events = put_events(letters, 4, 6)
    send = Recorder(lambda each: each.data == b"2:1")
    done = redrive(letters, send, max_letters=max_letters)
    assert send.stored == [data for key, data in events if key != "key-2" or data == b"2:0"]
    assert datas(path) == [b"2:1", b"2:2", b"2:3", b"2:4", b"2:5"]
    assert (done.stored, done.not_stored, done.held_back, done.out_of_order) == (19, 1, 4, 0)
    assert [(r.partition_key, r.error_code, r.message) for r in done.refusals] == [
        ("key-2", THROTTLED.error_code, "slow down")
    ]
    assert not done.ended_early
    again = Recorder()
    assert redrive(letters, again).stored == 5
    assert again.stored == [b"2:1", b"2:2", b"2:3", b"2:4", b"2:5"]


def test_what_fails_again_is_kept_with_its_new_reason_and_what_it_holds_back_with_the_old_one(letters, path):
    """A reply that was lost once is not forgotten for a later refusal."""
    letters.put([letter(n, key=key, maybe_stored=n == 1) for n, key in enumerate("aabcd")])
    lost = DeliveryError("no reply", error_code="ReadTimeout", maybe_stored=True, attempts=(Attempt(1.0, "x"),) * 3)
    before = time.time()
    redrive(letters, lambda _: [lost, False, THROTTLED, False, DeliveryError("bad", error_code="Invalid")])
    assert [(each.error_code, each.message, each.maybe_stored, each.attempts) for each in kept(path)] == [
        ("ReadTimeout", "no reply", True, 10),
        ("InternalFailure", "try again", True, 7),
        (THROTTLED.error_code, "slow down", False, 8),
        ("InternalFailure", "try again", False, 7),
        ("Invalid", "bad", False, 7),
    ]
    assert [each.given_up_at >= before for each in kept(path)] == [True, False, True, False, True]
    assert {each.put_at for each in kept(path)} == {letter().put_at}
    redrive(letters, lambda batch: [THROTTLED] * len(batch))
    assert [each.maybe_stored for each in kept(path)] == [True, True, False, False, False]


def test_or_all_later_ones(letters, path):
    put_events(letters, 4, 6)
    done = redrive(letters, Recorder(lambda each: each.data == b"2:1"), max_letters=1, hold_back="all")
    assert datas(path)[0] == b"2:1"
    assert (done.stored, done.not_stored, done.ended_early, len(letters)) == (6, 1, True, 18)


def test_keys_are_those_of_a_stream_and_letters_without_one_hold_nothing_back(letters, path):
    letters.put([letter(1, stream="a"), letter(2, stream="b"), letter(3, stream="a"), letter(4, None), letter(5, None)])
    redrive(letters, Recorder(lambda each: each.data in (b"1", b"4")), max_letters=1)
    assert datas(path) == [b"1", b"3", b"4"]


def test_a_send_that_does_not_keep_the_order_is_counted(letters, path):
    put_events(letters, 2, 3)
    done = redrive(letters, lambda batch: [each.data != b"1:0" for each in batch])
    assert (done.stored, done.not_stored, done.out_of_order) == (5, 1, 2)
    assert datas(path) == [b"1:0"]


def test_letters_of_one_stream_and_those_that_are_surely_not_stored(letters, path):
    arn = "arn:aws:kinesis:us-east-1:123456789012:stream/telemetry"
    letters.put([letter(1), letter(2, stream="other"), letter(3, stream=arn), letter(4, maybe_stored=True), letter(5)])
    send = Recorder()
    done = redrive(letters, send, stream="telemetry", skip_maybe_stored=True)
    assert send.stored == [b"1", b"3", b"5"]
    assert (done.stored, done.skipped, done.other_streams) == (3, 1, 1)
    done = redrive(letters, send, stream="telemetry")
    assert (done.stored, done.stored_maybe_again) == (1, 1)
    assert datas(path) == [b"2"]


def test_letters_since_a_time_and_those_that_are_asked_for(letters, path):
    given_up = [1_700_000_000 + 10 * n for n in range(6)]
    letters.put([letter(n, given_up_at=at, error_code="AB"[n % 2]) for n, at in enumerate(given_up)])
    letters.put([letter(6, stream="other")])
    send = Recorder()
    done = redrive(letters, send, stream="telemetry", since=given_up[2], where=lambda each: each.error_code == "A")
    assert (send.stored, done.stored, done.not_selected, done.other_streams) == ([b"2", b"4"], 2, 4, 1)
    done = redrive(letters, send, since=datetime.fromtimestamp(given_up[3] - 0.001, timezone.utc))
    assert send.stored[2:] == [b"3", b"5", b"6"]
    assert datas(path) == [b"0", b"1"]
    with pytest.raises(ValueError, match="since is an aware time, with a zone, not 2026"):
        redrive(letters, send, since=datetime(2026, 1, 1))  # noqa: DTZ001


def test_a_handler_gets_one_after_the_other_and_what_it_raises_is_the_reason(letters, path):
    events = put_events(letters, 3, 4)
    letters.put([letter(1, None), letter(2, None)])
    handled = []

    def handle(each):
        if each.data in (b"1:2", b"1"):
            raise ValueError("not a number")
        handled.append((each.partition_key, each.data))

    done = redrive(letters, one_by_one(handle))
    assert handled == [event for event in events if event[1] not in (b"1:2", b"1:3")] + [(None, b"2")]
    assert (done.stored, done.not_stored, done.held_back, done.out_of_order) == (11, 2, 1, 0)
    assert [(each.data, each.error_code, each.message, each.attempts) for each in kept(path)] == [
        (b"1:2", "ValueError", "not a number", 8),
        (b"1:3", "InternalFailure", "try again", 7),
        (b"1", "ValueError", "not a number", 8),
    ]


async def asynchronous(_):
    pass


def generator(_):
    yield


async def asynchronous_generator(_):
    yield


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize(
    ("handle", "what"),
    [(asynchronous, "coroutine"), (generator, "generator"), (asynchronous_generator, "async_generator")],
)
def test_a_handler_that_only_begins_has_not_handled(letters, path, handle, what):
    letters.put([letter(1), letter(2, "another")])
    done = redrive(letters, one_by_one(handle))
    assert (done.stored, done.not_stored) == (0, 2)
    reason = ("TypeError", f"the handler returned a {what}, which nobody runs")
    assert [(each.error_code, each.message) for each in kept(path)] == [reason] * 2


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("arn:aws:kinesis:us-east-1:1:stream/a", "a", True),
        ("a", "arn:aws:kinesis:us-east-1:1:stream/a", True),
        ("a", "arn:aws:kinesis:us-east-1:1:stream/aa", False),
        ("arn:aws:kinesis:us-east-1:1:stream/a", "arn:aws:kinesis:us-east-1:2:stream/a", False),
    ],
)
def test_streams_are_named_or_have_arns(one, other, same):
    assert is_stream(one, other) is same


def test_letters_that_come_meanwhile_wait_for_the_next_time(letters, path):
    letters.put([letter(n) for n in range(4)])

    def send(batch):
        letters.put(batch)  # as a producer's own sink, when it gives up again
        return [True] * len(batch)

    assert redrive(letters, send, max_letters=1).stored == 4
    assert datas(path) == [b"0", b"1", b"2", b"3"]


def test_too_many_keys_that_wait_end_it(letters, monkeypatch):
    monkeypatch.setattr(redrive_module, "MAX_HOLDING_BACK", 10)
    put_events(letters, 40, 2)
    done = redrive(letters, Recorder(lambda _: True), max_letters=5)
    assert (done.not_stored, done.ended_early) == (15, True)
    assert len(letters) == 80


def test_memory_is_that_of_a_batch(letters):
    for _ in range(16):
        letters.put([letter(data=bytes(2**20), key=str(n)) for n in range(4)])
    tracemalloc.start()
    try:
        assert redrive(letters, lambda batch: [True] * len(batch)).stored == 64
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * 2**20


# --- what goes wrong ---


@pytest.mark.parametrize(
    ("outcomes", "error", "says"),
    [
        ([True, True], ValueError, "send gave 2 outcomes for 3 letters"),
        ([True, True, False, True], ValueError, "send gave more outcomes than the 3 letters of its batch"),
        ([True, True, 1], TypeError, "an outcome is a bool, Stored, Failed or DeliveryError, not 1"),
        ([True, True, OSError("no")], TypeError, "an outcome is a bool, .*, not OSError"),
        (None, TypeError, "not iterable"),
    ],
)
def test_outcomes_that_are_none_are_errors_after_those_before_them(letters, path, outcomes, error, says):
    letters.put([letter(n) for n in range(3)])
    with pytest.raises(error, match=says):
        redrive(letters, lambda _: outcomes)
    assert datas(path) == ([b"0", b"1", b"2"] if outcomes is None else [b"2"])


@pytest.mark.parametrize(
    ("options", "says"),
    [({"hold_back": "none"}, "hold_back is"), ({"max_letters": 0}, "max_letters of 0"), ({"max_bytes": -1}, "max_by")],
)
def test_wrong_options(letters, options, says):
    with pytest.raises(ValueError, match=says):
        redrive(letters, lambda _: [], **options)


@pytest.mark.parametrize("seed", range(20))
def test_interrupted_anywhere_it_goes_on(letters, path, seed):
    """Send, outcomes and progress break off at random; in the end all is stored, and each key's firsts in order."""
    chance = random.Random(seed)
    events = put_events(letters, 6, 12)
    stored = []

    def break_off():
        if chance.random() < 0.04:
            raise chance.choice([KeyboardInterrupt, ConnectionResetError, MemoryError])

    def send(batch):
        refused = set()
        break_off()
        for each in batch:
            if each.partition_key in refused or chance.random() < 0.05:
                refused.add(each.partition_key)
                yield False
            else:
                stored.append((each.partition_key, each.data))
                break_off()  # stored, and nobody knows
                yield True

    for _ in range(300):
        try:
            redrive(letters, send, max_letters=chance.randrange(1, 30), on_progress=lambda _: break_off())
        except (KeyboardInterrupt, ConnectionResetError, MemoryError):
            continue
        if not len(letters):
            break
    assert datas(path) == []
    assert by_key(list(dict.fromkeys(stored))) == by_key(events)


def test_stopping_ends_it_between_batches(letters):
    letters.put([letter(n) for n in range(9)])
    send = Recorder()
    done = redrive(letters, send, max_letters=2, stopping=lambda: len(send.batches) == 2)
    assert (done.stored, done.ended_early, len(letters)) == (4, True, 5)
    assert redrive(letters, send, stopping=lambda: True).ended_early
    assert len(letters) == 5


ANOTHER = """
import sys
from shardpack import SQLiteDeadLetters, redrive
redrive(SQLiteDeadLetters(sys.argv[1]), lambda batch: [True] * len(batch))
"""


def test_two_at_once_are_refused(letters, path):
    letters.put([letter(n) for n in range(3)])

    def send(batch):
        with pytest.raises(DeadLetterError, match=r"dead\.db: another redrive of it is under way"):
            redrive(letters, lambda _: [])
        other = python("-c", ANOTHER, str(path))
        assert "another redrive of it is under way" in other.stderr
        return [True] * len(batch)

    assert redrive(letters, send).stored == 3
    assert redrive(letters, send).stored == 0


# --- against a Kinesis ---


def test_into_a_stream(letters, client, stream):
    events = put_events(letters, 40, 50, stream=stream)
    hash_keys = [0, 2**127, 2**128 - 1]
    letters.put([letter(key="placed", data=b"%d" % n, explicit_hash_key=n) for n in hash_keys for _ in range(2)])
    letters.put([letter(key=None, data=b"no key"), letter(key=None, data=b"placed", explicit_hash_key=7)])
    letters.put([letter(key="größe", data=b""), letter(key="m", data=b"\xf3\x89\x9a\xc2")])
    assert again(letters, client, stream, max_letters=300).stored == 2010
    assert len(letters) == 0
    records = [
        record
        for read in StreamReader(stream, client=client, until="latest", range_rule=False)
        for record in read.records
    ]
    placed = [(int(record.explicit_hash_key), record.data) for record in records if record.partition_key == "placed"]
    assert sorted(placed) == [(n, b"%d" % n) for n in hash_keys for _ in range(2)]
    found = by_key([(record.partition_key, record.data) for record in records if record.partition_key != "placed"])
    assert [found.pop("größe"), found.pop("m"), sorted(found.pop("-"))] == [
        [b""],
        [b"\xf3\x89\x9a\xc2"],
        [b"no key", b"placed"],
    ]
    assert found == by_key(events)


def test_entries_that_fail_are_tried_again_and_records_that_cannot_be_hold_their_key_back(
    letters, path, client, stream, monkeypatch
):
    events = put_events(letters, 10, 20)
    letters.put([letter(key="key-3", data=bytes(2**20)), letter(key="key-3", data=b"late"), letter(key="\ud800")])
    chance = random.Random(1)
    put_records = client.put_records

    def failing(Records, **stream):  # noqa: N803 - boto3's name
        kept = [record for record in Records if chance.random() < 0.6]
        answers = iter(put_records(Records=kept, **stream)["Records"] if kept else [])
        throttled = {"ErrorCode": THROTTLED.error_code, "ErrorMessage": "slow down"}
        held = {id(record) for record in kept}
        return {"Records": [next(answers) if id(record) in held else throttled for record in Records]}

    monkeypatch.setattr(client, "put_records", failing)
    done = again(letters, client, stream, max_letters=60)
    assert by_key(everything(client, stream)) == by_key(events)
    assert (done.stored, done.not_stored, done.held_back) == (200, 2, 1)
    assert [refusal.error_code for refusal in done.refusals] == ["RecordTooLargeError", "InvalidPartitionKeyError"]
    assert datas(path) == [bytes(2**20), b"late", b"0"]


@pytest.mark.parametrize("fault", [RESET, CUT, "InternalFailure", "ExpiredTokenException"])
def test_calls_that_fail_are_made_again(letters, local_kinesis, client, stream, fault):
    events = put_events(letters, 10, 30)
    with FaultyKinesis(local_kinesis.endpoint_url) as faulty:
        faulty.fail("PutRecords", "", fault, fault)
        assert again(letters, faulty.client(), stream, max_letters=100).stored == 300
        assert faulty.left == 0
    assert len(letters) == 0
    found = everything(client, stream)
    if fault != CUT:  # whose reply was lost: stored, and stored again
        assert by_key(found) == by_key(events)
    assert by_key(list(dict.fromkeys(found))) == by_key(events)


def test_what_no_letter_would_fare_better_with_ends_it_and_the_next_one_goes_on(
    letters, path, local_kinesis, client, stream
):
    events = put_events(letters, 10, 30, error_code="Before")
    with FaultyKinesis(local_kinesis.endpoint_url) as faulty:
        faulty.fail("PutRecords", "", "", "AccessDeniedException")
        with pytest.raises(DeliveryError, match="AccessDenied"):
            again(letters, faulty.client(), stream, max_letters=100)
        assert faulty.left == 0
    assert [each.error_code for each in kept(path)] == ["AccessDeniedException"] * 100
    assert again(letters, client, stream).stored == 100
    assert by_key(everything(client, stream)) == by_key(events)


def test_letters_whose_reply_was_lost_are_marked(letters, path, local_kinesis, client, stream):
    events = put_events(letters, 3, 2)
    with FaultyKinesis(local_kinesis.endpoint_url) as faulty:
        faulty.fail("PutRecords", *[CUT] * 100)
        with pytest.raises(RecordExpiredError):
            again(letters, faulty.client(), stream, record_ttl_ms=200)
    assert {(each.error_code, each.maybe_stored) for each in kept(path)} == {("RecordExpired", True)}
    assert all(each.attempts > 7 and each.given_up_at > 1_700_000_060.5 for each in kept(path))
    assert again(letters, client, stream, skip_maybe_stored=True).skipped == 6
    assert again(letters, client, stream).stored_maybe_again == 6
    assert by_key(list(dict.fromkeys(everything(client, stream)))) == by_key(events)


def test_a_second_interrupt_marks_what_is_on_its_way(letters, path, monkeypatch):
    transport = Shards(2)
    transport.gate.clear()
    letters.put([letter(n, key=f"{n}") for n in range(5)])

    def interrupted(producer):
        with suppress(FlushTimeoutError):
            flush(producer, 0.2)
        raise KeyboardInterrupt

    flush = Producer.flush
    monkeypatch.setattr(Producer, "flush", interrupted)
    with pytest.raises(KeyboardInterrupt), sending_to(transport=transport) as send:
        redrive(letters, send)
    transport.gate.set()
    assert [(each.error_code, each.maybe_stored) for each in kept(path)] == [("Interrupted", True)] * 5


class Poisoned(Boto3Transport):
    """Refuses calls that carry poison."""

    calls = 0

    def put_records(self, entries):
        self.calls += 1
        if any(b"poison" in entry.data for entry in entries):
            answer = {"Error": {"Code": "ValidationException", "Message": "poison"}}
            raise ClientError(answer | {"ResponseMetadata": {"HTTPStatusCode": 400}}, "PutRecords")
        return super().put_records(entries)


def test_a_letter_that_the_service_refuses_holds_back_its_key_and_what_went_with_it(letters, path, client, stream):
    shards = Boto3Transport(client, stream).list_shards()
    assert list(shards.assign(["a", "h", "c"])) == [0, 0, 1]  # a and h share Kinesis records
    large = bytes(600_000)
    letters.put([letter(key=key, data=data) for key, data in (("a", large), ("h", b"h1"), ("c", large))])
    letters.put([letter(key=key, data=data) for key, data in (("a", b"poison"), ("h", b"h2"), ("c", b"c2"))])
    letters.put([letter(key=key, data=data) for key, data in (("a", large), ("c", large), ("h", b"h3"))])
    letters.put([letter(key=key, data=key.encode()) for key in "ahc"])
    with sending_to(transport=Poisoned(client, stream)) as send:
        done = redrive(letters, send)
    assert by_key(everything(client, stream)) == {"a": [large], "h": [b"h1"], "c": [large, b"c2", large, b"c"]}
    assert [(each.partition_key, each.data, each.error_code) for each in kept(path)] == [
        ("a", b"poison", "ValidationException"),
        ("h", b"h2", "ValidationException"),
        ("a", large, "InternalFailure"),
        ("h", b"h3", "InternalFailure"),
        ("a", b"a", "InternalFailure"),
        ("h", b"h", "InternalFailure"),
    ]
    assert (done.stored, done.not_stored, done.held_back, done.out_of_order) == (6, 2, 4, 0)


@pytest.mark.parametrize("size", [0, 1, 300, 2000, 262_144, 2**20 - 1100])
def test_letters_are_cut_so_that_those_of_a_shard_are_one_kinesis_record(  # noqa: PLR0917 (fixtures)
    letters, client, local_kinesis, stream, monkeypatch, size
):
    """Whatever their keys and explicit hash keys take: with one shard there is one call for each part."""
    local_kinesis.create_stream(one := f"{stream}-1", 1)
    n = max(2, min(8000, 2**22 // (size + 500)))
    events = [(chr(120 + i % 100) * (1 + i % 256), b"%d" % i + bytes(size)) for i in range(n)]
    letters.put([letter(key=key, data=data, explicit_hash_key=2**127 + i) for i, (key, data) in enumerate(events)])
    parts = []

    def together(batch):
        for part in cut(batch):
            parts.append(len(part))
            yield part

    cut = sending_again._together
    monkeypatch.setattr(sending_again, "_together", together)
    transport = Poisoned(client, one)
    with sending_to(transport=transport) as send:
        assert redrive(letters, send).stored == sum(parts) == n
    assert transport.calls == len(parts)
    assert everything(client, one) == events
