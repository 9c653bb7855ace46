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

from .deaggregation import deaggregate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from .._native.deaggregate import UserRecord

    Response: TypeAlias = dict[str, list[dict[str, str]]]
    LambdaHandler: TypeAlias = Callable[[Any, Any], Response]
    EachHandler: TypeAlias = Callable[[UserRecord, Any], Any]
    BatchHandler: TypeAlias = Callable[[list[UserRecord], Any], "list[UserRecord] | None"]
    OnPartial: TypeAlias = Callable[[UserRecord], Any]
    ResumeAt: TypeAlias = Callable[[UserRecord], "int | None"]


def each_user_record(
    handler: EachHandler | None = None, /, *, on_partial: OnPartial | None = None, resume_at: ResumeAt | None = None
) -> Any:
    """Make a Lambda handler of one that takes a user record and the context: a decorator, with or without options.

    The handler fails by raising an ``Exception``, which is logged; what it returns is dropped. Anything else that is
    raised (``SystemExit``), and Lambda's time limit, end the function, and Lambda retries the event. A record with
    ``error`` set is a malformed aggregated record and comes to the handler as a whole. An event without records calls
    nothing. The Lambda handler raises ``TypeError`` for an event that is not Kinesis', or of a tumbling window, whose
    response is another; the decorator does for an ``async`` handler or a generator, whose calls would handle nothing.
    One behind a ``partial`` or another decorator is seen by what it returns, and has failed.

    ``on_partial(record)`` is called with the user record that failed, when others of its Kinesis record were handled
    before it: all those of its ``sequence_number`` with a lower ``sub_sequence_number``. ``resume_at(record)`` is asked
    once an event, with its first user record if that is aggregated, for the ``sub_sequence_number`` to start from in
    that Kinesis record, which is where a retry begins. Together, and with a store of the user's between, they keep a
    retry from handling user records again. An exception of ``on_partial`` is logged; one of ``resume_at`` ends the
    function before anything was handled.
    """

    def decorate(handler: EachHandler) -> LambdaHandler:
        def handle(user_records: list[UserRecord], context: Any) -> int | None:
            for i, user_record in enumerate(user_records):
                try:
                    _demand_it_ran(handler(user_record, context))
                except Exception:  # noqa: BLE001 - whatever it is, Lambda is to try again from here
                    _log_failure(user_record)
                    return i
            return None

        return _lambda_handler(handler, handle, on_partial, resume_at)

    return decorate if handler is None else decorate(handler)


def user_record_batches(
    handler: BatchHandler | None = None,
    /,
    *,
    max_records: int | None = None,
    on_partial: OnPartial | None = None,
    resume_at: ResumeAt | None = None,
) -> Any:
    """Make a Lambda handler of one that takes a list of user records and the context: a decorator, as above.

    A list has ``max_records`` user records, the last one fewer; without ``max_records``, it has all of the event. The
    handler returns ``None`` when all were handled, or a list of those that failed: objects of the list it was given.
    One that raises an ``Exception``, or returns anything else, failed with the whole list. The first user record that
    failed counts; later ones come again, whether they succeeded or not, and no further list is handled. All else is as
    in ``each_user_record``.
    """
    if max_records is not None and max_records < 1:
        raise ValueError(f"max_records is {max_records}; a list has one user record at least")

    def decorate(handler: BatchHandler) -> LambdaHandler:
        def handle(user_records: list[UserRecord], context: Any) -> int | None:
            size = max_records or len(user_records) or 1
            for start in range(0, len(user_records), size):
                batch = user_records[start : start + size]
                try:
                    failed = _first_failed(batch, handler(list(batch), context))
                except Exception:  # noqa: BLE001 - whatever it is, Lambda is to try again from here
                    _log_failure(batch[0], len(batch))
                    return start
                if failed is not None:
                    _log_failure(batch[failed])
                    return start + failed
            return None

        return _lambda_handler(handler, handle, on_partial, resume_at)

    return decorate if handler is None else decorate(handler)


_RUNS_LATER = 0x20 | 0x80 | 0x200
"""``inspect``'s CO_GENERATOR, CO_COROUTINE and CO_ASYNC_GENERATOR: it takes longer to load than all of this."""


def _lambda_handler(
    handler: Callable[..., Any],
    handle: Callable[[list[UserRecord], Any], int | None],
    on_partial: OnPartial | None,
    resume_at: ResumeAt | None,
) -> LambdaHandler:
    """Make a Lambda handler; ``handle`` returns the place of the first user record that failed."""
    if getattr(getattr(handler, "__code__", None), "co_flags", 0) & _RUNS_LATER:
        raise TypeError(f"{handler!r} is async or a generator: calling it handles nothing")

    @wraps(handler)
    def lambda_handler(event: Any, context: Any = None) -> Response:
        user_records: list[UserRecord] = deaggregate(_kinesis_records(event))
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
            return {"batchItemFailures": []}
        record = user_records[failed]
        if on_partial is not None and record.sub_sequence_number:
            _tell(on_partial, record)
        if record.sequence_number is None:
            raise ValueError("a user record failed whose Kinesis record has no sequence number to retry from")
        return {"batchItemFailures": [{"itemIdentifier": record.sequence_number}]}

    return lambda_handler


def _demand_it_ran(returned: Any) -> None:
    """Refuse what a handler returns that did not run: one behind a lambda, ``partial`` or another decorator."""
    if returned is not None and any(hasattr(returned, name) for name in ("__await__", "__next__", "__anext__")):
        if hasattr(returned, "close"):
            returned.close()  # else Python warns that nobody awaited it
        raise TypeError(f"the handler returned {returned!r:.100}, which has handled nothing yet")


def _kinesis_records(event: Any) -> Any:
    """Return the records of an event source mapping's event, or the event of a pipe, which is its records."""
    if isinstance(event, list):
        return event
    if "window" in event:
        raise TypeError("this event is of a tumbling window: its response has to carry a state, and this one does not")
    if "Records" not in event:
        raise TypeError(f"expected the event of a Kinesis event source mapping, not a mapping with {sorted(event)}")
    return event["Records"]


def _first_failed(batch: list[UserRecord], failed: list[UserRecord] | None) -> int | None:
    if failed is None:
        return None
    places = {id(record): place for place, record in enumerate(batch)}
    try:
        return min((places[id(record)] for record in failed), default=None)
    except (KeyError, TypeError):
        raise TypeError(f"expected None or the user records that failed, not {failed!r:.100}") from None


def _tell(on_partial: OnPartial, record: UserRecord) -> None:
    try:
        on_partial(record)
    except Exception:
        import logging  # noqa: PLC0415

        # the response matters more: without it, Lambda retries the whole event
        logging.getLogger("shardpack.consume").exception("on_partial failed: the retry handles user records again")


def _log_failure(record: UserRecord, count: int = 1) -> None:
    """Log that so many user records from this one on failed, with the traceback if there is one."""
    import logging  # noqa: PLC0415 - a function that starts cold rarely needs it
    import sys  # noqa: PLC0415

    logging.getLogger("shardpack.consume").error(
        "failed to handle %d user records from %s/%d of %s: Lambda retries from this Kinesis record",
        count,
        record.sequence_number,
        record.sub_sequence_number,
        record.shard_id,
        exc_info=sys.exc_info()[0] is not None,
    )
