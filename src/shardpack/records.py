"""The Kinesis record on its way out: what Aggregator makes, pack groups and a transport sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .errors import abridged


@dataclass(slots=True)
class KinesisRecord:
    """One entry of PutRecords: raw (one user record) or aggregated (several, all of one shard).

    ``explicit_hash_key`` is canonical decimal, or ``None`` where the partition key decides. ``size`` is what the
    stream's record limit counts, in bytes: ``data`` and the UTF-8 partition key.
    """

    partition_key: str
    explicit_hash_key: str | None
    data: bytes
    shard_index: int
    user_record_count: int
    size: int

    @property
    def request_size(self) -> int:
        """What the record is counted with in a request, in bytes: ``size`` and the digits of the explicit hash key."""
        return self.size + len(self.explicit_hash_key or "")

    def __repr__(self) -> str:
        return (
            f"KinesisRecord(partition_key={abridged(self.partition_key, 40)}, "
            f"explicit_hash_key={abridged(self.explicit_hash_key, 40)}, data={abridged(self.data, 40)}, "
            f"shard_index={self.shard_index}, user_record_count={self.user_record_count}, size={self.size})"
        )

    def to_boto3(self) -> dict[str, Any]:
        """Return the entry as boto3's ``put_records(Records=[…])`` takes it; ``data`` is not copied."""
        entry: dict[str, Any] = {"Data": self.data, "PartitionKey": self.partition_key}
        if self.explicit_hash_key is not None:
            entry["ExplicitHashKey"] = self.explicit_hash_key
        return entry
