from collections.abc import Callable
from datetime import datetime
from typing import Any

from ..consume.shapes import Origin
from .deaggregate import ReceivedRecord

def records_of_body(
    body: bytes,
    make_origin: Callable[[str | None, str | None, str | None, str | None, str | None], Origin],
    moment_of: Callable[[str], datetime],
) -> tuple[list[ReceivedRecord], bytes] | None: ...
def user_record_dictionaries(received: list[ReceivedRecord]) -> list[dict[str, Any]]: ...
