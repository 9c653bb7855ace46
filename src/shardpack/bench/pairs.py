"""What was made of user records, as pairs of partition key and data: what all of those measured must agree on."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

from .. import KinesisRecord, deaggregate
from .received import get_records


def of_user_records(user_records: Iterable[Any]) -> list[tuple[str | None, bytes]]:
    """Pairs of user records of ours or aiokpl's, in order."""
    return [(record.partition_key, record.data) for record in user_records]


def of_dictionaries(user_records: Iterable[dict[str, Any]]) -> list[tuple[str | None, bytes]]:
    """Pairs of user records of aws_kinesis_agg, in order."""
    return [(record["kinesis"]["partitionKey"], base64.b64decode(record["kinesis"]["data"])) for record in user_records]


def of_columns(columns: Any) -> list[tuple[str, bytes]]:
    """Pairs of what ``deaggregate_columns`` found, in order."""
    data, offsets = bytes(columns.data), memoryview(columns.offsets)
    keys = [columns.partition_keys[i] for i in memoryview(columns.partition_key_indices)]
    return [(key, data[offsets[i] : offsets[i + 1]]) for i, key in enumerate(keys)]


def of_batch(batch: Any) -> list[tuple[str, bytes]]:
    """Pairs of what a pyarrow record batch holds, in order."""
    batch.validate(full=True)
    return list(zip(batch["partition_key"].to_pylist(), batch["data"].to_pylist(), strict=True))


def in_body(body: bytes) -> list[tuple[str, bytes]]:
    """Pairs of the entries of a PutRecords body, in order."""
    return [(entry["PartitionKey"], base64.b64decode(entry["Data"])) for entry in json.loads(body)["Records"]]


def in_kinesis_records(sealed: list[Any]) -> list[tuple[str | None, bytes]]:
    """Sorted pairs of what Kinesis records of any shards hold: of ours, or of the data of a peer's."""
    found = deaggregate(get_records(sealed) if isinstance(sealed[0], KinesisRecord) else sealed)
    return sorted(of_user_records(found))
