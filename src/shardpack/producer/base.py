"""What ``Producer`` and ``AsyncProducer`` share: options, a pump that starts with the first record, what they tell."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

from .._native.inbox import Inbox
from ..codec.objects import encoder_of
from ..dead_letters.letter import DeadLetterSink
from ..errors import EventLoopEndedError, ProducerClosedError, abridged
from ..keys.strategy import KeyStrategy
from ..limits import KIB, MAX_RECORD_BYTES, MIB, whole_number
from ..transport import AsyncTransport, Transport, check_client, has_coroutines, is_async
from ..transport.naming import name_or_arn
from .callers import Hands
from .doors import Door, KeyDoor
from .hot_shards import HotShard
from .pump import Pump
from .receipts import Receipts, Register
from .settling import SettledRecord
from .stats import Stats

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack  # typing has them from 3.11

    from ..codec.objects import Codec
    from ..codec.sealing import CompressedSealer
    from .options import ProducerOptions

logger = logging.getLogger("shardpack.producer")


class BaseProducer:
    """One stream, the options of its delivery (`Producer` tells them), and what can be asked of it meanwhile."""

    _awaits = False  # whether it is an event loop's
    _loop: AbstractEventLoop | None = None  # in which it has begun

    def __init__(
        self,
        stream_name: str | None = None,
        *,
        stream_arn: str | None = None,
        client: Any = None,
        transport: Transport | AsyncTransport | None = None,
        wire: Literal["json", "cbor"] = "json",
        linger_ms: float = 100,
        max_aggregate_bytes: int = 256 * KIB,
        max_aggregate_records: int | None = None,
        max_buffered_bytes: int = 64 * MIB,
        record_ttl_ms: float = 30_000,
        max_requests_in_flight: int = 4,
        shard_bytes_per_second: float | None = None,
        shard_records_per_second: float | None = None,
        ordering: Literal["shard", "none"] = "shard",
        after_failure: Literal["continue", "stop"] = "continue",
        aggregate_on_auto: bool = False,
        key_strategy: KeyStrategy | None = None,
        compression: Literal["zstd"] | None = None,
        compression_level: int = 1,
        receipts: bool = True,
        payload_codec: Door | None = None,
        codec: Codec | Literal["json", "msgpack", "raw"] = "json",
        dead_letters: DeadLetterSink | None = None,
        on_settled: Callable[[Sequence[SettledRecord]], None] | None = None,
        close_timeout_s: float = 30.0,
    ) -> None:
        _check_stream(stream_name, stream_arn, client, transport)
        _check_choice("wire", wire, ("json", "cbor"))
        is_loops = has_coroutines(client) or (transport is not None and is_async(transport))
        if is_loops and not self._awaits:
            raise TypeError("a client or transport whose calls are coroutines is for AsyncProducer")
        _check_number("linger_ms", linger_ms, 0)
        _check_whole("max_aggregate_bytes", max_aggregate_bytes, MAX_RECORD_BYTES)
        _check_whole("max_aggregate_records", max_aggregate_records, 2**32 - 1)
        _check_whole("max_buffered_bytes", max_buffered_bytes, 2**62)
        _check_number("record_ttl_ms", record_ttl_ms, 0)
        _check_whole("max_requests_in_flight", max_requests_in_flight, 1000)
        _check_number("shard_bytes_per_second", shard_bytes_per_second, 1)
        _check_number("shard_records_per_second", shard_records_per_second, 1e-3)
        _check_choice("ordering", ordering, ("shard", "none"))
        _check_choice("after_failure", after_failure, ("continue", "stop"))
        _check_number("close_timeout_s", close_timeout_s, 0)

        def sealer() -> CompressedSealer | None:
            if compression is None:
                return None
            from ..codec.sealing import sealer_of  # noqa: PLC0415 - and a library of zstd, where they are used

            return sealer_of(compression, max_aggregate_bytes, compression_level)

        sealer()  # which says at once what is wrong

        def begin(*, forked: bool, loop: AbstractEventLoop | None, hands: Hands | None) -> Pump:
            if forked and is_loops:
                raise EventLoopEndedError(
                    "the event loop that makes the calls is the parent process's: "
                    "make a client and a producer of this process's own"
                )
            if forked and client is not None and hasattr(client, "close"):
                client.close()  # its connections, which are the parent process's too; it makes others
            return Pump(
                transport or _transport(stream_name, stream_arn, client, max_requests_in_flight, wire),
                loop=loop,
                stream=stream_arn or stream_name or "",
                max_aggregate_bytes=max_aggregate_bytes,
                max_aggregate_records=max_aggregate_records,
                max_buffered_bytes=max_buffered_bytes,
                linger_s=linger_ms / 1000,
                record_ttl_s=record_ttl_ms / 1000,
                max_requests_in_flight=max_requests_in_flight,
                shard_bytes_per_second=shard_bytes_per_second,
                shard_records_per_second=shard_records_per_second,
                ordering=ordering,
                after_failure=after_failure,
                aggregate_on_auto=aggregate_on_auto,
                dead_letters=dead_letters,
                on_settled=on_settled,
                register=Register() if receipts else None,
                sealer=sealer(),
                hands=hands,
            )

        self._begin = begin
        strategy: tuple[Door, ...] = () if key_strategy is None else (KeyDoor(key_strategy),)
        codecs: tuple[Door, ...] = () if payload_codec is None else (_door("payload_codec", payload_codec),)
        self._doors = strategy + codecs  # so that a strategy sees the data as it was put
        self._encode_object = encoder_of(codec)
        self._hands: Hands | None = None  # that make calls of others, too
        self._stream = stream_arn or stream_name or repr(transport)
        self._max_buffered = max_buffered_bytes
        self._close_timeout = close_timeout_s
        self._closed = self._forked = False
        self._starting = threading.Lock()
        self._pump: Pump | None = None
        self._inbox: Inbox | None = None
        _alive.add(self)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<{type(self).__name__} of {self._stream:.200}, {state}>"

    @classmethod
    def from_kpl_properties(
        cls, properties: Mapping[str, object], stream_name: str | None = None, **options: Unpack[ProducerOptions]
    ) -> Self:
        """Make a producer that does what a configuration of the Kinesis Producer Library says.

        ``properties`` are the keys and values of its file, ``RecordMaxBufferedTime`` and so on; what they do not say is
        as everywhere here. ``options`` are those of ``Producer`` and go before them. Keys that change nothing here are
        named in one warning. Raises ``ValueError`` for unknown keys, for values that the KPL refuses, and for those
        that cannot be honoured, as ``FailIfThrottled=true``. ``docs/migrate/from-kpl.md`` has what becomes of each.
        """
        from .kpl_properties import producer_options  # noqa: PLC0415 - for those who come from there

        return cls(stream_name, **producer_options(properties, options))

    # --- what holds shards back, with after_failure="stop" ---

    @property
    def held_shards(self) -> tuple[str, ...]:
        """The shards whose records wait for ``resume`` or ``skip``, because one before them was given up."""
        return () if self._pump is None else self._pump.held_shards

    def resume(self) -> None:
        """Send once more what was given up, and then what it held back.

        All of it may take its time to live anew. Receipts of what was given up have no outcome again, until the new
        one.
        """
        if self._pump is not None:
            self._pump.resume()

    def skip(self) -> None:
        """Go on without what was given up: it is a dead letter now. What it held back has its time to live anew."""
        if self._pump is not None:
            self._pump.skip()

    # --- what it tells ---

    def stats(self, *, shards: bool = True) -> Stats:
        """Return what has been done since the first ``put``, and what waits now. Any thread may ask, at any time.

        It costs tens of microseconds, and about five for each shard; without ``shards`` those are left out.
        """
        if self._pump is None:
            return Stats(max_buffered_bytes=self._max_buffered)
        return self._pump.stats(shards=shards)

    def hot_shards(self, *, min_utilisation: float = 0.8, max_keys: int = 10) -> list[HotShard]:
        """Return the shards near their limit, the most used one first, each with its heaviest partition keys.

        Near it is a shard that takes ``min_utilisation`` of what it may, or has throttled within 10 seconds. Rates of
        keys are of what was put lately, half of it within 10 seconds. They are estimates: one byte of 4,096.5 is looked
        at, at random, which costs 1 to 3 ns for a user record of 100 bytes; 4,096 keys of all shards are told apart,
        in at most 4.3 MB. User records without a partition key have none to be named. Any thread may ask.
        """
        return [] if self._pump is None else self._pump.hot_shards(min_utilisation=min_utilisation, max_keys=max_keys)

    # --- the pump ---

    def _check_open(self) -> None:
        if self._closed:
            raise ProducerClosedError("the producer was closed")

    def _started(self) -> Pump:
        """The pump: made with the first record, and again in a process that was forked off."""
        with self._starting:
            self._check_open()
            if self._pump is None:
                pump = self._begin(forked=self._forked, loop=self._loop, hands=self._hands)
                pump.start()
                self._pump = pump
                if not self._doors:  # with some, every call goes through Python
                    self._inbox = pump.inbox
                _running[pump] = self._close_timeout
                weakref.finalize(self, pump.let_go).atexit = False
            return self._pump

    def _receipts(self, taken: tuple[int, int, Any]) -> Any:
        register = None if self._pump is None else self._pump.register
        return None if register is None else Receipts(register, *taken)

    def _through_doors(self, key: Any, data: Any, explicit_hash_key: Any) -> tuple[Any, Any, Any]:
        """Return a user record as it is to be taken."""
        for door in self._doors:
            key, data, explicit_hash_key = door.one(key, data, explicit_hash_key)
        return key, data, explicit_hash_key

    def _all_through_doors(self, keys: Any, datas: Any, explicit_hash_keys: Any) -> tuple[Any, Any, Any]:
        """The same of many; each a sequence, or the explicit hash keys ``None``."""
        if self._doors:
            keys, datas = list(keys), list(datas)
            explicit_hash_keys = None if explicit_hash_keys is None else list(explicit_hash_keys)
        for door in self._doors:
            keys, datas, explicit_hash_keys = door.many(keys, datas, explicit_hash_keys)
        return keys, datas, explicit_hash_keys

    def _refuse_arrow(self) -> None:
        if self._doors:
            raise TypeError(
                "put_arrow takes rows as they are: a producer with a key_strategy or payload_codec has put_many"
            )

    def _asking(self, pump: Pump, put: Callable[[], Any]) -> Callable[[], Any]:
        """Put, but raise where waiting for room is of no use."""

        def ask() -> Any:
            taken = put()
            if taken is None:
                self._check_open()
                pump.check_running()
            return taken

        return ask

    def _limits_told(self) -> Callable[[], bool | None]:
        """Return what is true once the stream's own limits are known, or will not be."""
        pump = self._started()
        return lambda: pump.is_described or pump.failed or pump.ended or None

    def _refuse(self) -> None:
        """Take nothing more."""
        with self._starting:
            self._closed = True

    def _stop(self, timeout: float | None = None) -> None:
        self._refuse()
        pump = self._pump
        if pump is None:
            return
        pump.stop(self._close_timeout if timeout is None else timeout)
        if pump.loop_ended:
            raise EventLoopEndedError(
                "the event loop that makes the calls has ended, or does not run: what was not stored before is given "
                "up. Close the producer in that loop"
            )

    def _forget(self) -> None:
        """Be as if nothing had been put: what was put is the parent process's to deliver."""
        self._starting = threading.Lock()
        if self._pump is not None and self._pump.register is not None:
            self._pump.register.forget()
        self._pump, self._inbox, self._forked = None, None, True


def many(given: Iterable[Any]) -> Iterable[Any]:
    """Return what can be read more than once; a list is not copied."""
    return list(given) if isinstance(given, Iterator) else given


def _check_stream(stream_name: object, stream_arn: object, client: object, transport: object) -> None:
    if transport is not None:
        if client is not None:
            raise ValueError("a transport has its client: give one of them")
    else:
        name_or_arn(stream_name, stream_arn)
        if client is not None and not has_coroutines(client):
            check_client(client)


def _check_number(name: str, given: float | None, least: float) -> None:
    if given is None and name.startswith("shard_"):
        return
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise TypeError(f"{name} is a number, not {type(given).__name__}")
    if not least <= given < inf:
        raise ValueError(f"{name} of {given} is below {least:,}" if given < least else f"{name} of {given} is no bound")


def _check_whole(name: str, given: int | None, most: int) -> None:
    if given is None and name == "max_aggregate_records":
        return
    if not 1 <= whole_number(name, given) <= most:
        raise ValueError(f"{name} of {given:,} is not between 1 and {most:,}")


def _door(name: str, given: Door) -> Door:
    if not (callable(getattr(given, "one", None)) and callable(getattr(given, "many", None))):
        raise TypeError(f"{name} has one() and many(), as shardpack.codec.DictionaryCodec; not {abridged(given)}")
    return given


def _check_choice(name: str, given: str, choices: tuple[str, ...]) -> None:
    if given not in choices:
        raise ValueError(f"{name} is one of {', '.join(choices)}, not {given!r}")


def _transport(
    stream_name: str | None,
    stream_arn: str | None,
    client: Any,
    requests_in_flight: int,
    wire: Literal["json", "cbor"] = "json",
) -> Transport | AsyncTransport:
    if has_coroutines(client):
        from ..transport.aiobotocore import AiobotocoreTransport  # noqa: PLC0415

        _look_at(client, requests_in_flight)
        return AiobotocoreTransport(client, stream_name, stream_arn=stream_arn, wire=wire)
    from ..transport.boto3 import Boto3Transport, ClientSettings  # noqa: PLC0415 - a client library, where it is used

    if client is None:
        client = ClientSettings()
    if isinstance(client, ClientSettings):
        client = client.client(requests_in_flight + 2)
    else:
        _look_at(client, requests_in_flight + 2)
    return Boto3Transport(client, stream_name, stream_arn=stream_arn, wire=wire)


def _look_at(client: Any, calls: int) -> None:
    """Say what of a user's client does not suit so many calls at a time. It is left as it is."""
    config = getattr(getattr(client, "meta", None), "config", None)
    connections = getattr(config, "max_pool_connections", None)
    if connections is not None and connections < calls:
        logger.warning(
            "the client keeps %d connections, where %d calls may be under way: give it max_pool_connections=%d, "
            "or calls beyond them wait, or open one each",
            connections,
            calls,
            calls,
        )
    if config is not None and (getattr(config, "retries", None) or {}).get("total_max_attempts") != 1:
        logger.warning(
            "the client makes calls again by itself, also where an answer was lost: the producer is not told of that "
            "answer, and may report as not stored what is; give it retries={'total_max_attempts': 1}"
        )


_alive: weakref.WeakSet[BaseProducer] = weakref.WeakSet()


_running: weakref.WeakKeyDictionary[Pump, float] = weakref.WeakKeyDictionary()
"""Pumps, each kept by its thread, and how long closing may take: of producers that nobody has any more, too."""


def _close_all() -> None:
    began = monotonic()
    for producer in list(_alive):
        producer._refuse()  # noqa: SLF001
    running = dict(_running)
    for pump in running:  # so that they take their time side by side
        pump.let_go()
    for pump, timeout in running.items():
        pump.stop(max(0.0, began + timeout - monotonic()))


def _forget_all() -> None:
    _running.clear()
    for producer in list(_alive):
        producer._forget()  # noqa: SLF001


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
