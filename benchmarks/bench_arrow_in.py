"""Rows of Arrow into Kinesis records, beside the same from lists.

Lists are measured as they were made, item behind item, and scattered over the heap, as they are in programs that have
run for a while.
"""

from __future__ import annotations

import random
from functools import partial

import pyarrow as pa
import pytest
from conftest import RECORD_SIZES

from shardpack import Aggregator, ShardMap
from shardpack.bench import ours, pairs
from shardpack.bench.corpus import Corpus

BY_SIZE = "aggregate Arrow by record size"

SHARDS = ShardMap.uniform(8)


def scattered(corpus):
    order = list(range(len(corpus)))
    random.Random(7).shuffle(order)
    return Corpus([corpus.keys[i] for i in order], [corpus.datas[i] for i in order])


def add_many(corpus):
    return partial(ours.add_many, Aggregator(SHARDS), corpus)


def add_arrow(batch):
    return partial(ours.add_arrow, Aggregator(SHARDS), batch)


def batch_of(keys, data_type):
    return lambda corpus: pa.record_batch(
        {"partition_key": keys(pa.array(corpus.keys)), "data": pa.array(corpus.datas, data_type)}
    )


CONTENDERS = {
    "add_many from lists": add_many,
    "add_many from scattered lists": lambda corpus: add_many(scattered(corpus)),
    "add_arrow": lambda corpus: add_arrow(batch_of(lambda keys: keys, pa.binary())(corpus)),
    "add_arrow, dictionary of keys": lambda corpus: add_arrow(
        batch_of(lambda keys: keys.dictionary_encode(), pa.binary())(corpus)
    ),
    "add_arrow, views": lambda corpus: add_arrow(
        batch_of(lambda keys: keys.cast(pa.string_view()), pa.binary_view())(corpus)
    ),
}


@pytest.mark.parametrize("record_size", RECORD_SIZES)
@pytest.mark.parametrize("contender", CONTENDERS)
def bench_add_arrow(measure, sized, contender, record_size):
    corpus = sized(record_size)
    run = CONTENDERS[contender](corpus)
    assert pairs.in_kinesis_records(run()) == sorted(corpus.pairs())
    measure(run, group=BY_SIZE, contender=contender, at=record_size, amount=len(corpus))
