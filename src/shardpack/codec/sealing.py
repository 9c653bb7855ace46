"""Buckets of user records to Kinesis records, compressed where that makes them smaller."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import ceil

from .._native.outputs import Outputs
from .._native.router import Bucket, sealed
from ..errors import abridged
from ..limits import MIB, whole_number
from ..records import KinesisRecord
from .compressed import MAX_MESSAGE_BYTES, compressed
from .ratio import Ratio
from .zstd import library

LEVELS = range(1, 20)
DEFAULT_LEVEL = 1
"""On flights as small as 3, for three quarters of its CPU: docs/decide/compression.md."""

MOST_TIMES = 16
"""A bucket has at most so many times what its record may have, however well it compresses: shards hold one each."""

AT_ONCE = 4 * MIB
"""Bytes of messages that are made and compressed together: 5 to 10 ms at level 1."""

KEPT_BYTES = 16 * MIB
"""Memory of messages that is used again, or of the last one, where that was larger."""

TELLING = 4
"""What a bucket of less than this part of its bound compresses to says nothing of full ones."""

FILLED = 0.9
"""A message that came out too large is made several, each so full if all its parts compress alike."""


class CompressedSealer:
    """Turns buckets into compressed aggregates of at most ``max_bytes`` with their outer partition key.

    What is no smaller compressed stays plain; a lone user record fits, whatever its size. What comes out too large is
    split, in order. It learns how much goes into a bucket: ``bucket_bytes``. Holds 4 MiB of messages, or one, and as
    much compressed while it works; keeps 16 MiB, or the memory of its last message. Not to be shared between threads.
    Raises ``ImportError`` with what to install where no library has zstd.
    """

    def __init__(self, max_bytes: int, level: int) -> None:
        library()
        self.max_bytes, self.level = max_bytes, level
        self._most = min(MAX_MESSAGE_BYTES, MOST_TIMES * max_bytes)
        self._ratio = Ratio()
        self._outputs = Outputs(KEPT_BYTES)

    @property
    def bucket_bytes(self) -> int:
        """What a bucket is to have plain, in bytes, with its outer partition key: 1 to 16 times ``max_bytes``."""
        return max(self.max_bytes, min(self._most, int(self.max_bytes * self._ratio.safe)))

    def first_of(self, buckets: Iterable[Bucket]) -> list[Bucket]:
        """Return the first of them, as many as are compressed together."""
        return next(slices(buckets), [])

    def seal(self, buckets: Sequence[Bucket]) -> list[tuple[Bucket, KinesisRecord | None]]:
        """Return the Kinesis records that the buckets become, in order, each with the bucket of its user records.

        ``None`` for what is to be sent plain, which fits then. Other buckets than the given ones are parts of them.
        Nothing has changed where memory runs out.
        """
        return [pair for some in slices(buckets) for pair in self._seal(some)]

    def records(self, buckets: Sequence[Bucket]) -> list[KinesisRecord]:
        """Return the same, with the plain Kinesis records."""
        pairs = self.seal(buckets)
        plain = iter(sealed([bucket for bucket, record in pairs if record is None], self._outputs))
        return [next(plain) if record is None else record for _, record in pairs]

    def _seal(self, buckets: Sequence[Bucket]) -> Iterator[tuple[Bucket, KinesisRecord | None]]:
        datas = compressed([bucket.message(self._outputs) for bucket in buckets], self.level)
        for bucket, data in zip(buckets, datas, strict=True):
            record = bucket.compressed_record(data)
            lone, plain_size = len(bucket) == 1, bucket.plain_size
            too_large = record.size > self.max_bytes and not lone
            if not lone and plain_size >= self.bucket_bytes // TELLING:
                self._ratio.saw(plain_size / record.size, too_large=too_large)
            if record.request_size >= bucket.request_size and (lone or plain_size <= self.max_bytes):
                yield bucket, None
            elif not too_large:
                yield bucket, record
            else:
                parts = ceil(record.size / self.max_bytes / FILLED)
                most = max(self.max_bytes, int(plain_size / parts / FILLED))
                yield from self.seal(bucket.split(most))


def sealer_of(compression: object, max_bytes: int, level: object) -> CompressedSealer:
    """Return what the options of whoever aggregates ask for. Raises for others, and as ``CompressedSealer``."""
    if compression != "zstd":
        raise ValueError(f'compression is "zstd" or None, not {abridged(compression)}')
    if whole_number("compression_level", level) not in LEVELS:
        raise ValueError(f"compression_level of {level} is not between {LEVELS[0]} and {LEVELS[-1]}")
    return CompressedSealer(max_bytes, whole_number("compression_level", level))


def slices(buckets: Iterable[Bucket]) -> Iterator[list[Bucket]]:
    """Yield as many at a time as are compressed together."""
    some: list[Bucket] = []
    size = 0
    for bucket in buckets:
        if some and size + bucket.plain_size > AT_ONCE:
            yield some
            some, size = [], 0
        some.append(bucket)
        size += bucket.plain_size
    if some:
        yield some
