"""What ``inspect`` is given: Kinesis records, in whatever form they were saved or copied."""

from __future__ import annotations

import base64
import binascii
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from .._native.deaggregate import ReceivedRecord
from ..consume.dissection import MAGICS
from ..consume.shapes import CONTAINERS, Origin, decode_base64, names_of, received_records
from ..errors import abridged
from .outcome import BadInputError, os_error_text

MAX_INPUT_BYTES = 64 * 1024 * 1024
MAX_RECORDS = 500_000
"""Kinesis records of JSON. It bounds memory too: 64 MiB of JSON may hold millions of records of a byte each."""


class Form(str, Enum):
    """How Kinesis records are written down."""

    AUTO = "auto"
    RAW = "raw"
    BASE64 = "base64"
    HEX = "hex"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Inspected:
    """The Kinesis records that were given, and how: one by itself, or any number of them together."""

    records: list[ReceivedRecord]
    read_as: str
    several: bool


JSON_SHAPES = (
    "the event of a Lambda function, a Firehose transformation or SubscribeToShard, the output of aws kinesis "
    "get-records, their records, or a list of base64 text"
)
AS_IT_IS = "--format raw takes it for the data of one record"


def read_input(file: str) -> bytes:
    """Return what is in a file, or for - in standard input: ``MAX_INPUT_BYTES`` at most."""
    name = name_of(file)
    try:
        if file == "-":
            content = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                content = stream.read(MAX_INPUT_BYTES + 1)
    except FileNotFoundError:
        raise BadInputError(
            f"{file}: no such file; FILE is a file of raw bytes, base64 or hex text, or JSON, or - for standard input"
        ) from None
    except OSError as error:
        raise BadInputError(f"{name}: {os_error_text(error)}") from None
    if len(content) > MAX_INPUT_BYTES:
        raise BadInputError(f"{name}: larger than {MAX_INPUT_BYTES:,} bytes; a Kinesis record has 10 MiB at most")
    return content


def name_of(file: str) -> str:
    return "standard input" if file == "-" else file


def inspected(content: bytes, form: str) -> Inspected:
    """Find the Kinesis records in ``content``. Raises ``ValueError`` unless it has the form asked for.

    With ``"auto"`` what starts with a magic is raw; what starts with a brace or a bracket is JSON; text of hex
    digits, else of base64, is decoded; and all else is raw.
    """
    if form == "raw" or (form == "auto" and content.startswith(MAGICS)):
        return _one(content, "raw")
    text = content.removeprefix(b"\xef\xbb\xbf")
    if form == "json" or (form == "auto" and text.lstrip()[:1] in {b"{", b"["}):
        return _of_json(text)
    tokens = text.split()
    joined = b"".join(tokens).strip(b'"')
    if form == "hex" or (form == "auto" and re.fullmatch(rb"(?:[0-9a-fA-F]{2})+", joined)):
        return _one(binascii.unhexlify(joined), "hex")
    several = _base64_each(tokens)
    if several is not None:
        return Inspected(several, "base64", several=True)
    try:
        decoded = base64.b64decode(joined, validate=True)
    except binascii.Error:
        if form == "base64":
            raise
        decoded = b""
    return _one(decoded, "base64") if decoded or form == "base64" else _one(content, "raw")


def _one(data: bytes, read_as: str) -> Inspected:
    return Inspected([ReceivedRecord(data, _no_origin)], read_as, several=False)


def _no_origin(_: None) -> Origin:
    return Origin()


def _base64_each(tokens: list[bytes]) -> list[ReceivedRecord] | None:
    """Return the records of texts that are each base64 of something with a magic; one that was wrapped is not."""
    records = []
    for token in tokens:
        try:
            data = base64.b64decode(token.strip(b'",'), validate=True)
        except binascii.Error:
            return None
        if not data.startswith(MAGICS):
            return None
        records.append(ReceivedRecord(data, _no_origin))
    return records if len(records) > 1 else None


def _of_json(text: bytes) -> Inspected:
    records: list[ReceivedRecord] = []
    several = False
    for number, document in enumerate(_documents(text)):
        where = f"document {number}: " if number else ""
        several = several or bool(number) or not _is_one_record(document)
        try:
            records += received_records(_as_received(document))
        except BadInputError:
            raise
        except (TypeError, ValueError) as error:
            raise BadInputError(f"{where}{_what(document, error)}") from None
        _check_count(len(records))
    return Inspected(records, "json", several)


def _check_count(count: int) -> None:
    if count > MAX_RECORDS:
        raise BadInputError(f"more than {MAX_RECORDS:,} Kinesis records; give fewer of them")


def _documents(content: bytes) -> Iterator[Any]:
    """Yield the JSON documents that stand behind one another, on lines of their own or not."""
    decoder = json.JSONDecoder()
    try:
        text = content.decode()
        place = len(text) - len(text.lstrip())
        if place == len(text):
            raise BadInputError("no JSON: nothing is there")
        while place < len(text):
            document, end = decoder.raw_decode(text, place)
            yield document
            found = _NOT_BLANK.search(text, end)
            place = found.start() if found else len(text)
    except RecursionError:
        raise BadInputError("JSON that is nested too deeply") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"begins as JSON does, and is none: {error}; {AS_IT_IS}") from None


_NOT_BLANK = re.compile(r"[^ \t\r\n]")


def _is_one_record(document: Any) -> bool:
    if isinstance(document, dict):
        return "SubscribeToShardEvent" not in document and _container(document) is None
    return isinstance(document, str)


def _container(document: Mapping[str, Any]) -> str | None:
    return next((name for name in CONTAINERS if name in document), None)


def _as_received(document: Any) -> Any:
    """Return a document as ``deaggregate`` takes it: what is bytes in Python is base64 text in JSON."""
    if _is_one_record(document):
        return _record(document, "")
    if isinstance(document, dict):
        return _contained(document)
    if not isinstance(document, list):
        raise TypeError
    _check_count(len(document))
    received: list[Any] = []
    for place, item in enumerate(document):
        if isinstance(item, dict) and not _is_one_record(item):
            received += _contained(item)
            _check_count(len(received))
        else:
            received.append(_record(item, f"record {place}: "))
    return received


def _contained(document: Mapping[str, Any]) -> list[Any]:
    """Return the records of a response or an event."""
    inner = document.get("SubscribeToShardEvent", document)
    container = _container(inner) if isinstance(inner, dict) else None
    if container is None or not isinstance(inner[container], list):
        raise TypeError(f"{container or 'SubscribeToShardEvent'} has no list of records")
    _check_count(len(inner[container]))
    return [_record(record, f"record {place}: ") for place, record in enumerate(inner[container])]


def _record(record: Any, where: str) -> Any:
    if isinstance(record, str):
        return _decoded(record, f"{where}text")
    if not isinstance(record, dict):
        raise TypeError(f"{where}{abridged(record)} is no record")
    data = record.get("Data")
    return {**record, "Data": _decoded(data, f"{where}Data")} if isinstance(data, str) else record


def _decoded(text: str, where: str) -> bytes:
    try:
        return decode_base64(text)
    except ValueError as error:
        raise ValueError(f"{where} is not base64: {error}") from None


def _what(document: Any, error: Exception) -> str:
    """Say what is wrong with a document, and what is taken."""
    if isinstance(error, ValueError):
        return f"{error}; {AS_IT_IS}"
    if _is_one_record(document):
        return f"JSON with {names_of(document)}, not {JSON_SHAPES}; {AS_IT_IS}"
    kind = str(error).partition(": expected ")[0]
    return f"JSON, but not {JSON_SHAPES}{kind and f': {kind}'}; {AS_IT_IS}"
