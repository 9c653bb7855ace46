"""The one call of consumers: Kinesis records in, user records out."""

from __future__ import annotations

from itertools import islice

from .._native.deaggregate import ReceivedRecord, UserRecord, deaggregate_received, set_shard_id
from ..errors import MalformedRecordError, abridged
from .shapes import holds_several, received_records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TypeAlias

    from .._native.columns import Columns
    from ..shards import Shard

    HashRange: TypeAlias = Shard | tuple[int, int]

BATCH = 64
"""Kinesis records that ``iter_deaggregate`` takes apart at a time, so that their checksums run together."""


class UserRecords(list[UserRecord]):
    """The user records of one call, in order; ``left_out`` counts those that ``hash_range`` kept back."""

    __slots__ = ("left_out",)
    left_out: int


def deaggregate(
    records: Any, *, hash_range: HashRange | None = None, strict: bool = False, shard_id: str | None = None
) -> UserRecords:
    """Take Kinesis records apart into the user records they hold.

    ``records`` is what a consumer holds: a response of GetRecords or ReceiveQueueRecords, the event of a Lambda
    function, of a Firehose or Kinesis Analytics transformation or of SubscribeToShard, their records, one of these,
    Powertools' data classes and models of them, amazon_kclpy's record objects, raw ``bytes`` (or another buffer of
    them), or an iterable of any of these. In events, text is base64 and ``bytes`` are the data itself. Order is kept. A
    record counts as aggregated only if magic, length, MD5 and a parse with all required fields hold; otherwise it comes
    back whole with ``aggregated`` false. One that parses, but has an index outside its table or a bad explicit hash
    key, comes back whole with ``error`` set, so that nothing is lost; ``strict`` raises that ``MalformedRecordError``
    instead. Compressed aggregates are taken apart as well; one that is damaged, would be more than 64 times as large or
    64 MiB, or meets no library that has zstd (extra ``codec``, or Python 3.14), comes back whole with ``error``, too.

    ``hash_range``, a ``Shard`` or the first and last hash key of one, applies the KCL's rule: an aggregated record with
    any user record outside is left out whole (it was sent again, to the right shard). The result's ``left_out`` says
    how many user records that were, and so does a log line. Source: KCL, AggregatorUtil.deaggregate.

    Raises ``TypeError`` for a shape that is not known, ``ValueError`` for base64 that is not, both of which name the
    record, and ``ValueError`` for a range that is none. Data is copied out of the input; thread-safe.
    """
    found = UserRecords()
    limits = first_and_last(hash_range)
    received = in_shard(list(received_records(records)), shard_id)
    found.left_out = deaggregate_received(received, limits, strict, found)
    log_left_out(found.left_out, limits)
    return found


def iter_deaggregate(
    records: Any, *, hash_range: HashRange | None = None, strict: bool = False, shard_id: str | None = None
) -> Iterator[UserRecord]:
    """Yield what ``deaggregate`` returns, from any iterable, holding the user records of 64 Kinesis records at most.

    A response, an event and a list are read 64 Kinesis records ahead, so that checksums run together. Of any other
    iterable, be it an event stream or a generator, an item is asked for when the user records of all before it were
    yielded. Whatever is raised comes after the user records of what is before it.
    """
    limits = first_and_last(hash_range)
    if holds_several(records) and not isinstance(records, (list, tuple)):
        for place, item in enumerate(records):
            yield from _in_batches(received_records([item], place), limits, strict, shard_id)
    else:
        yield from _in_batches(received_records(records), limits, strict, shard_id)


def _in_batches(
    received: Iterator[ReceivedRecord], hash_range: tuple[int, int] | None, strict: bool, shard_id: str | None
) -> Iterator[UserRecord]:
    failure: Exception | None = None
    while failure is None:
        batch: list[ReceivedRecord] = []
        try:
            batch.extend(islice(received, BATCH))
        except Exception as error:  # noqa: BLE001 - raised when what came before it was yielded
            failure = error
        if not batch:
            break
        found: list[UserRecord] = []
        try:
            log_left_out(deaggregate_received(in_shard(batch, shard_id), hash_range, strict, found), hash_range)
        except MalformedRecordError as error:
            failure = error  # of the two, this one is before the other
        yield from found
    if failure is not None:
        raise failure


def deaggregate_columns(
    records: Any, *, hash_range: HashRange | None = None, strict: bool = False, shard_id: str | None = None
) -> Columns:
    """Take Kinesis records apart into columns: one buffer of data with offsets, and arrays of what goes with it.

    Takes what ``deaggregate`` takes, and means the same by it; no Python object is made for a user record. For callers
    who feed Arrow, numpy or a file. See ``Columns``.
    """
    return read_columns(records, hash_range, strict, shard_id, viewed=False)


def read_columns(
    records: Any, hash_range: HashRange | None, strict: bool, shard_id: str | None, viewed: bool
) -> Columns:
    """Make the columns; where payloads are ``viewed`` they stay in their Kinesis records, and there is no ``data``."""
    limits = first_and_last(hash_range)
    return columns_of(in_shard(list(received_records(records)), shard_id), limits, strict, viewed)


def columns_of(
    received: list[ReceivedRecord], hash_range: tuple[int, int] | None, strict: bool, viewed: bool
) -> Columns:
    """Make the columns of Kinesis records that were found already."""
    from .._native.columns import columns_of_received  # noqa: PLC0415 - a function that starts cold rarely needs it

    columns = columns_of_received(received, hash_range, strict, viewed)
    log_left_out(columns.left_out, hash_range)
    return columns


def first_and_last(hash_range: HashRange | None) -> tuple[int, int] | None:
    """Return the hash keys between which user records count, of what tells them."""
    if hash_range is None or isinstance(hash_range, tuple):
        return hash_range
    if hasattr(hash_range, "starting_hash_key") and hasattr(hash_range, "ending_hash_key"):
        return hash_range.starting_hash_key, hash_range.ending_hash_key
    raise TypeError(f"hash_range is a Shard, or the first and the last hash key of one, not {abridged(hash_range)}")


def in_shard(received: list[ReceivedRecord], shard_id: str | None) -> list[ReceivedRecord]:
    """Return Kinesis records, those that tell no shard being of this one."""
    if shard_id is not None:
        if not isinstance(shard_id, str):
            raise TypeError(f"shard_id is text, such as 'shardId-000000000000', not {abridged(shard_id)}")
        set_shard_id(received, shard_id)
    return received


def log_left_out(left_out: int, hash_range: tuple[int, int] | None) -> None:
    if left_out and hash_range is not None:
        import logging  # noqa: PLC0415 - a function that starts cold rarely needs it

        logger = logging.getLogger("shardpack.consume")
        logger.warning("left out %d user records outside the hash range %s to %s", left_out, *hash_range)
