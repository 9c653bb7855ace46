"""A producer that is given Arrow: the rows of a batch, a table or a stream, all or none."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict

import pyarrow as pa
import pytest
from arrow_writer import ManyArrays, batch, texts
from shards_in_lists import Shards, in_order

from shardpack import (
    AsyncProducer,
    BufferFullError,
    DeliveryError,
    InvalidPartitionKeyError,
    Limits,
    Producer,
    ProducerClosedError,
    RecordTooLargeError,
    hash_key,
)
from shardpack.errors import InvalidRecordError
from shardpack.transport import Failed, StreamDescription


def table_of(start, stop, keys=50):
    return pa.table(
        {"k": [f"device-{i % keys}" for i in range(start, stop)], "d": [str(i) for i in range(start, stop)]}
    )


def eventually(holds):
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("receipts", [False, True])
def test_rows_are_stored_in_the_order_of_their_key(receipts):
    transport = Shards()
    with Producer(transport=transport, linger_ms=5, receipts=receipts) as producer:
        for start in range(0, 20_000, 2500):
            taken = producer.put_arrow(table_of(start, start + 1250), key="k", data="d")
            for i in range(start + 1250, start + 2500):
                producer.put(f"device-{i % 50}", b"%d" % i)
            if receipts:
                assert len(taken) == 1250
                assert (
                    taken[1249].result(30).shard_id
                    == transport.shard_map[
                        transport.shard_map.index_of(hash_key(f"device-{(start + 1249) % 50}"))
                    ].shard_id
                )
            else:
                assert taken is None
    in_order(transport, 20_000)
    stats = producer.stats()
    assert (stats.user_records_put, stats.user_records_stored) == (20_000, 20_000)
    assert stats.user_bytes_stored == sum(len(f"device-{i % 50}{i}") for i in range(20_000))
    assert producer._inbox.buffered == 0


def test_rows_without_a_key_go_anywhere():
    transport = Shards()
    with Producer(transport=transport, max_aggregate_records=10) as producer:
        producer.put_arrow(pa.table({"k": [None] * 100, "d": [b"%d" % i for i in range(100)]}), key="k", data="d")
        producer.put_arrow(table_of(100, 200), key=None, data="d")
    assert sorted(int(record.data) for record in transport.user_records()) == list(range(200))
    assert {record.partition_key for record in transport.user_records()} == {"-"}
    assert len(transport.stored) == 4


def test_what_is_refused_takes_nothing():
    transport = Shards()
    with Producer(transport=transport) as producer:
        with pytest.raises(InvalidPartitionKeyError, match="row 1, column 'k'"):
            producer.put_arrow(pa.table({"k": ["a", ""], "d": ["x", "y"]}), key="k", data="d")
        with pytest.raises(InvalidRecordError, match="row 0, column 'd'"):
            producer.put_arrow(pa.table({"k": ["a"], "d": [None]}), key="k", data="d")
        with pytest.raises(ValueError, match="no column 'x'"):
            producer.put_arrow(table_of(0, 2), key="x", data="d")
        assert len(producer.put_arrow(table_of(0, 0), key="k", data="d")) == 0
        assert producer._inbox.buffered == 0
    with pytest.raises(ProducerClosedError):
        producer.put_arrow(table_of(0, 2), key="k", data="d")
    assert transport.user_records() == []


def test_at_the_bound_it_waits_and_a_stream_is_read_once():
    transport = Shards()
    transport.gate.clear()
    with Producer(transport=transport, linger_ms=1, max_buffered_bytes=10_000, receipts=False) as producer:
        producer.put_arrow(table_of(0, 1000), key="k", data="d")
        with pytest.raises(BufferFullError):
            producer.put_arrow(table_of(0, 1), key="k", data="d", timeout=0)
        source = ManyArrays([batch(texts(["device-0"], name="k"), texts([b"1000"], name="d"))])
        waiting = threading.Thread(target=producer.put_arrow, args=(source,), kwargs={"key": "k", "data": "d"})
        waiting.start()
        eventually(lambda: source.asked)
        transport.gate.set()
        waiting.join(30)
        assert not waiting.is_alive()
    assert source.asked == 2
    in_order(transport, 1001)


def test_a_row_that_waits_keeps_its_chunk_and_the_bound_knows():
    shut = threading.Event()

    def fail(entries):
        if not shut.is_set():
            return None
        return [
            Failed("ProvisionedThroughputExceededException", "told")
            if transport.shard_of(entry) is transport.shard_map[0]
            else transport.store(entry)
            for entry in entries
        ]

    transport = Shards(2, fail)
    shut.set()
    before = pa.total_allocated_bytes()
    with Producer(transport=transport, linger_ms=1, max_buffered_bytes=1 << 20, receipts=False) as producer:
        count = 0
        try:
            while True:
                rows = pa.table({"k": ["a"] * 100, "d": [b"x" * 1000] * 100, "e": ["0"] + [str(2**127)] * 99})
                producer.put_arrow(rows, key="k", data="d", explicit_hash_key="e", timeout=0)
                del rows
                count += 1
                sent = count
                eventually(lambda sent=sent: producer.stats().user_records_stored == 99 * sent)
                assert producer._inbox.buffered == count * (100_000 + 1 + 64)
        except BufferFullError:
            del rows
        assert count == -(-(1 << 20) // 100_065)
        assert pa.total_allocated_bytes() - before < (1 << 20) + 200_000
        shut.clear()
    assert producer.stats().user_records_stored == 100 * count
    assert producer._inbox.buffered == 0
    assert pa.total_allocated_bytes() == before


def test_what_is_told_of_rows():
    transport, told, letters = (
        Shards(fail=lambda entries: [Failed("ValidationException", "no") for _ in entries]),
        [],
        [],
    )

    class Letters:
        def put(self, given):
            letters.extend(given)

    with Producer(transport=transport, on_settled=told.extend, dead_letters=Letters()) as producer:
        rows = pa.table({"k": ["a", "b", None], "d": ["1", "2", "3"], "e": [None, 5, None]})
        receipts = producer.put_arrow(rows, key="k", data="d", explicit_hash_key="e")
        for receipt in receipts:
            with pytest.raises(DeliveryError):
                receipt.result(30)
    found = sorted(record for each in told for record in each.user_records())
    assert [record[1] for record in found] == [b"3", b"1", b"2"]
    assert found[2] == ("b", b"2", 5)
    assert sorted(letter.data for letter in letters) == [b"1", b"2", b"3"]
    assert sorted(number for each in told for number in each.numbers()) == [0, 1, 2]


def test_rows_given_up_hold_back_and_are_sent_again():
    failing = [True]
    transport = Shards(
        1, lambda entries: [Failed("ValidationException", "no") for _ in entries] if failing[0] else None
    )
    with Producer(transport=transport, linger_ms=1, after_failure="stop") as producer:
        receipts = producer.put_arrow(table_of(0, 100), key="k", data="d")
        eventually(lambda: producer.held_shards)
        assert producer._inbox.buffered == 0
        failing[0] = False
        producer.resume()
        producer.flush(30)
        receipts[99].result(30)
    in_order(transport, 100)
    assert producer._inbox.buffered == 0


def test_rows_are_routed_anew_when_the_shards_change():
    transport = Shards(2)
    transport.gate.clear()
    with Producer(transport=transport, linger_ms=1, max_aggregate_bytes=2000) as producer:
        for start in range(0, 5000, 500):
            producer.put_arrow(table_of(start, start + 500), key="k", data="d")
        eventually(lambda: producer.stats().user_records_pending == 5000)
        transport.reshard(5)
        transport.gate.set()
        producer.flush(30)
    stored = defaultdict(list)
    for record in transport.user_records():
        stored[record.partition_key].append(int(record.data))
    assert sorted(set().union(*stored.values())) == list(range(5000))
    assert producer._inbox.buffered == 0


def test_a_large_row_waits_for_what_the_stream_takes():
    class Raised(Shards):
        def describe(self):
            time.sleep(0.05)
            return StreamDescription("s", "arn", "ACTIVE", 4, Limits(max_record_bytes=4 << 20), False)

    for transport, taken in ((Raised(), True), (Shards(), False)):
        source = ManyArrays([batch(texts(["k"], name="k"), texts([b"x" * (3 << 20)], name="d"))])
        with Producer(transport=transport) as producer:
            if taken:
                producer.put_arrow(source, key="k", data="d")
            else:
                with pytest.raises(RecordTooLargeError, match="row 0, column 'd': record of 3,145,729 bytes"):
                    producer.put_arrow(source, key="k", data="d")
        assert len(transport.user_records()) == taken
        assert source.asked == 2


def test_an_event_loop_goes_on_while_it_waits():
    transport = Shards()
    transport.gate.clear()

    async def main():
        async with AsyncProducer(transport=transport, linger_ms=1, max_buffered_bytes=10_000) as producer:
            await producer.put_arrow(table_of(0, 1000), key="k", data="d")
            second = asyncio.create_task(producer.put_arrow(table_of(1000, 1001), key="k", data="d"))
            await asyncio.sleep(0.01)
            assert not second.done()
            transport.gate.set()
            receipts = await second
            await receipts[0]
            with pytest.raises(InvalidRecordError, match="row 0"):
                await producer.put_arrow(pa.table({"d": [None]}), key=None, data="d")
        with pytest.raises(ProducerClosedError):
            await producer.put_arrow(table_of(0, 1), key="k", data="d")

    asyncio.run(main())
    in_order(transport, 1001)
