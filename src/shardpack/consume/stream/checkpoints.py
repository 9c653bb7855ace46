"""Checkpoints: how far the user records of each shard are handled, and where that is kept."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from ...errors import ShardpackError
from .shards import ListedShard

TRIM_HORIZON, LATEST, AT_TIMESTAMP, SHARD_END = "TRIM_HORIZON", "LATEST", "AT_TIMESTAMP", "SHARD_END"


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

    ``sequence_number`` is decimal, or what the KCL writes in its place: ``TRIM_HORIZON``, ``LATEST`` and ``AT_TIMESTAMP``
    for a shard of which nothing is handled, ``SHARD_END`` for one of which all is. ``read_up_to``, epoch seconds by the
    service's clock: what had arrived by then lies before this position; of ``LATEST`` and ``AT_TIMESTAMP``, where to begin.
    """

    sequence_number: str
    sub_sequence_number: int = 0
    read_up_to: float | None = None

    def is_after(self, other: Checkpoint) -> bool:
        """Whether this one is further than another of the same shard."""
        return self._order() > other._order()

    def _order(self) -> tuple[int, int, int]:
        if self.sequence_number == SHARD_END:
            return 2, 0, 0
        if self.sequence_number in (TRIM_HORIZON, LATEST, AT_TIMESTAMP):
            return 0, 0, 0
        return 1, int(self.sequence_number), self.sub_sequence_number


class CheckpointStore(Protocol):
    """The checkpoints of one application on one stream. Its methods block, and any thread may call them."""

    renew_s: float | None

    def claim(self, stream: str, owner: str) -> dict[str, Checkpoint]: ...
    def begin(self, shards: Mapping[ListedShard, Checkpoint]) -> None: ...
    def write(self, checkpoints: Mapping[str, Checkpoint]) -> None: ...
    def renew(self) -> None: ...
    def forget(self, shard_ids: Collection[str]) -> None: ...
    def release(self) -> None: ...
    def for_consumer(self, name: str) -> CheckpointStore: ...


class MemoryCheckpoints:
    """Checkpoints that last as long as this object."""

    renew_s: float | None = None

    def __init__(self) -> None:
        self._kept: dict[str, Checkpoint] = {}
        self._lock = threading.Lock()

    def claim(self, stream: str, owner: str) -> dict[str, Checkpoint]:
        return dict(self._kept)

    def begin(self, shards: Mapping[ListedShard, Checkpoint]) -> None:
        with self._lock:
            for shard, checkpoint in shards.items():
                self._kept.setdefault(shard.shard_id, checkpoint)

    def write(self, checkpoints: Mapping[str, Checkpoint]) -> None:
        with self._lock:
            self._kept.update(checkpoints)

    def renew(self) -> None: ...

    def forget(self, shard_ids: Collection[str]) -> None:
        with self._lock:
            for shard_id in shard_ids:
                self._kept.pop(shard_id, None)

    def release(self) -> None: ...

    def for_consumer(self, name: str) -> MemoryCheckpoints:
        return MemoryCheckpoints()
