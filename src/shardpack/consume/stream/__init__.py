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
from .dynamodb_checkpoints import DynamoDBCheckpoints
from .fan_out import FanOutError
from .handlers import DeadLetterPoison, HandlerError
from .reader import StreamReader
from .shards import ListedShard
from .sqlite_checkpoints import SQLiteCheckpoints
from .stats import HandlerStats, ReaderStats

__all__ = [
    "AsyncStreamBatch",
    "AsyncStreamReader",
    "Checkpoint",
    "CheckpointError",
    "CheckpointMovedBackError",
    "CheckpointStore",
    "CheckpointsInUseError",
    "CheckpointsLostError",
    "DeadLetterPoison",
    "DynamoDBCheckpoints",
    "FanOutError",
    "Gap",
    "HandlerError",
    "HandlerStats",
    "ListedShard",
    "MemoryCheckpoints",
    "ReaderStats",
    "SQLiteCheckpoints",
    "StreamBatch",
    "StreamReader",
]
