"""The rules by which shards are known, split, merged and left to the service."""

from __future__ import annotations

import pytest
from deliveries import (
    DENIED,
    FIRST_SPLIT,
    HALVES,
    INTERNAL,
    MERGED,
    NO_STREAM,
    SLOW_DOWN,
    TIMEOUT,
    described,
    entry,
    entry_of,
    fail,
    name,
    offer,
    outcomes,
    reshard,
    scheduler,
    send,
    shards,
    store,
)

from shardpack.limits import Limits
from shardpack.producer.scheduler import MISPLACED, Scheduler, Status, Wish

# --- shards ---


def test_nothing_is_sent_between_a_misplaced_entry_and_the_new_shards():
    s = scheduler()
    a, b, c = offer(s, entry(0, 0.1, 0.3), entry(0, 0.2), entry(1))
    (request,) = send(s)
    store(s, request, 1.0, 2, 1)
    assert s.halted
    assert send(s, 1.0) == []
    assert outcomes(s) == [(c, "stored")]
    assert sorted(w.value for w in s.wishes(1.0)) == ["description", "shards"]
    assert s.wishes(1.0) == []
    s.on_described(1.1, False)
    s.on_shards(FIRST_SPLIT, 1.2)
    assert send(s, 1.2) == []
    assert s.take_reroute() == ([a, b], FIRST_SPLIT)
    assert a.maybe_stored
    assert s.pending == 2
    again = [entry_of(2), entry_of(3)]
    s.on_rerouted(again, 1.3)
    assert s.take_reroute() is None
    assert [r.entries for r in send(s, 1.3)] == [again]


def test_a_misplaced_entry_that_lies_in_its_shard_is_stored():
    s = scheduler()
    a, b = offer(s, entry(0, 0.1, 0.2), entry(0, 0.3))
    (request,) = send(s)
    store(s, request, 1.0, 2)
    assert reshard(s, FIRST_SPLIT, 1.0) == [b]
    assert outcomes(s) == [(a, "stored")]


def test_a_raw_record_is_stored_wherever_it_is_and_makes_curious():
    s = scheduler()
    a, b = offer(s, entry(0, aggregated=False), entry(0, aggregated=False))
    (request,) = send(s)
    store(s, request, 1.0, 2)
    assert outcomes(s) == [(a, "stored")]
    assert [r.entries for r in send(s, 1.0)] == [[b]]
    assert sorted(w.value for w in s.wishes(1.0)) == ["description", "shards"]


def test_what_makes_curious_asks_once_a_second_at_most():
    s = scheduler()
    asked = 0
    for step in range(100):
        now = step / 20
        offer(s, entry(0, aggregated=False), now=now)
        (request,) = send(s, now)
        store(s, request, now, 2)
        for wish in s.wishes(now):
            asked += 1
            if wish is Wish.SHARDS:
                s.on_shards(HALVES, now)
            else:
                s.on_described(now, False)
    assert asked <= 12


def test_resharding_waits_for_what_is_in_flight():
    s = scheduler(limits=Limits(max_request_records=1))
    offer(s, entry(0, 0.1, 0.3), entry(1))
    first, second = send(s)
    store(s, first, 1.0, 2)
    s.wishes(1.0)
    s.on_shards(FIRST_SPLIT, 1.0)
    s.on_described(1.0, False)
    assert send(s, 1.0) == []
    assert s.take_reroute() is None
    store(s, second, 2.0)
    send(s, 2.0)
    assert s.take_reroute() is not None


def test_an_answer_that_doubts_have_overtaken_is_asked_for_again():
    s = scheduler(limits=Limits(max_request_records=1))
    offer(s, entry(0, 0.1, 0.3), entry(1, 0.6, 0.9))
    first, second = send(s)
    store(s, first, 1.0, 2)
    assert len(s.wishes(1.0)) == 2
    store(s, second, 1.1, 3)  # a second split, after the question
    s.on_shards(FIRST_SPLIT, 1.2)
    s.on_described(1.2, False)
    assert send(s, 1.2) == []
    assert s.take_reroute() is None
    assert len(s.wishes(1.2)) == 2


def test_shards_older_than_what_replies_named_are_asked_for_again():
    s = scheduler()
    offer(s, entry(0, 0.1, 0.3))
    (request,) = send(s)
    store(s, request, 1.0, 2)
    s.wishes(1.0)
    s.on_described(1.0, False)
    s.on_shards(HALVES, 1.1)
    assert send(s, 1.1) == []
    assert s.next_time(1.1) > 1.1
    assert s.wishes(1.1) == []
    assert reshard(s, FIRST_SPLIT, 2.0)


def test_a_shard_that_is_closed_again_is_not_waited_for():
    later = shards((3, 0, 0.25), (4, 0.25, 0.5), (1, 0.5, 1))
    s = scheduler()
    (a,) = offer(s, entry(0, 0.1, 0.2))
    (request,) = send(s)
    store(s, request, 1.0, 2)
    assert reshard(s, later, 1.0) == [a]


def test_a_shard_that_is_never_listed_is_waited_for_ten_seconds():
    s = scheduler()
    (a,) = offer(s, entry(0, 0.1, 0.2))
    (request,) = send(s)
    store(s, request, 1.0, 9)
    s.wishes(1.0)
    s.on_described(1.0, False)
    s.on_shards(HALVES, 1.0)
    assert s.halted
    s.wishes(11.0)
    s.on_shards(HALVES, 11.0)
    assert send(s, 11.0) == []
    assert s.take_reroute() == ([], HALVES)
    s.on_rerouted([], 11.0)
    assert [r.entries for r in send(s, 11.0)] == [[a]]


@pytest.mark.parametrize("error", [SLOW_DOWN, TIMEOUT])
def test_while_list_shards_fails_records_wait_and_it_is_asked_again(error):
    s = scheduler()
    (a,) = offer(s, entry(0, 0.1, 0.3))
    (request,) = send(s)
    store(s, request, 1.0, 2)
    now = 1.0
    for _ in range(5):
        assert Wish.SHARDS in s.wishes(now)
        s.on_described(now, False)
        s.on_shards_error(error, now)
        assert s.wishes(now) == []
        now = s._list_shards.at
    assert s.pending == 1
    assert reshard(s, FIRST_SPLIT, now) == [a]


def test_what_expires_misplaced_is_unknown_and_says_where_it_is():
    s = scheduler()
    (a,) = offer(s, entry(0, 0.1, 0.3, expires_at=5.0))
    (request,) = send(s)
    store(s, request, 1.0, 2)
    assert send(s, 6.0) == []
    (settlement,) = s.settlements()
    assert (settlement.entry, settlement.status, settlement.error_code) == (a, Status.UNKNOWN, MISPLACED)
    assert (settlement.shard_id, settlement.sequence_number) == (name(2), "1")


def test_list_shards_denied_fails_the_stream_where_it_is_needed():
    s = scheduler()
    (a,) = offer(s, entry(0, 0.1, 0.3))
    (request,) = send(s)
    store(s, request, 1.0, 2)
    s.wishes(1.0)
    s.on_shards_error(DENIED, 1.0)
    assert s.failed == DENIED
    assert outcomes(s) == [(a, "unknown")]


def test_list_shards_denied_is_no_matter_where_it_is_only_looked_at():
    s = scheduler()
    assert Wish.SHARDS in s.wishes(300.0)
    s.on_shards_error(DENIED, 300.0)
    assert s.failed is None


def test_shards_and_description_are_asked_for_every_300_seconds():
    s = scheduler()
    assert s.wishes(299.0) == []
    assert s.wishes(300.0) == [Wish.SHARDS, Wish.DESCRIPTION]
    s.on_shards(HALVES, 300.5)
    s.on_described(300.5, False)
    assert not s.halted
    assert s.next_time(301.0) == 600.5


def test_other_shards_without_a_reply_that_says_so_are_followed():
    s = scheduler()
    s.wishes(300.0)
    (a,) = offer(s, entry(0), now=300.0)
    s.on_shards(FIRST_SPLIT, 300.5)
    s.on_described(300.5, False)
    assert send(s, 300.5) == []
    assert s.take_reroute() == ([a], FIRST_SPLIT)


def test_a_missing_stream_is_looked_for_before_anything_is_sent():
    other = shards((0, 0, 0.3), (1, 0.3, 1))
    s = scheduler()
    a, b = offer(s, entry(0), entry(1))
    (request,) = send(s)
    s.on_error(request, NO_STREAM, 1.0)
    assert send(s, 9.0) == []
    assert reshard(s, other, 9.0) == [a, b]
    assert not a.maybe_stored


def test_a_shard_of_another_stream_is_not_the_one_that_a_reply_named():
    other = shards((0, 0, 0.2), (1, 0.2, 0.4), (2, 0.4, 1))
    s = scheduler()
    (a,) = offer(s, entry(1, 0.6, 0.9))
    (request,) = send(s)
    store(s, request, 1.0, 2)
    assert reshard(s, other, 1.0) == [a]
    assert a.maybe_stored


def test_a_stream_that_list_shards_misses_too_has_failed():
    s = scheduler()
    (a,) = offer(s, entry(0))
    (request,) = send(s)
    s.on_error(request, NO_STREAM, 1.0)
    s.wishes(1.0)
    s.on_shards_error(NO_STREAM, 1.0)
    assert outcomes(s) == [(a, "not stored")]


def test_what_was_routed_anew_comes_before_what_was_offered_meanwhile():
    s = scheduler()
    offer(s, entry(0, 0.1, 0.3))
    (request,) = send(s)
    store(s, request, 1.0, 2)
    reshard(s, FIRST_SPLIT, 1.0)
    late, again = entry_of(2), entry_of(2)
    s.offer(late, 1.0)
    s.on_rerouted([again], 1.0)
    (request,) = send(s, 1.0)
    assert request.entries == [again]
    store(s, request, 1.0)
    assert [r.entries for r in send(s, 1.0)] == [[late]]


def test_what_was_given_up_while_it_was_routed_is_passed_over():
    s = scheduler()
    offer(s, entry(0, 0.1, 0.3))
    (request,) = send(s)
    store(s, request, 1.0, 2)
    (a,) = reshard(s, FIRST_SPLIT, 1.0)
    s.give_up_all(1.0, "Closed", "closed")
    assert outcomes(s) == [(a, "unknown")]
    s.on_rerouted([entry_of(2)], 1.0)
    assert outcomes(s) == []
    assert s.pending == 0


def test_a_shard_that_is_not_in_the_new_map_is_refused_before_any_is_taken():
    s = scheduler()
    offer(s, entry(0, 0.1, 0.3))
    (request,) = send(s)
    store(s, request, 1.0, 2)
    reshard(s, FIRST_SPLIT, 1.0)
    with pytest.raises(ValueError, match="shardId-000000000000"):
        s.on_rerouted([entry_of(2), entry(0)], 1.0)
    assert s.take_reroute() is not None
    assert s.pending == 1


def test_merged_shards_are_routed_in_the_order_of_their_ranges():
    s = scheduler()
    a, b, c, d = offer(s, entry(1), entry(0), entry(1), entry(0))
    (request,) = send(s)
    assert request.entries == [a, b]
    fail(s, request, INTERNAL)
    s.wishes(300.0)
    s.on_shards(MERGED, 300.0)
    s.on_described(300.0, False)
    assert send(s, 300.0) == []
    assert s.take_reroute() == ([b, d, a, c], MERGED)


# --- AUTO distribution ---


def test_a_stream_that_turns_to_auto_distribution_has_its_aggregates_taken_apart():
    s = scheduler()
    a, raw = offer(s, entry(0), entry(1, aggregated=False))
    s.wishes(300.0)
    s.on_described(300.0, True)
    assert s.auto_distribution
    assert send(s, 300.0) == []
    s.on_shards(HALVES, 300.0)
    assert send(s, 300.0) == []
    assert s.take_reroute() == ([a], HALVES)
    s.on_rerouted([entry(0, aggregated=False), entry(0, aggregated=False)], 300.0)
    (request,) = send(s, 300.0)  # and no order is kept, for there is none
    assert len(request.entries) == 3
    assert raw in request.entries
    store(s, request, 300.0, 1, 1, 0)
    assert [status for _, status in outcomes(s)] == ["stored"] * 3
    assert s.wishes(310.0) == []


def test_a_misplaced_entry_of_a_shard_that_is_as_it_was_is_sent_again():
    """AUTO distribution was on, and is off again."""
    s = scheduler()
    a, b = offer(s, entry(0), entry(0))
    (request,) = send(s)
    store(s, request, 1.0, 1)
    assert reshard(s, HALVES, 1.0) == []
    s.on_rerouted([], 1.0)
    (request,) = send(s, 2.0)
    assert request.entries == [a]
    store(s, request, 2.0)
    assert outcomes(s) == [(a, "stored")]
    assert [r.entries for r in send(s, 2.0)] == [[b]]


def test_where_no_description_can_be_had_an_entry_misplaced_twice_tells_of_auto_distribution():
    s = Scheduler(HALVES)
    described(s, 0.0, auto_distribution=None)
    (a,) = offer(s, entry(0))
    (request,) = send(s)
    store(s, request, 1.0, 1)
    assert reshard(s, HALVES, 1.0, auto_distribution=None) == []  # it may be off again
    assert not s.auto_distribution
    s.on_rerouted([], 1.0)
    (request,) = send(s, 2.0)
    store(s, request, 2.0, 1)
    assert reshard(s, HALVES, 2.0, auto_distribution=None) == [a]
    assert s.auto_distribution


def test_one_record_that_looks_aggregated_does_not_stop_an_auto_stream():
    s = Scheduler(HALVES)
    described(s, 0.0, auto_distribution=True)
    s.wishes(0.0)
    send(s)
    s.on_rerouted([], 0.0)
    a, b = entry(0), entry(0)
    a.user_record_count = b.user_record_count = 1
    offer(s, a, b)
    (request,) = send(s)
    store(s, request, 0.0, 1, 0)
    assert outcomes(s) == [(a, "unknown"), (b, "stored")]
    assert not s.halted


def test_one_compressed_record_is_taken_apart_where_the_service_spreads_them():
    """It can be sent raw instead, which readers take anywhere."""
    s = scheduler()
    a = entry(0)
    a.user_record_count, a.compressed = 1, True
    offer(s, a)
    (request,) = send(s)
    s.auto_distribution = True
    store(s, request, 1.0, 1)
    assert outcomes(s) == []
    assert s.halted
    assert reshard(s, HALVES, 1.0, auto_distribution=True) == [a]
    raw = entry(0, aggregated=False)
    s.on_rerouted([raw], 1.0)
    (request,) = send(s, 2.0)
    store(s, request, 2.0, 1)
    assert outcomes(s) == [(raw, "stored")]


def test_where_readers_take_all_an_aggregate_is_stored_in_whatever_shard():
    s = scheduler()
    s.readers_take_all = True
    offer(s, a := entry(0), b := entry(1))
    (request,) = send(s)
    store(s, request, 1.0, 1, 0)
    assert outcomes(s) == [(a, "stored"), (b, "stored")]
    assert not s.halted
    assert s.wishes(10.0) == []


def test_where_shards_are_not_listed_a_lone_record_is_where_its_hash_key_is():
    s = Scheduler(None)
    s.wishes(0.0)
    s.on_shards_denied(0.0)
    s.on_described(0.0, False)
    send(s)
    s.on_rerouted([], 0.0)
    a = entry(0)
    a.user_record_count = 1
    offer(s, a)
    (request,) = send(s)
    store(s, request, 1.0, 3)
    assert outcomes(s) == [(a, "stored")]
    assert not s.halted
