"""Payloads read back, one or many."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..errors import CodecError, PayloadError, UnknownDictionaryError
from ..limits import whole_number
from .dictionaries import SECONDS_UNTIL_LOOKED_AGAIN, DictionariesGiven, dictionaries_of
from .dictionary import dictionary_id_of
from .objects import Codec, codec_of, object_in
from .payload import COMPRESSED, FRAME_MAGIC, MAX_BYTES, STORED, form_of, header_of
from .zstd import dictionary_library

if TYPE_CHECKING:
    from .._native.deaggregate import UserRecord
    from .zstd import Unpack

MAX_KEPT = 64
MAX_UNKNOWN = 1_024


class Payload:
    """The data of a user record as it was put, before a payload codec.

    ``record`` is what was given, ``data`` (bytes) what it holds: with ``error``, a ``CodecError``, the data whole, as
    they came.
    """

    __slots__ = ("_codec", "data", "error", "record")

    def __init__(self, record: UserRecord | bytes, data: bytes, error: CodecError | None, codec: Codec | None) -> None:
        self.record, self.data, self.error, self._codec = record, data, error, codec

    def object(self) -> Any:
        """Return the object that it holds, by the reader's codec. Raises ``error``, or ``ObjectError``."""
        if self.error is not None:
            raise self.error
        return object_in(self.data, self._codec, self.record)

    def __repr__(self) -> str:
        return f"<Payload of {len(self.data):,} bytes{'' if self.error is None else f', {self.error}'}>"


class PayloadReader:
    """Read the data of user records whose producers have a ``payload_codec``, and of those who have none.

    ``dictionaries`` is a dictionary, the path of its file or of a folder of them, a mapping by id, or something that
    finds them (``Dictionaries``). ``codec`` is that of objects: ``"json"``, ``"msgpack"``, ``"raw"`` or a ``Codec``;
    without one an object's first byte tells. Data of more than ``max_bytes`` (64 MiB), or of more than 64 times their
    payload, are refused. 64 dictionaries are kept, ready for use. Any thread may use it.
    """

    def __init__(
        self,
        dictionaries: DictionariesGiven | None = None,
        *,
        codec: Codec | str | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._dictionaries = dictionaries_of(dictionaries)
        self._codec = None if codec is None else codec_of(codec)
        if whole_number("max_bytes", max_bytes) < 0:
            raise ValueError(f"max_bytes of {max_bytes} is below 0")
        self._max_bytes = max_bytes
        self._unpack: dict[int, Unpack] = {}
        self._unknown: dict[int, float] = {}  # until when they are not asked for

    def data(self, record: UserRecord | bytes) -> bytes:
        """Return the data of one user record. Raises ``PayloadError``, or one of its kinds."""
        [payload] = self.read([record])
        if payload.error is not None:
            raise payload.error
        return payload.data

    def object(self, record: UserRecord | bytes) -> Any:
        """Return the object of one user record. Raises ``CodecError``, or one of its kinds."""
        return self.read([record])[0].object()

    def read(self, records: Iterable[UserRecord | bytes]) -> list[Payload]:
        """Return the payloads of n user records, in their order. What is wrong with one is its ``error``.

        The GIL is given up once for each MiB of data. Raises what ``Dictionaries.find`` raises.
        """
        payloads: list[Payload] = []
        compressed: dict[int, list[tuple[Payload, int]]] = {}
        for record in records:
            data = record if isinstance(record, bytes) else record.data
            payload = Payload(record, data, None, self._codec)
            payloads.append(payload)
            try:
                form = form_of(data)
                if form == COMPRESSED:
                    number, size = header_of(data, self._max_bytes)
                    compressed.setdefault(number, []).append((payload, size))
                elif form == STORED:
                    payload.data = data[len(STORED) :]
            except PayloadError as error:
                payload.error = error
        for number, some in compressed.items():
            self._read(number, some)
        return payloads

    def _read(self, number: int, payloads: list[tuple[Payload, int]]) -> None:
        unpack = self._unpack.get(number) or self._ready(number)
        if unpack is None:
            for payload, _ in payloads:
                payload.error = UnknownDictionaryError(
                    f"the dictionary {number} of a payload of {len(payload.data):,} bytes is not known", number
                )
            return
        frames = [FRAME_MAGIC + payload.data[len(COMPRESSED) :] for payload, _ in payloads]
        sizes = [size for _, size in payloads]
        for (payload, _), found in zip(payloads, unpack(frames, sizes), strict=True):
            if isinstance(found, str):
                payload.error = PayloadError(f"a payload of {len(payload.data):,} bytes is damaged: {found}")
            else:
                payload.data = found

    def _ready(self, number: int) -> Unpack | None:
        """Return what unpacks with that dictionary, or ``None``."""
        dictionary = None
        if number:
            if monotonic() < self._unknown.get(number, 0.0):
                return None
            dictionary = self._dictionaries.find(number)
            if dictionary is None:
                if len(self._unknown) >= MAX_UNKNOWN:
                    self._unknown = {}
                self._unknown[number] = monotonic() + SECONDS_UNTIL_LOOKED_AGAIN
                return None
            if dictionary_id_of(dictionary) != number:
                raise ValueError(f"what was found as dictionary {number} has the id {dictionary_id_of(dictionary)}")
        library = dictionary_library()
        if dictionary is not None:
            library.load(dictionary)
        if len(self._unpack) >= MAX_KEPT:
            self._unpack = {}
        unpack = self._unpack[number] = library.decompressor(dictionary)
        return unpack
