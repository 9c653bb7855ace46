"""boto3 and aiobotocore clients whose responses arrive deaggregated, so that existing consumer loops need no change.

The body of a GetRecords response is read before botocore parses it, where it can be (see replies). Of everything else
botocore tells its ``after-call`` handlers, once it is parsed, and lets them change it: bodies that were left to it, and
event streams, whose events are parsed as they arrive, without an event of botocore's before. aiobotocore does the same,
and takes handlers that are not async; its event streams are read with ``async for``.
"""

from __future__ import annotations

from .._native.reply import user_record_dictionaries
from .replies import AWAITED, BEFORE_PARSE, CALL, events_of, take_records
from .shapes import received_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from typing import Any


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
    events = events_of(client)
    for event, (handler, unique_id) in _handlers().items():
        events.register(event, handler, unique_id=unique_id)


def uninstall(client: Any) -> None:
    """Undo ``install``; event streams that are open already go on as they began."""
    events = events_of(client)
    for event, (handler, unique_id) in _handlers().items():
        events.unregister(event, handler, unique_id=unique_id)


def _handlers() -> dict[str, tuple[Any, str]]:
    return {
        BEFORE_PARSE: (_deaggregate_body, "shardpack-get-records-body"),
        "after-call.kinesis.GetRecords": (_deaggregate_response, "shardpack-get-records"),
        "after-call.kinesis.SubscribeToShard": (_deaggregate_stream, "shardpack-subscribe-to-shard"),
    }


class _UserRecordDictionaries(list["dict[str, Any]"]):
    """The ``Records`` of a response that are user records already."""

    __slots__ = ()


def _deaggregate_body(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    if AWAITED.get() is None and "Records" not in customized_response_dict:
        received = take_records(response_dict)
        if received is not None:
            customized_response_dict["Records"] = _UserRecordDictionaries(user_record_dictionaries(received))


def _deaggregate_response(parsed: dict[str, Any], context: Mapping[str, Any] | None = None, **_: Any) -> None:
    is_of_read_records = context is not None and CALL in context
    if is_of_read_records or "Records" not in parsed:  # an error response has none
        return
    records = parsed["Records"]
    if type(records) is _UserRecordDictionaries:
        parsed["Records"] = list(records)
    else:
        parsed["Records"] = user_record_dictionaries(list(received_of(records)))


def _deaggregate_stream(parsed: dict[str, Any], **_: Any) -> None:
    if "EventStream" in parsed:
        stream = parsed["EventStream"]
        is_async = hasattr(type(stream), "__aiter__")
        parsed["EventStream"] = _AsyncUserRecordEvents(stream) if is_async else _UserRecordEvents(stream)


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
