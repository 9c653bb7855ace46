"""The keyword options of a producer as a type checker sees them, where they are handed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict

from ..codec.objects import Codec
from ..dead_letters.letter import DeadLetterSink
from ..keys.strategy import KeyStrategy
from ..transport import AsyncTransport, Transport
from .doors import Door
from .settling import SettledRecord


class ProducerOptions(TypedDict, total=False):
    """What ``Producer`` and ``AsyncProducer`` take by keyword; `Producer` tells what each does."""

    stream_arn: str | None
    client: Any
    transport: Transport | AsyncTransport | None
    wire: Literal["json", "cbor"]
    linger_ms: float
    max_aggregate_bytes: int
    max_aggregate_records: int | None
    max_buffered_bytes: int
    record_ttl_ms: float
    max_requests_in_flight: int
    shard_bytes_per_second: float | None
    shard_records_per_second: float | None
    ordering: Literal["shard", "none"]
    after_failure: Literal["continue", "stop"]
    aggregate_on_auto: bool
    key_strategy: KeyStrategy | None
    compression: Literal["zstd"] | None
    compression_level: int
    receipts: bool
    payload_codec: Door | None
    codec: Codec | Literal["json", "msgpack", "raw"]
    dead_letters: DeadLetterSink | None
    on_settled: Callable[[Sequence[SettledRecord]], None] | None
    close_timeout_s: float
