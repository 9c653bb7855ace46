from collections.abc import Iterable, Sequence
from typing import final

@final
class HashKeys:
    """The hash keys of n partition keys: a read-only buffer of 16 bytes per key, each row a big-endian number.

    ``numpy.asarray`` takes it without a copy, with shape (n, 16) and dtype uint8. Indexing gives ints.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, i: int, /) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def tobytes(self) -> bytes:
        """Return the buffer as bytes; not copied."""

def hash_key(partition_key: str | bytes, explicit_hash_key: int | str | None = None) -> int:
    """Return the hash key that places a record on a shard.

    It is ``explicit_hash_key`` if given, else the MD5 of the UTF-8 partition key as a big-endian number.
    Raises ``InvalidPartitionKeyError``, ``InvalidHashKeyError`` or ``TypeError``.
    Source: API reference of PutRecord.
    """

def hash_keys(keys: Iterable[str | bytes]) -> HashKeys:
    """Return the hash keys of many partition keys (an iterable of str or UTF-8 bytes).

    Of many, 262,144 at a time are hashed with the GIL released. Raises ``InvalidPartitionKeyError`` or ``TypeError``
    with the position of the key at fault.
    """

def _kernel() -> str: ...
def _kernels() -> list[str]: ...
def _set_kernel(name: str) -> None: ...
def _md5_many(messages: Sequence[bytes]) -> list[bytes]: ...
