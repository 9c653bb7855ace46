"""What a client's calls are answered, without a server: bodies, whole as a service or a proxy may send them."""

from __future__ import annotations

import base64
import json
from io import BytesIO

from botocore.awsrequest import AWSResponse

NUMBER = "49590338271490256608559692538361571095921575989136588898"


def record(data=b"data", /, **members):
    """A record of GetRecords in JSON."""
    return {
        "SequenceNumber": NUMBER,
        "ApproximateArrivalTimestamp": 1545084650.987,
        "Data": base64.b64encode(data).decode(),
        "PartitionKey": "outer",
    } | members


def body_of(*records, **members):
    """The body of a GetRecords response."""
    return json.dumps({"Records": records, "NextShardIterator": "AAAA", "MillisBehindLatest": 7} | members).encode()


class _Raw(BytesIO):
    def stream(self, **_):
        yield self.getvalue()


def _response(request, status, body):
    return AWSResponse(request.url, status, {"content-type": "application/x-amz-json-1.1"}, _Raw(body))


def answer(client, *answers, operation="GetRecords"):
    """Have calls of an operation answered by these bodies, or by status and body; by the last again and again."""
    left = list(answers)

    def send(request, **_):
        given = left.pop(0) if len(left) > 1 else left[0]
        status, body = given if isinstance(given, tuple) else (200, given)
        return _response(request, status, body)

    client.meta.events.register(f"before-send.kinesis.{operation}", send)


def answer_by_iterator(client, **bodies):
    """Have GetRecords answered by the body for its shard iterator."""
    client.meta.events.register(
        "before-send.kinesis.GetRecords",
        lambda request, **_: _response(request, 200, bodies[json.loads(request.body)["ShardIterator"]]),
    )
