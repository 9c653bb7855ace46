"""What a letter is outside SQLite: a JSON object of its fields, those that say nothing left out, and its data.

An explicit hash key is decimal text. A text that is not UTF-8, with lone surrogates in it, is an object
``{"base64": …}`` of its WTF-8 bytes.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from uuid import uuid4

from ...errors import abridged
from ..letter import DeadLetter

NAMES = tuple(field.name for field in fields(DeadLetter) if field.name != "data")


def fields_of(letter: DeadLetter) -> dict[str, Any]:
    """Return the fields of a letter, its data not among them, as JSON has them."""
    found: dict[str, Any] = {name: _written(getattr(letter, name)) for name in NAMES}
    if letter.explicit_hash_key is not None:
        found["explicit_hash_key"] = str(letter.explicit_hash_key)
    return {name: value for name, value in found.items() if value is not None and value is not False}


def letter_of(given: object, data: bytes) -> DeadLetter:
    """Return the letter of such fields, others among them or not. Raises ``ValueError`` for what is none."""
    if not isinstance(given, Mapping):
        raise ValueError(f"the fields of a letter are an object, not {abridged(given)}")  # noqa: TRY004 - what is read
    found: dict[str, Any] = {"partition_key": None, "explicit_hash_key": None, "maybe_stored": False}
    found |= {name: _read(given[name]) for name in NAMES if name in given}
    try:
        if found["explicit_hash_key"] is not None:
            found["explicit_hash_key"] = int(found["explicit_hash_key"])
        return DeadLetter(data=data, **found)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _written(value: object) -> object:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return {"base64": b64encode(value.encode(errors="surrogatepass")).decode()}
    return value


def _read(value: object) -> object:
    if isinstance(value, Mapping):
        return b64decode(str(value.get("base64")), validate=True).decode(errors="surrogatepass")
    return value


# --- as a record of a stream ---

MAGIC = b"SPDL\x01"
"""What every record begins with, and the version of what follows."""

WHOLE = MAGIC + b"\x00"
"""Then: the length of the fields in 4 bytes, big endian, the fields as JSON, the data."""

PART = MAGIC + b"\x01"
"""Then: 16 bytes that name the letter, which part this is and of how many, 2 bytes each, that piece of the whole."""

PART_BYTES = len(PART) + 20

MOST_PARTS = 64
"""Of a letter. One of 10 MiB has eleven in a stream whose records have 1 MiB."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a letter that is too large for one record."""

    letter: bytes
    part: int
    parts: int
    content: bytes


def wrap(letter: DeadLetter) -> bytes:
    """Return a letter as one record: a header with its fields, and its data."""
    header = json.dumps(fields_of(letter), ensure_ascii=False, separators=(",", ":")).encode()
    return b"".join((WHOLE, len(header).to_bytes(4, "big"), header, letter.data))


def cut(whole: bytes, most: int) -> list[bytes]:
    """Return what ``wrap`` made as records of at most so many bytes. Raises ``ValueError`` beyond ``MOST_PARTS``."""
    if len(whole) <= most:
        return [whole]
    room = max(most - PART_BYTES, 1)
    parts = -(-len(whole) // room)
    if parts > MOST_PARTS:
        raise ValueError(f"{len(whole):,} bytes with its header are {parts:,} records, more than {MOST_PARTS}")
    start = PART + uuid4().bytes
    return [
        b"".join((start, part.to_bytes(2, "big"), parts.to_bytes(2, "big"), whole[part * room : (part + 1) * room]))
        for part in range(parts)
    ]


def unwrap(data: bytes) -> DeadLetter | Part:
    """Return what such a record holds. Raises ``ValueError`` for what is none."""
    if data.startswith(PART) and len(data) >= PART_BYTES:
        at = len(PART) + 16
        part, parts = int.from_bytes(data[at : at + 2], "big"), int.from_bytes(data[at + 2 : at + 4], "big")
        if part < parts <= MOST_PARTS:
            return Part(data[len(PART) : at], part, parts, data[PART_BYTES:])
    if not data.startswith(WHOLE):
        raise ValueError("no dead letter")
    start = len(WHOLE) + 4
    end = start + int.from_bytes(data[len(WHOLE) : start], "big")
    if end > len(data):
        raise ValueError("a dead letter that is cut off")
    return letter_of(loaded(data[start:end]), data[end:])


def loaded(text: bytes) -> Any:
    """Return what JSON says. Raises ``ValueError``, whatever is wrong with it."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
