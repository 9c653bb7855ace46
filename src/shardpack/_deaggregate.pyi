from datetime import datetime
from typing import Any, final

from typing_extensions import Buffer

from .errors import MalformedRecordError

@final
class ReceivedRecord:
    data: bytes
    partition_key: str | None
    sequence_number: str | None
    approximate_arrival_timestamp: datetime | float | None
    source: Any
    def __init__(
        self,
        data: Buffer,
        partition_key: str | None = None,
        sequence_number: str | None = None,
        approximate_arrival_timestamp: datetime | float | None = None,
        source: Any = None,
    ) -> None: ...

@final
class UserRecord:
    @property
    def data(self) -> bytes: ...
    @property
    def partition_key(self) -> str | None: ...
    @property
    def explicit_hash_key(self) -> str | None: ...
    @property
    def tags(self) -> tuple[tuple[str, str | None], ...]: ...
    @property
    def error(self) -> MalformedRecordError | None: ...
    @property
    def sub_sequence_number(self) -> int: ...
    @property
    def aggregated(self) -> bool: ...
    @property
    def sequence_number(self) -> str | None: ...
    @property
    def approximate_arrival_timestamp(self) -> datetime | float | None: ...
    @property
    def source(self) -> Any: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

def deaggregate_received(
    received: list[ReceivedRecord], hash_range: tuple[int, int] | None, strict: bool, out: list[UserRecord]
) -> int: ...
def dissect(data: Buffer) -> dict[str, Any] | None: ...
