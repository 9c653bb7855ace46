"""The default transport: any boto3 Kinesis client; credentials, retries, endpoints and proxies are the client's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..limits import Limits
from ..records import KinesisRecord
from ..shards import ShardMap
from . import BrokenAnswerError, Failed, Stored, StreamDescription
from .body import Entries, write_bodies_of
from .list_shards import list_all_shards


def new_client(requests_in_flight: int, **where: Any) -> Any:
    """Make a client for a producer, which makes so many calls at a time and retries by itself, in order.

    ``where``: what else ``boto3.client`` takes, ``endpoint_url`` and the like.
    """
    import boto3  # noqa: PLC0415 - only where a client was not given
    from botocore.config import Config  # noqa: PLC0415

    config = Config(
        retries={"total_max_attempts": 1},
        max_pool_connections=requests_in_flight + 2,
        connect_timeout=6,
        read_timeout=6,
        tcp_keepalive=True,
    )
    return boto3.client("kinesis", config=config, **where)


class Boto3Transport:
    """Reach one stream through a boto3 Kinesis client.

    Give either ``stream_name`` or ``stream_arn`` (which also reaches streams of other accounts). Safe from any thread,
    as boto3 clients are. Calls raise ``botocore.exceptions.ClientError`` and its kin when a whole call fails,
    ``BrokenAnswerError`` when the answer was cut off: whether entries are stored is not known then.
    """

    def __init__(self, client: Any, stream_name: str | None = None, *, stream_arn: str | None = None) -> None:
        if (stream_name is None) == (stream_arn is None):
            raise ValueError("give either stream_name or stream_arn")
        self.client = client
        write_bodies_of(client)
        names = {"StreamName": stream_name, "StreamARN": stream_arn}
        self._stream = {name: given for name, given in names.items() if given is not None}

    def put_records(self, entries: Sequence[KinesisRecord]) -> list[Stored | Failed]:
        """Send one PutRecords request. Returns an outcome for each entry, by position."""
        response = self.client.put_records(Records=Entries(entries), **self._stream)
        if "Records" not in response:
            raise BrokenAnswerError("PutRecords", "Records")
        return [
            Failed(result["ErrorCode"], result.get("ErrorMessage", ""))
            if result.get("ErrorCode")
            else Stored(result["ShardId"], result["SequenceNumber"])
            for result in response["Records"]
        ]

    def list_shards(self) -> ShardMap:
        """Return the open shards as they are now; follows every page."""
        return ShardMap.from_shards(list_all_shards(self.client, self._stream, {"Type": "AT_LATEST"}))

    def describe(self) -> StreamDescription:
        """Return the stream's limits and state, from DescribeStreamSummary."""
        response = self.client.describe_stream_summary(**self._stream)
        if "StreamDescriptionSummary" not in response:
            raise BrokenAnswerError("DescribeStreamSummary", "StreamDescriptionSummary")
        summary = response["StreamDescriptionSummary"]
        return StreamDescription(
            stream_name=summary["StreamName"],
            stream_arn=summary["StreamARN"],
            status=summary["StreamStatus"],
            open_shard_count=summary["OpenShardCount"],
            limits=Limits.for_stream(summary),
            auto_distribution=summary.get("RecordDistributionStrategy") == "AUTO",
        )
