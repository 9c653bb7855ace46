from typing import Any

from shardpack import UserRecord
from shardpack.consume.queue import Received, receive_each, receive_list


def store(record: UserRecord) -> int:
    return len(record.data)


def store_all(records: list[UserRecord]) -> list[UserRecord]:
    return records[1:]


def work(client: Any) -> Received:
    receive_each(client, "arn", store, max_kinesis_records=1, retry_after_s=0)
    receive_list(client, "arn", store_all, wait_s=20)
    return receive_list(client, "arn", lambda records: None)


def wrong(client: Any) -> None:
    receive_each(client, "arn", store_all)  # wrong: arg-type
    receive_list(client, "arn", store)  # wrong: arg-type
    receive_each(client, "arn", store, wait_s="9")  # wrong: arg-type
    receive_list(client, "arn", lambda records: len(records))  # wrong: arg-type, return-value
