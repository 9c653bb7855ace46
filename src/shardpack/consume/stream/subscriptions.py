"""Enhanced fan-out: shards whose records are pushed, over a connection each, to one registered consumer."""

# ruff: noqa: SLF001 - a part of the readers, in a file of its own

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from botocore.eventstream import ParserError
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from urllib3.exceptions import HTTPError

from ...errors import ShardpackError
from ...transport import BrokenAnswerError
from ...transport.transient import error_code, is_transient
from ..deaggregation import in_shard
from ..shapes import received_of
from .base import answered_time
from .checkpoints import Checkpoint
from .schedule import SENTINELS, Cursor, is_latest, logger

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from typing import TypeAlias

    from ..._native.deaggregate import ReceivedRecord
    from .base import BaseReader
    from .reader import StreamReader

    Registering: TypeAlias = Generator[tuple[str, dict[str, Any]] | None, Any, None]

SUBSCRIBE_AGAIN_SECONDS = 5.0
"""Between two subscriptions of a consumer to one shard; the service refuses what comes sooner."""
IDLE_SECONDS = 60.0
"""Between two checkpoints of a shard of which nothing comes."""
PASSES = frozenset({"ResourceInUseException", "InternalFailureException", "LimitExceededException"})
"""Errors that pass: a consumer not active yet, a subscription of the last 5 s, faults told in a stream of events."""


class BaseSubscriptions:
    """What the subscriptions of both forms of reader share: without calls and without waiting."""

    def __init__(self, reader: BaseReader, consumer: str) -> None:
        self._reader = reader
        self._consumer = consumer
        self._arn = consumer if consumer.startswith("arn:") else ""
        self._noted: dict[str, float] = {}  # when a shard of which nothing came had a checkpoint, or was begun

    def check(self) -> None:
        """Raise when there are more shards to be read than there may be subscriptions."""
        reader = self._reader
        assert reader._schedule is not None
        wanted = len(reader._schedule.cursors)
        if wanted > reader._max_subscriptions:
            raise ShardpackError(
                f"{reader.stream} has {wanted:,} shards to be read, "
                f"more than max_subscriptions={reader._max_subscriptions:,}"
            )

    def _registering(self) -> Registering:
        """Register the consumer, if its name is not, until it is active.

        Yields calls, whose answers it is sent, or errors thrown; and ``None`` where a second is to pass.
        """
        reader = self._reader
        until = reader._clock.monotonic() + reader._give_up_after_s
        stream_arn = reader.stream
        if not self._arn and not stream_arn.startswith("arn:"):
            summary = yield "describe_stream_summary", {"StreamName": reader.stream}
            stream_arn = summary["StreamDescriptionSummary"]["StreamARN"]
        named = {"StreamARN": stream_arn, "ConsumerName": self._consumer}
        while not self._arn and not reader._stopping:
            status = "not registered"
            try:
                try:
                    found = (yield "describe_stream_consumer", named)["ConsumerDescription"]
                except ClientError as error:
                    if error_code(error) != "ResourceNotFoundException":
                        raise
                    logger.info("%s: registering the consumer %s", reader.stream, self._consumer)
                    found = (yield "register_stream_consumer", named)["Consumer"]
                status = found["ConsumerStatus"]
                if status == "ACTIVE":
                    self._arn = found["ConsumerARN"]
                    return
            except (ClientError, BotoCoreError) as error:
                if not _passes(error) or reader._clock.monotonic() >= until:
                    raise
            if reader._clock.monotonic() >= until:
                raise ShardpackError(
                    f"the consumer {self._consumer} of {reader.stream} is {status} after {reader._give_up_after_s:g} s"
                )
            yield None

    # --- one subscription ---

    def _request(self, cursor: Cursor) -> dict[str, Any]:
        """Return what SubscribeToShard is to be asked for."""
        self._noted.setdefault(cursor.shard.shard_id, self._reader._clock.monotonic())
        return {
            "ConsumerARN": self._arn,
            "ShardId": cursor.shard.shard_id,
            "StartingPosition": starting_position(cursor),
        }

    def _answered(self, response: Mapping[str, Any]) -> tuple[Any, float]:
        """Return the stream of events, and by how much the service's clock is ahead of ours, in seconds."""
        if "EventStream" not in response:
            raise BrokenAnswerError("SubscribeToShard", "EventStream")
        return response["EventStream"], answered_time(response, self._reader._clock) - time.time()

    def _has_room(self, received: list[ReceivedRecord]) -> bool:
        """Whether records may be taken now, with the reader's lock held; one event is, where there is nothing else."""
        reader = self._reader
        size = sum(record.size for record in received)
        return not size or not reader._buffered or reader._buffered + size <= reader._max_buffer_bytes

    def _take(
        self, cursor: Cursor, event: Mapping[str, Any], received: list[ReceivedRecord], answered_at: float
    ) -> bool:
        """Take an event; return whether no more is wanted."""
        reader = self._reader
        continuation, millis_behind = event.get("ContinuationSequenceNumber"), event.get("MillisBehindLatest")
        goes_on = None if event.get("ChildShards") or not continuation else continuation
        ended = reader._take_records(cursor, received, answered_at, millis_behind, goes_on, goes_on=True)
        if not ended and continuation:
            with reader._lock:
                self._advance(cursor, Checkpoint(continuation, read_up_to=cursor.read_up_to), came=bool(received))
        return ended

    def _advance(self, cursor: Cursor, to: Checkpoint, *, came: bool) -> None:
        """Go on from here the next time, and let it be the checkpoint where nothing came for long."""
        reader, shard_id = self._reader, cursor.shard.shard_id
        if cursor.position.sequence_number in SENTINELS or to.is_after(
            Checkpoint(cursor.position.sequence_number, 2**63 - 1)
        ):
            cursor.position, cursor.whole = to, True
        now = reader._clock.monotonic()
        if came or not cursor.whole or now - self._noted[shard_id] < IDLE_SECONDS:
            return
        self._noted[shard_id] = now
        if not any(
            isinstance(item[0], str) and item[0] == shard_id for item in reader._ready if isinstance(item, tuple)
        ):
            reader._ready.append((shard_id, cursor.position))

    def _ended(self, cursor: Cursor, began: float, *, any_came: bool) -> None:
        """Have a shard subscribed to again whose subscription has ended."""
        reader = self._reader
        assert reader._schedule is not None
        if not any_came:
            raise BrokenAnswerError("SubscribeToShard", "SubscribeToShardEvent")
        with reader._lock:
            reader._schedule.again(cursor, max(reader._clock.monotonic(), began + SUBSCRIBE_AGAIN_SECONDS))

    def _failed(self, cursor: Cursor, error: Exception) -> None:
        """Note what ended a subscription, or raise it again."""
        reader = self._reader
        if reader._is_over():
            return
        if error_code(error) == "ResourceInUseException":
            logger.info("%s: the subscription to %s: %s", reader.stream, cursor.shard.shard_id, error)
        reader._failed(cursor, error, passes=_passes(error))


class Subscriptions(BaseSubscriptions):
    """Those of a ``StreamReader``, each followed by a thread of its own for as long as it lasts: five minutes."""

    _reader: StreamReader

    def __init__(self, reader: StreamReader, consumer: str) -> None:
        super().__init__(reader, consumer)
        self._streams: set[Any] = set()

    def register(self) -> None:
        """Register the consumer, if its name is not, and wait until it is active."""
        reader, steps = self._reader, self._registering()
        with suppress(StopIteration):
            call = next(steps)
            while True:
                if call is None:
                    with reader._lock:
                        reader._clock.wait(reader._ending, 1.0)
                    call = next(steps)
                    continue
                name, parameters = call
                try:
                    answer = getattr(reader.client, name)(**parameters)
                except (ClientError, BotoCoreError) as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(answer)

    def follow(self, cursor: Cursor) -> None:
        """Subscribe to a shard and take what comes, until that ends. Runs in a thread of its own."""
        reader = self._reader
        try:
            try:
                self._follow(cursor)
            except (ClientError, BotoCoreError, BrokenAnswerError) as error:
                self._failed(cursor, error)
        except BaseException as error:  # noqa: BLE001 - raised where somebody iterates
            reader._fail(error)
        finally:
            with reader._lock:
                reader._came.notify()
                reader._work.notify_all()

    def end(self) -> None:
        """Have the threads that wait for an event wait no longer, where urllib3 (2.3) can; else for 5 s at most."""
        with self._reader._lock:
            streams = list(self._streams)
        for stream in streams:
            shutdown = getattr(getattr(stream, "_raw_stream", None), "shutdown", None)
            if shutdown is not None:
                with suppress(Exception):  # it has ended meanwhile
                    shutdown()

    def _follow(self, cursor: Cursor) -> None:
        reader = self._reader
        began = reader._clock.monotonic()
        stream, ahead = self._answered(reader.client.subscribe_to_shard(**self._request(cursor)))
        with reader._lock:
            self._streams.add(stream)
        try:
            if is_latest(cursor.position):
                reader._begin_now(cursor, time.time() + ahead)
            any_came = False
            for event in events_of(stream):
                any_came = True
                received = received_of_event(cursor, event)
                with reader._lock:
                    while not reader._is_over() and not self._has_room(received):
                        reader._clock.wait(reader._work, None)
                    if reader._is_over():
                        return
                over = self._take(cursor, event, received, time.time() + ahead)
                with reader._lock:
                    reader._came.notify()
                if over:
                    return
        finally:
            with reader._lock:
                self._streams.discard(stream)
            stream.close()
        self._ended(cursor, began, any_came=any_came)


def _passes(error: Exception) -> bool:
    return error_code(error) in PASSES or is_transient(error)


def starting_position(cursor: Cursor) -> dict[str, Any]:
    """Return where SubscribeToShard is to begin."""
    wanted = cursor.iterator_parameters()
    names = {"ShardIteratorType": "Type", "StartingSequenceNumber": "SequenceNumber"}
    return {names.get(name, name): value for name, value in wanted.items()}


def received_of_event(cursor: Cursor, event: Mapping[str, Any]) -> list[ReceivedRecord]:
    """Return the Kinesis records of an event."""
    return in_shard(list(received_of(event["Records"])), cursor.shard.shard_id)


def events_of(stream: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the events of a subscription; a connection that breaks is botocore's error, as in other calls."""
    try:
        for event in stream:
            if "SubscribeToShardEvent" in event:
                yield event["SubscribeToShardEvent"]
    except (HTTPError, OSError, ParserError) as error:
        raise HTTPClientError(error=error) from error
