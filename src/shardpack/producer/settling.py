"""What becomes of user records, for whom it concerns: their receipts, ``on_settled``, dead letters, figures."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import time

from .._native.inbox import Inbox
from .._native.router import Bucket
from ..dead_letters.letter import DeadLetter, DeadLetterSink
from .entries import Entry, Settlement, Status
from .lots import SETTLED, lot_of
from .receipts import Register, Settled
from .scheduler import Scheduler
from .signals import Signal
from .stats import Meter

logger = logging.getLogger("shardpack.producer.settling")


@dataclass(frozen=True, slots=True)
class SettledRecord:
    """A Kinesis record that has its outcome, as ``on_settled`` is told of it."""

    settlement: Settlement
    user_record_count: int
    _bucket: Bucket

    @property
    def stored(self) -> bool:
        """Whether the service has it."""
        return self.settlement.status is Status.STORED

    @property
    def maybe_stored(self) -> bool:
        """Given up, but an answer was lost: the service may have it."""
        return self.settlement.status is Status.UNKNOWN

    def numbers(self) -> array[int]:
        """Return the number of each among all that were put, counted from 0, in order; made when asked for."""
        return self._bucket.tokens()

    def user_records(self) -> list[tuple[str, bytes, int | None]]:
        """Return partition key, data and explicit hash key of each, in order; made when asked for."""
        return self._bucket.user_records()


@dataclass(frozen=True, slots=True)
class _GivenUp:
    settlement: Settlement
    bucket: Bucket
    letters: list[DeadLetter]
    outcome: Settled | None


class Outstanding:
    """The entries that are the scheduler's: the number of the first user record of each, and when it was put."""

    def __init__(self, record_ttl_s: float) -> None:
        self.record_ttl_s = record_ttl_s
        self._put_at: dict[int, float] = {}

    def add(self, entry: Entry) -> None:
        self._put_at[lot_of(entry).bucket.first_token] = self.put_at(entry)

    def remove(self, entry: Entry) -> None:
        self._put_at.pop(lot_of(entry).bucket.first_token, None)

    def put_at(self, entry: Entry) -> float:
        """When it was put, as far as its time to live tells."""
        return entry.expires_at - self.record_ttl_s

    def first(self, default: int) -> int:
        """The lowest of the numbers."""
        return min(self._put_at, default=default)

    def times(self) -> list[float]:
        """When they were put. Any thread may ask."""
        return list(self._put_at.values())


class Settling:
    """Gives user records their outcome. With ``stops`` it keeps hold of what was given up until it is left behind."""

    def __init__(
        self,
        inbox: Inbox,
        outstanding: Outstanding,
        meter: Meter,
        room: Signal,
        *,
        stream: str,
        stops: bool,
        register: Register | None,
        dead_letters: DeadLetterSink | None,
        on_settled: Callable[[Sequence[SettledRecord]], None] | None,
    ) -> None:
        self.held_shards: tuple[str, ...] = ()
        self._inbox, self._outstanding, self._meter, self._room = inbox, outstanding, meter, room
        self._stream, self._stops, self._register = stream, stops, register
        self._dead_letters, self._on_settled = dead_letters, on_settled
        self._unsettled: list[Settlement] = []  # that memory has run out for
        self._held: list[_GivenUp] = []  # that hold others back

    @property
    def unfinished(self) -> bool:
        """Whether memory ran out before all was given out."""
        return bool(self._unsettled)

    def settle(self, scheduler: Scheduler) -> None:
        """Give out what the scheduler has settled."""
        self._unsettled += scheduler.settlements()
        settlements = self._unsettled
        if not settlements:
            return
        size = 0
        settled: list[Settled] = []
        told: list[SettledRecord] = []
        given_up: list[_GivenUp] = []
        self._unsettled = []
        for number, settlement in enumerate(settlements):
            bucket = lot_of(settlement.entry).bucket
            try:
                outcome = None if self._register is None else Settled(settlement, bucket.tokens())
                letters = self._letters(settlement, bucket)
            except MemoryError:  # for this one: with what others give back there may be
                logger.exception("out of memory; some outcomes wait")
                self._unsettled = settlements[number:]
                break
            user_size = bucket.user_size
            size += bucket.settled() + self._inbox.around * len(bucket)
            if outcome is not None:
                settled.append(outcome)
            if self._on_settled is not None:
                told.append(SettledRecord(settlement, len(bucket), bucket))
            if settlement.status is not Status.STORED:
                given_up.append(_GivenUp(settlement, bucket, letters, outcome))
            self._note_settled(settlement, user_size)
        if given_up:
            _warn([each.settlement for each in given_up])
            self._give_up(scheduler, given_up)
        if self._register is not None:
            self._register.settle(settled)
        self._inbox.settled(size)
        self._room.notify()
        if told:
            self._tell_settled(told)

    def _tell_settled(self, told: list[SettledRecord]) -> None:
        assert self._on_settled is not None
        try:
            self._on_settled(told)
        except BaseException:  # SystemExit too, which would end this thread alone
            logger.exception("on_settled failed")

    def _note_settled(self, settlement: Settlement, user_size: int) -> None:
        entry, lot = settlement.entry, lot_of(settlement.entry)
        self._outstanding.remove(entry)
        self._meter.on_settled(settlement, 0 if lot.record is None else lot.record.size, user_size)
        if settlement.status is Status.STORED:
            entry.contents = SETTLED

    def _letters(self, settlement: Settlement, bucket: Bucket) -> list[DeadLetter]:
        if settlement.status is Status.STORED or self._dead_letters is None:
            return []
        entry, given_up_at = settlement.entry, time()
        put_at = given_up_at - (settlement.at - self._outstanding.put_at(entry))
        return [
            DeadLetter(
                stream=self._stream,
                partition_key=key,
                data=data,
                explicit_hash_key=explicit,
                error_code=settlement.error_code or "",
                message=settlement.message,
                maybe_stored=settlement.status is Status.UNKNOWN,
                put_at=put_at,
                given_up_at=given_up_at,
                attempts=len(entry.attempts),
            )
            for key, data, explicit in bucket.user_records()
        ]

    def _give_up(self, scheduler: Scheduler, given_up: list[_GivenUp]) -> None:
        """Keep dead letters; of what holds others back, only once it is left behind."""
        self._held += given_up
        if not self._stops or scheduler.failed is not None:
            self.leave_behind()
        self.held_shards = tuple(scheduler.held_shards) if self._stops else ()

    def leave_behind(self) -> None:
        """What was given up is so for good."""
        held, self._held = self._held, []
        for each in held:
            each.settlement.entry.contents = SETTLED
        if letters := [letter for each in held for letter in each.letters]:
            self._put_letters(letters)

    def release(self, scheduler: Scheduler, now: float, *, again: bool) -> None:
        """Go on where records that were given up held others back: with them, or without."""
        self.settle(scheduler)  # what was given up just now is held too
        expires_at = now + self._outstanding.record_ttl_s
        if again:
            self._take_back(scheduler.resume(now, expires_at))
        else:
            scheduler.skip(now, expires_at)
            self.leave_behind()
        self.held_shards = tuple(scheduler.held_shards)

    def _take_back(self, entries: list[Entry]) -> None:
        """What has these entries has no outcome after all."""
        held = {each.settlement.entry: each for each in self._held}
        self._held = []
        for each in map(held.pop, entries):
            self._inbox.settled(-each.bucket.settled(again=True) - self._inbox.around * len(each.bucket))
            self._meter.on_resumed(each.settlement)
            self._outstanding.add(each.settlement.entry)
            if each.outcome is not None and self._register is not None:
                self._register.take_back(each.outcome)
        self._held += held.values()

    def _put_letters(self, letters: list[DeadLetter]) -> None:
        assert self._dead_letters is not None
        try:
            self._dead_letters.put(letters)
        except BaseException:
            logger.exception("%d dead letters could not be kept", len(letters))


def _warn(settlements: list[Settlement]) -> None:
    """Log what was given up, a line for each reason."""
    reasons: dict[tuple[str, str | None, str], list[Settlement]] = {}
    for each in settlements:
        reasons.setdefault((each.status.value, each.error_code, each.message), []).append(each)
    for (status, error_code, message), its in reasons.items():
        count, shards = sum(each.entry.user_record_count for each in its), {each.entry.shard_id for each in its}
        where = shards.pop() if len(shards) == 1 else f"{len(shards):,} shards"
        logger.warning("%s user records for %s are %s: %s %s", f"{count:,}", where, status, error_code, message)
