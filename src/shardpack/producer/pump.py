"""The thread between an inbox, a scheduler and a transport: it alone touches the scheduler, and owns what was put.

A turn of it takes what the application has put into buckets, offers those that are full or have lingered to the
scheduler, hands the requests that come out to threads that make the calls, and gives every outcome to whom it concerns.
It sleeps until something happens or is due: an idle producer takes no processor.
"""

from __future__ import annotations

import logging
import random
import threading
from asyncio import AbstractEventLoop
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

from .._native.inbox import Inbox
from ..dead_letters.letter import DeadLetterSink
from ..errors import BufferFullError, ProducerClosedError
from ..limits import MAX_RECORD_BYTES
from ..shards import ShardMap
from ..transport import AsyncTransport, Failed, Stored, StreamDescription, Transport, is_async
from .callers import LOOP_ENDED, Callers, Hands, TasksOfLoop, Threads
from .entries import CallError, Request
from .hot_shards import HotShard, hot_shards
from .lots import lot_of, new_entry, sealed_of
from .offering import Offering
from .receipts import Register
from .rerouting import Rerouting
from .scheduler import OF_NO_USE, Scheduler, Wish
from .settling import Outstanding, SettledRecord, Settling
from .signals import Signal
from .stats import Meter, Stats

if TYPE_CHECKING:
    from ..codec.sealing import CompressedSealer

logger = logging.getLogger("shardpack.producer")

EVERYTHING = 2**64 - 1
TICKS = 4
"""A bucket is looked at so many times in its linger."""

PLACES = 64
ONE_BY_ONE_PLACES = 1024
"""How many buckets of keyless user records are placed ahead; and where each of them has a bucket of its own."""

ACCESS_DENIED = ("AccessDeniedException", "AccessDenied")


class Pump:
    """Deliver what is put into an inbox. ``start`` it, ``flush`` it, ``stop`` it; any thread may."""

    def __init__(
        self,
        transport: Transport | AsyncTransport,
        *,
        loop: AbstractEventLoop | None,
        stream: str,
        max_aggregate_bytes: int,
        max_aggregate_records: int | None,
        max_buffered_bytes: int,
        linger_s: float,
        record_ttl_s: float,
        max_requests_in_flight: int,
        shard_bytes_per_second: float | None,
        shard_records_per_second: float | None,
        ordering: Literal["shard", "none"],
        after_failure: Literal["continue", "stop"],
        aggregate_on_auto: bool,
        dead_letters: DeadLetterSink | None,
        on_settled: Callable[[Sequence[SettledRecord]], None] | None,
        register: Register | None,
        sealer: CompressedSealer | None = None,
        hands: Hands | None = None,
    ) -> None:
        self.transport = transport
        self.stream = stream
        self.meter = Meter()
        self.register = register
        self.room = Signal()
        """The inbox has more room, or the pump has ended."""
        self.is_described = False
        """Whether the inbox has the stream's own limit of a record."""
        self.settled = Signal()
        """Something that a flush waits for has its outcome, or the pump has ended."""
        self._linger, self._ttl = linger_s, record_ttl_s
        self._aggregate_on_auto = aggregate_on_auto
        self._events: SimpleQueue[Callable[[float], None] | None] = SimpleQueue()
        self._scheduler = Scheduler(
            None,
            ordering=ordering,
            after_failure=after_failure,
            max_requests_in_flight=max_requests_in_flight,
            most_bytes_per_second=shard_bytes_per_second,
            most_records_per_second=shard_records_per_second,
        )
        self.inbox = Inbox(
            self._scheduler.shard_map._table,  # noqa: SLF001 - the library's own
            max_record_bytes=MAX_RECORD_BYTES,
            max_bytes=max_aggregate_bytes,
            max_records=max_aggregate_records,
            max_buffered=max_buffered_bytes,
            wake=lambda: self._events.put(None),
            register=register,
        )
        if register is not None:
            register.blocks = self.inbox.blocks
        self._outstanding = Outstanding(record_ttl_s)
        self._offering = Offering(self.inbox, sealer)
        self._rerouting = Rerouting(self.inbox, self._outstanding, self._offering, max_aggregate_records)
        self._settling = Settling(
            self.inbox,
            self._outstanding,
            self.meter,
            self.room,
            stream=stream,
            stops=after_failure == "stop",
            register=register,
            dead_letters=dead_letters,
            on_settled=on_settled,
        )
        self._marks: deque[tuple[int, float]] = deque()  # numbers of user records, and until when they were put
        self._marked = 0  # the last of them
        self._gathered_before = 0  # what has a lower number has left the inbox's queue
        self._flush_before = 0  # what has a lower number lingers no longer
        self._settled_before = 0  # what has a lower number has its outcome
        self._taken_of: list[tuple[int, float]] = []  # the marks there were when buckets were taken
        self._unsent: deque[Request] = deque()  # that memory has run out for
        self._lingered_before = 0  # what has a lower number has lingered
        self._leaving = self._stopping = False
        self._ended = False
        self._calls: Callers = Threads(hands or Hands(max_requests_in_flight + 2), self.tell, shared=hands is not None)
        if is_async(transport):
            assert loop is not None
            self._calls = TasksOfLoop(loop, self.tell)
        self._thread = threading.Thread(target=self._run, name="shardpack-pump", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def ended(self) -> bool:
        return self._ended

    def tell(self, what: Callable[[float], None]) -> None:
        """Have something done by the pump, with the time."""
        self._events.put(what)

    def stats(self, *, shards: bool) -> Stats:
        """Return what has been done so far, of each shard too if wanted."""
        marked = [at for _, at in list(self._marks)[:1]]
        put_at = marked + self._outstanding.times()
        return self.meter.stats(self.inbox, self._scheduler, put_at, monotonic(), shards=shards)

    def hot_shards(self, **options: Any) -> list[HotShard]:
        return hot_shards(self._scheduler, self.inbox.heavy_hitters, monotonic(), **options)

    def flush(self, timeout: float | None) -> int:
        """Wait until everything put so far has its outcome. Returns how many user records have not, after the time."""
        if self.is_current:
            raise RuntimeError("on_settled cannot wait for a flush: it would wait for itself")
        return 0 if self.settled.wait(self.flushing(), timeout) else self.unsettled

    def flushing(self) -> Callable[[], bool | None]:
        """Let nothing that was put so far linger, and return what says ``True`` once all of it has its outcome."""
        before = self.inbox.next_token
        heard = threading.Event()  # what was asked for before, as to resume, has begun then

        def begin(_now: float) -> None:
            self._flush(before)
            heard.set()
            self.settled.notify()

        self.tell(begin)
        return lambda: True if (heard.is_set() and self._settled_before >= before) or self.ended else None

    @property
    def is_current(self) -> bool:
        """Whether this is its thread, which cannot wait for itself."""
        return threading.current_thread() is self._thread

    @property
    def shards(self) -> tuple[ShardMap, bool]:
        """The shards as far as is known, and whether keys decide among them. Any thread may ask."""
        scheduler = self._scheduler
        return scheduler.shard_map, not scheduler.auto_distribution

    @property
    def failed(self) -> bool:
        """Whether nothing is sent any more."""
        return self._scheduler.failed is not None

    @property
    def loop_ended(self) -> bool:
        """Whether nothing is sent any more because the event loop that makes the calls has ended."""
        return self._scheduler.failed is not None and self._scheduler.failed.error_code == LOOP_ENDED

    @property
    def unsettled(self) -> int:
        """How many user records have no outcome."""
        return self.inbox.next_token - self.meter.user_records_settled

    def check_running(self) -> None:
        """Raise unless whoever waits for room can get it."""
        if self.ended:
            raise ProducerClosedError("the producer has ended")
        if self.is_current:
            raise BufferFullError("there is no room, and on_settled cannot wait for it: it would wait for itself")

    @property
    def held_shards(self) -> tuple[str, ...]:
        return self._settling.held_shards

    def resume(self) -> None:
        self.tell(lambda now: self._release(now, again=True))

    def skip(self) -> None:
        self.tell(lambda now: self._release(now, again=False))

    def stop(self, timeout: float) -> None:
        """Take nothing more, deliver what is there for so many seconds, settle the rest, and end."""
        self.inbox.close()
        if self.is_current:  # by on_settled, which cannot wait for itself
            threading.Thread(target=self.stop, args=(timeout,), name="shardpack-close", daemon=True).start()
            return
        deadline = monotonic() + timeout
        self.room.notify()  # none will come
        self.tell(self._look_for_callers)
        self.tell(self._leave)
        self._thread.join(timeout)
        if not self._ended:
            self.tell(self._stop)
        self._thread.join(max(1.0, deadline - monotonic()))
        if self._thread.is_alive():
            logger.error("on_settled or the dead letters' sink does not return; %d user records wait", self.unsettled)

    def let_go(self) -> None:
        """Take nothing more, deliver what is there, and end; without waiting for it. What holds back others stays."""
        self.inbox.close()
        if not self._ended:  # then nothing refers to it in a circle: its memory is free with the last reference
            self.tell(self._leave)

    # --- the thread ---

    def _run(self) -> None:
        wait: float | None = 0.0
        while not self._ended:
            try:
                self._take_events(wait)
                wait = self._turn(monotonic())
            except MemoryError:
                logger.exception("out of memory; everything waits")
                wait = self._linger or 0.1
            except Exception:
                logger.exception("a defect of the producer: it ends")
                self.inbox.close()
                break
        self._finish()

    def _finish(self) -> None:
        """Leave nobody waiting."""
        try:
            if not self._ended:
                self._end(monotonic())
        except Exception:
            logger.exception("what is left gets no outcome")
        self._ended = True
        self._calls.stop()
        if self.register is not None:
            self.register.end("the producer ended before it had an outcome")
        self.room.notify()
        self.settled.notify()
        self.inbox.wake = None
        del self._calls

    def _take_events(self, wait: float | None) -> None:
        try:
            event = self._events.get(timeout=wait) if wait is None or wait > 0 else self._events.get_nowait()
            self.inbox.asleep = False
            while True:
                if event is not None:
                    event(monotonic())
                event = self._events.get_nowait()
        except Empty:
            self.inbox.asleep = False

    def _turn(self, now: float) -> float | None:
        """Do what is to be done, and return how long to sleep; ``None`` until something happens."""
        scheduler = self._scheduler
        if self._stopping:
            self._end(now)
            return None
        self._rerouting.go_on(scheduler, now)  # where memory ran out
        self._collect(scheduler, now)
        self._ask(scheduler, now)
        self._send(scheduler, now)
        if self._rerouting.go_on(scheduler, now):
            self._collect(scheduler, now)
            self._send(scheduler, now)
        self._settling.settle(scheduler)
        if self._settled_before < self._flush_before and not self._offering:
            self._settled_before = self._outstanding.first(min(self._flush_before, self._gathered_before))
            self.settled.notify()
        done = self._settled_before >= self.inbox.next_token or scheduler.is_stuck
        if self._leaving and done and not self._offering:
            self._end(now)
        return self._sleep_for(scheduler, now)

    def _sleep_for(self, scheduler: Scheduler, now: float) -> float | None:
        """Return until when nothing is due; whoever puts something while the inbox is empty wakes the pump."""
        if self._offering:
            return 0.0
        due = scheduler.next_time(now)
        looks = self._calls.look()
        waits = [each for each in (looks, None if due is None else max(0.0, due - now)) if each is not None]
        self.inbox.asleep = True
        if self._marks or self.inbox.waiting or self._settling.unfinished:
            self.inbox.asleep = False
            waits.append(max(0.001, self._linger / TICKS))
        return min(waits, default=None)

    def _collect(self, scheduler: Scheduler, now: float, *, last: bool = False) -> None:
        """Offer what is full, and what has lingered. To begin with, shards are waited for before all is bucketed."""
        since = self.inbox.since
        patient = since is None or now < since + min(1.0, self._ttl / 4)
        if scheduler.halted and patient and not (self._gathered_before or self._stopping):
            return
        if not self._offering:  # what memory, or a turn, was too short for comes first
            self._take(scheduler, since, now)
        self._offer(scheduler, now, plain=last)

    def _take(self, scheduler: Scheduler, since: float | None, now: float) -> None:
        """Take the buckets that are full, and those that have lingered."""
        if self.inbox.keyless:
            self._place(scheduler, now)
        following = self.inbox.next_token
        self.inbox.gather()
        self._gathered_before = following
        self.inbox.heavy_hitters.age(now)
        if since is not None:
            self.meter.stage.add(now - since)
        end = self.inbox.next_token  # read after: what is gathered is marked, perhaps with some that are not yet
        if end > self._marked:
            self._marks.append((end, now))
            self._marked = end
        self._taken_of = list(self._marks)
        self._lingered_before = max(self._lingered_before, self._flush_before)
        while self._marks and (self._marks[0][1] <= now - self._linger or self._marks[0][0] <= self._lingered_before):
            self._lingered_before = max(self._lingered_before, self._marks.popleft()[0])
        self._offering.taken += self.inbox.take(self._lingered_before)

    def _offer(self, scheduler: Scheduler, now: float, *, plain: bool = False) -> None:
        """Offer what was taken; of what is to be compressed, a turn's worth."""
        marks = self._taken_of
        ends = [end for end, _ in marks]
        self._offering.seal_some(scheduler, plain=plain)
        sealed = self._offering.sealed
        while sealed:
            mark = bisect_right(ends, sealed[0][0].first_token)
            put_at = marks[mark][1] if mark < len(marks) else now  # to a fraction of the linger
            entry = new_entry(self.inbox, sealed[0], scheduler.shard_map, now, put_at + self._ttl)
            self._outstanding.add(entry)
            self.meter.linger.add(now - put_at)
            scheduler.offer(entry, now)
            sealed.popleft()

    def _place(self, scheduler: Scheduler, now: float) -> None:
        """Say where keyless user records go: to one shard after the other, but seldom to those that have little room.

        Where in the shard is left to chance, so that both halves of a shard that is split get some.
        """
        if not self.inbox.wants_places:
            return
        shards = scheduler.shard_map
        places: list[int] = []
        wanted = ONE_BY_ONE_PLACES if scheduler.auto_distribution or self._rerouting.max_records == 1 else PLACES
        first = random.randrange(len(shards))
        for i in range(first, first + 4 * wanted):
            shard = shards[i % len(shards)]
            if random.random() < scheduler.free_capacity(shard.shard_id, now):
                places.append(random.randint(shard.starting_hash_key, shard.ending_hash_key))
                if len(places) == wanted:
                    break
        self.inbox.place(places or [random.randrange(2**128) for _ in range(wanted)])

    def _send(self, scheduler: Scheduler, now: float) -> None:
        for request in scheduler.requests(now):
            self._unsent.append(request)
            new = [lot for lot in map(lot_of, request.entries) if not lot.sent]
            self.meter.on_sent(request, [now - lot.offered_at for lot in new])
            for lot in new:
                lot.sent = True
        with suppress(MemoryError):
            self._seal(self._unsent)
        while self._unsent:
            self._seal([self._unsent[0]])  # there may be memory for one at least
            request = self._unsent[0]
            self._calls.submit(
                partial(self._put_records, request),
                partial(self._on_reply, scheduler, request),
                partial(self._on_error, scheduler, request),
            )
            self._unsent.popleft()

    def _seal(self, requests: Iterable[Request]) -> None:
        """Seal what is not yet, all at once: checksums share SIMD lanes."""
        lots = [lot for request in requests for lot in map(lot_of, request.entries) if lot.record is None]
        if lots:
            for lot, record in zip(lots, self.inbox.seal([lot.bucket for lot in lots]), strict=True):
                lot.record = record

    def _put_records(self, request: Request) -> Any:
        """Make a call, or begin one: not on the pump's thread."""
        return self.transport.put_records([sealed_of(entry) for entry in request.entries])

    def _on_reply(
        self, scheduler: Scheduler, request: Request, outcomes: Sequence[Stored | Failed], now: float
    ) -> None:
        self.meter.on_answer(request, [each.error_code for each in outcomes if isinstance(each, Failed)], now)
        scheduler.on_reply(request, outcomes, now)

    def _on_error(self, scheduler: Scheduler, request: Request, error: CallError, now: float) -> None:
        self.meter.on_answer(request, [error.error_code] * len(request.entries), now)
        most_bytes = scheduler.most_request_bytes
        scheduler.on_error(request, error, now)
        if scheduler.most_request_bytes < most_bytes:
            logger.warning(
                "requests have %s bytes at most from here on: larger ones are refused: %s",
                f"{scheduler.most_request_bytes:,}",
                error.message,
            )

    # --- shards ---

    def _ask(self, scheduler: Scheduler, now: float) -> None:
        for wish in scheduler.wishes(now):
            if wish is Wish.SHARDS:
                self._calls.submit(self._list_shards, scheduler.on_shards, partial(self._on_unlisted, scheduler))
            else:
                described, failed = partial(self._on_described, scheduler), partial(self._on_undescribed, scheduler)
                self._calls.submit(self._describe, described, failed)

    def _list_shards(self) -> Any:
        return self.transport.list_shards()

    def _describe(self) -> Any:
        return self.transport.describe()

    def _on_unlisted(self, scheduler: Scheduler, error: CallError, now: float) -> None:
        if error.error_code in ACCESS_DENIED and not scheduler.begun:
            logger.warning("ListShards is not allowed: user records are sent one by one, and in no order")
            self._rerouting.max_records = 1
            scheduler.on_shards_denied(now)
            return
        if scheduler.halted:
            logger.warning("records wait for ListShards, which failed: %s", error.message)
        scheduler.on_shards_error(error, now)

    def _on_described(self, scheduler: Scheduler, description: StreamDescription, now: float) -> None:
        auto = description.auto_distribution and not self._aggregate_on_auto
        scheduler.readers_take_all = description.auto_distribution and self._aggregate_on_auto
        if auto != scheduler.auto_distribution:
            logger.warning(
                "AUTO record distribution is %s: aggregation is %s", *(("on", "off") if auto else ("off", "on"))
            )
        scheduler.limits = description.limits
        self.inbox.max_record_bytes = description.limits.max_record_bytes
        self.is_described = True
        self.room.notify()  # for what was too large
        scheduler.on_described(now, auto)

    def _on_undescribed(self, scheduler: Scheduler, error: CallError, now: float) -> None:
        if error.error_code in ACCESS_DENIED:
            scheduler.on_described(now, False)
            self.is_described = True  # as far as it will ever be
            self.room.notify()
        elif error.fault in OF_NO_USE and not scheduler.begun:
            scheduler.fail(error, now)
            self.room.notify()
        else:
            if scheduler.halted:
                logger.warning("records wait for DescribeStreamSummary, which failed: %s", error.message)
            scheduler.on_described(now, None)

    # --- commands ---

    def _release(self, now: float, *, again: bool) -> None:
        self._settling.release(self._scheduler, now, again=again)
        self._settled_before = self._outstanding.first(self._settled_before)

    def _flush(self, before: int) -> None:
        self._flush_before = max(self._flush_before, before)

    def _look_for_callers(self, _now: float) -> None:
        self._calls.look(closing=True)

    def _leave(self, _now: float) -> None:
        self._leaving = True
        self._flush(self.inbox.next_token)

    def _stop(self, _now: float) -> None:
        self._stopping = True

    def _end(self, now: float) -> None:
        scheduler = self._scheduler
        self._flush(self.inbox.next_token)  # which was closed
        self._rerouting.go_on(scheduler, now)
        self._offer(scheduler, now, plain=True)
        self._collect(scheduler, now, last=True)
        scheduler.give_up_all(now, "ProducerClosed", "the producer was closed before it was stored")
        self._settling.settle(scheduler)
        if self._settling.unfinished:
            raise MemoryError
        self._settling.leave_behind()
        self._ended = True
