"""The transport of event loops: a Kinesis client of aiobotocore, whose calls are coroutines."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - as in boto3.py
from collections.abc import Sequence
from typing import Any, Literal

from ..errors import abridged
from ..records import KinesisRecord
from ..shards import ShardMap
from . import Failed, Stored, StreamDescription, has_coroutines
from .answers import description_of
from .body import Bodies, forget_call, outcomes_of
from .list_shards import list_all_shards_async
from .naming import name_or_arn, stream_parameters

__all__ = ["AiobotocoreTransport"]


class AiobotocoreTransport:
    """Reach one stream through a Kinesis client of aiobotocore, in the event loop that the client was made in.

    ``client`` is what ``async with session.create_client("kinesis")`` gives; it has to stay open as long as this is
    used. Give either ``stream_name`` or ``stream_arn``, and ``stream_id`` and ``wire`` as for ``Boto3Transport``.
    Calls raise what those of ``Boto3Transport`` raise, and ``CancelledError`` where their task was cancelled: whether
    entries are stored is not known then. Raises ``TypeError`` for what is no such client.
    """

    def __init__(
        self,
        client: Any,
        stream_name: str | None = None,
        *,
        stream_arn: str | None = None,
        stream_id: str | None = None,
        wire: Literal["json", "cbor"] = "json",
    ) -> None:
        if not has_coroutines(client) or not hasattr(client, "meta"):
            raise TypeError(
                "expected a Kinesis client of aiobotocore, as `async with session.create_client('kinesis')` gives it, "
                f"not {abridged(client)}"
            )
        self._stream = stream_parameters(name_or_arn(stream_name, stream_arn), stream_id)
        self.client = client
        self._bodies = Bodies(client, wire)

    async def put_records(self, entries: Sequence[KinesisRecord]) -> list[Stored | Failed]:
        """Send one PutRecords request. Returns an outcome for each entry, by position."""
        records = tuple(entries)
        given = self._bodies.records_of(records)
        try:
            response = await self.client.put_records(Records=given, **self._stream)
        except Exception as error:
            if not self._bodies.can_be_sent_again(given, error):
                raise
            response = await self.client.put_records(Records=self._bodies.records_of(records), **self._stream)
        finally:
            forget_call()
        return outcomes_of(response, len(records))

    async def list_shards(self) -> ShardMap:
        """Return the open shards as they are now; follows every page."""
        return ShardMap.from_shards(await list_all_shards_async(self.client, self._stream, {"Type": "AT_LATEST"}))

    async def describe(self) -> StreamDescription:
        """Return the stream's limits and state, from DescribeStreamSummary."""
        return description_of(await self.client.describe_stream_summary(**self._stream))
