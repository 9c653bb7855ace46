"""shardpack: very many small records into and out of Amazon Kinesis Data Streams."""

from ._aggregate import Aggregator
from ._columns import Columns
from ._deaggregate import UserRecord
from ._md5 import HashKeys, hash_key, hash_keys
from .consume import UserRecords, deaggregate, deaggregate_columns, iter_deaggregate
from .errors import (
    InvalidHashKeyError,
    InvalidPartitionKeyError,
    InvalidRecordError,
    MalformedRecordError,
    RecordTooLargeError,
    ShardMapError,
    ShardpackError,
)
from .limits import Limits
from .packing import pack
from .records import KinesisRecord
from .shards import Shard, ShardMap
from .transport.boto3 import Boto3Transport

__all__ = [
    "Aggregator",
    "Boto3Transport",
    "Columns",
    "HashKeys",
    "InvalidHashKeyError",
    "InvalidPartitionKeyError",
    "InvalidRecordError",
    "KinesisRecord",
    "Limits",
    "MalformedRecordError",
    "RecordTooLargeError",
    "Shard",
    "ShardMap",
    "ShardMapError",
    "ShardpackError",
    "UserRecord",
    "UserRecords",
    "deaggregate",
    "deaggregate_columns",
    "hash_key",
    "hash_keys",
    "iter_deaggregate",
    "pack",
]
