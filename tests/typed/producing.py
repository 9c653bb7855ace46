from collections.abc import Sequence

from shardpack import (
    AsyncProducer,
    BufferFullError,
    DeliveryError,
    Outcome,
    Producer,
    Receipt,
    Receipts,
    SettledRecord,
    SQLiteDeadLetters,
)
from shardpack.codec import DictionaryCodec


def count(records: Sequence[SettledRecord]) -> None:
    print(sum(record.user_record_count for record in records if record.stored))
    for key, data, explicit_hash_key in records[0].user_records():
        print(key.upper(), len(data), explicit_hash_key)


async def put(producer: Producer) -> str:
    outcome: Outcome = await producer.put("device-7", b"21.5")
    return outcome.sequence_number


async def put_in_a_loop() -> None:
    async with AsyncProducer("telemetry", linger_ms=5) as producer:
        receipt: Receipt = await producer.put(None, b"21.5")
        outcome: Outcome = await receipt
        await producer.put_object("a", {"celsius": 21.5})
        receipts: Receipts = await producer.put_many(["a", None], [b"1", b"2"])
        print(outcome.shard_id, await receipts[1])
        await producer.flush(timeout=10)
    same: AsyncProducer = AsyncProducer.from_kpl_properties({"RateLimit": 80}, "telemetry")
    await same.close()


with Producer(
    "telemetry",
    linger_ms=20,
    ordering="shard",
    after_failure="stop",
    on_settled=count,
    payload_codec=DictionaryCodec(b"", level=9),
    codec="msgpack",
    dead_letters=SQLiteDeadLetters("dead.db"),
) as producer:
    receipt: Receipt = producer.put("device-7", b"21.5", explicit_hash_key=7, timeout=0.5)
    receipts: Receipts = producer.put_many(["a", None], [b"1", b"2"])
    of_object: Receipt = producer.put_object("a", [1], timeout=0.5)
    if producer.held_shards:
        producer.resume()
        producer.skip()
    first: Receipt = receipts[0]
    some: list[Receipt] = receipts[:1]
    try:
        print(receipt.done(), receipt.result(timeout=5).shard_id, receipts[1].result().sub_sequence_number)
    except DeliveryError as error:
        print(error.maybe_stored, error.error_code, error.attempts)
    except BufferFullError:
        producer.flush(timeout=10)
    assert Producer.from_kpl_properties({"RecordTtl": "500"}, "telemetry").put("a", b"") is None

# from here on, every line that ends in the words below is wrong

Producer("telemetry", linger=20)  # wrong: call-arg
Producer("telemetry", ordering="key")  # wrong: arg-type
Producer("telemetry", on_settled=lambda record: record.stored)  # wrong: attr-defined
producer.put(7, b"21.5")  # wrong: arg-type
producer.put("device-7", b"21.5").sequence_number  # wrong: union-attr
number: int = receipt.result()  # wrong: assignment
AsyncProducer("telemetry").put("a", b"").result()  # wrong: attr-defined
Producer.from_kpl_properties({}, "telemetry", linger_ms="5")  # wrong: arg-type
AsyncProducer.from_kpl_properties({}, "telemetry", linger=5)  # wrong: call-arg
