from typing import final

@final
class ArrowChunk: ...

@final
class ArrowRows:
    def __init__(
        self, source: object, key: str | int | None, data: str | int, explicit_hash_key: str | int | None = None
    ) -> None: ...
    @property
    def count(self) -> int: ...
