"""Every record of a stream, shard by shard, through splits and merges: what tail and demo read with."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ...shards import Shard
from ...transport import BrokenAnswerError
from ...transport.list_shards import list_all_shards
from ...transport.naming import beside_iterator, stream_parameters
from ...transport.transient import error_code, is_transient, is_unreachable
from ..reading import RecordsReply, read_records

logger = logging.getLogger("shardpack.consume")

BUSY_SECONDS = 0.2
"""Between reads of one shard that has more: the service answers five GetRecords a second and shard."""
IDLE_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 10.0
GIVE_UP_SECONDS = 300.0
FIRST_ANSWER_SECONDS = 5.0
"""How long a service is tried that has never answered: its name may be wrong. The client tries several times itself."""
CHILDREN_TRIES = 10
"""How often the shards are listed again, a second apart, for the children of one that ended."""


@dataclass(frozen=True, slots=True)
class ShardRecords:
    """What one GetRecords call brought of a shard."""

    shard: Shard
    reply: RecordsReply

    @property
    def records(self) -> list[dict[str, Any]]:
        """The Kinesis records, as boto3 gives them."""
        return self.reply.kinesis_records()


@dataclass(slots=True)
class _Due:
    """When a call is to be made again; how often, and since when, it has failed in a row."""

    at: float = 0.0
    failures: int = 0
    failing_since: float = 0.0

    def after_success(self, seconds: float) -> None:
        self.at, self.failures = time.monotonic() + seconds, 0

    def after_failure(self, patience_s: float, *, soon: bool) -> bool:
        """Put the call off, with jitter and, unless ``soon``, twice as long each time.

        Returns whether there is to be another try: one within ``patience_s`` of the first failure.
        """
        now = time.monotonic()
        if not self.failures:
            self.failing_since = now
        longest = IDLE_SECONDS if soon else min(LONGEST_BACKOFF_SECONDS, IDLE_SECONDS * 2**self.failures)
        self.failures += 1
        self.at = now + random.uniform(longest / 2, longest)
        return self.at - self.failing_since <= patience_s


@dataclass(slots=True)
class _Reading:
    """Where the reading of one shard stands."""

    shard: Shard
    start: dict[str, Any]
    iterator: str | None = None
    last_sequence_number: str | None = None
    due: _Due = field(default_factory=_Due)


def read_stream(
    client: Any,
    stream: str,
    start: datetime | str = "TRIM_HORIZON",
    *,
    follow: bool = True,
    give_up_after_s: float = GIVE_UP_SECONDS,
) -> Iterator[ShardRecords]:
    """Yield what every shard holds and, with ``follow``, what comes; a shard's records in order.

    ``stream`` is its name or its ARN, which also reaches streams of other accounts. ``start`` is ``"TRIM_HORIZON"``,
    ``"LATEST"`` or a time. The children of a split or merged shard are read once all their parents are, so that the
    order of each key holds. Without ``follow`` it ends when every shard is caught up.

    Expired iterators are renewed where the reading stood. Calls that are throttled, that meet a fault of the service
    or a broken connection are made again, ever more slowly, until one has failed for ``give_up_after_s`` seconds in a
    row (a service that never answered at all is given up after 5 s). That error, and every other of the client,
    is raised.
    """
    position: dict[str, Any] = (
        {"ShardIteratorType": start}
        if isinstance(start, str)
        else {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": start}
    )
    return iter(_StreamReader(client, stream, position, follow=follow, give_up_after_s=give_up_after_s))


class _StreamReader:
    def __init__(
        self, client: Any, stream: str, position: dict[str, Any], *, follow: bool, give_up_after_s: float
    ) -> None:
        self._client = client
        self._stream_name = stream
        self._stream = stream_parameters(stream)
        self._beside_iterator: dict[str, Any] = dict(beside_iterator(self._stream))
        self._position = position
        self._follow = follow
        self._give_up_after_s = give_up_after_s
        self._answered = False  # whether the service ever was
        self._unreachable = False  # and is, as far as the last call tells
        self._reading: dict[str, _Reading] = {}
        self._ended: set[str] = set()
        self._caught_up: set[str] = set()  # left alone, without follow
        self._childless: dict[str, int] = {}  # ended shards whose children are not listed yet: tries left
        self._listed = False
        self._list_due = _Due()
        self._began_at = time.time()

    def __iter__(self) -> Iterator[ShardRecords]:
        while not self._listed or self._reading or self._childless:
            if (self._childless or not self._listed) and self._list_due.at <= time.monotonic():
                self._list()
            if not self._reading:
                time.sleep(max(0.0, self._list_due.at - time.monotonic()))
                continue
            reading = min(self._reading.values(), key=lambda reading: reading.due.at)
            time.sleep(max(0.0, reading.due.at - time.monotonic()))
            reply = self._read(reading)
            if reply:
                yield ShardRecords(reading.shard, reply)

    # --- calls that fail ---

    def _note_answer(self) -> None:
        self._answered = True
        if self._unreachable:
            self._unreachable = False
            logger.warning("%s can be reached again", self._stream_name)

    def _put_off(self, due: _Due, error: Exception) -> None:
        """Make the call again later, or raise its error again when it cannot succeed, or has failed for too long."""
        expired = error_code(error) == "ExpiredIteratorException"
        if not expired and not is_transient(error):
            raise error
        unreachable = is_unreachable(error)
        if not unreachable:
            self._note_answer()
        patience_s = self._give_up_after_s if self._answered else min(FIRST_ANSWER_SECONDS, self._give_up_after_s)
        if not due.after_failure(patience_s, soon=expired):
            raise error
        if unreachable and self._answered and not self._unreachable:
            self._unreachable = True
            logger.warning("%s cannot be reached, trying again for %g s: %s", self._stream_name, patience_s, error)
        else:
            logger.info("%s: trying again: %s", self._stream_name, error)

    # --- which shards ---

    def _list(self) -> None:
        """Begin to read the shards whose parents are read to the end."""
        try:
            shards = list_all_shards(self._client, self._stream)
        except (ClientError, BotoCoreError, BrokenAnswerError) as error:
            self._put_off(self._list_due, error)
            return
        self._note_answer()
        self._list_due.after_success(IDLE_SECONDS)
        if not self._listed and self._position["ShardIteratorType"] == "LATEST":
            self._ended.update(
                shard["ShardId"] for shard in shards if "EndingSequenceNumber" in shard["SequenceNumberRange"]
            )
        parents = {parent for shard in shards for parent in _parents(shard)}
        self._childless = {
            shard_id: tries - 1 for shard_id, tries in self._childless.items() if shard_id not in parents and tries > 0
        }
        self._begin(shards)
        self._listed = True
        if self._position["ShardIteratorType"] == "LATEST":
            self._position = {"ShardIteratorType": "TRIM_HORIZON"}  # all of a shard that comes later is new

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

    # --- one shard ---

    def _read(self, reading: _Reading) -> RecordsReply | None:
        """Make one GetRecords call; set when the shard's next one is due. Returns ``None`` where it failed."""
        try:
            if reading.iterator is None:
                reading.iterator = self._iterator(reading)
            reply = read_records(self._client, ShardIterator=reading.iterator, **self._beside_iterator)
        except (ClientError, BotoCoreError, BrokenAnswerError) as error:
            if error_code(error) == "ExpiredIteratorException":
                reading.iterator = None
            self._put_off(reading.due, error)
            return None
        self._note_answer()
        if reply:
            reading.last_sequence_number = reply.last_sequence_number
        reading.iterator = reply.next_shard_iterator
        at_tip = not reply.millis_behind_latest
        idle = at_tip and not reply
        reading.due.after_success(IDLE_SECONDS if idle else BUSY_SECONDS)
        if reading.iterator is None:
            self._end(reading)
        elif not self._follow and (idle or (at_tip and self._is_new(reply))):
            self._caught_up.add(reading.shard.shard_id)
            del self._reading[reading.shard.shard_id]
        return reply

    def _is_new(self, reply: RecordsReply) -> bool:
        arrived: datetime = reply.kinesis_records()[-1]["ApproximateArrivalTimestamp"]
        return arrived.timestamp() > self._began_at

    def _iterator(self, reading: _Reading) -> str:
        position = reading.start
        if reading.last_sequence_number is not None:
            position = {
                "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
                "StartingSequenceNumber": reading.last_sequence_number,
            }
        response = self._client.get_shard_iterator(ShardId=reading.shard.shard_id, **self._stream, **position)
        if "ShardIterator" not in response:
            raise BrokenAnswerError("GetShardIterator", "ShardIterator")
        if position["ShardIteratorType"] == "LATEST":
            # what comes from now on is meant, also where this iterator expires before a record came
            reading.start = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": _answered_at(response)}
        iterator: str = response["ShardIterator"]
        return iterator

    def _end(self, reading: _Reading) -> None:
        shard_id = reading.shard.shard_id
        del self._reading[shard_id]
        self._ended.add(shard_id)
        self._childless[shard_id] = CHILDREN_TRIES
        if not self._list_due.failures:
            self._list_due.at = 0.0


def _parents(shard: dict[str, Any]) -> list[str]:
    return [shard[name] for name in ("ParentShardId", "AdjacentParentShardId") if name in shard]


def _answered_at(response: dict[str, Any]) -> datetime:
    """Return the time of an answer by the service's clock, in whole seconds; by ours where it does not tell."""
    date = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(date) if date else datetime.now(timezone.utc)
