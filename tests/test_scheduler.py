"""The rules by which entries are delivered, one by one. All of them together: test_simulation.py."""

from __future__ import annotations

import random

import pytest
from deliveries import (
    DENIED,
    EXPIRED_TOKEN,
    FIRST_SPLIT,
    INTERNAL,
    INVALID,
    REFUSED,
    SLOW_DOWN,
    THROTTLED,
    TIMEOUT,
    TOO_LARGE,
    entry,
    entry_of,
    fail,
    name,
    offer,
    outcomes,
    reshard,
    scheduler,
    send,
    store,
)

from shardpack.limits import MIB, Limits
from shardpack.producer.scheduler import EXPIRED, Status
from shardpack.shards import ShardMap
from shardpack.transport import Stored

# --- requests ---


def test_the_first_entries_of_all_shards_share_a_request():
    s = scheduler()
    a, b, c = offer(s, entry(0), entry(0), entry(1))
    (request,) = send(s)
    assert request.entries == [a, c]
    store(s, request)
    (request,) = send(s)
    assert request.entries == [b]


def test_one_entry_of_a_shard_is_in_flight_whatever_waits():
    s = scheduler()
    offer(s, entry(0), entry(0))
    assert [len(r.entries) for r in send(s)] == [1]
    assert send(s) == []


def test_without_order_a_request_has_many_entries_of_a_shard():
    s = scheduler(ordering="none")
    offer(s, *(entry(0) for _ in range(3)))
    assert [len(r.entries) for r in send(s)] == [3]


def test_requests_keep_to_the_limits():
    s = scheduler(ordering="none", limits=Limits(max_record_bytes=1000, max_request_bytes=1000, max_request_records=4))
    offer(s, *(entry(0, size=300) for _ in range(5)), *(entry(1, size=10) for _ in range(5)))
    for request in send(s):
        assert len(request.entries) <= 4
        assert sum(e.size for e in request.entries) <= 1000


def test_an_entry_too_large_for_company_goes_alone():
    s = scheduler(limits=Limits(max_record_bytes=1000, max_request_bytes=1000))
    large, small = offer(s, entry(0, size=1000), entry(1, size=10))
    assert [r.entries for r in send(s)] == [[large], [small]]


def test_what_is_too_large_for_the_rest_of_a_request_opens_the_next_one():
    s = scheduler(ShardMap.uniform(3), limits=Limits(max_record_bytes=1000, max_request_bytes=1000))
    first, large, small = entry(0, size=500), entry(1, size=600), entry(1, size=100)
    small.shard_id = name(2)
    offer(s, first, large, small)
    assert [r.entries for r in send(s)] == [[first, small], [large]]


def test_so_many_requests_are_in_flight_at_most():
    s = scheduler(max_requests_in_flight=2, limits=Limits(max_request_records=1), ordering="none")
    offer(s, *(entry(0) for _ in range(5)))
    one, _ = send(s)
    assert send(s) == []
    store(s, one)
    assert len(send(s)) == 1


def test_a_shard_that_is_not_in_the_map_is_refused():
    s = scheduler()
    with pytest.raises(ValueError, match="shardId-000000000007 is not in the shard map"):
        s.offer(entry_of(7), 0.0)
    assert s.pending == 0


# --- outcomes ---


def test_a_stored_entry_says_where():
    s = scheduler()
    (a,) = offer(s, entry(0))
    (request,) = send(s)
    s.on_reply(request, [Stored(name(0), "49")], 2.0)
    (settlement,) = s.settlements()
    assert (settlement.entry, settlement.status, settlement.at) == (a, Status.STORED, 2.0)
    assert (settlement.shard_id, settlement.sequence_number) == (name(0), "49")
    assert s.settlements() == []
    assert s.pending == 0


@pytest.mark.parametrize("failure", [THROTTLED, INTERNAL])
def test_a_failed_entry_goes_again_before_the_others_of_its_shard(failure):
    s = scheduler()
    a, b = offer(s, entry(0), entry(0))
    (request,) = send(s)
    fail(s, request, failure)
    assert send(s) == []
    now = s.next_time(0.0)
    (request,) = send(s, now)
    assert request.entries == [a]
    assert [attempt.error_code for attempt in a.attempts] == [failure.error_code]
    store(s, request, now)
    assert outcomes(s) == [(a, "stored")]
    assert [r.entries for r in send(s, now + 1)] == [[b]]


def test_an_entry_refused_for_good_leaves_the_others_alone():
    s = scheduler()
    a, b, c = offer(s, entry(0), entry(1), entry(0))
    (request,) = send(s)
    s.on_reply(request, [REFUSED, Stored(name(1), "1")], 0.0)
    assert outcomes(s) == [(a, "not stored"), (b, "stored")]
    assert [r.entries for r in send(s)] == [[c]]


def test_another_number_of_outcomes_is_refused_and_the_request_is_still_in_flight():
    s = scheduler()
    offer(s, entry(0))
    (request,) = send(s)
    with pytest.raises(ValueError, match="0 outcomes for 1 entries"):
        s.on_reply(request, [], 0.0)
    store(s, request)
    assert s.pending == 0


@pytest.mark.parametrize(
    ("error", "status"), [(TIMEOUT, "unknown"), (EXPIRED_TOKEN, "not stored"), (SLOW_DOWN, "not stored")]
)
def test_what_expires_after_a_call_without_a_reply_is_unknown(error, status):
    s = scheduler()
    (a,) = offer(s, entry(0, expires_at=10.0))
    (request,) = send(s)
    s.on_error(request, error, 1.0)
    assert send(s, 10.0) == []
    (settlement,) = s.settlements()
    assert (settlement.entry, settlement.status.value, settlement.error_code) == (a, status, EXPIRED)
    assert settlement.message == f"not stored within its time to live (last {error.error_code})"


def test_an_unanswered_call_is_remembered_through_later_refusals():
    s = scheduler()
    (a,) = offer(s, entry(0))
    (request,) = send(s)
    s.on_error(request, TIMEOUT, 1.0)
    (request,) = send(s, s.next_time(1.0))
    fail(s, request, REFUSED, 2.0)
    assert outcomes(s) == [(a, "unknown")]


# --- time ---


def test_an_idle_scheduler_only_asks_for_the_description_again():
    s = scheduler()
    assert s.wishes(1.0) == []
    assert s.next_time(1.0) == 300.0


def test_what_waits_expires_on_its_time():
    s = scheduler()
    (a,) = offer(s, entry(0, expires_at=0.01))
    (request,) = send(s)
    fail(s, request)
    assert s.next_time(0.0) == 0.01
    assert send(s, 0.01) == []
    assert outcomes(s) == [(a, "not stored")]


def test_expired_entries_are_not_sent():
    s = scheduler(ordering="none")
    a, b, c = offer(s, entry(0), entry(0, expires_at=1.0), entry(0))
    assert [r.entries for r in send(s, 2.0)] == [[a, c]]
    assert outcomes(s) == [(b, "not stored")]


def test_what_is_behind_one_in_flight_expires_after_it():
    s = scheduler(max_requests_in_flight=1, after_failure="stop")
    a, b = offer(s, entry(0, expires_at=1.0), entry(0, expires_at=2.0))
    (request,) = send(s)
    assert send(s, 5.0) == []
    assert outcomes(s) == []
    s.on_error(request, TIMEOUT, 6.0)
    assert outcomes(s) == [(a, "unknown")]
    assert s.held_shards == [name(0)]
    assert s.pending == 1
    assert b.attempts == []


def test_while_nothing_can_be_sent_expired_entries_are_looked_for_each_second():
    s = scheduler(max_requests_in_flight=1)
    offer(s, entry(0))
    send(s)
    (b,) = offer(s, entry(1, expires_at=2.5))
    assert s.next_time(0.0) == 0.0
    send(s, 0.0)
    assert s.next_time(0.0) == 1.0
    assert send(s, 1.0) == send(s, 2.0) == send(s, 3.0) == []
    assert outcomes(s) == [(b, "not stored")]


def test_a_shard_that_fails_waits_longer_each_time_and_no_other_waits_for_it():
    s = scheduler(rng=random.Random(1))
    waits = []
    now = 0.0
    offer(s, entry(0))
    for _ in range(12):
        (request,) = send(s, now)
        fail(s, request, INTERNAL, now)
        offer(s, entry(1), now=now)
        (other,) = send(s, now)
        store(s, other, now)
        due = s._lanes[name(0)].due
        waits.append(due - now)
        now = due
    assert max(waits[:2]) <= 0.225
    assert max(waits) <= 6.4 + 0.4
    assert max(waits) > 2.0


def test_a_success_ends_the_backoff():
    s = scheduler()
    offer(s, entry(0), entry(0))
    now = 0.0
    for _ in range(5):
        (request,) = send(s, now)
        fail(s, request, INTERNAL, now)
        now = s.next_time(now)
    (request,) = send(s, now)
    store(s, request, now)
    assert len(send(s, now)) == 1


def test_lanes_that_back_off_share_requests():
    count = 1000
    s = scheduler(ShardMap.uniform(count), rng=random.Random(1), max_requests_in_flight=1)
    for i in range(count):
        s.offer(entry_of(i), 0.0)
    now, sizes, throttled = 0.0, [], 0
    while throttled < 10 * count:
        for request in s.requests(now):
            sizes.append(len(request.entries))
            throttled += len(request.entries)
            now += 0.01
            fail(s, request, THROTTLED, now)
        now = s.next_time(now)
    assert sum(size < 10 for size in sizes) <= len(sizes) // 10
    assert len(sizes) < 300


def test_a_lane_costs_the_same_beside_many_others():
    """Lanes that are not touched are not looked at."""
    s = scheduler(ShardMap.uniform(10_000))
    for i in range(10_000):
        s.offer(entry_of(i), 0.0)
    requests = send(s)
    looked_at = []
    line_up = s._lanes.line_up
    s._lanes.line_up = lambda lane, now: (looked_at.append(lane), line_up(lane, now))
    store(s, requests[0])
    s.next_time(0.0)
    send(s)
    assert len(looked_at) <= 2 * len(requests[0].entries)


# --- requests refused as a whole ---


def test_halves_find_the_poisonous_entry():
    count = 64
    s = scheduler(ShardMap.uniform(count))
    entries = [entry_of(i) for i in range(count)]
    offer(s, *entries)
    poison, calls, found = entries[37], 0, []
    while s.pending:
        for request in s.requests(0.0):
            calls += 1
            if poison in request.entries:
                s.on_error(request, INVALID, 0.0)
            else:
                store(s, request)
        found += outcomes(s)
    assert [e for e, status in found if status != "stored"] == [poison]
    assert len(found) == count
    assert calls <= 14


RAISED = Limits(max_record_bytes=10 * MIB, max_request_bytes=10 * MIB)


def deliver(s, takes, error=TOO_LARGE):
    """Answer requests as a service that takes so many bytes does. Returns the sizes that were refused."""
    refused = []
    while s.pending:
        for request in s.requests(0.0):
            size = sum(e.size for e in request.entries)
            if size > takes:
                refused.append(size)
                s.on_error(request, error, 0.0)
            else:
                store(s, request)
    return refused


@pytest.mark.parametrize("error", [TOO_LARGE, INVALID])
def test_of_a_size_that_was_refused_no_other_request_is_sent(error):
    """Above the lesser of the documented limits, the size is the reason whatever is said."""
    s = scheduler(ShardMap.uniform(40), limits=RAISED, max_requests_in_flight=1)
    for turn in range(3):
        entries = offer(s, *(entry_of(i, MIB // 2) for i in range(40)))
        refused = deliver(s, 5 * MIB, error)
        assert dict(outcomes(s)) == dict.fromkeys(entries, "stored")
        assert len(refused) == (turn == 0)
    assert s.most_request_bytes == 5 * MIB


def test_a_proxy_may_take_less_than_any_limit_that_is_documented():
    s = scheduler(ShardMap.uniform(40), max_requests_in_flight=2)
    entries = offer(s, *(entry_of(i, MIB // 8) for i in range(40)))
    refused = deliver(s, MIB)
    assert dict(outcomes(s)) == dict.fromkeys(entries, "stored")
    assert len(refused) <= 4
    assert MIB // 2 < s.most_request_bytes <= MIB
    offer(s, *(entry_of(i, MIB // 8) for i in range(40)))
    assert deliver(s, MIB) == []


def test_a_record_too_large_by_itself_is_given_up_and_teaches_nothing():
    s = scheduler(limits=RAISED)
    large, small = offer(s, entry_of(0, 6 * MIB), entry_of(1, MIB))
    assert deliver(s, 5 * MIB) == [7 * MIB, 6 * MIB]
    assert outcomes(s) == [(large, "not stored"), (small, "stored")]
    assert s.most_request_bytes == 5 * MIB


def test_requests_that_were_under_way_meanwhile_teach_nothing_more():
    s = scheduler(ShardMap.uniform(40), limits=RAISED, max_requests_in_flight=2)
    offer(s, *(entry_of(i, MIB // 2) for i in range(40)))
    for request in send(s):
        s.on_error(request, TOO_LARGE, 0.0)
    assert s.most_request_bytes == 5 * MIB


def test_other_limits_of_the_stream_are_tried_anew():
    s = scheduler(ShardMap.uniform(40), limits=RAISED, max_requests_in_flight=1)
    offer(s, *(entry_of(i, MIB // 2) for i in range(40)))
    deliver(s, 5 * MIB)
    s.limits = Limits()
    assert s.most_request_bytes == 5 * MIB
    s.limits = Limits(max_request_bytes=10 * MIB - 1)
    assert s.most_request_bytes == 10 * MIB - 1


def test_who_refuses_everything_as_too_large_does_not_make_requests_ever_smaller():
    s = scheduler(ShardMap.uniform(40))
    entries = offer(s, *(entry_of(i, 100) for i in range(40)))
    assert len(deliver(s, 0)) < 80
    assert [status for _, status in outcomes(s)] == ["not stored"] * len(entries)
    assert s.most_request_bytes == 5 * MIB


def test_fatal_errors_settle_all_that_waits_and_all_that_comes():
    s = scheduler(max_requests_in_flight=2, limits=Limits(max_request_records=1))
    a, b, c = offer(s, entry(0), entry(1), entry(0))
    first, second = send(s)
    s.on_error(first, DENIED, 1.0)
    assert s.failed == DENIED
    assert outcomes(s) == [(a, "not stored"), (c, "not stored")]
    (d,) = offer(s, entry(0), now=2.0)
    assert outcomes(s) == [(d, "not stored")]
    assert s.next_time(2.0) is None
    assert s.wishes(1000.0) == []
    store(s, second, 3.0)
    assert outcomes(s) == [(b, "stored")]
    assert s.pending == 0


def test_what_is_given_up_in_flight_may_be_stored():
    s = scheduler()
    a, b, c = offer(s, entry(0), entry(1), entry(0))
    (request,) = send(s)
    s.give_up_all(1.0, "Closed", "closed")
    assert outcomes(s) == [(a, "unknown"), (b, "unknown"), (c, "not stored")]
    store(s, request, 2.0)
    assert outcomes(s) == []
    assert s.pending == 0


# --- records given up, where they hold others back ---


def stopped(**options):
    s = scheduler(after_failure="stop", **options)
    a, b = offer(s, entry(0), entry(0, expires_at=5.0))
    (request,) = send(s)
    fail(s, request, REFUSED)
    assert outcomes(s) == [(a, "not stored")]
    return s, a, b


def test_a_record_given_up_holds_its_shard_back_and_no_other():
    s, _, b = stopped()
    (other,) = offer(s, entry(1))
    assert s.held_shards == [name(0)]
    assert [r.entries for r in send(s, 10.0)] == [[other]]
    assert s.pending == 2
    assert outcomes(s) == []
    assert b.expires_at == 5.0


def test_resume_sends_what_was_given_up_first():
    s, a, b = stopped()
    s.resume(10.0, 20.0)
    assert s.held_shards == []
    assert s.pending == 2
    (request,) = send(s, 10.0)
    assert request.entries == [a]
    store(s, request, 10.0)
    (request,) = send(s, 10.0)
    assert request.entries == [b]
    assert outcomes(s) == [(a, "stored")]
    assert b.expires_at == 20.0


def test_skip_goes_on_without_it():
    s, _, b = stopped()
    s.skip(10.0, 20.0)
    assert [r.entries for r in send(s, 10.0)] == [[b]]
    assert s.pending == 1


def test_a_hold_passes_to_the_shards_that_come_after():
    s, a, b = stopped()
    assert reshard(s, FIRST_SPLIT, 300.0) == [b]
    b2 = entry_of(2)
    s.on_rerouted([b2], 300.0)
    assert s.held_shards == [name(2), name(3)]
    (other,) = offer(s, entry(1), now=300.0)
    (request,) = send(s, 300.0)
    assert request.entries == [other]
    s.resume(301.0, 320.0)
    assert send(s, 301.0) == []
    store(s, request, 302.0)
    assert send(s, 302.0) == []
    assert s.take_reroute() == ([a, b2], FIRST_SPLIT)  # what was given up was for a shard that is gone
    again = [entry_of(2), entry_of(3)]
    s.on_rerouted(again, 302.0)
    assert [r.entries for r in send(s, 302.0)] == [again]


def test_a_hold_found_while_its_lane_was_ready_is_kept():
    s = scheduler(after_failure="stop", max_requests_in_flight=1)
    offer(s, entry(1))
    (request,) = send(s)
    offer(s, entry(0, expires_at=1.0), entry(0))
    send(s, 2.0)  # the look for expired entries
    assert s.held_shards == [name(0)]
    store(s, request, 2.0)
    assert send(s, 2.0) == []
    assert s.held_shards == [name(0)]
