from typing import Any, final

@final
class BodyWriter:
    def write(self, records: tuple[Any, ...], before: bytes, behind: bytes) -> bytes: ...
