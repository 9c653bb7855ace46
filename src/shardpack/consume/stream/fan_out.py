"""Several handlers of one stream: a reader, a thread and checkpoints for each, and one reading for all."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from ...errors import ShardpackError, abridged
from .handlers import DeadLetterPoison, Handler, Handling, OneAtATime, check_policy
from .stats import HandlerStats, ReaderStats

if TYPE_CHECKING:
    from .reader import StreamReader


class FanOutError(ShardpackError):
    """Handlers of a ``fan_out`` failed. ``errors`` has what ended each, by its name; ``__cause__`` is the first."""

    def __init__(self, errors: Mapping[str, Exception]) -> None:
        self.errors: dict[str, Exception] = dict(errors)
        super().__init__("; ".join(f"{name!r}: {type(error).__name__}: {error}" for name, error in errors.items()))

    def __reduce__(self) -> tuple[type[FanOutError], tuple[dict[str, Exception]]]:
        return FanOutError, (self.errors,)


class FanOut:
    """The handlers of one reader, which lends its options to one for each of them."""

    def __init__(
        self,
        reader: StreamReader,
        handlers: Mapping[str, Handler],
        on_error: Literal["stop"] | DeadLetterPoison | Mapping[str, Literal["stop"] | DeadLetterPoison],
    ) -> None:
        if not handlers:
            raise ValueError("fan_out has no handlers")
        for name in handlers:
            if not isinstance(name, str) or not name:
                raise ValueError(f"handlers have names, {abridged(name)} is none")
        policies = dict(on_error) if isinstance(on_error, Mapping) else dict.fromkeys(handlers, on_error)
        if policies.keys() - handlers.keys():
            raise ValueError(f"on_error has {abridged(min(policies.keys() - handlers.keys()))}, which is no handler")
        self._reader = reader
        self._shared, readers = reader._divided(list(handlers))  # noqa: SLF001 - its options
        self._readers = dict(zip(handlers, readers, strict=True))
        sinks: dict[int, OneAtATime] = {}
        self._handlings: dict[str, Handling] = {}
        for name, handler in handlers.items():
            policy = policies.get(name, "stop")
            check_policy(policy)
            if isinstance(policy, DeadLetterPoison):
                policy = replace(policy, sink=sinks.setdefault(id(policy.sink), OneAtATime(policy.sink)))
            self._handlings[name] = Handling(self._readers[name], handler, policy, name)
        self._errors: dict[str, Exception] = {}

    def run(self) -> None:
        """Handle everything; return once every handler has ended."""
        self._reader._describe()  # noqa: SLF001
        for one in self._readers.values():
            one._as_described(self._reader)  # noqa: SLF001
        try:
            for number, one in enumerate(self._readers.values()):
                self._shared.join(number, one._hurry, one._claim(), time.monotonic())  # noqa: SLF001
            for one in self._readers.values():
                one._begin_to_read()  # noqa: SLF001
            threads = [
                threading.Thread(target=self._run, args=(name, number), name=f"shardpack-handle-{name}", daemon=True)
                for number, name in enumerate(self._readers)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            self.stop()
            for one in self._readers.values():
                one.close()
        if self._errors:
            errors = {name: self._errors[name] for name in self._handlings if name in self._errors}
            raise FanOutError(errors) from next(iter(errors.values()))

    def _run(self, name: str, number: int) -> None:
        try:
            self._handlings[name].run()
        except Exception as error:  # noqa: BLE001 - raised in the end, with those of the others
            self._errors[name] = error
        except BaseException as error:  # noqa: BLE001 - SystemExit of a handler ends it alone
            self._errors[name] = ShardpackError(f"handler {name!r} ended with {error!r}")
        finally:
            self._readers[name].close()
            self._shared.leave(number)

    def stop(self) -> None:
        """End each after the batch that it has in hand."""
        for one in self._readers.values():
            one.stop()

    def stats(self) -> ReaderStats:
        """Return what was done so far, of all and of each."""
        each = {name: one.stats() for name, one in self._readers.items()}
        handlers = {
            name: HandlerStats(
                millis_behind=self._millis_behind(name, of),
                calls=of.calls,
                own_reads=self._readers[name]._own_reads,  # noqa: SLF001
                buffered_bytes=of.buffered_bytes,
                dead_letters=self._handlings[name].dead_letters,
                error=self._errors.get(name),
            )
            for name, of in each.items()
        }
        return ReaderStats(
            calls=sum(of.calls for of in each.values()),
            failed_calls=sum(of.failed_calls for of in each.values()),
            kinesis_records=sum(of.kinesis_records for of in each.values()),
            bytes_read=sum(of.bytes_read for of in each.values()),
            buffered_bytes=self._shared.size + sum(of.buffered_bytes for of in each.values()),
            shards=max(of.shards for of in each.values()),
            millis_behind=max(of.millis_behind for of in handlers.values()),
            gaps=sum(of.gaps for of in each.values()),
            handlers=handlers,
        )

    def _millis_behind(self, name: str, of: ReaderStats) -> int:
        waiting = self._readers[name]._arrivals_waiting()  # noqa: SLF001
        in_hand = self._handlings[name].in_hand
        if in_hand is not None:
            waiting.append(in_hand.arrived)
        arrived = min((one for one in waiting if one is not None), default=None)
        return of.millis_behind if arrived is None else max(of.millis_behind, int((time.time() - arrived) * 1000))
