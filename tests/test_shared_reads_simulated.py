"""Several readers share the reads of one stream: at random, on a made-up clock, with calls that overlap."""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_stream import SimulatedStream, passing_error

from shardpack.consume.stream import StreamReader
from shardpack.consume.stream.batch import StreamBatch

LONGEST = 600.0
"""Seconds until all was read that came; it stands still otherwise."""
MOST_DEEP = 3


class WaitsError(Exception):
    """Where a thread would wait, for a notice or for so long."""

    def __init__(self, seconds: float | None) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Client:
    """A client of a simulated stream; while an answer of it is under way, time passes and others go on."""

    def __init__(self, stream: SimulatedStream, meanwhile: Callable[[], None], faults: float) -> None:
        self._stream, self._meanwhile, self.faults = stream, meanwhile, faults
        self.meta = SimpleNamespace(
            service_model=SimpleNamespace(service_name="kinesis"),
            events=SimpleNamespace(register=lambda *_, **__: None),
        )

    def put_records(self) -> None:
        raise AssertionError("a reader puts nothing")

    def list_shards(self, **_: Any) -> dict[str, Any]:
        return self._answer(lambda: {"Shards": self._stream.list_shards()})

    def get_shard_iterator(self, ShardId: str, **parameters: Any) -> dict[str, Any]:  # noqa: N803 - boto3's name
        return self._answer(lambda: self._stream.get_shard_iterator(ShardId, parameters), "ShardIterator", ShardId)

    def get_records(self, ShardIterator: str, Limit: int = 10_000) -> dict[str, Any]:  # noqa: N803 - as above
        shard_id, _, first = ShardIterator.partition("/")
        return self._answer(lambda: self._stream.get_records(shard_id, first, Limit), "NextShardIterator", shard_id)

    def _answer(
        self, call: Callable[[], dict[str, Any]], iterator: str | None = None, shard_id: str = ""
    ) -> dict[str, Any]:
        random = self._stream.random
        fails = random.random() < self.faults
        answer = call()
        if iterator is not None and answer[iterator] is not None:
            answer[iterator] = f"{shard_id}/{answer[iterator]}"
        while random.random() < 0.5:
            self._stream.advance(random.random() * 0.2)
            self._meanwhile()
        if fails:
            raise passing_error(random)
        return answer


class Shared:
    """The readers of a ``fan_out`` without its threads, and what each handled: the test makes the steps of all."""

    def __init__(self, stream: SimulatedStream, count: int, *, most_bytes: int, faults: float) -> None:
        self.stream, self.random = stream, stream.random
        stream.wait = self._would_wait  # type: ignore[attr-defined]
        whole = StreamReader(
            "stream",
            client=Client(stream, self._meanwhile, faults),
            range_rule=False,
            give_up_after_s=1e6,
            _clock=stream,
        )
        self.shared, self.readers = whole._divided([f"handler-{number}" for number in range(count)])
        self.shared._max_bytes = most_bytes
        self.handled: list[list[tuple[int, int]]] = [[] for _ in self.readers]
        self.paces = [self.random.choice((1.0, 0.5, 0.02)) for _ in self.readers]
        self.deep = 0
        for number, reader in enumerate(self.readers):
            self.shared.join(number, reader._hurry, reader._claim(), stream.monotonic())

    @staticmethod
    def _would_wait(_condition: threading.Condition, seconds: float | None) -> None:
        raise WaitsError(seconds)

    def _meanwhile(self) -> None:
        if self.deep < MOST_DEEP:
            self.deep += 1
            self.step(self.random.randrange(len(self.readers)))
            self.deep -= 1

    def step(self, number: int) -> float | None:
        """Have a thread of a reader make a call; return how long it would wait, or ``None`` where it made one."""
        reader = self.readers[number]
        reader._wakes_at = float("inf")  # no other thread waits
        try:
            reader._make_a_call()
        except WaitsError as error:
            return 1.0 if error.seconds is None else error.seconds
        return None

    def handle(self, number: int) -> None:
        reader = self.readers[number]
        while self.random.random() < self.paces[number]:
            try:
                item = reader._take()
            except WaitsError:
                return
            assert item is not None, "the reading never ends"
            if not isinstance(item, StreamBatch):
                reader._settle(item)
                continue
            self.handled[number] += [(int(record.partition_key or ""), int(record.data)) for record in item.records]
            item.checkpoint()

    def live(self, seconds: float) -> None:
        until = self.stream.now + seconds
        while self.stream.now < until and not self.have_all():
            waits = []
            for number in self.random.sample(range(len(self.readers)), len(self.readers)):
                self.handle(number)
                waits.append(self.step(number))
            if None not in waits:
                self.stream.advance(min(wait for wait in waits if wait is not None) + 1e-6)

    def have_all(self) -> bool:
        return self.stream.quiet and all(len(handled) >= len(self.stream.puts) for handled in self.handled)

    def check(self) -> None:
        """Each handled all, once, and each key in order."""
        for handled in self.handled:
            of_keys: dict[int, list[int]] = {}
            for key, number in handled:
                of_keys.setdefault(key, []).append(number)
            assert sum(map(len, of_keys.values())) == len(self.stream.puts)
            for numbers in of_keys.values():
                assert numbers == [*range(len(numbers))]


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    shards=st.sampled_from((1, 2, 4)),
    count=st.integers(2, 4),
    most_bytes=st.sampled_from((0, 300, 10_000)),
    faults=st.sampled_from((0.0, 0.1)),
    lists_late_s=st.sampled_from((0.0, 2.0)),
)
def test_each_handles_all_once_and_in_order_while_shards_change(  # noqa: PLR0917
    seed, shards, count, most_bytes, faults, lists_late_s
):
    stream = SimulatedStream(Random(seed), shards=shards)
    stream.lists_late_s = lists_late_s
    shared = Shared(stream, count, most_bytes=most_bytes, faults=faults)
    shared.live(stream.random.random() * 60)
    stream.quiet, shared.paces = True, [0.9] * count
    shared.live(LONGEST)
    shared.check()
