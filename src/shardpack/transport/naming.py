"""What names a stream in calls. Needs no client library."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import abridged


def stream_parameters(stream: str, stream_id: str | None = None) -> dict[str, str]:
    """Return what names a stream in a call of boto3: ``StreamARN`` for an ARN, ``StreamName`` for a name.

    A name has letters, digits, ``_``, ``.`` and ``-`` only, so an ARN is none. ``stream_id`` goes beside it.
    """
    named = {"StreamARN" if stream.startswith("arn:") else "StreamName": stream}
    return named if stream_id is None else {**named, "StreamId": stream_id}


def name_or_arn(stream_name: str | None, stream_arn: str | None, stream_id: str | None = None) -> dict[str, str]:
    """Return the same of whichever of both was given. Raises ``ValueError`` for none, both, and for what is no ARN."""
    named = stream_arn if stream_name is None else stream_name
    if named is None or (stream_name is not None and stream_arn is not None):
        raise ValueError("give either stream_name or stream_arn")
    if stream_arn is not None and not stream_arn.startswith("arn:"):
        raise ValueError(f"stream_arn is an ARN, not {abridged(stream_arn)}")
    return stream_parameters(named, stream_id)


def beside_iterator(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return, of what names a stream, what goes beside a shard iterator: botocore finds the endpoint by it."""
    return {name: given for name, given in parameters.items() if name != "StreamName"}
