"""The row of combine: what a consumer keeps of what it received, where a database wants one row for each key."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import partial
from typing import Any

from .. import deaggregate, deaggregate_columns
from . import peers
from .corpus import flights
from .peers import AWS
from .received import KPL_AGGREGATE, get_records, kinesis_records
from .row import OURS, Contender, Row, Scale

RECORDS = "a dictionary of `UserRecord`s"


def group_row(scale: Scale) -> Row:
    corpus = flights(scale(100_000))
    records = get_records(kinesis_records(corpus, KPL_AGGREGATE))
    last_of_each = dict(corpus.pairs())
    return Row(
        "`combine.group_by_key`",
        f"of GetRecords with KPL aggregates of {len(corpus):,} flights: the last one of each of "
        f"{len(last_of_each):,} aircraft",
        "user records",
        len(corpus),
        {
            OURS: Contender(lambda: partial(_of_columns, records), last_of_each.__eq__),
            RECORDS: Contender(lambda: partial(_of_user_records, records), last_of_each.__eq__),
            AWS: Contender(lambda: _of_dictionaries(records), last_of_each.__eq__),
        },
    )


def _of_columns(records: list[dict[str, Any]]) -> dict[str | None, bytes]:
    from ..consume import combine  # noqa: PLC0415 - an older version, which this is compared with, has none

    columns = deaggregate_columns(records)
    data, offsets = memoryview(columns.data), memoryview(columns.offsets)
    groups = combine.group_by_key(columns)
    rows = zip(groups.keys, groups.last_rows, strict=True)
    return {key: bytes(data[offsets[row] : offsets[row + 1]]) for key, row in rows}


def _of_user_records(records: list[dict[str, Any]]) -> dict[str | None, bytes]:
    return {record.partition_key: record.data for record in deaggregate(records)}


def _of_dictionaries(records: list[dict[str, Any]]) -> Callable[[], dict[str, bytes]]:
    deaggregate_records = peers.aws_deaggregate("Boto3")

    def run() -> dict[str, bytes]:
        found = {record["kinesis"]["partitionKey"]: record for record in deaggregate_records(records)}
        return {key: base64.b64decode(record["kinesis"]["data"]) for key, record in found.items()}

    return run


COMBINE_ROWS: dict[str, Callable[[Scale], Row]] = {"combine": group_row}
