"""Lines of JSON into a stream, as put and demo send them."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import InvalidRecordError
from ..producer.delivery import Delivery
from .ndjson import BadLineError, KeyFields, Lines, keys_of
from .outcome import BadInputError
from .source import Source

LONGEST_WAIT_SECONDS = 0.1
"""How long a wait for input may keep us from noticing that we are to stop."""


def put_lines(
    source: Source,
    fields: KeyFields,
    delivery: Delivery,
    *,
    linger_s: float = LONGEST_WAIT_SECONDS,
    max_lines: int | None = None,
    on_read: Callable[[], None] = lambda: None,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Deliver every line of ``source``; from a pipe, none waits longer than ``linger_s`` for others to share with.

    Memory stays bounded. Raises ``BadInputError`` (``BadLineError`` for a line) once all that precedes the bad input
    is stored. ``stopping`` ends the reading early; what was read is stored.
    """
    lines = Lines(delivery.limits.max_record_bytes)
    oldest: float | None = None  # when the first event came that is not sent yet
    left = max_lines
    try:
        while not stopping() and left != 0:
            wait = LONGEST_WAIT_SECONDS if oldest is None else oldest + linger_s - time.monotonic()
            chunk = source.read(min(max(wait, 0.0), LONGEST_WAIT_SECONDS))
            if chunk is not None:
                numbered = (lines.feed(chunk) if chunk else lines.finish())[:left]
                _add_lines(delivery, numbered, fields)
                lines.check()
                on_read()
                left = None if left is None else left - len(numbered)
                oldest = time.monotonic() if oldest is None else oldest
            if chunk == b"":
                break
            if source.live and oldest is not None and time.monotonic() - oldest >= linger_s:
                delivery.flush()
                oldest = None
    except BadInputError:
        delivery.flush()
        raise
    delivery.flush()


def _add_lines(delivery: Delivery, lines: list[tuple[int, bytes]], fields: KeyFields) -> None:
    """Deliver the events of numbered lines. Raises ``BadLineError`` for one that cannot be; those before it are."""
    numbers, keys, datas, explicit_hash_keys, bad = keys_of(lines, fields)
    given = explicit_hash_keys if fields.explicit_hash_key is not None else None
    try:
        delivery.add_many(keys, datas, given)
    except InvalidRecordError:  # nothing of them was taken: find the line
        for number, key, data, explicit_hash_key in zip(numbers, keys, datas, explicit_hash_keys, strict=True):
            try:
                delivery.add_many([key], [data], [explicit_hash_key])
            except InvalidRecordError as error:
                bad = BadLineError(number, str(error))
                break
    if bad is not None:
        raise bad
