from collections.abc import Callable, Iterable
from typing import final

from ..records import KinesisRecord
from .receipt import Block, Receipt
from .router import Bucket
from .shard_table import ShardTable

@final
class Inbox:
    @property
    def max_record_bytes(self) -> int: ...
    @property
    def max_buffered(self) -> int: ...
    @property
    def buffered(self) -> int: ...
    wake: Callable[[], object] | None
    asleep: bool
    @property
    def blocks(self) -> dict[int, Block]: ...
    def __new__(
        cls,
        table: ShardTable,
        *,
        max_record_bytes: int,
        max_bytes: int,
        max_records: int | None = None,
        max_buffered: int | None = None,
        wake: Callable[[], object] | None = None,
        register: object = None,
    ) -> Inbox: ...
    @property
    def waiting(self) -> int: ...
    def settled(self, size: int) -> None: ...
    @property
    def next_token(self) -> int: ...
    def put(
        self, partition_key: str | bytes, data: object, explicit_hash_key: int | str | None = None
    ) -> Receipt | bool | None: ...
    def put_many(
        self,
        partition_keys: Iterable[str | bytes],
        datas: Iterable[object],
        explicit_hash_keys: Iterable[int | str | None] | None = None,
    ) -> tuple[int, list[Block] | None] | None: ...
    def gather(self) -> None: ...
    def take(self, before: int = 0) -> list[Bucket]: ...
    def seal(self, buckets: list[Bucket]) -> list[KinesisRecord]: ...
    def lie_in(self, bucket: Bucket, first: int | str, last: int | str) -> bool: ...
    def reroute(self, buckets: list[Bucket], table: ShardTable, max_records: int | None = None) -> None: ...
