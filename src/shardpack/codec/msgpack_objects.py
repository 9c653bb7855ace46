"""Objects as msgpack: times are its timestamps, whole numbers beyond 64 bits an extension of type 73."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from .objects import base_of, in_utc

try:
    import msgpack
except ImportError as error:
    raise ImportError("codec='msgpack' needs msgpack: pip install 'shardpack[codec]'") from error

BIG = 73  # I, an integer
"""Type of the extension: big-endian, two's complement."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Msgpack:
    """msgpack, and in it times to the microsecond and whole numbers of any size. Any thread may use it."""

    def encode(self, obj: Any) -> bytes:
        """Return the data. Raises ``ValueError`` or ``TypeError`` for what would not come back as it was."""
        packed: bytes = msgpack.packb(obj, strict_types=True, default=_extended)
        return b"\xcc" + packed if packed[0] < 0x80 else packed

    def decode(self, data: bytes) -> Any:
        """Return the object. Raises ``ValueError``."""
        try:
            return msgpack.unpackb(data, timestamp=3, ext_hook=_restored, strict_map_key=False)
        except (msgpack.UnpackException, TypeError, OverflowError, RecursionError) as error:  # a dict for a key, say
            raise ValueError(str(error) or type(error).__name__) from error


CODEC = Msgpack()


def _extended(value: Any) -> Any:
    """Return what is packed in the place of a value that msgpack does not know."""
    if type(value) is int:
        return msgpack.ExtType(BIG, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, datetime):
        since = in_utc(value) - _EPOCH
        return msgpack.Timestamp(since.days * 86_400 + since.seconds, since.microseconds * 1_000)
    return base_of(value, "msgpack")


def _restored(code: int, data: bytes) -> Any:
    return int.from_bytes(data, "big", signed=True) if code == BIG else msgpack.ExtType(code, data)
