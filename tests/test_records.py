"""Kinesis records on their way out, as they are shown, compared and counted."""

from __future__ import annotations

import pickle

import pytest

from shardpack import Aggregator, KinesisRecord, ShardMap


def test_a_record_is_shown_in_short():
    [record] = flushed("device-7", bytes(range(256)) * 4 * 1024)
    assert repr(record) == (
        "KinesisRecord(partition_key='device-7', explicit_hash_key=None, "
        f"data={record.data[:40]!r}… (1,048,{len(record.data) % 1000} bytes), shard_index=0, user_record_count=1, "
        f"size={record.size})"
    )
    assert len(repr([record] * 3)) < 1000


def flushed(key, data):
    aggregator = Aggregator(ShardMap.uniform(1))
    aggregator.add(key, data[: 2**20 - len(key)])
    return aggregator.flush()


@pytest.mark.parametrize("key", ["k" * 10**6, "é" * 256, None])
def test_long_keys_are_cut(key):
    assert len(repr(KinesisRecord(key, "1" * 10**6, b"\xff" * 10**6, 0, 1, 10))) < 600


def test_a_small_record_is_shown_whole():
    record = KinesisRecord("a", "7", b"data", 2, 3, 5)
    assert eval(repr(record)) == record  # noqa: S307 - our own
    assert pickle.loads(pickle.dumps(record)) == record  # noqa: S301
    assert record != KinesisRecord("a", "7", b"data", 2, 3, 6)


@pytest.mark.parametrize(("explicit_hash_key", "more"), [(None, 0), ("0", 1), (str(2**128 - 1), 39)])
def test_what_a_request_counts(explicit_hash_key, more):
    record = KinesisRecord("é", explicit_hash_key, b"data", 0, 1, 6)
    assert record.request_size == 6 + more
