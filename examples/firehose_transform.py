"""A Lambda function that transforms records for Firehose: rows of JSON, those that are no reading dropped.

Firehose invokes it with a buffer of records; the buffer size hint (BufferSizeInMBs) should be 1 MB or less.
"""

import json

from shardpack import UserRecord
from shardpack.consume.firehose import transform_each_user_record


@transform_each_user_record
def handler(record: UserRecord, context: object) -> bytes | None:  # noqa: ARG001 (Lambda's)
    reading = json.loads(record.data)  # what is no JSON is an exception: ProcessingFailed
    if "celsius" not in reading:
        return None
    return json.dumps({"device": record.partition_key, "fahrenheit": reading["celsius"] * 1.8 + 32}).encode()
