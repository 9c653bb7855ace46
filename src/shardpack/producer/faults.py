"""What an exception of a transport's call means for the records that it carried."""

from __future__ import annotations

import re

from ..errors import InvalidRecordError
from ..transport import THROTTLED
from .entries import CallError, Fault

EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "RequestTimeTooSkewed"})
"""Credentials are refreshed by their provider, and then the same call succeeds."""

INVALID = frozenset({"InvalidArgumentException", "ValidationException", "SerializationException"})
TOO_LARGE = re.compile(r"\b(records|request|payload|body|entity)\b[^.]*\b(exceed|too (large|big|long))", re.IGNORECASE)
"""What is said of a call that is too large as a whole: `InvalidArgumentException: Records size exceeds 5 MB limit`.

Source: https://github.com/aws/amazon-kinesis-streams-for-fluent-bit/issues/21. The service does not document it.
"""
NO_STREAM = "ResourceNotFoundException"

NEVER_SENT = frozenset({"ConnectTimeoutError", "EndpointConnectionError", "ProxyConnectionError", "SSLError"})
NOTHING_TO_SEND_WITH = frozenset(
    {
        "CredentialRetrievalError",
        "NoCredentialsError",
        "NoRegionError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
    }
)


def call_error(error: BaseException) -> CallError:
    """Tell what a failed call means. Errors are known by their names, so that no client library is imported."""
    response = getattr(error, "response", None)  # as botocore's ClientError has it
    if isinstance(response, dict):
        return _answered(response, str(error))
    name = type(error).__name__
    if name in NOTHING_TO_SEND_WITH:
        return CallError(Fault.FATAL, name, str(error))
    if name == "ParamValidationError" or isinstance(error, InvalidRecordError):
        return CallError(Fault.INVALID, name, str(error))
    maybe_stored = name not in NEVER_SENT or _broke_later(error)
    return CallError(Fault.TRANSIENT, name, str(error) or name, maybe_stored=maybe_stored)


def _broke_later(error: BaseException) -> bool:
    """Whether a connection that could not be made, as it says, had been made and broke.

    aiobotocore tells of both by ``EndpointConnectionError``, and with httpx of all timeouts but one by
    ``ConnectTimeoutError``. What has happened is in them.
    """
    cause = (getattr(error, "kwargs", None) or {}).get("error")  # as botocore's errors have it
    kinds = {kind.__name__ for kind in type(cause).__mro__}
    if "ClientConnectionError" in kinds:  # aiohttp's
        return not kinds & {"ClientConnectorError", "ConnectionTimeoutError", "ServerTimeoutError"}
    return "WriteTimeout" in kinds  # httpx's


def _answered(response: dict[str, object], message: str) -> CallError:
    details, metadata = response.get("Error"), response.get("ResponseMetadata")
    code = str(details.get("Code", "")) if isinstance(details, dict) else ""
    status = metadata.get("HTTPStatusCode", 0) if isinstance(metadata, dict) else 0
    fault = _fault(code, status, message)
    code = code or ("Throttled" if fault is Fault.THROTTLED else f"HTTP {status}")
    return CallError(fault, code, message, maybe_stored=fault is Fault.TRANSIENT and status >= 500)


def _fault(code: str, status: int, message: str) -> Fault:
    if code in THROTTLED or status == 429:
        return Fault.THROTTLED
    if code in EXPIRED or status >= 500:
        return Fault.TRANSIENT
    if status == 413 or (code in INVALID and TOO_LARGE.search(message)):
        return Fault.TOO_LARGE
    if code in INVALID:
        return Fault.INVALID
    return Fault.NO_STREAM if code == NO_STREAM else Fault.FATAL
