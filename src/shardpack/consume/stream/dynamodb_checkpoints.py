"""Checkpoints in a DynamoDB table, laid out as the lease table of the KCL (3.5).

A reader goes on where the KCL stopped, and back. The layout is that of its ``DynamoDBLeaseSerializer``. The KCL updates
rows attribute by attribute, so those of our own, which begin with ``shardpack``, survive it.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ...errors import abridged
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
from .lease_table import ENDED, Clock, LeaseTable, Row, columns_of, each, number_of, owners_of, shard_of, text_of
from .shards import ListedShard

LOOKS = 5
"""How often leases of another reader are looked at within ``lease_s``."""
OURS = "leaseOwner = :owner AND shardpackReader = :reader"


@dataclass(frozen=True, slots=True)
class Claim:
    """What marks rows as this reader's: also where two have one name, ``reader`` is not the same twice."""

    stream: str
    owner: str
    reader: str

    @property
    def values(self) -> Row:
        """What it is in conditions."""
        return {":owner": text_of(self.owner), ":reader": text_of(self.reader)}


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
        self._table = LeaseTable(self.table, client, _clock, at_timestamp)
        self._lease_s = lease_s
        self._create = create
        self._at_timestamp = at_timestamp
        self._clock = _clock
        self._lock = threading.Lock()
        self._claim: Claim | None = None
        self._kept: dict[str, Checkpoint] = {}
        self._children: dict[str, set[str]] = {}
        if create:
            self._table.create()

    def claim(self, stream: str, owner: str) -> dict[str, Checkpoint]:
        """Take all rows; raises ``CheckpointsInUseError`` when another reader has one and counts it on.

        Returns at once where nobody has any, and after ``lease_s`` where their owner is gone.
        """
        with self._lock:
            if self._claim is not None:
                raise CheckpointsInUseError(f"{self.table}: the checkpoints are in use by {self._claim.owner}")
        claim = Claim(stream, owner, uuid.uuid4().hex)
        rows = self._watch(self._table.scan(stream))
        kept = {shard_id: self._table.checkpoint(row) for shard_id, row in sorted(rows.items())}
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
            each(taken, lambda shard_id: self._give_up(claim, shard_id))
            raise
        with self._lock:
            self._claim, self._kept, self._children = claim, kept, {}
            for shard_id, row in rows.items():
                self._note_parents(shard_id, row.get("parentShardId", {}).get("SS", ()))
        return dict(kept)

    def begin(self, shards: Mapping[ListedShard, Checkpoint]) -> None:
        """Enter shards, each by itself, none before those that it came of; one that is there stays as it is."""
        claim = self._claimed()
        for generation in generations_of(shards):
            each(generation, lambda shard: self._enter(claim, shard, shards[shard]))

    def write(self, checkpoints: Mapping[str, Checkpoint]) -> None:
        """Keep these; each is written by itself, whole."""
        claim = self._claimed()
        with self._lock:
            further = moved_on(self.table, self._kept, checkpoints)
            unknown = {shard_id for shard_id in further if shard_id not in self._kept}
        for shard_id in unknown:
            self._enter(claim, shard_id, further[shard_id])
        each(
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
        for generation in generations_of(shards):
            each(generation, lambda shard: self._enter(claim, shard, shards[shard], anew=True))

    def renew(self) -> None:
        """Count the rows of all shards that are not read to the end."""
        claim = self._claimed()
        each(self._open(), lambda shard_id: self._count(claim, shard_id))

    def forget(self, shard_ids: Collection[str]) -> None:
        """Delete the rows of these shards."""
        claim = self._claimed()
        with self._lock:
            for shard_id in shard_ids:
                self._kept.pop(shard_id, None)

        def delete(shard_id: str) -> None:
            done = self._table.change(
                "delete_item", shard_id, f"{OURS} OR {ENDED}", claim.values | {":shard_end": text_of(SHARD_END)}
            )
            if not done and self._table.row(shard_id):
                raise self._lost(shard_id)

        each(shard_ids, delete)

    def release(self) -> None:
        """Take the name out of all rows."""
        with self._lock:
            claim, self._claim = self._claim, None
        if claim is not None:
            each(self._open(), lambda shard_id: self._give_up(claim, shard_id))

    def for_consumer(self, name: str) -> DynamoDBCheckpoints:
        """Return the checkpoints of another consumer: those in the table ``table.name``."""
        return DynamoDBCheckpoints(
            self.table,
            client=self._table.client,
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
                self._table.checkpoint(row),
                row.get("leaseOwner", {}).get("S"),
                shard_of(shard_id, row),
            )
            for shard_id, row in sorted(self._table.scan(None).items())
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
            {":counter": row["leaseCounter"], ":one": number_of(1), ":stream": text_of(claim.stream)}
            | ({} if owner is None else {":was": text_of(owner)}),
        )
        if not one and not self._is_ours(claim, now := self._table.row(shard_id)):
            other = now.get("leaseOwner", {}).get("S", "another")
            raise CheckpointsInUseError(f"{self.table}: {shard_id} was taken by {other} at this moment")

    def _enter(self, claim: Claim, shard: ListedShard | str, checkpoint: Checkpoint, *, anew: bool = False) -> None:
        shard_id = shard if isinstance(shard, str) else shard.shard_id
        item: Row = {
            "leaseKey": text_of(shard_id),
            "leaseCounter": number_of(0),
            "leaseOwner": text_of(claim.owner),
            "ownerSwitchesSinceCheckpoint": number_of(0),
            "entityType": text_of("LEASE"),
            "shardpackReader": text_of(claim.reader),
            "shardpackStream": text_of(claim.stream),
            **columns_of(checkpoint),
        }
        if isinstance(shard, ListedShard):
            item |= {
                "startingHashKey": text_of(str(shard.starting_hash_key)),
                "endingHashKey": text_of(str(shard.ending_hash_key)),
                **({"parentShardId": {"SS": list(shard.parents)}} if shard.parents else {}),
            }
        if checkpoint.sequence_number == SHARD_END:
            del item["leaseOwner"], item["shardpackReader"]
        condition = (
            f"attribute_not_exists(leaseKey) OR {ENDED} OR ({OURS})" if anew else "attribute_not_exists(leaseKey)"
        )
        values = claim.values | {":shard_end": text_of(SHARD_END)}
        if not self._table.change("put_item", shard_id, condition, values, Item=item):
            row = self._table.row(shard_id)
            if not anew and row and not self._is_ours(claim, row):
                if "leaseOwner" in row and self._table.checkpoint(row).sequence_number != SHARD_END:
                    raise self._lost(shard_id, row)
                if "leaseOwner" not in row and self._table.checkpoint(row).sequence_number != SHARD_END:
                    self._take(claim, row)
            elif not self._is_ours(claim, row):
                raise self._lost(shard_id, row)
            checkpoint = self._table.checkpoint(row)
        with self._lock:
            self._kept[shard_id] = checkpoint
            self._note_parents(shard_id, () if isinstance(shard, str) else shard.parents)

    def _move(self, claim: Claim, shard_id: str, checkpoint: Checkpoint) -> None:
        """Write a checkpoint as the KCL does, which clears a pending one; at the end of a shard, leave its row."""
        ended = checkpoint.sequence_number == SHARD_END
        columns = {**columns_of(checkpoint), "ownerSwitchesSinceCheckpoint": number_of(0)}
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
            {value: columns[name] for name, value in names.items()} | {":one": number_of(1)},
        )
        if not done:  # perhaps it was: an answer may have been lost, and the call made again
            row = self._table.row(shard_id)
            if not (ended and row and "leaseOwner" not in row and self._table.checkpoint(row) == checkpoint):
                raise self._lost(shard_id, row)
        with self._lock:
            self._kept[shard_id] = checkpoint

    def _count(self, claim: Claim, shard_id: str) -> None:
        if self._update(claim, shard_id, "ADD leaseCounter :one", OURS, {":one": number_of(1)}):
            return
        row = self._table.row(shard_id)
        with self._lock:
            over = self._claim is not claim or shard_id not in self._kept
        if not over and row.get("checkpoint") != text_of(SHARD_END):  # else it ended, or was forgotten, meanwhile
            raise self._lost(shard_id, row)

    def _update(self, claim: Claim, shard_id: str, update: str, condition: str, values: Row) -> bool:
        return self._table.change("update_item", shard_id, condition, claim.values | values, update=update)

    def _give_up(self, claim: Claim, shard_id: str) -> None:
        # what another has taken stays the other's
        self._update(
            claim, shard_id, "REMOVE leaseOwner, shardpackReader ADD leaseCounter :one", OURS, {":one": number_of(1)}
        )

    def _lost(self, shard_id: str, row: Row | None = None) -> CheckpointsLostError:
        row = self._table.row(shard_id) if row is None else row
        if not row:
            return CheckpointsLostError(f"{self.table}: the row of {shard_id} was deleted by others")
        owner = row.get("leaseOwner", {}).get("S")
        return CheckpointsLostError(f"{self.table}: {shard_id} was taken by {owner or 'another, which has left it'}")

    def _is_ours(self, claim: Claim, row: Row) -> bool:
        return row.get("shardpackReader") == text_of(claim.reader) and row.get("leaseOwner") == text_of(claim.owner)

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
        seen = owners_of(rows)
        for _ in range(LOOKS if seen else 0):
            self._clock.sleep(self._lease_s / LOOKS)
            rows = self._table.scan(None)
            owned = owners_of(rows)
            if not owned:  # given up meanwhile
                break
            for shard_id, (owner, counter) in owned.items():
                if seen.get(shard_id) != (owner, counter):
                    raise CheckpointsInUseError(
                        f"{self.table}: the checkpoints are in use by {owner}, which renewed {shard_id} less than "
                        f"{self._clock.monotonic() - began:.3g} s ago"
                    )
        return rows


def generations_of(shards: Iterable[ListedShard]) -> Iterator[list[ListedShard]]:
    """Yield all the shards, those that others came of before the others."""
    left = {shard.shard_id: shard for shard in shards}
    while left:
        first = [shard for shard in left.values() if left.keys().isdisjoint(shard.parents)]
        first = first or [*left.values()]  # each came of another: no service says so
        yield first
        for shard in first:
            del left[shard.shard_id]
