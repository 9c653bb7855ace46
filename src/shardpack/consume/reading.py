"""GetRecords for new code: from the body of the response to user records, columns or Arrow."""

from __future__ import annotations

from .._native.deaggregate import deaggregate_received
from ..errors import abridged
from .deaggregation import UserRecords, columns_of, first_and_last, in_shard, log_left_out
from .replies import AWAITED, Call, IteratorOfCall, listen
from .shapes import received_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._native.arrow import UserRecordBatch
    from .._native.columns import Columns
    from .._native.deaggregate import ReceivedRecord
    from .deaggregation import HashRange


class RecordsReply:
    """What one GetRecords call brought: the user records, in whichever form they are asked for, and where to go on.

    ``next_shard_iterator`` is None at the end of a closed shard, and then ``child_shards`` has what the service says of
    those that follow (a list, as boto3 gives it). ``millis_behind_latest`` is None where the service does not tell.
    ``response`` is the rest of what boto3 gives, as ``ResponseMetadata``, without ``Records``. ``len()`` counts Kinesis
    records, and the last one's sequence number is ``last_sequence_number``, None without any.

    The data of all Kinesis records is decoded once, into one buffer, which this object and everything made of it share:
    a ``UserRecord`` that is kept keeps all of it, 10 MB at most. ``columns()`` has copies of the payloads, and so has
    ``arrow()`` without ``zero_copy``. Thread-safe.
    """

    __slots__ = ("_hash_range", "_received", "_strict", "response")

    def __init__(
        self, received: list[ReceivedRecord], response: dict[str, Any], hash_range: tuple[int, int] | None, strict: bool
    ) -> None:
        self._received = received
        self._hash_range = hash_range
        self._strict = strict
        self.response: dict[str, Any] = response

    def user_records(self) -> UserRecords:
        """Return what ``deaggregate`` returns of the response; ``strict`` raises here."""
        found = UserRecords()
        found.left_out = deaggregate_received(self._received, self._hash_range, self._strict, found)
        log_left_out(found.left_out, self._hash_range)
        return found

    def columns(self) -> Columns:
        """Return what ``deaggregate_columns`` returns of it."""
        return columns_of(self._received, self._hash_range, self._strict, viewed=False)

    def arrow(self, *, zero_copy: bool = False) -> UserRecordBatch:
        """Return what ``deaggregate_arrow`` returns of it."""
        from .._native.arrow import batch_of_columns  # noqa: PLC0415 - who asks for user records does without

        return batch_of_columns(columns_of(self._received, self._hash_range, self._strict, viewed=zero_copy))

    def kinesis_records(self) -> list[dict[str, Any]]:
        """Return the Kinesis records as ``get_records`` gives them: the sources of the user records."""
        return [record.source for record in self._received]

    @property
    def next_shard_iterator(self) -> str | None:
        """Where the shard goes on."""
        return self.response.get("NextShardIterator")

    @property
    def millis_behind_latest(self) -> int | None:
        """How far this response is from the tip of the shard, in milliseconds."""
        return self.response.get("MillisBehindLatest")

    @property
    def child_shards(self) -> list[dict[str, Any]]:
        """The shards that follow a closed one; empty before its end."""
        return list(self.response.get("ChildShards") or [])

    @property
    def received(self) -> list[ReceivedRecord]:
        """The Kinesis records as the native core has them: for what builds on this."""
        return self._received

    @property
    def last_sequence_number(self) -> str | None:
        """The sequence number of the last Kinesis record: to note once all its user records are handled."""
        return self._received[-1].origin.sequence_number if self._received else None

    def __len__(self) -> int:
        return len(self._received)

    def __repr__(self) -> str:
        return f"<RecordsReply of {len(self)} Kinesis records>"


def read_records(
    client: Any,
    *,
    hash_range: HashRange | None = None,
    strict: bool = False,
    shard_id: str | None = None,
    **arguments: Any,
) -> RecordsReply:
    """Call ``client.get_records(**arguments)`` (``ShardIterator``, ``Limit``, ``StreamARN``) and read its response.

    ``client`` is boto3's or botocore's; ``read_records_async`` takes aiobotocore's. Endpoints, credentials, signing,
    retries and errors are the client's. The response's body is read natively, straight to user records, without a
    dictionary or ``bytes`` for each Kinesis record: a fraction of the time of ``get_records`` and ``deaggregate``.
    Where botocore is older than 1.35.16, and where a body is not as the service writes it, botocore's parser reads it,
    and the outcome is the same. ``hash_range``, ``strict`` and ``shard_id`` (the service does not tell of
    which shard its iterator is) are those of ``deaggregate``.

    The client is left as it is, but for handlers that do nothing in other calls; one that is installed works here as
    well. Raises what ``get_records`` raises, ``TypeError`` for what is no Kinesis client, and ``BrokenAnswerError``
    for an answer without records, which is how botocore gives one that was cut off.
    """
    limits = first_and_last(hash_range)
    in_shard([], shard_id)  # refused before anything is read
    listen(client)
    call = _call(arguments)
    token = AWAITED.set(None)
    try:
        response = client.get_records(**arguments)
    finally:
        AWAITED.reset(token)
    return _reply(call, response, limits, strict, shard_id)


async def read_records_async(
    client: Any,
    *,
    hash_range: HashRange | None = None,
    strict: bool = False,
    shard_id: str | None = None,
    **arguments: Any,
) -> RecordsReply:
    """Do as ``read_records`` with a client of aiobotocore."""
    limits = first_and_last(hash_range)
    in_shard([], shard_id)  # refused before anything is read
    listen(client)
    call = _call(arguments)
    token = AWAITED.set(None)
    try:
        response = await client.get_records(**arguments)
    finally:
        AWAITED.reset(token)
    return _reply(call, response, limits, strict, shard_id)


def _call(arguments: dict[str, Any]) -> Call:
    """Begin a call, which its shard iterator tells from all others. Whatever else is there is botocore's to refuse."""
    call = Call()
    iterator = arguments.get("ShardIterator")
    if isinstance(iterator, str):
        arguments["ShardIterator"] = of_call = IteratorOfCall(iterator)
        of_call.call = call
    return call


def _reply(
    call: Call, response: Any, limits: tuple[int, int] | None, strict: bool, shard_id: str | None
) -> RecordsReply:
    if not isinstance(response, dict):
        if hasattr(response, "close"):
            response.close()  # a coroutine that nobody awaits
        raise TypeError(f"get_records gave {abridged(response)}: aiobotocore's clients are for read_records_async")
    if "Records" not in response:
        from ..transport import BrokenAnswerError  # noqa: PLC0415 - it hardly ever is

        raise BrokenAnswerError("GetRecords", "Records")
    rest = dict(response)
    records = rest.pop("Records")
    received = call.received if call.received is not None else list(received_of(records))
    return RecordsReply(in_shard(received, shard_id), rest, limits, strict)
