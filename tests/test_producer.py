"""The producer against the local Kinesis, and against transports that fail as told."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
import uuid
from collections import defaultdict
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from shards_in_lists import Shards, in_order

from shardpack import AsyncProducer, Limits, SQLiteDeadLetters, deaggregate
from shardpack.errors import (
    BufferFullError,
    DeliveryError,
    FlushTimeoutError,
    InvalidPartitionKeyError,
    ProducerClosedError,
    RecordExpiredError,
    RecordTooLargeError,
)
from shardpack.producer.producer import Producer
from shardpack.testing import history
from shardpack.transport import Failed


def client_error(code, status=400):
    return ClientError(
        {"Error": {"Code": code, "Message": "told"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutRecords"
    )


def once(error):
    """Raise this on the first call, and let the others pass."""
    left = [error]

    def fail(_entries):
        if left:
            raise left.pop()

    return fail


def put_all(producer, n, keys=50):
    return [producer.put(f"device-{i % keys}", b"%d" % i) for i in range(n)]


def test_everything_is_stored_in_the_order_of_its_key():
    transport = Shards()
    with Producer(transport=transport, linger_ms=5) as producer:
        put_all(producer, 20_000)
    in_order(transport, 20_000)
    assert producer.stats().user_records_stored == 20_000


def test_a_receipt_says_where_its_record_is():
    transport = Shards()
    with Producer(transport=transport, linger_ms=5) as producer:
        receipts = put_all(producer, 9000)
        many = producer.put_many(["a", "b", "a"], [b"1", b"2", b"3"])
        producer.flush(10)
        assert all(receipt.done() for receipt in receipts)
        for i, receipt in [*enumerate(receipts)][::97]:
            outcome = receipt.result(0)
            entry = transport.stored[outcome.shard_id][int(outcome.sequence_number) - 1]
            found = deaggregate({"Data": entry.data, "PartitionKey": entry.partition_key})
            assert found[outcome.sub_sequence_number].data == b"%d" % i
        assert len(many) == 3
        assert many[-1].result(0).shard_id == many[0].result(0).shard_id
        assert many[:2][1].done()


def test_a_receipt_can_be_awaited():
    async def run(producer):
        receipt = producer.put("a", b"1")
        outcome = await asyncio.wait_for(receipt, 10)
        assert outcome == receipt.result(0)
        assert await producer.put("a", b"2") is not None

    with Producer(transport=Shards(), linger_ms=5) as producer:
        asyncio.run(run(producer))


def test_bad_input_is_refused_and_nothing_is_taken():
    transport = Shards()
    with Producer(transport=transport, linger_ms=5) as producer:
        with pytest.raises(InvalidPartitionKeyError):
            producer.put("", b"1")
        with pytest.raises(InvalidPartitionKeyError, match=r"^record 1: "):
            producer.put_many(["a", ""], [b"1", b"2"])
        with pytest.raises(TypeError):
            producer.put("a", "text")
    assert transport.user_records() == []
    with pytest.raises(ProducerClosedError):
        producer.put("a", b"1")


def test_many_come_as_any_iterable():
    transport = Shards()
    with Producer(transport=transport, linger_ms=1) as producer:
        producer.put_many((f"{i}" for i in range(3)), iter([b"0", b"1", b"2"]), iter([None, "7", 8]))
        producer.put_many({"3": 0}.keys(), (b"3",))
        with pytest.raises(TypeError, match="not as one str"):
            producer.put_many("45", [b"4", b"5"])
    in_order(transport, 4)


def test_at_the_bound_put_waits_or_raises():
    transport = Shards()
    transport.gate.clear()
    with Producer(transport=transport, linger_ms=1, max_buffered_bytes=13_900) as producer:
        for _ in range(61):
            producer.put("a", b"x" * 100, timeout=0)
        with pytest.raises(BufferFullError):
            producer.put("a", b"x" * 100, timeout=0)
        with pytest.raises(BufferFullError):
            producer.put_many(["a"], [b"1"], timeout=0.01)
        with pytest.raises(FlushTimeoutError) as raised:
            producer.flush(0.05)
        assert raised.value.pending == 61
        threading.Timer(0.05, transport.gate.set).start()
        producer.put("a", b"last")
    assert len(transport.user_records()) == 62


@pytest.mark.parametrize(
    "error",
    [
        client_error("ProvisionedThroughputExceededException"),
        client_error("ExpiredTokenException"),
        client_error("InternalFailure", 500),
        EndpointConnectionError(endpoint_url="http://127.0.0.1"),
        ReadTimeoutError(endpoint_url="http://127.0.0.1"),
    ],
)
def test_a_call_that_fails_is_made_again(error):
    transport = Shards(fail=once(error))
    with Producer(transport=transport, linger_ms=2) as producer:
        receipts = put_all(producer, 500)
        producer.flush(10)
    in_order(transport, 500)
    assert len(receipts[0].result().attempts) == 1


def test_entries_that_fail_keep_their_shards_order():
    turns = [0]

    def fail(entries):
        turns[0] += 1
        if turns[0] % 2:
            return None
        return [
            Failed("ProvisionedThroughputExceededException", "") if i % 2 else transport.store(entry)
            for i, entry in enumerate(entries)
        ]

    transport = Shards(16, fail=fail)
    with Producer(transport=transport, linger_ms=1, max_aggregate_records=20) as producer:
        put_all(producer, 3000)
    in_order(transport, 3000)


def test_what_cannot_be_sent_fails_fast():
    def fail(_entries):
        raise client_error("AccessDeniedException")

    with Producer(transport=Shards(fail=fail), linger_ms=1) as producer:
        receipts = put_all(producer, 10)
        for receipt in receipts:
            with pytest.raises(DeliveryError) as raised:
                receipt.result(5)
            assert raised.value.error_code == "AccessDeniedException"
            assert not raised.value.maybe_stored
        assert producer.stats().user_records_failed == 10


def test_one_poisonous_record_fails_alone():
    def fail(entries):
        if any(b"poison" in entry.data for entry in entries):
            raise client_error("ValidationException")

    transport = Shards(64, fail=fail)
    with Producer(transport=transport, linger_ms=20, max_aggregate_records=1) as producer:
        receipts = [producer.put(f"{i}", b"poison" if i == 33 else b"%d" % i) for i in range(60)]
        producer.flush(10)
    failed = [i for i, receipt in enumerate(receipts) if not _is_stored(receipt)]
    assert failed == [33]
    assert len(transport.user_records()) == 59


def _is_stored(receipt):
    try:
        receipt.result(0)
    except DeliveryError:
        return False
    return True


def test_what_expires_is_told_and_kept(tmp_path):
    def fail(_entries):
        raise ReadTimeoutError(endpoint_url="http://127.0.0.1")

    letters = SQLiteDeadLetters(tmp_path / "letters")
    with Producer(
        transport=Shards(fail=fail), stream_arn="arn", linger_ms=1, record_ttl_ms=200, dead_letters=letters
    ) as producer:
        receipts = [producer.put("k", b"%d" % i, explicit_hash_key=7) for i in range(5)]
        with pytest.raises(RecordExpiredError) as raised:
            receipts[-1].result(10)
        assert raised.value.maybe_stored
        assert raised.value.attempts
    kept = [letter for _, letter in letters]
    assert [letter.data for letter in kept] == [b"0", b"1", b"2", b"3", b"4"]
    assert {
        (letter.partition_key, letter.explicit_hash_key, letter.stream, letter.maybe_stored) for letter in kept
    } == {("k", 7, "arn", True)}
    letters.close()


def test_dead_letters_that_cannot_be_kept_are_said_and_delivery_goes_on(caplog):
    class Full:
        def put(self, _letters):
            raise OSError(28, "no room")

    def fail(entries):
        if any(entry.partition_key == "bad" for entry in entries):
            raise client_error("ValidationException")

    with Producer(transport=Shards(fail=fail), linger_ms=1, dead_letters=Full()) as producer:
        with pytest.raises(DeliveryError):
            producer.put("bad", b"1").result(10)
        assert producer.put("good", b"2").result(10).sequence_number
    assert "1 dead letters could not be kept" in caplog.text
    assert "no room" in caplog.text


def test_closing_settles_what_is_left():
    transport = Shards()
    transport.gate.clear()
    producer = Producer(transport=transport, linger_ms=1, close_timeout_s=0.2)
    receipts = put_all(producer, 10, keys=1)
    time.sleep(0.1)
    receipts.append(producer.put("device-0", b"behind it"))
    producer.close()
    with pytest.raises(DeliveryError) as first:
        receipts[0].result(0)
    with pytest.raises(DeliveryError) as last:
        receipts[-1].result(0)
    assert (first.value.maybe_stored, last.value.maybe_stored) == (True, False)
    transport.gate.set()


def test_a_put_that_meets_the_closing_is_stored_or_refused():
    transport = Shards()
    producer = Producer(transport=transport, linger_ms=1)
    taken = []

    def put():
        try:
            for i in range(1_000_000):
                producer.put("a", b"%d" % i)
                taken.append(i)
        except ProducerClosedError:
            return

    threads = [threading.Thread(target=put) for _ in range(2)]
    for thread in threads:
        thread.start()
    while len(taken) < 1000:
        time.sleep(0.001)
    producer.close()
    for thread in threads:
        thread.join()
    assert len(taken) == len(transport.user_records()) == producer.stats().user_records_stored


def test_outcomes_in_bulk_and_a_callback_that_fails():
    told = []

    def on_settled(records):
        told.extend((record.stored, key, data) for record in records for key, data, _ in record.user_records())
        raise RuntimeError("the callback's own")

    with Producer(transport=Shards(), linger_ms=1, receipts=False, on_settled=on_settled) as producer:
        assert producer.put("a", b"1") is None
        assert producer.put_many(["a", "b"], [b"2", b"3"]) is None
    assert sorted(told) == [(True, "a", b"1"), (True, "a", b"2"), (True, "b", b"3")]


@pytest.mark.parametrize("keyless", [False, True])
def test_settled_records_have_the_numbers_of_what_was_put(keyless):
    told = {}

    def on_settled(records):
        for record in records:
            data = [data for _, data, _ in record.user_records()]
            told.update(zip(record.numbers(), data, strict=True))

    transport = Shards(3)
    with Producer(transport=transport, linger_ms=1, receipts=False, on_settled=on_settled) as producer:
        for first in range(0, 5000, 500):
            keys = [None if keyless else f"device-{i % 50}" for i in range(first, first + 499)]
            producer.put_many(keys, [b"%d" % i for i in range(first, first + 499)])
            producer.put("one", b"%d" % (first + 499))
            transport.reshard(2 + first // 500 % 3)
    assert told == {i: b"%d" % i for i in range(5000)}


def test_a_stream_that_is_resharded_meanwhile():
    transport = Shards(3)
    with Producer(transport=transport, linger_ms=1, max_aggregate_records=50) as producer:
        for part in range(6):
            for i in range(part * 1000, (part + 1) * 1000):
                producer.put(f"device-{i % 50}", b"%d" % i)
            producer.flush(10)
            transport.reshard((5, 2, 7, 3, 6, 4)[part])
            for i in range(20):
                producer.put(f"between-{i}", b"")
    # what the KCL would drop was sent again: look at what lies in its shard
    seen = defaultdict(list)
    for record in transport.user_records():
        if record.data:
            seen[record.partition_key].append(int(record.data))
    for values in seen.values():
        firsts = list(dict.fromkeys(values))
        assert firsts == sorted(firsts)
    assert sorted({value for values in seen.values() for value in values}) == list(range(6000))


def test_auto_distribution_turns_aggregation_off():
    transport = Shards(auto=True)
    with Producer(transport=transport, linger_ms=5) as producer:
        put_all(producer, 100)
    assert all(entry.user_record_count == 1 for entries in transport.stored.values() for entry in entries)
    assert len(transport.user_records()) == 100


def test_shards_that_may_not_be_listed():
    transport = Shards()

    def denied():
        raise client_error("AccessDeniedException")

    transport.list_shards = denied
    with Producer(transport=transport, linger_ms=5) as producer:
        put_all(producer, 700)
    assert len(transport.user_records()) == 700
    assert all(entry.user_record_count == 1 for entries in transport.stored.values() for entry in entries)
    assert len(transport.requests) < 50


def test_shards_that_cannot_be_listed_yet():
    transport = Shards()
    left = [client_error("InternalFailure", 500), client_error("LimitExceededException")]
    list_shards = transport.list_shards

    def failing():
        if left:
            raise left.pop()
        return list_shards()

    transport.list_shards = failing
    with Producer(transport=transport, linger_ms=5) as producer:
        put_all(producer, 100)
    in_order(transport, 100)


def test_threads_put_side_by_side():
    transport = Shards()
    with Producer(transport=transport, linger_ms=1, receipts=False) as producer:

        def put(name):
            for i in range(3000):
                producer.put(f"{name}", b"%d" % i)

        threads = [threading.Thread(target=put, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    seen = defaultdict(list)
    for record in transport.user_records():
        seen[record.partition_key].append(int(record.data))
    assert seen == {f"{name}": list(range(3000)) for name in range(4)}


def test_receipts_put_before_and_after_many_that_found_no_room():
    seen, gates = threading.Event(), [threading.Event(), threading.Event()]

    def fail(_entries):
        gate = gates[seen.is_set()]
        seen.set()
        gate.wait(10)

    with Producer(transport=Shards(fail=fail), linger_ms=1, max_buffered_bytes=4000 * (1 + 10 + 128)) as producer:
        receipts = [producer.put("a", b"0123456789")]
        assert seen.wait(10)
        receipts += [producer.put("a", b"0123456789") for _ in range(3999)]
        with pytest.raises(BufferFullError):  # it would go beyond the 4,096 whose outcomes are kept together
            producer.put_many(["a"] * 200, [b""] * 200, timeout=0)
        gates[0].set()
        receipts[0].result(10)
        receipts.append(producer.put("a", b""))
        gates[1].set()
        producer.flush(10)
        assert all(receipt.done() for receipt in receipts)


def test_receipts_that_nobody_holds_are_forgotten():
    with Producer(transport=Shards(), linger_ms=1) as producer:
        for _ in range(10):
            put_all(producer, 4096)
            producer.flush(10)
        gc.collect()
        assert len(producer._inbox.blocks) <= 2
        assert producer._inbox.buffered == 0


@pytest.mark.parametrize("stored", [True, False])
def test_a_receipt_that_is_kept_does_not_keep_the_record(stored):
    fail = None if stored else lambda entries: [Failed("Refused", "told")] * len(entries)
    with Producer(transport=Shards(fail=fail), linger_ms=1) as producer:
        data = b"%d" % 10**100
        before = sys.getrefcount(data)
        receipts = [producer.put("a", data) for _ in range(100)]
        producer._pump.transport.stored.clear()
        producer.flush(10)
        time.sleep(0.01)
        assert all(receipt.done() for receipt in receipts)
        assert sys.getrefcount(data) == before


def test_an_idle_producer_sleeps():
    with Producer(transport=Shards(), linger_ms=1) as producer:
        put_all(producer, 10)
        producer.flush(10)
        time.sleep(0.05)
        turns = []
        turn = producer._pump._turn
        producer._pump._turn = lambda now: (turns.append(now), turn(now))[1]
        time.sleep(0.3)
        assert len(turns) <= 2


@pytest.mark.parametrize("named", [lambda arn: {"stream_name": arn}, lambda arn: {"stream_arn": arn}])
def test_a_stream_by_its_arn(local_kinesis, named):
    client, stream = local_kinesis.client(), f"producer-{uuid.uuid4()}"
    local_kinesis.create_stream(stream, 1)
    arn = client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]
    with Producer(**named(arn), client=client, linger_ms=1) as producer:
        producer.put("device-7", b"by arn")
    assert [record.data for record in history.read_all(client, stream)[0].records] == [b"by arn"]


def test_into_the_local_kinesis(local_kinesis):
    client, stream = local_kinesis.client(), f"producer-{uuid.uuid4()}"
    local_kinesis.create_stream(stream, 4)
    with Producer(stream, client=client, linger_ms=20) as producer:
        receipts = put_all(producer, 20_000)
        producer.flush(30)
        last = receipts[-1].result(0)
    values = defaultdict(list)
    for shard in client.list_shards(StreamName=stream)["Shards"]:
        iterator = client.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        hash_range = shard["HashKeyRange"]
        bounds = int(hash_range["StartingHashKey"]), int(hash_range["EndingHashKey"])
        while records := (answer := client.get_records(ShardIterator=iterator))["Records"]:
            iterator = answer["NextShardIterator"]
            for record in deaggregate(records, hash_range=bounds):
                values[record.partition_key].append(int(record.data))
                if record.data == b"19999":
                    where = (shard["ShardId"], record.sequence_number, record.sub_sequence_number)
                    assert where == (last.shard_id, last.sequence_number, last.sub_sequence_number)
    assert all(each == sorted(each) for each in values.values())
    assert sorted(value for each in values.values() for value in each) == list(range(20_000))


def test_what_was_put_is_delivered_at_exit(local_kinesis, command_environment):
    local_kinesis.create_stream(stream := f"exit-{uuid.uuid4()}", 2)
    script = (
        "import boto3, sys\n"
        "from shardpack.producer.producer import Producer\n"
        "producer = Producer(sys.argv[1], client=boto3.client('kinesis', endpoint_url=sys.argv[2]), linger_ms=5000)\n"
        "for i in range(1000): producer.put(f'{i % 7}', b'%d' % i)\n"
    )
    subprocess.run(
        [sys.executable, "-c", script, stream, local_kinesis.endpoint_url],
        check=True,
        timeout=60,
        env=command_environment,
    )
    assert _count(local_kinesis.client(), stream) == 1000


def test_a_fork_begins_empty_and_the_parent_goes_on(local_kinesis, command_environment):
    local_kinesis.create_stream(stream := f"fork-{uuid.uuid4()}", 2)
    script = (
        "import boto3, os, sys\n"
        "from shardpack.producer.producer import Producer\n"
        "client = lambda: boto3.client('kinesis', endpoint_url=sys.argv[2])\n"
        "producer = Producer(sys.argv[1], client=client(), linger_ms=300)\n"
        "for i in range(100): producer.put('parent', b'%d' % i)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    for i in range(10): producer.put('child', b'%d' % i)\n"
        "    producer.close()\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "producer.close()\n"
        "assert producer.stats().user_records_stored == 100\n"
    )
    subprocess.run(
        [sys.executable, "-c", script, stream, local_kinesis.endpoint_url],
        check=True,
        timeout=60,
        env=command_environment,
    )
    assert _count(local_kinesis.client(), stream) == 110


def _count(client, stream):
    return sum(len(shard.records) for shard in history.read_all(client, stream, kcl_rule=True))


def test_before_the_shards_are_known_records_expire_on_their_time():
    transport = Shards()

    def unreachable():
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1")

    list_shards, transport.list_shards = transport.list_shards, unreachable
    with Producer(transport=transport, linger_ms=1, record_ttl_ms=300) as producer:
        receipt = producer.put("k", b"0")
        with pytest.raises(RecordExpiredError) as raised:
            receipt.result(10)
        assert not raised.value.maybe_stored
        assert producer.stats().user_records_expired == 1
        transport.list_shards = list_shards
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not transport.stored:
            producer.put("k", b"1")
            time.sleep(0.05)
    assert {record.data for record in transport.user_records()} == {b"1"}


@pytest.mark.parametrize("call", ["list_shards", "describe"])
def test_a_question_that_is_refused_ends_it(call):
    transport = Shards()

    def refused():
        raise client_error("ValidationException")

    setattr(transport, call, refused)
    with Producer(transport=transport, linger_ms=1) as producer:
        with pytest.raises(DeliveryError, match="told"):
            producer.put("k", b"0").result(10)
        with pytest.raises(DeliveryError, match="told"):
            producer.put("k", b"0").result(10)


def test_what_waited_long_for_the_shards_is_sent_in_order():
    transport, count = Shards(8), 0
    list_shards, asked = transport.list_shards, threading.Event()

    def late():
        asked.wait(10)
        return list_shards()

    transport.list_shards = late
    with Producer(transport=transport, linger_ms=1, record_ttl_ms=60_000, max_aggregate_records=100) as producer:
        while producer.stats(shards=False).linger_s.count == 0:  # it is bucketed though the shards are unknown
            put = [producer.put(f"device-{i % 50}", b"%d" % i) for i in range(count, count + 100)]
            count += len(put)
            time.sleep(0.05)
        asked.set()
    in_order(transport, count)
    assert sum(map(len, transport.stored.values())) < count
    assert {receipt.result(0).shard_id for receipt in put} <= {shard.shard_id for shard in transport.shard_map}


def test_a_stream_whose_limit_is_raised_takes_larger_records():
    transport = Shards()
    described = transport.describe()
    limits = Limits(max_record_bytes=3 << 20, max_request_bytes=10 << 20)
    transport.describe = lambda: replace(described, limits=limits)
    large = bytes(2 << 20)
    with Producer(transport=transport, linger_ms=1) as producer:
        producer.put("a", large)  # before anything is known of the stream
        producer.put_many(["a", "b"], [large, b"x"])
        with pytest.raises(RecordTooLargeError, match="3,145,729 bytes"):
            producer.put("a", bytes(3 << 20))
    assert sorted(len(record.data) for record in transport.user_records()) == [1, 2 << 20, 2 << 20]

    async def put_it():
        async with AsyncProducer(transport=transport, linger_ms=1) as producer:
            await producer.put("a", large)
        async with AsyncProducer(transport=transport, linger_ms=1) as producer:
            await producer.put_many(["a"], [large])
            with pytest.raises(RecordTooLargeError, match="3,145,729 bytes"):
                await producer.put("a", bytes(3 << 20))

    asyncio.run(put_it())
    assert len(transport.user_records()) == 5


def test_a_record_too_large_is_refused_where_the_limits_are_not_to_be_had():
    transport = Shards()

    def denied():
        raise client_error("AccessDeniedException")

    transport.describe = denied
    with Producer(transport=transport, linger_ms=1) as producer, pytest.raises(RecordTooLargeError):
        producer.put("a", bytes(2 << 20))
