from collections.abc import Generator
from typing import Any, final

from ..producer.entries import Settlement
from ..producer.receipts import Outcome, Settled

BLOCK: int

@final
class Block:
    @property
    def settled(self) -> list[Settled]: ...
    count: int
    def find(self, token: int) -> tuple[Settlement, int] | None: ...

@final
class Receipt:
    def done(self) -> bool: ...
    def result(self, timeout: float | None = None) -> Outcome: ...
    def __await__(self) -> Generator[Any, None, Outcome]: ...

def receipt_of(block: Block, register: object, token: int) -> Receipt: ...
