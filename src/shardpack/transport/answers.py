"""What a client's answers say, whichever client it is; `body.py` reads those of PutRecords."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..limits import Limits
from . import BrokenAnswerError, StreamDescription


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
        retention_s=summary["RetentionPeriodHours"] * 3600.0 if "RetentionPeriodHours" in summary else None,
    )
