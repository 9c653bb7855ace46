"""Which errors of a client pass by themselves: throttling, a fault of the service, a connection that failed."""

from __future__ import annotations

from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as BotocoreConnectionError

from . import THROTTLED, BrokenAnswerError

UNREACHABLE = (BotocoreConnectionError, HTTPClientError, IncompleteReadError, BrokenAnswerError)


def error_code(error: BaseException) -> str:
    """Return the service's code of an error that it answered with; of any other, nothing."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def is_unreachable(error: BaseException) -> bool:
    """Whether there was no whole answer: no connection, or one that broke or timed out."""
    return isinstance(error, UNREACHABLE)


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    if not isinstance(error, ClientError):
        return is_unreachable(error)
    status: int = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return error_code(error) in THROTTLED or status == 429 or status >= 500
