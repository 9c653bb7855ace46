"""``after_failure="stop"``: what was given up holds back what follows it, until somebody decides."""

from __future__ import annotations

import threading

import pytest
from shards_in_lists import Shards, in_order

from shardpack import AsyncProducer, DeliveryError, FlushTimeoutError, Producer, SQLiteDeadLetters
from shardpack.transport import Failed


class Poison:
    """Refuses an entry for good, as long as it is told to."""

    def __init__(self, transport, data):
        self.transport, self.data, self.on = transport, data, True
        transport.fail = self

    def __call__(self, entries):
        if not self.on:
            return None
        return [
            Failed("KMSAccessDeniedException", "no") if self.data in entry.data else self.transport.store(entry)
            for entry in entries
        ]


@pytest.fixture
def held(tmp_path):
    """A producer with one shard, whose second record was given up, and a third one waits behind it."""
    transport = Shards(1)
    poison = Poison(transport, b"1")
    letters = SQLiteDeadLetters(tmp_path / "letters")
    told = []
    producer = Producer(
        transport=transport,
        stream_name="s",
        linger_ms=1,
        max_aggregate_records=1,
        after_failure="stop",
        dead_letters=letters,
        on_settled=told.extend,
        close_timeout_s=1,
    )
    receipts = [producer.put("k", b"0")]
    receipts[0].result(10)
    receipts.append(producer.put("k", b"1"))
    with pytest.raises(DeliveryError):
        receipts[1].result(10)
    receipts.append(producer.put("k", b"2"))
    with pytest.raises(FlushTimeoutError) as raised:
        producer.flush(0.05)
    assert raised.value.pending == 1
    assert producer.held_shards == ("shardId-000000000000",)
    assert not receipts[2].done()
    assert list(letters) == []
    yield producer, transport, poison, receipts, letters, told
    producer.close()
    letters.close()


def test_resume_sends_it_again_before_what_it_held_back(held):
    producer, transport, poison, receipts, letters, told = held
    poison.on = False
    producer.resume()
    producer.flush(10)
    assert producer.held_shards == ()
    assert receipts[1].result(10).sequence_number == "2"
    assert [entry.data for entry in transport.stored["shardId-000000000000"]] == [b"0", b"1", b"2"]
    assert list(letters) == []
    assert [record.stored for record in told] == [True, False, True, True]
    assert (producer.stats().user_records_stored, producer.stats().user_records_failed) == (3, 0)
    producer.put("k", b"3").result(10)


def test_resume_of_what_fails_again_holds_it_again(held):
    producer, _transport, poison, receipts, letters, _told = held
    for _ in range(3):
        producer.resume()
        with pytest.raises(FlushTimeoutError):
            producer.flush(0.1)
        with pytest.raises(DeliveryError):
            receipts[1].result(10)
        assert producer.held_shards
    poison.on = False
    producer.resume()
    producer.flush(10)
    assert receipts[1].result(0).sequence_number == "2"
    assert list(letters) == []


def test_what_is_resumed_is_flushed_and_closed_after(held):
    producer, transport, poison, receipts, letters, _told = held
    poison.on = False
    producer.resume()
    producer.close()
    assert receipts[1].result(0).sequence_number == "2"
    assert len(transport.stored["shardId-000000000000"]) == 3
    assert list(letters) == []


def test_skip_goes_on_without_it_and_keeps_it_as_a_dead_letter(held):
    producer, transport, _poison, receipts, letters, _told = held
    producer.skip()
    producer.flush(10)
    assert producer.held_shards == ()
    with pytest.raises(DeliveryError):
        receipts[1].result(10)
    assert [entry.data for entry in transport.stored["shardId-000000000000"]] == [b"0", b"2"]
    assert [(letter.data, letter.error_code) for _, letter in letters] == [(b"1", "KMSAccessDeniedException")]


def test_closing_keeps_it_before_what_it_held_back(held):
    producer, _transport, _poison, receipts, letters, _told = held
    producer._close_timeout = 0.1
    producer.close()
    assert [letter.data for _, letter in letters] == [b"1", b"2"]
    with pytest.raises(DeliveryError) as raised:
        receipts[2].result(0)
    assert not raised.value.maybe_stored


def test_what_is_held_counts_as_buffered_again_when_it_is_resumed(held):
    producer, _transport, _poison, _receipts, _letters, _told = held
    inbox = producer._inbox
    assert inbox.buffered == 1 + 1 + 128  # what waits; not what was given up
    producer.resume()
    with pytest.raises(FlushTimeoutError):
        producer.flush(0.1)
    assert inbox.buffered == 1 + 1 + 128


def test_many_shards_and_user_records_are_resumed_in_order():
    transport = Shards(8)
    refused = threading.Event()

    def fail(entries):
        if refused.is_set():
            return None
        return [Failed("InvalidArgumentException", "no") for _ in entries]

    transport.fail = fail
    with Producer(transport=transport, linger_ms=1, after_failure="stop", max_aggregate_records=100) as producer:
        receipts = [producer.put(f"device-{i % 50}", b"%d" % i) for i in range(20_000)]
        with pytest.raises(DeliveryError):
            receipts[0].result(10)
        while len(producer.held_shards) < 8:
            assert not receipts[-1].done()
        refused.set()
        producer.resume()
        producer.flush(20)
        assert all(receipt.done() for receipt in receipts)
        assert producer.stats().user_records_stored == 20_000
        assert receipts[0].result(0).sequence_number == "1"
    in_order(transport, 20_000)


def test_without_anything_held_both_do_nothing():
    for kind in (Producer, AsyncProducer):
        producer = kind(transport=Shards(), after_failure="stop")
        producer.resume()
        producer.skip()
        assert producer.held_shards == ()
    with Producer(transport=Shards(), after_failure="stop", linger_ms=1) as producer:
        producer.put("k", b"").result(10)
        producer.resume()
        producer.skip()
        producer.put("k", b"").result(10)
