"""A Kinesis that fails as told: a proxy on loopback between a client and a local Kinesis, scripted and seeded."""

from __future__ import annotations

import asyncio
import atexit
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from email.utils import formatdate
from random import Random
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

from .faults import (
    ENTRY_MESSAGES,
    KNOWN_ERRORS,
    THROTTLED,
    Cut,
    Error,
    Fault,
    Latency,
    Plan,
    RefuseEntries,
    Request,
    Reset,
    Schedule,
    ShardLimits,
    StaleShards,
    checked,
    plan,
)
from .http_exchange import JSON_TYPE, LONGEST_HEAD, BadMessageError, Connection, Headers, Message, Upstream, response
from .shard_limits import KnownShards, ShardBuckets, size_of

if TYPE_CHECKING:
    from typing_extensions import Self

MOST_ENTRIES = 500
"""Of one PutRecords call. One with more is passed on whole: the service is to refuse it."""
MOST_UNANSWERED = 1_000_000
"""Kinesis records whose lost answers are remembered."""
MOST_LISTS = 64
"""ListShards calls, by their parameters, whose last answer is remembered."""


class _Lists(NamedTuple):
    """What ListShards has told, and since when that is no longer so."""

    shown: Message
    changed_at: float | None


class FaultProxy:
    """Stand between clients and a local Kinesis while the ``with`` block lasts, and inject ``faults``.

    ``upstream_url`` is the local Kinesis's (``LocalKinesis.endpoint_url``); ``faults`` are those of
    ``shardpack.testing.faults`` and schedules, callables that take a ``Request`` and return a fault or ``None``; they
    run in the proxy's thread and must not block. ``proxy.faults = …`` changes them at any time: calls that arrive later
    meet the new ones. What is left to chance comes from ``seed`` and the number of the call, so that calls that
    arrive in one order meet the same faults. ``clock`` is what shard limits and stale lists go by, in seconds.

    It speaks HTTP/1.1 with kept connections and the JSON protocol; signatures are passed on as they are, and those of
    calls of which entries are refused do not fit any more: a local Kinesis does not look. SubscribeToShard is not
    passed on. Any number of clients and threads may call. An exception that a schedule raises ends its call with an
    error 500 and is raised again by ``close``, or at the end of the block. Raises ``ValueError`` for a URL that is not
    plain HTTP, ``TypeError`` for what is no fault.
    """

    def __init__(
        self,
        upstream_url: str,
        *,
        seed: int,
        faults: Iterable[Fault | Schedule] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        url = urlsplit(upstream_url)
        if url.scheme != "http" or not url.hostname:
            raise ValueError(
                f"the upstream is a local Kinesis, http://127.0.0.1:4567 for one, not {upstream_url!r:.100}"
            )
        self._seed = seed
        self._clock = clock
        self._faults = checked(faults)
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()
        self._clients: list[Any] = []
        self.endpoint_url: str = ""
        """Where it listens, for clients: ``http://127.0.0.1:`` and the port."""
        # the rest is the thread's own
        self._number = 0
        self._requests: Counter[str] = Counter()
        self._injected: Counter[str] = Counter()
        self._unanswered: dict[str, set[tuple[str, str]]] = {}
        self._error: Exception | None = None
        self._buckets = ShardBuckets(clock)
        self._upstream = Upstream(url.hostname, url.port or 80)
        self._shards = KnownShards(self._upstream)
        self._lists: dict[bytes, _Lists] = {}

    # --- from any thread ---

    @property
    def faults(self) -> tuple[Fault | Schedule, ...]:
        """The faults and schedules that calls meet; may be set at any time, to any iterable of them."""
        return self._faults

    @faults.setter
    def faults(self, faults: Iterable[Fault | Schedule]) -> None:
        self._faults = checked(faults)

    @property
    def injected(self) -> Counter[str]:
        """How often each fault was injected, by its ``label``; refused entries are counted each."""
        return Counter(dict(self._injected))

    @property
    def requests(self) -> Counter[str]:
        """How many calls arrived, by operation."""
        return Counter(dict(self._requests))

    def unanswered(self, stream_name: str) -> set[tuple[str, str]]:
        """Return shard id and sequence number of the Kinesis records that are stored, but whose answer was lost.

        It is what ``history.check`` excuses duplicates by. A client that gave up waiting is noticed when the answer is
        due, if its connection is closed by then.
        """
        return self._unanswered.get(stream_name, set()).copy()

    def client(self, **config: Any) -> Any:
        """Make a boto3 Kinesis client that does not try again by itself, and knows nothing of the user's AWS settings.

        ``config`` goes to botocore's ``Config``: ``read_timeout=1``. It is closed with the proxy. Needs boto3.
        """
        import boto3  # noqa: PLC0415 - the proxy itself does without
        from botocore.config import Config  # noqa: PLC0415

        from .local_kinesis import REGION, session_of_defaults  # noqa: PLC0415

        settings = {"retries": {"mode": "standard", "total_max_attempts": 1}, "proxies": {}, **config}
        client = boto3.session.Session(botocore_session=session_of_defaults()).client(
            "kinesis", region_name=REGION, endpoint_url=self.endpoint_url, config=Config(**settings)
        )
        self._clients.append(client)
        return client

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise RuntimeError("the proxy runs already, or has run: make another")
        started: Future[str] = Future()
        self._thread = Thread(target=self._run, args=(started,), name="fault-proxy", daemon=True)
        self._thread.start()
        atexit.register(self._stop)
        try:
            self.endpoint_url = started.result()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stop()
        if kind is None:
            self._raise_error()

    def close(self) -> None:
        """End all connections and the thread. May be called again. Raises what a schedule raised."""
        self._stop()
        self._raise_error()

    def _stop(self) -> None:
        atexit.unregister(self._stop)
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._stopped.set)
        if self._thread is not None:
            self._thread.join()
        while self._clients:
            self._clients.pop().close()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    # --- the thread ---

    def _run(self, started: Future[str]) -> None:
        try:
            asyncio.run(self._listen(started))
        except BaseException as error:  # noqa: BLE001 - it is __enter__'s
            if not started.done():
                started.set_exception(error)

    async def _listen(self, started: Future[str]) -> None:
        self._loop = asyncio.get_running_loop()
        serving: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._serve(Connection(reader, writer)))
            serving.add(task)
            task.add_done_callback(serving.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=LONGEST_HEAD, backlog=1024)
        try:
            started.set_result(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            await self._stopped.wait()
        finally:
            server.close()
            left = tuple(serving)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            self._upstream.close()

    async def _serve(self, client: Connection) -> None:
        """Answer the calls of one connection, one after the other."""
        try:
            while (message := await client.read()) is not None:
                if not await self._exchange(client, message) or not message.is_kept_alive:
                    break
            client.close()
        except BadMessageError as error:
            with suppress(OSError):
                await client.write(_error_answer(413, "BadMessage", str(error), self._chance("bad")))
            client.close()
        except (OSError, EOFError):  # the client went away
            client.reset()
        except Exception as error:  # noqa: BLE001 - raised again by close
            self._note(error)
            client.reset()
        except asyncio.CancelledError:
            client.reset()
            raise

    async def _exchange(self, client: Connection, message: Message) -> bool:
        """Do one call. Returns whether the connection is still there."""
        self._number += 1
        operation = (message.header("x-amz-target") or "").rpartition(".")[2]
        self._requests[operation] += 1
        request = Request(self._number, operation, message.body)
        chance = self._chance(self._number)
        try:
            planned = plan(self._faults, request, chance)
        except Exception as error:  # noqa: BLE001 - a schedule's; raised again by close
            self._note(error)
            what = f"the fault proxy cannot go on: {type(error).__name__}: {error!s:.500}"
            await client.write(_error_answer(500, "FaultProxyError", what, chance))
            return True
        await self._wait(planned, "before", chance)
        if planned.before is not None:
            self._injected[planned.before.label] += 1
            return await self._fail(client, planned.before, request, chance)
        answer = await self._answer(message, request, planned, chance)
        await self._wait(planned, "after", chance)
        after = planned.after
        if client.is_gone or after is not None:
            self._remember(request, answer)
        if after is not None and not client.is_gone:
            self._injected[after.label] += 1
            if isinstance(after, Cut):
                await client.write_part(answer, int(len(answer.body) * after.at))
                return False
            return await self._fail(client, after, request, chance)
        trickle = planned.trickle
        try:
            if trickle is None:
                await client.write(answer)
            else:
                self._injected[trickle.label] += 1
                await client.write_slowly(answer, trickle.pieces, trickle.seconds / trickle.pieces)
        except OSError:  # it went away meanwhile
            self._remember(request, answer)
            raise
        return True

    async def _fail(self, client: Connection, fault: Reset | Error, request: Request, chance: Random) -> bool:
        if isinstance(fault, Reset):
            client.reset()
            return False
        status, message = KNOWN_ERRORS.get(fault.code, (400, ""))
        message = message.format(stream=request.stream) if fault.message is None else fault.message
        await client.write(_error_answer(fault.status or status, fault.code, message, chance))
        return True

    async def _wait(self, planned: Plan, when: str, chance: Random) -> None:
        latencies = [latency for latency in planned.latencies if latency.when == when]
        for latency in latencies:
            self._injected[latency.label] += 1
        if latencies:
            await asyncio.sleep(sum(_seconds(latency, chance) for latency in latencies))

    def _chance(self, about: object) -> Random:
        """Return the chance of one call: whatever other calls draw does not change it."""
        return Random(f"{self._seed}/{about}")

    def _note(self, error: Exception) -> None:
        self._error = self._error or error

    def _remember(self, request: Request, answer: Message) -> None:
        """Keep in mind what is stored though its answer is lost."""
        if request.operation not in ("PutRecords", "PutRecord") or answer.start[1] != "200":
            return
        told = answer.json()
        stored = self._unanswered.setdefault(request.stream, set())
        stored.update(
            (entry["ShardId"], entry["SequenceNumber"])
            for entry in told.get("Records", [told])
            if not entry.get("ErrorCode")
        )
        if sum(map(len, self._unanswered.values())) > MOST_UNANSWERED:
            self._unanswered.clear()
            self._note(
                RuntimeError(f"the answers of more than {MOST_UNANSWERED:,} records were lost: too many to keep")
            )

    # --- what is passed on ---

    async def _answer(self, message: Message, request: Request, planned: Plan, chance: Random) -> Message:
        if request.operation == "SubscribeToShard":
            return _error_answer(501, "NotImplemented", "the fault proxy does not pass SubscribeToShard on", chance)
        try:
            refused = await self._refused(message, request, planned, chance)
            if refused and request.operation == "PutRecord":
                return _error_answer(400, *refused[0], chance)
            if refused:
                return await self._pass_others_on(message, request, refused, chance)
            answer = await self._upstream.exchange(message)
            if planned.limits and answer.start[1] == "200":
                self._shards.compare(request, request.entries, answer.json())
            if request.operation == "ListShards" and answer.start[1] == "200":
                answer = self._listed(answer, request, planned.stale)
            return answer
        except (OSError, EOFError, BadMessageError) as error:
            what = f"the fault proxy has no answer of the server behind it: {type(error).__name__}: {error}"
            return _error_answer(502, "BadGateway", what, chance)

    async def _refused(
        self, message: Message, request: Request, planned: Plan, chance: Random
    ) -> dict[int, tuple[str, str]]:
        """Return code and message of the entries that are refused, by position; PutRecord has one, at 0."""
        refused: dict[int, tuple[str, str]] = {}
        entries = request.entries
        if not (planned.refusals or planned.limits) or not 1 <= len(entries) <= MOST_ENTRIES:
            return refused
        shard_ids = await self._shards.of(message, request)

        def refuse(fault: RefuseEntries | ShardLimits, code: str, position: int) -> None:
            self._injected[fault.label] += 1
            shard = shard_ids[position] if shard_ids else "shardId-000000000000"
            refused[position] = code, ENTRY_MESSAGES.get(code, "").format(shard=shard, stream=request.stream)

        for refusal in planned.refusals:
            for position in refusal.refused(len(entries), chance) if request.operation == "PutRecords" else ():
                if position not in refused:
                    refuse(refusal, refusal.code, position)
        for limits in planned.limits:
            for position, shard_id in enumerate(shard_ids or ()):
                if position not in refused and not self._buckets.takes(
                    limits, request.stream, shard_id, size_of(entries[position])
                ):
                    refuse(limits, THROTTLED, position)
        return refused

    async def _pass_others_on(
        self, message: Message, request: Request, refused: dict[int, tuple[str, str]], chance: Random
    ) -> Message:
        """Pass on the entries that are not refused; put both kinds of answers together in their positions."""
        entries = request.entries
        others = [entry for position, entry in enumerate(entries) if position not in refused]
        told: dict[str, Any] = {"Records": []}
        headers = _headers(chance)
        if others:
            answer = await self._upstream.exchange(message.saying({**request.json, "Records": others}))
            if answer.start[1] != "200":
                return answer
            told, headers = answer.json(), answer.headers
            if len(told.get("Records", ())) != len(others):
                raise BadMessageError(f"PutRecords of {len(others)} entries is not answered for each")
            self._shards.compare(request, others, told)
        results = iter(told["Records"])
        told["Records"] = [
            dict(zip(("ErrorCode", "ErrorMessage"), refused[position], strict=True))
            if position in refused
            else next(results)
            for position in range(len(entries))
        ]
        told["FailedRecordCount"] = sum(1 for result in told["Records"] if result.get("ErrorCode"))
        return response(200, headers, json.dumps(told).encode())

    # --- shards ---

    def _listed(self, answer: Message, request: Request, stale: StaleShards | None) -> Message:
        """Return what ListShards is to tell: what it told before, where a change is too new to be known."""
        if "NextToken" in request.json:
            return answer
        before = self._lists.pop(request.body, _Lists(answer, None))
        shown, changed_at = answer, None
        if stale is not None and answer.body != before.shown.body:
            now = self._clock()
            changed_at = now if before.changed_at is None else before.changed_at
            if now - changed_at < stale.seconds:
                self._injected[stale.label] += 1
                shown = before.shown
            else:
                changed_at = None
        while len(self._lists) >= MOST_LISTS:
            del self._lists[next(iter(self._lists))]
        self._lists[request.body] = _Lists(shown, changed_at)
        return shown


def _seconds(latency: Latency, chance: Random) -> float:
    return latency.seconds + (chance.random() * latency.jitter_s if latency.jitter_s else 0.0)


def _headers(chance: Random) -> Headers:
    """Return what every answer of the service has."""
    return [
        ("x-amzn-RequestId", str(UUID(int=chance.getrandbits(128), version=4))),
        ("Content-Type", JSON_TYPE),
        ("Date", formatdate(usegmt=True)),
    ]


def _error_answer(status: int, code: str, message: str, chance: Random) -> Message:
    """Return an error in the wire form of AWS's JSON protocol, from which SDKs make their exceptions."""
    body = json.dumps({"__type": code, "message": message}).encode()
    return response(status, [*_headers(chance), ("x-amzn-ErrorType", code)], body)
