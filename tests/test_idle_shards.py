"""What a reader's idle shards cost is counted from calls that were made."""

from __future__ import annotations

from shardpack.bench.canned_kinesis import canned_kinesis
from shardpack.bench.idle_shards import measure
from shardpack.bench.producing import plain_client


def test_every_shard_is_polled_and_no_more_often_than_told():
    with canned_kinesis(shards=50) as url:
        idle = measure(plain_client(url), 50, poll_interval_s=0.5, seconds=1.5)
    assert 0 < idle.calls_per_second <= 50 * 4 / 1.5  # an interval that began before is in there
    assert idle.processor_share > 0
    assert round(idle.per_shard * 50 - idle.processor_share, 9) == 0
    assert "50 idle shards, polled every 0.5 s" in str(idle)
