"""Handlers of user records: which can be called at all, and which of what they were given failed.

What follows from a failure is for the source that the Kinesis records came from: a stream is read again from there, a
queue delivers that one again.
"""

from __future__ import annotations

from types import AsyncGeneratorType, CoroutineType, GeneratorType

from ..errors import abridged

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes longer to load than all of this: a function that starts cold goes without
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    from .._native.deaggregate import UserRecord

    OnFailure: TypeAlias = Callable[[UserRecord, int], None]
    """Is told the first user record that failed and how many did, while the handler's exception, if any, is known."""

_RUNS_LATER = 0x20 | 0x80 | 0x200
"""``inspect``'s CO_GENERATOR, CO_COROUTINE and CO_ASYNC_GENERATOR: it takes longer to load than all of this."""


def check_handler(handler: Any, takes: str) -> None:
    """Raise ``TypeError`` for what is no function, or one whose calls would handle nothing: async, or a generator."""
    if not callable(handler):
        raise TypeError(f"a handler is a function that takes {takes}, not {abridged(handler)}")
    if getattr(getattr(handler, "__code__", None), "co_flags", 0) & _RUNS_LATER:
        raise TypeError(f"{abridged(handler, 200)} is async or a generator: calling it handles nothing")


def first_failure(
    handler: Callable[..., Any], user_records: Sequence[UserRecord], on_failure: OnFailure, *arguments: Any
) -> int | None:
    """Handle user records one by one, in order, up to the first that fails; return its place."""
    for place, user_record in enumerate(user_records):
        try:
            refuse_what_runs_later(handler(user_record, *arguments))
        except Exception:  # noqa: BLE001 - whatever it is, this one is not handled
            on_failure(user_record, 1)
            return place
    return None


def failures_of_list(
    handler: Callable[..., Any], user_records: Sequence[UserRecord], on_failure: OnFailure, *arguments: Any
) -> Sequence[int]:
    """Handle a list of user records at once; return the places of those that failed, in order.

    The handler returns those, or ``None``. One that raises, or returns anything else, failed with all of them.
    """
    try:
        failed = _places(user_records, handler(list(user_records), *arguments))
    except Exception:  # noqa: BLE001 - whatever it is, none of these is handled
        on_failure(user_records[0], len(user_records))
        return range(len(user_records))
    if failed:
        on_failure(user_records[failed[0]], len(failed))
    return failed


def _places(user_records: Sequence[UserRecord], failed: list[UserRecord] | None) -> list[int]:
    if failed is None:
        return []
    places = {id(record): place for place, record in enumerate(user_records)}
    try:
        return sorted({places[id(record)] for record in failed})
    except (KeyError, TypeError):
        raise TypeError(f"expected None or the user records that failed, not {abridged(failed)}") from None


def refuse_what_runs_later(returned: Any) -> None:
    """Refuse what a handler returns that has not run: one behind a lambda, ``partial`` or another decorator.

    Its type tells, and not what can be asked of it: mocks and proxies have every attribute, and a cursor or a file that
    was returned by the way has done its work.
    """
    kind = type(returned)
    if hasattr(kind, "__await__") or issubclass(kind, (GeneratorType, AsyncGeneratorType)):
        if issubclass(kind, (CoroutineType, GeneratorType)):
            returned.close()  # else Python warns that nobody awaited it
        raise TypeError(f"the handler returned {abridged(returned)}, which has handled nothing yet")
