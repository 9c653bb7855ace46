"""The drop-in for aws_kinesis_agg beside the original: the same calls, and dictionaries that are equal."""

from __future__ import annotations

from functools import partial

import pytest
from conftest import RECORD_SIZES

from shardpack.bench import ways

EVENTS = "drop-in, from events of Lambda"
BOTO3 = "drop-in, from boto3 records"
KPL_EVENTS = "drop-in, from events of Lambda, Kinesis records of 51,200 B"
AGGREGATE = "drop-in, aggregate"

# group: the shape, its data format, and how large Kinesis records are
SHAPES = {
    EVENTS: (ways.lambda_records, None, ways.MIB),
    BOTO3: (ways.get_records, "Boto3", ways.MIB),
    KPL_EVENTS: (ways.lambda_records, None, ways.KPL_AGGREGATE),
}
READERS = {"shardpack.compat": ways.compat_deaggregate, "aws_kinesis_agg": ways.aws_deaggregate}
WRITERS = {"shardpack.compat": ways.compat_aggregate, "aws_kinesis_agg": ways.aws_aggregate}


@pytest.fixture(params=READERS)
def way(request):
    """Either way, or a skip that says what to install."""
    try:
        WRITERS[request.param]()
    except ways.NotInstalledError as how:
        pytest.skip(str(how))
    return request.param


@pytest.mark.parametrize("record_size", RECORD_SIZES)
@pytest.mark.parametrize("group", SHAPES)
def bench_deaggregate(measure, sized, way, group, record_size):
    shape, data_format, max_bytes = SHAPES[group]
    corpus = sized(record_size)
    records = shape(ways.kinesis_records(corpus, max_bytes))
    both = [reader(data_format)(records) for reader in READERS.values()]
    assert both[0] == both[1]
    if record_size < max_bytes:  # else they are plain
        assert ways.aws_pairs(both[0]) == corpus.pairs()
    del both
    measure(partial(READERS[way](data_format), records), group=group, way=way, at=record_size, amount=len(corpus))


@pytest.mark.parametrize("record_size", RECORD_SIZES)
def bench_aggregate(measure, sized, way, record_size):
    corpus = sized(record_size)
    run = partial(WRITERS[way](), corpus)
    assert ways.stored_pairs(run()) == sorted(corpus.pairs())
    measure(run, group=AGGREGATE, way=way, at=record_size, amount=len(corpus))
