"""Producers that compress: what is delivered, where, and what is told of it; whatever happens on the way."""

from __future__ import annotations

import asyncio
import random
import threading
import time
import uuid
from collections import defaultdict

import compressed_reader
import pytest
from botocore.exceptions import ClientError
from compressed_reader import is_compressed
from isolated import run
from shards_in_lists import Shards, ShardsOfLoop, in_order

from shardpack import AsyncProducer, Limits, SQLiteDeadLetters, deaggregate, hash_key, redrive
from shardpack.bench.corpus import flights
from shardpack.codec.sealing import CompressedSealer
from shardpack.errors import RecordExpiredError
from shardpack.producer.producer import Producer
from shardpack.transport import Failed, Stored

MIB = 2**20


def producer_of(transport, **options):
    return Producer(transport=transport, compression="zstd", **{"linger_ms": 5, **options})


def records_of(transport):
    return [record for records in transport.stored.values() for record in records]


def put_all(producer, n, keys=50):
    return [producer.put(f"device-{i % keys}", b"%d" % i) for i in range(n)]


def of_sizes(transport, max_bytes=256 * 1024):
    """Whether all Kinesis records tell their sizes, within the bound unless they hold a single user record."""
    for record in records_of(transport):
        assert record.size == len(record.data) + len(record.partition_key.encode())
        assert record.size <= max_bytes or record.user_record_count == 1


def in_their_shards(transport, max_bytes=256 * 1024):
    """Whether all user records are in the shard that has their hash keys, in records within the bounds."""
    of_sizes(transport, max_bytes)
    for shard in transport.shard_map:
        for record in transport.stored[shard.shard_id]:
            for key, _, explicit in compressed_reader.user_records([record]):
                assert shard.starting_hash_key <= hash_key(key, explicit) <= shard.ending_hash_key


def test_everything_is_stored_in_the_order_of_its_key():
    transport = Shards()
    with producer_of(transport) as producer:
        put_all(producer, 20_000)
    in_order(transport, 20_000)
    in_their_shards(transport)
    assert all(map(is_compressed, records_of(transport)))
    stats = producer.stats()
    assert stats.user_records_stored == 20_000
    assert stats.bytes_stored == sum(record.size for record in records_of(transport))
    assert stats.user_bytes_stored == sum(len(f"device-{i % 50}") + len(b"%d" % i) for i in range(20_000))
    assert stats.compression_ratio == stats.user_bytes_stored / stats.bytes_stored > 1
    assert stats.buffered_bytes == 0


@pytest.mark.parametrize("max_bytes", [3000, 40_000, 256 * 1024])
@pytest.mark.parametrize("kind", ["flights", "random", "mixed", "alike"])
def test_no_bound_is_passed(kind, max_bytes):
    rng, transport = random.Random(1), Shards(2)
    datas = flights(6000).datas
    if kind == "random":
        datas = [rng.randbytes(300) for _ in datas]
    elif kind == "mixed":
        datas = [rng.randbytes(300) if i // 1500 % 2 else data for i, data in enumerate(datas)]
    elif kind == "alike":
        datas = [b"x" * 300 for _ in datas]
    datas = [b"%05d" % i + data for i, data in enumerate(datas)]
    with producer_of(transport, max_aggregate_bytes=max_bytes, max_aggregate_records=2500) as producer:
        for i in range(0, len(datas), 500):
            producer.put_many(["a", "b", "c", "d", "e"] * 100, datas[i : i + 500])
    in_their_shards(transport, max_bytes)
    found = defaultdict(list)
    for key, data, _ in compressed_reader.user_records(records_of(transport)):
        found[key].append(data)
    assert found == {key: datas["abcde".index(key) :: 5] for key in "abcde"}
    assert all(record.user_record_count <= 2500 for record in records_of(transport))
    if kind != "random":
        assert any(map(is_compressed, records_of(transport)))


def test_entries_count_with_what_they_have_compressed():
    """In requests and against what a shard takes: 300 B of a flight are 40."""
    corpus, transport = flights(20_000), Shards(1)
    with producer_of(transport, linger_ms=1000, max_aggregate_bytes=20_000) as producer:
        producer.put_many(corpus.keys, corpus.datas)
        producer.flush()
        took = producer.stats().shards[0]
    size = sum(record.request_size for record in records_of(transport))
    assert corpus.data_size > 6 * size
    assert took.bytes_per_second <= size


def test_what_is_split_is_several_records_with_their_own_receipts():
    transport, rng = Shards(1), random.Random(1)
    datas = [b"x" * 200] * 4000 + [rng.randbytes(200) for _ in range(4000)]
    settled = []
    with producer_of(transport, max_aggregate_bytes=20_000, on_settled=settled.extend) as producer:
        receipts = producer.put_many(["a"] * 8000, datas)
        for i in range(8000):
            assert receipts[i].result(30) is not None
        numbers = [receipt.result(30).sequence_number for receipt in receipts]
    assert len(set(numbers)) == len(records_of(transport)) > 40
    assert [data for _, data, _ in compressed_reader.user_records(records_of(transport))] == datas
    assert sorted(n for each in settled for n in each.numbers()) == list(range(8000))
    assert [record for each in settled for record in each.user_records()] == [("a", data, None) for data in datas]


def test_resharding_seals_anew(monkeypatch):
    """While entries wait that are compressed, split and plain; twice, with refused entries."""
    seal, split = CompressedSealer.seal, []

    def counted(self, buckets):
        pairs = seal(self, buckets)
        split.append(len(pairs) - len(buckets))
        return pairs

    monkeypatch.setattr(CompressedSealer, "seal", counted)
    transport, rng = Shards(2), random.Random(4)
    transport.gate.clear()
    n, calls = 12_000, []

    def fail(entries):
        calls.append(len(entries))
        if len(calls) % 5 == 2:
            return [Failed("InternalFailure", "told") for _ in entries]
        return None

    transport.fail = fail
    with producer_of(transport, max_aggregate_bytes=3000, max_buffered_bytes=2**30) as producer:
        for i in range(0, n, 100):
            numbers = range(i, i + 100)
            producer.put_many(
                [f"device-{j % 40}" for j in numbers],
                [b"%d " % j + (b"x" * 50 if j // 1000 % 2 else rng.randbytes(50).hex().encode()) for j in numbers],
            )
            if i in {3000, 7000}:
                transport.reshard(5 if i == 3000 else 3)
                transport.gate.set()
    values = defaultdict(list)
    for record in transport.read_as_the_kcl_does():
        values[record.partition_key].append(int(record.data.split()[0]))
    assert sorted(j for each in values.values() for j in each) == list(range(n))
    for key, each in values.items():
        assert each == sorted(each), key
    assert sum(split) > 5
    of_sizes(transport, 3000)


def test_shards_that_may_not_be_listed():
    transport = Shards()

    def denied():
        error = {"Error": {"Code": "AccessDeniedException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
        raise ClientError(error, "ListShards")

    transport.list_shards = denied
    text = b'{"reading": 17, "unit": "degrees", "reading": 17, "unit": "degrees"}' * 4
    datas = [text if i % 2 else b"%d" % i for i in range(600)] + [
        compressed_reader.PLAIN_MAGIC,
        compressed_reader.MAGIC,
    ]
    with producer_of(transport) as producer:
        producer.put_many([f"device-{i}" for i in range(602)], datas)
    records = records_of(transport)
    assert all(record.user_record_count == 1 for record in records)
    assert sum(map(is_compressed, records)) == 300
    assert sorted(data for _, data, _ in compressed_reader.user_records(records)) == sorted(datas)
    assert producer.stats().retries == 0


class Spreading(Shards):
    """A stream that distributes records itself, once it does."""

    def store(self, entry):
        if not self.auto:
            return super().store(entry)
        shard = self.shard_map[len(records_of(self)) % len(self.shard_map)]
        self.stored[shard.shard_id].append(entry)
        return Stored(shard.shard_id, str(len(self.stored[shard.shard_id])))


def test_streams_that_spread_records_themselves_get_each_as_it_is():
    transport = Spreading(4, auto=True)
    with producer_of(transport) as producer:
        producer.put_many(["a"] * 500, [b"x" * 500] * 500)
    assert all(record.data == b"x" * 500 for record in records_of(transport))
    assert producer.stats().retries == 0


def test_a_stream_that_begins_to_spread_them_has_what_waits_taken_apart():
    transport = Spreading(4)
    with producer_of(transport, max_aggregate_records=1) as producer:
        producer.put_many(["a"] * 50, [b"x" * 500] * 50)
        producer.flush()
        assert all(map(is_compressed, records_of(transport)))
        transport.auto = True
        producer.put_many(["a"] * 50, [b"y" * 500] * 50)
        producer.flush()
        assert producer.stats().user_records_stored == 100
    assert {b"y" * 500} <= {record.data for record in records_of(transport)}


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_aggregates_of_a_stream_that_spreads_them_are_stored_once(compression):
    """Where no reader minds the shard."""
    transport = Spreading(4, auto=True)
    with Producer(transport=transport, linger_ms=5, aggregate_on_auto=True, compression=compression) as producer:
        put_all(producer, 3000)
    in_order_of_shards = sorted(int(record.data) for record in transport.user_records())
    assert in_order_of_shards == list(range(3000))
    assert producer.stats().retries == 0


def test_keyless_records_fill_one_shard_after_the_other():
    corpus, transport = flights(20_000), Shards(4)
    with producer_of(transport, max_aggregate_bytes=20_000) as producer:
        producer.put_many([None] * len(corpus), corpus.datas)
    in_their_shards(transport, 20_000)
    assert sorted(data for _, data, _ in compressed_reader.user_records(records_of(transport))) == sorted(corpus.datas)
    assert len([records for records in transport.stored.values() if records]) > 1
    assert len(records_of(transport)) < 120


def test_rows_of_arrow():
    pyarrow = pytest.importorskip("pyarrow")
    corpus, transport = flights(5000), Shards(3)
    batch = pyarrow.record_batch({"key": corpus.keys, "data": pyarrow.array(corpus.datas, pyarrow.binary())})
    with producer_of(transport, max_aggregate_bytes=10_000) as producer:
        producer.put_arrow(batch, key="key", data="data")
        producer.flush()
        assert producer.stats().buffered_bytes == 0
    in_their_shards(transport, 10_000)
    assert sorted((r.partition_key, bytes(r.data)) for r in transport.user_records()) == sorted(corpus.pairs())


def test_user_records_of_ten_mib():
    transport = Shards(1)
    transport.limits = Limits(max_record_bytes=10 * MIB, max_request_bytes=10 * MIB)
    noise = random.Random(1).randbytes(9 * MIB)
    with producer_of(transport) as producer:
        producer.put_many(["a"] * 4, [b"x", b"text " * 1_900_000, noise, b"y"], timeout=30)
    found = compressed_reader.user_records(records_of(transport))
    assert [data for _, data, _ in found] == [b"x", b"text " * 1_900_000, noise, b"y"]
    assert [record.size > MIB for record in records_of(transport)].count(True) == 1


def test_many_shards_and_few_records_are_no_more_bytes_than_without():
    rng = random.Random(1)
    keys, datas = [str(rng.random()) for _ in range(3000)], [rng.randbytes(rng.randrange(40)) for _ in range(3000)]
    sizes = []
    for compression in (None, "zstd"):
        transport = Shards(500)
        with Producer(transport=transport, linger_ms=1000, compression=compression) as producer:
            producer.put_many(keys, datas)
        in_their_shards(transport)
        sizes.append(sum(record.request_size for record in records_of(transport)))
    assert sizes[1] <= sizes[0]


def test_what_was_given_up_is_whole_and_can_be_sent_again(tmp_path):
    transport = Shards(2, fail=lambda entries: [Failed("InternalFailure", "told") for _ in entries])
    with (
        SQLiteDeadLetters(tmp_path / "letters.db") as letters,
        producer_of(transport, record_ttl_ms=200, dead_letters=letters) as producer,
    ):
        receipts = put_all(producer, 500)
        with pytest.raises(RecordExpiredError):
            receipts[0].result(30)
        producer.flush()
        assert len(letters) == 500
        transport.fail = None
        with producer_of(transport) as again:

            def send(some):
                receipts = again.put_many([each.partition_key for each in some], [each.data for each in some])
                again.flush()
                return [receipts[i].result(0) is not None for i in range(len(some))]

            redrive(letters, send)
        assert len(letters) == 0
    in_order(transport, 500)
    assert all(map(is_compressed, records_of(transport)))


def test_a_held_shard_goes_on_with_what_was_given_up():
    transport = Shards(1, fail=lambda entries: [Failed("ValidationException", "told") for _ in entries])
    with producer_of(transport, after_failure="stop", max_aggregate_bytes=2000) as producer:
        put_all(producer, 2000)
        while not producer.held_shards:
            time.sleep(0.001)
        producer.put("device-0", b"2000")
        transport.fail = None
        while producer.held_shards:
            producer.resume()
            producer.flush(5)
    in_order(transport, 2001)


def test_asyncio():
    transport = ShardsOfLoop(3)

    async def go():
        async with AsyncProducer(transport=transport, linger_ms=5, compression="zstd") as producer:
            for i in range(3000):
                await producer.put(f"device-{i % 50}", b"%d" % i)

    asyncio.run(go())
    in_order(transport, 3000)
    assert all(map(is_compressed, records_of(transport)))


def test_a_real_stream(local_kinesis):
    corpus, name = flights(20_000), f"compressed-{uuid.uuid4()}"
    local_kinesis.create_stream(name, 3)
    client = local_kinesis.client()
    with Producer(name, client=client, compression="zstd") as producer:
        producer.put_many(corpus.keys, corpus.datas)
    stats, found = producer.stats(), defaultdict(list)
    assert stats.user_records_stored == len(corpus)
    assert stats.bytes_stored * 6 < stats.user_bytes_stored
    for shard in client.list_shards(StreamName=name)["Shards"]:
        hashes = shard["HashKeyRange"]
        limits = int(hashes["StartingHashKey"]), int(hashes["EndingHashKey"])
        iterator = client.get_shard_iterator(
            StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        for record in deaggregate(client.get_records(ShardIterator=iterator), hash_range=limits):
            found[record.partition_key].append(bytes(record.data))
    expected = defaultdict(list)
    for key, data in corpus.pairs():
        expected[key].append(data)
    assert found == expected


STANDSTILL = """
import gc, random, sys
sys.path.insert(0, {tests!r})
from shards_in_lists import Shards
from shardpack import BufferFullError
from shardpack.producer.producer import Producer

from process_memory import memory

rng = random.Random(1)
keys = ["device-%d" % i for i in range(1000)]
transport = Shards(8)
with Producer(transport=transport, linger_ms=1, receipts=False, compression="zstd") as producer:
    producer.put_many(keys, [b""] * 1000)
transport.gate.clear()
options = dict(linger_ms=1, receipts=False, compression="zstd", record_ttl_ms=10**6)
producer = Producer(transport=transport, max_buffered_bytes={most}, **options)
before = memory()
count = 0
try:
    while True:
        producer.put_many(keys, [{data} for i in range(1000)], timeout=0)
        count += 1000
except BufferFullError:
    pass
while producer._pump.inbox.waiting or producer._pump._offering or producer._pump._marks:
    __import__("time").sleep(0.05)
lots = [entry.contents for lane in producer._pump._scheduler.lanes() for entry in lane.queue]
held = sum(lot.record.size for lot in lots if lot.record is not None)
print(memory("VmHWM") - before, held, sum(lot.bucket.plain_size for lot in lots if lot.record is not None))
transport.gate.set()
producer.close()
assert len(transport.user_records()) == count + 1000
"""


@pytest.mark.parametrize("data", ["b'%099d' % (count + i)", "rng.randbytes(50).hex().encode()", "rng.randbytes(100)"])
def test_memory_at_a_standstill_is_the_buffer_and_what_is_compressed_of_it(data, request):
    """What is no smaller compressed is not held twice."""
    most = 24 * MIB
    peak, held, plain = map(int, run(STANDSTILL.format(tests=str(request.path.parent), data=data, most=most)).split())
    assert held <= plain <= most
    assert peak <= 1.5 * most + held + 24 * MIB, f"{peak / MIB:.1f} MiB, {held / MIB:.1f} MiB compressed"


def test_buckets_of_many_shards_leave_room_in_the_buffer():
    """Where the buffer was full before any bucket, all would wait for the linger."""
    corpus, transport = flights(60_000), Shards(30)
    with producer_of(transport, linger_ms=10_000, max_buffered_bytes=8 * MIB, max_aggregate_bytes=40_000) as producer:
        for i in range(0, len(corpus), 1000):
            producer.put_many(corpus.keys[i : i + 1000], corpus.datas[i : i + 1000], timeout=5)
        assert producer.stats().user_records_stored > len(corpus) // 2
    assert len(transport.user_records()) == len(corpus)


def test_a_turn_compresses_a_bounded_part():
    """So that what was compressed is sent, whatever waits behind it."""
    transport = Shards(64)
    corpus = flights(120_000)
    transport.gate.clear()
    with producer_of(transport, linger_ms=2000, max_aggregate_bytes=MIB) as producer:
        producer.put_many(corpus.keys, corpus.datas)
        transport.gate.set()
        producer.flush()
    assert sum(record.user_record_count for record in transport.requests[0]) < len(corpus) // 3
    assert len(transport.user_records()) == len(corpus)


def test_other_threads_are_not_in_the_way_of_the_end():
    """Closing takes what waits, sealed or not."""
    transport = Shards(1)
    transport.gate.clear()
    producer = producer_of(transport, close_timeout_s=0.2, linger_ms=10_000)
    corpus = flights(60_000)
    receipts = producer.put_many(corpus.keys, corpus.datas)
    closing = threading.Thread(target=producer.close)
    closing.start()
    closing.join(30)
    transport.gate.set()
    assert not closing.is_alive()
    assert all(receipts[i].done() for i in (0, 1, len(corpus) - 1))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"compression": "gzip"}, ValueError, 'compression is "zstd" or None'),
        ({"compression": "zstd", "compression_level": 0}, ValueError, "compression_level of 0 is not between 1 and 19"),
    ],
)
def test_other_compressions_are_refused(options, error, said):
    with pytest.raises(error, match=said):
        Producer(transport=Shards(), **options)


WITHOUT = """
import sys
sys.modules["zstandard"] = sys.modules["compression"] = sys.modules["compression.zstd"] = None
from shardpack import Producer
Producer("telemetry")
try:
    Producer("telemetry", compression="zstd")
except ImportError as error:
    print(error)
"""


def test_without_a_library_of_zstd_the_error_says_what_to_install():
    assert "pip install 'shardpack[codec]'" in run(WITHOUT)
