"""What names a stream in calls. Needs no client library."""

from __future__ import annotations

from collections.abc import Mapping


def stream_parameters(stream: str, stream_id: str | None = None) -> dict[str, str]:
    """Return what names a stream in a call of boto3: ``StreamARN`` for an ARN, ``StreamName`` for a name.

    A name has letters, digits, ``_``, ``.`` and ``-`` only, so an ARN is none. ``stream_id`` goes beside it.
    """
    named = {"StreamARN" if stream.startswith("arn:") else "StreamName": stream}
    return named if stream_id is None else {**named, "StreamId": stream_id}


def beside_iterator(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return, of what names a stream, what goes beside a shard iterator: botocore finds the endpoint by it."""
    return {name: given for name, given in parameters.items() if name != "StreamName"}
