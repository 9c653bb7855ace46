"""User records of a Kinesis queue: received, handled, and acknowledged by the Kinesis record they came in.

A queue knows Kinesis records only, each by its receipt, and an aggregated record holds many user records. So a Kinesis
record is acknowledged when all its user records are handled; else the queue delivers it again, with all of them. One
that fails holds up no other: a queue has no order between Kinesis records.

Source: API reference of ReceiveQueueRecords, AcknowledgeQueueRecords and UpdateQueueRecordsVisibility, as botocore
has it from 1.44.5 on.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import uniform
from time import sleep
from typing import Any

from .._native.deaggregate import ReceivedRecord, UserRecord, deaggregate_received
from ..errors import abridged
from ..limits import whole_number
from ..transport import BrokenAnswerError
from .handling import check_handler, failures_of_list, first_failure
from .shapes import received_of

__all__ = ["Received", "Unacknowledged", "receive_each", "receive_list"]

logger = logging.getLogger("shardpack.consume")

MOST_RECORDS = 10
"""Kinesis records of a call: received, acknowledged, or made visible."""

LONGEST_WAIT_SECONDS = 20
LONGEST_VISIBILITY_SECONDS = 43_200

ACKNOWLEDGE_WAITS = (0.2, 0.8)
"""How long until what was not acknowledged, for no reason of its own, is again: else it would all be handled again."""

HANDLER_FAILED = "HandlerFailed"
UNREADABLE = "Unreadable"
NOT_ANSWERED = "NotAnswered"
PASSING = frozenset({"InternalFailureException", "ThrottlingException", NOT_ANSWERED})


@dataclass(frozen=True, slots=True)
class Unacknowledged:
    """A Kinesis record that the queue delivers again."""

    record: Mapping[str, Any]
    """As it was received: its ``RecordId`` stays the same, its ``ReceiveCount`` tells how often it came."""
    error_code: str
    """``HandlerFailed``; ``Unreadable``; the service's; or ``NotAnswered``, where its answer left the record out."""
    message: str
    user_record: UserRecord | None = None
    """The first that the handler failed at."""


@dataclass(frozen=True, slots=True)
class Received:
    """What came of the Kinesis records of one call."""

    kinesis_records: int
    user_records: int
    """What they held."""
    unacknowledged: tuple[Unacknowledged, ...]
    """In the order in which they were received; all others are acknowledged."""

    @property
    def acknowledged(self) -> int:
        """How many Kinesis records are acknowledged."""
        return self.kinesis_records - len(self.unacknowledged)


def receive_each(
    client: Any,
    queue_arn: str,
    handler: Callable[[UserRecord], Any],
    *,
    max_kinesis_records: int = MOST_RECORDS,
    wait_s: int | None = None,
    visibility_timeout_s: int | None = None,
    retry_after_s: int | None = None,
) -> Received:
    """Receive once from a queue, hand over each user record, acknowledge the Kinesis records that are done.

    ``client`` is a boto3 Kinesis client of botocore 1.44.5 or newer. The handler fails by raising an ``Exception``,
    which is logged; what it returns is dropped. A failure ends the handling of its Kinesis record, and the next one's
    begins. User records of a Kinesis record come in order; a record with ``error`` set is a malformed aggregated record
    and comes as a whole. ``user_record.source`` is the Kinesis record, ``ReceiptHandle``, ``ReceiveCount`` and all.

    ``max_kinesis_records`` (1 to 10), ``wait_s`` (1 to 20; the service's 9) for the first record to come, and
    ``visibility_timeout_s`` (0 to 43,200; the queue's own) are those of ReceiveQueueRecords. The timeout has to cover
    the handling of all that was received: what takes longer is delivered again meanwhile, and its acknowledgement may
    be refused. ``retry_after_s`` (0 to 43,200) is when what failed is to come again, instead of at that timeout.

    Returns what came of it, records that are not acknowledged included. What the service did not acknowledge for a
    reason that passes is acknowledged again, twice at most, within about a second. Raises what the client raises when a
    whole call fails, ``BrokenAnswerError`` for an answer that was cut off, ``TypeError`` for an ``async`` handler and
    for a client without queues, ``ValueError`` for options out of range. Where ``KeyboardInterrupt``, ``SystemExit`` or
    such ends the handler, what is done is acknowledged before it is raised.
    """
    check_handler(handler, "a user record")

    def handle(parents: Sequence[_Parent]) -> None:
        for parent in parents:
            if parent.failure is None:
                failed = first_failure(handler, parent.user_records, _log_failure)
                parent.settle(failed)

    return _receive(client, queue_arn, handle, _asked(max_kinesis_records, wait_s, visibility_timeout_s), retry_after_s)


def receive_list(
    client: Any,
    queue_arn: str,
    handler: Callable[[list[UserRecord]], list[UserRecord] | None],
    *,
    max_kinesis_records: int = MOST_RECORDS,
    wait_s: int | None = None,
    visibility_timeout_s: int | None = None,
    retry_after_s: int | None = None,
) -> Received:
    """Receive once from a queue, hand over all user records as one list; else as ``receive_each``.

    The handler returns ``None`` when all were handled, or a list of those that failed: objects of the list it was
    given. One that raises an ``Exception``, or returns anything else, failed with the whole list. It is not called
    where nothing was received.
    """
    check_handler(handler, "a list of user records")

    def handle(parents: Sequence[_Parent]) -> None:
        readable = [parent for parent in parents if parent.failure is None]
        user_records = [record for parent in readable for record in parent.user_records]
        failed = set(failures_of_list(handler, user_records, _log_failure) if user_records else ())
        begin = 0
        for parent in readable:
            end = begin + len(parent.user_records)
            parent.settle(next((place - begin for place in range(begin, end) if place in failed), None))
            begin = end

    return _receive(client, queue_arn, handle, _asked(max_kinesis_records, wait_s, visibility_timeout_s), retry_after_s)


@dataclass(slots=True)
class _Parent:
    """A Kinesis record, and what is known of it so far."""

    record: Mapping[str, Any]
    receipt: str
    user_records: list[UserRecord] = field(default_factory=list)
    done: bool = False
    failure: Unacknowledged | None = None

    def settle(self, failed: int | None) -> None:
        """Note that all user records are handled, or where the first failed."""
        self.done = failed is None
        if failed is not None:
            what = f"the handler failed at user record {failed} of {len(self.user_records)}"
            self.failure = Unacknowledged(self.record, HANDLER_FAILED, what, self.user_records[failed])


def _receive(
    client: Any,
    queue_arn: str,
    handle: Callable[[Sequence[_Parent]], None],
    asked: Mapping[str, int],
    retry_after_s: int | None,
) -> Received:
    if not hasattr(client, "receive_queue_records"):
        raise TypeError(f"{abridged(client)} knows no Kinesis queues: they need a Kinesis client of botocore 1.44.5")
    retry_after_s = _between("retry_after_s", retry_after_s, 0, LONGEST_VISIBILITY_SECONDS)
    parents = _parents(client.receive_queue_records(QueueARN=queue_arn, **asked))
    try:
        handle(parents)
    finally:  # what is done is done, whatever ended the handler
        _acknowledge(client, queue_arn, [parent for parent in parents if parent.done])
    if retry_after_s is not None:
        failed = [parent for parent in parents if parent.failure is not None and not parent.done]
        _make_visible(client, queue_arn, failed, retry_after_s)
    return Received(
        len(parents),
        sum(len(parent.user_records) for parent in parents),
        tuple(parent.failure for parent in parents if parent.failure is not None),
    )


def _asked(max_kinesis_records: int, wait_s: int | None, visibility_timeout_s: int | None) -> dict[str, int]:
    asked = {
        "Limit": _between("max_kinesis_records", max_kinesis_records, 1, MOST_RECORDS),
        "WaitTimeSeconds": _between("wait_s", wait_s, 1, LONGEST_WAIT_SECONDS),
        "VisibilityTimeoutSeconds": _between(
            "visibility_timeout_s", visibility_timeout_s, 0, LONGEST_VISIBILITY_SECONDS
        ),
    }
    return {name: value for name, value in asked.items() if value is not None}


def _parents(response: Mapping[str, Any]) -> list[_Parent]:
    """Return the Kinesis records that were received, each with its user records; checksums are computed together."""
    if "QueueRecords" not in response:
        raise BrokenAnswerError("ReceiveQueueRecords", "QueueRecords")
    parents: list[_Parent] = []
    received: list[ReceivedRecord] = []
    for record in response["QueueRecords"]:
        if "ReceiptHandle" not in record:
            raise BrokenAnswerError("ReceiveQueueRecords", "a ReceiptHandle")
        parent = _Parent(record, record["ReceiptHandle"])
        parents.append(parent)
        try:
            received.extend(received_of([record]))
        except (TypeError, ValueError) as error:
            parent.failure = Unacknowledged(record, UNREADABLE, str(error))
            logger.error("failed to read the Kinesis record %s of a queue: %s", record.get("RecordId"), error)  # noqa: TRY400
    user_records: list[UserRecord] = []
    deaggregate_received(received, None, False, user_records)
    by_record = {id(parent.record): parent for parent in parents}
    for user_record in user_records:
        by_record[id(user_record.source)].user_records.append(user_record)
    return parents


def _acknowledge(client: Any, queue_arn: str, done: Sequence[_Parent]) -> None:
    """Acknowledge Kinesis records; those that the service does not say it has keep the reason."""
    left = done
    for wait in (*ACKNOWLEDGE_WAITS, None):
        if not left:
            break
        entries = [{"ReceiptHandle": parent.receipt} for parent in left]
        answer = client.acknowledge_queue_records(QueueARN=queue_arn, Entries=entries)
        for parent, error_code, message in _answered(answer, left):
            parent.failure = Unacknowledged(parent.record, error_code, message) if error_code else None
        left = [parent for parent in left if parent.failure is not None and parent.failure.error_code in PASSING]
        if left and wait is not None:
            sleep(uniform(wait / 2, wait))
    for parent in done:
        if parent.failure is not None:
            logger.warning(
                "the Kinesis record %s was handled and is not acknowledged: %s: %s",
                parent.record.get("RecordId"),
                parent.failure.error_code,
                parent.failure.message,
            )


def _make_visible(client: Any, queue_arn: str, failed: Sequence[_Parent], after_s: int) -> None:
    if not failed:
        return
    entries = [{"ReceiptHandle": parent.receipt, "VisibilityTimeoutSeconds": after_s} for parent in failed]
    answer = client.update_queue_records_visibility(QueueARN=queue_arn, Entries=entries)
    for parent, error_code, message in _answered(answer, failed):
        if error_code:
            logger.warning(
                "the Kinesis record %s comes again when its visibility timeout ends, not after %d s: %s: %s",
                parent.record.get("RecordId"),
                after_s,
                error_code,
                message,
            )


def _answered(answer: Mapping[str, Any], parents: Iterable[_Parent]) -> list[tuple[_Parent, str, str]]:
    """Return for each Kinesis record the error code, empty where there is none, and the message."""
    successful = {entry["ReceiptHandle"] for entry in answer.get("Successful", ())}
    failed = {entry["ReceiptHandle"]: entry for entry in answer.get("Failed", ())}
    outcomes = []
    for parent in parents:
        if parent.receipt in failed:
            entry = failed[parent.receipt]
            outcomes.append((parent, entry.get("ErrorCode") or NOT_ANSWERED, entry.get("ErrorMessage") or ""))
        elif parent.receipt in successful:
            outcomes.append((parent, "", ""))
        else:
            outcomes.append((parent, NOT_ANSWERED, "the answer does not mention it"))
    return outcomes


def _between(name: str, value: int | None, least: int, most: int) -> int | None:
    if value is None:
        return None
    number = whole_number(name, value)
    if not least <= number <= most:
        raise ValueError(f"{name} of {abridged(value)} is not between {least} and {most:,}")
    return number


def _log_failure(record: UserRecord, count: int) -> None:
    logger.error(
        "failed to handle %d user records from %s/%d on: the queue delivers their Kinesis records again",
        count,
        record.record_id,
        record.sub_sequence_number,
        exc_info=sys.exc_info()[0] is not None,
    )
