"""The Kinesis record on its way out: what Aggregator makes, pack groups and a transport sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class KinesisRecord:
    """One entry of PutRecords: raw (one user record) or aggregated (several, all of one shard).

    ``explicit_hash_key`` is canonical decimal, or ``None`` where the partition key decides. ``size`` counts ``data``
    and the UTF-8 partition key, as the service does.
    """

    partition_key: str
    explicit_hash_key: str | None
    data: bytes
    shard_index: int
    user_record_count: int
    size: int

    def to_boto3(self) -> dict[str, Any]:
        """Return the entry as boto3's ``put_records(Records=[…])`` takes it; ``data`` is not copied."""
        entry: dict[str, Any] = {"Data": self.data, "PartitionKey": self.partition_key}
        if self.explicit_hash_key is not None:
            entry["ExplicitHashKey"] = self.explicit_hash_key
        return entry
