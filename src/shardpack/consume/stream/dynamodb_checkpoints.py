"""Checkpoints in a DynamoDB table, laid out as the lease table of the KCL (3.5).

A reader goes on where the KCL stopped, and back. The layout is that of its ``DynamoDBLeaseSerializer``. The KCL updates
rows attribute by attribute, so those of our own, which begin with ``shardpack``, survive it.
"""

from __future__ import annotations

import random
import re
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ...errors import abridged
from ...transport.transient import error_code, is_transient
from .checkpoints import (
    AT_TIMESTAMP,
    SHARD_END,
    Checkpoint,
    CheckpointError,
    CheckpointsInUseError,
    CheckpointsLostError,
    Kept,
    moved_on,
)
from .shards import ListedShard

Row = dict[str, dict[str, Any]]

TRY_SECONDS = 30.0
"""How long a call is made again that is throttled, meets a fault of the service or a broken connection."""
LONGEST_PAUSE_SECONDS = 2.0
CREATE_SECONDS = 120.0
LOOKS = 5
"""How often leases of another reader are looked at within ``lease_s``."""
CALLS_AT_A_TIME = 8

FAILED = "ConditionalCheckFailedException"
OURS = "leaseOwner = :owner AND shardpackReader = :reader"
ENDED = "checkpoint = :shard_end"


class Clock:
    """Time as it passes; tests have another."""

    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)


@dataclass(frozen=True, slots=True)
class Claim:
    """What marks rows as this reader's: also where two have one name, ``reader`` is not the same twice."""

    stream: str
    owner: str
    reader: str


class DynamoDBCheckpoints:
    """Checkpoints of one application on one stream in a DynamoDB table, as the KCL keeps its leases.

    ``table`` is its name or ARN; the KCL's is its application's name. Of a consumer, ``table.consumer`` is the table.
    With ``create`` it is made if it is not there, paid per request. ``client`` is a boto3 DynamoDB client, without
    which one is made; it needs Scan, GetItem, PutItem, UpdateItem and DeleteItem.

    A reader has a shard's row while it writes its name into it and counts it up, each third of ``lease_s``. Rows of
    another are watched for ``lease_s`` (longer than the other's renewals take: for the KCL its failoverTimeMillis):
    when one counts on, ``claim`` raises ``CheckpointsInUseError``, else it takes them. Each write is conditional on
    that the row is still this reader's, so of two only one writes.

    A KCL application that is stopped goes on here, and one goes on where this reader stopped, at the same user record.
    Not both at once: the one that sees the other's row count on leaves or loses it. For rows at ``AT_TIMESTAMP`` the
    KCL has the time in its configuration: give it as ``at_timestamp``.

    A call that fails in a way that passes is made again for up to 30 s. Errors of the client are raised as they are,
    a missing table and rows that are none as ``CheckpointError``. Any thread may use it.
    """

    def __init__(
        self,
        table: str,
        *,
        client: Any = None,
        consumer: str = "",
        lease_s: float = 10.0,
        create: bool = False,
        at_timestamp: datetime | None = None,
        _clock: Any = Clock,
    ) -> None:
        self.table: str = f"{table}.{consumer}" if consumer else table
        name = self.table.rpartition("/")[2]
        if not re.fullmatch(r"[A-Za-z0-9_.-]{3,255}", name):
            raise ValueError(f"{abridged(name)} is no name of a DynamoDB table: 3 to 255 letters, digits, _ . and -")
        if not lease_s > 0:
            raise ValueError(f"lease_s of {lease_s} is not more than 0")
        if at_timestamp is not None and at_timestamp.utcoffset() is None:
            raise ValueError(f"at_timestamp has no time zone: {at_timestamp.isoformat()}")
        self.renew_s: float | None = lease_s / 3
        self._client = _make_client() if client is None else client
        self._lease_s = lease_s
        self._create = create
        self._at_timestamp = at_timestamp
        self._clock = _clock
        self._lock = threading.Lock()
        self._claim: Claim | None = None
        self._kept: dict[str, Checkpoint] = {}
        self._children: dict[str, set[str]] = {}
        if create:
            self._create_table()

    def claim(self, stream: str, owner: str) -> dict[str, Checkpoint]:
        """Take all rows; raises ``CheckpointsInUseError`` when another reader has one and counts it on.

        Returns at once where nobody has any, and after ``lease_s`` where their owner is gone.
        """
        with self._lock:
            if self._claim is not None:
                raise CheckpointsInUseError(f"{self.table}: the checkpoints are in use by {self._claim.owner}")
        claim = Claim(stream, owner, uuid.uuid4().hex)
        rows = self._watch(self._scan(stream))
        kept = {shard_id: self._checkpoint(row) for shard_id, row in sorted(rows.items())}
        for shard_id, checkpoint in kept.items():
            if checkpoint.sequence_number == AT_TIMESTAMP and checkpoint.read_up_to is None:
                raise CheckpointError(
                    f"{self.table}: {shard_id} is to begin AT_TIMESTAMP, at a time that the KCL has in its "
                    "configuration: give it as at_timestamp="
                )
        taken: list[str] = []
        try:
            for shard_id, checkpoint in kept.items():  # in order: of two that claim, one fails at its first
                if checkpoint.sequence_number != SHARD_END:
                    self._take(claim, rows[shard_id])
                    taken.append(shard_id)
        except BaseException:
            self._each(taken, lambda shard_id: self._give_up(claim, shard_id))
            raise
        with self._lock:
            self._claim, self._kept, self._children = claim, kept, {}
            for shard_id, row in rows.items():
                self._note_parents(shard_id, row.get("parentShardId", {}).get("SS", ()))
        return dict(kept)

    def begin(self, shards: Mapping[ListedShard, Checkpoint]) -> None:
        """Enter shards, each by itself, none before those that it came of; one that is there stays as it is."""
        claim = self._claimed()
        for generation in _generations(shards):
            self._each(generation, lambda shard: self._enter(claim, shard, shards[shard]))

    def write(self, checkpoints: Mapping[str, Checkpoint]) -> None:
        """Keep these; each is written by itself, whole."""
        claim = self._claimed()
        with self._lock:
            further = moved_on(self.table, self._kept, checkpoints)
            unknown = {shard_id for shard_id in further if shard_id not in self._kept}
        for shard_id in unknown:
            self._enter(claim, shard_id, further[shard_id])
        self._each(
            [shard_id for shard_id in further if shard_id not in unknown],
            lambda shard_id: self._move(claim, shard_id, further[shard_id]),
        )

    def replace(self, shards: Mapping[ListedShard, Checkpoint]) -> None:
        """Have these and no others, whatever was kept: what `shardpack checkpoints reset` does."""
        claim = self._claimed()
        with self._lock:
            gone = self._kept.keys() - {shard.shard_id for shard in shards}
            self._children = {}
        self.forget(gone)
        for generation in _generations(shards):
            self._each(generation, lambda shard: self._enter(claim, shard, shards[shard], anew=True))

    def renew(self) -> None:
        """Count the rows of all shards that are not read to the end."""
        claim = self._claimed()
        self._each(self._open(), lambda shard_id: self._count(claim, shard_id))

    def forget(self, shard_ids: Collection[str]) -> None:
        """Delete the rows of these shards."""
        claim = self._claimed()
        with self._lock:
            for shard_id in shard_ids:
                self._kept.pop(shard_id, None)

        def delete(shard_id: str) -> None:
            done = self._change("delete_item", claim, shard_id, f"{OURS} OR {ENDED}", {":shard_end": _s(SHARD_END)})
            if not done and self._row(shard_id):
                raise self._lost(shard_id)

        self._each(shard_ids, delete)

    def release(self) -> None:
        """Take the name out of all rows."""
        with self._lock:
            claim, self._claim = self._claim, None
        if claim is not None:
            self._each(self._open(), lambda shard_id: self._give_up(claim, shard_id))

    def for_consumer(self, name: str) -> DynamoDBCheckpoints:
        """Return the checkpoints of another consumer: those in the table ``table.name``."""
        return DynamoDBCheckpoints(
            self.table,
            client=self._client,
            consumer=name,
            lease_s=self._lease_s,
            create=self._create,
            at_timestamp=self._at_timestamp,
            _clock=self._clock,
        )

    def kept(self) -> list[Kept]:
        """Return all that the table has, claimed or not."""
        return [
            Kept(
                row.get("shardpackStream", {}).get("S"),
                "",
                shard_id,
                self._checkpoint(row),
                row.get("leaseOwner", {}).get("S"),
                _shard(shard_id, row),
            )
            for shard_id, row in sorted(self._scan(None).items())
        ]

    # --- one row ---

    def _take(self, claim: Claim, row: Row) -> None:
        """Have a row that nobody counts on, as the KCL takes a lease: if it is still as it was seen."""
        shard_id = row["leaseKey"]["S"]
        owner = row.get("leaseOwner", {}).get("S")
        switched = owner is not None and owner != claim.owner
        one = self._update(
            claim,
            shard_id,
            "SET leaseOwner = :owner, shardpackReader = :reader, shardpackStream = :stream REMOVE checkpointOwner "
            f"ADD leaseCounter :one{', ownerSwitchesSinceCheckpoint :one' if switched else ''}",
            "leaseCounter = :counter AND "
            + ("attribute_not_exists(leaseOwner)" if owner is None else "leaseOwner = :was"),
            {":counter": row["leaseCounter"], ":one": _n(1), ":stream": _s(claim.stream)}
            | ({} if owner is None else {":was": _s(owner)}),
        )
        if not one and not self._is_ours(claim, now := self._row(shard_id)):
            other = now.get("leaseOwner", {}).get("S", "another")
            raise CheckpointsInUseError(f"{self.table}: {shard_id} was taken by {other} at this moment")

    def _enter(self, claim: Claim, shard: ListedShard | str, checkpoint: Checkpoint, *, anew: bool = False) -> None:
        shard_id = shard if isinstance(shard, str) else shard.shard_id
        item: Row = {
            "leaseKey": _s(shard_id),
            "leaseCounter": _n(0),
            "leaseOwner": _s(claim.owner),
            "ownerSwitchesSinceCheckpoint": _n(0),
            "entityType": _s("LEASE"),
            "shardpackReader": _s(claim.reader),
            "shardpackStream": _s(claim.stream),
            **_columns(checkpoint),
        }
        if isinstance(shard, ListedShard):
            item |= {
                "startingHashKey": _s(str(shard.starting_hash_key)),
                "endingHashKey": _s(str(shard.ending_hash_key)),
                **({"parentShardId": {"SS": list(shard.parents)}} if shard.parents else {}),
            }
        if checkpoint.sequence_number == SHARD_END:
            del item["leaseOwner"], item["shardpackReader"]
        condition = (
            f"attribute_not_exists(leaseKey) OR {ENDED} OR ({OURS})" if anew else "attribute_not_exists(leaseKey)"
        )
        values = {":shard_end": _s(SHARD_END)} if anew else {}
        if not self._change("put_item", claim, shard_id, condition, values, Item=item):
            row = self._row(shard_id)
            if not anew and row and not self._is_ours(claim, row):
                if "leaseOwner" in row and self._checkpoint(row).sequence_number != SHARD_END:
                    raise self._lost(shard_id, row)
                if "leaseOwner" not in row and self._checkpoint(row).sequence_number != SHARD_END:
                    self._take(claim, row)
            elif not self._is_ours(claim, row):
                raise self._lost(shard_id, row)
            checkpoint = self._checkpoint(row)
        with self._lock:
            self._kept[shard_id] = checkpoint
            self._note_parents(shard_id, () if isinstance(shard, str) else shard.parents)

    def _move(self, claim: Claim, shard_id: str, checkpoint: Checkpoint) -> None:
        """Write a checkpoint as the KCL does, which clears a pending one; at the end of a shard, leave its row."""
        ended = checkpoint.sequence_number == SHARD_END
        columns = {**_columns(checkpoint), "ownerSwitchesSinceCheckpoint": _n(0)}
        with self._lock:
            children = sorted(self._children.get(shard_id, ()))
        if ended and children:
            columns["childShardIds"] = {"SS": children}
        removed = ["pendingCheckpoint", "pendingCheckpointSubSequenceNumber", "pendingCheckpointState"]
        removed += [name for name in ("shardpackReadUpTo", "shardpackReadUpToOf") if name not in columns]
        removed += ["leaseOwner", "shardpackReader"] if ended else []
        names = {name: f":v{place}" for place, name in enumerate(columns)}
        done = self._update(
            claim,
            shard_id,
            f"SET {', '.join(f'{name} = {value}' for name, value in names.items())} REMOVE {', '.join(removed)} "
            "ADD leaseCounter :one",
            OURS,
            {value: columns[name] for name, value in names.items()} | {":one": _n(1)},
        )
        if not done:  # perhaps it was: an answer may have been lost, and the call made again
            row = self._row(shard_id)
            if not (ended and row and "leaseOwner" not in row and self._checkpoint(row) == checkpoint):
                raise self._lost(shard_id, row)
        with self._lock:
            self._kept[shard_id] = checkpoint

    def _count(self, claim: Claim, shard_id: str) -> None:
        if self._update(claim, shard_id, "ADD leaseCounter :one", OURS, {":one": _n(1)}):
            return
        row = self._row(shard_id)
        with self._lock:
            over = self._claim is not claim or shard_id not in self._kept
        if not over and row.get("checkpoint") != _s(SHARD_END):  # else it ended, or was forgotten, meanwhile
            raise self._lost(shard_id, row)

    def _give_up(self, claim: Claim, shard_id: str) -> None:
        # what another has taken stays the other's
        self._update(claim, shard_id, "REMOVE leaseOwner, shardpackReader ADD leaseCounter :one", OURS, {":one": _n(1)})

    def _lost(self, shard_id: str, row: Row | None = None) -> CheckpointsLostError:
        row = self._row(shard_id) if row is None else row
        if not row:
            return CheckpointsLostError(f"{self.table}: the row of {shard_id} was deleted by others")
        owner = row.get("leaseOwner", {}).get("S")
        return CheckpointsLostError(f"{self.table}: {shard_id} was taken by {owner or 'another, which has left it'}")

    def _is_ours(self, claim: Claim, row: Row) -> bool:
        return row.get("shardpackReader") == _s(claim.reader) and row.get("leaseOwner") == _s(claim.owner)

    # --- all rows ---

    def _claimed(self) -> Claim:
        with self._lock:
            if self._claim is None:
                raise CheckpointsLostError(f"{self.table}: no checkpoints are claimed: their reader is closed")
            return self._claim

    def _open(self) -> list[str]:
        with self._lock:
            return [shard_id for shard_id, kept in self._kept.items() if kept.sequence_number != SHARD_END]

    def _note_parents(self, shard_id: str, parents: Iterable[str]) -> None:
        for parent in parents:
            self._children.setdefault(parent, set()).add(shard_id)

    def _watch(self, rows: dict[str, Row]) -> dict[str, Row]:
        """Return the rows as they are once nobody has counted on one of another's for ``lease_s``."""
        began = self._clock.monotonic()
        seen = _owned(rows)
        for _ in range(LOOKS if seen else 0):
            self._clock.sleep(self._lease_s / LOOKS)
            rows = self._scan(None)
            owned = _owned(rows)
            if not owned:  # given up meanwhile
                break
            for shard_id, (owner, counter) in owned.items():
                if seen.get(shard_id) != (owner, counter):
                    raise CheckpointsInUseError(
                        f"{self.table}: the checkpoints are in use by {owner}, which renewed {shard_id} less than "
                        f"{self._clock.monotonic() - began:.3g} s ago"
                    )
        return rows

    def _scan(self, stream: str | None) -> dict[str, Row]:
        """Return the rows of shards by id, those of the KCL's workers and its other business left out."""
        rows: dict[str, Row] = {}
        page: dict[str, Any] = {}
        while True:
            answer = self._call("scan", ConsistentRead=True, **page)
            for row in answer["Items"]:
                if row.get("entityType", _s("LEASE")) != _s("LEASE"):
                    continue
                key = row["leaseKey"]["S"]
                if "streamName" in row:
                    raise CheckpointError(
                        f"{self.table}: {abridged(key)} is a lease of a KCL application of several streams, which has "
                        "no table of one"
                    )
                if "leaseCounter" not in row or "checkpoint" not in row:
                    raise CheckpointError(f"{self.table}: the row {abridged(key)} is no lease of the KCL")
                other = row.get("shardpackStream", {}).get("S", stream)
                if stream is not None and _name(other) != _name(stream):
                    raise CheckpointError(f"{self.table}: the checkpoints are of {other}, not of {stream}")
                rows[key] = row
            if "LastEvaluatedKey" not in answer:
                return rows
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _checkpoint(self, row: Row) -> Checkpoint:
        shard_id = row["leaseKey"]["S"]
        try:
            number = row["checkpoint"]["S"]
            sub = int(row.get("checkpointSubSequenceNumber", _n(0))["N"])
            checkpoint = Checkpoint(number, sub)
            if row.get("shardpackReadUpToOf") == _s(str(checkpoint)):  # else the KCL has moved it since
                checkpoint = replace(checkpoint, read_up_to=float(row["shardpackReadUpTo"]["N"]))
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"{self.table}: the checkpoint of {shard_id} cannot be read: {error}") from error
        if number == AT_TIMESTAMP and checkpoint.read_up_to is None and self._at_timestamp is not None:
            return replace(checkpoint, read_up_to=self._at_timestamp.timestamp())
        return checkpoint

    # --- calls ---

    def _row(self, shard_id: str) -> Row:
        row: Row = self._call("get_item", Key={"leaseKey": _s(shard_id)}, ConsistentRead=True).get("Item", {})
        return row

    def _update(self, claim: Claim, shard_id: str, update: str, condition: str, values: Mapping[str, Any]) -> bool:
        return self._change("update_item", claim, shard_id, condition, values, update=update, UpdateExpression=update)

    def _change(
        self,
        operation: str,
        claim: Claim,
        shard_id: str,
        condition: str,
        values: Mapping[str, Any],
        *,
        update: str = "",
        **parameters: Any,
    ) -> bool:
        """Make a change if the condition holds; return whether it did."""
        text = f"{condition} {update}"
        known = {":owner": _s(claim.owner), ":reader": _s(claim.reader), **values}
        used = {name: value for name, value in known.items() if re.search(f"{name}\\b", text)}
        if operation != "put_item":
            parameters["Key"] = {"leaseKey": _s(shard_id)}
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
                answer: dict[str, Any] = getattr(self._client, operation)(TableName=self.table, **parameters)
                return answer
            except (ClientError, BotoCoreError) as error:
                if error_code(error) == "ResourceNotFoundException":
                    raise CheckpointError(f"{self.table}: no such DynamoDB table; create=True makes it") from error
                if not is_transient(error) or self._clock.monotonic() + pause > until:
                    raise
            self._clock.sleep(random.uniform(pause / 2, pause))
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _each(self, over: Iterable[Any], do: Callable[[Any], None]) -> None:
        """Do it for each, several at a time; raise the first error once all are done."""
        every = list(over)
        if len(every) == 1:
            do(every[0])
        elif every:
            with ThreadPoolExecutor(min(CALLS_AT_A_TIME, len(every)), "shardpack-checkpoints") as pool:
                for done in [pool.submit(do, one) for one in every]:
                    done.result()

    def _create_table(self) -> None:
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
                raise CheckpointError(f"{self.table}: the table is not active after {CREATE_SECONDS:g} s")
            status = self._call("describe_table")["Table"]["TableStatus"]
            if status != "ACTIVE":
                self._clock.sleep(0.5)


def _make_client() -> Any:
    import boto3  # noqa: PLC0415 - only where it is used
    from botocore.config import Config  # noqa: PLC0415

    config = Config(retries={"total_max_attempts": 1}, max_pool_connections=CALLS_AT_A_TIME + 2)  # retries are ours
    return boto3.client("dynamodb", config=config)


def _s(text: str) -> dict[str, Any]:
    return {"S": text}


def _n(number: float) -> dict[str, Any]:
    return {"N": str(number)}


def _name(stream: str) -> str:
    return stream.rpartition("/")[2]


def _columns(checkpoint: Checkpoint) -> Row:
    columns = {
        "checkpoint": _s(checkpoint.sequence_number),
        "checkpointSubSequenceNumber": _n(checkpoint.sub_sequence_number),
    }
    if checkpoint.read_up_to is not None:
        columns |= {"shardpackReadUpTo": _n(checkpoint.read_up_to), "shardpackReadUpToOf": _s(str(checkpoint))}
    return columns


def _generations(shards: Iterable[ListedShard]) -> Iterator[list[ListedShard]]:
    """Yield all the shards, those that others came of before the others."""
    left = {shard.shard_id: shard for shard in shards}
    while left:
        first = [shard for shard in left.values() if left.keys().isdisjoint(shard.parents)]
        first = first or [*left.values()]  # each came of another: no service says so
        yield first
        for shard in first:
            del left[shard.shard_id]


def _owned(rows: Mapping[str, Row]) -> dict[str, tuple[str, str]]:
    """Return owner and counter of the rows that somebody has and that are not read to the end."""
    return {
        shard_id: (row["leaseOwner"]["S"], row["leaseCounter"]["N"])
        for shard_id, row in rows.items()
        if "leaseOwner" in row and row["checkpoint"] != _s(SHARD_END)
    }


def _shard(shard_id: str, row: Row) -> ListedShard | None:
    if "startingHashKey" not in row or "endingHashKey" not in row:
        return None
    return ListedShard(
        shard_id,
        int(row["startingHashKey"]["S"]),
        int(row["endingHashKey"]["S"]),
        tuple(sorted(row.get("parentShardId", {}).get("SS", ()))),
    )
