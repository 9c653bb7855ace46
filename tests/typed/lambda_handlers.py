from functools import partial
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from shardpack import UserRecord
from shardpack.consume.aws_lambda import each_user_record, user_record_batches


@each_user_record
def bare(record: UserRecord, context: LambdaContext) -> None: ...


@each_user_record(on_partial=lambda record: print(record.data), resume_at=lambda record: None)
def with_options(record: UserRecord, context: object) -> str:
    return record.partition_key or ""


@each_user_record()
def with_more(record: UserRecord, context: Any, table: str = "readings") -> None: ...


def with_a_table(table: str, record: UserRecord, context: object) -> None: ...


response: dict[str, list[dict[str, str]]] = bare({}, None)
each_user_record(partial(with_a_table, "readings"))({}, None)
each_user_record(lambda record, context: print(record.data))({}, None)


@user_record_batches
def all_of_them(records: list[UserRecord], context: object) -> list[UserRecord]:
    return records[1:]


@user_record_batches(max_records=100, resume_at=lambda record: record.sub_sequence_number)
def some(records: list[UserRecord], context: object) -> None: ...


# from here on, every line that ends in the words below is wrong


@each_user_record  # wrong: arg-type
def no_context(record: UserRecord) -> None: ...


@each_user_record  # wrong: arg-type
def of_a_batch(records: list[UserRecord], context: object) -> None: ...


@each_user_record(on_partial=print, resume_at=lambda record: None)  # wrong: arg-type
def of_bytes(data: bytes, context: object) -> None: ...


@user_record_batches  # wrong: arg-type
def one_by_one(record: UserRecord, context: object) -> None: ...


@user_record_batches(max_records=100)  # wrong: arg-type
def counted(records: list[UserRecord], context: object) -> int:
    return len(records)


@each_user_record(resume_at=lambda record: record.data)  # wrong: arg-type, return-value
def resumed(record: UserRecord, context: object) -> None: ...


each_user_record(None)  # wrong: call-overload
each_user_record(max_records=5)  # wrong: call-overload
user_record_batches(max_records="5")  # wrong: call-overload
number: int = bare({}, None)  # wrong: assignment
