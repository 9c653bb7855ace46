"""Lambda handlers that are given user records, and answer with a partial batch response.

The event source mapping must have ``FunctionResponseTypes=["ReportBatchItemFailures"]``: without it Lambda ignores the
response and takes a handler that returns for one that succeeded.

Lambda retries from a Kinesis record, its sequence number being what a response can name, and a Kinesis record may hold
thousands of user records. So a failure ends the invocation, and the response names the Kinesis record it happened in:
user records are handled in order, each at least once, and those before the failed one in its Kinesis record again.

Source: AWS Lambda developer guide, "Configuring partial batch response with Kinesis Data Streams and Lambda".
"""

from __future__ import annotations

from functools import wraps
from operator import index

from .._native.deaggregate import deaggregate_received
from ..errors import abridged
from .handling import check_handler, failures_of_list, first_failure
from .shapes import fields_of, names_of, origin_of, received_of

__all__ = ["each_user_record", "user_record_batches"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias, overload

    from .._native.deaggregate import ReceivedRecord, UserRecord

    Response: TypeAlias = dict[str, list[dict[str, str]]]
    LambdaHandler: TypeAlias = Callable[[Any, Any], Response]
    EachHandler: TypeAlias = Callable[[UserRecord, Any], Any]
    BatchHandler: TypeAlias = Callable[[list[UserRecord], Any], "list[UserRecord] | None"]
    OnPartial: TypeAlias = Callable[[UserRecord], Any]
    ResumeAt: TypeAlias = Callable[[UserRecord], "int | None"]

_NOT_GIVEN: Any = object()
"""Instead of a handler, where a decorator is called with options; ``None`` is a handler that somebody did not find."""


if TYPE_CHECKING:

    @overload
    def each_user_record(handler: EachHandler, /) -> LambdaHandler: ...
    @overload
    def each_user_record(
        *, on_partial: OnPartial | None = None, resume_at: ResumeAt | None = None
    ) -> Callable[[EachHandler], LambdaHandler]: ...


def each_user_record(
    handler: EachHandler = _NOT_GIVEN, /, *, on_partial: OnPartial | None = None, resume_at: ResumeAt | None = None
) -> LambdaHandler | Callable[[EachHandler], LambdaHandler]:
    """Make a Lambda handler of one that takes a user record and the context: a decorator, with or without options.

    The handler fails by raising an ``Exception``, which is logged; what it returns is dropped. Anything else that is
    raised (``SystemExit``), and Lambda's time limit, end the function, and Lambda retries the event. A record with
    ``error`` set is a malformed aggregated record and comes to the handler as a whole. A Kinesis record that cannot be
    read at all, its data not being base64, has failed once all before it were handled. An event without records calls
    nothing. The Lambda handler raises ``TypeError`` for an event that is not Kinesis', or of a tumbling window, whose
    response is another; the decorator does for what is no function, and for an ``async`` handler or a generator, whose
    calls would handle nothing. One behind a ``partial`` or another decorator is seen by what it returns (an awaitable,
    a generator), and has failed.

    ``on_partial(record)`` is called with the user record that failed, when others of its Kinesis record were handled
    before it: all those of its ``sequence_number`` with a lower ``sub_sequence_number``. ``resume_at(record)`` is asked
    once an event, with its first user record if that is aggregated, for the ``sub_sequence_number`` to start from in
    that Kinesis record, which is where a retry begins. Together, and with a store of the user's between, they keep a
    retry from handling user records again. An exception of ``on_partial`` is logged; one of ``resume_at`` ends the
    function before anything was handled.
    """

    def decorate(handler: EachHandler) -> LambdaHandler:
        def handle(user_records: list[UserRecord], context: Any) -> int | None:
            return first_failure(handler, user_records, _log_failure, context)

        return _lambda_handler(handler, handle, on_partial, resume_at)

    return decorate if handler is _NOT_GIVEN else decorate(handler)


if TYPE_CHECKING:

    @overload
    def user_record_batches(handler: BatchHandler, /) -> LambdaHandler: ...
    @overload
    def user_record_batches(
        *,
        max_records: int | None = None,
        on_partial: OnPartial | None = None,
        resume_at: ResumeAt | None = None,
    ) -> Callable[[BatchHandler], LambdaHandler]: ...


def user_record_batches(
    handler: BatchHandler = _NOT_GIVEN,
    /,
    *,
    max_records: int | None = None,
    on_partial: OnPartial | None = None,
    resume_at: ResumeAt | None = None,
) -> LambdaHandler | Callable[[BatchHandler], LambdaHandler]:
    """Make a Lambda handler of one that takes a list of user records and the context: a decorator, as above.

    A list has ``max_records`` user records, the last one fewer; without ``max_records``, it has all of the event. The
    handler returns ``None`` when all were handled, or a list of those that failed: objects of the list it was given.
    One that raises an ``Exception``, or returns anything else, failed with the whole list. The first user record that
    failed counts; later ones come again, whether they succeeded or not, and no further list is handled. All else is as
    in ``each_user_record``.
    """
    if max_records is not None and index(max_records) < 1:
        raise ValueError(f"max_records is {abridged(max_records)}; a list has one user record at least")

    def decorate(handler: BatchHandler) -> LambdaHandler:
        def handle(user_records: list[UserRecord], context: Any) -> int | None:
            size = len(user_records) or 1 if max_records is None else index(max_records)
            for start in range(0, len(user_records), size):
                failed = failures_of_list(handler, user_records[start : start + size], _log_failure, context)
                if failed:
                    return start + failed[0]
            return None

        return _lambda_handler(handler, handle, on_partial, resume_at)

    return decorate if handler is _NOT_GIVEN else decorate(handler)


def _lambda_handler(
    handler: Callable[..., Any],
    handle: Callable[[list[UserRecord], Any], int | None],
    on_partial: OnPartial | None,
    resume_at: ResumeAt | None,
) -> LambdaHandler:
    """Make a Lambda handler; ``handle`` returns the place of the first user record that failed."""
    check_handler(handler, "user records and the context")

    @wraps(handler)
    def lambda_handler(event: Any, context: Any = None) -> Response:
        user_records, unreadable = _user_records(event)
        if resume_at is not None and user_records and user_records[0].aggregated:
            first = user_records[0]
            start = resume_at(first) or 0
            user_records = [
                record
                for record in user_records
                if record.sequence_number != first.sequence_number or record.sub_sequence_number >= start
            ]
        failed = handle(user_records, context)
        if failed is None:
            if unreadable is None:
                return {"batchItemFailures": []}
            sequence_number, what = unreadable
            _log("failed to read the Kinesis record %s: Lambda retries from it: %s", sequence_number, what)
            return {"batchItemFailures": [{"itemIdentifier": sequence_number}]}
        record = user_records[failed]
        if on_partial is not None and record.sub_sequence_number:
            _call_on_partial(on_partial, record)
        if record.sequence_number is None:
            raise ValueError("a user record failed whose Kinesis record has no sequence number to retry from")
        return {"batchItemFailures": [{"itemIdentifier": record.sequence_number}]}

    return lambda_handler


def _user_records(event: Any) -> tuple[list[UserRecord], tuple[str, str] | None]:
    """Return the user records of an event as far as it can be read, and what follows: a sequence number, and why not.

    Raises where that record has no sequence number that Lambda could retry from.
    """
    records = _kinesis_records(event)
    received: list[ReceivedRecord] = []
    unreadable = None
    try:
        received.extend(received_of(records))
    except (TypeError, ValueError) as error:
        sequence_number = origin_of(records[len(received)]).sequence_number if isinstance(records, list) else None
        if sequence_number is None:
            raise
        unreadable = sequence_number, str(error)
    user_records: list[UserRecord] = []
    deaggregate_received(received, None, False, user_records)
    return user_records, unreadable


def _kinesis_records(event: Any) -> Any:
    """Return the records of an event source mapping's event, or the event of a pipe, which is its records."""
    if isinstance(event, list):
        return event
    fields = fields_of(event)
    if fields is None:
        raise TypeError(f"{_EXPECTED}, not {type(event).__name__}")
    if fields.get("window") is not None:
        raise TypeError("this event is of a tumbling window: its response has to carry a state, and this one does not")
    if "Records" not in fields:
        raise TypeError(f"{_EXPECTED}, not a mapping with {names_of(fields)}")
    return fields["Records"]


_EXPECTED = "expected the event of a Kinesis event source mapping"


def _call_on_partial(on_partial: OnPartial, record: UserRecord) -> None:
    try:
        on_partial(record)
    except Exception:
        import logging  # noqa: PLC0415

        # the response matters more: without it, Lambda retries the whole event
        logging.getLogger("shardpack.consume").exception("on_partial failed: the retry handles user records again")


def _log_failure(record: UserRecord, count: int) -> None:
    """Log that so many user records from this one on failed, with the traceback if there is one."""
    _log(
        "failed to handle %d user records from %s/%d of %s: Lambda retries from this Kinesis record",
        count,
        record.sequence_number,
        record.sub_sequence_number,
        record.shard_id,
    )


def _log(message: str, *values: object) -> None:
    import logging  # noqa: PLC0415 - a function that starts cold rarely needs it
    import sys  # noqa: PLC0415

    logging.getLogger("shardpack.consume").error(message, *values, exc_info=sys.exc_info()[0] is not None)
