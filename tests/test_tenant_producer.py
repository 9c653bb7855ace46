"""Many tenants on one stream: bounds, turns, ends; against transports that wait as told."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from shards_in_lists import Shards, ShardsOfLoop

from shardpack import SQLiteDeadLetters
from shardpack.errors import (
    BufferFullError,
    DeliveryError,
    FlushTimeoutError,
    ForeignRecordError,
    InvalidHashKeyError,
    InvalidPartitionKeyError,
    InvalidTenantError,
    ProducerClosedError,
    RecordTooLargeError,
)
from shardpack.tenants import AsyncTenantProducer, HashSlice, Tenant, TenantProducer, for_tenant, tenant_shards
from shardpack.tenants import front as fronts
from shardpack.tenants.front import AROUND, RECEIPT, WINDOW_BYTES

BESIDE = AROUND + RECEIPT
"""What a record counts beside its key and data, with a receipt."""


def of(transport, tenant):
    return for_tenant(transport.user_records(), tenant)


class ClientErrors:
    @staticmethod
    def throttled(entries):
        from shardpack.transport import Failed  # noqa: PLC0415

        return [Failed("ProvisionedThroughputExceededException", "told")] * len(entries)

    @staticmethod
    def denied(_entries):
        answer = {
            "Error": {"Code": "AccessDeniedException", "Message": "no"},
            "ResponseMetadata": {"HTTPStatusCode": 400},
        }
        raise ClientError(answer, "PutRecords")


def fill(producer, tenant):
    while True:
        producer.put(tenant, "k", b"x" * 1000, timeout=0)


def test_each_tenant_reads_what_it_put_in_the_order_of_its_keys():
    transport = Shards()
    tenants = ["acme", "a/b", "100%", "é"]
    with TenantProducer(transport=transport, linger_ms=5) as producer:
        for i in range(5000):
            producer.put(tenants[i % 4], f"device-{i % 7}", b"%d" % i)
        for tenant in tenants:
            producer.put_many(tenant, ["m"] * 3, [b"10000", b"10001", b"10002"])
    for number, tenant in enumerate(tenants):
        found = of(transport, tenant)
        values = defaultdict(list)
        for record in found:
            values[record.partition_key].append(int(record.data))
        assert sorted(v for each in values.values() for v in each) == [*range(number, 5000, 4), 10000, 10001, 10002]
        assert all(each == sorted(each) for each in values.values())
        assert found.refused == 5012 - 1253
        stats = producer.tenant_stats(tenant)
        assert (stats.user_records_put, stats.user_records_stored) == (1253, 1253)
        assert stats.bytes_put == stats.bytes_stored > 0
        assert (stats.user_records_queued, stats.bytes_queued, stats.buffered_bytes) == (0, 0, 0)
        assert stats.wait_s.count == 1253
    assert sorted(producer.tenants()) == sorted(tenants)
    assert producer.stats().user_records_stored == 5012


def test_receipts_say_where_records_are():
    transport = Shards()
    with TenantProducer(transport=transport, linger_ms=1) as producer:
        receipts = [producer.put("a", f"{i}", b"%d" % i) for i in range(2000)]
        many = producer.put_many("b", ["1", "2"], [b"1", b"2"])
        producer.flush(30)
        assert all(receipt.done() for receipt in [*receipts, *many])
        found = {(r.sequence_number, r.sub_sequence_number, r.data) for r in of(transport, "a")}
        for i, receipt in enumerate(receipts):
            assert receipt.result(0).sub_sequence_number in {sub for _, sub, data in found if data == b"%d" % i}
    with TenantProducer(transport=Shards(), receipts=False) as producer:
        assert producer.put("a", "1", b"") is None
        assert producer.put_many("a", ["1"], [b""]) is None


def test_a_receipt_of_what_waits_can_be_waited_for():
    transport = Shards(1)
    transport.gate.clear()

    async def wait_for(receipts):
        return await asyncio.wait_for(asyncio.gather(*receipts), 30)

    with TenantProducer(transport=transport, linger_ms=1) as producer:
        receipts = [producer.put("a", "k", b"x" * 10_000) for _ in range(50)]
        assert producer.tenant_stats("a").user_records_queued > 30
        with pytest.raises(TimeoutError):
            receipts[-1].result(0)
        with pytest.raises(TimeoutError):
            receipts[-1].result(0.01)
        assert not receipts[-1].done()
        with pytest.raises(FlushTimeoutError) as raised:
            producer.flush(0.05)
        assert raised.value.pending >= 50
        threading.Timer(0.05, transport.gate.set).start()
        assert len(asyncio.run(wait_for(receipts))) == 50
        assert receipts[-1].result(0).shard_id


def test_one_tenant_fills_no_more_than_is_free_and_others_go_on():
    transport = Shards(1)
    transport.gate.clear()
    with TenantProducer(transport=transport, linger_ms=1, max_buffered_bytes=1_000_000) as producer:
        with pytest.raises(BufferFullError, match="bytes of this tenant wait"):
            fill(producer, "flooder")
        held = producer.tenant_stats("flooder").buffered_bytes
        assert 500_000 <= held <= 500_000 + 1000 + BESIDE + 20
        with pytest.raises(BufferFullError):
            producer.put_many("flooder", ["k"], [b"x"], timeout=0.01)
        producer.put("other", "k", b"mine", timeout=0)
        with pytest.raises(BufferFullError):
            fill(producer, "third")
        assert 240_000 < producer.tenant_stats("third").buffered_bytes < 260_000
        threading.Timer(0.05, transport.gate.set).start()
        producer.put("flooder", "k", b"waited")
    assert of(transport, "flooder")[-1].data == b"waited"
    assert [record.data for record in of(transport, "other")] == [b"mine"]


def test_a_tenants_own_bound_holds():
    transport = Shards(1)
    transport.gate.clear()
    small = {"small": Tenant(max_buffered_bytes=5 * (BESIDE + len("@small/k") + 100))}
    with TenantProducer(transport=transport, tenants=small, close_timeout_s=5) as producer:
        for _ in range(5):
            producer.put("small", "k", b"x" * 100, timeout=0)
        with pytest.raises(BufferFullError):
            producer.put("small", "k", b"x" * 100, timeout=0)
        producer.put("other", "k", b"x" * 100, timeout=0)
        transport.gate.set()
        producer.put("small", "k", b"last")
    assert len(of(transport, "small")) == 6


def test_no_more_than_a_window_of_a_shard_is_ahead():
    transport = Shards(1)
    transport.gate.clear()
    with TenantProducer(transport=transport, linger_ms=1) as producer:
        for _ in range(2000):
            producer.put("flooder", "k", b"x" * 1000)
        ahead = producer.stats().buffered_bytes
        assert ahead <= (WINDOW_BYTES // 1010 + 1) * (1010 + 128)
        receipt = producer.put("other", "k", b"mine")
        transport.gate.set()
        receipt.result(30)
        stored = [(record.partition_key, record.data) for record in transport.user_records()]
        before = stored.index(("@other/k", b"mine"))
        assert before <= 2 * WINDOW_BYTES // 1000  # of 2,000 that the flooder put before


def test_weights_and_the_window_of_many_shards():
    transport = Shards(64)
    transport.gate.clear()
    with TenantProducer(transport=transport, max_buffered_bytes=64_000, linger_ms=1) as producer:
        for i in range(40):
            producer.put("a", f"{i}", b"x" * 100, timeout=0)
        transport.gate.set()
        producer.flush(30)
        assert producer._front._window == 500
    assert len(of(transport, "a")) == 40


def test_objects_and_compressed_records_are_a_tenants_too():
    transport = Shards(1)
    with TenantProducer(transport=transport, linger_ms=5, compression="zstd") as producer:
        producer.put_object("acme", "k", {"celsius": 21.5})
        for i in range(2000):
            producer.put("acme" if i % 2 else "other", f"device-{i % 3}", b'{"celsius": %d, "rain": false}' % i * 20)
        producer.flush(30)
        producer.put("acme", "k", b"last")
        assert producer._front._window > 2 * WINDOW_BYTES  # as more of it is a byte of what the shard takes
    found = of(transport, "acme")
    assert len(found) == 1002
    assert found[0].object() == {"celsius": 21.5}
    assert found.refused == 1000


def test_rates_hold_a_tenant_back_and_no_other():
    transport = Shards(1)
    tenants = {"slow": Tenant(bytes_per_second=1), "measured": Tenant(bytes_per_second=20_000)}
    with TenantProducer(transport=transport, tenants=tenants, linger_ms=1) as producer:
        slow = [producer.put("slow", "k", b"1") for _ in range(3)]
        measured = [producer.put("measured", "k", b"x" * 989) for _ in range(25)]  # 1,000 bytes with the prefix
        assert producer.put("quick", "k", b"1").result(30)
        assert measured[-1].result(30)  # by the thread that waits
        assert slow[0].result(30)
        assert producer.tenant_stats("slow").user_records_queued == 2
    assert [receipt.result(0) is not None for receipt in slow] == [True] * 3  # rates hold no longer at the end


def test_what_can_never_be_sent_is_refused():
    transport = Shards()
    tenants = {"acme": Tenant(hash_slice=HashSlice(0, 9))}
    with TenantProducer(transport=transport, tenants=tenants, default=None) as producer:
        with pytest.raises(InvalidTenantError, match="there is no tenant 'other'"):
            producer.put("other", "k", b"")
        with pytest.raises(InvalidTenantError):
            producer.put("", "k", b"")
        with pytest.raises(InvalidPartitionKeyError, match="empty"):
            producer.put("acme", "", b"")
        with pytest.raises(InvalidPartitionKeyError, match="257 with its tenant's prefix"):
            producer.put("acme", "k" * 251, b"")
        with pytest.raises(InvalidPartitionKeyError, match=r"^record 1: "):
            producer.put_many("acme", ["k", b"\xff"], [b"", b""])
        with pytest.raises(InvalidPartitionKeyError):
            producer.put("acme", "\udc80", b"")
        with pytest.raises(InvalidHashKeyError, match="not in its tenant's slice"):
            producer.put("acme", "k", b"", 10)
        with pytest.raises(RecordTooLargeError, match="exceeds the stream's 1,048,576"):
            producer.put("acme", "k", b"x" * 2**20)
        for bad in ("text", 7):
            with pytest.raises(TypeError):
                producer.put("acme", "k", bad)
        with pytest.raises(TypeError):
            producer.put("acme", 7, b"")
        with pytest.raises(TypeError, match="partition keys come as many, not as one str"):
            producer.put_many("acme", "45", [b"", b""])
        with pytest.raises(ValueError, match="2 partition keys, 1 datas"):
            producer.put_many("acme", ["a", "b"], [b""])
        assert producer.put_many("acme", [], []) == []
        producer.put("acme", "k" * 250, bytearray(b"taken"), "9")
        producer.put("acme", b"bytes", memoryview(b"taken"))
    assert len(of(transport, "acme")) == 2
    assert producer.tenant_stats("acme").user_records_put == 2
    with pytest.raises(ProducerClosedError):
        producer.put("acme", "k", b"")


@pytest.mark.parametrize(
    "options",
    [{"tenants": ["a"]}, {"tenants": {"a": 1}}, {"default": 1}, {"tenants": {}, "linger_ms": "x"}],
)
def test_options_that_are_none_are_refused(options):
    with pytest.raises(TypeError):
        TenantProducer("s", **options)


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (ValueError, {"weight": 0}),
        (ValueError, {"weight": float("inf")}),
        (TypeError, {"weight": "1"}),
        (ValueError, {"bytes_per_second": 0.5}),
        (ValueError, {"max_buffered_bytes": 0}),
        (TypeError, {"max_buffered_bytes": 1.5}),
        (TypeError, {"hash_slice": (0, 1)}),
    ],
)
def test_what_no_tenant_may_have_is_refused(error, options):
    with pytest.raises(error):
        Tenant(**options)


def test_slices_keep_tenants_apart_through_resharding():
    transport = Shards(4)
    tenants = {f"t{i}": Tenant(hash_slice=HashSlice.of(i, 4)) for i in range(4)}
    with TenantProducer(transport=transport, tenants=tenants, linger_ms=1) as producer:
        for generation, count in enumerate((4, 7, 2, 4)):
            transport.reshard(count)
            for i in range(400):
                producer.put(f"t{i % 4}", f"device-{i}" if i % 3 else None, b"%d-%d" % (generation, i))
            producer.flush(30)
    for i in range(4):
        assert len({record.data for record in of(transport, f"t{i}")}) == 400
        its = {shard.shard_id for shard in tenant_shards(transport.shard_map, tenants[f"t{i}"].hash_slice)}
        assert len(its) == 1
        (shard_id,) = its
        there = [entry for entry in transport.stored[shard_id] if transport.shard_of(entry).shard_id == shard_id]
        assert {entry.partition_key[:4] for entry in there} == {f"@t{i}/"}


def test_what_waits_goes_to_the_shards_there_are_then():
    transport = Shards(1)
    transport.gate.clear()
    with TenantProducer(transport=transport, linger_ms=1) as producer:
        for i in range(4000):
            producer.put("ab"[i % 2], f"{i % 11}", b"%07d" % i + b"x" * 500)
        transport.reshard(4)
        transport.gate.set()
        producer.flush(60)
        assert len(producer._front._shards[0]) == 4
    for tenant in "ab":
        values = defaultdict(dict)
        for record in of(transport, tenant):
            values[record.partition_key].setdefault(int(record.data[:7]))
        assert sum(map(len, values.values())) == 2000
        assert all(list(each) == sorted(each) for each in values.values())


def test_streams_that_spread_records_themselves_have_one_line():
    transport = Shards(4, auto=True)
    with TenantProducer(transport=transport, linger_ms=1) as producer:
        for i in range(500):
            producer.put("a", f"{i}", b"%d" % i)
        producer.flush(30)
        producer.put("a", "k", b"500")
        assert list(producer._front._queue._lines) == [""]
    assert sorted(int(record.data) for record in of(transport, "a")) == list(range(501))


def test_close_delivers_what_waits_and_tells_those_that_cannot_wait_longer():
    transport = Shards(1)
    transport.gate.clear()
    with TenantProducer(transport=transport, linger_ms=1, max_buffered_bytes=400_000) as producer:
        receipts, refused = [], []

        def flood(tenant):
            try:
                while True:
                    receipts.append((tenant, producer.put(tenant, "k", b"x" * 1000)))
            except ProducerClosedError as error:
                refused.append(error)

        threads = [threading.Thread(target=flood, args=(f"t{i}",)) for i in range(4)]
        for thread in threads:
            thread.start()
        while any(producer.tenant_stats(f"t{i}").buffered_bytes < 10_000 for i in range(4)):
            threads[0].join(0.001)
        threading.Timer(0.1, transport.gate.set).start()
    for thread in threads:
        thread.join(30)
    assert len(refused) == 4
    assert all(receipt.result(0) for _, receipt in receipts)
    for i in range(4):
        assert len(of(transport, f"t{i}")) == sum(tenant == f"t{i}" for tenant, _ in receipts)


def test_what_nobody_has_any_more_is_delivered_and_ends():
    transport = Shards(1)
    transport.gate.clear()
    producer = TenantProducer(transport=transport, linger_ms=1, tenants={"slow": Tenant(bytes_per_second=1)})
    receipts = [producer.put("slow", "k", b"1") for _ in range(3)]
    receipts += [producer.put("a", "k", b"x" * 1000) for _ in range(500)]
    thread = producer._producer._pump._thread
    waiting = producer._front._thread
    del producer
    gc.collect()
    transport.gate.set()
    assert all(receipt.result(30) for receipt in receipts)
    thread.join(30)
    waiting.join(30)
    assert not thread.is_alive()
    assert not waiting.is_alive()
    assert len(of(transport, "a")) == 500


def test_what_is_left_at_the_end_is_told_and_kept(tmp_path):
    transport = Shards(1, fail=ClientErrors.throttled)
    letters = SQLiteDeadLetters(tmp_path / "letters.db")
    told = []
    with TenantProducer(
        transport=transport, linger_ms=1, close_timeout_s=0.3, dead_letters=letters, on_settled=told.extend
    ) as producer:
        receipts = [producer.put("ab"[i % 2], "k", b"%d" % i + b"x" * 5000) for i in range(100)]
    for receipt in receipts:
        assert receipt.done()
        with pytest.raises(DeliveryError):
            receipt.result(0)
    assert len(letters) == 100
    assert sum(each.user_record_count for each in told) == 100
    stats = producer.tenant_stats("a")
    assert stats.user_records_failed + stats.user_records_unknown == 50  # of those in a call, nobody knows
    assert stats.buffered_bytes == 0


def test_what_is_fatal_fails_all_that_waits_at_once():
    transport = Shards(1, fail=ClientErrors.denied)
    with TenantProducer(transport=transport, linger_ms=1) as producer:
        receipts = [producer.put("a", "k", b"x" * 5000) for _ in range(500)]
        producer.flush(30)
        assert all(receipt.done() for receipt in receipts)
    assert producer.tenant_stats("a").user_records_failed == 500


def test_what_was_given_up_and_is_sent_again_counts_once():
    refuse = threading.Event()
    refuse.set()

    def fail(entries):
        from shardpack.transport import Failed  # noqa: PLC0415

        return [Failed("Refused", "told")] * len(entries) if refuse.is_set() else None

    transport = Shards(1, fail=fail)
    with TenantProducer(transport=transport, linger_ms=1, after_failure="stop") as producer:
        receipt = producer.put("a", "k", b"1")
        while not producer.held_shards:
            receipt._pump.room.wait(lambda: producer.held_shards or None, 0.01)
        while producer.tenant_stats("a").user_records_failed != 1:
            receipt._pump.room.wait(lambda: None, 0.01)
        refuse.clear()
        producer.resume()
        producer.flush(30)
    stats = producer.tenant_stats("a")
    assert (stats.user_records_stored, stats.user_records_failed) == (1, 0)


def test_the_number_of_tenants_that_are_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(fronts, "MAX_TENANTS", 100)
    transport = Shards(1)
    with TenantProducer(transport=transport, linger_ms=1) as producer:
        for i in range(250):
            producer.put(f"t{i}", "k", b"1")
            if i % 50 == 49:
                producer.flush(30)
        assert len(producer.tenants()) <= 100
        transport.gate.clear()
        for i in range(150):
            producer.put(f"busy{i}", "k", b"1")
        assert sum(name.startswith("busy") for name in producer.tenants()) == 150
        transport.gate.set()
    assert len(transport.user_records()) == 400


def test_records_of_nobody_and_of_others_are_refused():
    transport = Shards(1)
    with TenantProducer(transport=transport, linger_ms=1) as producer:
        producer.put_many("acme", ["a", "b", None], [b"1", b"2", b"3"])
        producer.put("other", "a", b"4")
    records = transport.user_records()
    found = for_tenant(records, "acme")
    assert [(record.partition_key, record.data) for record in found] == [("a", b"1"), ("b", b"2"), (None, b"3")]
    assert found.refused == 1
    assert for_tenant(records, "acm").refused == 4
    with pytest.raises(ForeignRecordError, match="is not one of tenant 'acme'"):
        for_tenant(records, "acme", strict=True)
    with pytest.raises(InvalidTenantError):
        for_tenant(records, "")


def test_what_does_not_read_is_nobodys():
    from shardpack import Aggregator, ShardMap, deaggregate  # noqa: PLC0415

    aggregator = Aggregator(ShardMap.uniform(1))
    aggregator.add_many(["@acme/a", "@other/a"], [b"1", b"2"])
    (record,) = aggregator.flush()
    broken = record.data[:-1] + bytes([record.data[-1] ^ 1])
    whole = deaggregate({"Data": broken, "PartitionKey": "@acme/a"})
    assert len(whole) == 1
    assert for_tenant(whole, "acme") == []
    aggregator.add("@acme/a", b"\xf3\x89\x9a\xc2 is how this begins")
    (record,) = aggregator.flush()
    (found,) = for_tenant(deaggregate({"Data": record.data, "PartitionKey": "@acme/a"}), "acme")
    assert found.data == b"\xf3\x89\x9a\xc2 is how this begins"


def test_in_an_event_loop():
    transport = ShardsOfLoop(2)

    async def run():
        async with AsyncTenantProducer(
            transport=transport, linger_ms=1, max_buffered_bytes=100_000, tenants={"slow": Tenant(bytes_per_second=1)}
        ) as producer:

            async def flood(tenant, count):
                return [await producer.put(tenant, f"{i % 5}", b"%d" % i + b"x" * 500) for i in range(count)]

            receipts = [
                each for some in await asyncio.gather(*(flood(f"t{i}", 200) for i in range(4))) for each in some
            ]
            receipts += await producer.put_many("t0", ["k"] * 2, [b"1", b"2"])
            outcomes = await asyncio.gather(*receipts)
            assert len({(o.shard_id, o.sequence_number, o.sub_sequence_number) for o in outcomes}) == 802
            await producer.flush(30)
            slow = [await producer.put("slow", "k", b"1") for _ in range(2)]
            with pytest.raises(FlushTimeoutError):
                await producer.flush(0.05)
        assert all(receipt.done() for receipt in slow)
        with pytest.raises(ProducerClosedError):
            await producer.put("t0", "k", b"")

    asyncio.run(run())
    assert len(of(transport, "t1")) == 200


IN_A_PROCESS = """
import atexit, os, sys
atexit.register(lambda: print(len(for_tenant(transport.user_records(), "a")), flush=True))  # the last one
sys.path[:0] = {path!r}
from shards_in_lists import Shards
from shardpack.tenants import TenantProducer, for_tenant
transport = Shards(1)
producer = TenantProducer(transport=transport, linger_ms=1)
transport.gate.clear()
for i in range(200):
    producer.put("a", "k", b"x" * 2000)
{then}
"""


@pytest.mark.parametrize("then", ["transport.gate.set()", "transport.gate.set(); del producer"])
def test_what_waits_at_the_interpreters_end_is_delivered(then):
    code = IN_A_PROCESS.format(path=[str(Path(__file__).parent)], then=then)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, check=True, timeout=60)
    assert done.stdout == b"200\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_process_that_is_forked_off_begins_anew():
    then = """
child = os.fork()
transport.gate.set()
if not child:
    producer.put("a", "k", b"child")
    producer.flush(30)
    stored = for_tenant(transport.user_records(), "a")
    os._exit(0 if [record.data for record in stored] == [b"child"] else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    code = IN_A_PROCESS.format(path=[str(Path(__file__).parent)], then=then)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=60)
    assert (done.stdout, done.returncode) == (b"200\n", 0), done.stderr.decode()
