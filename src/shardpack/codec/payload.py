"""The compressed payload: the data of one user record, compressed alone with a dictionary that its readers have too.

::

    F8 5A | form, 1 byte | content
            00             stored: the data as they are
            01             a zstd frame (RFC 8878) without its first four bytes, 28 B5 2F FD; then perhaps padding

The frame's own header has what a reader needs: the id of the dictionary (0 or none: without one) and the size of the
data. ``F8`` begins no UTF-8. Data that do not get smaller are put as they are; where they begin with the magic they are
stored. Padding is one skippable frame (RFC 8878), which readers of zstd pass over: it is there where the data would be
more than 64 times as large as the payload.
"""

from __future__ import annotations

from ..errors import PayloadError, PayloadTooLargeError, UnknownPayloadFormError
from .compressed import MAX_MESSAGE_BYTES, MAX_RATIO

MAGIC = b"\xf8Z"
STORED = MAGIC + b"\0"
COMPRESSED = MAGIC + b"\1"
FRAME_MAGIC = b"\x28\xb5\x2f\xfd"
MAX_BYTES = MAX_MESSAGE_BYTES
"""Data of a payload have so many bytes at most, unless a reader says otherwise."""


def payload_of(data: bytes, frame: bytes | None) -> bytes:
    """Return the payload of data, given their zstd frame: whichever is shortest, and can be read back."""
    if frame is not None and len(frame) - 1 < len(data):  # three bytes for four
        payload = COMPRESSED + frame[4:]
        if len(data) <= MAX_RATIO * len(payload):
            return payload
        padding = max(0, -(-len(data) // MAX_RATIO) - len(payload) - 8)
        payload += b"\x50\x2a\x4d\x18" + padding.to_bytes(4, "little") + bytes(padding)
        if len(payload) < len(data):
            return payload
    return STORED + data if data.startswith(MAGIC) else data


def form_of(payload: bytes) -> bytes | None:
    """Return ``STORED`` or ``COMPRESSED``, or ``None`` for plain data. Raises ``UnknownPayloadFormError``."""
    if not payload.startswith(MAGIC):
        return None
    form = payload[:3]
    if form not in (STORED, COMPRESSED):
        found = f"form {form[2]}" if len(form) == 3 else "no form"
        raise UnknownPayloadFormError(f"a payload of {len(payload):,} bytes has {found}, where 0 and 1 are known")
    return form


def header_of(payload: bytes, max_bytes: int, max_ratio: int = MAX_RATIO) -> tuple[int, int]:
    """Return the id of the dictionary and the size of the data, as a compressed payload has them.

    Raises ``PayloadError`` where there are none, and ``PayloadTooLargeError`` for a size beyond ``max_bytes``, or
    beyond ``max_ratio`` times the payload's.
    """
    descriptor = payload[3] if len(payload) > 3 else 8
    alone = descriptor >> 5 & 1  # then there is no window's size before the id
    at = 5 - alone
    end_of_id = at + (0, 1, 2, 4)[descriptor & 3]
    size_bytes = (alone, 2, 4, 8)[descriptor >> 6]
    end = end_of_id + size_bytes
    if descriptor & 8 or not size_bytes or len(payload) < end:
        raise PayloadError(
            f"a payload of {len(payload):,} bytes has no size in its frame's header, or is cut off there"
        )
    size = int.from_bytes(payload[end_of_id:end], "little") + (256 if size_bytes == 2 else 0)
    if size > min(max_bytes, max_ratio * len(payload)):
        raise PayloadTooLargeError(
            f"a payload of {len(payload):,} bytes says that it has {size:,}, more than "
            + (f"{max_ratio} times as many" if size > max_ratio * len(payload) else f"the {max_bytes:,} that it may")
        )
    return int.from_bytes(payload[at:end_of_id], "little"), size
