"""What changes user records before a producer takes them: key strategies, codecs of payloads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Door(Protocol):
    """One such change. It runs in the thread that puts, which may be any, and raises where it cannot be made."""

    def one(self, key: Any, data: Any, explicit_hash_key: Any) -> tuple[Any, Any, Any]:
        """Return the user record as it is to be taken."""
        ...

    def many(
        self, keys: Sequence[Any], datas: Sequence[Any], explicit_hash_keys: Sequence[Any] | None
    ) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any] | None]:
        """Return many user records as they are to be taken; as many as there were, in their order."""
        ...
