from datetime import datetime
from typing import Any

from shardpack import (
    Columns,
    UserRecord,
    UserRecordBatch,
    deaggregate,
    deaggregate_arrow,
    deaggregate_columns,
    iter_deaggregate,
)
from shardpack.codec import PayloadReader, glue, train
from shardpack.errors import CodecError


def of_a_response(response: dict[str, Any]) -> list[bytes]:
    kept: list[UserRecord] = [record.detach() for record in deaggregate(response) if record.error is None]
    arrived: datetime | None = kept[0].approximate_arrival_timestamp
    print(arrived, kept[0].tags, kept[0].partition_key)
    return [record.data for record in deaggregate(response["Records"])]


def of_a_lambda_event(event: dict[str, Any], context: object) -> int:
    return sum(len(record.data) for record in iter_deaggregate(event, strict=True))


def of_bytes(blobs: list[bytes]) -> Columns:
    return deaggregate_columns(blobs, hash_range=(0, 2**127 - 1))


def as_arrow(blobs: list[bytes]) -> UserRecordBatch:
    return deaggregate_arrow(blobs, zero_copy=True, shard_id="shardId-000000000000")


# from here on, every line that ends in the words below is wrong

deaggregate([b""], strict="yes")  # wrong: arg-type
deaggregate_columns([b""], hash_range=5)  # wrong: arg-type
deaggregate_arrow([b""], shard_id=0)  # wrong: arg-type
for each in deaggregate([b""]):
    key: str = each.partition_key  # wrong: assignment
    each.sequence_numbers  # wrong: attr-defined
    each.data = b""  # wrong: misc


class Table:
    def find(self, dictionary_id: int) -> bytes | None:
        return {7: b""}.get(dictionary_id)


class Celsius:
    def encode(self, obj: float) -> bytes:
        return b"%g" % obj

    def decode(self, data: bytes) -> float:
        return float(data)


reader = PayloadReader(Table(), codec=Celsius(), max_bytes=1_000)
for payload in reader.read(deaggregate(b"21.5")):
    problem: CodecError | None = payload.error
    print(payload.data.hex(), payload.object(), payload.record)
    print(deaggregate(b"21.5")[0].object(Celsius()), deaggregate(b"21.5")[0].object("json"))
known: bytes = train([b"a", b"b"], 1_024, dictionary_id=7)
number, content = glue.unframed(glue.framed("b7b4a7f0-9c96-4e4a-a687-fb5de9ef0c63", known, compression="zlib"))
assert number.hex, content.hex()
