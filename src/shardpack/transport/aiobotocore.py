"""The transport of event loops: a Kinesis client of aiobotocore, whose calls are coroutines."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - as in boto3.py
from collections.abc import Sequence
from typing import Any

from ..errors import abridged
from ..records import KinesisRecord
from ..shards import ShardMap
from . import Failed, Stored, StreamDescription, has_coroutines, stream_parameters
from .answers import description_of, outcomes_of
from .body import Entries, write_bodies_of
from .list_shards import shard_pages


class AiobotocoreTransport:
    """Reach one stream through a Kinesis client of aiobotocore, in the event loop that the client was made in.

    ``client`` is what ``async with session.create_client("kinesis")`` gives; it has to stay open as long as this is
    used. Give either ``stream_name`` or ``stream_arn``. Calls raise what those of ``Boto3Transport`` raise, and
    ``CancelledError`` where their task was cancelled: whether entries are stored is not known then. Raises
    ``TypeError`` for what is no such client.
    """

    def __init__(self, client: Any, stream_name: str | None = None, *, stream_arn: str | None = None) -> None:
        if not has_coroutines(client) or not hasattr(client, "meta"):
            raise TypeError(
                "expected a Kinesis client of aiobotocore, as `async with session.create_client('kinesis')` gives it, "
                f"not {abridged(client)}"
            )
        self._stream = stream_parameters(stream_name, stream_arn)
        self.client = client
        write_bodies_of(client)

    async def put_records(self, entries: Sequence[KinesisRecord]) -> list[Stored | Failed]:
        """Send one PutRecords request. Returns an outcome for each entry, by position."""
        return outcomes_of(await self.client.put_records(Records=Entries(entries), **self._stream))

    async def list_shards(self) -> ShardMap:
        """Return the open shards as they are now; follows every page."""
        pages = shard_pages(self._stream, {"Type": "AT_LATEST"})
        request = next(pages)
        while True:
            try:
                try:
                    page = await self.client.list_shards(**request)
                except Exception as error:  # noqa: BLE001 - it comes out again, or the list is begun again
                    request = pages.throw(error)
                else:
                    request = pages.send(page)
            except StopIteration as end:
                return ShardMap.from_shards(end.value)

    async def describe(self) -> StreamDescription:
        """Return the stream's limits and state, from DescribeStreamSummary."""
        return description_of(await self.client.describe_stream_summary(**self._stream))
