from collections.abc import Iterable
from typing import Any, final

from .deaggregate import ReceivedRecord

@final
class Template: ...

def append_user_records(parts: list[Template | dict[str, Any]], out: list[dict[str, Any]]) -> None: ...
def index_received(received: list[ReceivedRecord]) -> None: ...
def template_of(received: ReceivedRecord) -> Template | None: ...

@final
class GrowingMessage:
    @property
    def size(self) -> int: ...
    def __new__(
        cls,
        partition_keys: Iterable[bytes] = (),
        explicit_hash_keys: Iterable[bytes] = (),
        records: Iterable[bytes] = (),
    ) -> GrowingMessage: ...
    def fields(self) -> list[bytes]: ...
    def __deepcopy__(self, memo: dict[int, Any]) -> GrowingMessage: ...
    def add(
        self,
        data: bytes,
        key: bytes,
        key_index: int,
        is_new_key: bool,
        hash_key: bytes | None = None,
        hash_key_index: int = 0,
        is_new_hash_key: bool = False,
        *,
        max_size: int,
    ) -> bool: ...

def size_of_one(key: bytes, hash_key: bytes | None, data: bytes) -> int: ...
