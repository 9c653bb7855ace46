"""Trained dictionaries, and the codec that compresses the data of each user record with one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..limits import KIB, MIB, whole_number
from .payload import payload_of
from .zstd import dictionary_library

MAGIC = b"\x37\xa4\x30\xec"
MAX_DICTIONARY_BYTES = 16 * MIB
LEVELS = range(-7, 23)


class DictionaryCodec:
    """Compress the data of user records, each alone, with a trained dictionary: a Producer's ``payload_codec``.

    ``dictionary`` is the dictionary, or the path of its file, as ``shardpack train`` writes it. ``level`` (3) is
    zstd's, from -7 to 22. Data that do not get smaller stay as they are; ``docs/understand/format.md`` has the format.
    Any thread may use it. Raises ``ValueError`` for what is no dictionary, ``ImportError`` where there is no zstd.
    """

    def __init__(self, dictionary: bytes | str | os.PathLike[str], *, level: int = 3) -> None:
        if whole_number("level", level) not in LEVELS:
            raise ValueError(f"level of {level} is not between {LEVELS[0]} and {LEVELS[-1]}")
        self.level = level
        self.dictionary = dictionary if isinstance(dictionary, bytes) else read_dictionary(dictionary)
        """The dictionary, ``bytes``."""
        self.dictionary_id = dictionary_id_of(self.dictionary)
        """Its number, by which readers find it."""
        library = dictionary_library()
        library.load(self.dictionary)
        self._compress_many = library.compressor(self.dictionary, level)

    def encode(self, data: bytes) -> bytes:
        """Return the payload of some data. It gives up the GIL, for microseconds; ``encode_many`` once for many.

        ``bytearray`` and ``memoryview`` are read as bytes.
        """
        return self._encode_many([_bytes_of(data)])[0]

    def encode_many(self, datas: Iterable[bytes]) -> list[bytes]:
        """Return the payloads of n data, in their order. The GIL is given up once for each MiB of them."""
        return self._encode_many(
            [data if type(data) is bytes else _bytes_of(data, f"record {i}: ") for i, data in enumerate(datas)]
        )

    def _encode_many(self, contents: list[bytes]) -> list[bytes]:
        frames = self._compress_many(contents)
        return [payload_of(content, frame) for content, frame in zip(contents, frames, strict=True)]

    def one(self, key: Any, data: Any, explicit_hash_key: Any) -> tuple[Any, Any, Any]:
        """Return a user record with its data encoded, as a producer asks for it."""
        return key, self.encode(data), explicit_hash_key

    def many(
        self, keys: Sequence[Any], datas: Sequence[Any], explicit_hash_keys: Sequence[Any] | None
    ) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any] | None]:
        """Return many user records so."""
        return keys, self.encode_many(datas), explicit_hash_keys


def train(samples: Iterable[bytes], size: int = 64 * KIB, *, dictionary_id: int | None = None) -> bytes:
    """Make a dictionary of at most ``size`` bytes (256 bytes to 16 MiB) from samples of the data it is to be used for.

    A hundred times ``size`` of them is enough; all are held twice meanwhile. Its id is a number of 31 bits that zstd
    makes of its content, or ``dictionary_id``, from 1 to 2**32 - 1: below 65,536 it takes two bytes in each payload,
    below 256 one, instead of four. Two dictionaries of one id are the end of both: give numbers only where you keep a
    list.
    Raises ``ValueError`` for samples that are too few or too small, ``ImportError`` where there is no zstd.
    """
    held = [bytes(sample) for sample in samples if sample]
    if not 256 <= whole_number("size", size) <= MAX_DICTIONARY_BYTES:
        raise ValueError(f"size of {size:,} is not between 256 and {MAX_DICTIONARY_BYTES:,}")
    if dictionary_id is not None and not 1 <= whole_number("dictionary_id", dictionary_id) < 2**32:
        raise ValueError(f"dictionary_id of {dictionary_id:,} is not between 1 and {2**32 - 1:,}")
    library = dictionary_library()
    try:
        made = library.train(held, size)
    except ValueError as error:
        raise ValueError(
            f"{len(held):,} samples of {sum(map(len, held)):,} bytes make no dictionary of {size:,}: {error}; "
            "give more, or a smaller size"
        ) from None
    return made if dictionary_id is None else MAGIC + dictionary_id.to_bytes(4, "little") + made[8:]


def dictionary_id_of(dictionary: bytes) -> int:
    """Return the number of a dictionary. Raises ``ValueError`` for what is none."""
    number = int.from_bytes(dictionary[4:8], "little")
    if dictionary[:4] != MAGIC or len(dictionary) < 8 or not number:
        raise ValueError("no zstd dictionary: it begins otherwise, or has no id; shardpack train makes one")
    return number


def read_dictionary(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a file, up to 16 MiB. Raises ``OSError``, and ``ValueError`` for one that is larger."""
    with Path(path).open("rb") as file:
        content = file.read(MAX_DICTIONARY_BYTES + 1)
    if len(content) > MAX_DICTIONARY_BYTES:
        raise ValueError(f"{path} is larger than a dictionary may be: {MAX_DICTIONARY_BYTES:,} bytes")
    return content


def _bytes_of(data: Any, where: str = "") -> bytes:
    """Return data as a producer would take them. Raises ``TypeError``."""
    try:
        return data if type(data) is bytes else bytes(memoryview(data))
    except TypeError:
        raise TypeError(f"{where}data is bytes, not {type(data).__name__}") from None
