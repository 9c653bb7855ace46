"""Lambda functions that transform records for Firehose: given user records, they answer for each record of the event.

Firehose wants every ``recordId`` back once: with data, dropped, or failed. A record of the event may be an aggregated
one, of many user records, and has one answer. A response that is larger than Lambda passes on is lost as a whole, so
what does not fit is answered as failed.

Sources: Firehose developer guide, "Required parameters for data transformation", "Transform source data", "Handle data
transformation failure" and "Dynamic partitioning".
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial, wraps
from json import dumps

from .._native.deaggregate import deaggregate_received
from ..errors import abridged
from .handling import check_handler, refuse_what_runs_later
from .shapes import fields_of, names_of, received_of

__all__ = ["MAX_RESPONSE_BYTES", "transform_each_user_record"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias, overload

    from .._native.deaggregate import ReceivedRecord, UserRecord

    Answer: TypeAlias = dict[str, Any]
    Response: TypeAlias = dict[str, list[Answer]]
    LambdaHandler: TypeAlias = Callable[[Any, Any], Response]
    Transformation: TypeAlias = Callable[[UserRecord, Any], bytes | None]
    PartitionKeys: TypeAlias = Callable[[UserRecord], Mapping[str, str]]

MAX_RESPONSE_BYTES: int = 6_000_000
"""Bytes of JSON that a response has at most. AWS documents "6 MB" for Lambda's responses; this is the lower reading."""

_LOGGED_FAILURES = 20
"""Failures of an event that are logged one by one; of the others, their number is."""

_NOT_GIVEN: Any = object()
"""Instead of a function, where the decorator is called with options."""


if TYPE_CHECKING:

    @overload
    def transform_each_user_record(handler: Transformation, /) -> LambdaHandler: ...
    @overload
    def transform_each_user_record(
        *, delimiter: bytes = b"\n", partition_keys: PartitionKeys | None = None
    ) -> Callable[[Transformation], LambdaHandler]: ...


def transform_each_user_record(
    handler: Transformation = _NOT_GIVEN,
    /,
    *,
    delimiter: bytes = b"\n",
    partition_keys: PartitionKeys | None = None,
) -> LambdaHandler | Callable[[Transformation], LambdaHandler]:
    """Make a Lambda handler for Firehose of a function that takes a user record and the context: a decorator.

    The function returns the data to deliver as ``bytes``, or ``None`` to drop the user record. The data of all user
    records of one record of the event are joined, in order; ``delimiter`` is put after each that does not end with it
    (``b""`` for nothing). Where all are dropped, the record is answered ``Dropped``.

    A record is answered ``ProcessingFailed`` as a whole, and that is logged, where the function raises an
    ``Exception`` or returns anything else at one of its user records (those after it are not handed over), where it is
    a malformed aggregated record (the function is not called, because no user record is known), and where its data is
    not base64. Of an event, 20 such failures are logged one by one, then the number of the others.

    The response has ``MAX_RESPONSE_BYTES`` of JSON at most. Records are taken in order; one that does not fit any more
    is answered ``ProcessingFailed`` without data, and one log line says how many these are.

    ``partition_keys(record)``, for dynamic partitioning, is asked for each user record that is not dropped, and returns
    a mapping of names to text. Firehose takes one such mapping for a record of the event: where its user records have
    different ones, the record is answered ``ProcessingFailed``.

    The Lambda handler raises ``TypeError`` for an event that is not Firehose's, and ``ValueError`` for one that has a
    ``recordId`` twice. The decorator raises ``TypeError`` for what is no function, for an ``async`` one or a generator,
    and for a delimiter that is not ``bytes``.
    """
    if not isinstance(delimiter, bytes):
        raise TypeError(f"delimiter is bytes, such as b'\\n', not {abridged(delimiter)}")

    def decorate(handler: Transformation) -> LambdaHandler:
        check_handler(handler, "a user record and the context")

        @wraps(handler)
        def lambda_handler(event: Any, context: Any = None) -> Response:
            return _answered(event, partial(_transformed, handler, context, delimiter, partition_keys))

        return lambda_handler

    return decorate if handler is _NOT_GIVEN else decorate(handler)


OK, DROPPED, FAILED = "Ok", "Dropped", "ProcessingFailed"


def _answered(event: Any, transform: Callable[[list[UserRecord] | Exception], Answer]) -> Response:
    """Answer for each record of an event, in no more than ``MAX_RESPONSE_BYTES``."""
    records = _records(event)
    answers: list[Answer] = [{"recordId": record_id, "result": FAILED} for record_id in records]
    room = MAX_RESPONSE_BYTES - len(dumps({"records": answers}))  # each may at least be answered without data
    needed, too_large, failures = MAX_RESPONSE_BYTES - room, 0, 0
    for place, (record_id, user_records) in enumerate(_user_records(records)):
        try:
            answer = {"recordId": record_id, **transform(user_records)}
        except Exception:  # noqa: BLE001 - whatever it is, this one is not transformed
            failures += 1
            if failures <= _LOGGED_FAILURES:
                _log("failed to transform the record %s: it is answered ProcessingFailed", record_id)
            continue
        more = _size(answer) - _size(answers[place])
        needed += more
        if more > room:
            too_large += 1
            continue
        room -= more
        answers[place] = answer
    if failures > _LOGGED_FAILURES:
        _log("failed to transform %d more records: they are answered ProcessingFailed", failures - _LOGGED_FAILURES)
    if too_large:
        _log(
            "%d of %d records are answered ProcessingFailed: the response would have %d bytes and may have %d; "
            "lower the buffer size hint of the transformation (BufferSizeInMBs)",
            too_large,
            len(answers),
            needed,
            MAX_RESPONSE_BYTES,
        )
    return {"records": answers}


def _transformed(
    handler: Transformation,
    context: Any,
    delimiter: bytes,
    partition_keys: PartitionKeys | None,
    user_records: list[UserRecord] | Exception,
) -> Answer:
    """Return the answer for a record of these user records, without its id; raises where there is none."""
    if isinstance(user_records, Exception):
        raise user_records
    pieces: list[bytes] = []
    keys: dict[str, str] | None = None
    for record in user_records:
        if record.error is not None:
            raise record.error
        data = handler(record, context)
        if data is None:
            continue
        pieces.append(_checked(data))
        if not data.endswith(delimiter):
            pieces.append(delimiter)
        if partition_keys is not None:
            keys = _agreed(keys, partition_keys(record))
    if not pieces:
        return {"result": DROPPED}
    from pybase64 import b64encode_as_string  # noqa: PLC0415 - no third-party package until one is needed

    answer: Answer = {"result": OK, "data": b64encode_as_string(b"".join(pieces))}
    return answer if keys is None else {**answer, "metadata": {"partitionKeys": keys}}


def _size(answer: Answer) -> int:
    """Return how many bytes an answer takes as JSON: as Lambda's runtime writes it, or more if that leaves non-ASCII.

    What is base64 is written as it is.
    """
    return len(dumps({**answer, "data": ""})) + len(answer["data"]) if "data" in answer else len(dumps(answer))


def _records(event: Any) -> dict[str, Any]:
    """Return the records of an event by their id, in order."""
    fields = fields_of(event)
    if fields is None:
        raise TypeError(f"{_EXPECTED}, not {type(event).__name__}")
    if not isinstance(fields.get("records"), (list, tuple)):
        raise TypeError(f"{_EXPECTED}, whose records are a list, not a mapping with {names_of(fields)}")
    by_id: dict[str, Any] = {}
    for place, record in enumerate(fields["records"]):
        record_id = (fields_of(record) or {}).get("recordId")
        if not isinstance(record_id, str):
            raise TypeError(f"{_EXPECTED}: record {place} has no recordId to answer with")
        if record_id in by_id:
            raise ValueError(f"the event has the recordId {abridged(record_id)} twice: it can be answered once")
        by_id[record_id] = record
    return by_id


_EXPECTED = "expected the event of a Firehose transformation"


def _user_records(records: dict[str, Any]) -> list[tuple[str, list[UserRecord] | Exception]]:
    """Return the user records of each record, or why it cannot be read; checksums are computed together."""
    received: list[ReceivedRecord] = []
    found: dict[int, list[UserRecord] | Exception] = {}
    for record in records.values():
        found[id(record)] = []
        try:
            received.extend(received_of([record]))
        except (TypeError, ValueError) as error:
            found[id(record)] = error
    user_records: list[UserRecord] = []
    deaggregate_received(received, None, False, user_records)
    for user_record in user_records:
        of_record = found[id(user_record.source)]
        if isinstance(of_record, list):
            of_record.append(user_record)
    return [(record_id, found[id(record)]) for record_id, record in records.items()]


def _checked(data: Any) -> bytes:
    if isinstance(data, bytes):
        return data
    refuse_what_runs_later(data)
    raise TypeError(f"a transformation returns bytes, or None to drop the user record, not {abridged(data)}")


def _agreed(known: dict[str, str] | None, keys: Any) -> dict[str, str]:
    """Return the partition keys of a user record, which are those of the user records before it."""
    refuse_what_runs_later(keys)
    if not isinstance(keys, Mapping) or not all(isinstance(text, str) for pair in keys.items() for text in pair):
        raise TypeError(f"partition keys are a mapping of names to text, not {abridged(keys)}")
    if known is not None and known != keys:
        raise ValueError("user records of one record have different partition keys: Firehose takes one set of them")
    return dict(keys)


def _log(message: str, *values: object) -> None:
    import logging  # noqa: PLC0415 - a function that starts cold rarely needs it
    import sys  # noqa: PLC0415

    logging.getLogger("shardpack.consume").error(message, *values, exc_info=sys.exc_info()[0] is not None)
