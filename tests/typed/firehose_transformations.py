from functools import partial
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from shardpack import UserRecord
from shardpack.consume.firehose import transform_each_user_record


@transform_each_user_record
def bare(record: UserRecord, context: LambdaContext) -> bytes | None:
    return record.data or None


@transform_each_user_record(delimiter=b"", partition_keys=lambda record: {"key": record.partition_key or ""})
def with_options(record: UserRecord, context: object) -> bytes:
    return record.data


def with_a_prefix(prefix: bytes, record: UserRecord, context: object) -> bytes:
    return prefix + record.data


response: dict[str, list[dict[str, Any]]] = bare({}, None)
transform_each_user_record(partial(with_a_prefix, b"> "))({}, None)


# from here on, every line that ends in the words below is wrong


@transform_each_user_record  # wrong: arg-type
def no_context(record: UserRecord) -> bytes:
    return b""


@transform_each_user_record  # wrong: arg-type
def to_text(record: UserRecord, context: object) -> str:
    return record.data.decode()


@transform_each_user_record  # wrong: arg-type
def of_a_batch(records: list[UserRecord], context: object) -> bytes:
    return b""


@transform_each_user_record(delimiter=b"")  # wrong: arg-type
async def later(record: UserRecord, context: object) -> bytes:
    return b""


@transform_each_user_record(partition_keys=lambda record: record.partition_key)  # wrong: arg-type, return-value
def with_one_key(record: UserRecord, context: object) -> bytes:
    return b""


transform_each_user_record(None)  # wrong: call-overload
transform_each_user_record(delimiter="\n")  # wrong: call-overload
