"""Lines of JSON, each with its partition key."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .outcome import BadInputError


class BadLineError(BadInputError):
    """A line that cannot be a user record."""

    def __init__(self, line_number: int, reason: str) -> None:
        super().__init__(f"line {line_number:,}: {reason}")


class Lines:
    """Cuts chunks into lines; holds what came of the last one, up to ``max_bytes``."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: list[bytes] = []
        self._held_size = 0
        self._next_number = 1

    def feed(self, chunk: bytes) -> list[tuple[int, bytes]]:
        """Return the lines that ``chunk`` ends, with their numbers. An endless one is left to ``held_too_much``."""
        head, newline, rest = chunk.rpartition(b"\n")
        if not newline:
            self._hold(chunk)
            return []
        ended = b"".join([*self._held, head])
        self._held, self._held_size = [], 0
        self._hold(rest)
        return self._number(ended.split(b"\n"))

    def finish(self) -> list[tuple[int, bytes]]:
        """Return the last line, when no newline ended it."""
        last, self._held, self._held_size = b"".join(self._held), [], 0
        return self._number([last])

    def check(self) -> None:
        """Raise ``BadLineError`` once an unfinished line is longer than a record may be."""
        if self._held_size > self._max_bytes:
            raise BadLineError(self._next_number, f"longer than the stream's record limit of {self._max_bytes:,} bytes")

    def _hold(self, chunk: bytes) -> None:
        if chunk:
            self._held.append(chunk)
            self._held_size += len(chunk)

    def _number(self, lines: list[bytes]) -> list[tuple[int, bytes]]:
        first, self._next_number = self._next_number, self._next_number + len(lines)
        # a byte order mark, which files of several can have in between, is no part of the JSON
        numbered = enumerate((line.removeprefix(codecs.BOM_UTF8).removesuffix(b"\r") for line in lines), first)
        return [(number, line) for number, line in numbered if line and not line.isspace()]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# numbers keep the text they have in the JSON: as keys they are what was written
_decode = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant).decode


@dataclass(frozen=True, slots=True)
class KeyFields:
    """Which fields of an event are its partition key and its explicit hash key."""

    key: str
    default_key: str | None = None
    explicit_hash_key: str | None = None

    def of(self, line_number: int, line: bytes) -> tuple[str, str | None]:
        """Return partition key and explicit hash key of a line. Raises ``BadLineError``."""
        try:
            event = _decode(line.decode())
        except UnicodeDecodeError as error:
            if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise BadLineError(line_number, "not JSON: this is UTF-16, where UTF-8 is needed") from None
            raise BadLineError(line_number, f"not JSON: {error}") from None
        except json.JSONDecodeError as error:
            raise BadLineError(line_number, f"not JSON: {error.msg} at column {error.colno}") from None
        except (ValueError, RecursionError) as error:
            raise BadLineError(line_number, f"not JSON: {error}") from None
        if not isinstance(event, dict):
            raise BadLineError(line_number, "not a JSON object")
        key = self._text(line_number, event, self.key)
        if key is None:
            key = self.default_key
        if key is None:
            raise BadLineError(line_number, f"no value in the field {self.key!r}, and no --default-key given")
        if self.explicit_hash_key is None:
            return key, None
        return key, self._text(line_number, event, self.explicit_hash_key)

    @staticmethod
    def _text(line_number: int, event: dict[str, Any], field: str) -> str | None:
        value = event.get(field)
        if value is None or isinstance(value, str):
            return value
        kind = {bool: "true or false", list: "an array", dict: "an object"}[type(value)]
        raise BadLineError(line_number, f"the field {field!r} is {kind}, neither a string nor a number")


def keys_of(
    lines: Iterable[tuple[int, bytes]], fields: KeyFields
) -> tuple[list[int], list[str], list[bytes], list[str | None], BadLineError | None]:
    """Return line numbers, partition keys, data and explicit hash keys up to the first bad line, and its error."""
    numbers: list[int] = []
    keys: list[str] = []
    datas: list[bytes] = []
    explicit_hash_keys: list[str | None] = []
    for number, line in lines:
        try:
            key, explicit_hash_key = fields.of(number, line)
        except BadLineError as error:
            return numbers, keys, datas, explicit_hash_keys, error
        numbers.append(number)
        keys.append(key)
        datas.append(line)
        explicit_hash_keys.append(explicit_hash_key)
    return numbers, keys, datas, explicit_hash_keys, None
