"""The producer while everything fails that can, and the stream is resharded: what is in it, against what was told."""

from __future__ import annotations

import threading
import time
import uuid

import pytest

from shardpack.errors import DeliveryError
from shardpack.producer.producer import Producer
from shardpack.testing import FaultProxy, history
from shardpack.testing.faults import Error, RefuseEntries, Reset, StaleShards

PUT = "PutRecords"
FAULTS = [
    RefuseEntries(share=0.3, operations=PUT),
    RefuseEntries(share=0.02, code="InternalFailure", operations=PUT),
    Reset("before", probability=0.02, operations=PUT),
    Reset("after", probability=0.02, operations=PUT),
    Error("InternalFailure", probability=0.02, operations=PUT),
    Error("LimitExceededException", probability=0.2, operations="ListShards"),
    StaleShards(probability=0.5, seconds=0.5),
]


def told(receipt) -> history.Outcome:
    try:
        outcome = receipt.result(0)
    except DeliveryError as error:
        return history.UNKNOWN if error.maybe_stored else history.NOT_STORED
    return history.Position(outcome.shard_id, outcome.sequence_number, outcome.sub_sequence_number)


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_nor_out_of_order_nor_told_wrongly(local_kinesis, seed):
    threads, records = 4, 12_000
    client, stream = local_kinesis.client(), f"chaos-{uuid.uuid4()}"
    local_kinesis.create_stream(stream, 8)
    put: list[list[tuple[str, bytes, object]]] = [[] for _ in range(threads)]
    with FaultProxy(local_kinesis.endpoint_url, seed=seed, faults=FAULTS) as proxy:
        with Producer(
            stream, client=proxy.client(), linger_ms=20, max_aggregate_records=150, record_ttl_ms=120_000
        ) as producer:

            def work(number: int) -> None:
                for i in range(records):
                    key, data = f"{number}-{i % 60}", b"%d/%d" % (number, i)
                    put[number].append((key, data, producer.put(key, data)))
                    if i % 500 == 0:
                        time.sleep(0.05)

            workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
            for worker in workers:
                worker.start()
            for shards in (16, 6, 11, 4):
                time.sleep(0.3)
                client.update_shard_count(StreamName=stream, TargetShardCount=shards, ScalingType="UNIFORM_SCALING")
            for worker in workers:
                worker.join()
            producer.flush(100)
        puts = [history.Put(key, data, told(receipt)) for each in put for key, data, receipt in each]
        report = history.check(
            puts, history.read_all(client, stream, kcl_rule=True), unanswered=proxy.unanswered(stream)
        )
    # What went to a shard that was closed before its hash keys were known is sent again, to its children's children.
    defects = {defect: count for defect, count in report.defects.items() if count and defect != "duplicated"}
    assert not defects, str(report)
    assert all(isinstance(each.outcome, history.Position) for each in puts)
    assert proxy.injected["entries ProvisionedThroughputExceededException"] > 20
