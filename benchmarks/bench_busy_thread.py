"""Every call alone and beside a thread in a loop of plain Python: ours and the peers', in the same conditions.

A figure is the mean of the runs of a turn, not one run: where the GIL comes back at once now and then, that is luck.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from conftest import SECONDS_A_BENCHMARK

from shardpack import (
    Aggregator,
    Limits,
    ShardMap,
    deaggregate,
    deaggregate_arrow,
    deaggregate_columns,
    hash_keys,
    iter_deaggregate,
    pack,
)
from shardpack.bench import ours, pairs, peers, received
from shardpack.bench.corpus import synthetic
from shardpack.bench.interleave import take_turn
from shardpack.bench.row import ALONE, BESIDE, Contender, Row

ROUNDS = 3
RECORDS = 100_000  # 10 MB, which is what GetRecords returns at most
EVENT_RECORDS = 40_000  # a function is given 6 MB at most


def hash_keys_of(count):
    keys = [f"device-{i}" for i in range(count(RECORDS))]
    expected = peers.hashlib_hash_keys(keys)
    return Row(
        "hash keys",
        f"{len(keys):,} short keys",
        "keys",
        len(keys),
        {
            "hash_keys": Contender(lambda: partial(hash_keys, keys), lambda found: [*found] == expected),
            "hashlib": Contender(lambda: partial(peers.hashlib_hash_keys, keys), expected.__eq__),
        },
    )


def shards_of_keys(count):
    keys = [f"device-{i}" for i in range(count(RECORDS))]
    shard_map = ShardMap.uniform(8)
    starts = [shard.starting_hash_key for shard in shard_map]
    expected = peers.bisect_shards(starts, keys)
    return Row(
        "shards of keys",
        f"{len(keys):,} short keys, 8 shards",
        "keys",
        len(keys),
        {
            "ShardMap.assign": Contender(lambda: partial(shard_map.assign, keys), lambda found: [*found] == expected),
            "hashlib + bisect": Contender(lambda: partial(peers.bisect_shards, starts, keys), expected.__eq__),
        },
    )


def aggregate(count):
    corpus = synthetic(count(RECORDS), 100)

    def is_right(sealed):
        return pairs.in_kinesis_records(sealed) == sorted(corpus.pairs())

    def aggregator():
        return Aggregator(ShardMap.uniform(8))

    return Row(
        "aggregate",
        f"{len(corpus):,} user records of 100 B, 8 shards",
        "user records",
        len(corpus),
        {
            "add_many + flush": Contender(lambda: partial(ours.add_many, aggregator(), corpus), is_right),
            "add_many + take, 10,000 at a time": Contender(
                lambda: partial(ours.add_many_and_take, aggregator(), ours.batches(corpus)), is_right
            ),
            "add + flush": Contender(lambda: partial(ours.add, aggregator(), corpus), is_right),
            "drop-in, add_user_record": Contender(lambda: partial(ours.drop_in_aggregate(), corpus), is_right),
            peers.AWS: Contender(lambda: partial(peers.aws_aggregate(), corpus), is_right),
            peers.AIOKPL: Contender(lambda: partial(peers.aiokpl_aggregate(), corpus), is_right),
        },
    )


def pack_requests(count):
    corpus = synthetic(count(RECORDS), 100)
    records = ours.add_many(Aggregator(ShardMap.uniform(100), max_bytes=5_000), corpus)

    def is_right(requests):
        return sorted(map(id, records)) == sorted(id(record) for request in requests for record in request)

    return Row(
        "pack",
        f"{len(records):,} Kinesis records, 100 shards",
        "Kinesis records",
        len(records),
        {
            "pack": Contender(lambda: partial(pack, records), is_right),
            "in order of arrival": Contender(lambda: partial(peers.pack_in_order, records, Limits()), is_right),
        },
    )


def deaggregate_records(count):
    corpus = synthetic(count(RECORDS), 100)
    records = received.get_records(received.kinesis_records(corpus, received.KPL_AGGREGATE))

    def reader(make, pairs_of):
        return Contender(lambda: partial(make(), records), lambda found: pairs_of(found) == corpus.pairs())

    return Row(
        "deaggregate",
        f"{len(corpus):,} user records of 100 B, GetRecords with KPL aggregates",
        "user records",
        len(corpus),
        {
            "deaggregate": reader(lambda: deaggregate, pairs.of_user_records),
            "iter_deaggregate": reader(lambda: lambda records: list(iter_deaggregate(records)), pairs.of_user_records),
            "deaggregate_columns": reader(lambda: deaggregate_columns, pairs.of_columns),
            "deaggregate_arrow": reader(lambda: deaggregate_arrow, lambda found: pairs.of_columns(found.columns)),
            "drop-in, deaggregate_records": reader(partial(ours.drop_in_deaggregate, "Boto3"), pairs.of_dictionaries),
            peers.AWS: reader(partial(peers.aws_deaggregate, "Boto3"), pairs.of_dictionaries),
            peers.AIOKPL: reader(peers.aiokpl_deaggregate, pairs.of_user_records),
        },
    )


def deaggregate_event(count):
    corpus = synthetic(count(EVENT_RECORDS), 100)
    event = {"Records": received.lambda_records(received.kinesis_records(corpus, received.KPL_AGGREGATE))}

    def dictionaries(found):
        return pairs.of_dictionaries(found) == corpus.pairs()

    return Row(
        "deaggregate an event of Lambda",
        f"{len(corpus):,} user records of 100 B",
        "user records",
        len(corpus),
        {
            "deaggregate": Contender(
                lambda: partial(deaggregate, event), lambda found: pairs.of_user_records(found) == corpus.pairs()
            ),
            "drop-in, deaggregate_records": Contender(
                lambda: partial(ours.drop_in_deaggregate(None), event["Records"]), dictionaries
            ),
            peers.AWS: Contender(lambda: partial(peers.aws_deaggregate(None), event["Records"]), dictionaries),
        },
    )


TASKS = (hash_keys_of, shards_of_keys, aggregate, pack_requests, deaggregate_records, deaggregate_event)
PEERS = {"hashlib", "hashlib + bisect", "in order of arrival", peers.AWS, peers.AIOKPL}


@pytest.mark.parametrize("conditions", [ALONE, BESIDE])
@pytest.mark.parametrize(
    ("task", "contender"),
    [
        pytest.param(task, name, id=f"{task.__name__}-{name}")
        for task in TASKS
        for name in task(lambda _: 64).contenders
    ],
)
def bench_beside_busy_thread(benchmark, count, task, contender, conditions):
    row = task(count)
    row.contenders[contender] = replace(row.contenders[contender], beside_busy_thread=conditions == BESIDE)
    try:
        run = row.proved(contender)
    except peers.NotInstalledError as how:
        pytest.skip(str(how))
    benchmark.group = f"{BESIDE}, {row.title}: {row.detail}"
    benchmark.extra_info.update(
        contender=contender, peer=contender in PEERS, at=conditions, amount=row.amount, unit=row.unit
    )
    with row.conditions(contender):
        runs = max(1, round(SECONDS_A_BENCHMARK / take_turn(run, 1)))
        benchmark.pedantic(run, rounds=ROUNDS, iterations=runs)
