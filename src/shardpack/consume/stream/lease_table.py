"""The lease table of the KCL in DynamoDB: what its rows say, and the calls, made again where they fail in passing."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ...errors import abridged
from ...transport.transient import error_code, is_transient
from .checkpoints import AT_TIMESTAMP, SHARD_END, Checkpoint, CheckpointError
from .shards import ListedShard

Row = dict[str, dict[str, Any]]

TRY_SECONDS = 30.0
"""How long a call is made again that is throttled, meets a fault of the service or a broken connection."""
LONGEST_PAUSE_SECONDS = 2.0
CREATE_SECONDS = 120.0
CALLS_AT_A_TIME = 8

FAILED = "ConditionalCheckFailedException"
ENDED = "checkpoint = :shard_end"


class Clock:
    """Time as it passes; tests have another."""

    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)


class LeaseTable:
    """A table by its name or ARN. Errors of the client are raised as they are, others as ``CheckpointError``.

    ``at_timestamp`` is where rows at ``AT_TIMESTAMP`` begin that have no time.
    """

    def __init__(self, name: str, client: Any, clock: Any, at_timestamp: datetime | None) -> None:
        self.name = name
        self.client = make_client() if client is None else client
        self._clock = clock
        self._at_timestamp = at_timestamp

    def create(self) -> None:
        """Make the table if it is not there, and wait until it is active."""
        until = self._clock.monotonic() + CREATE_SECONDS
        try:
            status = self._call("describe_table")["Table"]["TableStatus"]
        except CheckpointError:
            try:
                self._call(
                    "create_table",
                    KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
                    AttributeDefinitions=[{"AttributeName": "leaseKey", "AttributeType": "S"}],
                    BillingMode="PAY_PER_REQUEST",
                )
            except ClientError as error:  # somebody else may have made it at the same time
                if error_code(error) != "ResourceInUseException":
                    raise
            status = ""
        while status not in ("ACTIVE", "UPDATING"):
            if self._clock.monotonic() > until:
                raise CheckpointError(f"{self.name}: the table is not active after {CREATE_SECONDS:g} s")
            status = self._call("describe_table")["Table"]["TableStatus"]
            if status != "ACTIVE":
                self._clock.sleep(0.5)

    def scan(self, stream: str | None) -> dict[str, Row]:
        """Return the rows of shards by id, those of the KCL's workers and its other business left out."""
        rows: dict[str, Row] = {}
        page: dict[str, Any] = {}
        while True:
            answer = self._call("scan", ConsistentRead=True, **page)
            for row in answer["Items"]:
                if row.get("entityType", text_of("LEASE")) != text_of("LEASE"):
                    continue
                key = row["leaseKey"]["S"]
                if "streamName" in row:
                    raise CheckpointError(
                        f"{self.name}: {abridged(key)} is a lease of a KCL application of several streams, which has "
                        "no table of one"
                    )
                if "leaseCounter" not in row or "checkpoint" not in row:
                    raise CheckpointError(f"{self.name}: the row {abridged(key)} is no lease of the KCL")
                other = row.get("shardpackStream", {}).get("S", stream)
                if stream is not None and _stream_name(other) != _stream_name(stream):
                    raise CheckpointError(f"{self.name}: the checkpoints are of {other}, not of {stream}")
                rows[key] = row
            if "LastEvaluatedKey" not in answer:
                return rows
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def checkpoint(self, row: Row) -> Checkpoint:
        """Return the checkpoint of a row."""
        shard_id = row["leaseKey"]["S"]
        try:
            number = row["checkpoint"]["S"]
            sub = int(row.get("checkpointSubSequenceNumber", number_of(0))["N"])
            checkpoint = Checkpoint(number, sub)
            if row.get("shardpackReadUpToOf") == text_of(str(checkpoint)):  # else the KCL has moved it since
                checkpoint = replace(checkpoint, read_up_to=float(row["shardpackReadUpTo"]["N"]))
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"{self.name}: the checkpoint of {shard_id} cannot be read: {error}") from error
        if number == AT_TIMESTAMP and checkpoint.read_up_to is None and self._at_timestamp is not None:
            return replace(checkpoint, read_up_to=self._at_timestamp.timestamp())
        return checkpoint

    def row(self, shard_id: str) -> Row:
        """Return a row as it is now; empty where there is none."""
        row: Row = self._call("get_item", Key={"leaseKey": text_of(shard_id)}, ConsistentRead=True).get("Item", {})
        return row

    def change(
        self,
        operation: str,
        shard_id: str,
        condition: str,
        values: Mapping[str, Any],
        *,
        update: str = "",
        **parameters: Any,
    ) -> bool:
        """Make a change if the condition holds, with those of the values that are used; return whether it did."""
        text = f"{condition} {update}"
        used = {name: value for name, value in values.items() if re.search(f"{name}\\b", text)}
        if operation != "put_item":
            parameters["Key"] = {"leaseKey": text_of(shard_id)}
        if update:
            parameters["UpdateExpression"] = update
        if used:
            parameters["ExpressionAttributeValues"] = used
        try:
            self._call(operation, ConditionExpression=condition, **parameters)
        except ClientError as error:
            if error_code(error) != FAILED:
                raise
            return False
        return True

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        until = self._clock.monotonic() + TRY_SECONDS
        pause = 0.05
        while True:
            try:
                answer: dict[str, Any] = getattr(self.client, operation)(TableName=self.name, **parameters)
                return answer
            except (ClientError, BotoCoreError) as error:
                if error_code(error) == "ResourceNotFoundException":
                    raise CheckpointError(f"{self.name}: no such DynamoDB table; create=True makes it") from error
                if not is_transient(error) or self._clock.monotonic() + pause > until:
                    raise
            self._clock.sleep(random.uniform(pause / 2, pause))
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def each(over: Iterable[Any], do: Callable[[Any], None]) -> None:
    """Do it for each, several at a time; raise the first error once all are done."""
    every = list(over)
    if len(every) == 1:
        do(every[0])
    elif every:
        with ThreadPoolExecutor(min(CALLS_AT_A_TIME, len(every)), "shardpack-checkpoints") as pool:
            for done in [pool.submit(do, one) for one in every]:
                done.result()


def make_client() -> Any:
    """Return a boto3 client for so many calls at a time, each made once."""
    import boto3  # noqa: PLC0415 - only where it is used
    from botocore.config import Config  # noqa: PLC0415

    config = Config(retries={"total_max_attempts": 1}, max_pool_connections=CALLS_AT_A_TIME + 2)  # retries are ours
    return boto3.client("dynamodb", config=config)


def text_of(text: str) -> dict[str, Any]:
    """Return a text as DynamoDB has it."""
    return {"S": text}


def number_of(number: float) -> dict[str, Any]:
    """Return a number as DynamoDB has it."""
    return {"N": str(number)}


def _stream_name(stream: str) -> str:
    return stream.rpartition("/")[2]


def columns_of(checkpoint: Checkpoint) -> Row:
    """Return a checkpoint as it stands in a row."""
    columns = {
        "checkpoint": text_of(checkpoint.sequence_number),
        "checkpointSubSequenceNumber": number_of(checkpoint.sub_sequence_number),
    }
    if checkpoint.read_up_to is not None:
        columns |= {
            "shardpackReadUpTo": number_of(checkpoint.read_up_to),
            "shardpackReadUpToOf": text_of(str(checkpoint)),
        }
    return columns


def owners_of(rows: Mapping[str, Row]) -> dict[str, tuple[str, str]]:
    """Return owner and counter of the rows that somebody has and that are not read to the end."""
    return {
        shard_id: (row["leaseOwner"]["S"], row["leaseCounter"]["N"])
        for shard_id, row in rows.items()
        if "leaseOwner" in row and row["checkpoint"] != text_of(SHARD_END)
    }


def shard_of(shard_id: str, row: Row) -> ListedShard | None:
    """Return the shard of a row, if the row tells of its hash keys."""
    if "startingHashKey" not in row or "endingHashKey" not in row:
        return None
    return ListedShard(
        shard_id,
        int(row["startingHashKey"]["S"]),
        int(row["endingHashKey"]["S"]),
        tuple(sorted(row.get("parentShardId", {}).get("SS", ()))),
    )
