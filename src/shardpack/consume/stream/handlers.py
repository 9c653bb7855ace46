"""Handlers of batches: what counts as handled, what follows when one raises, which user record it was."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ...dead_letters import DeadLetter, DeadLetterSink
from ...errors import ShardpackError, abridged
from ..handling import check_handler, refuse_what_runs_later
from .batch import StreamBatch
from .schedule import logger

if TYPE_CHECKING:
    from ..._native.deaggregate import UserRecord
    from .reader import StreamReader

MOST_OF_A_MESSAGE = 1000

Handler: TypeAlias = Callable[[StreamBatch], object]


class HandlerError(ShardpackError):
    """A handler failed, or the sink of its dead letters; ``__cause__`` is what was raised.

    ``shard_id``, ``sequence_number`` and ``sub_sequence_number`` are those of the first user record that is not
    handled, ``handler`` is the name that ``fan_out`` was given.
    """

    def __init__(self, what: str, handler: str | None, shard_id: str, record: UserRecord, error: Exception) -> None:
        self.handler = handler
        self.shard_id = shard_id
        self.sequence_number: str = record.sequence_number or ""
        self.sub_sequence_number: int = record.sub_sequence_number
        super().__init__(
            f"{what} failed at {shard_id}, {self.sequence_number}/{self.sub_sequence_number}: "
            f"{type(error).__name__}: {str(error)[:MOST_OF_A_MESSAGE]}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self.args, self.__dict__)


def _unpickled(args: tuple[Any, ...], attributes: dict[str, Any]) -> HandlerError:
    error = HandlerError.__new__(HandlerError, *args)
    error.__dict__.update(attributes)
    return error


@dataclass(frozen=True, slots=True)
class DeadLetterPoison:
    """What follows when a handler raises: it is tried again, then the user records that fail are found and put aside.

    A batch is tried ``attempts`` times, after pauses of ``backoff_s`` seconds, twice as long each time up to
    ``max_backoff_s``, with jitter. Then it is halved, and each half that fails, until single user records are left;
    such a one is tried ``attempts`` times again before ``sink`` gets it. What precedes it is handled, and its
    checkpoint kept, before what follows is tried. So the handler gets each user record of a failing batch again, as a
    part of it: what it did of a batch before it raised should do no harm twice.

    Errors in ``outages`` are nobody's fault: what raised them is tried again, however often, and never halved. A sink
    that raises stops the handler with ``HandlerError``; nothing is passed over.
    """

    sink: DeadLetterSink
    _: KW_ONLY
    attempts: int = 3
    backoff_s: float = 0.5
    max_backoff_s: float = 10.0
    outages: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        if not callable(getattr(self.sink, "put", None)):
            raise TypeError(f"a sink of dead letters has put(letters), {abridged(self.sink)} has not")
        if self.attempts < 1:
            raise ValueError(f"attempts of {self.attempts} is less than 1")
        if not 0 <= self.backoff_s <= self.max_backoff_s:
            raise ValueError(f"backoff_s of {self.backoff_s} is not in 0 … max_backoff_s, {self.max_backoff_s}")
        for kind in self.outages:
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                raise TypeError(f"outages are classes of exceptions, not {abridged(kind)}")

    def pause_s(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row, with jitter."""
        longest = min(self.max_backoff_s, self.backoff_s * 2.0 ** min(failures - 1, 60))
        return random.uniform(longest / 2, longest)


OnError: TypeAlias = Literal["stop"] | DeadLetterPoison


def check_policy(on_error: object) -> None:
    """Raise ``ValueError`` for what is no policy."""
    if on_error != "stop" and not isinstance(on_error, DeadLetterPoison):
        raise ValueError(f'on_error is "stop" or a DeadLetterPoison, not {abridged(on_error)}')


class _StoppedError(Exception):
    """The reading ended while a batch was to be tried again."""


class Handling:
    """A handler at work on the batches of a reader, in the thread that calls ``run``."""

    def __init__(self, reader: StreamReader, handler: Handler, on_error: OnError, name: str | None = None) -> None:
        check_handler(handler, "a StreamBatch")
        check_policy(on_error)
        self._reader = reader
        self._handler = handler
        self._on_error = on_error
        self._name = name
        self._what = "the handler" if name is None else f"handler {name!r}"
        self.in_hand: StreamBatch | None = None
        self.dead_letters = 0

    def run(self) -> None:
        """Handle every batch, until there are no more or the reader is stopped."""
        for batch in self._reader:
            self.in_hand = batch
            try:
                self._handle(batch)
            except _StoppedError:
                self._reader._raise_error()  # noqa: SLF001 - that is what ended it, or else stop did
                return
            self.in_hand = None
            del batch  # the next one is waited for without it

    def _handle(self, batch: StreamBatch) -> None:
        policy = self._on_error
        if policy == "stop":
            error = self._attempt(batch)
            if error is not None and len(batch):
                raise HandlerError(self._what, self._name, batch.shard_id, batch.records[0], error) from error
            batch.checkpoint()
            return
        parts = [batch]
        while parts:
            part = parts.pop()
            alone = part is not batch and len(part) == 1
            error = self._attempts(part, policy, policy.attempts if part is batch or alone else 1)
            size = 0 if error is None else len(part)
            if error is None or size == 0:  # an empty batch has nothing that could fail
                part.checkpoint()
            elif size == 1:
                self._put_aside(part, policy, error)
                part.checkpoint()
            else:
                parts += [part[size // 2 :], part[: size // 2]]

    def _attempt(self, batch: StreamBatch) -> Exception | None:
        try:
            refuse_what_runs_later(self._handler(batch))
        except Exception as error:  # noqa: BLE001 - whatever it is, the batch is not handled
            return error
        return None

    def _attempts(self, batch: StreamBatch, policy: DeadLetterPoison, attempts: int) -> Exception | None:
        failures = counted = 0
        while (error := self._attempt(batch)) is not None:
            failures += 1
            outage = isinstance(error, policy.outages)
            counted += not outage
            if counted >= attempts:
                break
            logger.info("%s: %s of %s failed: %r", self._reader.stream, self._what, batch.shard_id, error)
            if not self._reader._pause(policy.pause_s(failures)):  # noqa: SLF001
                raise _StoppedError
        return error

    def _put_aside(self, batch: StreamBatch, policy: DeadLetterPoison, error: Exception) -> None:
        [record] = batch.records
        letter = self._letter_of(batch.shard_id, record, error, policy.attempts)
        try:
            policy.sink.put([letter])
        except Exception as refusal:
            what = f"the sink of dead letters of {self._what}"
            raise HandlerError(what, self._name, batch.shard_id, record, refusal) from refusal
        self.dead_letters += 1
        logger.warning(
            "%s: %s gave up a user record of %s, %s/%d: %r",
            self._reader.stream,
            self._what,
            batch.shard_id,
            record.sequence_number,
            record.sub_sequence_number,
            error,
        )

    def _letter_of(self, shard_id: str, record: UserRecord, error: Exception, attempts: int) -> DeadLetter:
        now = time.time()
        arrived = record.approximate_arrival_timestamp
        return DeadLetter(
            stream=self._reader.stream,
            partition_key=record.partition_key,
            data=record.data,
            explicit_hash_key=None if record.explicit_hash_key is None else int(record.explicit_hash_key),
            error_code=type(error).__name__,
            message=str(error)[:MOST_OF_A_MESSAGE],
            maybe_stored=False,
            put_at=now if arrived is None else arrived.timestamp(),
            given_up_at=now,
            attempts=attempts,
            shard_id=shard_id,
            sequence_number=record.sequence_number,
            sub_sequence_number=record.sub_sequence_number,
            handler=self._name,
        )


class OneAtATime:
    """A sink that several threads give letters to, which is called by one at a time."""

    def __init__(self, sink: DeadLetterSink) -> None:
        self._sink = sink
        self._lock = threading.Lock()

    def put(self, letters: Any) -> None:
        """Keep these."""
        with self._lock:
            self._sink.put(letters)
