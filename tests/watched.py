"""A producer as exporters see it."""

from __future__ import annotations

from dataclasses import replace

from shardpack.producer.stats import ShardStats, Stats, Times


class Watched:
    """Whose stats are as told."""

    def __init__(self, **figures):
        self.now = Stats(**figures)

    def set(self, **figures):
        self.now = replace(self.now, **figures)

    def stats(self, *, shards=True):
        return self.now if shards else replace(self.now, shards=())


def times(*seconds):
    grown = Times()
    for each in seconds:
        grown.add(each)
    return grown.snapshot()


def busy():
    """A producer that has done some of everything."""
    return Watched(
        user_records_put=1000,
        user_records_stored=900,
        user_records_failed=30,
        user_records_expired=25,
        user_records_unknown=20,
        user_records_pending=50,
        kinesis_records_sent=60,
        kinesis_records_stored=45,
        bytes_stored=90_000,
        user_bytes_stored=81_000,
        requests=12,
        requests_in_flight=2,
        retries=15,
        errors={"ProvisionedThroughputExceededException": 11, "InternalFailure": 4},
        buffered_bytes=8200,
        max_buffered_bytes=64 * 1024 * 1024,
        oldest_record_age_s=1.5,
        limited_s=7.25,
        stage_s=times(0.0625, 0.125),
        linger_s=times(0.25, 0.25),
        queue_s=times(0.5),
        request_s=times(0.0078125, 90.0),
        shards=(
            ShardStats("shardId-000000000000", 524288.0, 100.0, 11, 0.5),
            ShardStats("shardId-000000000001", 0.0, 0.0, 0, 0.0),
        ),
    )
