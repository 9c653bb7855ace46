"""What a client's responses say, whichever client it is: outcomes of PutRecords, a stream's description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..limits import Limits
from . import BrokenAnswerError, Failed, Stored, StreamDescription


def outcomes_of(response: Mapping[str, Any]) -> list[Stored | Failed]:
    """Return what PutRecords tells of each entry, by position; ``BrokenAnswerError`` if it was cut off."""
    if "Records" not in response:
        raise BrokenAnswerError("PutRecords", "Records")
    return [
        Failed(result["ErrorCode"], result.get("ErrorMessage", ""))
        if result.get("ErrorCode")
        else Stored(result["ShardId"], result["SequenceNumber"])
        for result in response["Records"]
    ]


def description_of(response: Mapping[str, Any]) -> StreamDescription:
    """Return what DescribeStreamSummary tells of a stream; ``BrokenAnswerError`` if it was cut off."""
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
