"""What can go wrong, one class for each thing a caller may want to handle.

Errors about a record name it and the limit. All are ``ShardpackError``; those about bad input are
``ValueError`` too. A wrong type is the built-in ``TypeError``.
"""

from __future__ import annotations

__all__ = [
    "BufferFullError",
    "ChangeEventError",
    "CodecError",
    "DeliveryError",
    "EventLoopEndedError",
    "FlushTimeoutError",
    "ForeignRecordError",
    "InvalidHashKeyError",
    "InvalidPartitionKeyError",
    "InvalidRecordError",
    "InvalidTenantError",
    "MalformedRecordError",
    "ObjectError",
    "PayloadError",
    "PayloadTooLargeError",
    "ProducerClosedError",
    "RecordExpiredError",
    "RecordTooLargeError",
    "ShardMapError",
    "ShardpackError",
    "UnknownDictionaryError",
    "UnknownPayloadFormError",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ShardpackError(Exception):
    """The base of every error that is this library's own."""


class InvalidRecordError(ShardpackError, ValueError):
    """A user record was refused; nothing of the call that brought it was taken.

    ``row`` is which one, where rows of Arrow were given, counted from 0 through all chunks.
    """

    row: int | None = None


class InvalidPartitionKeyError(InvalidRecordError):
    """A partition key is empty, longer than 256 characters, or not UTF-8."""


class InvalidHashKeyError(InvalidRecordError):
    """A hash key is not a canonical decimal number below 2**128."""


class InvalidTenantError(InvalidRecordError):
    """A tenant's id is empty, too long, or has characters that no id may have."""


class RecordTooLargeError(InvalidRecordError):
    """A record exceeds what the stream or a request accepts."""


class ShardMapError(ShardpackError, ValueError):
    """Shards leave a gap or overlap, or there is none."""


class ChangeEventError(ShardpackError, ValueError):
    """A user record has no change event of DynamoDB or DMS, or one that cannot be folded; it names the record."""


class MalformedRecordError(ShardpackError, ValueError):
    """An aggregated record parses, but an index or an explicit hash key in it is bad; or a compressed one is damaged.

    ``offset`` is the byte of the Kinesis record's data where the faulty field starts, or of the message where that was
    unpacked; ``record_index`` says which user record, counted from 0. Where ``strict`` raised it, ``source`` is the
    Kinesis record as it was given.
    """

    source: Any = None

    def __init__(self, message: str, offset: int, record_index: int) -> None:
        super().__init__(message, offset, record_index)
        self.offset = offset
        self.record_index = record_index

    def __str__(self) -> str:
        return str(self.args[0])


class CodecError(ShardpackError, ValueError):
    """A payload cannot be read, or an object has no form in the codec that was named."""


class PayloadError(CodecError):
    """A compressed payload is cut off, or what it holds is damaged."""


class PayloadTooLargeError(PayloadError):
    """A payload says that it holds more than a reader takes."""


class UnknownPayloadFormError(PayloadError):
    """A payload begins as those of ``shardpack.codec`` do, and goes on as this version knows none."""


class UnknownDictionaryError(PayloadError, LookupError):
    """The dictionary that a payload was compressed with was not found: ``dictionary_id`` is its number."""

    def __init__(self, message: str, dictionary_id: int) -> None:
        super().__init__(message, dictionary_id)
        self.dictionary_id = dictionary_id

    def __str__(self) -> str:
        return str(self.args[0])


class ObjectError(CodecError):
    """An object has no form in a codec, or data are none of an object."""


class ForeignRecordError(ShardpackError):
    """A user record is not the tenant's whose records are read."""


class DeliveryError(ShardpackError):
    """A user record was not stored, or may not be.

    ``maybe_stored``: the service may have it, for an answer was lost. ``error_code`` is the last error, ``attempts``
    what every call before came to.
    """

    def __init__(
        self, message: str, *, error_code: str = "", maybe_stored: bool = False, attempts: tuple[Any, ...] = ()
    ) -> None:
        super().__init__(message)
        self.error_code = error_code
        self.maybe_stored = maybe_stored
        self.attempts = attempts


class RecordExpiredError(DeliveryError):
    """A user record was not stored within its time to live."""


class BufferFullError(ShardpackError):
    """A producer holds as much as it may, and made no room in time; the call took nothing."""


class FlushTimeoutError(ShardpackError, TimeoutError):
    """Some of the user records that a flush waited for have no outcome yet: ``pending`` of them."""

    def __init__(self, message: str, pending: int) -> None:
        super().__init__(message, pending)
        self.pending = pending

    def __str__(self) -> str:
        return str(self.args[0])


class ProducerClosedError(ShardpackError):
    """A producer that was closed takes no more records."""


class EventLoopEndedError(ShardpackError, RuntimeError):
    """The event loop that makes a producer's calls has ended, or is another process's: nothing can be sent any more."""


def abridged(value: object, most: int = 80) -> str:
    """Return what an error shows of a value: its repr, but no more than ``most`` characters or bytes of what it holds.

    Nothing long is written out first to be cut, and nothing is raised: values in errors are those that nobody expected.
    """
    if isinstance(value, (str, bytes, bytearray)):
        if len(value) <= most:
            return repr(value)
        unit = "characters" if isinstance(value, str) else "bytes"
        return f"{value[:most]!r}… ({len(value):,} {unit})"
    if isinstance(value, int) and value.bit_length() > 4 * most:  # Python writes no number of more than 4,300 digits
        return f"a number of {value.bit_length():,} bits"
    if isinstance(value, (list, tuple, dict, set, frozenset, memoryview)):
        return f"{type(value).__name__} of {len(value):,}"
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - an error about it matters more
        return f"<{type(value).__name__}>"
    return text if len(text) <= most else f"{text[:most]}…"
