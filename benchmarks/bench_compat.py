"""The drop-in for aws_kinesis_agg beside the original: the same calls, and dictionaries that are equal."""

from __future__ import annotations

from functools import partial

import pytest
from conftest import RECORD_SIZES

from shardpack.bench import ours, pairs, peers, received

EVENTS = "drop-in, from events of Lambda"
BOTO3 = "drop-in, from boto3 records"
KPL_EVENTS = "drop-in, from events of Lambda, Kinesis records of 51,200 B"
AGGREGATE = "drop-in, aggregate"

# group: the shape, its data format, and how large Kinesis records are
SHAPES = {
    EVENTS: (received.lambda_records, None, received.MIB),
    BOTO3: (received.get_records, "Boto3", received.MIB),
    KPL_EVENTS: (received.lambda_records, None, received.KPL_AGGREGATE),
}
READERS = {"shardpack.compat": ours.drop_in_deaggregate, "aws_kinesis_agg": peers.aws_deaggregate}
WRITERS = {"shardpack.compat": ours.drop_in_aggregate, "aws_kinesis_agg": peers.aws_aggregate}


@pytest.fixture(params=READERS)
def contender(request):
    """The drop-in or the original, or a skip that says what to install."""
    try:
        WRITERS[request.param]()
    except peers.NotInstalledError as how:
        pytest.skip(str(how))
    return request.param


@pytest.mark.parametrize("record_size", RECORD_SIZES)
@pytest.mark.parametrize("group", SHAPES)
def bench_deaggregate(measure, sized, contender, group, record_size):
    shape, data_format, max_bytes = SHAPES[group]
    corpus = sized(record_size)
    records = shape(received.kinesis_records(corpus, max_bytes))
    both = [reader(data_format)(records) for reader in READERS.values()]
    assert both[0] == both[1]
    if record_size < max_bytes:  # else they are plain
        assert pairs.of_dictionaries(both[0]) == corpus.pairs()
    del both
    measure(
        partial(READERS[contender](data_format), records),
        group=group,
        contender=contender,
        at=record_size,
        amount=len(corpus),
    )


@pytest.mark.parametrize("record_size", RECORD_SIZES)
def bench_aggregate(measure, sized, contender, record_size):
    corpus = sized(record_size)
    run = partial(WRITERS[contender](), corpus)
    assert pairs.in_kinesis_records(run()) == sorted(corpus.pairs())
    measure(run, group=AGGREGATE, contender=contender, at=record_size, amount=len(corpus))
