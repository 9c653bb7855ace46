from collections.abc import Iterable
from typing import final

from typing_extensions import Buffer

from ..limits import Limits
from ..records import KinesisRecord
from ..shards import ShardMap

@final
class Aggregator:
    @property
    def shard_map(self) -> ShardMap: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def max_bytes(self) -> int: ...
    @property
    def max_records(self) -> int: ...
    def __new__(
        cls,
        shard_map: ShardMap,
        *,
        limits: Limits | None = None,
        max_bytes: int | None = None,
        max_records: int | None = None,
    ) -> Aggregator: ...
    def add(self, partition_key: str | bytes, data: Buffer, explicit_hash_key: int | str | None = None) -> None: ...
    def add_many(
        self,
        partition_keys: Iterable[str | bytes],
        datas: Iterable[Buffer],
        explicit_hash_keys: Iterable[int | str | None] | None = None,
    ) -> None: ...
    def add_arrow(
        self, batch: object, *, key: str | int | None, data: str | int, explicit_hash_key: str | int | None = None
    ) -> None: ...
    def take(self) -> list[KinesisRecord]: ...
    def flush(self) -> list[KinesisRecord]: ...
