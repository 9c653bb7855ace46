"""Reading whole streams: every shard, through splits and merges, from checkpoints on. ``shardpack[stream]`` has it."""

from .aio import AsyncStreamBatch, AsyncStreamReader
from .batch import Gap, StreamBatch
from .checkpoints import (
    Checkpoint,
    CheckpointError,
    CheckpointMovedBackError,
    CheckpointsInUseError,
    CheckpointsLostError,
    CheckpointStore,
    MemoryCheckpoints,
)
from .reader import ReaderStats, StreamReader
from .shards import ListedShard

__all__ = [
    "AsyncStreamBatch",
    "AsyncStreamReader",
    "Checkpoint",
    "CheckpointError",
    "CheckpointMovedBackError",
    "CheckpointStore",
    "CheckpointsInUseError",
    "CheckpointsLostError",
    "Gap",
    "ListedShard",
    "MemoryCheckpoints",
    "ReaderStats",
    "StreamBatch",
    "StreamReader",
]
