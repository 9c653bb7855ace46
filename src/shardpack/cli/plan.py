"""shardpack plan: how many shards a stream needs, and what would need fewer."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from ..errors import ShardpackError
from ..plan.capacity import MAX_UTILISATION, Plan
from ..plan.capacity import plan as make_plan
from ..plan.prices import Prices
from ..plan.sample import Sample
from ..plan.ways import AGGREGATED, COMPRESSED, RAW
from ..shards import ShardMap
from .client import aws_options, make_client
from .console import Stdout
from .inspect import visible
from .measured import sample_of_rows, sample_of_stream, samples_of_lines
from .ndjson import KeyFields
from .outcome import BadInputError, exit_on_error, print_json
from .parameters import FILE, argument, command, option

MOST_SHOWN = 5
MEGABYTE = 1_000_000
PRICES = {
    "shard_hour": "A shard for an hour.",
    "million_payload_units": "A million PUT payload units.",
    "stream_hour": "An on-demand stream for an hour.",
    "gb_in": "A GB into an on-demand stream.",
    "gb_out": "A GB out of it.",
    "advantage_gb_in": "A GB in, with On-demand Advantage.",
    "advantage_gb_out": "A GB out, with On-demand Advantage.",
}


def price_options(function: Any) -> Any:
    """Add an option for each price."""
    for name, text in reversed(PRICES.items()):
        declare = option(
            f"--price-{name.replace('_', '-')}",
            type=click.FloatRange(min=0),
            metavar="X",
            default=getattr(Prices(), name),
            panel="Prices, US East, November 2025",
            help=text,
        )
        function = declare(function)
    return function


@command
@argument(
    "source", metavar="FILE|STREAM", type=FILE, help="One JSON object per line, packed or not; .parquet; a stream."
)
@option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="User records a second at the peak.")
@option(
    "--mean-rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="User records a second on average, which costs are for; without it, --rate.",
)
@option("--key", metavar="FIELD", help="Field of a file that holds the partition key; without it, records have none.")
@option("--default-key", metavar="TEXT", help="Partition key of events whose field is null or missing.")
@option(
    "--compare",
    metavar="FIELD[,FIELD]",
    multiple=True,
    help="Another field, or several together, as key: what it gives.",
)
@option("--shards", type=click.IntRange(1, 20_000), metavar="N", help="Shards that there are; of a stream, its own.")
@option(
    "--as", "way", type=click.Choice((RAW, AGGREGATED, COMPRESSED)), default=AGGREGATED, help="How records are sent."
)
@option(
    "--linger-ms", type=click.IntRange(min=0), default=100, metavar="MS", help="Longest wait of a record for others."
)
@option(
    "--max-utilisation",
    type=click.FloatRange(0, 1, min_open=True),
    default=MAX_UTILISATION,
    metavar="PART",
    help="How full a shard may be.",
)
@option("--consumers", type=click.IntRange(min=0), default=1, metavar="N", help="How often the stream is read.")
@option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True, max=86_400),
    default=60,
    metavar="S",
    help="Of a stream: what came in the last S seconds.",
)
@option("--png", metavar="FILE", type=FILE, help="Draw the shards before and after. Needs matplotlib.")
@option("--svg", metavar="FILE", type=FILE, help="The same as SVG.")
@option("--json", "as_json", is_flag=True, help="Print all figures as one JSON object.")
@price_options
@aws_options
def plan(  # noqa: PLR0917 (click calls it)
    source: str,
    rate: float | None,
    mean_rate: float | None,
    key: str | None,
    default_key: str | None,
    compare: tuple[str, ...],
    shards: int | None,
    way: str,
    linger_ms: int,
    max_utilisation: float,
    consumers: int,
    seconds: float,
    png: str | None,
    svg: str | None,
    as_json: bool,
    region: str | None,
    endpoint_url: str | None,
    profile: str | None,
    **prices: float,
) -> None:
    """Tell how many shards a stream needs, and what would need fewer.

    Aggregates and compresses a sample to measure: shards needed in each way, the
    heaviest keys, hot shards and where to split them, what each key strategy
    gives, and what each capacity mode costs. Changes nothing.

    \b
      shardpack plan events.ndjson.gz --key device.id --rate 20000
      shardpack plan events.ndjson.gz --key carrier --compare tailnum --rate 20000 --shards 8
      shardpack plan telemetry --seconds 60 --png load.png
    """
    with exit_on_error():
        there: ShardMap | int | None = shards
        others: dict[str, Sample] = {}
        if source == "-" or Path(source).exists():
            if rate is None:
                raise BadInputError("a file does not tell how many records come a second: give --rate")
            sample, others = _of_file(source, KeyFields(key, default_key), compare)
        else:
            if key is not None or compare:
                raise BadInputError(f"{source} is no file, and --key and --compare are for files")
            sample, there = _of_stream(source, make_client(region, endpoint_url, profile), seconds, shards)
            rate = sample.user_records / seconds if rate is None else rate
        if not sample.user_records:
            raise BadInputError(f"{source}: no record to plan by")
        try:
            made = make_plan(
                sample,
                rate=rate,
                mean_rate=mean_rate,
                shards=there,
                way=way,
                other_keys=others,
                linger_ms=linger_ms,
                max_utilisation=max_utilisation,
                consumers=consumers,
                prices=Prices(**{name.removeprefix("price_"): value for name, value in prices.items()}),
            )
        except ValueError as error:
            raise (error if isinstance(error, ShardpackError) else BadInputError(str(error))) from None
        if png is not None or svg is not None:
            from .plan_picture import draw  # noqa: PLC0415 (loads matplotlib)

            for file, kind in ((png, "png"), (svg, "svg")):
                if file is not None:
                    draw(made, file, kind)
        if as_json:
            print_json(as_object(made))
        else:
            _show(made)


def _of_file(file: str, key: KeyFields, compare: tuple[str, ...]) -> tuple[Sample, dict[str, Sample]]:
    if file.endswith(".parquet"):
        if compare:
            raise BadInputError("--compare is for lines of JSON")
        return sample_of_rows(file, key), {}
    return samples_of_lines(file, key, compare)


def _of_stream(stream: str, client: Any, seconds: float, shards: int | None) -> tuple[Sample, ShardMap | int]:
    from ..transport.boto3 import Boto3Transport  # noqa: PLC0415 (loads botocore, which help does without)

    there = Boto3Transport(client, stream).list_shards() if shards is None else shards
    return sample_of_stream(client, stream, seconds), there


def as_object(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON has it: its fields, but for hash keys, which are decimal text, and the loads themselves."""
    found = {
        each.name: getattr(plan, each.name) for each in fields(plan) if each.name not in {"shard_map", "recommended"}
    }
    for name in ("ways", "keys", "shards", "after", "hot_shards"):
        found[name] = [_object(each) for each in getattr(plan, name)]
    found["strategies"] = [
        {each.name: _plain(getattr(strategy, each.name)) for each in fields(strategy) if each.name != "demand"}
        for strategy in plan.strategies
    ]
    found["recommended"] = None if plan.recommended is None else plan.recommended.name
    return found


def _object(value: Any) -> Any:
    return _plain(asdict(value))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: str(one) if name.endswith(("hash_key", "split_point")) and one is not None else _plain(one)
            for name, one in value.items()
        }
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def _show(plan: Plan) -> None:
    from .plan_picture import text_pictures  # noqa: PLC0415

    out = Stdout()
    size = plan.user_bytes_per_second / plan.user_records_per_second
    out.print(
        f"{plan.user_records:,} user records of {size:,.0f} bytes looked at; {plan.user_records_per_second:,.0f} a "
        f"second are {plan.user_bytes_per_second / MEGABYTE:,.2f} MB. A shard is planned to {plan.max_utilisation:.0%}."
    )
    count = f"{len(plan.shard_map):,}"
    out.print(
        _table(
            ("sent", "MB/s", "records/s", "units/s", f"fullest of {count}", "shards needed", "if even"),
            [
                (
                    way.name,
                    f"{way.bytes_per_second / MEGABYTE:,.2f}",
                    f"{way.kinesis_records_per_second:,.0f}",
                    f"{way.payload_units_per_second:,.0f}",
                    f"{way.utilisation:.0%}",
                    _number(way.shards_needed),
                    f"{way.shards_if_even:,}",
                )
                for way in plan.ways
            ],
        )
    )
    if plan.keys:
        out.print(
            _table(
                ("heaviest keys", "MB/s", "share"),
                [
                    (
                        visible(key.partition_key[:40]),
                        f"{key.bytes_per_second / MEGABYTE:,.2f}",
                        f"{key.share:.1%}",
                    )
                    for key in plan.keys[:MOST_SHOWN]
                ],
            )
        )
    if plan.hot_shards:
        out.print(
            _table(
                (f"hot shards, {plan.way}", "full", "heaviest keys", "split at"),
                [
                    (
                        visible(hot.shard.shard_id),
                        f"{hot.utilisation:.0%}",
                        ", ".join(visible(key.partition_key[:20]) for key in hot.keys[:3]),
                        "one key: no split helps" if hot.split_point is None else str(hot.split_point),
                    )
                    for hot in plan.hot_shards[:MOST_SHOWN]
                ],
            )
        )
    out.print(
        _table(
            ("key strategy", "order", "most/mean", *(f"{way.name} shards" for way in plan.ways), ""),
            [
                (
                    each.name,
                    each.order,
                    f"{each.most_to_mean:.2f}",
                    *(_number(each.shards_needed[way.name]) for way in plan.ways),
                    "passes" if each.passes else "too uneven",
                )
                for each in plan.strategies
            ],
        )
    )
    modes = [cost.mode for cost in plan.ways[0].costs]
    out.print(
        _table(
            ("cost a month", *modes), [(way.name, *(f"{cost.a_month:,.0f}" for cost in way.costs)) for way in plan.ways]
        )
    )
    for line in text_pictures(plan):
        out.print(line, soft_wrap=True)
    if plan.recommended is None:
        out.print(Text("No strategy passes.", "yellow"))
    else:
        needed = plan.recommended.shards_needed[plan.way]
        out.print(Text(f"{plan.recommended.name}: {needed or len(plan.after):,} shards do.", "green"))


def _number(count: int | None) -> str:
    return "none do" if count is None else f"{count:,}"


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for i, head in enumerate(heads):
        table.add_column(
            head, justify="left" if i == 0 or head in {"order", "heaviest keys", "split at", ""} else "right"
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    table.add_row()
    return table
