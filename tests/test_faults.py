"""What a client's exceptions mean for the records of a call."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from shardpack.producer.entries import Fault
from shardpack.producer.faults import call_error


def refusal(code, message, status=400):
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "PutRecords")


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        # https://github.com/aws/amazon-kinesis-streams-for-fluent-bit/issues/21
        ("InvalidArgumentException", 400, "Records size exceeds 5 MB limit"),
        ("ValidationException", 400, "The request payload is too large"),
        ("SerializationException", 400, "Request body exceeds 10485760 bytes"),
        ("413", 413, "<html><head><title>413 Request Entity Too Large</title></head></html>"),  # nginx
        ("RequestEntityTooLargeException", 413, ""),
    ],
)
def test_calls_that_are_too_large(code, status, message):
    found = call_error(refusal(code, message, status))
    assert (found.fault, found.error_code, found.maybe_stored) == (Fault.TOO_LARGE, code, False)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("InvalidArgumentException", "Stream s under account 000000000000 not found."),
        ("SerializationException", "Malformed message body"),
        (
            "ValidationException",
            "1 validation error detected: Value at 'records.1.member.data' failed to satisfy constraint",
        ),
    ],
)
def test_calls_that_are_refused_for_other_reasons(code, message):
    assert call_error(refusal(code, message)).fault is Fault.INVALID
