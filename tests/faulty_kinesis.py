"""The fault proxy as tests of readers use it: what the next calls of an operation meet, and which calls there were."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping

from shardpack.testing.fault_proxy import FaultProxy
from shardpack.testing.faults import Cut, Error, Fault, Request, Reset

RESET = "reset"
"""The connection is reset before an answer."""
CUT = "cut"
"""The connection ends in the middle of the answer's body."""

KINDS: Mapping[str, Fault | None] = {"": None, RESET: Reset(), CUT: Cut()}


class FaultyKinesis(FaultProxy):
    """Passes calls on, except those that ``fail`` says; ``calls`` has the operation and JSON of every call."""

    def __init__(self, behind: str) -> None:
        super().__init__(behind, seed=1, faults=[self._next])
        self.waiting: dict[str, deque[str]] = defaultdict(deque)
        self.calls: list[tuple[str, dict[str, object]]] = []

    def fail(self, operation: str, *faults: str) -> None:
        """Let the next calls of an operation meet these: an error code, ``RESET`` or ``CUT``; empty is no fault."""
        self.waiting[operation].extend(faults)

    @property
    def left(self) -> int:
        """How many faults nobody has met yet."""
        return sum(map(len, self.waiting.values()))

    def calls_of(self, operation: str) -> list[dict[str, object]]:
        return [request for called, request in self.calls if called == operation]

    def _next(self, request: Request) -> Fault | None:
        self.calls.append((request.operation, request.json))
        waiting = self.waiting[request.operation]
        fault = waiting.popleft() if waiting else ""
        return KINDS[fault] if fault in KINDS else Error(fault)
