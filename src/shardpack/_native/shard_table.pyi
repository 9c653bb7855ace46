from array import array
from collections.abc import Iterable
from typing import final

@final
class ShardTable:
    def __new__(cls, starts: list[int]) -> ShardTable: ...
    def find(self, hash_key: int) -> int: ...
    def assign(
        self, keys: Iterable[str | bytes], explicit_hash_keys: Iterable[int | str | None] | None = None
    ) -> array[int]: ...
