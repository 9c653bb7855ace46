"""shardpack reshard: another number of shards, or shards of even load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click
from rich.text import Text

from ..plan.load import Load
from ..plan.resharding import Progress, Resharded
from ..plan.resharding import reshard as reshard_stream
from ..plan.resharding_steps import CALLS_A_DAY, MOST_SHARDS, ReshardPlan, Step
from ..plan.sample import Sample
from ..shards import HASH_KEYS, ShardMap
from .client import aws_options, make_client, stream_argument
from .console import Stdout, stderr
from .measured import sample_of_lines, sample_of_stream
from .ndjson import KeyFields
from .outcome import BadInputError, exit_on_error, fail, print_json, tell
from .parameters import FILE, command, option
from .reshard_aim import AimFile
from .reshard_picture import pictures

SECONDS_A_STEP = 30
"""For a split or a merge, as the service's own FAQ reckons: 30,000 s for 1,000 of them."""

MOST_LINES = 40
"""Steps that are printed; of more the first and the last of so many. --json has all."""


@command
@stream_argument
@option("--to", type=click.IntRange(1, MOST_SHARDS), metavar="N", help="N shards of even hash ranges.")
@option("--balance", is_flag=True, help="Shards of even load: no shard above 1.3 times the mean.")
@option("--apply", is_flag=True, help="Do it. Run it again to go on where it was ended.")
@option(
    "--max-shards",
    type=click.IntRange(1, MOST_SHARDS),
    metavar="N",
    panel="Balance",
    help="Have no more than N shards in the end; without it, as many as there are.",
)
@option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True, max=86_400),
    default=60,
    metavar="S",
    panel="Balance",
    help="Measure the load by what came into the stream in the last S seconds.",
)
@option(
    "--sample",
    metavar="FILE",
    type=FILE,
    panel="Balance",
    help="Take the load from a file in place of the stream: one JSON object per line.",
)
@option("--key", metavar="FIELD", panel="Balance", help="Field of the sample that holds the partition key.")
@option(
    "--plan",
    "aim",
    metavar="FILE",
    type=FILE,
    panel="Balance",
    help="Keep what is aimed at in this file; where it is there, that is what is done, and nothing is measured.",
)
@option("--json", "as_json", is_flag=True, help="Print what is to be done, or was done, as one JSON object.")
@aws_options
def reshard(  # noqa: PLR0917 (click calls it)
    stream: str,
    to: int | None,
    balance: bool,
    apply: bool,
    max_shards: int | None,
    seconds: float,
    sample: str | None,
    key: str | None,
    aim: str | None,
    as_json: bool,
    region: str | None,
    endpoint_url: str | None,
    profile: str | None,
) -> None:
    """Give a stream another number of shards, or shards of even load.

    Says what it would do, step by step, and does it with --apply: one call at a
    time, each within the service's limits and looked at before the next, while
    producers and consumers go on.

    \b
      shardpack reshard telemetry --to 16
      shardpack reshard telemetry --balance --max-shards 12
      shardpack reshard telemetry --balance --plan plan.json --apply
    """
    with exit_on_error():
        if (to is not None) == balance:
            raise BadInputError("give either --to N or --balance")
        if not balance and (max_shards or sample or key or aim):
            raise BadInputError("--max-shards, --sample, --key and --plan go with --balance")
        if (sample is None) != (key is None):
            raise BadInputError("--sample and --key go together")
        client = make_client(region, endpoint_url, profile)
        run = _Run(client, stream, Told(as_json, apply))
        if to is not None:
            run.scale(to)
        else:
            run.balance(max_shards, seconds, None if sample is None else (sample, key or ""), aim)


class Told:
    """Says what is to be done, and what is being done."""

    def __init__(self, as_json: bool, apply: bool) -> None:
        self.as_json, self.apply = as_json, apply

    def plan(self, stream: str, plan: ReshardPlan, sample: Sample | None) -> None:
        """Print the plan."""
        if self.as_json:
            return
        out = Stdout()
        for drawn in pictures(plan.before, plan.after, plan.load):
            out.print(drawn, soft_wrap=True)
        for heavy in heavy_keys(plan, sample):
            out.print(Text.assemble((str(heavy), "yellow")), soft_wrap=True)
        if not plan.steps:
            out.print(f"{stream} is as it should be: nothing to do.", markup=False, soft_wrap=True)
            return
        for number, line in _numbered(plan):
            out.print(line if number == 0 else f"{number:>4}  {line}", markup=False, soft_wrap=True)
        out.print(_price(plan), markup=False, soft_wrap=True)
        if not self.apply:
            out.print("Nothing was changed; --apply does it.", soft_wrap=True)

    def progress(self, progress: Progress) -> None:
        """Print what is done next, or waited for."""
        if self.as_json or progress.step is None:
            return
        what = describe(progress.step, progress.shard_map)
        if progress.waits_for:
            tell(Text(f"      again, in a while: {progress.waits_for}", "yellow"), soft_wrap=True)
        else:
            tell(Text(f"{progress.done + 1:>4}  {what}; {progress.left - 1:,} to go"), soft_wrap=True)

    def done(self, stream: str, found: Resharded, sample: Sample | None) -> None:
        """Print what was done."""
        plan = found.plan
        if self.as_json:
            print_json(_as_json(stream, found, sample, self.apply))
        elif self.apply and plan.steps:
            calls = f"{len(found.done):,} call{'s' * (len(found.done) != 1)}"
            shards = f"{len(found.shard_map):,} shard{'s' * (len(found.shard_map) != 1)}"
            Stdout().print(f"{stream} has {shards} after {calls}; each hash key has one.", markup=False, soft_wrap=True)


class _Run:
    def __init__(self, client: Any, stream: str, told: Told) -> None:
        self._client, self._stream, self._told = client, stream, told

    def scale(self, to: int) -> None:
        self._carry_out(None, to=to)

    def balance(self, max_shards: int | None, seconds: float, sampled: tuple[str, str] | None, aim: str | None) -> None:
        reshard_stream(self._client, self._stream, to=1)  # what cannot be resharded is said before it is read
        file = None
        if aim is not None:
            file = AimFile(aim, self._summary())
            if (borders := file.read()) is not None:
                self._carry_out(None, borders=borders)
                if self._told.apply:
                    file.remove()
                return
        if sampled is not None:
            sample = sample_of_lines(sampled[0], KeyFields(sampled[1]))
        else:
            if stderr.is_terminal:
                tell(Text(f"Reading the last {seconds:g} s of {self._stream}.", "dim"))
            sample = sample_of_stream(self._client, self._stream, seconds)
        if not sample.user_records:
            where = sampled[0] if sampled else f"{self._stream}, where nothing came in the last {seconds:g} s"
            fail(f"no load to balance in {where}; give --seconds or --sample")
        load = Load((hash_key, size) for hash_key, size, _ in sample.points())
        plan = reshard_stream(self._client, self._stream, balance=True, load=load, max_shards=max_shards).plan
        if file is not None and plan.steps:
            file.write(plan.borders)
        self._carry_out(sample, borders=plan.borders, load=load)
        if file is not None and self._told.apply:
            file.remove()

    def _carry_out(self, sample: Sample | None, **what: Any) -> None:
        found = reshard_stream(self._client, self._stream, **what)
        self._told.plan(self._stream, found.plan, sample)
        if self._told.apply and found.plan.steps:
            applied = reshard_stream(self._client, self._stream, apply=True, progress=self._told.progress, **what)
            found = Resharded(found.plan, applied.shard_map, applied.done)
        self._told.done(self._stream, found, sample)

    def _summary(self) -> dict[str, Any]:
        from ..transport.naming import stream_parameters  # noqa: PLC0415

        named = stream_parameters(self._stream)
        summary: dict[str, Any] = self._client.describe_stream_summary(**named)["StreamDescriptionSummary"]
        return summary


@dataclass(frozen=True, slots=True)
class HeavyKey:
    """A hash key that alone has more than a shard should, and a partition key that has it."""

    hash_key: int
    share: float
    partition_key: str | None

    def __str__(self) -> str:
        name = f"hash key {self.hash_key}" if self.partition_key is None else f"key {self.partition_key!r:.80}"
        return (
            f"{name} alone has {self.share:.1%} of the load, more than a shard should: no split helps, only other keys "
            "do (shardpack.keys)."
        )


def heavy_keys(plan: ReshardPlan, sample: Sample | None) -> list[HeavyKey]:
    """Return the keys that are too heavy for any shard, heaviest first."""
    if plan.load is None:
        return []
    names = {} if sample is None else {seen.hash_key: seen.partition_key for seen in reversed(sample.by_weight())}
    return [HeavyKey(at, plan.load.between(at, at) / plan.load.total, names.get(at)) for at in plan.too_heavy]


def describe(step: Step, shard_map: ShardMap) -> str:
    """Say what a step is, of shards as they are before it; those that come to be meanwhile have no name yet."""
    if step.hash_key is None:
        return f"UpdateShardCount to {step.shard_count:,}"
    place = shard_map.index_of(step.hash_key)
    where = f"hash key {step.hash_key} ({step.hash_key / HASH_KEYS:.1%})"
    if step.operation == "SplitShard":
        return f"SplitShard {_id(shard_map, place)} at {where}"
    return f"MergeShards {_id(shard_map, place - 1)} and {_id(shard_map, place)}, which meet at {where}"


def _id(shard_map: ShardMap, place: int) -> str:
    return shard_map[place].shard_id or "a new shard"


def _numbered(plan: ReshardPlan) -> list[tuple[int, str]]:
    lines, half, count = [], MOST_LINES // 2, len(plan.steps)
    borders = tuple(shard.starting_hash_key for shard in plan.before)[1:]
    for number, step in enumerate(plan.steps, 1):
        if count <= MOST_LINES or not half < number <= count - half:
            now = ReshardPlan(plan.before, borders, ()).after
            after = f": {step.shard_count:,} shards" if step.hash_key is not None else ""
            lines.append((number, describe(step, now) + after))
        elif number == half + 1:
            lines.append((0, f"   …  {count - 2 * half:,} more"))
        borders = step.applied(borders)
    return lines


def _price(plan: ReshardPlan) -> str:
    scalings = sum(step.operation == "UpdateShardCount" for step in plan.steps)
    one_by_one = len(plan.steps) - scalings
    lines = []
    if scalings:
        lines.append(
            f"{scalings} of the {CALLS_A_DAY} UpdateShardCount that a stream takes in 24 hours; some minutes each, "
            "more for hundreds of shards."
        )
        if scalings > CALLS_A_DAY:
            lines.append("What is over that is done by splits and merges.")
    if one_by_one:
        lines.append(f"{one_by_one:,} call{'s' * (one_by_one != 1)}, one at a time: about {_span(one_by_one)}.")
    return " ".join(lines)


def _span(steps: int) -> str:
    seconds = steps * SECONDS_A_STEP
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds} s"


def _as_json(stream: str, found: Resharded, sample: Sample | None, apply: bool) -> dict[str, Any]:
    plan = found.plan
    return {
        "stream": stream,
        "applied": apply,
        "shards_before": len(plan.before),
        "shards_after": len(found.shard_map if apply else plan.after),
        "steps": list(map(_step_as_json, plan.steps)),
        "done": list(map(_step_as_json, found.done)),
        "borders": [str(border) for border in plan.borders],
        "ratio_before": plan.ratio_before,
        "ratio_after": plan.ratio_after,
        "too_heavy": [
            {"hash_key": str(heavy.hash_key), "partition_key": heavy.partition_key, "share": heavy.share}
            for heavy in heavy_keys(plan, sample)
        ],
        "measured_user_records": None if sample is None else sample.user_records,
        "measured_bytes": None if sample is None else sample.user_bytes,
    }


def _step_as_json(step: Step) -> dict[str, Any]:
    hash_key = None if step.hash_key is None else str(step.hash_key)
    return {"operation": step.operation, "hash_key": hash_key, "shard_count": step.shard_count}
