"""Every record of a stream, shard by shard, through splits and merges: what tail and demo read with."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from ...shards import Shard

BUSY_SECONDS = 0.2
"""Between reads of one shard that has more: the service answers five GetRecords a second and shard."""
IDLE_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 10.0
CHILDREN_TRIES = 10
"""How often the shards are listed again, a second apart, for the children of one that ended."""

THROTTLED = frozenset({"ProvisionedThroughputExceededException", "LimitExceededException", "KMSThrottlingException"})


@dataclass(frozen=True, slots=True)
class ShardRecords:
    """The Kinesis records of one GetRecords call, as boto3 gives them."""

    shard: Shard
    records: list[dict[str, Any]]


@dataclass(slots=True)
class _Reading:
    """Where the reading of one shard stands."""

    shard: Shard
    start: dict[str, Any]
    iterator: str | None = None
    last_sequence_number: str | None = None
    not_before: float = 0.0
    failures: int = 0


def read_stream(
    client: Any, stream_name: str, start: datetime | str = "TRIM_HORIZON", *, follow: bool = True
) -> Iterator[ShardRecords]:
    """Yield what every shard holds and, with ``follow``, what comes; a shard's records in order.

    ``start`` is ``"TRIM_HORIZON"``, ``"LATEST"`` or a time. The children of a split or merged shard are read once all
    their parents are, so that the order of each key holds. Without ``follow`` it ends when every shard is caught up.
    Expired iterators are renewed and throttled reads repeated; other errors of the client pass through.
    """
    position: dict[str, Any] = (
        {"ShardIteratorType": start}
        if isinstance(start, str)
        else {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": start}
    )
    return iter(_StreamReader(client, stream_name, position, follow=follow))


class _StreamReader:
    def __init__(self, client: Any, stream_name: str, position: dict[str, Any], *, follow: bool) -> None:
        self._client = client
        self._stream_name = stream_name
        self._position = position
        self._follow = follow
        self._reading: dict[str, _Reading] = {}
        self._ended: set[str] = set()
        self._caught_up: set[str] = set()  # left alone, without follow
        self._childless: dict[str, int] = {}  # ended shards whose children are not listed yet: tries left
        self._list_at = 0.0  # when to look for them
        self._began_at = time.time()

    def __iter__(self) -> Iterator[ShardRecords]:
        self._start()
        while self._reading or self._childless:
            if self._childless and self._list_at <= time.monotonic():
                self._discover()
            if not self._reading:
                time.sleep(max(0.0, self._list_at - time.monotonic()))
                continue
            reading = min(self._reading.values(), key=lambda reading: reading.not_before)
            time.sleep(max(0.0, reading.not_before - time.monotonic()))
            records = self._read(reading)
            if records:
                yield ShardRecords(reading.shard, records)

    # --- which shards ---

    def _start(self) -> None:
        shards = self._list_shards()
        if self._position["ShardIteratorType"] == "LATEST":
            self._ended.update(
                shard["ShardId"] for shard in shards if "EndingSequenceNumber" in shard["SequenceNumberRange"]
            )
        self._begin(shards)
        if self._position["ShardIteratorType"] == "LATEST":
            self._position = {"ShardIteratorType": "TRIM_HORIZON"}  # all of a shard that comes later is new

    def _discover(self) -> None:
        """Begin to read shards whose parents are read to the end."""
        shards = self._list_shards()
        parents = {parent for shard in shards for parent in _parents(shard)}
        self._childless = {
            shard_id: tries - 1 for shard_id, tries in self._childless.items() if shard_id not in parents and tries > 0
        }
        self._list_at = time.monotonic() + IDLE_SECONDS
        self._begin(shards)

    def _begin(self, shards: list[dict[str, Any]]) -> None:
        listed = {shard["ShardId"] for shard in shards}
        for shard in shards:
            shard_id = shard["ShardId"]
            waits = any(parent in listed and parent not in self._ended for parent in _parents(shard))
            if waits or shard_id in self._reading or shard_id in self._ended or shard_id in self._caught_up:
                continue
            hash_range = shard["HashKeyRange"]
            self._reading[shard_id] = _Reading(
                Shard(shard_id, int(hash_range["StartingHashKey"]), int(hash_range["EndingHashKey"])), self._position
            )

    def _list_shards(self) -> list[dict[str, Any]]:
        shards: list[dict[str, Any]] = []
        request: dict[str, Any] = {"StreamName": self._stream_name}
        while True:
            page = self._client.list_shards(**request)
            shards += page["Shards"]
            if not page.get("NextToken"):
                return shards
            request = {"NextToken": page["NextToken"]}

    # --- one shard ---

    def _read(self, reading: _Reading) -> list[dict[str, Any]]:
        """Make one GetRecords call; set when the shard's next one is due."""
        try:
            if reading.iterator is None:
                reading.iterator = self._iterator(reading)
            response = self._client.get_records(ShardIterator=reading.iterator)
        except ClientError as error:
            self._recover(reading, error)
            return []
        reading.failures = 0
        records: list[dict[str, Any]] = response["Records"]
        if records:
            reading.last_sequence_number = records[-1]["SequenceNumber"]
        reading.iterator = response.get("NextShardIterator")
        at_tip = not response.get("MillisBehindLatest")
        idle = at_tip and not records
        reading.not_before = time.monotonic() + (IDLE_SECONDS if idle else BUSY_SECONDS)
        if reading.iterator is None:
            self._end(reading)
        elif not self._follow and (idle or (at_tip and self._is_new(records[-1]))):
            self._caught_up.add(reading.shard.shard_id)
            del self._reading[reading.shard.shard_id]
        return records

    def _is_new(self, record: dict[str, Any]) -> bool:
        arrived: datetime = record["ApproximateArrivalTimestamp"]
        return arrived.timestamp() > self._began_at

    def _iterator(self, reading: _Reading) -> str:
        position = reading.start
        if reading.last_sequence_number is not None:
            position = {
                "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
                "StartingSequenceNumber": reading.last_sequence_number,
            }
        iterator: str = self._client.get_shard_iterator(
            StreamName=self._stream_name, ShardId=reading.shard.shard_id, **position
        )["ShardIterator"]
        return iterator

    def _recover(self, reading: _Reading, error: ClientError) -> None:
        """Make the next read of the shard possible, or raise the error again."""
        code = error.response.get("Error", {}).get("Code")
        if code == "ExpiredIteratorException":
            reading.iterator = None
        elif code not in THROTTLED:
            raise error
        longest = min(LONGEST_BACKOFF_SECONDS, IDLE_SECONDS * 2**reading.failures)
        reading.failures += 1
        reading.not_before = time.monotonic() + random.uniform(longest / 2, longest)

    def _end(self, reading: _Reading) -> None:
        shard_id = reading.shard.shard_id
        del self._reading[shard_id]
        self._ended.add(shard_id)
        self._childless[shard_id] = CHILDREN_TRIES
        self._list_at = 0.0


def _parents(shard: dict[str, Any]) -> list[str]:
    return [shard[name] for name in ("ParentShardId", "AdjacentParentShardId") if name in shard]
