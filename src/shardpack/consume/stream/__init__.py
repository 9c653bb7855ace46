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
from .fan_out import FanOutError
from .handlers import DeadLetterPoison, HandlerError
from .reader import StreamReader
from .shards import ListedShard
from .stats import HandlerStats, ReaderStats

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CheckpointMovedBackError",
    "CheckpointStore",
    "CheckpointsInUseError",
    "CheckpointsLostError",
    "DeadLetterPoison",
    "FanOutError",
    "Gap",
    "HandlerError",
    "HandlerStats",
    "ListedShard",
    "MemoryCheckpoints",
    "ReaderStats",
    "StreamBatch",
    "StreamReader",
]
