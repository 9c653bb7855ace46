from typing import Any

from typing_extensions import Buffer

def dissect(data: Buffer) -> dict[str, Any] | None: ...
