"""Carry a plan out on a stream: one call at a time, each looked at before the next.

Where it stands is told by the stream's own shards alone: whoever begins anew, after whatever ended the last run, goes
on from there.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ..shards import ShardMap
from ..transport.list_shards import list_all_shards
from ..transport.naming import stream_parameters
from .load import Load
from .resharding_steps import ReshardError, ReshardPlan, Step, reshard_steps

T = TypeVar("T")

LIMIT_EXCEEDED = "LimitExceededException"

BETWEEN_CALLS_SECONDS = 0.25
"""At least, from one call to the next: SplitShard and MergeShards take five a second and account."""
POLL_SECONDS = (0.1, 2.0)
"""From one look at a stream that is being resharded to the next, at first and in the end."""
SETTLE_SECONDS = 30.0
"""How long an active stream is looked at for what a call that it has taken is to change."""
BACKOFF_SECONDS = (0.5, 20.0)
TRIES = 4
"""How often a call is refused by LimitExceededException until it is done in another way, if there is one."""
MOST_SETBACKS = 10
"""How often calls may lead no nearer to the aim: they change nothing, or somebody else reshards the stream too."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a resharding is about to do, or waits for; ``step`` is ``None`` once all is done."""

    shard_map: ShardMap
    step: Step | None
    done: int
    """Calls that the stream has carried out."""
    left: int
    """Calls from here on, this one among them."""
    waits_for: str = ""
    """Why the call was not taken, which is made again; or what is done in place of it."""


@dataclass(frozen=True, slots=True)
class Resharded:
    """What was planned, and what was done of it."""

    plan: ReshardPlan
    shard_map: ShardMap
    """The open shards as they are now."""
    done: tuple[Step, ...] = ()
    """The calls that the stream has carried out; nothing without ``apply``."""


def reshard(
    client: Any,
    stream: str,
    *,
    to: int | None = None,
    balance: bool = False,
    borders: tuple[int, ...] | None = None,
    load: Load | None = None,
    max_shards: int | None = None,
    apply: bool = False,
    progress: Callable[[Progress], None] | None = None,
    patience_s: float = 3600.0,
) -> Resharded:
    """Reshard a stream, or tell what that takes: see ``reshard_steps``. Without ``apply`` nothing is changed.

    ``client`` is a boto3 Kinesis client, ``stream`` a name or an ARN. Calls are made one at a time; after each the
    stream is waited for to be active, and its shards are listed: every hash key has one, and none is missing. Calls
    that the service refuses for the moment are made again, ever more slowly, up to ``patience_s`` seconds, as long as
    an update may take. Where UpdateShardCount stays refused, shards are split and merged one by one. ``borders`` given
    again, or ``to``, it goes on where another run ended. Producers and consumers go on meanwhile.

    Raises ``ReshardError`` for an on-demand stream, for one that is not active in time, and where somebody else
    reshards it too; ``ShardMapError`` where hash keys have no shard; ``ValueError`` as ``reshard_steps``; and what the
    client raises. ``progress`` is called before each call, and at the end. From one thread for one stream.
    """
    run = _Run(client, stream, progress or (lambda _: None), patience_s)
    shard_map = run.look()
    room = run.room()
    plan = reshard_steps(
        shard_map, to=to, balance=balance, borders=borders, load=load, max_shards=max_shards, room=room
    )
    if not apply:
        return Resharded(plan, shard_map)
    return run.carry_out(plan, to, room)


class _Run:
    def __init__(self, client: Any, stream: str, progress: Callable[[Progress], None], patience_s: float) -> None:
        self._client, self._stream, self._tell, self._patience_s = client, stream, progress, patience_s
        self._named = stream_parameters(stream)
        self._known: set[str] = set()  # shards that were open when last looked
        self._called_at = 0.0

    # --- what there is ---

    def look(self, other_than: ShardMap | None = None) -> ShardMap:
        """Return the open shards once the stream is active; ``other_than`` these, unless they stay as they are."""
        deadline, pause, active_since = time.monotonic() + self._patience_s, POLL_SECONDS[0], None
        while True:
            status = self._status()
            if status == "ACTIVE":
                shard_map = self._listed()
                active_since = time.monotonic() if active_since is None else active_since
                if shard_map != other_than or time.monotonic() - active_since > SETTLE_SECONDS:
                    return shard_map
            elif status == "DELETING":
                raise ReshardError(f"{self._stream} is being deleted")
            else:
                active_since = None
            if time.monotonic() > deadline:
                raise ReshardError(f"{self._stream} is {status} after {self._patience_s:g} s; run this again to go on")
            time.sleep(pause)
            pause = min(2 * pause, POLL_SECONDS[1])

    def _status(self) -> str:
        summary = self._asked(self._client.describe_stream_summary, **self._named)["StreamDescriptionSummary"]
        if summary.get("StreamModeDetails", {}).get("StreamMode") == "ON_DEMAND":
            raise ReshardError(
                f"{self._stream} is on-demand: the service splits and merges its shards itself, and refuses others"
            )
        status: str = summary["StreamStatus"]
        return status

    def _listed(self) -> ShardMap:
        shards = self._asked(list_all_shards, self._client, self._named)
        if lost := self._known - {shard["ShardId"] for shard in shards}:
            raise ReshardError(f"{min(lost)} was open, and is listed no more")
        shard_map = ShardMap.from_shards(shards)
        self._known = {shard.shard_id for shard in shard_map}
        return shard_map

    def room(self) -> int | None:
        """Return how many more shards the account may have; ``None`` where that is not told."""
        try:
            limits = self._client.describe_limits()
            return max(0, int(limits["ShardLimit"]) - int(limits["OpenShardCount"]))
        except Exception:  # noqa: BLE001 (it may be denied, and some local Kinesis do not know it)
            return None

    def _asked(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Ask until there is an answer, or an error that does not pass."""
        began, tries = time.monotonic(), 0
        while True:
            try:
                return call(*arguments, **named)
            except Exception as error:
                if not _passes(error) or time.monotonic() - began > self._patience_s:
                    raise
                tries += 1
                _back_off(tries)

    # --- what is to be done ---

    def carry_out(self, plan: ReshardPlan, to: int | None, room: int | None) -> Resharded:
        shard_map, steps, done = plan.before, plan.steps, list[Step]()
        by_count = len(shard_map) != to  # once there are so many, ranges may differ all the same: not begun again
        most = None if room is None else len(shard_map) + room  # that the account lets this stream have
        aim: Mapping[str, Any] = {"borders": plan.borders} if to is None else {"to": to}
        setbacks = refused = 0
        refused_since = 0.0
        while steps:
            step, before = steps[0], shard_map
            self._tell(Progress(shard_map, step, len(done), len(steps)))
            try:
                self._call(step, shard_map)
            except Exception as error:
                shard_map = self.look()
                if shard_map == before:  # else its answer was lost, or somebody else was there
                    now = time.monotonic()
                    refused, refused_since = refused + 1, refused_since if refused else now
                    if not _passes(error) or now - refused_since > self._patience_s:
                        raise
                    if _code(error) == LIMIT_EXCEEDED and refused >= TRIES:
                        by_count, most = by_count and step.operation != "UpdateShardCount", len(shard_map)
                    self._tell(Progress(shard_map, step, len(done), len(steps), str(error)))
                    _back_off(refused)
            else:
                refused = 0
                shard_map = self.look(before)
                by_count = by_count and len(shard_map) == step.shard_count
            if shard_map != before:
                done.append(step)
            by_count = by_count and len(shard_map) != to
            room = None if most is None else max(0, most - len(shard_map))
            left, steps = (
                steps,
                reshard_steps(shard_map, **aim, load=plan.load, room=room, update_shard_count=by_count).steps,
            )
            setbacks += len(steps) >= len(left) and not refused
            if setbacks > MOST_SETBACKS:
                raise ReshardError(f"the shards of {self._stream} do not become what calls say: is there another hand?")
        self._tell(Progress(shard_map, None, len(done), 0))
        return Resharded(plan, shard_map, tuple(done))

    def _call(self, step: Step, shard_map: ShardMap) -> None:
        time.sleep(max(0.0, self._called_at + BETWEEN_CALLS_SECONDS - time.monotonic()))
        self._called_at = time.monotonic()
        client, named = self._client, self._named
        if step.operation == "UpdateShardCount":
            client.update_shard_count(**named, TargetShardCount=step.shard_count, ScalingType="UNIFORM_SCALING")
            return
        assert step.hash_key is not None
        place = shard_map.index_of(step.hash_key)
        if step.operation == "SplitShard":
            shard_id = shard_map[place].shard_id
            client.split_shard(**named, ShardToSplit=shard_id, NewStartingHashKey=str(step.hash_key))
        else:
            shards = {"ShardToMerge": shard_map[place - 1].shard_id, "AdjacentShardToMerge": shard_map[place].shard_id}
            client.merge_shards(**named, **shards)


def _code(error: BaseException) -> str:
    from ..transport.transient import error_code  # noqa: PLC0415 (loads botocore, which plans do without)

    return error_code(error)


def _passes(error: BaseException) -> bool:
    from ..transport.transient import is_transient  # noqa: PLC0415

    return is_transient(error) or _code(error) in {LIMIT_EXCEEDED, "ResourceInUseException"}


def _back_off(tries: int) -> None:
    longest = min(BACKOFF_SECONDS[1], BACKOFF_SECONDS[0] * 2 ** min(tries, 10))
    time.sleep(random.uniform(longest / 2, longest))
