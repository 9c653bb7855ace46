"""boto3 and aiobotocore clients whose responses arrive deaggregated, so that existing consumer loops need no change.

botocore tells its ``after-call`` handlers of every parsed response, and lets them change it. aiobotocore does as well,
and takes handlers that are not async; its event streams are read with ``async for``.
"""

from __future__ import annotations

from ..errors import abridged
from .deaggregation import deaggregate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Any

    from .._native.deaggregate import UserRecord


def install(client: Any) -> None:
    """Make a Kinesis client deaggregate what its ``get_records`` and ``subscribe_to_shard`` return.

    ``client`` is boto3's, botocore's or aiobotocore's.

    Records keep their shape: of a user record, ``SequenceNumber``, ``ApproximateArrivalTimestamp`` and
    ``EncryptionType`` are those of its Kinesis record, ``Data`` and ``PartitionKey`` its own, and there are
    ``SubSequenceNumber``, ``Aggregated`` and, where the user gave one, ``ExplicitHashKey``. A malformed aggregated
    record comes back whole, with the reason as text in ``Error``. The rest of a response is left alone; ``Limit`` of
    ``get_records`` counts Kinesis records still.

    Affects this client only; installing twice is installing once. Raises ``TypeError`` for another service's client,
    and for what is no client.
    """
    for event, (handler, unique_id) in _handlers(client).items():
        client.meta.events.register(event, handler, unique_id=unique_id)


def uninstall(client: Any) -> None:
    """Undo ``install``; event streams that are open already go on as they began."""
    for event, (handler, unique_id) in _handlers(client).items():
        client.meta.events.unregister(event, handler, unique_id=unique_id)


def _handlers(client: Any) -> dict[str, tuple[Any, str]]:
    try:
        service = client.meta.service_model.service_name
        _ = client.meta.events
    except AttributeError:
        raise TypeError(
            f"expected a Kinesis client, as boto3.client('kinesis') makes one, not {abridged(client)}; "
            "of a resource it is resource.meta.client, and aiobotocore's is what `async with` gives"
        ) from None
    if service != "kinesis":
        raise TypeError(f"expected a Kinesis client, not one of {abridged(service)}")
    return {
        "after-call.kinesis.GetRecords": (_deaggregate_response, "shardpack-get-records"),
        "after-call.kinesis.SubscribeToShard": (_deaggregate_stream, "shardpack-subscribe-to-shard"),
    }


def _deaggregate_response(parsed: dict[str, Any], **_: Any) -> None:
    if "Records" in parsed:  # an error response has none
        parsed["Records"] = [_as_received(record) for record in deaggregate(parsed["Records"])]


def _deaggregate_stream(parsed: dict[str, Any], **_: Any) -> None:
    if "EventStream" in parsed:
        stream = parsed["EventStream"]
        is_async = hasattr(type(stream), "__aiter__")
        parsed["EventStream"] = _AsyncUserRecordEvents(stream) if is_async else _UserRecordEvents(stream)


def _as_received(user_record: UserRecord) -> dict[str, Any]:
    """Return a user record in the shape of the Kinesis record that it came in."""
    record = dict(user_record.source)
    record["Aggregated"] = user_record.aggregated
    record["SubSequenceNumber"] = user_record.sub_sequence_number
    if user_record.aggregated:
        record["Data"] = user_record.data
        record["PartitionKey"] = user_record.partition_key
        if user_record.explicit_hash_key is not None:
            record["ExplicitHashKey"] = user_record.explicit_hash_key
    elif user_record.error is not None:
        record["Error"] = str(user_record.error)
    return record


def _deaggregated(event: dict[str, Any]) -> dict[str, Any]:
    if "SubscribeToShardEvent" in event:
        _deaggregate_response(event["SubscribeToShardEvent"])
    return event


class _UserRecordEvents:
    """botocore's EventStream, its events deaggregated as they are read; whatever else it offers is its own."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for event in self._stream:
            yield _deaggregated(event)

    def __enter__(self) -> _UserRecordEvents:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _AsyncUserRecordEvents(_UserRecordEvents):
    """The same of aiobotocore's AioEventStream, whose ``close`` is not async."""

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        async for event in self._stream:
            yield _deaggregated(event)

    async def __aenter__(self) -> _AsyncUserRecordEvents:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
