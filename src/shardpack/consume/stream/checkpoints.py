"""Checkpoints: how far the user records of each shard are handled, and where that is kept."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from ...errors import ShardpackError, abridged
from ...limits import whole_number
from .shards import ListedShard

TRIM_HORIZON, LATEST, AT_TIMESTAMP, SHARD_END = "TRIM_HORIZON", "LATEST", "AT_TIMESTAMP", "SHARD_END"

SENTINELS = {TRIM_HORIZON: 0, LATEST: 0, AT_TIMESTAMP: 0, SHARD_END: 2}
"""What the KCL writes in place of a sequence number, and whether that is before (0) or after (2) all numbers."""


class CheckpointError(ShardpackError):
    """Checkpoints cannot be read or kept; the message names where and why."""


class CheckpointsInUseError(CheckpointError):
    """Another reader has these checkpoints; the message names it."""


class CheckpointsLostError(CheckpointError):
    """Another reader has taken these checkpoints meanwhile; the message names it."""


class CheckpointMovedBackError(CheckpointError, ValueError):
    """A checkpoint is before the one that is kept."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a shard is handled: every user record up to this one, which is included.

    ``sequence_number`` is decimal, or what the KCL writes in its place: ``TRIM_HORIZON``, ``LATEST`` and
    ``AT_TIMESTAMP`` for a shard of which nothing is handled, ``SHARD_END`` for one of which all is.
    ``sub_sequence_number`` counts the user records of an aggregated record from 0; -1 is before the first.
    ``read_up_to``, epoch seconds by the service's clock: what had arrived by then lies before this position; of
    ``LATEST`` and ``AT_TIMESTAMP``, where to begin.

    Raises ``ValueError`` for what is no position.
    """

    sequence_number: str
    sub_sequence_number: int = 0
    read_up_to: float | None = None

    def __post_init__(self) -> None:
        number: object = self.sequence_number
        if not isinstance(number, str) or not (number in SENTINELS or (number.isascii() and number.isdigit())):
            raise ValueError(f"{abridged(number)} is no sequence number, nor one of {', '.join(SENTINELS)}")
        if not -1 <= whole_number("sub_sequence_number", self.sub_sequence_number) < 2**63:
            raise ValueError(f"sub_sequence_number of {self.sub_sequence_number} is not in -1 … 2**63 - 1")

    def is_after(self, other: Checkpoint) -> bool:
        """Whether this one is further than another of the same shard."""
        return self._order() > other._order()

    def _order(self) -> tuple[int, int, int]:
        beside = SENTINELS.get(self.sequence_number)
        return (1, int(self.sequence_number), self.sub_sequence_number) if beside is None else (beside, 0, 0)

    def __str__(self) -> str:
        """Return it as messages show it."""
        if self.sequence_number in SENTINELS:
            return self.sequence_number
        return f"{self.sequence_number}/{self.sub_sequence_number}"


class CheckpointStore(Protocol):
    """The checkpoints of one application on one stream. Its methods block, and any thread may call them.

    They raise ``CheckpointError`` where checkpoints cannot be read or kept, and those of its kinds that they name.
    """

    renew_s: float | None
    """How often ``renew`` is to be called, in seconds; ``None`` is never."""

    def claim(self, stream: str, owner: str) -> dict[str, Checkpoint]:
        """Take them for this owner and return what there is, by shard id. ``stream`` is its name or ARN.

        Raises ``CheckpointsInUseError`` while another reader that lives has them.
        """
        ...

    def begin(self, shards: Mapping[ListedShard, Checkpoint]) -> None:
        """Enter shards that are to be read: all, or, where it ends on the way, none without those that it came of.

        One that is there stays as it is.
        """
        ...

    def write(self, checkpoints: Mapping[str, Checkpoint]) -> None:
        """Keep these, by shard id; they are kept when it returns. The same one again does nothing.

        Raises ``CheckpointMovedBackError`` for one that is not after the one that is kept, and ``CheckpointsLostError``
        when another reader has taken them.
        """
        ...

    def renew(self) -> None:
        """Say that the owner lives. Raises ``CheckpointsLostError``."""
        ...

    def forget(self, shard_ids: Collection[str]) -> None:
        """Drop the checkpoints of shards that the stream no longer lists."""
        ...

    def release(self) -> None:
        """Give them up, so that the next reader need not wait. Nothing happens where none are claimed."""
        ...

    def for_consumer(self, name: str) -> CheckpointStore:
        """Return the checkpoints of another consumer in the same place."""
        ...


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkpoint as it is kept: of which stream, consumer and shard, whose it is. ``None`` is what is not known."""

    stream: str | None
    consumer: str
    shard_id: str
    checkpoint: Checkpoint
    owner: str | None = None
    shard: ListedShard | None = None


def moved_on(
    where: str, kept: Mapping[str, Checkpoint], checkpoints: Mapping[str, Checkpoint]
) -> dict[str, Checkpoint]:
    """Return those that say more than what is kept; raise ``CheckpointMovedBackError`` for one that is before it.

    At the same position, a later ``read_up_to`` says more.
    """
    further = {}
    for shard_id, checkpoint in checkpoints.items():
        now = kept.get(shard_id)
        if now is None or checkpoint.is_after(now):
            further[shard_id] = checkpoint
        elif now.is_after(checkpoint) or now.sequence_number != checkpoint.sequence_number:
            raise CheckpointMovedBackError(
                f"{where}: {shard_id}: {checkpoint} is not after the checkpoint that is kept, {now}"
            )
        elif checkpoint.read_up_to is not None and checkpoint.read_up_to > (now.read_up_to or 0.0):
            further[shard_id] = checkpoint
    return further


class MemoryCheckpoints:
    """Checkpoints that last as long as this object. A reader at a time has those of a stream."""

    renew_s: float | None = None

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, dict[str, Checkpoint]] = {}  # by stream
        self._stream = self._owner = ""
        self._consumers: dict[str, MemoryCheckpoints] = {}

    def claim(self, stream: str, owner: str) -> dict[str, Checkpoint]:
        """Take them; raises ``CheckpointsInUseError`` until a reader that has them is closed."""
        with self._lock:
            if self._owner:
                raise CheckpointsInUseError(f"the checkpoints of {self._stream} are in use by {self._owner}")
            self._stream, self._owner = stream, owner
            return dict(self._kept.setdefault(stream, {}))

    def begin(self, shards: Mapping[ListedShard, Checkpoint]) -> None:
        with self._lock:
            for shard, checkpoint in shards.items():
                self._claimed().setdefault(shard.shard_id, checkpoint)

    def write(self, checkpoints: Mapping[str, Checkpoint]) -> None:
        with self._lock:
            kept = self._claimed()
            kept.update(moved_on(self._stream, kept, checkpoints))

    def renew(self) -> None: ...

    def forget(self, shard_ids: Collection[str]) -> None:
        with self._lock:
            for shard_id in shard_ids:
                self._claimed().pop(shard_id, None)

    def release(self) -> None:
        with self._lock:
            self._owner = ""

    def for_consumer(self, name: str) -> MemoryCheckpoints:
        """Return those of another consumer: of one name, the same ones each time."""
        with self._lock:
            return self._consumers.setdefault(name, MemoryCheckpoints())

    def kept(self) -> list[Kept]:
        """Return all that is kept, claimed or not, of this consumer."""
        with self._lock:
            return [
                Kept(stream, "", shard_id, checkpoint, (stream == self._stream and self._owner) or None)
                for stream, kept in self._kept.items()
                for shard_id, checkpoint in sorted(kept.items())
            ]

    def _claimed(self) -> dict[str, Checkpoint]:
        if not self._owner:
            raise CheckpointsLostError("the checkpoints are not claimed: their reader is closed")
        return self._kept[self._stream]
