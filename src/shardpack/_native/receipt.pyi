from collections.abc import Generator
from typing import Any, final

from ..producer.entries import Settlement
from ..producer.receipts import Outcome, Settled

BLOCK: int

@final
class Index: ...

@final
class Block:
    @property
    def settled(self) -> list[Settled]: ...
    count: int
    def find(self, token: int) -> tuple[Settlement, int] | None: ...
    def take_back(self, settled: Settled) -> None: ...

@final
class Receipt:
    """The outcome of one user record: asked for, waited for, or awaited.

    ``result`` and ``await`` give an ``Outcome``, or raise ``DeliveryError`` (``RecordExpiredError`` where its time was
    over), whose ``maybe_stored`` says whether the record may be stored all the same.
    """

    def done(self) -> bool:
        """Whether there is an outcome, of whatever kind."""
    def result(self, timeout: float | None = None) -> Outcome:
        """Wait for the outcome. Raises ``TimeoutError`` when there is none after so many seconds."""
    def __await__(self) -> Generator[Any, None, Outcome]: ...

def receipt_of(block: Block, register: object, token: int) -> Receipt: ...
