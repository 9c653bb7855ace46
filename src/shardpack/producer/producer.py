"""``Producer``: everything in, in order, nothing lost, bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .._native.arrow_in import ArrowRows
from .._native.inbox import Inbox, Inlet
from .._native.receipt import Receipt
from ..errors import BufferFullError, FlushTimeoutError, RecordTooLargeError
from .base import BaseProducer, many
from .receipts import Receipts


class Producer(BaseProducer, Inlet):
    """Deliver user records to one stream: at least once, in the order of their keys, or tell what became of them.

    Give the stream's name or ARN, and perhaps a boto3 ``client``; or a ``transport``. A thread aggregates what was put
    for each shard and sends it; it begins with the first ``put``. Use it in a ``with`` block, or ``close`` it: both
    deliver what is there. Any thread may call it.

    ``linger_ms`` (100): how long a user record may wait for others of its shard. Less for latency, more for larger
    aggregated records. ``max_aggregate_bytes`` (256 KiB), ``max_aggregate_records``: bounds of an aggregated record;
    with 1 nothing is aggregated. ``max_buffered_bytes`` (64 MiB): at this bound, of keys, data and 64 bytes for each
    record (128 with receipts), ``put`` waits for room; one call may pass it. ``record_ttl_ms`` (30,000): after that a
    record is given up. More rides out longer outages. ``max_requests_in_flight`` (4): more for many shards that are far
    away. ``wire="cbor"`` sends a quarter fewer bytes, where the service reads CBOR; a ``transport`` has its own.
    ``shard_bytes_per_second``, ``shard_records_per_second`` (of Kinesis records; no bound): the most that each
    shard is sent, where other producers are to have their part. ``ordering="none"`` lets several Kinesis records of a
    shard be in flight. ``after_failure="stop"``: a record given up holds back what follows it in its shard, until
    ``resume`` or ``skip``. ``aggregate_on_auto``: aggregate though the stream distributes records itself; for streams
    that no KCL reads. ``compression="zstd"``: compressed aggregates, which only shardpack reads, where that is fewer
    bytes, of ``max_aggregate_bytes`` compressed; ``compression_level`` is zstd's, 1 (default) to 19. They are held
    beside what is in them until that has its outcome, always less than it. ``key_strategy(key, data)`` returns the key
    to put a user record with, or that and an explicit hash key, for those put without: see `shardpack.keys`.
    ``payload_codec`` compresses the data of each user record: a ``shardpack.codec.DictionaryCodec``, or what has its
    ``one`` and ``many``. ``codec`` makes data of what ``put_object`` takes: ``"json"`` (default), ``"msgpack"``,
    ``"raw"``, or a ``shardpack.codec.Codec``. ``receipts=False``: ``put`` returns nothing, which is faster.
    ``dead_letters`` keeps what was given up. ``on_settled`` is called with the Kinesis records that have their outcome,
    on the producer's thread. ``close_timeout_s`` (30): how long closing may take.

    Raises ``ValueError`` or ``TypeError`` for options that are none, ``ImportError`` where a compression needs a
    library that is not there.
    """

    def _put(
        self,
        partition_key: str | bytes | None,
        data: object,
        explicit_hash_key: int | str | None,
        timeout: float | None,
    ) -> Any:
        """Take a user record that `put` did not take at once."""
        if self._doors:
            self._check_open()
            partition_key, data, explicit_hash_key = self._through_doors(partition_key, data, explicit_hash_key)
        taken = self._when_room(lambda inbox: inbox.put(partition_key, data, explicit_hash_key), timeout)
        return None if taken is True else taken

    def put_object(
        self,
        partition_key: str | bytes | None,
        obj: object,
        explicit_hash_key: int | str | None = None,
        *,
        timeout: float | None = None,
    ) -> Receipt | Any:
        """Take an object as one user record, by the ``codec``; ``UserRecord.object`` has it back.

        With JSON and msgpack that is what they have, and whole numbers of any size, ``bytes`` and times (an aware
        ``datetime``, which comes back in UTC); a tuple comes back as a list. Returns, waits and raises as ``put``, and
        raises ``ObjectError``, which names the key, for what has no form there.
        """
        data = self._encode_object(partition_key, obj)
        receipt: Any = self.put(partition_key, data, explicit_hash_key, timeout=timeout)
        return receipt

    def put_many(
        self,
        partition_keys: Iterable[str | bytes | None],
        datas: Iterable[object],
        explicit_hash_keys: Iterable[int | str | None] | None = None,
        *,
        timeout: float | None = None,
    ) -> Receipts | Any:
        """Take n user records, all or none; returns their receipts. Waits and raises as ``put``."""
        keys, values = many(partition_keys), many(datas)
        explicit = None if explicit_hash_keys is None else many(explicit_hash_keys)
        keys, values, explicit = self._all_through_doors(keys, values, explicit)
        return self._receipts(self._when_room(lambda inbox: inbox.put_many(keys, values, explicit), timeout))

    def put_arrow(
        self,
        batch: object,
        *,
        key: str | int | None,
        data: str | int,
        explicit_hash_key: str | int | None = None,
        timeout: float | None = None,
    ) -> Receipts | Any:
        """Take the rows of an Arrow record batch, table or stream as user records, all or none; returns their receipts.

        ``batch`` and its columns are as for ``Aggregator.add_arrow``; a row without a key is one of ``put(None, …)``.
        A stream is read to its end first: give what does not fit in memory batch by batch. The column with the data is
        kept, not copied, until all rows of its chunk have their outcome, and its rows count for ``max_buffered_bytes``
        until then. What else is in its buffers, as of a column that was sliced, is kept with it and is not counted:
        Arrow does not tell its size. Waits as ``put``; raises as ``put`` and ``Aggregator.add_arrow``.
        """
        self._refuse_arrow()
        rows = ArrowRows(batch, key, data, explicit_hash_key)
        return self._receipts(self._when_room(lambda inbox: inbox.put_arrow(rows), timeout))

    def flush(self, timeout: float | None = None) -> None:
        """Return when every user record put before has its outcome, whatever it is.

        Raises ``FlushTimeoutError``, which names how many have none, after ``timeout`` seconds.
        """
        left = 0 if self._pump is None else self._pump.flush(timeout)
        if left:
            raise FlushTimeoutError(f"{left:,} user records have no outcome after {timeout:g} s", left)

    def close(self) -> None:
        """Deliver what is there, within ``close_timeout_s``; what is left then is settled as not stored, or unknown."""
        self._stop()

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _when_room(self, put: Callable[[Inbox], Any], timeout: float | None) -> Any:
        self._check_open()
        inbox = (self._pump or self._started()).inbox
        try:
            taken = put(inbox)
        except RecordTooLargeError:
            if not self._started().room.wait(self._limits_told(), timeout):
                raise
            taken = put(inbox)
        if taken is None:
            pump = self._started()
            taken = pump.room.wait(self._asking(pump, lambda: put(inbox)), timeout)
        if taken is None:
            raise BufferFullError(f"{inbox.buffered:,} bytes wait, as many as may; nothing was taken")
        return taken
