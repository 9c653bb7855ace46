"""A dead letter: a user record that was given up, and what keeps it until somebody sends it again or drops it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ..errors import ShardpackError, abridged
from ..limits import whole_number


class DeadLetterError(ShardpackError):
    """Dead letters cannot be kept or read; the message names the file and why."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A user record that was given up, and why.

    ``stream`` is the stream's name or ARN. ``partition_key`` is ``None`` where none was given; bytes become the text
    that they are in UTF-8, what is no UTF-8 in it surrogates. ``data`` of other bytes-like types is copied.
    ``maybe_stored``: the reply was lost, so the record may be in the stream. Times are epoch seconds, ``attempts``
    counts how often it was sent, or handled.

    Of a record that a consumer gave up, ``shard_id``, ``sequence_number`` and ``sub_sequence_number`` say where in
    ``stream`` it is, ``handler`` which of several handlers failed, and ``put_at`` when it arrived.

    Raises ``TypeError`` or ``ValueError`` for what is none of these.
    """

    stream: str
    partition_key: str | None
    data: bytes
    explicit_hash_key: int | None
    error_code: str
    message: str
    maybe_stored: bool
    put_at: float
    given_up_at: float
    attempts: int
    shard_id: str | None = None
    sequence_number: str | None = None
    sub_sequence_number: int = 0
    handler: str | None = None

    def __post_init__(self) -> None:
        key: object = self.partition_key
        if isinstance(key, bytes):
            self._set("partition_key", key.decode(errors="surrogateescape"))
        elif key is not None:
            self._set("partition_key", _text("partition_key", key))
        for name in ("stream", "error_code", "message", "shard_id", "sequence_number", "handler"):
            text: object = getattr(self, name)
            if text is not None or name in {"stream", "error_code", "message"}:
                self._set(name, _text(name, text))
        if not isinstance(self.data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data is bytes, not {abridged(self.data)}")
        self._set("data", bytes(self.data))  # bytes are not copied
        if self.explicit_hash_key is not None:
            self._set("explicit_hash_key", _within("explicit_hash_key", self.explicit_hash_key, 2**128))
        for name in ("attempts", "sub_sequence_number"):
            self._set(name, _within(name, getattr(self, name), 2**63))
        self._set("maybe_stored", bool(self.maybe_stored))
        for name in ("put_at", "given_up_at"):
            seconds = float(getattr(self, name))
            if not math.isfinite(seconds):
                raise ValueError(f"{name} is epoch seconds, not {seconds}")
            self._set(name, seconds)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        place = [
            f"{name}={abridged(value)}"
            for name in ("shard_id", "sequence_number", "sub_sequence_number", "handler")
            if (value := getattr(self, name))
        ]
        return (
            f"DeadLetter(stream={abridged(self.stream)}, partition_key={abridged(self.partition_key, 40)}, "
            f"data={abridged(self.data, 40)}, explicit_hash_key={self.explicit_hash_key}, "
            f"error_code={abridged(self.error_code)}, message={abridged(self.message)}, "
            f"maybe_stored={self.maybe_stored}, put_at={self.put_at}, given_up_at={self.given_up_at}, "
            f"{', '.join([f'attempts={self.attempts}', *place])})"
        )


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is str, not {abridged(value)}")
    return str(value)


def _within(name: str, value: object, end: int) -> int:
    number = whole_number(name, value)
    if not 0 <= number < end:
        raise ValueError(f"{name} of {abridged(number)} is not in 0 … 2**{end.bit_length() - 1} - 1")
    return number


Id = TypeVar("Id", bound="int | str")
"""What names a letter where it is kept: a number in a file, text in a bucket."""


class DeadLetterSink(Protocol):
    """Where a producer or a consumer puts the user records that it gives up."""

    def put(self, letters: Sequence[DeadLetter]) -> None:
        """Keep these, in this order, after all that were put before; they are durable when it returns.

        It is called from one thread at a time, and no lock is held meanwhile. What it raises means that none of
        the letters is known to be kept.
        """
        ...


def check(letters: Sequence[object]) -> None:
    """Raise ``TypeError`` for what is no letter."""
    for letter in letters:
        if not isinstance(letter, DeadLetter):
            raise TypeError(f"DeadLetters are kept here, not {abridged(letter)}")


class DeadLetterStore(DeadLetterSink, Protocol[Id]):
    """Where ``redrive`` takes letters from: ``SQLiteDeadLetters`` and ``S3DeadLetters`` are such."""

    def __iter__(self) -> Iterator[tuple[Id, DeadLetter]]:
        """Give id and letter of all that are there now, those of a key in the order of putting."""
        ...

    def remove(self, ids: Iterable[Id]) -> int:
        """Drop these letters, durably, and return how many were still there."""
        ...

    def replace(self, letters: Iterable[tuple[Id, DeadLetter]]) -> int:
        """Keep these in the place of those with their ids, and return how many were still there."""
        ...

    def alone(self) -> AbstractContextManager[None]:
        """Keep other redrives out meanwhile, as far as that can be. Raises ``DeadLetterError`` while there is one."""
        ...


class CallbackDeadLetters:
    """A sink that gives letters to a function: a queue of your own, a table, a log.

    ``function`` gets the letters of one ``put``. They are kept when it returns; what it raises is the sink's error.
    """

    def __init__(self, function: Callable[[Sequence[DeadLetter]], object]) -> None:
        if not callable(function):
            raise TypeError(f"dead letters are given to a function, not {abridged(function)}")
        self._function = function

    def put(self, letters: Sequence[DeadLetter]) -> None:
        """Give the function these."""
        self._function(tuple(letters))
