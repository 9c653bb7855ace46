import builtins
from collections.abc import Callable
from datetime import datetime
from typing import Any, final

from typing_extensions import Buffer

from ..codec.objects import Codec
from ..consume.shapes import Origin
from ..errors import MalformedRecordError

@final
class ReceivedRecord:
    @property
    def data(self) -> bytes: ...
    @property
    def size(self) -> int: ...
    @property
    def source(self) -> Any: ...
    @property
    def origin(self) -> Origin: ...
    @property
    def error(self) -> MalformedRecordError | None: ...
    def __new__(
        cls,
        data: Buffer,
        shape: Callable[[Any], Origin] | None = None,
        source: Any = None,
        deaggregated: bool = False,
        explicit_hash_key: str | None = None,
    ) -> ReceivedRecord: ...

@final
class UserRecord:
    """A user record as its producer put it, and where it came from.

    ``data`` (bytes), ``partition_key`` and ``explicit_hash_key`` (str or None; bytes that are not UTF-8 decode with
    ``surrogateescape``), ``sub_sequence_number`` (its place in the Kinesis record, from 0), ``aggregated`` (False when
    it came back whole), ``tags`` (pairs of key and value or None), ``error`` (why a malformed aggregated record came
    back whole). Of the Kinesis record, as far as its shape carries it: ``sequence_number``,
    ``approximate_arrival_timestamp`` (an aware datetime), ``shard_id``, ``encryption_type``, ``record_id``
    (Firehose's), and ``source``, the record as it was given. Immutable; compares by value, ``source`` not among them.
    Fields are made when they are asked for, from the Kinesis record, which a user record keeps alive; of a response
    that was read by ``read_records``, it keeps the data of all Kinesis records in there, which lie in one buffer (10 MB
    at most, as GetRecords has it). ``detach()`` leaves that behind, and so does pickling: ``source`` is None then.
    """

    @property
    def data(self) -> bytes:
        """What the producer put: ``bytes``. Made when it is first asked for, and kept."""
    def object(self, codec: Codec | str | None = None) -> Any:
        """Return the object in its data, as ``Producer.put_object`` put it, or other producers of JSON and msgpack.

        ``codec`` is ``"json"``, ``"msgpack"``, ``"raw"``, or a ``shardpack.codec.Codec``; without one the first byte
        tells JSON from msgpack. Made anew by each call. Raises ``ObjectError``, which names the record, for data that
        hold none, and ``PayloadError`` for a compressed payload: ``shardpack.codec.PayloadReader`` reads those.
        """
    @property
    def partition_key(self) -> str | None:
        """The key that it was put with; ``None`` where the stream distributes records itself and there was none.

        Bytes that are not UTF-8 decode with ``surrogateescape``.
        """
    @property
    def explicit_hash_key(self) -> str | None:
        """The explicit hash key that its producer gave, as decimal text; ``None`` where it gave none.

        Of a raw record it is ``None``: the service does not tell it.
        """
    @property
    def tags(self) -> tuple[tuple[str, str | None], ...]:
        """Its tags: pairs of a key and a value or ``None``. The KPL writes none."""
    @property
    def error(self) -> MalformedRecordError | None:
        """Why a malformed aggregated record came back whole, as this record; ``None`` for all others."""
    @property
    def sub_sequence_number(self) -> int:
        """Its place in its Kinesis record, from 0."""
    @property
    def aggregated(self) -> bool:
        """Whether it came in an aggregated record. ``False`` for a raw record, and where one came back whole."""
    @property
    def sequence_number(self) -> str | None:
        """Its Kinesis record's; ``None`` where the source has none, as bytes and records of queues."""
    @property
    def approximate_arrival_timestamp(self) -> datetime | None:
        """When its Kinesis record arrived, an aware ``datetime``; ``None`` where the source does not tell."""
    @property
    def shard_id(self) -> str | None:
        """The shard that it was read from, where the source tells; else ``None``."""
    @property
    def encryption_type(self) -> str | None:
        """``"NONE"`` or ``"KMS"``, where the source tells; else ``None``."""
    @property
    def record_id(self) -> str | None:
        """Firehose's, Kinesis Analytics' or a queue's name of its Kinesis record; else ``None``."""
    @property
    def source(self) -> Any:
        """The Kinesis record as it was given; ``None`` of a user record that was detached or pickled."""
    def detach(self) -> UserRecord:
        """Return an equal user record that keeps its own bytes alone, where this one keeps its whole Kinesis record.

        For the few that stay of many. Its ``source`` is ``None``; every other field is the same. Costs what reading
        all fields costs. Safe beside other threads.
        """
    def __eq__(self, other: builtins.object, /) -> bool: ...
    def __hash__(self) -> int: ...

def set_shard_id(received: list[ReceivedRecord], shard_id: str) -> None: ...
def deaggregate_received(
    received: list[ReceivedRecord], hash_range: tuple[int, int] | None, strict: bool, out: list[UserRecord]
) -> int: ...
