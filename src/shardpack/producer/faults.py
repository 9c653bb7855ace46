"""What an exception of a transport's call means for the records that it carried."""

from __future__ import annotations

from ..errors import InvalidRecordError
from ..transport import THROTTLED
from .entries import CallError, Fault

EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "RequestTimeTooSkewed"})
"""Credentials are refreshed by their provider, and then the same call succeeds."""

INVALID = frozenset({"InvalidArgumentException", "ValidationException", "SerializationException"})
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
    if code in THROTTLED or status == 429:
        return CallError(Fault.THROTTLED, code or "Throttled", message)
    if code in EXPIRED:
        return CallError(Fault.TRANSIENT, code, message)
    if status >= 500:
        return CallError(Fault.TRANSIENT, code or f"HTTP {status}", message, maybe_stored=True)
    if code == NO_STREAM:
        return CallError(Fault.NO_STREAM, code, message)
    if code in INVALID:
        return CallError(Fault.INVALID, code, message)
    return CallError(Fault.FATAL, code or f"HTTP {status}", message)
