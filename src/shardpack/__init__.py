"""shardpack: very many small records into and out of Amazon Kinesis Data Streams.

Names are loaded when they are first used: a Lambda function that only deaggregates does not wait for the rest.
"""

from __future__ import annotations

from importlib import import_module

from ._native.md5 import (  # at once: a kernel that is demanded and not there is an error now
    HashKeys,
    hash_key,
    hash_keys,
)

__version__ = "0.1.0"  # as pyproject.toml has it: to ask the metadata of the package takes longer than all of this

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._native.aggregate import Aggregator
    from ._native.arrow import UserRecordBatch
    from ._native.columns import Columns
    from ._native.deaggregate import UserRecord
    from ._native.receipt import Receipt
    from .consume import UserRecords, deaggregate, deaggregate_columns, iter_deaggregate
    from .consume.arrow import deaggregate_arrow
    from .consume.client import install, uninstall
    from .consume.reading import RecordsReply, read_records, read_records_async
    from .dead_letters.letter import DeadLetter, DeadLetterError, DeadLetterSink
    from .dead_letters.redriving import redrive
    from .dead_letters.sqlite import SQLiteDeadLetters
    from .errors import (
        BufferFullError,
        DeliveryError,
        FlushTimeoutError,
        InvalidHashKeyError,
        InvalidPartitionKeyError,
        InvalidRecordError,
        MalformedRecordError,
        ProducerClosedError,
        RecordExpiredError,
        RecordTooLargeError,
        ShardMapError,
        ShardpackError,
    )
    from .limits import Limits
    from .packing import pack
    from .producer.aio import AsyncProducer
    from .producer.entries import Attempt
    from .producer.hot_shards import HotKey, HotShard
    from .producer.producer import Producer
    from .producer.receipts import Outcome, Receipts
    from .producer.sending_again import sending_to
    from .producer.settling import SettledRecord
    from .producer.stats import Histogram, ShardStats, Stats
    from .records import KinesisRecord
    from .shards import Shard, ShardMap
    from .transport.boto3 import Boto3Transport

__all__ = [
    "Aggregator",
    "AsyncProducer",
    "Attempt",
    "Boto3Transport",
    "BufferFullError",
    "Columns",
    "DeadLetter",
    "DeadLetterError",
    "DeadLetterSink",
    "DeliveryError",
    "FlushTimeoutError",
    "HashKeys",
    "Histogram",
    "HotKey",
    "HotShard",
    "InvalidHashKeyError",
    "InvalidPartitionKeyError",
    "InvalidRecordError",
    "KinesisRecord",
    "Limits",
    "MalformedRecordError",
    "Outcome",
    "Producer",
    "ProducerClosedError",
    "Receipt",
    "Receipts",
    "RecordExpiredError",
    "RecordTooLargeError",
    "RecordsReply",
    "SQLiteDeadLetters",
    "SettledRecord",
    "Shard",
    "ShardMap",
    "ShardMapError",
    "ShardStats",
    "ShardpackError",
    "Stats",
    "UserRecord",
    "UserRecordBatch",
    "UserRecords",
    "deaggregate",
    "deaggregate_arrow",
    "deaggregate_columns",
    "hash_key",
    "hash_keys",
    "install",
    "iter_deaggregate",
    "pack",
    "read_records",
    "read_records_async",
    "redrive",
    "sending_to",
    "uninstall",
]

_MODULES = {
    "._native.aggregate": ("Aggregator",),
    "._native.arrow": ("UserRecordBatch",),
    "._native.columns": ("Columns",),
    "._native.deaggregate": ("UserRecord",),
    "._native.receipt": ("Receipt",),
    ".consume": ("UserRecords", "deaggregate", "deaggregate_columns", "iter_deaggregate"),
    ".consume.arrow": ("deaggregate_arrow",),
    ".consume.client": ("install", "uninstall"),
    ".consume.reading": ("RecordsReply", "read_records", "read_records_async"),
    ".dead_letters.letter": ("DeadLetter", "DeadLetterError", "DeadLetterSink"),
    ".dead_letters.redriving": ("redrive",),
    ".dead_letters.sqlite": ("SQLiteDeadLetters",),
    ".errors": (
        "BufferFullError",
        "DeliveryError",
        "FlushTimeoutError",
        "InvalidHashKeyError",
        "InvalidPartitionKeyError",
        "InvalidRecordError",
        "MalformedRecordError",
        "ProducerClosedError",
        "RecordExpiredError",
        "RecordTooLargeError",
        "ShardMapError",
        "ShardpackError",
    ),
    ".limits": ("Limits",),
    ".packing": ("pack",),
    ".producer.aio": ("AsyncProducer",),
    ".producer.entries": ("Attempt",),
    ".producer.hot_shards": ("HotKey", "HotShard"),
    ".producer.producer": ("Producer",),
    ".producer.receipts": ("Outcome", "Receipts"),
    ".producer.sending_again": ("sending_to",),
    ".producer.settling": ("SettledRecord",),
    ".producer.stats": ("Histogram", "ShardStats", "Stats"),
    ".records": ("KinesisRecord",),
    ".shards": ("Shard", "ShardMap"),
    ".transport.boto3": ("Boto3Transport",),
}


def __getattr__(name: str) -> object:
    for module, names in _MODULES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(module, __name__), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
