"""Lines of JSON, each with its partition key."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .outcome import BadInputError

Line = tuple[int, int, bytes]
"""Its number, the byte of the input that it ends before, and what is in it."""


class BadLineError(BadInputError):
    """A line that cannot be a user record."""

    def __init__(self, line_number: int, reason: str, line: bytes = b"", *, cut: bool = False) -> None:
        super().__init__(f"line {line_number:,}: {reason}")
        self.line_number, self.reason, self.line = line_number, reason, line
        self.cut = cut
        """Whether ``line`` is only how it begins."""


class Lines:
    """Cuts chunks into lines; holds what came of the last one, up to ``max_bytes``.

    ``number`` and ``offset`` are those of the next line, its byte counted from 0; what came of it is held.
    """

    def __init__(self, max_bytes: int, number: int = 1, offset: int = 0) -> None:
        self._max_bytes = max_bytes
        self._held: list[bytes] = []
        self._held_size = 0
        self._dropped: int | None = None  # bytes of an endless line that is passed over
        self.number, self.offset = number, offset

    def feed(self, chunk: bytes) -> list[Line]:
        """Return the lines that ``chunk`` ends. What an endless one brings is for ``check`` to refuse."""
        if self._dropped is not None:
            end, newline, chunk = chunk.partition(b"\n")
            self._dropped += len(end) + len(newline)
            if not newline:
                return []
            self._pass_over_dropped(self._dropped)
        head, newline, rest = chunk.rpartition(b"\n")
        if not newline:
            self._hold(chunk)
            return []
        ended = b"".join([*self._held, head]).split(b"\n")
        self._held, self._held_size = [], 0
        self._hold(rest)
        return self._number(ended, 1)

    def finish(self) -> list[Line]:
        """Return the last line, when no newline ended it."""
        if self._dropped is not None:
            self._pass_over_dropped(self._dropped)
        last, self._held, self._held_size = b"".join(self._held), [], 0
        return self._number([last], 0) if last else []

    def check(self) -> None:
        """Raise ``BadLineError`` once an unfinished line is longer than a record may be; the rest of it is dropped."""
        if self._held_size > self._max_bytes:
            begun = b"".join(self._held)
            self._dropped, self._held, self._held_size = len(begun), [], 0
            raise BadLineError(self.number, longer_than(self._max_bytes), begun, cut=True)

    def _hold(self, chunk: bytes) -> None:
        if chunk:
            self._held.append(chunk)
            self._held_size += len(chunk)

    def _pass_over_dropped(self, size: int) -> None:
        self.number, self.offset, self._dropped = self.number + 1, self.offset + size, None

    def _number(self, lines: list[bytes], newline: int) -> list[Line]:
        numbered: list[Line] = []
        offset = self.offset
        for number, line in enumerate(lines, self.number):
            # a byte order mark, which files of several can have in between, is no part of the JSON
            data = line.removeprefix(codecs.BOM_UTF8).removesuffix(b"\r")
            offset += len(line) + newline
            if data and not data.isspace():
                numbered.append((number, offset, data))
        self.number += len(lines)
        self.offset = offset
        return numbered


def longer_than(max_bytes: int) -> str:
    return f"longer than the stream's record limit of {max_bytes:,} bytes"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# numbers keep the text they have in the JSON: as keys they are what was written
_decode = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant).decode


@dataclass(frozen=True, slots=True)
class KeyFields:
    """Which fields of an event are its partition key and its explicit hash key.

    ``a.b`` is the field ``b`` of the object ``a``, unless there is a field of that whole name. Without ``key`` events
    have no partition key; then lines need not be JSON.
    """

    key: str | None
    default_key: str | None = None
    explicit_hash_key: str | None = None

    def of(self, line_number: int, line: bytes) -> tuple[str | None, str | None]:
        """Return partition key and explicit hash key of a line. Raises ``BadLineError``."""
        if self.key is None:
            return None, None
        try:
            event = _decode(line.decode())
        except UnicodeDecodeError as error:
            if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise BadLineError(line_number, "not JSON: this is UTF-16, where UTF-8 is needed", line) from None
            raise BadLineError(line_number, f"not JSON: {error}", line) from None
        except json.JSONDecodeError as error:
            raise BadLineError(line_number, f"not JSON: {error.msg} at column {error.colno}", line) from None
        except (ValueError, RecursionError) as error:
            raise BadLineError(line_number, f"not JSON: {error}", line) from None
        if not isinstance(event, dict):
            raise BadLineError(line_number, "not a JSON object", line)
        try:
            key = _text(event, self.key)
            explicit = None if self.explicit_hash_key is None else _text(event, self.explicit_hash_key)
        except ValueError as error:
            raise BadLineError(line_number, str(error), line) from None
        if key is None:
            key = self.default_key
        if key is None:
            raise BadLineError(line_number, f"no value in the field {self.key!r}, and no --default-key given", line)
        return key, explicit


def _text(event: dict[str, Any], field_name: str) -> str | None:
    value = event.get(field_name)
    if value is None and "." in field_name and field_name not in event:
        value = event
        for name in field_name.split("."):
            value = value.get(name) if isinstance(value, dict) else None
    if value is None or isinstance(value, str):
        return value
    kind = {bool: "true or false", list: "an array", dict: "an object"}[type(value)]
    raise ValueError(f"the field {field_name!r} is {kind}, neither a string nor a number")


@dataclass(slots=True)
class Events:
    """Lines that are user records, as columns."""

    numbers: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    """The byte of the input that each line ends before."""
    keys: list[str | None] = field(default_factory=list)
    datas: list[bytes] = field(default_factory=list)
    explicit_hash_keys: list[str | None] = field(default_factory=list)

    def take(self, lines: Iterator[Line], fields: KeyFields) -> None:
        """Append lines up to the first bad one, which is taken off too. Raises its ``BadLineError``."""
        for number, end, line in lines:
            key, explicit_hash_key = fields.of(number, line)
            self.numbers.append(number)
            self.ends.append(end)
            self.keys.append(key)
            self.datas.append(line)
            self.explicit_hash_keys.append(explicit_hash_key)
