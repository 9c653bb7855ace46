"""What ``Producer.stats()`` says, beside what the transport got and what receipts say."""

from __future__ import annotations

import random
import threading
from itertools import chain

import pytest
from test_heavy_hitters import new_inbox
from test_producer import Shards, client_error, once, put_all

from shardpack.errors import DeliveryError
from shardpack.producer.allowance import Allowance
from shardpack.producer.entries import Entry, Request, Settlement, Status
from shardpack.producer.lanes import Lane, Lanes
from shardpack.producer.producer import Producer
from shardpack.producer.scheduler import Scheduler
from shardpack.producer.stats import BOUNDS, Meter, Stats, Times, shard_stats
from shardpack.transport import Failed

MIB = 1024 * 1024
THROTTLED = "ProvisionedThroughputExceededException"


def entries_of(transport):
    return [entry for entries in transport.stored.values() for entry in entries]


def outcomes_of(stats):
    return (
        stats.user_records_stored + stats.user_records_failed + stats.user_records_unknown + stats.user_records_pending
    )


def test_a_producer_that_has_done_nothing_has_only_bounds():
    with Producer(transport=Shards(), max_buffered_bytes=12345) as producer:
        assert producer.stats() == Stats(max_buffered_bytes=12345)


def test_the_counts_are_those_of_what_was_stored():
    transport = Shards()
    with Producer(transport=transport, linger_ms=5) as producer:
        put_all(producer, 5000)
    stats = producer.stats()
    entries = entries_of(transport)
    records = transport.user_records()
    assert stats.user_records_put == stats.user_records_stored == len(records) == 5000
    assert stats.kinesis_records_stored == stats.kinesis_records_sent == len(entries)
    assert stats.bytes_stored == sum(len(entry.data) + len(entry.partition_key) for entry in entries)
    assert stats.user_bytes_stored == sum(len(record.data) + len(record.partition_key) for record in records)
    assert stats.requests == len(transport.requests)
    assert stats.user_records_per_kinesis_record == 5000 / len(entries)
    assert stats.kinesis_records_per_request == len(entries) / len(transport.requests)
    assert (stats.retries, stats.errors, stats.limited_s) == (0, {}, 0)
    assert (stats.user_records_pending, stats.buffered_bytes, stats.requests_in_flight) == (0, 0, 0)
    assert stats.oldest_record_age_s == 0
    assert {shard.shard_id for shard in stats.shards} == set(transport.stored)


def test_each_time_is_counted_with_what_it_is_known_of():
    transport = Shards(fail=once(client_error("InternalFailure", 500)))
    with Producer(transport=transport, linger_ms=5) as producer:
        put_all(producer, 2000)
    stats = producer.stats()
    assert stats.linger_s.count == stats.queue_s.count == stats.kinesis_records_stored
    assert stats.request_s.count == stats.requests
    assert 1 <= stats.stage_s.count <= 2000
    for histogram in (stats.stage_s, stats.linger_s, stats.queue_s, stats.request_s):
        assert len(histogram.counts) == len(histogram.bounds) + 1
        assert histogram.sum >= 0


def test_outcomes_are_told_apart():
    """Records that are refused, lost with their call, expired, or stored: receipts say which."""
    transport = Shards(4, fail=lambda entries: told.get(entries[0].partition_key, lambda: None)())
    told = {
        "refused": lambda: [Failed("InvalidArgumentException", "no")],
        "late": lambda: [Failed(THROTTLED, "slow")],
        "lost": lambda: (_ for _ in ()).throw(TimeoutError("no reply")),
    }
    receipts = {}
    with Producer(transport=transport, linger_ms=0, max_aggregate_records=1, record_ttl_ms=300) as producer:
        for shard, key in zip(transport.shard_map, ("stored", "refused", "late", "lost"), strict=True):
            place, count = shard.starting_hash_key, 1 if key == "lost" else 5
            receipts[key] = [producer.put(key, b"1", place) for _ in range(count)]
            producer.flush()
    said = {"stored": 0, "not stored": 0, "unknown": 0}
    for receipt in chain.from_iterable(receipts.values()):
        try:
            receipt.result(0)
            said["stored"] += 1
        except DeliveryError as error:
            said["unknown" if error.maybe_stored else "not stored"] += 1
    stats = producer.stats()
    assert stats.user_records_stored == said["stored"] == 5
    assert stats.user_records_failed == said["not stored"] == 10
    assert stats.user_records_unknown == said["unknown"] == 1
    assert stats.user_records_expired == 6
    assert stats.errors["InvalidArgumentException"] == 5
    assert stats.errors[THROTTLED] == sum(shard.throttles for shard in stats.shards) > 0
    assert stats.limited_s > 0
    assert stats.kinesis_records_sent == sum(map(len, transport.requests)) == sum(stats.errors.values()) + 5


def test_what_is_sent_again_is_a_retry():
    refused = []

    def fail(entries):
        if len(refused) < 7:
            refused.append(len(entries))
            return [Failed("InternalFailure", "told") for _ in entries]
        return None

    transport = Shards(fail=fail)
    with Producer(transport=transport, linger_ms=5) as producer:
        put_all(producer, 100)
    stats = producer.stats()
    assert stats.retries == sum(refused) == stats.errors["InternalFailure"]
    assert stats.kinesis_records_sent == stats.kinesis_records_stored + stats.retries


def test_what_is_held_up_is_pending_and_has_an_age():
    transport = Shards()
    transport.gate.clear()
    with Producer(transport=transport, linger_ms=1) as producer:
        receipt = producer.put("device-7", b"12345")
        while not producer.stats().requests_in_flight:
            threading.Event().wait(0.001)
        before, after = producer.stats(), producer.stats()
        assert before.user_records_pending == 1
        assert before.buffered_bytes == len("device-7") + 5 + 128
        assert 0 < before.oldest_record_age_s < after.oldest_record_age_s
        transport.gate.set()
        receipt.result(10)
        producer.flush()
        assert producer.stats().oldest_record_age_s == 0


def test_what_waits_for_the_shards_has_an_age():
    transport = Shards()
    known = threading.Event()
    transport.list_shards = lambda: known.wait(30) and transport.shard_map
    with Producer(transport=transport, linger_ms=1) as producer:
        producer.put("device-7", b"1")
        first, second = producer.stats(), producer.stats()
        assert 0 < first.oldest_record_age_s < second.oldest_record_age_s
        assert first.shards == ()
        known.set()


def test_other_threads_see_every_record_once():
    transport = Shards()
    seen, stop = [], threading.Event()
    producer = Producer(transport=transport, linger_ms=1, max_aggregate_records=3)

    def look():
        while not stop.is_set():
            seen.append(producer.stats())

    thread = threading.Thread(target=look)
    thread.start()
    with producer:
        for _ in range(20):
            put_all(producer, 200)
    stop.set()
    thread.join()
    assert all(outcomes_of(stats) == stats.user_records_put for stats in seen)
    assert all(stats.user_records_pending >= 0 for stats in seen)
    puts = [stats.user_records_put for stats in seen]
    assert puts == sorted(puts)


def test_what_is_resumed_is_counted_once():
    transport = Shards(1, fail=lambda _: [Failed("InvalidArgumentException", "no")] if refusing else None)
    refusing = [True]
    with Producer(transport=transport, linger_ms=0, max_aggregate_records=1, after_failure="stop") as producer:
        producer.put("device-7", b"1")
        producer.flush(10)
        assert producer.stats().user_records_failed == 1
        refusing.clear()
        producer.resume()
        producer.put("device-7", b"2")
        producer.flush(10)
    stats = producer.stats()
    assert (stats.user_records_put, stats.user_records_stored, stats.user_records_failed) == (2, 2, 0)


def test_shards_are_left_out_where_they_are_not_wanted():
    with Producer(transport=Shards(), linger_ms=1) as producer:
        put_all(producer, 10)
        producer.flush()
        assert len(producer.stats().shards) == len(producer.stats(shards=True).shards) > 0
        assert producer.stats(shards=False).shards == ()


def test_a_snapshot_does_not_change():
    with Producer(transport=Shards(), linger_ms=1) as producer:
        put_all(producer, 10)
        producer.flush()
        stats = producer.stats()
        stored, counts = stats.user_records_stored, stats.request_s.counts
        put_all(producer, 10)
    assert (stats.user_records_stored, stats.request_s.counts) == (stored, counts)
    with pytest.raises(AttributeError):
        stats.requests = 0
    with pytest.raises(TypeError):
        stats.errors["x"] = 1


# --- without a thread ---


def entry(size=100, records=10):
    return Entry("shardId-000000000000", size, records, 1e9, contents=None)


def test_what_is_resumed_has_no_outcome_after_all():
    meter = Meter()
    failed = Settlement(entry(), Status.NOT_STORED, 1.0, error_code="RecordExpired")
    meter.on_settled(failed, 0, 0)
    meter.on_settled(Settlement(entry(), Status.UNKNOWN, 1.0, error_code="Misplaced"), 0, 0)
    assert meter.user_records_settled == 20
    meter.on_resumed(failed)
    assert meter.user_records_settled == 10
    meter.on_settled(Settlement(failed.entry, Status.STORED, 2.0, "shardId-000000000000", "1"), 100, 80)
    assert meter.user_records_settled == 20


@pytest.mark.parametrize("seconds", [0.0, 0.0005, *BOUNDS, 61.0, 1e6])
def test_a_time_is_in_the_first_bucket_whose_bound_it_does_not_pass(seconds):
    times = Times()
    times.add(seconds)
    histogram = times.snapshot()
    assert histogram.counts.index(1) == sum(bound < seconds for bound in BOUNDS)
    assert (histogram.count, histogram.sum) == (1, seconds)


def test_a_request_takes_until_its_answer():
    meter = Meter()
    request = Request([entry(), entry()], sent_at=10.0)
    meter.on_sent(request, [0.2, 0.3])
    meter.on_answer(request, ["InternalFailure"], now=10.04)
    assert meter.request.snapshot().sum == pytest.approx(0.04)
    assert meter.queue.snapshot().sum == pytest.approx(0.5)
    assert meter.request.snapshot().counts[BOUNDS.index(0.05)] == 1


def test_error_codes_are_counted_apart_as_long_as_they_are_few():
    meter = Meter()
    request = Request([entry()], sent_at=0.0)
    for i in range(100_000):
        meter.on_answer(request, [f"code-{i}"], now=0.0)
    meter.on_answer(request, ["code-7"], now=0.0)
    errors = meter.stats(new_inbox(), Scheduler(None), [], 0.0, shards=False).errors
    assert len(errors) == 101
    assert (errors["code-7"], errors["other"]) == (2, 100_000 - 100)


def test_a_shard_is_used_as_far_as_the_service_lets_in():
    lane = Lane("s", Allowance())
    for _ in range(8):
        lane.on_stored(MIB // 16, now=100.5)
    stats = shard_stats(lane, 100.9)
    assert (stats.bytes_per_second, stats.records_per_second) == (MIB / 2, 8)
    assert stats.utilisation == 0.5


def test_many_small_kinesis_records_use_it_too():
    lane = Lane("s", Allowance())
    for _ in range(900):
        lane.on_stored(100, now=100.5)
    assert shard_stats(lane, 100.9).utilisation == 0.9


def test_a_learned_allowance_is_the_measure():
    lane = Lane("s", Allowance())
    for second in (100.1, 101.1):
        for _ in range(4):
            lane.on_stored(MIB // 16, now=second)
    lane.allowance.throttled(101.2)
    assert lane.allowance.rates[0] == pytest.approx(0.8 * MIB / 4)
    stats = shard_stats(lane, 101.3)
    assert stats.throttles == 1
    assert stats.utilisation == pytest.approx(1 / 0.8)


def test_a_shard_that_took_nothing_lately_is_idle():
    lane = Lane("s", Allowance())
    lane.on_stored(MIB, now=100.0)
    assert shard_stats(lane, 100.5).bytes_per_second == MIB
    assert shard_stats(lane, 101.5).bytes_per_second == MIB
    assert shard_stats(lane, 102.5).bytes_per_second == 0


def test_looking_at_a_rate_does_not_change_it():
    seen, unseen = Allowance(), Allowance()
    rng = random.Random(7)
    now = 50.0
    for _ in range(2000):
        now += rng.expovariate(3)
        size = rng.randrange(1, MIB)
        seen.stored(size, now)
        unseen.stored(size, now)
        later = now + rng.random() * 3
        assert seen.took(later) == Allowance.took(seen, later)
    for allowance in (seen, unseen):
        allowance.throttled(now)
    assert seen.rates == unseen.rates


def test_waits_count_when_they_are_over():
    lanes = Lanes(in_order=True, rng=random.Random(1), give_up=lambda *_: None)
    lane = lanes[entry().shard_id]
    lanes.put_back([entry()], 100.0, backing_off=True)
    due = lanes.next_due()
    assert lanes.limited_s == 0
    lanes.put_back([], 100.0, backing_off=False)
    lanes.wake(due)
    assert lanes.limited_s == due - 100.0 > 0
    assert lane.queue
