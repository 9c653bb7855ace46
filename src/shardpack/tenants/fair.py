"""Whose record goes next: weighted fair queueing by tenant before every shard, as a pure state machine.

It has no thread, no clock and does no I/O. It is told the time and what happened, and says what to hand over:

    has_room(account)           whether a tenant may leave more here
    put(account, shard, item)   a record waits
    take(now)                   hand these over now, in this order
    settled(item)               a record that was handed over has its outcome
    next_time()                 when to ask again, if nothing happens before

Every shard is a line of its own, as what is scarce is what one shard takes: a tenant's records for a shard are a flow,
and whoever waits for another shard does not wait for them. A line hands over only what keeps its ``window`` full, bytes
that have no outcome yet, so that the queue is here, where it is fair, and not behind. Of the flows of a line the one
with the lowest start tag is next (start-time fair queueing: Goyal, Vin and Cheng, 1996). A flow that was served starts
later, by the bytes it got over its tenant's weight; one that comes anew starts where the line is. So a tenant that asks
for less than its part waits for one turn of each of those that wait already, however much those have, and tenants that
ask for more get parts by their weights.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from typing import Protocol

TURN_BYTES = 4096
"""A turn of a flow ends with the record that reaches so many."""

BURST_SECONDS = 1.0
"""What a tenant's rate allows and it did not use can be used so much later."""

LEAST_FORGOTTEN = 64
"""Flows that wait for nothing are looked through when there are so many, and again when there are twice as many."""


class Item(Protocol):
    """A record that waits: bytes of key and data, its place among all that were put, and its flow, which is noted."""

    size: int
    number: int
    flow: Flow | None


class Rate:
    """A token bucket, of bytes. A record may be larger than what there is: what follows waits the longer."""

    __slots__ = ("_seen_at", "_tokens", "bytes_per_second")

    def __init__(self, bytes_per_second: float) -> None:
        self.bytes_per_second = bytes_per_second
        self._tokens = bytes_per_second * BURST_SECONDS
        self._seen_at: float | None = None

    def ready_at(self, now: float) -> float:
        """When there are tokens."""
        elapsed = 0.0 if self._seen_at is None else max(0.0, now - self._seen_at)
        self._seen_at = now
        most = self.bytes_per_second * BURST_SECONDS
        self._tokens = min(most, self._tokens + elapsed * self.bytes_per_second)
        return now if self._tokens > 0 else now + (1 - self._tokens) / self.bytes_per_second

    def take(self, size: int) -> None:
        self._tokens -= size


@dataclass(slots=True, eq=False)
class Account:
    """One tenant: what it may have, and what it has here. Counts are bytes."""

    weight: float = 1.0
    rate: Rate | None = None
    most: float = inf
    """Which it may hold."""
    held: int = 0
    """Of what was put and has no outcome."""
    queued: int = 0
    """Of those, of what was not handed over."""
    waiting: int = 0
    """Records that were not handed over."""
    parked: list[Flow] = field(default_factory=list)
    """Its flows that wait for its rate."""


@dataclass(slots=True, eq=False)
class Flow:
    """A tenant's records for one shard, in order."""

    account: Account
    line: Line
    items: deque[Item] = field(default_factory=deque)
    finish: float = 0.0
    """The tag that it starts with next, unless its line is further."""
    lined_up: bool = False
    """In its line's heap, or parked."""


@dataclass(slots=True, eq=False)
class Line:
    """What waits for one shard."""

    shard_id: str
    window: int
    out: int = 0
    """Bytes that were handed over and have no outcome."""
    clock: float = 0.0
    """The start tag of the flow that was served last."""
    waiting: int = 0
    """Flows that have something to hand over: those in the heap, and those that are parked."""
    heap: list[tuple[float, int, Flow]] = field(default_factory=list)
    flows: dict[int, Flow] = field(default_factory=dict)
    """By the identity of the account, which a flow keeps."""
    forget_at: int = LEAST_FORGOTTEN


class FairQueue:
    """Records of many tenants wait for their shards. Not to be shared by threads.

    ``most`` bounds the bytes of all that was put and has no outcome, each record with ``around`` bytes more.
    """

    def __init__(self, most: int, around: int = 0) -> None:
        self.most, self.around = most, around
        self.held = 0
        """Bytes of what was put and has no outcome."""
        self.waiting = 0
        """Records that were not handed over."""
        self.unlimited = False
        """Whether rates hold no longer."""
        self._lines: dict[str, Line] = {}
        self._ready: dict[Line, None] = {}
        self._parked: list[tuple[float, int, Account]] = []
        self._ties = 0

    def has_room(self, account: Account) -> bool:
        """Whether a tenant may leave more: it may hold as much as is free. One call may pass that.

        So one that leaves all it can holds half of ``most``, two hold a third each, and there is always a part free.
        """
        return account.held < account.most and account.held < self.most - self.held

    def put(self, account: Account, shard_id: str, window: int, item: Item) -> None:
        """Take a record behind the others of its tenant and shard, whose line has this window from here on."""
        size = item.size + self.around
        self.held += size
        account.held += size
        self._queue(account, shard_id, window, item)

    def take(self, now: float) -> list[Item]:
        """Return what is to be handed over now, in this order."""
        self._wake(now)
        taken: list[Item] = []
        while self._ready:
            line, _ = self._ready.popitem()
            while line.heap and line.out < line.window:
                self._serve(line, now, taken)
            self._tidy(line)
        self.waiting -= len(taken)
        return taken

    def settled(self, items: Iterable[Item]) -> None:
        """These, which were handed over, have their outcome."""
        for item in items:
            flow, size = item.flow, item.size
            assert flow is not None
            line = flow.line
            flow.account.held -= size + self.around
            self.held -= size + self.around
            line.out -= size
            if line.heap:
                if line.out < line.window:
                    self._ready[line] = None
            else:
                self._tidy(line)

    def next_time(self) -> float:
        """Return when a tenant that waits for its rate has something to hand over; ``inf`` without any."""
        return self._parked[0][0] if self._parked else inf

    def hurry(self) -> None:
        """Let rates hold no longer: all is to be delivered."""
        self.unlimited = True
        self._wake(inf)

    def take_all(self) -> list[Item]:
        """Return all that waits, whatever its turn; each flow in its order."""
        taken: list[Item] = []
        for line in self._lines.values():
            for flow in line.flows.values():
                for item in flow.items:
                    self._hand_over(flow, item, taken)
                flow.items.clear()
        self.waiting = 0
        self._forget_turns()
        return taken

    def line_up_anew(self, place: Callable[[list[Item]], Iterable[tuple[str, int]]]) -> None:
        """Let all that waits, wait for other shards: ``place`` returns each one's, and the window of its line.

        A tenant's records are in the order of ``number`` then. What was handed over keeps its line.
        """
        flows = [flow for line in self._lines.values() for flow in line.flows.values()]
        moved = [(flow.account, item) for flow in flows for item in flow.items]
        moved.sort(key=lambda each: each[1].number)
        self._forget_turns()
        for account, item in moved:
            account.queued -= item.size
            account.waiting -= 1
        self.waiting = 0
        items = [item for _, item in moved]
        for (account, item), (shard_id, window) in zip(moved, place(items), strict=True):
            self._queue(account, shard_id, window, item)

    # --- turns ---

    def _queue(self, account: Account, shard_id: str, window: int, item: Item) -> None:
        line = self._lines.get(shard_id)
        if line is None:
            line = self._lines[shard_id] = Line(shard_id, window)
        line.window = window
        flow = line.flows.get(id(account))
        if flow is None:
            flow = line.flows[id(account)] = Flow(account, line)
        item.flow = flow
        flow.items.append(item)
        account.queued += item.size
        account.waiting += 1
        self.waiting += 1
        if not flow.lined_up:
            self._line_up(flow)

    def _line_up(self, flow: Flow) -> None:
        line = flow.line
        flow.lined_up = True
        line.waiting += 1
        self._ties += 1
        heappush(line.heap, (max(line.clock, flow.finish), self._ties, flow))
        if line.out < line.window:
            self._ready[line] = None

    def _serve(self, line: Line, now: float, taken: list[Item]) -> None:
        """Give the next flow its turn."""
        start, _, flow = heappop(line.heap)
        flow.lined_up = False
        line.waiting -= 1
        account = flow.account
        rate = None if self.unlimited else account.rate
        if rate is not None and rate.ready_at(now) > now:
            self._park(flow, rate.ready_at(now))
            return
        line.clock = max(line.clock, start)
        served = 0
        while flow.items and served < TURN_BYTES and line.out < line.window:
            item = flow.items.popleft()
            self._hand_over(flow, item, taken)
            served += item.size
            if rate is not None:
                rate.take(item.size)
                if rate.ready_at(now) > now:
                    break
        flow.finish = start + served / account.weight
        if flow.items:
            self._line_up(flow)

    def _hand_over(self, flow: Flow, item: Item, taken: list[Item]) -> None:
        size = item.size
        flow.line.out += size
        flow.account.queued -= size
        flow.account.waiting -= 1
        taken.append(item)

    def _park(self, flow: Flow, until: float) -> None:
        """Let a flow wait for its tenant's rate; its line goes on."""
        flow.lined_up = True
        flow.line.waiting += 1
        account = flow.account
        account.parked.append(flow)
        if len(account.parked) == 1:
            self._ties += 1
            heappush(self._parked, (until, self._ties, account))

    def _wake(self, now: float) -> None:
        """Line up the flows whose tenants' time has come."""
        while self._parked and self._parked[0][0] <= now:
            account = heappop(self._parked)[2]
            parked, account.parked = account.parked, []
            for flow in parked:
                flow.line.waiting -= 1
                self._line_up(flow)

    # --- what is no longer of use ---

    def _tidy(self, line: Line) -> None:
        """Forget flows that are not owed a later start, and a line that has nothing."""
        if not line.waiting and not line.out:
            if self._lines.get(line.shard_id) is line:
                del self._lines[line.shard_id]
        elif len(line.flows) >= line.forget_at:
            line.flows = {key: flow for key, flow in line.flows.items() if flow.lined_up or flow.finish > line.clock}
            line.forget_at = max(LEAST_FORGOTTEN, 2 * len(line.flows))

    def _forget_turns(self) -> None:
        for line in self._lines.values():
            line.heap.clear()
            line.flows.clear()
            line.waiting = 0
        for _, _, account in self._parked:
            account.parked.clear()
        self._parked.clear()
        self._ready.clear()
        self._lines = {shard_id: line for shard_id, line in self._lines.items() if line.out}
