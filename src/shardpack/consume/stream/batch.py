"""What one read brought of a shard: user records in whichever form they are asked for, and their checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, SupportsIndex

from ..._native.deaggregate import deaggregate_received
from ...errors import abridged
from ..deaggregation import UserRecords, columns_of, log_left_out
from .checkpoints import Checkpoint

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..._native.arrow import UserRecordBatch
    from ..._native.columns import Columns
    from ..._native.deaggregate import ReceivedRecord, UserRecord
    from .shards import ListedShard


@dataclass(frozen=True, slots=True)
class Gap:
    """Records that may have expired before they were read: of these times, by the service's clock.

    ``shard_id`` is the batch's shard, or one that it came of and that the stream has no longer. ``since`` is ``None``
    where nothing was read of it.
    """

    shard_id: str
    since: datetime | None
    until: datetime


class Keep(Protocol):
    """Where a batch's checkpoints go; ``whole`` is whether one is at the last user record of its Kinesis record."""

    def __call__(self, checkpoint: Checkpoint, *, whole: bool) -> None: ...


class Contents:
    """The Kinesis records of a read, taken apart once, for a batch and for those that it is cut into."""

    __slots__ = ("_columns", "_last_place", "_user_records", "hash_range", "read_up_to", "received")

    def __init__(
        self, received: list[ReceivedRecord], hash_range: tuple[int, int] | None, read_up_to: float | None
    ) -> None:
        self.received = received
        self.hash_range = hash_range
        self.read_up_to = read_up_to
        self._user_records: UserRecords | None = None
        self._columns: dict[bool, Columns] = {}
        self._last_place: tuple[str, int] | None = None

    def user_records(self) -> UserRecords:
        found = self._user_records
        if found is None:
            found = UserRecords()
            found.left_out = deaggregate_received(self.received, self.hash_range, False, found)
            if not self._columns:
                log_left_out(found.left_out, self.hash_range)
            self._user_records = found
        return found

    def columns(self, *, viewed: bool = False) -> Columns:
        found = self._columns.get(viewed)
        if found is None:
            found = self._columns[viewed] = columns_of(self.received, self.hash_range, False, viewed)
        return found

    def place_of(self, row: int) -> tuple[str, int]:
        """Return sequence number and sub-sequence number of a user record."""
        if self._user_records is not None or not self._columns:
            record = self.user_records()[row]
            return _number(record.sequence_number), record.sub_sequence_number
        columns = next(iter(self._columns.values()))
        origin = self.received[columns.parents[row]].origin
        return _number(origin.sequence_number), columns.sub_sequence_numbers[row]

    @property
    def last_sequence_number(self) -> str:
        """That of the last Kinesis record."""
        return _number(self.received[-1].origin.sequence_number)

    def last_place(self) -> tuple[str, int]:
        """Return that of the last user record there is, whatever a hash range leaves out, without the others."""
        if self._last_place is None:
            found: list[UserRecord] = []
            deaggregate_received(self.received[-1:], None, False, found)
            self._last_place = self.last_sequence_number, found[-1].sub_sequence_number
        return self._last_place

    def __len__(self) -> int:
        if self._columns and self._user_records is None:
            return len(next(iter(self._columns.values())))
        return len(self.user_records())


def _number(sequence_number: str | None) -> str:
    assert sequence_number is not None  # every record of a stream has one
    return sequence_number


class StreamBatch:
    """The user records that one read brought of a shard, in order.

    ``shard`` is where they come from, ``millis_behind`` how far the read was from the tip of the shard, in milliseconds
    (``None`` where the service does not tell), ``gap`` what may have expired before it. ``len()`` counts user records.
    ``batch[a:b]`` is a batch of these of its user records, which shares their memory: 10 MiB at most.

    Nothing is taken apart before ``records``, ``columns()``, ``arrow()`` or ``len()`` asks for it; then it is kept.
    Thread-safe, as far as each part is handled by one thread.
    """

    __slots__ = ("_checkpoint", "_contents", "_first", "_stop", "gap", "millis_behind", "shard")

    def __init__(
        self,
        shard: ListedShard,
        contents: Contents,
        checkpoint: Keep,
        *,
        first: int = 0,
        stop: int | None = None,
        millis_behind: int | None = None,
        gap: Gap | None = None,
    ) -> None:
        self.shard = shard
        self.millis_behind = millis_behind
        self.gap = gap
        self._contents = contents
        self._checkpoint = checkpoint
        self._first = first
        self._stop = stop

    @property
    def shard_id(self) -> str:
        """The id of the shard."""
        return self.shard.shard_id

    @property
    def arrived(self) -> float | None:
        """When the first Kinesis record of the read arrived, in epoch seconds by the service's clock."""
        moment: datetime | None = self._contents.received[0].origin.approximate_arrival_timestamp
        return None if moment is None else moment.timestamp()

    @property
    def records(self) -> UserRecords:
        """The user records, as of ``deaggregate``; its ``left_out`` counts those outside the shard's range."""
        found = self._contents.user_records()
        if not self._first and self._stop is None:
            return found
        part = UserRecords(found[self._first : self._stop])
        part.left_out = found.left_out
        return part

    def columns(self) -> Columns:
        """Return them as columns, as ``deaggregate_columns`` does."""
        return self._cut(self._contents.columns())

    def arrow(self, *, zero_copy: bool = False) -> UserRecordBatch:
        """Return them as an Arrow record batch, as ``deaggregate_arrow`` does."""
        from ..._native.arrow import batch_of_columns  # noqa: PLC0415 - who asks for user records does without

        return batch_of_columns(self._cut(self._contents.columns(viewed=zero_copy)))

    def _cut(self, columns: Columns) -> Columns:
        return columns if not self._first and self._stop is None else columns[self._first : self._stop]

    def kinesis_records(self) -> list[dict[str, Any]]:
        """Return the Kinesis records as ``get_records`` gives them: all of the read, also of a part of it."""
        return [record.source for record in self._contents.received]

    @property
    def left_out(self) -> int:
        """How many user records of the whole read are outside the shard's range: their producer sent them again."""
        return self.records.left_out

    def checkpoint(self, record: UserRecord | None = None) -> None:
        """Keep that every user record of the shard is handled, up to this one of the batch, or to its last.

        It is kept when this returns. Raises ``CheckpointsLostError`` when another reader has taken the checkpoints,
        ``CheckpointMovedBackError`` when a later one is kept already, ``ValueError`` for a record of another batch.
        """
        contents = self._contents
        read_up_to = contents.read_up_to
        if record is not None:
            place = self._place(record)
            arrived = record.approximate_arrival_timestamp
            read_up_to = None if arrived is None else arrived.timestamp()
        elif self._stop is None:
            place = contents.last_place()
        elif self._first == self._stop:
            return
        else:
            place, read_up_to = contents.place_of(self._stop - 1), None
        whole = place[0] == contents.last_sequence_number and place == contents.last_place()
        self._checkpoint(Checkpoint(*place, read_up_to=read_up_to), whole=whole)

    def _place(self, record: Any) -> tuple[str, int]:
        number = getattr(record, "sequence_number", None)
        received = self._contents.received
        if number is None or not any(one.origin.sequence_number == number for one in received):
            raise ValueError(f"a checkpoint of a batch is at one of its user records, not at {abridged(record)}")
        return number, record.sub_sequence_number

    def __len__(self) -> int:
        return (len(self._contents) if self._stop is None else self._stop) - self._first

    def __getitem__(self, rows: slice[SupportsIndex | None, SupportsIndex | None, None]) -> Self:
        if not isinstance(rows, slice):
            raise TypeError(f"batch[a:b] is a part of a batch; of {abridged(rows)} there is .records[…]")
        first, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(f"the parts of a batch are in order: a step of {step} is not")
        if (first, stop) == (0, len(self)):
            return self
        whole = self._stop is None and stop == len(self)
        return type(self)(
            self.shard,
            self._contents,
            self._checkpoint,
            first=self._first + first,
            stop=None if whole else self._first + max(first, stop),
            millis_behind=self.millis_behind,
            gap=self.gap if not first else None,
        )

    def __repr__(self) -> str:
        return f"<StreamBatch of {self.shard_id}, {len(self._contents.received)} Kinesis records>"
