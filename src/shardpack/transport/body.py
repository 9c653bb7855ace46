"""Bodies of PutRecords, written natively, and their answers, read natively: boto3's own way costs most of a call.

boto3 checks every entry, makes base64 of all data, text of that, JSON of the text, bytes of the JSON, and looks up what
each member of an answer is. A client's events are where one thing is put in place of the other, in this order:

    before-parameter-build   who listens has been shown the entries: boto3 is given an array without any
    before-call              that array, in the body that boto3 made, becomes the array of ours; or all becomes CBOR
    request-created          a body without entries goes no further; whose answer comes next on this thread
    before-parse             an answer that says of all entries that they were stored is read here

Endpoints, credentials, signing, retries, errors, and every other member of an answer stay boto3's, and so do all other
calls of the client. Where one of the events did not come, nothing was sent, or an array without entries: what is put is
in the true body or in none. Nothing here imports boto3.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterator, Mapping, MutableSequence, Sequence
from contextvars import ContextVar
from typing import Any, Literal

from .._native.body import BodyWriter
from .._native.put_reply import all_stored, read_put_reply
from ..errors import ShardpackError, abridged
from ..records import KinesisRecord
from . import BrokenAnswerError, Failed, Stored, cbor

logger = logging.getLogger("shardpack.transport")

ENTRIES = "shardpack_entries"
"""Where they are in the context of a call, from its parameters to its request."""

NO_RECORDS = re.compile(rb'"Records" ?: ?(\[\])')
"""In JSON that has no other array. Quotes inside of a string have a backslash before them."""


class BodyNotWrittenError(ShardpackError):
    """boto3 did not call who writes the body; nothing was sent."""


class Entries(MutableSequence[dict[str, Any]]):
    """The ``Records`` of a call whose body is written here: dictionaries, made once somebody looks at one."""

    def __init__(self, records: tuple[KinesisRecord, ...], writer: BodyWriter) -> None:
        self.records = records
        self._writer = writer
        self._dictionaries: list[dict[str, Any]] | None = None
        self.met = False
        """boto3 came by with them."""
        self.is_away = False
        """It was given an array without any, and has no body with them yet."""
        self.went_in_cbor = False

    def write(self, before: bytes, behind: bytes) -> bytes:
        return self._writer.write(self.records, before, behind)

    def put_into(self, request: dict[str, Any], start: int, end: int) -> None:
        """Write the body of a request anew, that has an array without entries from ``start`` to ``end``."""
        body = request["body"]
        if not self._writer.cbor:
            request["body"] = self.write(body[:start], body[end:])
        else:
            before = cbor.before_records({name: each for name, each in json.loads(body).items() if name != "Records"})
            if before is None:
                return
            request["body"] = self.write(before, b"")
            request["headers"]["Content-Type"] = cbor.CONTENT_TYPE
            self.went_in_cbor = True
        self.is_away = False

    # --- whoever listens ---

    @property
    def was_seen(self) -> bool:
        """Somebody looked, and perhaps changed something."""
        return self._dictionaries is not None

    def _seen(self) -> list[dict[str, Any]]:
        if self._dictionaries is None:
            self._dictionaries = [record.to_boto3() for record in self.records]
        return self._dictionaries

    def __len__(self) -> int:
        return len(self.records) if self._dictionaries is None else len(self._dictionaries)

    def __getitem__(self, index: Any) -> Any:
        return self._seen()[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._seen()[index] = value

    def __delitem__(self, index: Any) -> None:
        del self._seen()[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._seen())

    def insert(self, index: int, value: dict[str, Any]) -> None:
        self._seen().insert(index, value)

    def __eq__(self, other: object) -> bool:
        return self._seen() == (other._seen() if isinstance(other, Entries) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._seen())

    def __reduce__(self) -> tuple[type[list[Any]], tuple[list[dict[str, Any]]]]:
        return list, (self._seen(),)  # copies are plain lists


class NoEntries(list[dict[str, Any]]):
    """What boto3 writes in the place of entries: as many as none, and of a length that it lets pass.

    Should it ever be sent, there is nothing in it that could be stored.
    """

    def __len__(self) -> int:
        return 1


class Bodies:
    """The bodies of one transport's calls. ``wire`` is what they are written in: ``ValueError`` for a third one."""

    def __init__(self, client: Any, wire: Literal["json", "cbor"] = "json") -> None:
        if wire not in ("json", "cbor"):
            raise ValueError(f"wire is one of json, cbor, not {abridged(wire)}")
        in_cbor = wire == "cbor"
        self._lock = threading.Lock()
        self._are_written = write_bodies_of(client)
        is_read = in_cbor and self._are_written and cbor.can_be_read()
        if in_cbor and not is_read:
            logger.warning("bodies of PutRecords are JSON: CBOR takes a client of botocore 1.35.16 or newer")
        self._writer = BodyWriter(is_read)

    def records_of(self, records: tuple[KinesisRecord, ...]) -> Entries | list[dict[str, Any]]:
        """Return what a call of ``put_records`` is given as its ``Records``."""
        if self._are_written and records:
            return Entries(records, self._writer)
        return [record.to_boto3() for record in records]

    def can_be_sent_again(self, entries: Entries | list[dict[str, Any]], error: Exception) -> bool:
        """Whether a call failed, and nothing of it was done, because of how its body was to be written.

        Another way is taken from then on, which is logged once: boto3's own where its events are not as they were when
        this was written; JSON where the service does not read CBOR.
        """
        if not isinstance(entries, Entries):
            return False
        unknown = not entries.met and type(error).__name__ == "ParamValidationError"  # of what is no list
        if unknown or isinstance(error, BodyNotWrittenError):
            with self._lock:
                were_written, self._are_written = self._are_written, False
            if were_written:
                logger.warning(
                    "boto3 writes the bodies of PutRecords itself, slowly: its client does not raise the events"
                )
            return True
        if entries.went_in_cbor and cbor.is_refused(error):
            with self._lock:
                writer, self._writer = self._writer, BodyWriter()
            if writer.cbor:
                logger.warning("the service does not read CBOR: bodies of PutRecords are JSON: %s", error)
            return True
        return False


def outcomes_of(response: Mapping[str, Any], count: int) -> list[Stored | Failed]:
    """Return the outcome of each of ``count`` entries. Raises ``BrokenAnswerError`` for an answer that lacks one."""
    results: Sequence[Any] | None = response.get("Records")
    if results is None:
        raise BrokenAnswerError("PutRecords", "Records")
    if len(results) != count:
        raise BrokenAnswerError("PutRecords", f"one outcome for each of {count} records (of {len(results)} it tells)")
    stored = all_stored(results) if isinstance(results, list) else None
    if stored is not None:
        return list(stored)
    try:
        return [
            Failed(result["ErrorCode"], result.get("ErrorMessage", ""))
            if result.get("ErrorCode")
            else Stored(result["ShardId"], result["SequenceNumber"])
            for result in results
        ]
    except KeyError as missing:
        raise BrokenAnswerError("PutRecords", f"{missing.args[0]} of a record") from None


# --- a client's events ---

_answered: ContextVar[Entries | None] = ContextVar("shardpack_answered", default=None)
"""Whose answer comes next. The event of an answer does not tell whose it is."""


def write_bodies_of(client: Any) -> bool:
    """Have the client send ``Entries`` with a body of ours, and say whether it can: it is boto3's, and speaks JSON."""
    meta: Any = getattr(client, "meta", None)
    model = getattr(meta, "service_model", None)
    protocol = getattr(model, "resolved_protocol", None) or getattr(model, "metadata", {}).get("protocol")
    if protocol != "json":
        return False
    events = meta.events
    events.register_last("before-parameter-build.kinesis.PutRecords", _take_entries, unique_id="shardpack-entries")
    events.register_first("before-call.kinesis.PutRecords", _put_body, unique_id="shardpack-body")
    events.register_first("request-created.kinesis.PutRecords", _let_pass, unique_id="shardpack-request")
    events.register_last("before-parse.kinesis.PutRecords", _read_answer, unique_id="shardpack-answer")
    return True


def forget_call() -> None:
    """A call ended: no answer is waited for."""
    _answered.set(None)


def _take_entries(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    """Nobody else is to be shown the parameters any more: boto3 checks and serializes them now."""
    entries = params.get("Records")
    if not isinstance(entries, Entries):
        return
    context[ENTRIES] = entries
    entries.met = True
    entries.is_away = not entries.was_seen  # who looked may have changed them: then they are sent as they are now
    params["Records"] = NoEntries() if entries.is_away else list(entries)


def _put_body(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    entries = context.get(ENTRIES)
    if entries is None or not entries.is_away:
        return
    body = params.get("body")
    if not isinstance(body, bytes):
        return
    places = list(NO_RECORDS.finditer(body))
    if len(places) == 1:
        entries.put_into(params, *places[0].span(1))


def _let_pass(request: Any, **_: Any) -> None:
    entries = request.context.get(ENTRIES)
    if entries is not None and entries.is_away:
        raise BodyNotWrittenError("the body of a PutRecords call was not written")
    _answered.set(entries)


def _read_answer(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    entries = _answered.get()
    if entries is None or entries.went_in_cbor:  # a listener that called the client again has taken the first from here
        cbor.as_json(response_dict)
    if entries is None:
        return
    forget_call()
    body = response_dict.get("body")
    if not isinstance(body, bytes) or response_dict.get("status_code") != 200:
        return
    read = read_put_reply(body, len(entries))
    if read is not None:
        customized_response_dict["Records"], response_dict["body"] = read
