"""Send dead letters again, in order, and drop each only when it is stored."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from time import time
from typing import Generic, Literal

from ..errors import DeliveryError, abridged
from ..limits import MIB, whole_number
from ..transport import Failed, Stored
from .letter import DeadLetter, DeadLetterStore, Id

Outcome = bool | Stored | Failed | DeliveryError
"""What became of one letter: ``True`` or ``Stored`` is stored; ``False``, ``Failed`` or a receipt's error is not."""

MAX_HOLDING_BACK = 100_000
"""How many keys may have a letter that was not stored, before the redrive ends: what is kept in mind is bounded."""

MAX_LETTERS = 4000
"""Of a batch, unless ``redrive`` is told otherwise: an interrupt waits for its end, and a kill repeats it."""

MAX_REFUSALS = 20
"""How many letters that were not stored a result names."""


def one_by_one(handle: Callable[[DeadLetter], object]) -> Callable[[Sequence[DeadLetter]], Iterator[Outcome]]:
    """Return a ``send`` for ``redrive`` that gives letters to a function: one is done with when it returns.

    An exception is the letter's new reason: its type is the error code. Later letters of its key are not handled then.
    Nothing is done yet where the function is async or a generator: a ``TypeError`` for each letter.
    """

    def send(letters: Sequence[DeadLetter]) -> Iterator[Outcome]:
        failed: set[tuple[str, str]] = set()
        for letter in letters:
            key = letter.partition_key
            if key is not None and (letter.stream, key) in failed:
                yield False
                continue
            try:
                _check_done(handle(letter))
            except Exception as error:  # noqa: BLE001 - whatever a handler raises is told
                if key is not None:
                    failed.add((letter.stream, key))
                yield Failed(type(error).__name__, str(error))
            else:
                yield True

    return send


@dataclass(frozen=True, slots=True)
class Refusal:
    """A letter that was not stored, and why, where ``send`` said so."""

    id: int | str
    partition_key: str | None
    error_code: str
    message: str


@dataclass(slots=True)
class Redriven:
    """What a redrive has done so far. Counts letters."""

    stored: int = 0
    """Stored, and dropped from where it was kept."""
    stored_maybe_again: int = 0
    """Of these, how many may have been in the stream before."""
    not_stored: int = 0
    """Sent and not stored, the first of their keys: left."""
    held_back: int = 0
    """Neither sent nor stored after an earlier one of their key was not stored: left."""
    skipped: int = 0
    """Not sent, because they may be in the stream and ``skip_maybe_stored`` was asked for: left."""
    other_streams: int = 0
    """Not looked at, because they are another stream's: left."""
    not_selected: int = 0
    """Not looked at, because they are older than ``since``, or ``where`` does not want them: left."""
    out_of_order: int = 0
    """Stored although an earlier one of their key was not: ``send`` does not keep the order inside its batch."""
    ended_early: bool = False
    """Whether it ended before it came to every letter."""
    refusals: list[Refusal] = field(default_factory=list)
    """The first letters that were not stored."""


def redrive(
    letters: DeadLetterStore[Id],
    send: Callable[[Sequence[DeadLetter]], Iterable[Outcome]],
    *,
    stream: str | None = None,
    since: float | datetime | None = None,
    where: Callable[[DeadLetter], bool] | None = None,
    hold_back: Literal["key", "all"] = "key",
    skip_maybe_stored: bool = False,
    max_letters: int = MAX_LETTERS,
    max_bytes: int = 4 * MIB,
    on_progress: Callable[[Redriven], None] = lambda _: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Redriven:
    """Send the letters that are there now, in order, through ``send``, and drop those that it stored.

    ``send`` is given up to ``max_letters`` with up to ``max_bytes`` of data (a larger one goes alone) and returns an
    outcome for each, by position; as an iterator it may raise after the first outcomes, which count. It keeps the order
    of its batch: once it has not stored one, it stores no later one of that key. One that cannot do so is given one
    letter at a time, ``max_letters=1``.

    ``stream``, a name or ARN, takes that stream's letters only; ``since``, epoch seconds or an aware time, those given
    up then or later; ``where`` those that it is true of. What is left out so holds nothing back: take all of a key, or
    its order goes. A letter that is not stored holds back the later ones
    of its stream and key, or with ``hold_back="all"`` all later ones; letters without a key have no order. It stays
    with the reason that ``send`` gave, marked where it may be stored now. ``on_progress`` gets the counts after each
    batch, the same object every time. ``stopping`` ends the redrive before the next batch.

    At least once: whatever interrupts it, a letter is dropped only after it was stored, and the next redrive goes on
    with the rest. One that was stored and not yet dropped is then sent again. Memory is bounded, however many letters
    there are.

    Raises ``DeadLetterError`` while another redrive of the file or prefix is under way, ``ValueError`` when ``send``
    gives more or fewer outcomes than letters, and for a time without a zone, ``TypeError`` for what is no outcome, and
    what ``send`` raises.
    """
    if hold_back not in ("key", "all"):
        raise ValueError(f"hold_back is 'key' or 'all', not {abridged(hold_back)}")
    for name, most in (("max_letters", max_letters), ("max_bytes", max_bytes)):
        if whole_number(name, most) < 1:
            raise ValueError(f"{name} of {most} is less than 1")
    run = _Run(letters, send, on_progress)
    wanted = selecting(stream=stream, since=since, where=where)
    batch: list[tuple[Id, DeadLetter]] = []
    size = 0
    with letters.alone():
        for number, letter in letters:
            if batch and (len(batch) >= max_letters or size + len(letter.data) > max_bytes):
                if stopping() or not run.settle(batch, hold_back):
                    run.done.ended_early = True
                    return run.done
                batch, size = [], 0
            # looked at now that all before the batch that it joins have their outcomes
            if run.wants(letter, wanted, skip_maybe_stored=skip_maybe_stored):
                batch.append((number, letter))
                size += len(letter.data)
        if batch:
            if stopping():
                run.done.ended_early = True
            else:
                run.settle(batch, hold_back)
    return run.done


def selecting(
    *, stream: str | None, since: float | datetime | None, where: Callable[[DeadLetter], bool] | None
) -> Callable[[DeadLetter], Literal["other_streams", "not_selected"] | None]:
    """Return what says as what a letter is left out, or ``None``."""
    if isinstance(since, datetime):
        if since.tzinfo is None:
            raise ValueError(f"since is an aware time, with a zone, not {since}")
        since = since.timestamp()

    def left_out(letter: DeadLetter) -> Literal["other_streams", "not_selected"] | None:
        if stream is not None and not is_stream(letter.stream, stream):
            return "other_streams"
        if (since is not None and letter.given_up_at < since) or (where is not None and not where(letter)):
            return "not_selected"
        return None

    return left_out


def is_stream(one: str, other: str) -> bool:
    """Whether two names or ARNs may be those of one stream: of a name and an ARN, whether the ARN ends in it."""
    if one.startswith("arn:") == other.startswith("arn:"):
        return one == other
    return one.rpartition("/")[2] == other.rpartition("/")[2]


@dataclass(slots=True)
class _Run(Generic[Id]):
    """One redrive: what it has done, and the keys that wait for a letter that was not stored."""

    letters: DeadLetterStore[Id]
    send: Callable[[Sequence[DeadLetter]], Iterable[Outcome]]
    on_progress: Callable[[Redriven], None]
    done: Redriven = field(default_factory=Redriven)
    holding_back: set[int] = field(default_factory=set)

    def wants(
        self,
        letter: DeadLetter,
        left_out: Callable[[DeadLetter], Literal["other_streams", "not_selected"] | None],
        *,
        skip_maybe_stored: bool,
    ) -> bool:
        """Whether to send a letter; counts those that are not."""
        if reason := left_out(letter):
            setattr(self.done, reason, getattr(self.done, reason) + 1)
        elif self._waits(letter):
            self.done.held_back += 1
        elif skip_maybe_stored and letter.maybe_stored:
            self.done.skipped += 1
        else:
            return True
        return False

    def settle(self, batch: list[tuple[Id, DeadLetter]], hold_back: str) -> bool:
        """Send a batch, drop what is stored of it, and count; return whether to go on.

        What has an outcome is settled, whatever is raised then.
        """
        stored: list[tuple[Id, DeadLetter]] = []
        failed: list[tuple[Id, DeadLetter]] = []
        try:
            outcomes = iter(self.send([letter for _, letter in batch]))
            for given, (number, letter) in enumerate(batch):
                try:
                    outcome = next(outcomes)
                except StopIteration:
                    raise ValueError(f"send gave {given:,} outcomes for {len(batch):,} letters") from None
                if _is_stored(outcome):
                    stored.append((number, letter))
                    self.done.out_of_order += self._waits(letter)
                    continue
                self._refuse(number, letter, outcome)
                if isinstance(outcome, (Failed, DeliveryError)):
                    failed.append((number, _failed_again(letter, outcome)))
            for _ in outcomes:
                raise ValueError(f"send gave more outcomes than the {len(batch):,} letters of its batch")
        finally:
            self.letters.remove(number for number, _ in stored)
            self.done.stored += len(stored)
            self.done.stored_maybe_again += sum(letter.maybe_stored for _, letter in stored)
            self.letters.replace(failed)
            self.on_progress(self.done)
        return len(self.holding_back) <= MAX_HOLDING_BACK and not (self.done.not_stored and hold_back == "all")

    def _refuse(self, number: Id, letter: DeadLetter, outcome: Outcome) -> None:
        if self._waits(letter):
            self.done.held_back += 1
            return
        self.done.not_stored += 1
        if letter.partition_key is not None:
            self.holding_back.add(_key(letter))
        if len(self.done.refusals) < MAX_REFUSALS:
            self.done.refusals.append(Refusal(number, letter.partition_key, *_reason(outcome)))

    def _waits(self, letter: DeadLetter) -> bool:
        return letter.partition_key is not None and _key(letter) in self.holding_back


def _check_done(returned: object) -> None:
    if isinstance(returned, (Awaitable, AsyncGenerator, Generator)):
        raise TypeError(f"the handler returned a {type(returned).__name__}, which nobody runs")


def _is_stored(outcome: Outcome) -> bool:
    if isinstance(outcome, (bool, Stored, Failed, DeliveryError)):  # nothing else: whatever it is, it is true
        return outcome is True or isinstance(outcome, Stored)
    raise TypeError(f"an outcome is a bool, Stored, Failed or DeliveryError, not {abridged(outcome)}")


def _reason(outcome: Outcome) -> tuple[str, str]:
    """Return error code and message, empty where there are none."""
    if isinstance(outcome, DeliveryError):
        return outcome.error_code, str(outcome)
    return (outcome.error_code, outcome.message) if isinstance(outcome, Failed) else ("", "")


def _failed_again(letter: DeadLetter, outcome: Failed | DeliveryError) -> DeadLetter:
    error_code, message = _reason(outcome)
    unanswered, calls = (
        (outcome.maybe_stored, len(outcome.attempts)) if isinstance(outcome, DeliveryError) else (False, 1)
    )
    return replace(
        letter,
        error_code=error_code,
        message=message,
        maybe_stored=letter.maybe_stored or unanswered,
        given_up_at=time(),
        attempts=letter.attempts + calls,
    )


def _key(letter: DeadLetter) -> int:
    """What stands for stream and key. Two that share it, which is rare, hold each other back in this process only."""
    return hash((letter.stream, letter.partition_key))
