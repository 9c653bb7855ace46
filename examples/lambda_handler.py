"""A Lambda function that handles user records one by one, and skips what a failed attempt has handled already.

Its event source mapping needs FunctionResponseTypes=["ReportBatchItemFailures"].
"""

import json

from shardpack import UserRecord
from shardpack.consume.aws_lambda import each_user_record

handled: dict[str, int] = {}  # in earnest a table, its entries expiring with the stream's retention


def remember(failed: UserRecord) -> None:
    handled[f"{failed.shard_id}:{failed.sequence_number}"] = failed.sub_sequence_number


def recall(first: UserRecord) -> int | None:
    return handled.get(f"{first.shard_id}:{first.sequence_number}")


@each_user_record(on_partial=remember, resume_at=recall)
def handler(record: UserRecord, context: object) -> None:  # noqa: ARG001 (Lambda's)
    if record.error is not None:
        print("malformed, kept for a look at it:", record.sequence_number, record.error)
        return
    print(record.partition_key, record.sub_sequence_number, json.loads(record.data)["celsius"])
