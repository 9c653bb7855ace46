"""When a Kinesis record arrived, of whatever its shape, a test event or a JSON file says about that."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

LEAST_MILLISECONDS = 100_000_000_000
"""A number from this one on is milliseconds, since March 1973; a smaller one is seconds, up to the year 5138."""


def arrival_time(arrived: Any) -> datetime | None:
    """Return an aware ``datetime``, or ``None`` for what tells no time; nothing is raised.

    Takes ``datetime``, ISO 8601 text, and seconds or milliseconds since 1970: any number, or the text of one. A time
    without a zone is local time, as everywhere in Python.
    """
    try:
        if isinstance(arrived, datetime):
            moment = arrived
        else:
            moment = _since_1970(arrived) or datetime.fromisoformat(_iso_format(arrived))
        return moment if moment.utcoffset() is not None else moment.astimezone()
    except Exception:  # noqa: BLE001 - a record is not lost for a time that its sender got wrong
        return None


def _since_1970(arrived: Any) -> datetime | None:
    """Return the time that a number means; ``None`` for what is no number."""
    if isinstance(arrived, bool):
        return None
    try:
        number = float(arrived)
    except (TypeError, ValueError):
        return None
    unit = timedelta(milliseconds=1) if abs(number) >= LEAST_MILLISECONDS else timedelta(seconds=1)
    return EPOCH + number * unit


def _iso_format(text: str) -> str:
    """Return ISO 8601 text as Python 3.10 reads it: with six digits of a second's fraction, and no Z."""
    text = text.strip()
    if text[-1:] in {"Z", "z"}:
        text = text[:-1] + "+00:00"
    head, dot, rest = text.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return f"{head}.{rest[:digits][:6]:0<6}{rest[digits:]}" if dot else text
