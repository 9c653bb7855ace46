"""Bodies of PutRecords, written at once: boto3's own way spends more on a body than all else that a producer does.

boto3 makes base64 of all data, text of that, JSON of the text, bytes of the JSON. Here data becomes base64 where it
stays. A client's events, in the order in which boto3 calls them, are where the one body is put in place of the other:
whoever listens to them is shown the parameters of the call as ever, and credentials, signing, retries stay boto3's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pybase64 import b64encode

from ..records import KinesisRecord

BODY = "shardpack_body"
"""Where it is in the context of a call, from its parameters to its request."""

STAND_IN = [{"Data": b"", "PartitionKey": "-"}]


class Entries(list[dict[str, Any]]):
    """The ``Records`` of a call whose body is written here."""

    def __init__(self, records: Iterable[KinesisRecord]) -> None:
        super().__init__(record.to_boto3() for record in records)


def write_bodies_of(client: Any) -> None:
    """Have the client send ``Entries`` with a body of ours. One that is not boto3's, or not by JSON, does as it did."""
    meta: Any = getattr(client, "meta", None)
    model = getattr(meta, "service_model", None)
    protocol = getattr(model, "resolved_protocol", None) or getattr(model, "metadata", {}).get("protocol")
    if protocol != "json":
        return
    meta.events.register_last("before-parameter-build.kinesis.PutRecords", _take_records, unique_id="shardpack-records")
    meta.events.register_first("before-call.kinesis.PutRecords", _put_body, unique_id="shardpack-body")


def body_of(entries: Iterable[dict[str, Any]], parameters: dict[str, Any]) -> bytes:
    """Return the body of a PutRecords call: its entries, and its other parameters, which are text."""
    parts = [b'{"Records": [']
    for entry in entries:
        explicit_hash_key = entry.get("ExplicitHashKey")
        explicit = b"" if explicit_hash_key is None else b', "ExplicitHashKey": "%b"' % explicit_hash_key.encode()
        key = json.dumps(entry["PartitionKey"]).encode()
        parts += (b'{"Data": "', b64encode(entry["Data"]), b'", "PartitionKey": %b%b}' % (key, explicit), b", ")
    parts[-1] = b"], "
    parts.append(json.dumps(parameters)[1:].encode())
    return b"".join(parts)


def _take_records(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    """Nobody else is to be shown the parameters any more: boto3 checks and serializes them now."""
    entries = params.get("Records")
    if isinstance(entries, Entries) and entries:
        context[BODY] = body_of(entries, {name: value for name, value in params.items() if name != "Records"})
        params["Records"] = STAND_IN


def _put_body(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    body = context.pop(BODY, None)
    if body is not None:
        params["body"] = body
