"""Streams that are resharded: to the end, through errors and lost answers, while a producer puts."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections import Counter

import pytest

from shardpack import Boto3Transport, Producer, ShardMap, hash_key
from shardpack.bench import corpus
from shardpack.plan import Load, ReshardError, most_to_mean, producer_load, reshard, resharding
from shardpack.testing import history
from shardpack.testing.fault_proxy import FaultProxy
from shardpack.testing.faults import Error, Reset
from shardpack.testing.local_kinesis import wait_until_active

SKEWED = Load.of_keys({f"key-{i}": 1 / (i + 1) ** 0.9 for i in range(2000)})


@pytest.fixture(params=["local_kinesis", "raising"], ids=["roto-server", "kinesis-local"])
def kinesis(request):
    """Two of them: the second one is UPDATING for a while after each call, and refuses what comes meanwhile."""
    return request.getfixturevalue(request.param)


def created(kinesis, shards):
    kinesis.create_stream(name := f"reshard-{uuid.uuid4()}", shards)
    return name


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(resharding, "BACKOFF_SECONDS", (0.01, 0.05))
    monkeypatch.setattr(resharding, "BETWEEN_CALLS_SECONDS", 0.0)
    monkeypatch.setattr(resharding, "POLL_SECONDS", (0.02, 0.1))


def borders_of(shard_map):
    return tuple(shard.starting_hash_key for shard in shard_map)[1:]


def is_even(shard_map, count):
    width = 2**128 // count
    even = borders_of(ShardMap.uniform(count))
    return len(shard_map) == count and all(
        abs(one - other) <= width / 100 for one, other in zip(borders_of(shard_map), even, strict=True)
    )


@pytest.mark.usefixtures("impatient")
def test_scaled_and_balanced_to_the_end(kinesis):
    client, stream = kinesis.client(), created(kinesis, 3)
    for count in (12, 4, 4):
        found = reshard(client, stream, to=count, apply=True)
        assert is_even(found.shard_map, count)
        assert found.shard_map == Boto3Transport(client, stream).list_shards()
        assert not reshard(client, stream, to=count).plan.steps
    told = []
    found = reshard(client, stream, balance=True, load=SKEWED, max_shards=6, apply=True, progress=told.append)
    assert borders_of(found.shard_map) == found.plan.borders
    assert found.done == found.plan.steps
    assert most_to_mean(SKEWED.by_shard(found.shard_map)) <= 1.3 < found.plan.ratio_before
    assert [each.step for each in told] == [*found.done, None]
    assert [(each.done, each.left) for each in told] == [(i, len(told) - 1 - i) for i in range(len(told))]


def test_without_apply_nothing_is_changed(local_kinesis):
    client, stream = local_kinesis.client(), created(local_kinesis, 4)
    before = client.list_shards(StreamName=stream)["Shards"]
    found = reshard(client, stream, balance=True, load=SKEWED)
    assert found.plan.steps
    assert not found.done
    assert reshard(client, stream, to=9).plan.steps
    assert client.list_shards(StreamName=stream)["Shards"] == before


def test_by_arn(local_kinesis):
    client, stream = local_kinesis.client(), created(local_kinesis, 1)
    arn = client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]
    assert len(reshard(client, arn, to=2, apply=True).shard_map) == 2


def test_an_on_demand_stream_is_refused(local_kinesis):
    client, stream = local_kinesis.client(), f"reshard-{uuid.uuid4()}"
    client.create_stream(StreamName=stream, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    wait_until_active(client, stream)
    with pytest.raises(ReshardError, match="is on-demand"):
        reshard(client, stream, to=8, apply=True)


CHANGES = ("UpdateShardCount", "SplitShard", "MergeShards")
LOOKS = ("DescribeStreamSummary", "ListShards", "DescribeLimits")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("seed", range(3))
def test_through_refusals_and_lost_answers(local_kinesis, seed):
    stream = created(local_kinesis, 4)
    faults = [
        fault
        for operation in (*CHANGES, *LOOKS)
        for fault in (
            Error("LimitExceededException", probability=0.2, operations=operation),
            Error("InternalFailure", probability=0.1, operations=operation),
            Error("InternalFailure", when="after", probability=0.1, operations=operation),
            Reset("after", probability=0.1, operations=operation),
        )
    ]
    faults += [Error("ResourceInUseException", probability=0.2, operations=operation) for operation in CHANGES]
    with FaultProxy(local_kinesis.endpoint_url, seed=seed, faults=faults) as proxy:
        client = proxy.client(retries={"total_max_attempts": 1})
        assert is_even(reshard(client, stream, to=9, apply=True).shard_map, 9)
        found = reshard(client, stream, balance=True, load=SKEWED, apply=True)
        assert borders_of(found.shard_map) == found.plan.borders
        assert sum(proxy.injected.values()) > 10


@pytest.mark.usefixtures("impatient")
def test_where_the_days_updates_are_used_up_shards_are_split_and_merged(local_kinesis):
    stream, told = created(local_kinesis, 4), []
    with FaultProxy(
        local_kinesis.endpoint_url, seed=1, faults=[Error("LimitExceededException", operations="UpdateShardCount")]
    ) as proxy:
        found = reshard(proxy.client(), stream, to=7, apply=True, progress=told.append)
    assert is_even(found.shard_map, 7)
    assert [step.operation for step in found.plan.steps] == ["UpdateShardCount"]
    assert {step.operation for step in found.done} == {"SplitShard", "MergeShards"}
    assert len(found.done) == 6 + 3
    assert any("LimitExceededException" in each.waits_for for each in told)


@pytest.mark.usefixtures("impatient")
def test_where_the_account_has_no_shard_left_merges_come_first(local_kinesis):
    """SplitShard is refused as long as there are as many shards as at first."""
    client, stream = local_kinesis.client(), created(local_kinesis, 4)

    def refuse(request):
        open_shards = client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["OpenShardCount"]
        full = request.operation == "SplitShard" and open_shards >= 4
        return Error("LimitExceededException") if full else None

    with FaultProxy(local_kinesis.endpoint_url, seed=1, faults=[refuse]) as proxy:
        found = reshard(proxy.client(), stream, balance=True, load=SKEWED, apply=True)
    assert borders_of(found.shard_map) == found.plan.borders
    assert found.done[0].operation == "MergeShards"


@pytest.mark.usefixtures("impatient")
def test_refused_for_longer_than_is_waited_for(local_kinesis):
    stream = created(local_kinesis, 1)
    faults = [Error("LimitExceededException", operations="SplitShard")]
    with FaultProxy(local_kinesis.endpoint_url, seed=1, faults=faults) as proxy:
        with pytest.raises(Exception, match="LimitExceededException"):
            reshard(proxy.client(), stream, to=2, apply=True, patience_s=0.5)
        with pytest.raises(Exception, match="ResourceNotFound"):
            reshard(proxy.client(), "absent", to=2, apply=True)


@pytest.mark.usefixtures("impatient")
def test_denied_is_not_tried_again(local_kinesis):
    stream = created(local_kinesis, 1)
    faults = [Error("AccessDeniedException", operations="SplitShard")]
    with FaultProxy(local_kinesis.endpoint_url, seed=1, faults=faults) as proxy:
        with pytest.raises(Exception, match="AccessDenied"):
            reshard(proxy.client(), stream, to=2, apply=True)
        assert proxy.requests["SplitShard"] == 1


@pytest.mark.usefixtures("impatient")
def test_calls_that_change_nothing_come_to_an_end(local_kinesis, monkeypatch):
    """A Kinesis that says yes to each SplitShard and does none."""
    monkeypatch.setattr(resharding, "SETTLE_SECONDS", 0.0)
    client, stream = local_kinesis.client(), created(local_kinesis, 1)
    monkeypatch.setattr(client, "split_shard", lambda **_: {})
    with pytest.raises(ReshardError, match="do not become what calls say"):
        reshard(client, stream, to=2, apply=True)


@pytest.mark.usefixtures("impatient")
def test_with_another_hand_in_it(local_kinesis):
    """Somebody splits a shard between two calls: it comes to the same shards, by more calls."""
    client, stream = local_kinesis.client(), created(local_kinesis, 4)
    others = iter(range(3))

    def disturb(progress):
        if progress.step is not None and next(others, None) is not None:
            shard = max(progress.shard_map, key=lambda shard: shard.ending_hash_key - shard.starting_hash_key)
            at = shard.starting_hash_key + (shard.ending_hash_key - shard.starting_hash_key) // 3
            local_kinesis.client().split_shard(
                StreamName=stream, ShardToSplit=shard.shard_id, NewStartingHashKey=str(at)
            )

    found = reshard(client, stream, balance=True, load=SKEWED, apply=True, progress=disturb)
    assert borders_of(found.shard_map) == found.plan.borders


@pytest.mark.usefixtures("impatient")
def test_a_shard_that_is_listed_no_more_is_an_error(local_kinesis, monkeypatch):
    """Closed shards stay listed for as long as they may be read; a list without one is not to be relied on."""
    client, stream = local_kinesis.client(), created(local_kinesis, 2)
    listed = client.list_shards

    def open_alone(**asked):
        return listed(**asked, ShardFilter={"Type": "AT_LATEST"})

    monkeypatch.setattr(client, "list_shards", open_alone)
    with pytest.raises(ReshardError, match=r"shardId-00000000000. was open, and is listed no more"):
        reshard(client, stream, borders=(7 << 120,), apply=True)


def test_an_update_that_takes_longer_than_is_waited_for(raising):
    """And the next run goes on where it stands."""
    client, stream = raising.client(), created(raising, 2)
    with pytest.raises(ReshardError, match=r"is UPDATING after 0.05 s; run this again to go on"):
        reshard(client, stream, to=4, apply=True, patience_s=0.05)
    found = reshard(client, stream, to=4, apply=True)
    assert is_even(found.shard_map, 4)
    assert not found.done


# --- while a producer puts ---


def tail_numbers(seed):
    """Draw the tail numbers of real flights, the n-th most seen with a weight of 1/n."""
    seen = Counter(corpus.flights(30_000).keys)
    keys = [key for key, _ in seen.most_common()]
    weights = [1 / (rank + 1) for rank in range(len(keys))]
    rng = random.Random(seed)
    return lambda count: rng.choices(keys, weights, k=count)


def test_balanced_under_load_nothing_is_lost_or_out_of_order(local_kinesis):
    """Balanced, made even again and balanced: heaviest shard to mean at most 1.3, by what lands in each after it."""
    client, stream = local_kinesis.client(), created(local_kinesis, 8)
    draw, puts = tail_numbers(1), []
    with Producer(
        stream, client=local_kinesis.client(retries={"total_max_attempts": 1}), linger_ms=20, max_aggregate_records=50
    ) as producer:

        def put(phase, count):
            keys = draw(count)
            datas = [b"%d/%d" % (phase, i) + b"." * 60 for i in range(count)]
            puts.append((keys, datas, producer.put_many(keys, datas)))

        put(1, 20_000)
        producer.flush(60)
        assert ratio(client, stream, b"1/") > 1.3
        load = Load.of_keys(Counter(puts[0][0]))
        resharding_now, phase = threading.Event(), 2

        def run():
            try:
                found.extend(
                    reshard(client, stream, load=load, apply=True, **what)
                    for what in ({"balance": True}, {"to": 8}, {"balance": True})
                )
            finally:
                resharding_now.set()

        found = []
        thread = threading.Thread(target=run)
        thread.start()
        while not resharding_now.is_set():
            put(phase, 500)
            phase += 1
            time.sleep(0.02)
        thread.join()
        assert sum(len(each.done) for each in found) >= 9
        last = phase
        put(last, 20_000)
        producer.flush(60)
    assert ratio(client, stream, b"%d/" % last) <= 1.3
    told = [
        history.Put(key, data, history.Position(outcome.shard_id, outcome.sequence_number, outcome.sub_sequence_number))
        for keys, datas, receipts in puts
        for key, data, outcome in zip(keys, datas, [receipt.result(0) for receipt in receipts], strict=True)
    ]
    report = history.check(told, history.read_all(client, stream, kcl_rule=True))
    assert report.holds, report
    assert report.found - report.duplicates == len(told)


def test_balanced_by_what_a_producer_has_seen(local_kinesis):
    """Nothing is read: the producer knows what each shard took, and its heaviest keys."""
    client, stream = local_kinesis.client(), created(local_kinesis, 8)
    keys = tail_numbers(3)(40_000)
    with Producer(stream, client=local_kinesis.client(retries={"total_max_attempts": 1}), linger_ms=20) as producer:
        producer.put_many(keys, [b"." * 200] * len(keys))
        producer.flush(60)
        seen = producer_load(
            Boto3Transport(client, stream).list_shards(), producer.hot_shards(min_utilisation=0, max_keys=4096)
        )
    assert len(seen) > 8 * 256
    true = Load.of_keys(Counter(keys))
    plan = reshard(client, stream, balance=True, load=seen).plan
    assert most_to_mean(true.by_shard(plan.before)) > 1.3
    assert most_to_mean(true.by_shard(plan.after)) <= 1.3
    for shard, part in zip(true.by_shard(plan.before), seen.by_shard(plan.before), strict=True):
        assert part / seen.total == pytest.approx(shard / true.total, rel=0.2)


def ratio(client, stream, prefix):
    """Return the heaviest shard to mean, of the data that begins so, in the shards that are open."""
    open_shards = {shard.shard_id for shard in Boto3Transport(client, stream).list_shards()}
    sizes = dict.fromkeys(open_shards, 0)
    for shard in history.read_all(client, stream, kcl_rule=True):
        for record in shard.records:
            if record.data.startswith(prefix):
                assert shard.shard_id in open_shards
                sizes[shard.shard_id] += len(record.data) + len(record.partition_key)
    return most_to_mean(sizes.values())


def test_a_carrier_is_too_heavy_for_any_shard():
    """Flights keyed by carrier: no split helps the three that have a sixth each, and they are named."""
    carriers = Counter(json.loads(data)["carrier"] for data in corpus.flights(30_000).datas)
    load = Load.of_keys(carriers)
    plan = resharding.reshard_steps(ShardMap.uniform(8), balance=True, load=load)
    assert plan.ratio_after > 1.3
    heavy = [key for key, count in carriers.most_common() if count > 1.3 * sum(carriers.values()) / 8]
    assert list(plan.too_heavy) == [hash_key(key) for key in heavy]
    assert 1 <= len(heavy) <= 4
