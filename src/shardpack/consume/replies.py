"""GetRecords responses read natively, ahead of botocore's parser.

Since 1.35.16 botocore tells its ``before-parse`` handlers of the body of every response, and lets them change it. The
Kinesis records are taken out of it, and botocore parses the rest, with an empty list of them. A body that is not as the
service writes it stays as it is. aiobotocore does the same, and takes handlers that are not async.
"""

from __future__ import annotations

from contextvars import ContextVar

from .._native.reply import records_of_body
from ..errors import abridged
from .shapes import Origin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any

    from .._native.deaggregate import ReceivedRecord

BEFORE_PARSE = "before-parse.kinesis.GetRecords"

ERROR_STATUS = 300
"""From here on a response is an error, and botocore's own."""


def events_of(client: Any) -> Any:
    """Return what registers handlers with a Kinesis client. Raises ``TypeError`` for what is none."""
    try:
        service = client.meta.service_model.service_name
        events = client.meta.events
    except AttributeError:
        from ..transport import no_client  # noqa: PLC0415 - not where a function starts cold

        raise no_client(client) from None
    if service != "kinesis":
        raise TypeError(f"expected a Kinesis client, not one of {abridged(service)}")
    return events


class ReplyOrigin(Origin):
    """What the body of a response says of a Kinesis record: ``arrived`` is the text of a number, until it is read."""

    __slots__ = ()

    @property
    def approximate_arrival_timestamp(self) -> datetime | None:
        """The aware ``datetime`` that botocore makes of it."""
        arrived = self.arrived
        if type(arrived) is str:
            self.arrived = arrived = moment_of(arrived)  # the same whichever thread reads it
        moment: datetime | None = arrived
        return moment


def moment_of(number: str) -> datetime:
    """Return the time that botocore makes of a number of seconds in JSON."""
    from botocore.utils import parse_timestamp  # noqa: PLC0415 - there is a client, so it is loaded

    parse: Any = parse_timestamp  # its stub has text alone
    moment: datetime = parse(int(number) if number.isdigit() else float(number))
    return moment


def take_records(response_dict: dict[str, Any]) -> list[ReceivedRecord] | None:
    """Take the Kinesis records out of a response that botocore is about to parse, or leave it as it is: ``None``."""
    body = response_dict.get("body")
    if response_dict.get("status_code", ERROR_STATUS) >= ERROR_STATUS or type(body) is not bytes:
        return None
    found = records_of_body(body, ReplyOrigin, moment_of)
    if found is None:
        return None
    received, response_dict["body"] = found
    return received


# --- calls of read_records ---

CALL = "shardpack_call"
"""Where one is in the context of a call, from its parameters to its response."""


class Call:
    """A GetRecords call of ``read_records``, and what came of it so far."""

    __slots__ = ("received", "rest")

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A request goes out; perhaps again."""
        self.received: list[ReceivedRecord] | None = None
        self.rest: bytes | None = None

    def read(self, response_dict: dict[str, Any]) -> None:
        """Take the records of a response, unless they are taken already, by a handler that is there twice."""
        if self.rest is None or response_dict.get("body") is not self.rest:
            self.received = take_records(response_dict)
            self.rest = None if self.received is None else response_dict["body"]


class IteratorOfCall(str):
    """A shard iterator that tells whose call it is: listeners may call the same client in between."""

    __slots__ = ("call",)
    call: Call

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)  # the call is not copied: nobody would look there


AWAITED: ContextVar[Call | None] = ContextVar("shardpack-read-records", default=None)
"""Whose response comes next. The event of a response does not tell whose it is."""


def listen(client: Any) -> None:
    """Have a client read the responses of such calls, and of no others. Raises ``TypeError`` for what is none."""
    events = events_of(client)
    events.register("before-parameter-build.kinesis.GetRecords", _take_call, unique_id="shardpack-read-call")
    events.register("request-created.kinesis.GetRecords", _await_response, unique_id="shardpack-read-request")
    events.register(BEFORE_PARSE, _read_body, unique_id="shardpack-read-records")


def _take_call(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    iterator = params.get("ShardIterator")
    if isinstance(iterator, IteratorOfCall):
        context[CALL] = iterator.call


def _await_response(request: Any, **_: Any) -> None:
    call: Call | None = request.context.get(CALL)
    if call is not None:
        call.begin()
    AWAITED.set(call)


def _read_body(response_dict: dict[str, Any], **_: Any) -> None:
    call = AWAITED.get()
    if call is not None:
        call.read(response_dict)
