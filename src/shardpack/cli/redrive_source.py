"""Where `redrive` takes dead letters from, which of them, and what they are given to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from ..dead_letters import DeadLetter, SQLiteDeadLetters, Tally
from ..dead_letters.redriving import is_stream, selecting
from .outcome import BadInputError
from .parameters import moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..dead_letters import Drained, S3DeadLetters

S3 = "s3://"
KINESIS = "kinesis://"
HANDLER = "handler:"

NAMES = {"error": "error_code", "key": "partition_key", "shard": "shard_id", "handler": "handler"}
"""What --where takes beside ``stream``, and what it is of a letter."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are sent."""

    stream: str | None
    """Those of this one, or of all."""
    since: datetime | None
    where: dict[str, list[str]]

    @classmethod
    def of(cls, stream: str | None, origin: str | None, since: str | None, where: Sequence[str]) -> Wanted:
        """Read the values of --from, --since and --where."""
        conditions: dict[str, list[str]] = {}
        for condition in where:
            name, equals, value = condition.partition("=")
            if not equals or name not in {"stream", *NAMES}:
                raise BadInputError(
                    f"--where takes NAME=VALUE, NAME one of stream, {', '.join(NAMES)}; not {condition!r}"
                )
            conditions.setdefault(name, []).append(value)
        streams = {*conditions.pop("stream", []), *([] if origin is None else [origin])}
        if len(streams) > 1:
            raise BadInputError(f"--from and --where name one stream, not {len(streams)}")
        try:
            return cls(next(iter(streams), stream), None if since is None else moment(since), conditions)
        except ValueError:
            raise BadInputError(f"--since takes an ISO 8601 time or epoch seconds, not {since!r}") from None

    def holds(self, letter: DeadLetter) -> bool:
        """Whether what --where says is true of a letter: of every name one of its values."""
        return all(getattr(letter, NAMES[name]) in values for name, values in self.where.items())


def check_source(given: str, via: str | None) -> None:
    """Raise ``BadInputError`` for what is no place of letters, before anything is made."""
    if given.startswith(KINESIS):
        if via is None:
            raise BadInputError(
                f"{given}: nothing can be removed from a stream: --via FILE is where its letters are moved to first"
            )
    elif via is not None:
        raise BadInputError(f"--via is for {KINESIS}STREAM, not for {given}")
    if given in {KINESIS, S3} or given.startswith(f"{S3}/"):
        raise BadInputError(f"{given}: names nothing")
    if not given.startswith((KINESIS, S3)) and not Path(given).exists():  # it would be made
        raise BadInputError(f"{given}: no such file; FROM is a file of dead letters, {S3}… or {KINESIS}…")


@contextmanager
def opened(
    given: str, via: str | None, clients: Callable[[str], Any], taken: Drained, stopping: Callable[[], bool]
) -> Iterator[SQLiteDeadLetters | S3DeadLetters]:
    """Have the letters of a place; those of a stream once they are in the file ``via``. ``clients`` makes clients."""
    if given.startswith(S3):
        from ..dead_letters import S3DeadLetters  # noqa: PLC0415 - it needs zstd

        bucket, _, prefix = given.removeprefix(S3).partition("/")
        yield S3DeadLetters(bucket, prefix, clients("s3"))
        return
    with SQLiteDeadLetters(given if via is None else via) as letters:
        if via is not None:
            _drain(clients("kinesis"), given.removeprefix(KINESIS), letters, taken, stopping)
        yield letters


def _drain(client: Any, stream: str, letters: SQLiteDeadLetters, taken: Drained, stopping: Callable[[], bool]) -> None:
    from ..consume.stream.reader import StreamReader  # noqa: PLC0415 (loads botocore, which help does without)
    from ..dead_letters import drain  # noqa: PLC0415
    from ..transport.boto3 import Boto3Transport  # noqa: PLC0415

    arn = Boto3Transport(client, stream).describe().stream_arn  # whatever it is called
    start = {shard_id: str(number) for shard_id, (number, _) in letters.positions(arn).items()}
    with letters.alone(), StreamReader(stream, client=client, start=start, until="latest") as batches:

        def reads() -> Iterator[tuple[str, Any]]:
            for batch in batches:
                yield batch.shard_id, batch.records
                if stopping():
                    return

        drain(arn, reads(), letters, taken)


def tallies(letters: SQLiteDeadLetters | S3DeadLetters, wanted: Wanted) -> list[Tally]:
    """Count the letters that are there of those wanted, of whichever stream: the most first."""
    if isinstance(letters, SQLiteDeadLetters) and wanted.since is None and not wanted.where:
        return letters.tally()
    left_out = selecting(stream=None, since=wanted.since, where=wanted.holds)
    found: dict[tuple[str, str], Tally] = {}
    for _, letter in letters:
        if left_out(letter) is None:
            one = Tally(
                letter.stream,
                letter.error_code,
                1,
                len(letter.data),
                int(letter.maybe_stored),
                letter.given_up_at,
                letter.given_up_at,
            )
            at = letter.stream, letter.error_code
            found[at] = _sum(found[at], one) if at in found else one
    return sorted(found.values(), key=lambda tally: (-tally.letters, tally.stream, tally.error_code))


def _sum(one: Tally, other: Tally) -> Tally:
    return Tally(
        one.stream,
        one.error_code,
        one.letters + other.letters,
        one.size + other.size,
        one.maybe_stored + other.maybe_stored,
        min(one.first_given_up_at, other.first_given_up_at),
        max(one.last_given_up_at, other.last_given_up_at),
    )


def count(letters: SQLiteDeadLetters | S3DeadLetters, wanted: Wanted) -> int:
    """Return how many letters there are of those wanted."""
    return of_stream(tallies(letters, wanted), wanted.stream)


def of_stream(there: list[Tally], stream: str | None) -> int:
    """Return how many letters are of this stream, or of any."""
    return sum(tally.letters for tally in there if stream is None or is_stream(tally.stream, stream))


def handler_named(name: str) -> Callable[[DeadLetter], object]:
    """Return the function that ``handler:MODULE:FUNCTION`` names; the module may be in the current folder."""
    module_name, _, path = name.removeprefix(HANDLER).partition(":")
    if not module_name or not path:
        raise BadInputError(f"{name}: a handler is {HANDLER}MODULE:FUNCTION")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # whatever a module does when it is imported
        raise BadInputError(f"{name}: {error}") from error
    if not callable(found):
        raise BadInputError(f"{name}: {path} is no function")
    handler: Callable[[DeadLetter], object] = found
    return handler
