"""Capacity plans, against hashlib, sums over single records, and what a local Kinesis stores."""

from __future__ import annotations

import hashlib
import json
import math
import random
from bisect import bisect_right
from collections import Counter

import pytest
import zstandard

from shardpack import Aggregator, InvalidPartitionKeyError, Limits, ShardMap, deaggregate
from shardpack import keys as strategies
from shardpack.bench.corpus import flights
from shardpack.plan import Prices, Sample, plan
from shardpack.plan.load import CELLS
from shardpack.plan.sample import BLOCK_BYTES, BLOCKS, MAX_KEYS
from shardpack.testing.faults import ShardLimits
from shardpack.testing.shard_limits import ShardBuckets

END = 2**128
MIB = 2**20


def md5(key):
    return int.from_bytes(hashlib.md5(key.encode()).digest(), "big")


def shard_of(key, count):
    width = END // count
    return min(md5(key) // width, count - 1)


def by_shard(keys, sizes, count):
    """What n records bring each of so many shards: bytes and records."""
    found = [[0, 0] for _ in range(count)]
    for key, size in zip(keys, sizes, strict=True):
        found[shard_of(key, count)][0] += size
        found[shard_of(key, count)][1] += 1
    return found


@pytest.fixture(scope="module")
def events():
    return flights(60_000).datas


@pytest.fixture(scope="module")
def carriers(events):
    return [json.loads(event)["carrier"] for event in events]


@pytest.fixture(scope="module")
def tail_numbers(events):
    return [json.loads(event)["tailnum"] or "unknown" for event in events]


def sample(keys, datas, explicit_hash_keys=None):
    found = Sample()
    found.add_many(keys, datas, explicit_hash_keys)
    return found


# --- what shards get ---


def test_raw_shards_get_what_single_records_sum_up_to(carriers, events):
    rate, count = 20_000, 8
    found = plan(sample(carriers, events), rate=rate, shards=count, way="raw")
    sizes = [len(key) + len(data) for key, data in zip(carriers, events, strict=True)]
    scale = rate / len(events)
    for shard, (size, records) in zip(found.shards, by_shard(carriers, sizes, count), strict=True):
        assert shard.bytes_per_second == pytest.approx(size * scale)
        assert shard.records_per_second == pytest.approx(records * scale)
        assert shard.utilisation == pytest.approx(max(size * scale / MIB, records * scale / 1_000))
    assert found.user_bytes_per_second == pytest.approx(sum(sizes) * scale)
    assert found.of("raw").payload_units_per_second == pytest.approx(rate)  # none has more than 25 KiB


@pytest.mark.parametrize("rate", [900, 2_700, 5_000, 20_000])
def test_the_shards_needed_are_the_fewest_of_which_none_is_fuller(carriers, events, rate):
    found = plan(sample(carriers, events), rate=rate)
    wire = found.of("aggregated").bytes_per_second / found.user_bytes_per_second
    sizes = Counter()
    for key, data in zip(carriers, events, strict=True):
        sizes[key] += len(key) + len(data)

    def fullest(count):
        shards = [0.0] * count
        for key, size in sizes.items():
            shards[shard_of(key, count)] += size * wire * rate / len(events) / MIB
        return max(shards)

    expected = next((count for count in range(1, 65) if fullest(count) <= 0.8), None)
    assert found.of("aggregated").shards_needed == expected
    assert (expected is None) == (rate == 20_000)  # no number of shards does for UA alone then


def test_an_aggregated_shard_gets_what_the_service_stores(client, local_kinesis, carriers, events):
    keys, datas = carriers[:20_000], events[:20_000]
    rate, count = 20_000, 4
    found = plan(sample(keys, datas), rate=rate, shards=count)
    local_kinesis.create_stream("planned", count)
    aggregator = Aggregator(ShardMap.uniform(count))
    for begin in range(0, len(datas), rate // 10):  # a linger of 100 ms
        aggregator.add_many(keys[begin : begin + rate // 10], datas[begin : begin + rate // 10])
        for record in aggregator.flush():
            client.put_records(StreamName="planned", Records=[record.to_boto3()])
    stored, entries, user_records = 0, 0, 0
    for shard in client.list_shards(StreamName="planned")["Shards"]:
        where = client.get_shard_iterator(
            StreamName="planned", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while True:
            response = client.get_records(ShardIterator=where)
            stored += sum(len(one["Data"]) + len(one["PartitionKey"].encode()) for one in response["Records"])
            entries += len(response["Records"])
            user_records += len(deaggregate(response))
            where = response["NextShardIterator"]
            if not response["Records"] and not response["MillisBehindLatest"]:
                break
    assert user_records == len(datas)
    way = found.of("aggregated")
    assert way.bytes_per_second == pytest.approx(stored)  # of one second: as many records as the rate
    assert way.kinesis_records_per_second == pytest.approx(entries)


def test_compressed_is_what_zstandard_makes_of_the_messages(carriers, events):
    keys, datas = carriers[:20_000], events[:20_000]
    found = plan(sample(keys, datas), rate=20_000, shards=2)
    aggregator, zstd, total = Aggregator(ShardMap.uniform(2)), zstandard.ZstdCompressor(1, write_checksum=True), 0
    for begin in range(0, len(datas), 2_000):
        aggregator.add_many(keys[begin : begin + 2_000], datas[begin : begin + 2_000])
        for record in aggregator.flush():
            total += len(record.partition_key.encode()) + 9 + len(zstd.compress(record.data[4:-16]))
    assert found.of("compressed").bytes_per_second == pytest.approx(total, rel=0.02)
    assert found.of("compressed").bytes_per_second < found.of("aggregated").bytes_per_second / 6


def test_the_split_point_halves_what_a_hot_shard_gets(tail_numbers, events):
    found = plan(sample(tail_numbers, events), rate=5_000, shards=1)
    (shard,) = found.hot_shards
    sizes = Counter()
    for key, data in zip(tail_numbers, events, strict=True):
        sizes[md5(key)] += len(key) + len(data)
    below = sum(size for at, size in sizes.items() if at < shard.split_point)
    assert abs(2 * below - sizes.total()) <= max(sizes.values())


# --- keys and strategies ---


def test_flights_keyed_by_carrier_have_hot_shards_and_a_strategy_that_passes(carriers, tail_numbers, events):
    rate, count = 20_000, 8
    found = plan(
        sample(carriers, events), rate=rate, shards=count, other_keys={"tailnum": sample(tail_numbers, events)}
    )
    scale = rate / len(events)
    sizes = Counter()
    for key, data in zip(carriers, events, strict=True):
        sizes[key] += len(key) + len(data)
    assert [key.partition_key for key in found.keys] == [key for key, _ in sizes.most_common(10)]
    assert [key.bytes_per_second for key in found.keys] == pytest.approx(
        [size * scale for _, size in sizes.most_common(10)]
    )
    hot = Counter()
    for key, size in sizes.items():
        hot[shard_of(key, count)] += size * scale * found.of("aggregated").wire.bytes / MIB
    expected = [i for i, full in hot.most_common() if full > 0.8]
    assert [shard.shard.shard_id for shard in found.hot_shards] == [f"shardId-{i:012d}" for i in expected]
    for shard, i in zip(found.hot_shards, expected, strict=True):
        assert [key.partition_key for key in shard.keys] == [
            key for key, _ in sizes.most_common() if shard_of(key, count) == i
        ]
    as_it_is = found.strategies[0]
    assert not as_it_is.passes
    assert as_it_is.most_to_mean == pytest.approx(hot.most_common(1)[0][1] * count / sum(hot.values()))
    assert found.recommended is not None
    assert found.recommended.name == "key tailnum"
    assert max(shard.utilisation for shard in found.after) <= 0.8
    assert len(found.after) <= 10


@pytest.mark.parametrize("name", ["HotKeys", "Salted", "Spread"])
def test_a_strategy_that_passes_does_so_record_by_record(carriers, events, name):
    rate = 20_000
    found = next(each for each in plan(sample(carriers, events), rate=rate, shards=8).strategies if name in each.name)
    assert found.passes
    strategy = eval(found.name, vars(strategies))  # noqa: S307 - as it is written for a program
    if name == "HotKeys":
        now = iter(range(10**9))
        hot_from = float(found.name.partition("=")[2].rstrip(")").replace("_", "") or MIB / 2)
        strategy = strategies.HotKeys(hot_bytes_per_second=hot_from, clock=lambda: next(now) / rate)
    count = found.shards_needed["aggregated"]
    shard_map, shards, seen = ShardMap.uniform(count), [0] * count, 0
    for turn in range(6):  # HotKeys looks on for five seconds
        for key, data in zip(carriers[:20_000], events[:20_000], strict=True):
            made = strategy(key, data)
            made, explicit = made if isinstance(made, tuple) else (made, None)
            if turn == 5 or name != "HotKeys":
                at = md5(made) if explicit is None else explicit
                shards[shard_map.index_of(at)] += len(made) + len(data)
                seen += 1
    assert max(shards) * rate / seen / MIB <= 0.8 * 1.1  # the wire, and the sample of HotKeys


def test_without_keys_everything_is_even(events):
    found = plan(sample([None] * len(events), events), rate=20_000)
    assert found.most_to_mean == pytest.approx(1, abs=0.01)
    assert found.recommended is found.strategies[0]
    assert found.keys == ()


def test_explicit_hash_keys_decide(events):
    found = plan(sample(["a"] * 100, events[:100], [2**127] * 100), rate=100, shards=2)
    assert [shard.utilisation > 0 for shard in found.shards] == [False, True]
    assert found.keys[0].explicit_hash_key == 2**127
    assert [each.name for each in found.strategies] == ["as it is", "Spread()"]
    assert found.strategies[1].most_to_mean == 2  # they stay where they are


# --- costs ---


def test_costs_are_units_times_prices(carriers, events):
    rate = 20_000
    found = plan(sample(carriers, events), rate=rate, mean_rate=rate / 4, shards=8, consumers=2)
    month = 730 * 3600
    sizes = [len(key) + len(data) for key, data in zip(carriers, events, strict=True)]
    provisioned, on_demand, advantage = found.of("raw").costs
    shards = found.of("raw").shards_needed or found.of("raw").shards_if_even
    units = rate / 4 * month / 1e6
    assert provisioned.shard_hours_a_month == shards * 730
    assert provisioned.million_payload_units_a_month == pytest.approx(units)
    assert provisioned.a_month == pytest.approx(shards * 730 * 0.015 + units * 0.014)
    gb_in = rate / 4 * sum(math.ceil(size / 1024) for size in sizes) / len(sizes) * 1024 * month / 2**30
    gb_out = 2 * rate / 4 * sum(sizes) / len(sizes) * month / 2**30
    assert on_demand.gb_in_a_month == pytest.approx(gb_in)
    assert on_demand.gb_out_a_month == pytest.approx(gb_out)
    assert on_demand.a_month == pytest.approx(730 * 0.04 + gb_in * 0.08 + gb_out * 0.04)
    least = 25 * month / 1024
    assert advantage.a_month == pytest.approx(max(gb_in, least) * 0.032 + max(gb_out, least) * 0.016)
    assert advantage.a_month_beside_others == pytest.approx(gb_in * 0.032 + gb_out * 0.016)
    dearer = plan(sample(carriers, events), rate=rate, shards=8, prices=Prices(shard_hour=0.03)).of("raw").costs[0]
    assert dearer.a_month == pytest.approx(shards * 730 * 0.03 + rate * month / 1e6 * 0.014)


# --- bounds ---


def test_keys_beyond_the_bound_are_taken_together_and_nothing_is_lost():
    rng = random.Random(4)
    heavy = [f"heavy-{i}" for i in range(10)]
    keys = [rng.choice(heavy) if rng.random() < 0.2 else f"light-{rng.randrange(10**9)}" for _ in range(200_000)]
    found = sample(keys, [b"x" * 20] * len(keys))
    assert not found.keys_told_apart
    assert len(found.by_weight()) < 2 * MAX_KEYS
    counts = Counter(keys)
    assert {seen.partition_key: seen.records for seen in found.by_weight()[:10]} == {key: counts[key] for key in heavy}
    assert found.user_records == len(keys)
    assert sum(records for _, _, records in found.points()) == len(keys)
    assert sum(size for _, size, _ in found.points()) == found.user_bytes == sum(len(key) + 20 for key in keys)
    starts = [i * (END // 16) for i in range(16)]
    exact, close = [0] * 16, [0] * 16
    for key, count in counts.items():
        exact[bisect_right(starts, md5(key)) - 1] += count
    for at, _, records in found.points():
        close[bisect_right(starts, at) - 1] += records
    assert close == exact  # the cells that keys are taken together by do not lie across these shards
    assert CELLS % 16 == 0


def test_so_much_of_the_user_records_is_kept_and_no_more():
    found, data = Sample(), b"x" * 65_535
    for i in range(4 * BLOCKS * BLOCK_BYTES // 65_536):
        found.add_many(["k"], [data[:-8] + b"%08d" % i])
    kept = [int(data[-8:]) for block in found.blocks() for data in block.datas]
    assert len(kept) * 65_528 < (BLOCKS + 1) * BLOCK_BYTES
    assert kept == sorted(kept)
    quarter = found.user_records // 4
    assert all(any(i // quarter == part for i in kept) for part in range(4))  # from the whole of it
    assert found.user_records == 4 * BLOCKS * 16


def test_what_cannot_be_planned_is_refused(events):
    good = sample(["a"], events[:1])
    with pytest.raises(ValueError, match="no user record"):
        plan(Sample(), rate=1)
    for rate in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="rate"):
            plan(good, rate=rate)
    with pytest.raises(ValueError, match="max_utilisation"):
        plan(good, rate=1, max_utilisation=2)
    with pytest.raises(ValueError, match="none of raw, aggregated, compressed"):
        plan(good, rate=1, way="gzip")
    with pytest.raises(InvalidPartitionKeyError):
        sample(["x" * 300], events[:1])


def test_it_takes_pairs_and_user_records(carriers, events):
    pairs = list(zip(carriers[:1_000], events[:1_000], strict=True))
    aggregator = Aggregator(ShardMap.uniform(1), limits=Limits())
    aggregator.add_many(carriers[:1_000], events[:1_000])
    received = deaggregate([record.data for record in aggregator.flush()])
    one, other = plan(pairs, rate=10), plan(received, rate=10)
    assert (one.ways, one.keys, one.shards) == (other.ways, other.keys, other.shards)


def test_behind_shard_limits_what_is_recommended_is_not_throttled_and_what_there_is_is(carriers, tail_numbers, events):
    rate = 20_000
    found = plan(sample(carriers, events), rate=rate, shards=8, other_keys={"tailnum": sample(tail_numbers, events)})
    assert found.recommended is not None

    def throttled(keys, count):
        """Send three seconds' records, each tenth of a second what came, past the limits of shards by their clock."""
        now, refused = [0.0], Counter()
        buckets, aggregator = ShardBuckets(lambda: now[0]), Aggregator(ShardMap.uniform(count))
        for begin in range(0, 3 * rate, rate // 10):
            now[0] = begin / rate
            aggregator.add_many(keys[begin : begin + rate // 10], events[begin : begin + rate // 10])
            for record in aggregator.flush():
                if not buckets.takes(ShardLimits(burst_s=0.3), "planned", str(record.shard_index), record.size):
                    refused[record.shard_index] += 1
        return refused

    assert {1, 3} <= throttled(carriers, 8).keys()  # the shards that are over 100%
    assert not throttled(tail_numbers, found.recommended.shards_needed["aggregated"])
