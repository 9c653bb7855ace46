"""What names a stream in calls. Needs no client library."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import abridged


def name_or_arn(stream_name: object, stream_arn: object) -> str:
    """Return the one of both that is given; an ARN may be given as the name.

    Raises ``ValueError`` unless it is one of them, and where ``stream_arn`` is none; ``TypeError`` for what is no text.
    """
    if (stream_name is None) == (stream_arn is None):
        raise ValueError("give either stream_name or stream_arn")
    given = stream_arn if stream_name is None else stream_name
    if not isinstance(given, str):
        raise TypeError(f"a stream's name or ARN is a str, not {abridged(given)}; a client goes in as client=")
    if stream_name is None and not given.startswith("arn:"):
        raise ValueError(f"stream_arn is an ARN, not {abridged(given)}")
    return given


def stream_parameters(stream: str, stream_id: str | None = None) -> dict[str, str]:
    """Return what names a stream in a call of boto3: ``StreamARN`` for an ARN, ``StreamName`` for a name.

    A name has letters, digits, ``_``, ``.`` and ``-`` only, so an ARN is none. ``stream_id`` goes beside it.
    """
    named = {"StreamARN" if stream.startswith("arn:") else "StreamName": stream}
    return named if stream_id is None else {**named, "StreamId": stream_id}


def beside_iterator(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return, of what names a stream, what goes beside a shard iterator: botocore finds the endpoint by it."""
    return {name: given for name, given in parameters.items() if name != "StreamName"}
