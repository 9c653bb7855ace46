"""CBOR on the wire, which Kinesis takes beside JSON: a quarter fewer bytes, and no base64.

It goes by the type of the content, ``application/x-amz-cbor-1.1``, under the same target; answers and errors come back
in it, with the members that JSON has. That is how the AWS SDK for Java talks to Kinesis.

Source: aws-sdk-java-v2, `AwsCborProtocolFactory` and the customization of Kinesis' code generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._native.cbor_json import json_of_cbor

CONTENT_TYPE = "application/x-amz-cbor-1.1"

TEXT, MAP = 0x60, 0xA0

REFUSED = frozenset({"SerializationException", "UnknownOperationException", "UnsupportedMediaTypeException"})
"""What a service that reads JSON alone says of such a call, if its status is not 415."""


def before_records(parameters: Mapping[str, Any]) -> bytes | None:
    """Return the body of a call up to the array of its ``Records``. ``None`` if a parameter is no text and no flag."""
    parts = [_head(MAP, len(parameters) + 1)]
    for name, value in parameters.items():
        if isinstance(value, bool):
            parts += (_text(name), b"\xf5" if value else b"\xf4")
        elif isinstance(value, str):
            parts += (_text(name), _text(value))
        else:
            return None
    return b"".join((*parts, _text("Records")))


def as_json(response: dict[str, Any]) -> None:
    """Make an answer in CBOR one in JSON, for botocore. One that cannot be read becomes one that has nothing in it."""
    headers, body = response.get("headers") or {}, response.get("body")
    if str(headers.get("Content-Type", "")).startswith(CONTENT_TYPE) and isinstance(body, bytes):
        response["body"] = json_of_cbor(body) or b""


def is_refused(error: Exception) -> bool:
    """Whether a call that failed was not understood: then nothing of it was done."""
    response = getattr(error, "response", None)  # as botocore's ClientError has it
    if not isinstance(response, dict):
        return False
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status == 415 or (400 <= status < 500 and response.get("Error", {}).get("Code") in REFUSED)


def _head(kind: int, number: int) -> bytes:
    if number < 24:
        return bytes([kind | number])
    size = 1 if number < 1 << 8 else 2 if number < 1 << 16 else 4
    return bytes([kind | 23 + size.bit_length()]) + number.to_bytes(size, "big")


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _head(TEXT, len(encoded)) + encoded
