"""Which shards are read from where, and when which call is to be made: a state machine without I/O and without a clock.

``StreamReader`` asks it for the ``next`` call, makes it, and says what came of it: ``listed``, ``began``, ``read`` or
``failed``. Children are read once all their parents were read to the end, so that the order of each key holds.
"""

from __future__ import annotations

import heapq
import logging
import random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from itertools import count
from typing import Any, Literal

from ...transport.transient import error_code, is_transient, is_unreachable
from .checkpoints import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON, Checkpoint
from .shards import ListedShard

logger = logging.getLogger("shardpack.consume")

BUSY_SECONDS = 0.2
"""Between reads of one shard that has more: the service answers five GetRecords a second and shard."""
LIST_AGAIN_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 10.0
FIRST_ANSWER_SECONDS = 5.0
"""How long a service is tried that has never answered: its name may be wrong."""
CHILDREN_TRIES = 10
"""How often the shards are listed again, a second apart, for the children of one that ended."""

SENTINELS = (TRIM_HORIZON, LATEST, AT_TIMESTAMP)


@dataclass(slots=True)
class Due:
    """When a call is to be made again; how often, and since when, it has failed in a row."""

    at: float = 0.0
    failures: int = 0
    failing_since: float = 0.0

    def after_success(self, at: float) -> None:
        self.at, self.failures = at, 0

    def after_failure(self, now: float, patience_s: float, *, soon: bool) -> bool:
        """Put the call off, with jitter and, unless ``soon``, twice as long each time.

        Returns whether there is to be another try: one within ``patience_s`` of the first failure.
        """
        if not self.failures:
            self.failing_since = now
        longest = 1.0 if soon else min(LONGEST_BACKOFF_SECONDS, 1.0 * 2**self.failures)
        self.failures += 1
        self.at = now + random.uniform(longest / 2, longest)
        return self.at - self.failing_since <= patience_s


@dataclass(slots=True, eq=False)
class Cursor:
    """Where the reading of one shard stands."""

    shard: ListedShard
    position: Checkpoint
    """What was read, or handled, last: the next iterator begins there."""
    whole: bool = False
    """Whether the Kinesis record at ``position`` was read to its end here, or only up to a user record of it before."""
    iterator: str | None = None
    due: Due = field(default_factory=Due)
    millis_behind: int | None = None
    read_up_to: float | None = None
    """Epoch seconds by the service's clock: all that came before was read, or was not asked for."""
    place: int = -1
    """In the order of those that wait; negative while it is being read."""
    hurried: bool = False
    """Whether something came of the shard elsewhere while it was being read."""

    def iterator_parameters(self) -> dict[str, Any]:
        """Return what GetShardIterator is to be asked for."""
        number, read_up_to = self.position.sequence_number, self.position.read_up_to
        if number == TRIM_HORIZON or (number == LATEST and read_up_to is None):
            return {"ShardIteratorType": number}
        if number in SENTINELS:
            assert read_up_to is not None
            return {
                "ShardIteratorType": AT_TIMESTAMP,
                "Timestamp": datetime.fromtimestamp(read_up_to, timezone.utc),
            }
        return {
            "ShardIteratorType": "AFTER_SEQUENCE_NUMBER" if self.whole else "AT_SEQUENCE_NUMBER",
            "StartingSequenceNumber": number,
        }


def is_latest(position: Checkpoint) -> bool:
    """Whether it is what comes from the moment on at which it is asked for."""
    return position.sequence_number == LATEST and position.read_up_to is None


def _earliest(positions: Collection[Checkpoint]) -> Checkpoint | None:
    """Return the first of the positions at which shards began; ``None`` where one is none, or not known."""
    if not all(position.sequence_number in SENTINELS and not is_latest(position) for position in positions):
        return None
    return min(positions, key=lambda position: position.read_up_to or 0.0)


class ListCall:
    """The call of ListShards."""


LIST = ListCall()


@dataclass(slots=True)
class Listed:
    """What a list of shards brought: shards to be entered, from where, and those that ended, their children known."""

    begun: dict[ListedShard, Checkpoint]
    ended: list[ListedShard]
    gone: dict[str, Checkpoint]
    """Shards with a checkpoint that the stream no longer lists."""
    vanished: list[Cursor]
    """Shards that left the stream while they were read: closed ones, all of whose records have expired."""


class Schedule:
    """The reading of one stream.

    ``start`` is where a shard begins that has no checkpoint, ``known`` the checkpoints, of which those of the ``named``
    shards are not kept yet. ``until`` is when reading ends: never, when each shard has been caught up with, or at a
    time. ``opened_at`` is a moment by the service's clock before any shard is asked for.

    Where nothing is handled of any shard with a checkpoint, the reader that entered them may have ended before it had
    entered all. Then the others begin where it had them begin; a store enters no shard before those that it came of.
    """

    def __init__(
        self,
        stream: str,
        start: Checkpoint,
        known: Mapping[str, Checkpoint],
        named: Collection[str] = (),
        *,
        until: float | Literal["latest"] | None,
        began_at: float,
        opened_at: float,
        poll_interval_s: float,
        shard_bytes_per_second: float,
        give_up_after_s: float,
    ) -> None:
        self._stream = stream
        self._start = start
        self._known = dict(known)
        self._until = until
        self._began_at, self._opened_at = began_at, opened_at  # epoch seconds
        self._poll_interval_s = poll_interval_s
        self._shard_bytes_per_second = shard_bytes_per_second
        self._give_up_after_s = give_up_after_s
        self._answered = False  # whether the service ever was
        self._unreachable = False  # and is, as far as the last call tells
        self._cursors: dict[str, Cursor] = {}
        self._waiting: list[tuple[float, int, Cursor]] = []  # those that are not being read now: a heap
        self._numbers = count()
        self._ended: set[str] = set()
        self._caught_up: set[str] = set()
        self._entered = {shard_id: kept for shard_id, kept in known.items() if shard_id not in named}
        self._childless: dict[str, tuple[ListedShard, int]] = {}  # ended, children not listed yet: tries left
        self._unknown: dict[str, Cursor] = {}  # to the service, it said: the next list tells whether they are gone
        self._first_list = True
        self._entering_again = False
        self._listing = False
        self._list_due = Due()

    @property
    def cursors(self) -> Mapping[str, Cursor]:
        """The shards that are being read, by id."""
        return self._cursors

    def position_of(self, shard_id: str) -> Checkpoint | None:
        """Return where a shard that is being read, or has a checkpoint, stands."""
        cursor = self._cursors.get(shard_id)
        return self._known.get(shard_id) if cursor is None else cursor.position

    @property
    def done(self) -> bool:
        """Whether every shard is read as far as it is to be."""
        return not (self._first_list or self._cursors or self._childless)

    def next(self, now: float, *, may_read: bool) -> ListCall | Cursor | float | None:
        """Return the call to be made now, when there is to be one, or ``None`` when another has to come back first.

        ``may_read`` is whether there is room for what a read brings.
        """
        soonest: float | None = None
        if (self._first_list or self._childless or self._unknown) and not self._listing:
            if self._list_due.at <= now:
                self._listing = True
                return LIST
            soonest = self._list_due.at
        while self._waiting and self._waiting[0][1] != self._waiting[0][2].place:
            heapq.heappop(self._waiting)  # it was hurried: another entry has it
        if self._waiting and may_read:
            at, _, cursor = self._waiting[0]
            if at <= now:
                heapq.heappop(self._waiting)
                cursor.place = -1
                return cursor
            soonest = at if soonest is None else min(soonest, at)
        return soonest

    # --- which shards ---

    def listed(self, shards: Iterable[ListedShard], now: float) -> Listed:
        """Take a list of all shards; begin those whose parents are read to the end."""
        self._note_answer()
        self._listing = False
        self._list_due.after_success(now + LIST_AGAIN_SECONDS)
        by_id = {shard.shard_id: shard for shard in shards}
        if self._first_list:
            self._settle_known(by_id)
        vanished = self._end_vanished(by_id)
        left_over = self._without_children(by_id.values())
        ended = [shard for shard, tries in self._childless.values() if shard.shard_id not in left_over or not tries]
        self._childless = {
            shard_id: (shard, tries - 1)
            for shard_id, (shard, tries) in self._childless.items()
            if shard_id in left_over and tries
        }
        begun: dict[ListedShard, Checkpoint] = {}
        for shard in by_id.values():
            position = self._begin(shard, by_id, now)
            if position is not None:
                begun[shard] = position
        gone: dict[str, Checkpoint] = {}
        if self._first_list:
            gone = {shard_id: kept for shard_id, kept in self._known.items() if shard_id not in by_id}
        self._first_list = False
        if self._start.sequence_number == LATEST:
            self._start = Checkpoint(TRIM_HORIZON)  # all of a shard that comes later is new
        return Listed(begun, ended, gone, vanished)

    def _without_children(self, shards: Collection[ListedShard]) -> set[str]:
        """Return which of the shards that ended have hash keys that no listed child of theirs has."""
        left = {
            shard_id: shard.ending_hash_key - shard.starting_hash_key + 1
            for shard_id, (shard, _) in self._childless.items()
        }
        for shard in shards:
            for parent in left.keys() & shard.parents:
                of_parent = self._childless[parent][0]
                first = max(shard.starting_hash_key, of_parent.starting_hash_key)
                left[parent] -= max(0, min(shard.ending_hash_key, of_parent.ending_hash_key) - first + 1)
        return {shard_id for shard_id, hash_keys in left.items() if hash_keys > 0}

    def _end_vanished(self, by_id: Mapping[str, ListedShard]) -> list[Cursor]:
        """End those that the service does not know, and does not list; the others are called for again."""
        unknown, self._unknown = self._unknown, {}
        vanished = []
        for shard_id, cursor in unknown.items():
            if shard_id in by_id:
                self._wait(cursor)
            else:
                self._end(cursor)
                vanished.append(cursor)
        return vanished

    def _settle_known(self, by_id: Mapping[str, ListedShard]) -> None:
        """Note which shards there is nothing to read of, and where those begin that came of shards with checkpoints."""
        self._ended.update(shard_id for shard_id, kept in self._known.items() if kept.sequence_number == SHARD_END)
        if not self._known:
            if self._start.sequence_number == LATEST:
                self._ended.update(shard.shard_id for shard in by_id.values() if shard.closed)
            return
        before: set[str] = set()  # what shards with checkpoints came of
        pending = [shard_id for shard_id in self._known if shard_id in by_id]
        while pending:
            for parent in by_id[pending.pop()].parents:
                if parent in by_id and parent not in before:
                    before.add(parent)
                    pending.append(parent)
        self._ended.update(before - self._known.keys())
        if (position := _earliest(self._known.values())) is not None:
            self._start, self._entering_again = position, True
        elif self._start.sequence_number == LATEST:  # what is neither came while nobody read
            self._start = Checkpoint(TRIM_HORIZON)

    def _begin(self, shard: ListedShard, by_id: Mapping[str, ListedShard], now: float) -> Checkpoint | None:
        """Read a shard from now on, if its parents allow; return where a shard begins that was not known before."""
        shard_id = shard.shard_id
        if shard_id in self._cursors or shard_id in self._ended or shard_id in self._caught_up:
            return None
        position = self._entered.get(shard_id) or self._known.get(shard_id)
        if position is None:
            position = Checkpoint(TRIM_HORIZON) if self._goes_on(shard, by_id) else self._start
        if not any(
            (parent in by_id or parent in self._cursors) and parent not in self._ended for parent in shard.parents
        ):
            cursor = Cursor(shard, position, read_up_to=position.read_up_to)
            cursor.due.at = now
            self._cursors[shard_id] = cursor
            self._wait(cursor)
        if shard_id in self._entered:
            return None
        self._entered[shard_id] = position
        # as long as it was not asked for, the moment of "latest" is not after this one
        return replace(position, read_up_to=self._opened_at) if is_latest(position) else position

    def _goes_on(self, shard: ListedShard, by_id: Mapping[str, ListedShard]) -> bool:
        """Whether a shard without a checkpoint came of one that was read, so that all of it is new."""
        if self._entering_again:  # it may have been there before
            return False
        return bool(self._known) and any(parent in by_id or parent in self._known for parent in shard.parents)

    # --- one shard ---

    def began(self, cursor: Cursor, answered_at: float) -> None:
        """Note that an iterator was given, at this time."""
        if cursor.position.sequence_number == LATEST and cursor.position.read_up_to is None:
            # what comes from now on is meant, also where this iterator expires before a record came
            cursor.position = Checkpoint(LATEST, read_up_to=answered_at)
            cursor.read_up_to = answered_at

    def read(
        self,
        cursor: Cursor,
        last: Checkpoint | None,
        read_up_to: float | None,
        *,
        size: int,
        last_arrived: float | None,
        millis_behind: int | None,
        next_iterator: str | None,
        reached: bool,
        now: float,
        goes_on: bool = False,
        free: bool = False,
    ) -> bool:
        """Take what a read brought, up to ``last``; return whether the shard is read as far as it is to be.

        ``size`` is how many bytes of data, ``reached`` whether it came to the time until which to read, ``goes_on``
        whether more comes without another call, ``free`` whether it was there without a call.
        """
        self._note_answer()
        if last is not None:
            cursor.position, cursor.whole = last, True
        cursor.iterator = next_iterator
        cursor.millis_behind = millis_behind
        if read_up_to is not None:
            cursor.read_up_to = read_up_to
        at_tip = not millis_behind
        idle = at_tip and last is None
        pause = 0.0 if free else max(BUSY_SECONDS, size / self._shard_bytes_per_second)
        cursor.due.after_success(now + (max(pause, self._poll_interval_s) if idle else pause))
        cut_off = reached and last is not None  # what was read last is left for another reading
        # a server may go on to give iterators, and is to tell then that this is the tip; an answer to another reader
        # may be from before the shard was closed
        at_end = millis_behind == 0 and last is None and cursor.shard.closed and not free
        if not cut_off and (next_iterator is None or at_end):
            self._end(cursor)
            return True
        new = last_arrived is not None and last_arrived > self._began_at
        if reached or (self._until == "latest" and (idle or (at_tip and new))):
            self._caught_up.add(cursor.shard.shard_id)
            del self._cursors[cursor.shard.shard_id]
            return True
        if not goes_on:
            self._wait(cursor)
        return False

    def put_off(self, cursor: Cursor, at: float) -> None:
        """Ask for a shard later."""
        cursor.due.at = at
        self._wait(cursor)

    def hurry(self, shard_id: str, now: float) -> None:
        """Ask for a shard at once, or once it is no longer being read: something came of it elsewhere."""
        cursor = self._cursors.get(shard_id)
        if cursor is None:
            return
        if cursor.place < 0:
            cursor.hurried = True
        elif cursor.due.at > now:
            self.put_off(cursor, now)

    def again(self, cursor: Cursor, at: float) -> None:
        """Have a shard of which nothing more comes by itself called for again, at this time."""
        cursor.due.after_success(at)
        self._wait(cursor)

    def _wait(self, cursor: Cursor) -> None:
        if cursor.hurried:
            cursor.hurried, cursor.due.at = False, 0.0
        cursor.place = next(self._numbers)
        heapq.heappush(self._waiting, (cursor.due.at, cursor.place, cursor))

    def _end(self, cursor: Cursor) -> None:
        shard = cursor.shard
        del self._cursors[shard.shard_id]
        self._ended.add(shard.shard_id)
        self._childless[shard.shard_id] = (shard, CHILDREN_TRIES)
        self._list_soon()

    def _list_soon(self) -> None:
        if not self._list_due.failures:
            self._list_due.at = 0.0

    # --- calls that fail ---

    def _note_answer(self) -> None:
        self._answered = True
        if self._unreachable:
            self._unreachable = False
            logger.warning("%s can be reached again", self._stream)

    def failed(self, call: ListCall | Cursor, error: Exception, now: float, *, passes: bool = False) -> None:
        """Make the call again later, or raise its error again when it cannot succeed, or has failed for too long.

        ``passes`` is whether it may succeed later, whatever its error tells.
        """
        due = self._list_due if isinstance(call, ListCall) else call.due
        expired = error_code(error) == "ExpiredIteratorException"
        unknown = isinstance(call, Cursor) and error_code(error) == "ResourceNotFoundException"
        if not (expired or unknown or passes or is_transient(error)):
            raise error
        unreachable = is_unreachable(error)
        if not unreachable:
            self._note_answer()
        patience_s = self._give_up_after_s if self._answered else min(FIRST_ANSWER_SECONDS, self._give_up_after_s)
        if not due.after_failure(now, patience_s, soon=expired):
            raise error
        if unreachable and self._answered and not self._unreachable:
            self._unreachable = True
            logger.warning("%s cannot be reached, trying again for %g s: %s", self._stream, patience_s, error)
        else:
            logger.info("%s: trying again: %s", self._stream, error)
        if isinstance(call, ListCall):
            self._listing = False
            return
        if expired or unknown:
            call.iterator = None
        if unknown:
            self._unknown[call.shard.shard_id] = call
            self._list_soon()
            return
        self._wait(call)
