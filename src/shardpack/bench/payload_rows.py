"""The row of payload codecs: each record compressed alone, with a dictionary, and as guides have it done."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import partial

from ..codec import DictionaryCodec, PayloadReader, train
from ..codec.zstd import dictionary_library
from ..limits import KIB
from .corpus import flights
from .row import BESIDE, OURS, CannotMeasureError, Contender, Row, Scale

TRAINED_WITH = 10
"""One record of ten; the figures are of the others."""


def payload_row(scale: Scale) -> Row:
    try:
        dictionary_library()
    except ImportError as error:
        raise CannotMeasureError(str(error)) from None
    datas = flights(scale(100_000)).datas
    samples, datas = datas[::TRAINED_WITH], [data for i, data in enumerate(datas) if i % TRAINED_WITH]
    codec = DictionaryCodec(train(samples, max(256, min(64 * KIB, sum(map(len, samples)) // 8))))
    reader = PayloadReader(codec.dictionary)

    def ours() -> Callable[[], list[bytes]]:
        return partial(codec.encode_many, datas)

    def is_right(payloads: list[bytes]) -> bool:
        return [payload.data for payload in reader.read(payloads)] == datas

    def each_a_record(payloads: list[bytes]) -> str:
        return f"{sum(map(len, payloads)) / len(payloads):.0f} B"

    gzipped = partial(_gzip_each, datas)
    sizes = [datas, codec.encode_many(datas), gzipped()]
    plain, with_dictionary, with_gzip = map(each_a_record, sizes)
    return Row(
        "payload codec",
        f"{len(datas):,} flight events, each {plain}: {with_dictionary} with a dictionary, {with_gzip} with gzip",
        "records",
        len(datas),
        {
            OURS: Contender(ours, is_right),
            "gzip of each": Contender(
                lambda: gzipped, lambda found: [gzip.decompress(payload) for payload in found] == datas
            ),
            BESIDE: Contender(ours, is_right, beside_busy_thread=True),
        },
    )


def _gzip_each(datas: list[bytes]) -> list[bytes]:
    return [gzip.compress(data) for data in datas]


PAYLOAD_ROWS: dict[str, Callable[[Scale], Row]] = {"payload-codec": payload_row}
