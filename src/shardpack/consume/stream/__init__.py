"""Reading whole streams: every shard, through splits and merges, from checkpoints on. ``shardpack[stream]`` has it."""

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
from .dynamodb_checkpoints import DynamoDBCheckpoints
from .reader import ReaderStats, StreamReader
from .shards import ListedShard
from .sqlite_checkpoints import SQLiteCheckpoints

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CheckpointMovedBackError",
    "CheckpointStore",
    "CheckpointsInUseError",
    "CheckpointsLostError",
    "DynamoDBCheckpoints",
    "Gap",
    "ListedShard",
    "MemoryCheckpoints",
    "ReaderStats",
    "SQLiteCheckpoints",
    "StreamBatch",
    "StreamReader",
]
